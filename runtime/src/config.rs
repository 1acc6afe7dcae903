//! Settings.
use goweft_stacks::Class;
use std::time::Duration;
pub(crate) struct Settings { pub(crate) maxprocs: usize, pub(crate) class: Class, pub(crate) time_slice: Duration }
pub(crate) fn settle() -> Settings {
    Settings { maxprocs: std::env::var("GOWEFT_MAXPROCS").ok().and_then(|s| s.parse().ok()).unwrap_or_else(crate::sys::affinity_count),
      class: Class::for_size(256*1024).unwrap(), time_slice: Duration::from_millis(10) }
}
pub(crate) fn max_threads() -> usize { 10_000 }
pub(crate) fn affinity() -> Option<&'static [usize]> { None }
