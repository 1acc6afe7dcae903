//! Channels with a buffer that grows: a list of blocks under the channel's
//! lock.
//!
//! Senders never wait. Memory is got and given back outside the runtime: a send
//! that finds no room leaves, allocates a block, and comes back with it; a
//! receive that empties a block keeps it as the spare one, or takes it out
//! as [`Garbage`]. In a steady state one block goes round.
//!
//! A lock, not a lock-free list: lock and unlock are one swap and one store,
//! the list takes at least as much for its own words, and the queue of waiting
//! receivers is there without a handshake.

use super::flavor::{Flavor, Outcome, Side, TRY, Token};
use super::wait::{Queue, Record, Verdict, Woken, await_verdict};
use crate::clock::{self, Nanos};
use crate::lock::{ShortGuard, ShortLock};
use crate::sched::{Inside, Waiter, pass_by};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Values in a block.
const BLOCK: usize = 31;

struct Block<T> {
    next: *mut Block<T>,
    values: [UnsafeCell<MaybeUninit<T>>; BLOCK],
}

/// A block that nobody uses, or a chain of them.
struct Garbage<T>(*mut Block<T>);

impl<T> Garbage<T> {
    fn none() -> Garbage<T> {
        Garbage(ptr::null_mut())
    }

    /// One block. Outside the runtime.
    fn allocate() -> Garbage<T> {
        let block = Box::into_raw(Box::<Block<T>>::new_uninit()).cast::<Block<T>>();
        // SAFETY: the block is ours, and its values may be uninitialised.
        unsafe { (&raw mut (*block).next).write(ptr::null_mut()) };
        Garbage(block)
    }

    /// Adds a block without values.
    fn add(&mut self, block: *mut Block<T>) {
        // SAFETY: the caller took it out of the list; it is nobody else's.
        unsafe { (*block).next = self.0 };
        self.0 = block;
    }

    /// Takes one block out.
    fn take(&mut self) -> Option<*mut Block<T>> {
        // SAFETY: null, or a block that is ours.
        let block = unsafe { self.0.as_mut() }?;
        self.0 = std::mem::replace(&mut block.next, ptr::null_mut());
        Some(block)
    }
}

impl<T> Drop for Garbage<T> {
    /// Outside the runtime.
    fn drop(&mut self) {
        while let Some(block) = self.take() {
            // SAFETY: it came from `allocate` and is ours. It has no values:
            // `MaybeUninit` drops none.
            drop(unsafe { Box::from_raw(block) });
        }
    }
}

/// See the module.
pub(crate) struct Channel<T> {
    state: ShortLock<State<T>>,
    /// Twice the values that are there for anybody, and 1 when closed: what
    /// `state` says, written under its lock, for those who only look.
    hint: AtomicUsize,
    /// There are more spare blocks than one: see `tidy`.
    excess: AtomicBool,
}

struct State<T> {
    /// The block that is read, and where in it; null before the first value.
    head: *mut Block<T>,
    read: usize,
    /// The block that is written, and where in it; BLOCK when it is full, or none.
    tail: *mut Block<T>,
    write: usize,
    len: usize,
    /// Values that somebody will take later.
    reserved: usize,
    spare: Garbage<T>,
    receivers: Queue,
    closed: bool,
}

// SAFETY: the blocks belong to the state, and are touched under its lock.
unsafe impl<T: Send> Send for State<T> {}

/// Receivers served by one hold of the lock.
const BATCH: usize = 64;

impl<T> State<T> {
    /// # Safety
    /// `from` holds a T. True: it was moved. False: there is no block for it.
    #[inline]
    unsafe fn push(&mut self, from: *const T) -> bool {
        if self.write == BLOCK {
            let Some(block) = self.spare.take() else {
                return false;
            };
            // SAFETY: null, or the last block of the list.
            match unsafe { self.tail.as_mut() } {
                Some(tail) => tail.next = block,
                None => self.head = block,
            }
            self.tail = block;
            self.write = 0;
        }
        // SAFETY: the tail is a block, and this place in it is free.
        unsafe {
            ptr::copy_nonoverlapping(from, (*self.tail).values[self.write].get().cast::<T>(), 1)
        };
        self.write += 1;
        self.len += 1;
        true
    }

