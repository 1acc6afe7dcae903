//! What the black-box tests share.

/// The README's examples, which have to compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

pub mod scenario;
