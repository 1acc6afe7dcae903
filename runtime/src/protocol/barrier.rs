//! The pair of barriers between a thread that enters the runtime and the monitor
//! that takes its P (PROTOCOL 4).
//!
//! Both sides store, then load what the other stored. The thread does so at every
//! entry, so its barrier is to cost nothing: [`light`] only keeps the compiler in
//! order, and [`heavy`] makes every running thread of the process execute a
//! full fence, wherever it is (`membarrier(2)`). A thread that does not run at that
//! moment passes one when the kernel switches to it.
//!
//! Where the kernel does not have it (or a sandbox refuses it), both are full
//! fences. That is decided once, before the first thread enters.
//!
//! Under loom both are full fences: the same for a pair with one heavy side.

use super::atomic::{Ordering, fence};

#[cfg(not(loom))]
mod real {
    use super::{Ordering, fence};
    use crate::sys;
    use std::sync::atomic::{AtomicBool, compiler_fence};

    /// Written once, before there is an M.
    static FULL: AtomicBool = AtomicBool::new(false);

    /// Finds out what the system has; by whoever starts the runtime.
    pub(crate) fn choose() {
        FULL.store(!sys::register_membarrier(), Ordering::SeqCst);
    }

    /// Whether [`light`] is no more than the compiler's order.
    pub(crate) fn is_cheap() -> bool {
        !FULL.load(Ordering::Relaxed)
    }

    /// Between the thread's store and its load.
    #[inline]
    pub(crate) fn light() {
        compiler_fence(Ordering::SeqCst);
        if !is_cheap() {
            fence(Ordering::SeqCst);
        }
        crate::protocol::delay::here();
    }

    /// Between the monitor's store and its load. False: there is none, from now on (a
    /// sandbox that was put up after the start); what was stored is to be taken back.
    #[must_use]
    pub(crate) fn heavy() -> bool {
        fence(Ordering::SeqCst);
        FULL.load(Ordering::Relaxed) || sys::membarrier()
    }
}

#[cfg(not(loom))]
pub(crate) use real::{choose, heavy, is_cheap, light};

#[cfg(loom)]
pub(crate) fn light() {
    fence(Ordering::SeqCst);
}

#[cfg(loom)]
#[must_use]
pub(crate) fn heavy() -> bool {
    fence(Ordering::SeqCst);
    true
}
