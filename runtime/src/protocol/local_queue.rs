//! The run queue of a P: `runnext` and a FIFO deque that never grows.
//!
//! The deque is somebody else's (crossbeam-deque's; a model's under loom); what
//! is ours is the rule around it: it never holds more than its smallest buffer,
//! so that the owner's pushes and pops neither allocate nor pin an epoch, and
//! what does not fit leaves half at a time (PROTOCOL 14).
//!
//! Who may call what: `put_next`, `push` and `pop` the owner of the P; `take_next`
//! also the monitor and searchers; stealing goes to the deque itself. Thieves
//! only ever make the deque shorter, so a length that leaves room at the
//! owner's look still does at its push.

use super::runnext::RunNext;

/// The owner's half of a work-stealing FIFO deque of addresses.
pub(crate) trait Deque {
    /// How many it holds; thieves may make it less at any time.
    fn len(&self) -> usize;
    /// Appends. There is room.
    fn push(&self, item: usize);
    /// Takes the oldest.
    fn pop(&self) -> Option<usize>;
}

/// See the module.
pub(crate) struct LocalQueue<D> {
    next: RunNext,
    deque: D,
    capacity: usize,
}

impl<D: Deque> LocalQueue<D> {
    pub(crate) fn new(deque: D, capacity: usize) -> LocalQueue<D> {
        LocalQueue {
            next: RunNext::new(),
            deque,
            capacity,
        }
    }

    /// The deque, for thieves.
    #[inline]
    pub(crate) fn deque(&self) -> &D {
        &self.deque
    }

    /// What is in `runnext`, as a hint.
    #[inline]
    pub(crate) fn peek_next(&self) -> Option<usize> {
        self.next.peek()
    }

    /// Puts into `runnext`; returns what it displaced.
    #[inline]
    pub(crate) fn put_next(&self, item: usize) -> Option<usize> {
        self.next.put(item)
    }

    /// Takes `runnext`.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<usize> {
        self.next.take()
    }

    /// Appends `item`. When it is full, half of what is here and `item` go to
    /// `overflow` instead, oldest first. True: that happened.
    #[inline]
    pub(crate) fn push(&self, item: usize, overflow: impl FnMut(usize)) -> bool {
        if self.deque.len() < self.capacity {
            self.deque.push(item);
            return false;
        }
        self.spill(item, overflow);
        true
    }

    #[cold]
    fn spill(&self, item: usize, mut overflow: impl FnMut(usize)) {
        for _ in 0..self.capacity / 2 {
            match self.deque.pop() {
                Some(old) => overflow(old),
                None => break,
            }
        }
        overflow(item);
    }

    /// The oldest.
    #[inline]
    pub(crate) fn pop(&self) -> Option<usize> {
        self.deque.pop()
    }

    /// How many more fit.
    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.deque.len())
    }
}
