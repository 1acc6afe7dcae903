//! Channels with a buffer of fixed size.
//!
//! Sends and receives that find room or a value touch the ring only
//! (`protocol/ring.rs`) and look whether somebody waits at the other end. The
//! rest happens under the lock, in one function, [`Channel::settle`]: it lets
//! the waiters go on for whom there is something, in their order. Everything
//! that may have made something available ends by settling, so the order of
//! values is the ring's: who waits gets its value out of the ring, or puts it
//! in when it is its turn.

use super::flavor::{Flavor, Outcome, Side, TRY, Token};
use super::wait::{Queue, Record, Verdict, Woken, await_verdict};
use crate::clock::{self, Nanos};
use crate::lock::{ShortGuard, ShortLock};
use crate::protocol::atomic::AtomicU64;
use crate::protocol::ring::{Place, Pop, Push, Ring};
use crate::sched::{Inside, Waiter};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;

/// See the module.
pub(crate) struct Channel<T> {
    ring: Ring,
    slots: Box<[Slot<T>]>,
    queues: ShortLock<Queues>,
}

struct Slot<T> {
    stamp: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

struct Queues {
    senders: Queue,
    receivers: Queue,
}

/// Waiters served by one hold of the lock.
const BATCH: usize = 64;

/// The largest capacity; a buffer of it does not fit into memory either.
const MAX_CAPACITY: usize = u32::MAX as usize;

impl Queues {
    #[inline]
    fn of(&mut self, side: Side) -> &mut Queue {
        match side {
            Side::Send => &mut self.senders,
            Side::Receive => &mut self.receivers,
        }
    }
}

impl<T> Channel<T> {
    /// # Panics
    /// When `capacity` slots are more than memory can have.
    pub(crate) fn new(capacity: usize) -> Channel<T> {
        assert!(
            capacity <= MAX_CAPACITY
                && capacity
                    .checked_mul(size_of::<Slot<T>>())
                    .is_some_and(|n| n <= isize::MAX as usize),
            "channel: capacity {capacity} out of range"
        );
        let slot = |i| Slot {
            stamp: AtomicU64::new(i as u64),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        };
        Channel {
            ring: Ring::new(capacity),
            slots: (0..capacity).map(slot).collect(),
            queues: ShortLock::new(Queues {
                senders: Queue::new(),
                receivers: Queue::new(),
            }),
        }
    }

    #[inline]
    fn stamp(&self, index: usize) -> &AtomicU64 {
        &self.slot(index).stamp
    }

    #[inline]
    fn slot(&self, index: usize) -> &Slot<T> {
        debug_assert!(index < self.slots.len());
        // SAFETY: the ring's indices are below its capacity, the slots' number.
        unsafe { self.slots.get_unchecked(index) }
    }

    /// # Safety
    /// `place` was given by a push of this ring; `from` holds a T, which moves.
    #[inline]
    unsafe fn fill(&self, place: Place, from: *const T) {
        let slot = self.slot(place.index);
        // SAFETY: until it is released, the slot of a push is the pusher's, and
        // empty.
        unsafe { ptr::copy_nonoverlapping(from, slot.value.get().cast::<T>(), 1) };
        place.release(&slot.stamp);
    }

    /// # Safety
    /// `place` was given by a pop of this ring; `to` has room for a T.
    #[inline]
    unsafe fn empty(&self, place: Place, to: *mut T) {
        let slot = self.slot(place.index);
        // SAFETY: until it is released, the slot of a pop is the popper's, and
        // holds a value that was published by the pusher's release.
        unsafe { ptr::copy_nonoverlapping(slot.value.get().cast::<T>(), to, 1) };
        place.release(&slot.stamp);
    }

