//! The record of one descriptor: the state machine of its two directions.
//!
//! What always holds (README.md has the protocol and the argument):
//! - `words`, `generation` and `queues` change only under `lock`; `words` is also read
//!   without it, by [`Record::seen`] and [`Record::pass_on`].
//! - A word's count of events never goes back, not even when the record is used again, so
//!   equal counts mean that no event came in between.
//! - While `CLOSED` is set the queue is empty. `QUEUED` is set exactly when it is not.
//! - No foreign code runs under the lock, nothing is allocated and no system call is made:
//!   it is held for some twenty instructions. Wake functions run after it is released.
//! - Records are never freed while the poller lives. An event carries the generation of the
//!   use it was registered for, and is dropped when that use is over.
//!
//! A record is one cache line: delivering an event or parking touches one line and the
//! waiter's frame.

use crate::{
    Direction,
    lock::{Held, Lock},
    sync::{AtomicU32, AtomicU64, Ordering, UnsafeCell},
    waiter::{Queue, Reason, Unlinked, Wait, Waiter},
};

/// The descriptor was closed.
const CLOSED: u64 = 1;
/// Somebody stands in the queue.
const QUEUED: u64 = 2;
/// One event: the bits above count them.
const EVENT: u64 = 4;

/// How many are taken out of a queue under one hold of the lock.
const BATCH: usize = 16;

/// What was known about a direction before an attempt: how many events had come, and whether
/// the descriptor was closed. See [`Descriptor::seen`](crate::Descriptor::seen).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Seen(u64);

impl Seen {
    /// Whether the descriptor was closed already.
    #[must_use]
    pub fn is_closed(self) -> bool {
        self.0 & CLOSED != 0
    }
}

/// What came of queueing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Prepared {
    /// An event came after the attempt began: not queued, try again.
    Ready,
    /// Queued: the handle will be passed to a `wake` function. Park.
    Waiting,
    /// Not queued: the descriptor is closed.
    Closed,
}

/// What ended a wait.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[must_use = "who was told Event has to try again, or to pass it on"]
pub enum Finished {
    /// An event: try again. Then either wait again or call
    /// [`pass_on`](crate::Descriptor::pass_on), also when giving up without a try.
    Event,
    /// Nothing of this crate's, or `notify`: a timer, a changed deadline, a stray wake-up.
    Nothing,
    /// The descriptor was closed.
    Closed,
}

/// One descriptor's state. Aligned so that no two share a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Record {
    /// Per direction: events << 2 | QUEUED | CLOSED. Stored under the lock.
    words: [AtomicU64; 2],
    /// Over everything here.
    lock: Lock,
    /// Which use of this record this is. Stored under the lock; read by its owner without.
    generation: AtomicU32,
    /// Under the lock.
    queues: UnsafeCell<[Queue; 2]>,
}

// SAFETY: the queues and the waiters' records they point to are accessed only under `lock`
// (every access goes through `Locked`); the rest is atomic.
unsafe impl Send for Record {}
// SAFETY: as for Send.
unsafe impl Sync for Record {}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Record>() == 64);

/// The record while its lock is held, until this is dropped.
struct Locked<'r> {
    record: &'r Record,
    _held: Held<'r>,
}

impl Locked<'_> {
    fn word(&self, direction: Direction) -> u64 {
        // Relaxed: words change under the lock only, and we hold it.
        self.record.words[direction as usize].load(Ordering::Relaxed)
    }

    fn set_word(&self, direction: Direction, word: u64) {
        // Release pairs with the Acquire in `seen`: whoever counts this event in finds the
        // descriptor at least as ready as the poller did.
        self.record.words[direction as usize].store(word, Ordering::Release);
    }

    fn queue<R>(&self, direction: Direction, f: impl FnOnce(&mut Queue) -> R) -> R {
        // SAFETY: the lock is held for as long as `self` lives, and `f` is this file's code,
        // which does not come back here: the reference is the only one.
        self.record
            .queues
            .with_mut(|queues| f(unsafe { &mut (*queues)[direction as usize] }))
    }

    /// Takes the oldest waiter of a direction out, adding `events` to the word, whether or
    /// not there is one.
    fn pop(&self, direction: Direction, reason: Reason, events: u64) -> Option<Waiter> {
        let word = self.word(direction).wrapping_add(events);
        let (unlinked, empty): (Option<Unlinked>, bool) = self.queue(direction, |queue| {
            // SAFETY: the lock is held.
            let unlinked = unsafe { queue.pop() };
            (unlinked, queue.is_empty())
        });
        let queued = if empty { 0 } else { QUEUED };
        // Before the waiter is told, so that what it reads in `pass_on` is not older.
        self.set_word(direction, word & !QUEUED | queued);
        // SAFETY: the lock is held, and was when `unlinked` was taken out.
        unlinked.map(|unlinked| unsafe { unlinked.take(reason) })
    }
}

impl Record {
    pub(crate) fn new() -> Self {
        Self {
            words: [AtomicU64::new(CLOSED), AtomicU64::new(CLOSED)],
            lock: Lock::new(),
            generation: AtomicU32::new(0),
            queues: UnsafeCell::new([Queue::new(), Queue::new()]),
        }
    }

