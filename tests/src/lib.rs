//! What the black-box tests share.

/// The README's examples, which have to compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// What the example `counter` says of goroutines that all change one variable.
///
/// ```compile_fail,E0373
/// let mut count = 0;
/// for _ in 0..1000 {
///     goweft::go!(|| count += 1);
/// }
/// ```
#[cfg(doctest)]
pub struct RacyCounter;

use std::time::{Duration, Instant};

pub mod confined;
pub mod counting;
pub mod group;
mod last_resort;
pub mod pressure;
pub mod scenario;

/// Lets all other goroutines run until they are parked. For a goroutine, with `maxprocs` 1, whose
/// partners wait for nothing but each other.
///
/// One round has as many turns as it takes for the global queue to be looked at twice. A thread
/// that lost its processor, because the machine was busy with other things, brings its goroutine
/// back later: so a round counts only if all threads but this one rest from its beginning to its
/// end.
///
/// # Panics
/// When that takes a minute.
pub fn settle() {
    let rest = || {
        let now = goweft::runtime::metrics();
        (now.idle_threads + 1 >= now.threads, pressure::taken())
    };
    let begin = Instant::now();
    let mut before = rest();
    loop {
        for _ in 0..130 {
            goweft::task::yield_now();
        }
        let now = rest();
        if now.0 && now == before {
            return;
        }
        let metrics = goweft::runtime::metrics;
        assert!(begin.elapsed().as_secs() < 60, "no rest: {:?}", metrics());
        before = now;
    }
}

/// Calls `round` with a time after which somebody in it gives up, until it says that all it had to
/// look at before that was looked at before that. A round for which the machine was away too long
/// shows nothing, and the next one has four times as long.
///
/// # Panics
/// When none of five rounds shows anything.
#[track_caller]
pub fn in_time(shortest: Duration, round: impl FnMut(Duration) -> bool) {
    let mut times = (0..5).map(|n| shortest * 4_u32.pow(n));
    assert!(times.any(round), "always too late");
}

pub mod storm;
pub mod sys;