    /// One step of the ring, without a look at who waits.
    ///
    /// # Safety
    /// `slot` holds a T (to send) or has room for one (to receive); after `Done`
    /// it is the other way round. `TimedOut`: full, or empty.
    #[inline]
    unsafe fn step(&self, side: Side, slot: *mut T) -> Outcome {
        match side {
            Side::Send => match self.ring.push(|i| self.stamp(i)) {
                Push::Ok(place) => {
                    // SAFETY: the caller's promise.
                    unsafe { self.fill(place, slot) };
                    Outcome::Done
                }
                Push::Full => Outcome::TimedOut,
                Push::Closed => Outcome::Closed,
            },
            Side::Receive => match self.ring.pop(|i| self.stamp(i)) {
                Pop::Ok(place) => {
                    // SAFETY: the caller's promise.
                    unsafe { self.empty(place, slot) };
                    Outcome::Done
                }
                Pop::Empty => Outcome::TimedOut,
                Pop::Drained => Outcome::Closed,
            },
        }
    }

    /// Reserves a step.
    fn reserve(&self, side: Side) -> Outcome {
        match side {
            Side::Send => match self.ring.reserve_push() {
                Push::Ok(()) => Outcome::Done,
                Push::Full => Outcome::TimedOut,
                Push::Closed => Outcome::Closed,
            },
            Side::Receive => match self.ring.reserve_pop() {
                Pop::Ok(()) => Outcome::Done,
                Pop::Empty => Outcome::TimedOut,
                Pop::Drained => Outcome::Closed,
            },
        }
    }

    /// Whether a step would not have to wait.
    fn can_step(&self, side: Side) -> bool {
        match side {
            Side::Send => self.ring.is_closed() || self.ring.can_push(),
            Side::Receive => self.ring.can_pop() || (self.ring.is_closed() && self.ring.len() == 0),
        }
    }

    #[inline]
    fn is_waited_for(&self, side: Side) -> bool {
        match side {
            Side::Send => self.ring.senders_wait(),
            Side::Receive => self.ring.receivers_wait(),
        }
    }

    /// After a step of `side`: the other side may be able to go on.
    #[inline]
    fn stepped(&self, inside: &mut Inside, side: Side) {
        if self.is_waited_for(side.other()) {
            self.settle_now(inside);
        }
    }

    /// Lets everybody go on for whom there is something.
    #[cold]
    #[inline(never)]
    fn settle_now(&self, inside: &mut Inside) {
        let (queues, woken) = self.lock_settled(inside);
        drop(queues);
        woken.wake(inside);
    }

    /// The lock, with nobody waiting for whom there is something; and those who
    /// are to be woken once it is free.
    fn lock_settled(&self, inside: &mut Inside) -> (ShortGuard<'_, Queues>, Woken) {
        loop {
            let mut queues = self.queues.lock(inside);
            let mut woken = Woken::default();
            let mut budget = BATCH;
            loop {
                self.serve(inside, &mut queues, Side::Receive, &mut woken, &mut budget);
                // What senders put in, receivers may be waiting for.
                let progress = self.serve(inside, &mut queues, Side::Send, &mut woken, &mut budget);
                if !progress || queues.receivers.is_empty() || budget == 0 {
                    break;
                }
            }
            if budget > 0 {
                return (queues, woken);
            }
            drop(queues);
            woken.wake(inside);
        }
    }

    /// Takes the steps of those who wait on `side`, in order, until one can't.
    fn serve(
        &self,
        inside: &mut Inside,
        queues: &mut Queues,
        side: Side,
        woken: &mut Woken,
        budget: &mut usize,
    ) -> bool {
        let mut progress = false;
        while *budget > 0
            && let Some(found) = queues.of(side).first()
        {
            if found.is_watch() && !self.can_step(side) {
                break;
            }
            if !found.claim() {
                self.unlink(queues, side, &found);
                continue;
            }
            let outcome = if found.is_watch() {
                Outcome::Done
            } else if found.is_late() {
                self.reserve(side)
            } else {
                // SAFETY: a claimed record's slot is as its owner's operation
                // needs it, and `Done` tells the owner.
                unsafe { self.step(side, found.slot().cast()) }
            };
            let verdict = match outcome {
                Outcome::Done => Verdict::Done,
                Outcome::Closed => Verdict::Closed,
                Outcome::TimedOut => {
                    found.revert();
                    break;
                }
            };
            progress = true;
            *budget -= 1;
            self.unlink(queues, side, &found);
            woken.add(inside, found.give(verdict));
        }
        progress
    }

