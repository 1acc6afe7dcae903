//! Where panics of user code end.
//!
//! A goroutine's closure is called through [`call`] and nowhere else, so that
//! nothing unwinds into the scheduler. Values that the runtime drops on behalf
//! of a goroutine (results, payloads, goroutine-locals) are dropped in
//! [`contain`]: their panics are printed by the hook, and end there.

use super::Exited;
use crate::config;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

/// Who learns of a panic in a goroutine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The goroutine's own end: `PanicPolicy::Abort` ends the process.
    Own,
    /// It goes on in the one that waits, as if that had called the closure.
    Resumed,
}

/// Calls `f`. Its panic, or its [`Exited`], is the `Err`.
#[inline]
pub(super) fn call<F: FnOnce() -> T, T>(fate: Fate, f: F) -> thread::Result<T> {
    let result = catch_unwind(AssertUnwindSafe(|| __rust_begin_short_backtrace(f)));
    if let Err(payload) = &result
        && fate == Fate::Own
    {
        judge(&**payload);
    }
    result
}

/// Calls `f` and drops what its panic leaves.
#[inline]
pub(super) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        judge(&*payload);
        discard(payload);
    }
}

/// Drops a payload. One whose drop panics is printed by the hook, and what that
/// panic leaves is leaked: its drop may panic as well, for ever.
#[cold]
pub(super) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        judge(&*another);
        std::mem::forget(another);
    }
}

/// Whether it is a panic, and not `task::exit`.
pub(super) fn is_panic(payload: &(dyn Any + Send)) -> bool {
    !payload.is::<Exited>()
}

/// `PanicPolicy::Abort`: a panic that reaches a goroutine's end, which was
/// printed already, ends the process.
#[cold]
fn judge(payload: &(dyn Any + Send)) {
    if is_panic(payload) && config::panics_end_the_process() {
        std::process::exit(2);
    }
}

/// The name is the one at which std's backtraces (and ours) stop: what lies
/// below is the runtime.
#[inline(never)]
fn __rust_begin_short_backtrace<F: FnOnce() -> T, T>(f: F) -> T {
    let result = f();
    // Keeps the call from becoming a jump, and the frame from vanishing.
    std::hint::black_box(());
    result
}
