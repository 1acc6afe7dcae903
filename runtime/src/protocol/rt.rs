//! The counter that says whether an M is in the runtime: odd means inside
//! (PROTOCOL 1 and 2).
//!
//! Written by its own thread only, and by the handler that interrupts that
//! thread: plain stores. The handler writes only when it finds it even, and leaves
//! it even, so an `enter` that it interrupts between load and store still
//! stores an odd number, and a `leave` is never interrupted by a handler that
//! writes.
//!
//! Release when it becomes even, Acquire by the monitor: what the thread did to its
//! P is seen by whoever the monitor gives that P to. Becoming odd needs the
//! barrier of `barrier.rs` before the word is looked at.

use super::atomic::{AtomicU32, Ordering};
use super::barrier;

/// See the module.
pub(crate) struct Rt(AtomicU32);

/// One look at it.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Count(u32);

impl Count {
    #[inline]
    pub(crate) fn is_inside(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Rt {
    #[cfg(loom)]
    pub(crate) fn new() -> Rt {
        Rt(AtomicU32::new(0))
    }

    /// A new M is inside from its start.
    pub(crate) fn init_inside(&self) {
        self.0.store(1, Ordering::Release);
    }

    /// By anybody.
    #[inline]
    pub(crate) fn load(&self) -> Count {
        Count(self.0.load(Ordering::Acquire))
    }

    /// By its own thread.
    #[inline(always)]
    pub(crate) fn is_inside(&self) -> bool {
        self.0.load(Ordering::Relaxed) & 1 == 1
    }

    /// Enters. False: it is inside already. The word may be looked at afterwards.
    #[inline(always)]
    pub(crate) fn enter(&self) -> bool {
        let n = self.0.load(Ordering::Relaxed);
        if n & 1 == 1 {
            return false;
        }
        self.0.store(n.wrapping_add(1), Ordering::Relaxed);
        barrier::light();
        true
    }

    /// Leaves. Nothing of the P may be touched afterwards.
    #[inline(always)]
    pub(crate) fn leave(&self) {
        #[cfg(not(loom))]
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        let n = self.0.load(Ordering::Relaxed);
        self.0.store(n.wrapping_add(1), Ordering::Release);
    }
}
