//! The run queue of a P: `runnext` and a FIFO deque that never grows.
//!
//! The deque never holds more than [`CAPACITY`], which is the smallest buffer
//! crossbeam-deque has; so it never resizes, and pushing and popping by the
//! owner neither allocate nor pin an epoch. What does not fit goes to the global
//! queue, half of the deque at a time, so that the lock there is taken once in
//! 32 pushes (PROTOCOL 14).
//!
//! Stealing does pin the epoch: see `run.rs` for who may steal, and where.

use super::g::{GList, GRef};
use crate::protocol::runnext::RunNext;
use crossbeam_deque::{Steal, Stealer, Worker};

/// crossbeam-deque's smallest buffer.
pub(crate) const CAPACITY: usize = 64;

/// See the module. `push`, `pop` and the `*_next` calls are the owner's.
pub(crate) struct LocalQueue {
    next: RunNext,
    worker: Worker<GRef>,
    stealer: Stealer<GRef>,
}

// SAFETY: the worker half is used by the owner of the P only; the owner changes
// with a Release and an Acquire.
unsafe impl Sync for LocalQueue {}

impl LocalQueue {
    pub(crate) fn new() -> LocalQueue {
        let worker = Worker::new_fifo();
        let stealer = worker.stealer();
        LocalQueue { next: RunNext::new(), worker, stealer }
    }

    /// The goroutine in `runnext`, as a hint.
    #[inline]
    pub(crate) fn peek_next(&self) -> Option<usize> {
        self.next.peek()
    }

    /// Puts `g` into `runnext`; returns what it displaced.
    #[inline]
    pub(crate) fn put_next(&self, g: GRef) -> Option<GRef> {
        // SAFETY: the slot holds what was put: addresses of blocks.
        self.next.put(g.as_ptr() as usize).map(|g| unsafe { GRef::from_ptr(g as *mut _) })
    }

    /// Takes `runnext`. Also by the monitor and by searchers.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<GRef> {
        // SAFETY: as in `put_next`.
        self.next.take().map(|g| unsafe { GRef::from_ptr(g as *mut _) })
    }

    /// Appends `g`. When it is full, half of it and `g` come back, to be put on
    /// the global queue.
    #[inline]
    pub(crate) fn push(&self, g: GRef) -> Option<GList> {
        if self.worker.len() < CAPACITY {
            self.worker.push(g);
            return None;
        }
        Some(self.overflow(g))
    }

    #[cold]
    fn overflow(&self, g: GRef) -> GList {
        let mut out = GList::new();
        for _ in 0..CAPACITY / 2 {
            match self.worker.pop() {
                Some(g) => out.push(g),
                None => break,
            }
        }
        out.push(g);
        out
    }

    /// The oldest.
    #[inline]
    pub(crate) fn pop(&self) -> Option<GRef> {
        self.worker.pop()
    }

    /// How many more fit.
    pub(crate) fn room(&self) -> usize {
        CAPACITY - self.worker.len().min(CAPACITY)
    }

    /// How many there are, `runnext` not counted. By anybody.
    pub(crate) fn len(&self) -> usize {
        self.stealer.len()
    }

    /// Takes one from the front, for another P. Pins an epoch.
    pub(crate) fn steal(&self) -> Steal<GRef> {
        self.stealer.steal()
    }
}
