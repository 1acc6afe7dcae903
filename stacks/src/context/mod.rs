//! The context switch: leaving one stack for another.
//!
//! A [`Context`] is a suspended computation, one pointer. [`prepare`] makes one
//! that will run a function on a stack of its own; [`switch`] leaves the
//! current one for another, symmetrically: there is no caller and no callee.
//!
//! What always holds:
//! - A context is resumed exactly once after each time it was suspended. It may
//!   be resumed on another OS thread than the one that suspended it.
//! - The [`Action`] given to a switch runs on the destination's stack, after the
//!   context left behind is complete. Publishing that context (making it
//!   runnable for other threads, unlocking what it waits for, freeing the stack
//!   of a dead one) is done there and nowhere before.
//! - Only registers that the ABI makes a callee preserve travel with a context.
//!   The floating point environment (MXCSR, x87 control word, FPCR), the signal
//!   mask, errno and thread-locals belong to the OS thread.
//!
//! How it works is drawn in `x86_64.rs` and `aarch64.rs`, one file per
//! architecture with the same items in the same order.

#[cfg(all(target_arch = "aarch64", not(feature = "corosensei")))]
#[path = "aarch64.rs"]
#[cfg_attr(
    feature = "sanitizer",
    allow(dead_code, reason = "the hooks replace some")
)]
mod arch;
#[cfg(any(
    feature = "corosensei",
    not(any(target_arch = "x86_64", target_arch = "aarch64"))
))]
#[path = "corosensei.rs"]
mod arch;
#[cfg(all(target_arch = "x86_64", not(feature = "corosensei")))]
#[path = "x86_64.rs"]
#[cfg_attr(
    feature = "sanitizer",
    allow(dead_code, reason = "the hooks replace some")
)]
mod arch;

/// The hooks wrap our own assembly; corosensei has hooks of its own.
#[cfg_attr(
    not(all(
        feature = "sanitizer",
        not(feature = "corosensei"),
        any(target_arch = "x86_64", target_arch = "aarch64")
    )),
    path = "unwatched.rs"
)]
pub(crate) mod sanitizer;

pub use sanitizer::is_thread_sanitized;

use std::sync::atomic::{AtomicPtr, Ordering};

/// A suspended context.
///
/// Plain data: copying it does not copy the computation, and resuming it twice
/// is undefined behaviour (the functions that resume are `unsafe`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Context(*mut u8);

// SAFETY: a context is an address; who may resume it, and when, is the contract
// of `switch`. Contexts are meant to move between threads.
unsafe impl Send for Context {}
// SAFETY: as above; a shared reference gives out nothing but the address.
unsafe impl Sync for Context {}

impl Context {
    /// A value that is no context, to fill a field before the first switch.
    pub const NULL: Context = Context(core::ptr::null_mut());

    /// Whether this is [`Context::NULL`].
    #[inline]
    pub fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The address of the saved registers: the lowest byte in use of the stack
    /// of this context. For prefetching.
    #[inline]
    pub fn as_ptr(self) -> *mut u8 {
        self.0
    }
}

/// What a switch does on arrival: `action(left, data)`, on the stack of the
/// destination, `left` being the context that was left, complete.
///
/// It may free the stack of `left` (after [`switch_final`]) and may publish
/// `left`; it must not unwind (the process aborts) and must not switch.
pub type Action = unsafe extern "C" fn(left: Context, data: *mut ());

/// The function that a fresh context runs. It never returns: its last act is
/// [`switch_final`]. It must not unwind.
pub type Entry = unsafe extern "C" fn(arg: *mut ()) -> !;

/// Stores a context where others may wait for it.
///
/// # Safety
/// `place` is valid for a write.
#[allow(dead_code, reason = "not every backend needs it")]
unsafe fn publish(place: *mut *mut u8, context: Context) {
    // SAFETY: the caller's promise; a pointer and an atomic pointer are laid out
    // alike.
    let place = unsafe { AtomicPtr::from_ptr(place) };
    place.store(context.0, Ordering::Release);
}

/// Unwind rows inside our assembly. A `panic = "abort"` build may have been
/// told to make no unwind tables, where they would not assemble.
#[cfg(panic = "unwind")]
#[allow(unused_macros, reason = "only assembly needs it")]
macro_rules! cfi {
    ($row:literal) => {
        $row
    };
}
#[cfg(not(panic = "unwind"))]
#[allow(unused_macros, reason = "only assembly needs it")]
macro_rules! cfi {
    ($row:literal) => {
        ""
    };
}
#[allow(unused_imports, reason = "only assembly needs it")]
use cfi;

