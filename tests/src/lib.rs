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

pub mod confined;
pub mod pressure;
pub mod scenario;

/// Lets all other goroutines run until they are parked. For a goroutine, with `maxprocs` 1, whose
/// partners wait for nothing but each other.
///
/// One round has as many turns as it takes for the global queue to be looked at twice. A thread that
/// lost its processor meanwhile, because the machine was busy with other things, brings its goroutine
/// back later: so another round follows until all threads but this one rest.
///
/// # Panics
/// When that takes a minute.
pub fn settle() {
    let begin = std::time::Instant::now();
    loop {
        for _ in 0..130 {
            goweft::task::yield_now();
        }
        let now = goweft::runtime::metrics();
        if now.idle_threads + 1 >= now.threads {
            return;
        }
        assert!(begin.elapsed().as_secs() < 60, "no rest: {now:?}");
    }
}
pub mod storm;
pub mod sys;
