//! The runtime as a whole: how many processors, how many goroutines, what they
//! have done.

use crate::sched::{self, entry, start};
use crate::sys;

/// How many goroutines may run at the same time. Starts the runtime.
#[doc(alias = "GOMAXPROCS")]
pub fn maxprocs() -> usize {
    start::ensure();
    sched::procs()
}

/// Changes how many goroutines may run at the same time, to 1 to 1024 (others
/// are brought to the nearer end); returns what it was. More processors take part at
/// once; one that is too many stops when its goroutine next gives way.
///
/// ```
/// use goweft::runtime::{maxprocs, set_maxprocs};
/// let before = set_maxprocs(2);
/// assert_eq!((maxprocs(), set_maxprocs(before)), (2, 2));
/// ```
#[doc(alias = "GOMAXPROCS")]
pub fn set_maxprocs(n: usize) -> usize {
    start::resize(n)
}

/// The CPUs that this process may run on.
#[doc(alias = "NumCPU")]
pub fn num_cpu() -> usize {
    sys::affinity_count()
}

/// How many goroutines there are: spawned and not ended.
#[doc(alias = "NumGoroutine")]
pub fn num_goroutines() -> usize {
    usize::try_from(entry::live()).unwrap_or(usize::MAX)
}
