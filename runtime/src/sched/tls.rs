//! Which M this thread is: the only thread-local that the scheduler reads.
//!
//! LLVM keeps the address of a thread-local across a context switch (it does
//! not know that a call may come back on another thread), so a read that was
//! inlined into a function that parks may see the old thread's M. Hence one
//! accessor that is never inlined, in this file, and nobody keeps what it
//! returned over a switch.

use super::m::M;
use std::cell::Cell;

thread_local! {
    static CURRENT: Cell<*const M> = const { Cell::new(std::ptr::null()) };
}

/// The M that the calling thread is; null on a plain thread.
#[inline(never)]
pub(crate) fn current() -> *const M {
    CURRENT.get()
}

/// The calling thread is `m` from now on, or (null) a plain thread.
#[inline(never)]
pub(crate) fn set_current(m: *const M) {
    CURRENT.set(m);
}

/// The number of this thread's M; None on a plain thread. The goroutine that asks stays on that
/// thread until its next call into the runtime.
#[inline]
pub(crate) fn machine_index() -> Option<usize> {
    // SAFETY: null or a slot of the table, which is never freed.
    unsafe { current().as_ref() }.map(|m| m.index.get() as usize)
}
