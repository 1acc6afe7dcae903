//! The stack of the preempted: Ms that their handler parked, until somebody moves
//! them to the bound queue (PROTOCOL 7).
//!
//! A handler pushes its own M, as soon as its word is Waiting; others only take
//! all. An M is pushed again only after it was claimed, so after it was taken:
//! a push that compares with an old top can meet the same top again only if that M
//! has not moved, and take-all compares nothing.
//!
//! Release on push, Acquire on take: who takes an M sees its word Waiting and its
//! link.

use super::atomic::{AtomicU32, Ordering};

/// Holds numbers of Ms; their links are beside them.
pub(crate) struct Preempted(AtomicU32);

impl Preempted {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Preempted {
        Preempted(AtomicU32::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Preempted {
        Preempted(AtomicU32::new(0))
    }

    /// Whether there is any; a hint without a fence.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Pushes `m`, whose link is `link`. In a signal handler.
    pub(crate) fn push(&self, m: u32, link: &AtomicU32) {
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            link.store(top, Ordering::Relaxed);
            match self
                .0
                .compare_exchange_weak(top, m + 1, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes all, and calls `each` with them in the order in which they came.
    ///
    /// `link` finds an M's link. It is the caller's until the M is claimed.
    pub(crate) fn take_all<'a>(
        &self,
        link: impl Fn(u32) -> &'a AtomicU32,
        mut each: impl FnMut(u32),
    ) {
        let mut top = self.0.swap(0, Ordering::Acquire);
        // Newest first: turn the chain around.
        let mut oldest = 0;
        while top != 0 {
            let next = link(top - 1).load(Ordering::Relaxed);
            link(top - 1).store(oldest, Ordering::Relaxed);
            oldest = top;
            top = next;
        }
        while oldest != 0 {
            // Before `each`: it may be claimed and pushed again at once.
            let next = link(oldest - 1).load(Ordering::Relaxed);
            each(oldest - 1);
            oldest = next;
        }
    }
}
