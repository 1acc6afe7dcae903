//! Whether an M is in the runtime, and what the monitor has to tell it (PROTOCOL 1, 2 and 12).
//!
//! `inside` is written by its own thread only, and by the handler that interrupts that
//! thread: plain stores. The handler writes only when it finds 0, and leaves 0: so an
//! `enter` that it interrupts between load and store still stores 1, and a `leave`
//! is never interrupted by a handler that writes.
//!
//! Release when it becomes 0, Acquire by the monitor: what the thread did to its P is seen by
//! whoever the monitor gives that P to. Becoming 1 needs the barrier of `barrier.rs` before the
//! word is looked at. The 0 that the monitor reads is no older one, from before an entry and a
//! leave: it reads behind the heavy barrier, so all that the thread stored before it is there, and
//! whoever enters after it meets Pending.
//!
//! `notes` is what a thread looks at where it leaves anyway. The monitor leaves one when it looks
//! ([`Rt::look`]), and the thread's next leave takes it off: so the monitor knows whether the
//! thread has made a call since. (A counter in `inside` would tell it too, and make each entry wait
//! for the leave before it: 0.5 of 2 ns.) An ask names the slice that it is about: the goroutine
//! that runs when it comes may have been given the P just then, by the one who was meant. Only
//! hints: theft is right whatever they say.

use super::atomic::{AtomicU32, AtomicU64, Ordering};
use super::barrier;

/// Yield, please.
const ASKED: u32 = 1;
/// The monitor has looked.
const LOOKED: u32 = 2;
/// It may not wait where it wanted to.
const REFUSED: u32 = 4;

/// See the module.
pub(crate) struct Rt {
    inside: AtomicU32,
    notes: AtomicU32,
    /// Which slice of the P was to end, when `ASKED` was set last (`P::slice`).
    slice: AtomicU64,
}

/// What the monitor saw.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) inside: bool,
    /// It has left the runtime since the look before.
    pub(crate) called: bool,
}

impl Rt {
    #[cfg(loom)]
    pub(crate) fn new() -> Rt {
        Rt {
            inside: AtomicU32::new(0),
            notes: AtomicU32::new(0),
            slice: AtomicU64::new(0),
        }
    }

    /// A new M is inside from its start.
    pub(crate) fn init_inside(&self) {
        self.inside.store(1, Ordering::Release);
    }

    /// By its own thread, and by others as a hint.
    #[inline(always)]
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Relaxed) != 0
    }

    /// Enters. False: it is inside already. The word may be looked at afterwards.
    pub(crate) fn enter(&self) -> bool {
        let was_inside = self.step_in();
        barrier::light();
        was_inside == 0
    }

    /// Enters, but for the barrier: the word may be looked at afterwards where that is cheap
    /// ([`barrier::is_cheap`]), and otherwise after `barrier::light`. Not 0: it was inside already.
    /// (No branch asks for it here, where the caller needs one anyway.)
    #[inline(always)]
    pub(crate) fn step_in(&self) -> u32 {
        let was_inside = self.inside.load(Ordering::Relaxed);
        self.inside.store(1, Ordering::Relaxed);
        #[cfg(not(loom))]
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        super::delay::here();
        was_inside
    }

    /// Leaves. Nothing of the P may be touched afterwards.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        #[cfg(not(loom))]
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        self.inside.store(0, Ordering::Release);
    }

    /// Not 0: there are some. By its own thread, where it leaves.
    #[inline(always)]
    pub(crate) fn notes(&self) -> u32 {
        self.notes.load(Ordering::Relaxed)
    }

    /// Whether there are notes.
    #[inline(always)]
    pub(crate) fn has_notes(&self) -> bool {
        self.notes() != 0
    }

    /// Takes all notes off. True: it was asked to yield, in this slice.
    pub(crate) fn take_notes(&self, slice: u64) -> bool {
        let asked = self.notes.swap(0, Ordering::Acquire) & ASKED != 0;
        asked && self.slice.load(Ordering::Relaxed) == slice
    }

    /// Whoever was asked has yielded.
    #[inline]
    pub(crate) fn forget_ask(&self) {
        if self.has_notes() {
            self.notes.fetch_and(!ASKED, Ordering::Relaxed);
        }
    }

    /// Asks it to yield where it next leaves, if that is in `slice`.
    pub(crate) fn ask(&self, slice: u64) {
        self.slice.store(slice, Ordering::Relaxed);
        self.notes.fetch_or(ASKED, Ordering::Release);
    }

    /// By its own thread: has it look at its notes where it next leaves.
    pub(crate) fn note_refusal(&self) {
        self.notes.fetch_or(REFUSED, Ordering::Relaxed);
    }

    /// By the monitor.
    pub(crate) fn look(&self) -> Look {
        let called = self.notes.fetch_or(LOOKED, Ordering::Relaxed) & LOOKED == 0;
        let inside = self.inside.load(Ordering::Acquire) != 0;
        Look { inside, called }
    }

    /// By the monitor, after a look that found it outside and the heavy barrier: it is,
    /// and no call is known since. What it did to its P is seen.
    pub(crate) fn is_still_outside(&self) -> bool {
        self.inside.load(Ordering::Acquire) == 0 && self.notes.load(Ordering::Relaxed) & LOOKED != 0
    }
}
