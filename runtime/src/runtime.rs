//! The runtime as a whole: how many processors, how many goroutines, what they
//! have done.

use crate::limits;
use crate::sched::{self, entry, lists, monitor, p, preempt, start, theft, threads};
use goweft_stacks::Stats;
use std::sync::atomic::Ordering;

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
/// From then on it stays as it was set, also when it was set to what it is: it does not
/// follow the machine any more, until [`set_default_maxprocs`].
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

/// Has [`maxprocs`] follow the machine again, also when it was set by hand or by
/// the environment; returns what it was. From now on it is the number of CPUs that this
/// process may run on, or its cgroups' CPU quota if that is less: see
/// [`Config::maxprocs`](crate::Config::maxprocs). Starts the runtime. Reads a few
/// small files the first time.
///
/// ```
/// use goweft::runtime::{maxprocs, num_cpu, set_default_maxprocs, set_maxprocs};
/// set_maxprocs(1000);
/// assert_eq!(set_default_maxprocs(), 1000);
/// assert!(maxprocs() <= num_cpu());
/// ```
#[doc(alias = "SetDefaultGOMAXPROCS")]
pub fn set_default_maxprocs() -> usize {
    start::follow_limits_again()
}

/// The CPUs that this process could run on when this was first asked, at the start of
/// the runtime at the latest. Quotas do not count here.
#[doc(alias = "NumCPU")]
pub fn num_cpu() -> usize {
    limits::num_cpu()
}

/// How many goroutines there are: spawned and not ended.
#[doc(alias = "NumGoroutine")]
pub fn num_goroutines() -> usize {
    usize::try_from(entry::live()).unwrap_or(usize::MAX)
}

/// What the runtime has done since it started, and what it has now; see
/// [`metrics`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// Goroutines spawned and not ended.
    pub goroutines: u64,
    /// Goroutines spawned.
    pub spawned: u64,
    /// Times that a processor left a goroutine for another or for the search
    /// for one: parks, yields and ends.
    pub switches: u64,
    /// Of these, those that went straight to the next goroutine.
    pub direct_switches: u64,
    /// Times that a goroutine parked.
    pub parks: u64,
    /// Times that a goroutine gave way.
    pub yields: u64,
    /// Times that a processor took goroutines from another's queue.
    pub steals: u64,
    /// Goroutines so taken.
    pub stolen: u64,
    /// Times that a processor's queue was full, and half of it went to the global one.
    pub overflows: u64,
    /// Looks at the netpoll.
    pub polls: u64,
    /// Goroutines that timers or the netpoll woke.
    pub woken: u64,
    /// Times that a processor was taken from a thread that blocked in the kernel.
    pub taken_from_blocked: u64,
    /// Times that a processor was taken from a goroutine that computed while others
    /// waited.
    pub taken_from_computing: u64,
    /// Times that a thread without a processor was stopped because it computed.
    pub preemptions: u64,
    /// Threads that are stopped so now, each with a goroutine and its memory.
    pub preempted_threads: usize,
    /// Times that the runtime's last resort was used: 0, or a bug.
    pub rescues: u64,
    /// OS threads that there are to run goroutines.
    pub threads: usize,
    /// Of these, those that rest for want of work: the others run goroutines, are in calls
    /// that block, or wait for a processor.
    pub idle_threads: usize,
    /// Goroutines that may run at the same time.
    pub maxprocs: usize,
    /// Processors without work.
    pub idle_procs: usize,
    /// Timers set, those included whose wait is over and that are not yet swept.
    pub timers: usize,
    /// The stacks of goroutines.
    pub stacks: Stats,
}

/// Sums the counters of all processors. Each is exact, but they are read one after the
/// other while goroutines run. Some tens of microseconds; does not block, and
/// does not start the runtime.
///
/// ```
/// let before = goweft::runtime::metrics().spawned;
/// goweft::spawn(|| ()).join().unwrap();
/// assert!(goweft::runtime::metrics().spawned > before);
/// ```
pub fn metrics() -> Metrics {
    let sum = |counter: fn(&p::Counters) -> &p::Counter| -> u64 {
        p::all().map(|p| counter(p.counters()).get()).sum()
    };
    let inside = sched::Inside::enter();
    let timers = p::all().map(|p| p.timers().len(&inside)).sum();
    // Inside: it takes locks that others wait for inside.
    let stacks = goweft_stacks::stats();
    let idle_threads = lists::lock(&inside).resting();
    drop(inside);
    Metrics {
        goroutines: entry::live(),
        spawned: sum(|c| &c.spawned) + lists::FOREIGN_SPAWNED.load(Ordering::Relaxed),
        switches: sum(|c| &c.switches),
        direct_switches: sum(|c| &c.direct),
        parks: sum(|c| &c.parks),
        yields: sum(|c| &c.yields),
        steals: sum(|c| &c.steals),
        stolen: sum(|c| &c.stolen),
        overflows: sum(|c| &c.overflows),
        polls: sum(|c| &c.polls),
        woken: sum(|c| &c.woken) + lists::FOREIGN_WOKEN.load(Ordering::Relaxed),
        taken_from_blocked: theft::FROM_BLOCKED.load(Ordering::Relaxed),
        taken_from_computing: theft::FROM_COMPUTING.load(Ordering::Relaxed),
        preemptions: preempt::PARKED.load(Ordering::Relaxed),
        preempted_threads: preempt::parked_now(),
        rescues: monitor::RESCUES.load(Ordering::Relaxed),
        threads: threads::count(),
        idle_threads,
        maxprocs: sched::procs(),
        idle_procs: lists::SLEEP.idle_now(),
        timers,
        stacks,
    }
}
