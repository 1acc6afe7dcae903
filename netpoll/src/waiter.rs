//! What waits: the caller's handle, the record that stands in a queue, and the queue.
//!
//! What always holds:
//! - A [`Wait`] lies in its waiter's frame and is in at most one queue. Its links and its
//!   handle belong to whoever holds the lock of that queue's record.
//! - `state` is the last thing a waker writes in a `Wait`. Once its owner has read anything
//!   but `QUEUED` there, nobody else touches the record, and its frame may go.
//!
//! How it works: a doubly linked list through the records, oldest first. Nothing is
//! allocated, and a waiter that gives up unlinks itself from the middle.

use crate::sync::{AtomicU8, Ordering, UnsafeCell};
use std::ptr::{self, NonNull};

/// What identifies one wait of one waiter to the user of this crate: two words, opaque here.
///
/// The crate copies it out of the queue and hands it to the `wake` function when the wait is
/// over, possibly a little after the waiter has gone on for another reason (its timer). So
/// waking must tolerate a stale handle: goweft puts the address of a control block that is
/// never freed in `who` and a number that is never used again in `ticket`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// Who waits: an address or an index.
    pub who: usize,
    /// Which of its waits this is.
    pub ticket: u64,
}

/// Not in a queue, and never was since it was made or finished.
const IDLE: u8 = 0;
/// In a queue.
const QUEUED: u8 = 1;
/// Taken out of the queue, and why.
const EVENT: u8 = 2;
const NOTIFIED: u8 = 3;
const CLOSED: u8 = 4;

/// The record of one waiter in the queue of one direction, in the waiter's own frame.
///
/// Needed only with [`Descriptor::prepare`](crate::Descriptor::prepare);
/// [`Descriptor::wait`](crate::Descriptor::wait) keeps one itself.
#[derive(Debug)]
pub struct Wait {
    /// Written by the owner when it queues (under the lock), then once by whoever takes it
    /// out (under the lock, `Release`); read by the owner (`Acquire`).
    state: AtomicU8,
    /// Read and written under the record's lock only, while `QUEUED`.
    node: UnsafeCell<Node>,
}

#[derive(Debug)]
struct Node {
    waiter: Waiter,
    prev: *const Wait,
    next: *const Wait,
}

/// Why a waiter was taken out of its queue.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Event,
    Notified,
    Closed,
}

impl Wait {
    /// A record that is in no queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: AtomicU8::new(IDLE),
            node: UnsafeCell::new(Node {
                waiter: Waiter { who: 0, ticket: 0 },
                prev: ptr::null(),
                next: ptr::null(),
            }),
        }
    }

    /// Why the owner of this record was taken out of the queue; `None` while it stands in it
    /// (or when it was never put there).
    pub(crate) fn reason(&self) -> Option<Reason> {
        // Acquire pairs with the Release in `take`: what the waker did before is visible,
        // and its accesses to this record are over.
        match self.state.load(Ordering::Acquire) {
            EVENT => Some(Reason::Event),
            NOTIFIED => Some(Reason::Notified),
            CLOSED => Some(Reason::Closed),
            _ => None,
        }
    }

    /// Writes to the record as a frame that is used for something else would: loom reports it
    /// if a waker may still be reading.
    #[cfg(all(test, loom))]
    pub(crate) fn reuse(&self) {
        // SAFETY: the record is in no queue, so it is its owner's, the caller's, alone.
        self.node
            .with_mut(|node| unsafe { (*node).prev = ptr::null() });
    }

    fn is_queued(&self) -> bool {
        self.state.load(Ordering::Relaxed) == QUEUED
    }

    /// The last access of a waker to this record.
    fn set_taken(&self, reason: Reason) {
        let state = match reason {
            Reason::Event => EVENT,
            Reason::Notified => NOTIFIED,
            Reason::Closed => CLOSED,
        };
        self.state.store(state, Ordering::Release);
    }
}

impl Default for Wait {
    fn default() -> Self {
        Self::new()
    }
}

/// The waiters of one direction, oldest first. All of it is under the record's lock.
#[derive(Debug)]
pub(crate) struct Queue {
    head: *const Wait,
    tail: *const Wait,
}

/// A waiter that was unlinked but not told yet: first the record's word is brought up to
/// date, then [`take`](Unlinked::take) lets the waiter's frame go.
#[must_use]
pub(crate) struct Unlinked(NonNull<Wait>);

