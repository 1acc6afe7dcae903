//! Copying between streams, and pipes.
//!
//! The traits are [`std::io`]'s. What is here parks the goroutine where std's
//! namesake blocks the thread, and lets the kernel move the bytes where it can.

mod copy;
mod ends;
mod kernel;
mod pipe;
mod sys;

pub use copy::copy;
pub use pipe::{PipeReader, PipeWriter, pipe};
