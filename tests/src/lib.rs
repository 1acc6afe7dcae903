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

pub mod pressure;
pub mod scenario;
pub mod sys;