    /// # Safety
    /// There is a value, and `to` has room for it.
    #[inline]
    unsafe fn pop(&mut self, to: *mut T, garbage: &mut Garbage<T>) {
        // SAFETY: there is a value, so the head is a block, and it is here.
        unsafe {
            ptr::copy_nonoverlapping((*self.head).values[self.read].get().cast::<T>(), to, 1)
        };
        self.read += 1;
        self.len -= 1;
        if self.read == BLOCK {
            let block = self.head;
            // SAFETY: the head is a block.
            self.head = unsafe { (*block).next };
            self.read = 0;
            if self.head.is_null() {
                self.tail = ptr::null_mut();
                debug_assert_eq!(self.write, BLOCK);
            }
            if self.spare.0.is_null() {
                self.spare.add(block);
            } else {
                garbage.add(block);
            }
        }
    }

    #[inline]
    fn available(&self) -> usize {
        self.len - self.reserved
    }

    /// Empty for ever.
    #[inline]
    fn is_drained(&self) -> bool {
        self.closed && self.len == 0
    }

    #[inline]
    fn is_ready(&self) -> bool {
        self.available() > 0 || self.is_drained()
    }

    /// One receive.
    ///
    /// # Safety
    /// `to` has room for a T, or is null to reserve only.
    #[inline]
    unsafe fn step(&mut self, to: *mut T, garbage: &mut Garbage<T>) -> Outcome {
        if self.available() == 0 {
            return if self.is_drained() {
                Outcome::Closed
            } else {
                Outcome::TimedOut
            };
        }
        if to.is_null() {
            self.reserved += 1;
        } else {
            // SAFETY: one is available; the caller's promise.
            unsafe { self.pop(to, garbage) };
        }
        Outcome::Done
    }

    /// Lets receivers go on for whom there is something; false when there may be
    /// more of them.
    fn settle(&mut self, inside: &mut Inside, woken: &mut Woken, garbage: &mut Garbage<T>) -> bool {
        let mut budget = BATCH;
        while let Some(found) = self.receivers.first() {
            if !self.is_ready() {
                break;
            }
            if budget == 0 {
                return false;
            }
            budget -= 1;
            self.receivers.remove(&found);
            if !found.claim() {
                continue;
            }
            let verdict = if found.is_watch() {
                Verdict::Done
            } else {
                // SAFETY: a claimed record's slot has room for a T, or is null.
                match unsafe { self.step(found.slot().cast(), garbage) } {
                    Outcome::Closed => Verdict::Closed,
                    _ => Verdict::Done,
                }
            };
            woken.add(inside, found.give(verdict));
        }
        true
    }
}

impl<T> Channel<T> {
    pub(crate) fn new() -> Channel<T> {
        Channel {
            state: ShortLock::new(State {
                head: ptr::null_mut(),
                read: 0,
                tail: ptr::null_mut(),
                write: BLOCK,
                len: 0,
                reserved: 0,
                spare: Garbage::none(),
                receivers: Queue::new(),
                closed: false,
            }),
            hint: AtomicUsize::new(0),
            excess: AtomicBool::new(false),
        }
    }

