//! `runnext`: the goroutine that its P runs next, one slot (PROTOCOL 15).
//!
//! The owner of the P puts and takes; the monitor, and a searcher that saw the
//! same one for some time, only take. So a slot that the owner sees empty stays
//! empty until it puts, and putting into it is a plain store. Taking is a swap:
//! exactly one gets it.
//!
//! Release on put, Acquire on take: what was written to the control block
//! before it became runnable is seen by whoever runs it.

use super::atomic::{AtomicUsize, Ordering};

/// Holds an address that is not 0, or nothing.
pub(crate) struct RunNext(AtomicUsize);

impl RunNext {
    pub(crate) fn new() -> RunNext {
        RunNext(AtomicUsize::new(0))
    }

    /// What is in it now; a hint to anybody but the owner, and to the owner
    /// only "empty" is certain.
    #[inline]
    pub(crate) fn peek(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&g| g != 0)
    }

    /// By the owner. Returns what it displaced.
    #[inline]
    pub(crate) fn put(&self, g: usize) -> Option<usize> {
        if self.0.load(Ordering::Relaxed) == 0 {
            self.0.store(g, Ordering::Release);
            return None;
        }
        Some(self.0.swap(g, Ordering::AcqRel)).filter(|&g| g != 0)
    }

    /// By the owner, the monitor or a searcher.
    #[inline]
    pub(crate) fn take(&self) -> Option<usize> {
        if self.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.0.swap(0, Ordering::AcqRel)).filter(|&g| g != 0)
    }
}
