//! Poller and timer setter: no timer is set earlier than a sleeping poller
//! wakes, without the poller being kicked (PROTOCOL 16).
//!
//! 1. The **poller** stores the time at which it will wake, fences, and looks at the earliest timer
//!    of every heap: [`close`](PollGate::close), then a second look. If one is earlier it begins
//!    again.
//! 2. A **setter** publishes its heap's earliest time, then [`must_kick`](PollGate::must_kick):
//!    fence, and kick when the poller would wake later than that.
//!
//! Argument: the same as in `sleep.rs`: of the two fences one is first, so either
//! the setter sees the poller's time or the poller sees the timer.

use super::atomic::{AtomicU64, Ordering, fence};

/// Until when the poller sleeps; 0: nobody sleeps in the poller.
pub(crate) struct PollGate(AtomicU64);

impl PollGate {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> PollGate {
        PollGate(AtomicU64::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> PollGate {
        PollGate(AtomicU64::new(0))
    }

    /// Step 1: about to sleep until `until`. The caller looks at all heaps after this.
    pub(crate) fn close(&self, until: u64) {
        self.0.store(until, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The poller is awake.
    pub(crate) fn open(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Step 2: a timer at `when` has been published. True: kick the poller.
    pub(crate) fn must_kick(&self, when: u64) -> bool {
        fence(Ordering::SeqCst);
        self.is_late(when)
    }

    /// As `must_kick`, for one more gate after the fence of the first.
    #[inline]
    pub(crate) fn is_late(&self, when: u64) -> bool {
        when < self.0.load(Ordering::Relaxed)
    }
}
