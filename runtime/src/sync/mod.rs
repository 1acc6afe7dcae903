//! Locks and barriers that park goroutines instead of blocking threads.
//!
//! Names and shapes are std's, without poisoning: a panic while a lock is held
//! unlocks it. All of it works from goroutines and plain threads alike.

mod mutex;
mod wait_group;

pub use mutex::{Mutex, MutexGuard};
pub use wait_group::WaitGroup;
