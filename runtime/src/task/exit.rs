//! `task::exit`: how a goroutine ends itself (Go's `Goexit`).
//!
//! It unwinds with a payload of its own, past the panic hook. Where it arrives in
//! somebody who has nothing to return (`run`, `main`), that one exits as well;
//! the process's main thread, which must not end while others go on, waits until
//! no goroutine is left, and says so, as Go does.

use crate::sched::entry;
use std::any::Any;
use std::io::Write;
use std::panic::resume_unwind;
use std::time::Duration;

/// The payload with which [`exit()`] unwinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exited;

impl std::fmt::Display for Exited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the goroutine called task::exit")
    }
}

impl std::error::Error for Exited {}

/// Ends the goroutine (or the thread) that calls it: unwinds it, runs its drops, prints
/// nothing.
///
/// `join` gives `Err` with [`Exited`] as payload. In `main` the other goroutines go
/// on; when none is left, the process ends with status 2. The unwinding can be
/// caught with `catch_unwind`, like any; in a drop that runs because of a panic
/// it aborts the process, like any.
///
/// ```
/// let h = goweft::spawn(|| goweft::task::exit());
/// assert!(h.join().unwrap_err().is::<goweft::task::Exited>());
/// ```
#[doc(alias = "Goexit")]
pub fn exit() -> ! {
    resume_unwind(Box::new(Exited))
}

/// The closure of `run` exited.
#[cold]
#[track_caller]
pub(super) fn of_run(payload: Box<dyn Any + Send>) -> ! {
    if super::is_goroutine() {
        resume_unwind(payload)
    }
    if crate::sys::is_main_thread() {
        of_main()
    }
    panic!("goweft: run: the closure called task::exit, and there is nothing to return")
}

/// `main` exited: the others go on until there are none.
#[cold]
pub(crate) fn of_main() -> ! {
    // A timer that is still set has a goroutine behind it that waits.
    // Nobody is told when the last goroutine ends, because that would cost each
    // of them; a thread that has nothing else to do looks now and then.
    let mut pause = Duration::from_millis(1);
    while entry::live() != 0 {
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(100));
    }
    // What stderr answers does not matter any more.
    let _ = std::io::stderr()
        .write_all(b"goweft: no goroutines (main called task::exit) - deadlock!\n");
    std::process::exit(2)
}
