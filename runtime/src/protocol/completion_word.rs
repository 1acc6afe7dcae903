//! The word between one who completes something, once, and one who waits for that.
//!
//! Beside it there is a slot, for who is to be woken.
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
//! - Done is the last thing that the completing side does with the memory.
//! - Done releases what was written before it, and whoever sees it acquires that;
//!   the same for Detached.
//!
//! Taking lasts a few instructions, inside the runtime. A waiting side that meets
//! it spins.

use super::atomic::{AtomicU32, Ordering};
use super::spin::Spin;

const RUNNING: u32 = 0;
const WAITED: u32 = 1;
const TAKING: u32 = 2;
const DONE: u32 = 3;
const DETACHED: u32 = 4;

/// What [`CompletionWord::complete`] found.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Complete {
    /// It is Done. The memory is the waiting side's, and may be gone.
    Done,
    /// Nobody waits any more: everything is the completing side's.
    Detached,
    /// Somebody is to be woken: `take`, and again if that fails.
    Waited,
}

/// See the module. One waiting side at a time.
pub(crate) struct CompletionWord(AtomicU32);

impl CompletionWord {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> CompletionWord {
        CompletionWord(AtomicU32::new(RUNNING))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> CompletionWord {
        CompletionWord(AtomicU32::new(RUNNING))
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) == DONE
    }

    // ---- the completing side ----

    /// Completes, if nobody is to be woken.
    #[inline]
    pub(crate) fn complete(&self) -> Complete {
        // A loop, because the waiting side may take itself back meanwhile. Looking first
        // is cheaper than a swap that fails.
        loop {
            match self.0.load(Ordering::Acquire) {
                RUNNING if self.step(RUNNING, DONE).is_ok() => return Complete::Done,
                RUNNING => {}
                DETACHED => return Complete::Detached,
                _ => return Complete::Waited,
            }
        }
    }

    /// Waited -> Taking: the slot is the caller's, until [`done`](Self::done). False: the waiting
    /// side has taken itself back.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.step(WAITED, TAKING).is_ok()
    }

    /// Taking -> Done. A plain store, since the waiting side does not write over Taking.
    #[inline]
    pub(crate) fn done(&self) {
        self.0.store(DONE, Ordering::Release);
    }

    // ---- the waiting side ----

    /// Running -> Waited: the slot is written. False: it is Done, and the slot is still the
    /// caller's.
    #[inline]
    pub(crate) fn announce(&self) -> bool {
        self.step(RUNNING, WAITED).is_ok()
    }

    /// Running or Done afterwards: the slot is the caller's.
    #[inline]
    pub(crate) fn retract(&self) {
        // Only the waiting side makes it Waited, so Running stays as it is, and a relaxed look is
        // enough: it was this side that wrote what is in the slot.
        if self.0.load(Ordering::Relaxed) != RUNNING {
            let mut spin = Spin::new();
            while self.step(WAITED, RUNNING) == Err(TAKING) {
                spin.wait();
            }
        }
    }

    /// Running -> Detached. False: it is Done. After `retract` it is one of the two.
    #[inline]
    pub(crate) fn detach(&self) -> bool {
        self.step(RUNNING, DETACHED).is_ok()
    }

    #[inline]
    fn step(&self, from: u32, to: u32) -> Result<(), u32> {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
    }
}
