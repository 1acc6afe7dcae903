//! What the macros expand to, and what benches measure that no public item is. Not part of
//! the public surface.

use crate::config::{Config, ConfigError};
use crate::sched::Inside;
use crate::sched::spawn::Spec;
use crate::task::{self, Builder, Exited};
use std::panic::{Location, resume_unwind};

/// `go!(closure)`.
#[track_caller]
#[inline]
pub fn go<F, T>(f: F)
where
    F: FnOnce() -> T + Send + 'static,
{
    let spec = Spec {
        class: None,
        name: None,
        pinned: false,
        at: Location::caller(),
    };
    if let Err(e) = task::detached(f, spec) {
        task::refused(&e);
    }
}

/// `go!(name = …, closure)`.
#[track_caller]
pub fn go_with<F, T>(options: Builder, f: F)
where
    F: FnOnce() -> T + Send + 'static,
{
    let spawned = options
        .spec(Location::caller())
        .and_then(|spec| task::detached(f, spec));
    if let Err(e) = spawned {
        task::refused(&e);
    }
}

/// `#[goweft::main]`.
#[track_caller]
pub fn main<F, T>(config: Config, f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if let Err(e) = config.install() {
        eprintln!("goweft: #[goweft::main]: {e}");
        std::process::exit(1);
    }
    match task::outcome(f, Some("main".into()), Location::caller()) {
        Ok(value) => value,
        Err(payload) if payload.is::<Exited>() => task::of_main(),
        Err(payload) if crate::config::panics_end_the_process() => {
            drop(payload);
            std::process::exit(2)
        }
        Err(payload) => resume_unwind(payload),
    }
}

/// `#[goweft::test]`. All tests of a process share one runtime: the first one
/// that has options settles them.
#[track_caller]
pub fn test<F, T>(config: Config, f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    match config.install() {
        Ok(()) | Err(ConfigError::Started) => {}
        Err(e) => panic!("goweft: #[goweft::test]: {e}"),
    }
    // The harness names its threads after the tests.
    let name = std::thread::current().name().map(Into::into);
    match task::outcome(f, name, Location::caller()) {
        Ok(value) => value,
        Err(payload) if payload.is::<Exited>() => {
            panic!("goweft: the test called task::exit")
        }
        Err(payload) => resume_unwind(payload),
    }
}

/// Enters the runtime and leaves it, `n` times: what every operation costs before it does anything.
pub fn empty_operations(n: usize) {
    (0..n).for_each(|_| drop(Inside::enter()));
}
