//! Running a closure as a goroutine while the caller waits.

use super::Exited;
use super::builder::refused;
use super::completion::Completion;
use super::task::refuse_in_no_park;
use super::unwind::{self, Fate};
use super::{exit, local};
use crate::sched::WaitReason;
use crate::sched::spawn::{Spec, spawn};
use std::cell::UnsafeCell;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::thread;

/// What the caller and the goroutine share, on the caller's stack.
struct Shared<T> {
    completion: Completion,
    result: UnsafeCell<Option<thread::Result<T>>>,
}

/// Runs `f` as a goroutine and parks the caller until it is done.
///
/// From a plain thread this is the way into the runtime, which it starts if
/// need be and which stays up afterwards. From a goroutine it gives `f` a stack of
/// its own. `f` may borrow. Goroutines that `f` leaves behind run on.
///
/// ```
/// let mut words = vec!["b", "a"];
/// let n = goweft::run(|| {
///     words.sort();
///     words.len()
/// });
/// assert_eq!((n, words), (2, vec!["a", "b"]));
/// ```
///
/// # Panics
/// With the panic of `f`, and when there is no room for another stack. In
/// [`no_park`](crate::no_park) always, before `f` is called: it would have to wait in the end.
///
/// When `f` calls [`task::exit`](super::exit()), `run` has nothing to return. A caller that is a
/// goroutine exits as well. A plain thread panics, save the process's main
/// thread: it waits until no goroutine is left, and then ends the process
/// with status 2.
#[track_caller]
pub fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    match outcome(f, None, Location::caller()) {
        Ok(value) => value,
        Err(payload) if payload.is::<Exited>() => exit::of_run(payload),
        Err(payload) => resume_unwind(payload),
    }
}

/// As [`run`], with a name; what ended `f`.
pub(crate) fn outcome<F, T>(
    f: F,
    name: Option<Arc<str>>,
    at: &'static Location<'static>,
) -> thread::Result<T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    refuse_in_no_park();
    let shared = Shared {
        completion: Completion::new(),
        result: UnsafeCell::new(None),
    };
    let at_ours = Address(&raw const shared);
    let body = move || {
        let shared = at_ours.get();
        let result = unwind::call(Fate::Resumed, f);
        local::end_current();
        // SAFETY: the caller waits for Done before it looks or leaves.
        unsafe { *(*shared).result.get() = Some(result) };
        // SAFETY: as above; a goroutine runs once. It is never detached.
        unsafe { Completion::complete(&raw const (*shared).completion) };
    };
    // What the closure borrows lives until Done, which we wait for whatever
    // happens: nothing between here and the end of the wait unwinds.
    if let Err(e) = spawn(
        body,
        Spec {
            pinned: false,
            class: None,
            name,
            at,
        },
    ) {
        refused(&e);
    }
    shared.completion.wait(WaitReason::Join);
    match shared.result.into_inner() {
        Some(result) => result,
        None => unreachable!("the goroutine wrote its result before it completed"),
    }
}

/// An address that goes into the closure whole.
struct Address<T>(*const T);

impl<T> Address<T> {
    fn get(self) -> *const T {
        self.0
    }
}
