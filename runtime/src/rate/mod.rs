//! Limiting how often something happens: Go's `golang.org/x/time/rate`.
//!
//! A [`Limiter`] is a bucket of tokens. It begins full, with `burst` tokens, and is refilled
//! at `limit` tokens a second; each event takes one. An event for which there is no
//! token is refused ([`allow`](Limiter::allow)), waits ([`wait`](Limiter::wait)), or is
//! told how long it would have to ([`reserve`](Limiter::reserve)).
//!
//! ```
//! use goweft::context::Context;
//! use goweft::rate::{Limit, Limiter};
//!
//! let requests = Limiter::new(Limit::per_second(1000.0), 5);
//! let ctx = Context::background();
//! for _ in 0..10 {
//!     requests.wait(&ctx)?; // five at once, the others a millisecond apart
//! }
//! # Ok::<(), goweft::rate::WaitError>(())
//! ```
//!
//! [`Sometimes`] limits what is done on the side, such as a line in a log.

mod limit;
mod limiter;
mod reservation;
mod sometimes;

pub use limit::Limit;
pub use limiter::{Limiter, WaitError};
pub use reservation::Reservation;
pub use sometimes::Sometimes;