    /// Settles, publishes the hint, unlocks and wakes.
    #[inline]
    fn finish<'a>(
        &'a self,
        inside: &mut Inside,
        mut state: ShortGuard<'a, State<T>>,
        garbage: &mut Garbage<T>,
    ) {
        if !state.receivers.is_empty() {
            // Before any verdict: who gets one may look again while the lock is still held.
            self.publish(&state);
        }
        let mut woken = Woken::default();
        while !state.settle(inside, &mut woken, garbage) {
            self.publish(&state);
            drop(state);
            std::mem::take(&mut woken).wake(inside);
            state = self.state.lock(inside);
        }
        self.publish(&state);
        drop(state);
        woken.wake(inside);
    }

    #[inline]
    fn publish(&self, state: &State<T>) {
        let closed = usize::from(state.closed && state.len == state.reserved);
        self.hint
            .store(2 * state.available() + closed, Ordering::Relaxed);
    }

    /// Keeps an emptied block as one more spare: a select frees nothing before it
    /// has left the runtime, and then calls `tidy`.
    fn keep(&self, state: &mut State<T>, garbage: &mut Garbage<T>) {
        while let Some(block) = garbage.take() {
            state.spare.add(block);
            self.excess.store(true, Ordering::Relaxed);
        }
    }

    /// Sends the value at `from`; never waits. Called outside the runtime.
    ///
    /// # Safety
    /// `from` holds a T, which moves when the answer is `Done`.
    pub(crate) unsafe fn send(&self, from: *const T) -> Outcome {
        let mut fresh = Garbage::none();
        loop {
            let mut garbage = Garbage::none();
            let mut inside = Inside::enter();
            let mut state = self.state.lock(&inside);
            if state.closed {
                drop(state);
                drop(inside);
                return Outcome::Closed;
            }
            if let Some(block) = fresh.take() {
                state.spare.add(block);
            }
            // SAFETY: the caller's promise.
            let sent = unsafe { state.push(from) };
            if sent {
                self.finish(&mut inside, state, &mut garbage);
                drop(inside);
                return Outcome::Done;
            }
            drop(state);
            drop(inside);
            fresh = Garbage::allocate();
        }
    }

    /// Receives a value into `slot`. Called outside the runtime.
    ///
    /// # Safety
    /// `slot` has room for a T; it has one when the answer is `Done`.
    #[inline]
    pub(crate) unsafe fn recv(&self, slot: *mut T, deadline: Nanos) -> Outcome {
        if deadline == TRY && self.hint.load(Ordering::Relaxed) == 0 {
            pass_by();
            return Outcome::TimedOut;
        }
        let mut garbage = Garbage::none();
        let mut inside = Inside::enter();
        // SAFETY: the caller's promise.
        let outcome = unsafe { self.recv_inside(&mut inside, slot, deadline, &mut garbage) };
        drop(inside);
        outcome
    }

    /// # Safety
    /// As `recv`.
    #[inline]
    unsafe fn recv_inside(
        &self,
        inside: &mut Inside,
        slot: *mut T,
        deadline: Nanos,
        garbage: &mut Garbage<T>,
    ) -> Outcome {
        let mut state = self.state.lock(inside);
        // While something is available nobody waits for it.
        // SAFETY: the caller's promise.
        let outcome = unsafe { state.step(slot, garbage) };
        if outcome != Outcome::TimedOut || clock::has_passed(deadline) || inside.refuses() {
            self.publish(&state);
            return outcome;
        }
        let reason = Side::Receive.reason();
        let waiter = inside.prepare(reason);
        let record = Record::single(waiter, slot.cast());
        // SAFETY: it stays here until the verdict or the deadline, which
        // unlinks it.
        unsafe { state.receivers.push_back(&record) };
        drop(state);
        let unlink = |state: &mut State<T>, record: &Record| _ = state.receivers.remove(record);
        match await_verdict(
            inside,
            &record,
            waiter,
            reason,
            deadline,
            &self.state,
            unlink,
        ) {
            Some(Verdict::Done) => Outcome::Done,
            Some(_) => Outcome::Closed,
            None => Outcome::TimedOut,
        }
    }

    /// Completes a receive that was chosen with a credit. Called outside.
    ///
    /// # Safety
    /// A token of this channel was not used yet; `slot` has room for a T.
    pub(crate) unsafe fn commit_recv(&self, slot: *mut T) {
        let mut garbage = Garbage::none();
        let mut inside = Inside::enter();
        let mut state = self.state.lock(&inside);
        state.reserved -= 1;
        // SAFETY: a reserved value is there; the caller's promise.
        unsafe { state.pop(slot, &mut garbage) };
        self.finish(&mut inside, state, &mut garbage);
        drop(inside);
    }

    /// Closes; true the first time. Wakes all receivers. Called outside.
    pub(crate) fn close(&self) -> bool {
        let mut garbage = Garbage::none();
        let mut inside = Inside::enter();
        let mut state = self.state.lock(&inside);
        let first = !state.closed;
        state.closed = true;
        self.finish(&mut inside, state, &mut garbage);
        drop(inside);
        first
    }

    pub(crate) fn is_closed(&self) -> bool {
        let inside = Inside::enter();
        self.state.lock(&inside).closed
    }

    pub(crate) fn len(&self) -> usize {
        let inside = Inside::enter();
        self.state.lock(&inside).len
    }

    /// Drops the values that nobody will receive, each outside the runtime.
    pub(crate) fn discard(&self) {
        loop {
            let mut value = MaybeUninit::<T>::uninit();
            // SAFETY: there is room for a T.
            if unsafe { self.recv(value.as_mut_ptr(), TRY) } != Outcome::Done {
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
        let state = self.state.get_mut();
        if !state.head.is_null() {
            // Without values it is the only block.
            state.spare.add(state.head);
        }
    }
}

impl<T> Flavor for Channel<T> {
    fn attempt(&self, inside: &mut Inside, side: Side, slot: *mut ()) -> Option<Token> {
        if side == Side::Send {
            // There is always room, so nothing needs to be reserved.
            return Some(Token::Credit);
        }
        if self.hint.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut garbage = Garbage::none();
        let mut state = self.state.lock(inside);
        // SAFETY: a slot that a select gives has room for a T, or is null.
        let outcome = unsafe { state.step(slot.cast(), &mut garbage) };
        self.keep(&mut state, &mut garbage);
        self.publish(&state);
        drop(state);
        match outcome {
            Outcome::Done if slot.is_null() => Some(Token::Credit),
            Outcome::Done => Some(Token::Received),
            Outcome::Closed => Some(Token::Closed),
            Outcome::TimedOut => None,
        }
    }

    fn is_ready(&self, inside: &Inside, side: Side) -> bool {
        side == Side::Send || self.state.lock(inside).is_ready()
    }

    unsafe fn enroll(&self, inside: &mut Inside, side: Side, record: &Record) -> bool {
        if side == Side::Send {
            return false;
        }
        let mut state = self.state.lock(inside);
        if state.is_ready() {
            return false;
        }
        // SAFETY: the caller's promise.
        unsafe { state.receivers.push_back(record) };
        true
    }

    fn withdraw(&self, inside: &mut Inside, _side: Side, record: &Record) {
        self.state.lock(inside).receivers.remove(record);
    }

    fn renew(&self, inside: &mut Inside, _side: Side, record: &Record, waiter: Waiter) {
        let _state = self.state.lock(inside);
        record.renew(waiter);
    }

    unsafe fn undo(&self, inside: &mut Inside, side: Side, token: Token) {
        let (Side::Receive, Token::Credit) = (side, token) else {
            return;
        };
        let mut state = self.state.lock(inside);
        state.reserved -= 1;
        // As in `finish`.
        self.publish(&state);
        let mut garbage = Garbage::none();
        let mut woken = Woken::default();
        // One value became available: at most one receiver, and watchers.
        while !state.settle(inside, &mut woken, &mut garbage) {}
        self.keep(&mut state, &mut garbage);
        self.publish(&state);
        drop(state);
        woken.wake(inside);
    }

    fn tidy(&self) {
        if !self.excess.load(Ordering::Relaxed) {
            return;
        }
        let mut garbage = Garbage::none();
        let inside = Inside::enter();
        let mut state = self.state.lock(&inside);
        std::mem::swap(&mut garbage, &mut state.spare);
        if let Some(block) = garbage.take() {
            state.spare.add(block);
        }
        self.excess.store(false, Ordering::Relaxed);
        drop(state);
        drop(inside);
    }
}
