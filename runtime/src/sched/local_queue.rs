//! The run queue of a P over crossbeam-deque: `protocol/local_queue.rs` for
//! control blocks.
//!
//! Stealing pins crossbeam's epoch; `steal.rs` says who may do it, and where.

use super::g::{GList, GRef};
use crate::protocol::local_queue as protocol;
use crossbeam_deque::{Steal, Stealer, Worker};

/// crossbeam-deque's smallest buffer: it grows when it holds as many as that.
const CAPACITY: usize = 64;

struct Addresses {
    worker: Worker<usize>,
    stealer: Stealer<usize>,
}

impl protocol::Deque for Addresses {
    #[inline]
    fn len(&self) -> usize {
        self.worker.len()
    }

    #[inline]
    fn push(&self, item: usize) {
        self.worker.push(item);
    }

    #[inline]
    fn pop(&self) -> Option<usize> {
        self.worker.pop()
    }
}

/// See the module. `put_next`, `push` and `pop` are the owner's.
pub(crate) struct LocalQueue(protocol::LocalQueue<Addresses>);

// SAFETY: the worker half is used by the owner of the P only, and the P changes
// owners with a Release and an Acquire; the rest is atomic.
unsafe impl Sync for LocalQueue {}

/// The block whose address stood in the queue.
#[inline]
fn block(address: usize) -> GRef {
    // SAFETY: only addresses of blocks are put in (`put_next`, `push`).
    unsafe { GRef::from_ptr(address as *mut _) }
}

impl LocalQueue {
    pub(crate) fn new() -> LocalQueue {
        let worker = Worker::new_fifo();
        let stealer = worker.stealer();
        LocalQueue(protocol::LocalQueue::new(
            Addresses { worker, stealer },
            CAPACITY,
        ))
    }

    /// What is in `runnext`, as a hint.
    #[inline]
    pub(crate) fn peek_next(&self) -> Option<usize> {
        self.0.peek_next()
    }

    /// Puts `g` into `runnext`; returns what it displaced.
    #[inline]
    pub(crate) fn put_next(&self, g: GRef) -> Option<GRef> {
        self.0.put_next(g.as_ptr() as usize).map(block)
    }

    /// Takes `runnext`. Also by the monitor and by searchers.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<GRef> {
        self.0.take_next().map(block)
    }

    /// Appends `g`. When it is full, half of it and `g` come back, to be put on
    /// the global queue.
    #[inline]
    pub(crate) fn push(&self, g: GRef) -> Option<GList> {
        let mut out = GList::new();
        self.0
            .push(g.as_ptr() as usize, |g| out.push(block(g)))
            .then_some(out)
    }

    /// The oldest.
    #[inline]
    pub(crate) fn pop(&self) -> Option<GRef> {
        self.0.pop().map(block)
    }

    /// How many more fit.
    pub(crate) fn room(&self) -> usize {
        self.0.room()
    }

    /// How many there are, `runnext` not counted. By anybody.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.deque().stealer.len()
    }

    /// Takes the oldest, for another P. Pins an epoch.
    pub(crate) fn steal(&self) -> Steal<GRef> {
        match self.0.deque().stealer.steal() {
            Steal::Success(g) => Steal::Success(block(g)),
            Steal::Empty => Steal::Empty,
            Steal::Retry => Steal::Retry,
        }
    }
}