    #[inline]
    fn lock(&self) -> Locked<'_> {
        Locked {
            record: self,
            _held: self.lock.hold(),
        }
    }

    /// Begins a use of the record, which must be closed and the caller's alone but for the
    /// poller, and returns its generation.
    pub(crate) fn open(&self) -> u32 {
        let locked = self.lock();
        for direction in Direction::BOTH {
            locked.set_word(direction, locked.word(direction) & !CLOSED);
        }
        self.generation.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self, direction: Direction) -> Seen {
        // Acquire: the attempt that follows does not see a socket older than this count.
        Seen(self.words[direction as usize].load(Ordering::Acquire) & !QUEUED)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.seen(Direction::Read).is_closed()
    }

    /// Queues a waiter unless something came after `seen`.
    ///
    /// # Safety
    /// `wait` is in no queue, and stays in place and alive until [`finish`](Self::finish)
    /// has returned for it.
    pub(crate) unsafe fn prepare(
        &self,
        direction: Direction,
        seen: Seen,
        wait: &Wait,
        waiter: Waiter,
    ) -> Prepared {
        let locked = self.lock();
        let word = locked.word(direction);
        if word & CLOSED != 0 {
            return Prepared::Closed;
        }
        if word & !QUEUED != seen.0 {
            return Prepared::Ready;
        }
        // SAFETY: the lock is held; the rest is this function's own contract.
        locked.queue(direction, |queue| unsafe { queue.push(wait, waiter) });
        locked.set_word(direction, word | QUEUED);
        Prepared::Waiting
    }

    /// Ends a wait: afterwards `wait` is in no queue, and nobody else touches it.
    ///
    /// # Safety
    /// The caller owns `wait`, and `prepare` of this record and direction returned `Waiting`
    /// for it.
    pub(crate) unsafe fn finish(&self, direction: Direction, wait: &Wait) -> Finished {
        // The common case without the lock: a waker took it out.
        let mut reason = wait.reason();
        if reason.is_none() {
            let locked = self.lock();
            let (removed, empty) = locked.queue(direction, |queue| {
                // SAFETY: the lock is held; by contract it was last pushed to this queue.
                let removed = unsafe { queue.remove(wait) };
                (removed, queue.is_empty())
            });
            if removed {
                let queued = if empty { 0 } else { QUEUED };
                locked.set_word(direction, locked.word(direction) & !QUEUED | queued);
                return Finished::Nothing;
            }
            reason = wait.reason();
        }
        match reason {
            Some(Reason::Event) => Finished::Event,
            Some(Reason::Closed) => Finished::Closed,
            Some(Reason::Notified) | None => Finished::Nothing,
        }
    }

    /// An event for the use `generation`: counts it and wakes the oldest waiter of each
    /// direction that it names. Returns false if it came too late for that use.
    pub(crate) fn event(
        &self,
        generation: u32,
        read: bool,
        write: bool,
        wake: &mut dyn FnMut(Waiter),
    ) -> bool {
        let locked = self.lock();
        if self.generation.load(Ordering::Relaxed) != generation {
            return false;
        }
        let reader = read
            .then(|| locked.pop(Direction::Read, Reason::Event, EVENT))
            .flatten();
        let writer = write
            .then(|| locked.pop(Direction::Write, Reason::Event, EVENT))
            .flatten();
        drop(locked);
        reader.into_iter().chain(writer).for_each(wake);
        true
    }

    /// Hands the turn that an event gave to the next waiter, if there is one.
    #[inline]
    pub(crate) fn pass_on(&self, direction: Direction, wake: &mut dyn FnMut(Waiter)) {
        // A waiter that queues after this load tried after the event: it needs no turn.
        if self.words[direction as usize].load(Ordering::Relaxed) & QUEUED == 0 {
            return;
        }
        let next = self.lock().pop(direction, Reason::Event, 0);
        if let Some(waiter) = next {
            wake(waiter);
        }
    }

    /// Wakes all that wait in a direction now.
    pub(crate) fn notify(&self, direction: Direction, wake: &mut dyn FnMut(Waiter)) {
        let locked = self.lock();
        // SAFETY: the lock is held.
        let count = locked.queue(direction, |queue| unsafe { queue.count() });
        drop(locked);
        // New ones join at the tail, so `count` pops reach all that stood there; if some
        // left by themselves, as many newer ones get a stray wake-up.
        self.drain(direction, Reason::Notified, count, wake);
    }

    /// Ends this use of the record: no event of it counts any more, nobody can queue, and
    /// all that wait are woken. Returns false if that had been done before.
    pub(crate) fn close(&self, wake: &mut dyn FnMut(Waiter)) -> bool {
        let locked = self.lock();
        if locked.word(Direction::Read) & CLOSED != 0 {
            return false;
        }
        for direction in Direction::BOTH {
            locked.set_word(direction, locked.word(direction) | CLOSED);
        }
        let generation = self.generation.load(Ordering::Relaxed);
        self.generation
            .store(generation.wrapping_add(1), Ordering::Relaxed);
        drop(locked);
        for direction in Direction::BOTH {
            self.drain(direction, Reason::Closed, usize::MAX, wake);
        }
        true
    }

    /// Takes out and wakes up to `count` waiters, a batch under each hold of the lock.
    fn drain(
        &self,
        direction: Direction,
        reason: Reason,
        mut count: usize,
        wake: &mut dyn FnMut(Waiter),
    ) {
        while count > 0 {
            let mut batch = [None; BATCH];
            let locked = self.lock();
            let mut taken = 0;
            while taken < BATCH.min(count) {
                let Some(waiter) = locked.pop(direction, reason, 0) else {
                    count = taken;
                    break;
                };
                batch[taken] = Some(waiter);
                taken += 1;
            }
            drop(locked);
            count -= taken;
            batch.into_iter().flatten().for_each(&mut *wake);
        }
    }
}
