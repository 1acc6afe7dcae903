//! What the peers' programs share, so that each holds nothing but its own
//! runtime's code: the command line and the figure lines ([`cli`]), what is
//! timed and how ([`measure`]), and the byte-level servers ([`stream`]).
//!
//! Set-up stays outside the timing, everything timed runs inside the peer's
//! own tasks, and scenarios carry the same names and sizes for every peer.

pub mod cli;
pub mod measure;
pub mod stream;
pub mod sys;
