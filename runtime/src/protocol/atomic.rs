//! The atomics of the protocols: std's, or loom's when models are checked, or std's with a
//! delay around each change of a word (`delay.rs`).

#[cfg(all(goweft_delays, not(loom)))]
pub(crate) use super::delay::{AtomicU32, AtomicU64, AtomicUsize, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(any(loom, goweft_delays)))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, fence};
