//! The word between a goroutine that ends and the one who waits for that.
//!
//! One side completes, once; the other waits, polls or lets go. All of it is one
//! atomic word and one slot for who is to be woken:
//!
//! | from | to | by | when |
//! |---|---|---|---|
//! | Running | Waited | waiting side | it wrote itself into the slot |
//! | Waited | Running | waiting side | it takes the slot back (woken for nothing, or a new waker) |
//! | Running | Detached | waiting side | it lets go: the completing side owns everything now |
//! | Running | Done | completing side | nobody is to be woken |
//! | Waited | Taking | completing side | it reads the slot |
//! | Taking | Done | completing side | it has read the slot |
//!
//! What always holds:
//! - The slot belongs to the waiting side in Running and Done, to nobody in
//!   Waited, and to the completing side in Taking.
//! - Done is the last thing that the completing side does with the memory; the
//!   waking comes after it, with a copy of the slot. So the memory may be on the
//!   stack of the one that waits.
//! - Done releases what was written before it, and whoever sees it acquires that;
//!   the same for Detached.
//!
//! Taking lasts a few instructions, inside the runtime. A waiting side that meets
//! it spins.

use crate::clock::NEVER;
use crate::protocol::spin::Spin;
use crate::sched::{Inside, WaitReason, Waiter};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};

const RUNNING: u32 = 0;
const WAITED: u32 = 1;
const TAKING: u32 = 2;
const DONE: u32 = 3;
const DETACHED: u32 = 4;

/// Who is to be woken.
enum Slot {
    Nobody,
    Parked(Waiter),
    Polled(Waker),
}

/// See the module. One waiting side at a time.
pub(super) struct Completion {
    state: AtomicU32,
    slot: UnsafeCell<Slot>,
}

// SAFETY: the states say whose the slot is, and hand it over with Release and
// Acquire; a Waiter and a Waker are Send.
unsafe impl Sync for Completion {}

impl Completion {
    pub(super) const fn new() -> Completion {
        Completion {
            state: AtomicU32::new(RUNNING),
            slot: UnsafeCell::new(Slot::Nobody),
        }
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Completes, and wakes who waits. True: the memory is the waiting side's
    /// now, and may be gone. False: nobody waits any more, it is the caller's.
    ///
    /// # Safety
    /// `this` lives until the word says Done, and this is called once.
    #[inline]
    pub(super) unsafe fn complete(this: *const Completion) -> bool {
        // A loop, because the waiting side may publish itself or take that back
        // meanwhile. Looking first is cheaper than a swap that fails.
        loop {
            // SAFETY: the caller's promise: not Done yet. So for all below, and no
            // reference outlives its statement.
            match unsafe { (*this).state.load(Ordering::Acquire) } {
                // SAFETY: as above.
                RUNNING => match unsafe { (*this).step(RUNNING, DONE) } {
                    Ok(()) => return true,
                    Err(_) => continue,
                },
                DETACHED => return false,
                _ => {
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
        if unsafe { (*this).step(WAITED, TAKING) }.is_err() {
            return false;
        }
        // SAFETY: in Taking the slot is ours, and Done comes after.
        let slot = unsafe { std::mem::replace(&mut *(*this).slot.get(), Slot::Nobody) };
        // SAFETY: as above; the last access.
        unsafe { (*this).state.store(DONE, Ordering::Release) };
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
            let waiter = inside.prepare(reason);
            // SAFETY: Running or Done: the slot is ours, and holds nothing that
            // would have to be dropped, for we took it.
            unsafe { self.slot.get().write(Slot::Parked(waiter)) };
            if self.step(RUNNING, WAITED).is_err() {
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
        if self.step(RUNNING, WAITED).is_ok() {
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
        self.step(RUNNING, DETACHED).is_err()
    }

    /// By the waiting side: Running or Done afterwards; what was in the slot.
    fn retract(&self) -> Slot {
        // Only the waiting side makes it Waited, so Running stays as it is.
        if self.state.load(Ordering::Relaxed) != RUNNING {
            let mut spin = Spin::new();
            while self.step(WAITED, RUNNING) == Err(TAKING) {
                spin.wait();
            }
        }
        // SAFETY: in Running and Done the slot is ours.
        unsafe { std::mem::replace(&mut *self.slot.get(), Slot::Nobody) }
    }

    #[inline]
    fn step(&self, from: u32, to: u32) -> Result<(), u32> {
        self.state
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
    }
}
