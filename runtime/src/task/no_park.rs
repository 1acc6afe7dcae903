//! `no_park`: a piece of code in which the goroutine does not wait and does not change threads.
//!
//! Who waits asks first (`Inside::refuses`), takes back what it has begun, leaves the
//! runtime, and panics there: nothing is locked, and nobody knows of the wait.

use crate::sched::wait::set_no_park;

/// Calls `f`, in which a call that has to wait panics instead.
///
/// For code that holds what belongs to its thread: a borrowed thread-local, a value that must not
/// meet another goroutine. In `f` the goroutine stays on its thread and nothing else runs there,
/// also when its processor is taken from it or it calls [`yield_now`](crate::task::yield_now). What
/// need not wait is allowed: to send into a channel that has room, to lock a mutex that is free,
/// every `try_` form, to unlock, to close, to spawn. Nests. On a plain thread the same calls panic.
///
/// [`scope`](crate::scope) and [`run`](crate::run) always have to wait in the end, and panic at
/// once. So does every wait for a [`Condvar`](crate::sync::Condvar), also one whose time is up.
///
/// # Examples
///
/// ```
/// use std::cell::RefCell;
///
/// thread_local! {
///     static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
/// }
///
/// SCRATCH.with_borrow_mut(|scratch| {
///     goweft::no_park(|| {
///         scratch.extend(b"no other goroutine of this thread runs while it is borrowed");
///     });
/// });
/// ```
///
/// # Panics
/// When `f` does; and the calls in it that have to wait, with `goweft: no_park: this call has to
/// wait`. They have done nothing then, and what they were given is dropped. While the goroutine
/// panics already (a drop waits), it waits, together with its thread.
pub fn no_park<F: FnOnce() -> T, T>(f: F) -> T {
    let _as_before = AsBefore(set_no_park(true));
    f()
}

/// Puts back what held before, also when `f` unwinds.
struct AsBefore(bool);

impl Drop for AsBefore {
    fn drop(&mut self) {
        set_no_park(self.0);
    }
}
