//! An allocator that is never preempted half-way.
//!
//! Preemption parks the OS thread of a goroutine that computes too long, at any
//! instruction. If that is one inside the allocator, its lock stays held until
//! the goroutine is given a processor again. That harms nobody for ever (it is
//! given one in its turn), but everybody who allocates waits that long.
//! [`PreemptSafe`] puts preemption off until the call to the allocator returns:
//! two plain additions to a thread-local, about a nanosecond (`sched/deferral.rs`).

use crate::sched::deferral::{allow, defer};
use std::alloc::{GlobalAlloc, Layout};

/// A global allocator that defers preemption while an allocation is in progress.
///
/// Programs that allocate much in goroutines that compute long wrap their
/// allocator in it, so that none is suspended while it holds one of the
/// allocator's locks. It costs about a nanosecond a call. Without it all is
/// correct too; others may then wait for such a lock for as long as the
/// suspended goroutine waits for its turn.
///
/// ```
/// use goweft::PreemptSafe;
/// use std::alloc::System;
///
/// #[global_allocator]
/// static ALLOCATOR: PreemptSafe<System> = PreemptSafe::new(System);
///
/// goweft::run(|| {
///     let squares: Vec<u64> = (0..1_000).map(|n| n * n).collect();
///     assert_eq!(squares[999], 998_001);
/// });
/// ```
///
/// It covers what goes through Rust's allocator; what C code allocates by `malloc`
/// does not. The wrapped allocator must not park: no goweft channels, locks or
/// sleeps in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PreemptSafe<A>(
    /// The allocator that does the work.
    pub A,
);

impl<A> PreemptSafe<A> {
    /// Wraps `allocator`.
    pub const fn new(allocator: A) -> PreemptSafe<A> {
        PreemptSafe(allocator)
    }
}

// The methods are never inlined, so that the address of the thread-local is not
// kept over a park of the caller: see `sched/deferral.rs`. An allocator does not
// unwind, so nothing has to be put right on the way out.
//
// SAFETY: every call goes to `A`, which is a GlobalAlloc, as it came; what is done
// around it does not allocate, and touches two words of this thread only.
unsafe impl<A: GlobalAlloc> GlobalAlloc for PreemptSafe<A> {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        defer();
        // SAFETY: the caller's promise is passed on.
        let p = unsafe { self.0.alloc(layout) };
        allow();
        p
    }

    #[inline(never)]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        defer();
        // SAFETY: the caller's promise is passed on.
        unsafe { self.0.dealloc(ptr, layout) };
        allow();
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        defer();
        // SAFETY: the caller's promise is passed on.
        let p = unsafe { self.0.alloc_zeroed(layout) };
        allow();
        p
    }

    #[inline(never)]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        defer();
        // SAFETY: the caller's promise is passed on.
        let p = unsafe { self.0.realloc(ptr, layout, new_size) };
        allow();
        p
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::deferral::is_deferred;
    use std::cell::RefCell;

    /// Writes down each call, and whether it was deferred.
    #[derive(Default)]
    struct Witness(RefCell<Vec<(&'static str, bool)>>);

    impl Witness {
        fn saw(&self, call: &'static str) {
            self.0.borrow_mut().push((call, is_deferred()));
        }
    }

    // SAFETY: all is passed on to the system's allocator.
    unsafe impl GlobalAlloc for Witness {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.saw("alloc");
            // SAFETY: the caller's promise.
            unsafe { std::alloc::System.alloc(layout) }
        }
        unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
            self.saw("dealloc");
            // SAFETY: the caller's promise.
            unsafe { std::alloc::System.dealloc(ptr, layout) }
        }
        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            self.saw("alloc_zeroed");
            // SAFETY: the caller's promise.
            unsafe { std::alloc::System.alloc_zeroed(layout) }
        }
        unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            self.saw("realloc");
            // SAFETY: the caller's promise.
            unsafe { std::alloc::System.realloc(ptr, layout, new_size) }
        }
    }

    #[test]
    fn each_call_reaches_the_allocator_as_it_is_and_deferred() {
        let safe = PreemptSafe::new(Witness::default());
        let small = Layout::from_size_align(24, 8).unwrap();
        let large = Layout::from_size_align(4096, 8).unwrap();
        // SAFETY: the layouts are not empty, and each block is freed once with
        // the layout it has by then.
        unsafe {
            let p = safe.alloc(small);
            p.write_bytes(7, 24);
            let p = safe.realloc(p, small, large.size());
            assert_eq!((p.read(), p.add(23).read()), (7, 7));
            safe.dealloc(p, large);
            let p = safe.alloc_zeroed(small);
            assert_eq!((p.read(), p.add(23).read()), (0, 0));
            safe.dealloc(p, small);
        }
        assert!(!is_deferred());
        let calls = safe.0.0.into_inner();
        assert_eq!(
            calls,
            ["alloc", "realloc", "dealloc", "alloc_zeroed", "dealloc"].map(|call| (call, true))
        );
    }
}