    #[inline]
    fn unlink(&self, queues: &mut Queues, side: Side, record: &Record) {
        if queues.of(side).remove(record) {
            self.ring.end_wait(side);
        }
    }

    /// Sends the value at `slot`, or receives one into it.
    ///
    /// # Safety
    /// `slot` holds a T (to send) or has room for one (to receive). After `Done`
    /// it is the other way round.
    #[inline]
    pub(crate) unsafe fn run(
        &self,
        inside: &mut Inside,
        side: Side,
        slot: *mut T,
        deadline: Nanos,
    ) -> Outcome {
        // Who waits on our own side was here before us.
        if !self.is_waited_for(side) {
            // SAFETY: the caller's promise.
            match unsafe { self.step(side, slot) } {
                Outcome::Done => {
                    self.stepped(inside, side);
                    return Outcome::Done;
                }
                Outcome::Closed => return Outcome::Closed,
                Outcome::TimedOut if deadline == TRY => return Outcome::TimedOut,
                Outcome::TimedOut => {}
            }
        } else if deadline == TRY && !self.can_step(side) {
            return Outcome::TimedOut;
        }
        // SAFETY: the caller's promise.
        unsafe { self.run_in_line(inside, side, slot, deadline) }
    }

    /// `run`, when one has to wait, or when others do.
    ///
    /// # Safety
    /// As `run`.
    #[inline(never)]
    unsafe fn run_in_line(
        &self,
        inside: &mut Inside,
        side: Side,
        slot: *mut T,
        deadline: Nanos,
    ) -> Outcome {
        let (mut queues, woken) = self.lock_settled(inside);
        self.ring.begin_wait(side);
        let outcome = if queues.of(side).is_empty() {
            // SAFETY: the caller's promise.
            unsafe { self.step(side, slot) }
        } else {
            // They could not go on, and are ahead of us. (When closed, nobody
            // is left by settling, except behind a reservation.)
            Outcome::TimedOut
        };
        if outcome != Outcome::TimedOut || clock::has_passed(deadline) || inside.refuses() {
            self.ring.end_wait(side);
            drop(queues);
            woken.wake(inside);
            if outcome == Outcome::Done {
                self.stepped(inside, side);
            }
            return outcome;
        }
        let waiter = inside.prepare(side.reason());
        let record = Record::single(waiter, slot.cast());
        // SAFETY: it stays here until the verdict or the deadline, which
        // unlinks it.
        unsafe { queues.of(side).push_back(&record) };
        drop(queues);
        woken.wake(inside);
        let verdict = await_verdict(
            inside,
            &record,
            waiter,
            side.reason(),
            deadline,
            &self.queues,
            |queues, record| self.unlink(queues, side, record),
        );
        match verdict {
            Some(Verdict::Done) => Outcome::Done,
            Some(_) => Outcome::Closed,
            None => Outcome::TimedOut,
        }
    }

    /// Completes a send that was chosen with a credit.
    ///
    /// # Safety
    /// A token of this channel's sending side was not used yet; `slot` holds a T.
    pub(crate) unsafe fn commit_send(&self, inside: &mut Inside, slot: *mut T) -> Outcome {
        let place = self.ring.commit_push(|i| self.stamp(i));
        let outcome = match place {
            Some(place) => {
                // SAFETY: the caller's promise.
                unsafe { self.fill(place, slot) };
                Outcome::Done
            }
            None => Outcome::Closed,
        };
        self.reservation_ended(inside);
        outcome
    }

    /// Completes a receive that was chosen with a credit.
    ///
    /// # Safety
    /// A token of this channel's receiving side was not used yet; `slot` has
    /// room for a T.
    pub(crate) unsafe fn commit_recv(&self, inside: &mut Inside, slot: *mut T) {
        let place = self.ring.commit_pop(|i| self.stamp(i));
        // SAFETY: the caller's promise.
        unsafe { self.empty(place, slot) };
        self.reservation_ended(inside);
    }