/// Leaves the current context for `to`. On the other side `action(left, data)`
/// runs first, `left` being what we are now. Returns when somebody switches to
/// `left`, after *their* action ran here.
///
/// Never blocks, allocates nothing, makes no system call. The caller may find
/// itself on another OS thread afterwards: thread-local addresses taken before
/// are stale.
///
/// # Safety
/// - `to` is a suspended context, its stack is live, and nobody else resumes it.
/// - `action` may be called with the context left and `data`, on the stack of
///   `to`, and does not unwind.
/// - Whoever resumes `left` does it once, and after `action` began.
/// - The current thread called [`enter_thread`].
#[inline(always)]
pub unsafe fn switch(to: Context, action: Action, data: *mut ()) {
    // SAFETY: the caller's promises are those of the function called.
    unsafe { sanitizer::switch(to.0, action, data) }
}

/// Leaves the current context for `to` with no action: all that happens on the
/// way is that what was left is stored in `*left` (with release ordering, once it
/// is complete).
///
/// For coroutines that stay on one thread, and for publishing a context by one
/// store. A nanosecond cheaper than [`switch`].
///
/// # Safety
/// As [`switch`]; `left` is valid for a write by the time `to` is about to run.
/// It may be the place that `to` was read from.
#[inline(always)]
pub unsafe fn switch_plain(to: Context, left: *mut Context) {
    // SAFETY: the caller's promises; `Context` is a transparent pointer.
    unsafe { sanitizer::switch_plain(to.0, left.cast()) }
}

/// Leaves for ever: a computation that ended. As [`switch`], but nothing is
/// saved and `left` must not be resumed; `action` may free its stack.
///
/// Destructors of what is still on the stack do not run.
///
/// # Safety
/// As [`switch`]. Nothing on this stack is used afterwards.
#[inline(always)]
pub unsafe fn switch_final(to: Context, action: Action, data: *mut ()) -> ! {
    // SAFETY: the caller's promises are those of the function called.
    unsafe { sanitizer::switch_final(to.0, action, data) }
}

/// Prepares a fresh context on the stack that ends at `top`: the first switch to
/// it runs the switcher's action, then `entry(arg)`, which never returns.
///
/// Touches only the few bytes below `top`.
///
/// # Safety
/// - The memory from `limit` to `top` is a live stack that nothing else uses
///   until the context has ended, with a guard below `limit`.
/// - `entry(arg)` may be called once, on any thread, and does not unwind.
#[inline]
pub unsafe fn prepare(top: *mut u8, limit: *mut u8, entry: Entry, arg: *mut ()) -> Context {
    debug_assert!(
        top.addr() - limit.addr() >= 4096,
        "context: stack too small"
    );
    // SAFETY: the caller's promises are those of the function called.
    Context(unsafe { sanitizer::prepare(top, limit, entry, arg) })
}

/// Runs `f` on top of the suspended context `on`, on its stack, and comes back.
/// `on` stays suspended, with the same value.
///
/// A backtrace taken by `f` shows the frames of the parked computation.
///
/// # Panics
/// A panic in `f` aborts the process: it must not unwind into the parked
/// frames.
///
/// # Safety
/// `on` is a suspended context, its stack is live, nobody resumes it meanwhile,
/// and `f` does not switch.
pub unsafe fn run_on_top(on: Context, f: &mut dyn FnMut()) {
    /// Calls the closure; `extern "C"` turns a panic into an abort.
    unsafe extern "C" fn call(f: *mut ()) {
        // SAFETY: `f` is the address of the reference below, alive until we
        // return.
        let f = unsafe { &mut *f.cast::<&mut dyn FnMut()>() };
        f();
    }
    let mut f = f;
    // SAFETY: the caller vouches for `on`; `call` does not unwind.
    unsafe { arch::call_on_top(on.0, call, (&raw mut f).cast()) }
}

/// Tells this module that the calling OS thread is going to switch. Call it once
/// per thread, before its first switch.
pub fn enter_thread() {}

/// Undoes [`enter_thread`]: the thread is back on its own stack and switches no
/// more.
pub fn leave_thread() {}
