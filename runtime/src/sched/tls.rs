//! Which M this thread is: the thread-local that is read at each enter.
//!
//! LLVM keeps the address of a thread-local across a context switch (it does
//! not know that a call may come back on another thread), so a read that was
//! inlined into a function that parks may see the old thread's M. Hence nobody
//! keeps what was read over a switch, and std's way of reading is never inlined.
//!
//! A shorter way is, in a program. The ELF ABI for thread-locals (Drepper, "ELF
//! Handling For Thread-Local Storage", 2013) puts those of the program at one
//! distance from the thread pointer in all threads. `OFFSET` is that distance, and
//! assembly reads what is there, anew each time: entering and leaving takes 1.45 ns
//! that way, and 1.8 with the call. A library may have its thread-locals anywhere:
//! there the distance stays unknown, and std's is the way.

use super::m::M;
use std::cell::Cell;

thread_local! {
    static CURRENT: Cell<*const M> = const { Cell::new(std::ptr::null()) };
}

pub(crate) use way::{current, learn};

/// The portable context backend goes with the portable way.
#[cfg(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(any(miri, feature = "corosensei"))
))]
mod way {
    use super::{CURRENT, M, ask_std};
    use crate::sched::sys;
    use std::arch::asm;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// From the thread pointer to `CURRENT`, in every thread. 0, where the thread's control block
    /// is: not known, or not the same in all.
    static OFFSET: AtomicUsize = AtomicUsize::new(0);

    /// Finds the short way, if there is one: once, at the start. Until then, std's is the way.
    pub(crate) fn learn() {
        let here = CURRENT.with(|c| c.as_ptr().addr());
        if sys::is_thread_local_of_program(here) {
            OFFSET.store(here.wrapping_sub(thread_pointer()), Ordering::Relaxed);
        }
    }

    fn thread_pointer() -> usize {
        let pointer;
        // SAFETY: reads a register; on x86_64 the word at `fs:0` holds what it is.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            asm!("mov {}, qword ptr fs:[0]", out(reg) pointer, options(nostack, preserves_flags, readonly));
            #[cfg(target_arch = "aarch64")]
            asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem));
        }
        pointer
    }

    /// The M that the calling thread is; null on a plain thread.
    #[inline(always)]
    pub(crate) fn current() -> *const M {
        let offset = OFFSET.load(Ordering::Relaxed);
        if offset == 0 {
            std::hint::cold_path();
            return ask_std();
        }
        let m;
        // SAFETY: `learn` found `CURRENT` there on one thread, so that it is there on all. The
        // block is not `pure`: after a switch it reads another thread's.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            asm!(
                "mov {m}, qword ptr fs:[{offset}]",
                m = lateout(reg) m,
                offset = in(reg) offset,
                options(nostack, preserves_flags, readonly),
            );
            #[cfg(target_arch = "aarch64")]
            asm!(
                "mrs {block}, tpidr_el0",
                "ldr {m}, [{block}, {offset}]",
                block = out(reg) _,
                m = lateout(reg) m,
                offset = in(reg) offset,
                options(nostack, preserves_flags, readonly),
            );
        }
        m
    }

    #[test]
    fn the_short_way_is_taken_in_a_program_on_every_thread() {
        crate::sched::start::ensure();
        assert_ne!(OFFSET.load(Ordering::Relaxed), 0);
        let both = || (current().addr(), ask_std().addr());
        assert_eq!(both(), (0, 0));
        let (short, std) = crate::spawn(both).join().unwrap();
        assert_ne!(short, 0);
        assert_eq!(short, std);
    }
}

#[cfg(not(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(any(miri, feature = "corosensei"))
)))]
mod way {
    pub(crate) use super::ask_std as current;

    /// There is no shorter way.
    pub(crate) fn learn() {}
}

/// The M that the calling thread is; null on a plain thread.
#[inline(never)]
pub(crate) fn ask_std() -> *const M {
    CURRENT.get()
}

/// The calling thread is `m` from now on, or (null) a plain thread.
#[inline(never)]
pub(crate) fn set_current(m: *const M) {
    // Assembly reads it: no thread's own is private to the compiler.
    CURRENT.with(|c| c.as_ptr().expose_provenance());
    CURRENT.set(m);
    if current() != m {
        crate::abort::fatal("a thread-local of the program is not where the ELF ABI says");
    }
}

/// The number of this thread's M; None on a plain thread. The goroutine that asks stays on that
/// thread until its next call into the runtime.
#[inline]
pub(crate) fn machine_index() -> Option<usize> {
    // SAFETY: null or a slot of the table, which is never freed.
    unsafe { current().as_ref() }.map(|m| m.index.get() as usize)
}