    /// A reservation may have kept both sides from going on: the other as any
    /// step does, its own because only so many can be reserved, and because a
    /// closed channel is drained only when none is left.
    fn reservation_ended(&self, inside: &mut Inside) {
        if self.ring.senders_wait() || self.ring.receivers_wait() {
            self.settle_now(inside);
        }
    }

    /// Closes; true the first time. Wakes all receivers, then all senders.
    pub(crate) fn close(&self, inside: &mut Inside) -> bool {
        let first = self.ring.close();
        self.settle_now(inside);
        first
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ring.is_closed()
    }

    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Drops the values that nobody will receive, each outside the runtime.
    /// The channel is closed and has no receivers.
    pub(crate) fn discard(&self) {
        loop {
            let mut value = MaybeUninit::<T>::uninit();
            let inside = Inside::enter();
            // SAFETY: there is room for a T.
            let outcome = unsafe { self.step(Side::Receive, value.as_mut_ptr()) };
            drop(inside);
            if outcome != Outcome::Done {
                return;
            }
            // SAFETY: `Done`: it holds a value, which is ours.
            unsafe { value.assume_init_drop() };
        }
    }
}

impl<T> Drop for Channel<T> {
    fn drop(&mut self) {
        // The last receiver did this already, unless a value panicked when it
        // was dropped: here are the ones behind it.
        self.discard();
    }
}

impl<T> Flavor for Channel<T> {
    fn attempt(&self, inside: &mut Inside, side: Side, slot: *mut ()) -> Option<Token> {
        let step = || {
            if slot.is_null() {
                return self.reserve(side);
            }
            // SAFETY: a slot that a select gives is as its side needs it.
            unsafe { self.step(side, slot.cast()) }
        };
        let outcome = if self.is_waited_for(side) {
            // Perhaps by one who is only about to look. Who is in the queue could not go on, and is
            // ahead of us. (When closed, only receivers are, behind a reservation.)
            let (mut queues, woken) = self.lock_settled(inside);
            let outcome = if queues.of(side).is_empty() {
                step()
            } else {
                Outcome::TimedOut
            };
            drop(queues);
            woken.wake(inside);
            outcome
        } else {
            step()
        };
        match outcome {
            // A reservation alone lets nobody go on.
            Outcome::Done if slot.is_null() => Some(Token::Credit),
            Outcome::Done => {
                self.stepped(inside, side);
                Some(Token::Received)
            }
            Outcome::Closed => Some(Token::Closed),
            Outcome::TimedOut => None,
        }
    }

    fn is_ready(&self, _inside: &Inside, side: Side) -> bool {
        self.can_step(side)
    }

    unsafe fn enroll(&self, inside: &mut Inside, side: Side, record: &Record) -> bool {
        let (mut queues, woken) = self.lock_settled(inside);
        self.ring.begin_wait(side);
        let enrolled = !self.can_step(side);
        if enrolled {
            // SAFETY: the caller's promise.
            unsafe { queues.of(side).push_back(record) };
        } else {
            self.ring.end_wait(side);
        }
        drop(queues);
        woken.wake(inside);
        enrolled
    }

    fn withdraw(&self, inside: &mut Inside, side: Side, record: &Record) {
        let mut queues = self.queues.lock(inside);
        self.unlink(&mut queues, side, record);
    }

    fn renew(&self, inside: &mut Inside, _side: Side, record: &Record, waiter: Waiter) {
        let _queues = self.queues.lock(inside);
        record.renew(waiter);
    }

    unsafe fn undo(&self, inside: &mut Inside, side: Side, token: Token) {
        let Token::Credit = token else { return };
        match side {
            Side::Send => self.ring.undo_push(),
            Side::Receive => self.ring.undo_pop(),
        }
        self.reservation_ended(inside);
    }
}