impl Queue {
    pub(crate) const fn new() -> Self {
        Self {
            head: ptr::null(),
            tail: ptr::null(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// How many wait, counted one by one: there is no room for a counter on the record's
    /// cache line, and only `notify` asks.
    ///
    /// # Safety
    /// The caller holds the record's lock.
    pub(crate) unsafe fn count(&self) -> usize {
        let mut count = 0;
        let mut at = self.head;
        // SAFETY: records in the list are queued, hence alive.
        while let Some(wait) = unsafe { at.as_ref() } {
            count += 1;
            // SAFETY: a queued record's node belongs to the holder of the lock, the caller.
            at = wait.node.with_mut(|node| unsafe { (*node).next });
        }
        count
    }

    /// Appends a waiter.
    ///
    /// # Safety
    /// The caller holds the record's lock; `wait` is in no queue, and stays where it is and
    /// alive until it has been taken out of this one.
    pub(crate) unsafe fn push(&mut self, wait: &Wait, waiter: Waiter) {
        let prev = self.tail;
        // SAFETY: `wait` is in no queue, so its node is the caller's alone.
        wait.node.with_mut(|node| unsafe {
            *node = Node {
                waiter,
                prev,
                next: ptr::null(),
            };
        });
        wait.state.store(QUEUED, Ordering::Relaxed);
        // SAFETY: a non-null `tail` is a queued record, alive by this function's contract.
        match unsafe { prev.as_ref() } {
            // SAFETY: a queued record's node belongs to the holder of the lock, the caller.
            Some(tail) => tail.node.with_mut(|node| unsafe { (*node).next = wait }),
            None => self.head = wait,
        }
        self.tail = wait;
    }

    /// Unlinks the oldest waiter.
    ///
    /// # Safety
    /// The caller holds the record's lock.
    pub(crate) unsafe fn pop(&mut self) -> Option<Unlinked> {
        let head = NonNull::new(self.head.cast_mut())?;
        // SAFETY: `head` is queued here, hence alive, and the caller holds the lock.
        unsafe { self.unlink(head.as_ref()) };
        Some(Unlinked(head))
    }

    /// Takes a waiter that gives up out of the queue. False if it is not in it any more.
    ///
    /// # Safety
    /// The caller holds the record's lock and owns `wait`, which was last pushed to this queue.
    pub(crate) unsafe fn remove(&mut self, wait: &Wait) -> bool {
        // Only holders of the lock change QUEUED, so this is exact.
        if !wait.is_queued() {
            return false;
        }
        // SAFETY: `wait` is queued, and by the contract in this queue, under the lock.
        unsafe { self.unlink(wait) };
        wait.state.store(IDLE, Ordering::Relaxed);
        true
    }

    /// # Safety
    /// `wait` is in this queue, and the caller holds the record's lock.
    unsafe fn unlink(&mut self, wait: &Wait) {
        // SAFETY: a queued record's node belongs to the holder of the lock, the caller.
        let (prev, next) = wait
            .node
            .with_mut(|node| unsafe { ((*node).prev, (*node).next) });
        // SAFETY: neighbours in the list are queued, hence alive.
        match unsafe { prev.as_ref() } {
            // SAFETY: as for `wait`'s own node.
            Some(prev) => prev.node.with_mut(|node| unsafe { (*node).next = next }),
            None => self.head = next,
        }
        // SAFETY: neighbours in the list are queued, hence alive.
        match unsafe { next.as_ref() } {
            // SAFETY: as for `wait`'s own node.
            Some(next) => next.node.with_mut(|node| unsafe { (*node).prev = prev }),
            None => self.tail = prev,
        }
    }
}

impl Unlinked {
    /// Tells the waiter's record why it was taken out and returns the handle to wake. The
    /// record may be gone when this returns.
    ///
    /// # Safety
    /// The caller has held the record's lock since it was unlinked.
    pub(crate) unsafe fn take(self, reason: Reason) -> Waiter {
        // SAFETY: still marked QUEUED, so its owner cannot leave: to do so it needs the lock
        // that the caller holds, or the store below.
        let wait = unsafe { self.0.as_ref() };
        // SAFETY: as above; the node belongs to the holder of the lock.
        let waiter = wait.node.with_mut(|node| unsafe { (*node).waiter });
        wait.set_taken(reason);
        waiter
    }
}
