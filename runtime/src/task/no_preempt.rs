//! Keeping the handler of SIGURG off a piece of code.

use crate::sched::{self, current_g};
use std::sync::atomic::{Ordering, compiler_fence};

/// Calls `f`, in which the thread is not stopped, however long it computes.
///
/// For code that must not stand still half-way: what holds a spin lock for which other
/// threads wait, or measures time. Its processor is taken from it all the same when the time slice is over
/// and others wait; so one thread more than there are processors computes, until `f`
/// returns. Nests. Calls into goweft may still suspend the goroutine. On a plain
/// thread, which is never stopped, this only calls `f`.
///
/// ```
/// let sum = goweft::no_preempt(|| (1..=10).sum::<u32>());
/// assert_eq!(sum, 55);
/// ```
///
/// # Panics
/// When `f` does.
pub fn no_preempt<F: FnOnce() -> T, T>(f: F) -> T {
    let _as_before = current_g().map(|g| {
        let before = AsBefore(g, g.no_preempt.replace(true));
        // For a handler on this thread: what `f` does comes after it.
        compiler_fence(Ordering::SeqCst);
        before
    });
    f()
}

/// Puts back what held before, also when `f` unwinds.
struct AsBefore(sched::GRef, bool);

impl Drop for AsBefore {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        self.0.no_preempt.set(self.1);
    }
}
