//! Copying between streams, pipes, and any other descriptor that can be waited for.
//!
//! The traits are [`std::io`]'s. What is here parks the goroutine where std's
//! namesake blocks the thread, and lets the kernel move the bytes where it can.

mod copy;
mod descriptor;
mod ends;
mod kernel;
mod pipe;
mod sys;

pub use copy::copy;
pub use descriptor::Async;
pub use pipe::{PipeReader, PipeWriter, pipe};
