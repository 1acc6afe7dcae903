//! The word between a goroutine that ends and the one who waits for that.
//!
//! One side completes, once; the other waits, polls or lets go. All of it is one
//! atomic word, with its states and orderings in `protocol/completion_word.rs`, and one slot for
//! who is to be woken.
//!
//! The waking comes after Done, with a copy of the slot. So the memory may be on the stack of
//! the one that waits.

use crate::clock::NEVER;
use crate::protocol::completion_word::{Complete, CompletionWord};
use crate::sched::{Inside, WaitReason, Waiter};
use std::cell::UnsafeCell;
use std::task::{Context, Waker};

/// Who is to be woken.
enum Slot {
    Nobody,
    Parked(Waiter),
    Polled(Waker),
}

/// See the module. One waiting side at a time.
pub(super) struct Completion {
    word: CompletionWord,
    slot: UnsafeCell<Slot>,
}

// SAFETY: the states say whose the slot is, and hand it over with Release and
// Acquire; a Waiter and a Waker are Send.
unsafe impl Sync for Completion {}

impl Completion {
    pub(super) const fn new() -> Completion {
        Completion {
            word: CompletionWord::new(),
            slot: UnsafeCell::new(Slot::Nobody),
        }
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.word.is_done()
    }

    /// Completes, and wakes who waits. True: the memory is the waiting side's
    /// now, and may be gone. False: nobody waits any more, it is the caller's.
    ///
    /// # Safety
    /// `this` lives until the word says Done, and this is called once.
    #[inline]
    pub(super) unsafe fn complete(this: *const Completion) -> bool {
        loop {
            // SAFETY: the caller's promise: not Done yet. So for all below, and no
            // reference outlives its statement.
            match unsafe { (*this).word.complete() } {
                Complete::Done => return true,
                Complete::Detached => return false,
                Complete::Waited => {
                    // SAFETY: the caller's promise, handed on.
                    if unsafe { Completion::complete_waited(this) } {
                        return true;
                    }
                }
            }
        }
    }

    /// From Waited. False: it is not Waited any more.
    ///
    /// # Safety
    /// As `complete`.
    #[inline]
    unsafe fn complete_waited(this: *const Completion) -> bool {
        let mut inside = Inside::enter();
        // SAFETY: the caller's promise: not Done yet.
        if !unsafe { (*this).word.take() } {
            return false;
        }
        // SAFETY: in Taking the slot is ours, and Done comes after.
        let slot = unsafe { std::mem::replace(&mut *(*this).slot.get(), Slot::Nobody) };
        // SAFETY: as above; the last access.
        unsafe { (*this).word.done() };
        match slot {
            Slot::Nobody => {}
            Slot::Parked(waiter) => inside.ready(waiter),
            Slot::Polled(waker) => {
                drop(inside);
                super::unwind::contain(|| waker.wake());
            }
        }
        true
    }

    /// Parks until it is done.
    pub(super) fn wait(&self, reason: WaitReason) {
        while !self.is_done() {
            // A waker from an earlier poll.
            drop(self.retract());
            let mut inside = Inside::enter();
            if inside.refuses() {
                // Leaving panics. (A scope and `run`, whose goroutines borrow, have refused at
                // their beginning.)
                return;
            }
            let waiter = inside.prepare(reason);
            // SAFETY: Running or Done: the slot is ours, and holds nothing that
            // would have to be dropped, for we took it.
            unsafe { self.slot.get().write(Slot::Parked(waiter)) };
            if !self.word.announce() {
                inside.cancel(waiter);
                return;
            }
            inside.park(waiter, NEVER);
            drop(inside);
        }
    }

    /// Whether it is done; if not, the waker of `cx` will be woken when it is.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> bool {
        if self.is_done() {
            return true;
        }
        let waker = match self.retract() {
            Slot::Polled(w) if w.will_wake(cx.waker()) => w,
            old => {
                drop(old);
                cx.waker().clone()
            }
        };
        // SAFETY: Running or Done, and the slot is empty: we took it.
        unsafe { self.slot.get().write(Slot::Polled(waker)) };
        if self.word.announce() {
            return false;
        }
        drop(self.retract());
        true
    }

    /// The waiting side goes away. True: it is done, and everything is the
    /// caller's. False: the completing side will find that all is its own.
    pub(super) fn detach(&self) -> bool {
        if self.is_done() {
            return true;
        }
        drop(self.retract());
        !self.word.detach()
    }

    /// By the waiting side: Running or Done afterwards; what was in the slot.
    fn retract(&self) -> Slot {
        self.word.retract();
        // SAFETY: in Running and Done the slot is ours.
        unsafe { std::mem::replace(&mut *self.slot.get(), Slot::Nobody) }
    }
}
