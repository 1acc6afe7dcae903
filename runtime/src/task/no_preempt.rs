//! Keeping the handler of SIGURG off a piece of code.

use crate::sched::NoPreempt;

/// Calls `f`, in which the thread is not stopped, however long it computes, and gets no signal of
/// goweft's, so that no system call returns `EINTR` for it.
///
/// For code that must not stand still half-way: what holds a spin lock for which other threads
/// wait, or measures time. Its processor is taken from it all the same when the time slice is over
/// and others wait; so one thread more than there are processors computes, until `f` returns.
/// Nests. Calls into goweft may still suspend the goroutine. On a plain thread, which is never
/// stopped, this only calls `f`.
///
/// ```
/// let sum = goweft::no_preempt(|| (1..=10).sum::<u32>());
/// assert_eq!(sum, 55);
/// ```
///
/// # Panics
/// When `f` does.
pub fn no_preempt<F: FnOnce() -> T, T>(f: F) -> T {
    // Ended also when `f` unwinds.
    let _here = NoPreempt::begin();
    f()
}
