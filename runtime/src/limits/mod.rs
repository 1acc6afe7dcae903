//! What the machine and its owner let this process use: CPUs, and a share of their
//! time. The default of `maxprocs` comes from here.
//!
//! | file | what |
//! |---|---|
//! | `cpu_set.rs` | affinity masks |
//! | `quota.rs` | the quota of all cgroups that this process is in |
//! | `membership.rs`, `mounts.rs` | finding these: `/proc/self/cgroup`, `/proc/self/mountinfo` |
//! | `bandwidth.rs` | reading them: `cpu.max`, `cpu.cfs_quota_us`, `cpu.cfs_period_us` |
//! | `sys.rs` | system calls |
//!
//! The rule is Go's: `min(CPUs, max(2, ceil(quota / period)))`. Rounded up, because half
//! a CPU more than one is worth a second thread; at least 2 beside a quota, because
//! it is spent by time and not by CPU, and a runtime with one processor serves
//! nobody while that one is throttled.
//!
//! [`default_maxprocs`] is asked again while the program runs, by the monitor, so it
//! allocates nothing and takes no lock.

mod bandwidth;
mod cpu_set;
mod membership;
mod mounts;
mod quota;
mod sys;

pub(crate) use cpu_set::CpuSet;

use crate::sched::p::MAX_PROCS;
use quota::Quota;
use std::path::Path;
use std::sync::OnceLock;

/// What the process could run on when it was first asked. Later questions
/// may come from threads that are pinned.
static CPUS: OnceLock<Option<CpuSet>> = OnceLock::new();
static QUOTA: OnceLock<Quota> = OnceLock::new();

/// The CPUs of this process when this was first asked, at the start of the runtime at
/// the latest. None: the kernel does not tell.
pub(crate) fn cpus() -> Option<&'static CpuSet> {
    CPUS.get_or_init(|| CpuSet::of_thread(0).ok()).as_ref()
}

/// How many [`cpus`] are, at least 1.
pub(crate) fn num_cpu() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| match cpus() {
        Some(cpus) => cpus.count().max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// The CPUs that this machine has, off or on, and whoever may use them.
pub(crate) fn configured_cpus() -> usize {
    sys::configured_cpus().max(num_cpu())
}

/// Finds the cgroup's files, once. Allocates; [`default_maxprocs`] ignores quotas before.
pub(crate) fn find_quota() {
    QUOTA.get_or_init(|| Quota::find(Path::new("/proc/self")));
}

/// What `maxprocs` is to be as things are now, by the CPUs that the thread `tid` may run
/// on (0: the calling one), which must not be one that is pinned. With `pinned` the
/// workers run on these CPUs only. Quotas count from [`find_quota`] on.
pub(crate) fn default_maxprocs(tid: i32, pinned: Option<&[usize]>) -> usize {
    let cpus = match CpuSet::of_thread(tid) {
        Ok(cpus) => usable(&cpus, pinned),
        Err(_) => num_cpu(),
    };
    rule(cpus, QUOTA.get().and_then(Quota::cpus))
}

/// How many of `cpus` the workers run on.
fn usable(cpus: &CpuSet, pinned: Option<&[usize]>) -> usize {
    let Some(pinned) = pinned else {
        return cpus.count();
    };
    let pinned: CpuSet = pinned
        .iter()
        .copied()
        .filter(|&c| cpus.contains(c))
        .collect();
    pinned.count()
}

/// The rule itself.
fn rule(cpus: usize, quota: Option<u64>) -> usize {
    let cpus = cpus.clamp(1, MAX_PROCS);
    match quota {
        Some(quota) => cpus.min(usize::try_from(quota.max(2)).unwrap_or(usize::MAX)),
        None => cpus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go's rows for the default of GOMAXPROCS: the quota rounds up, never goes below
    /// 2, and never above the CPUs.
    #[test]
    fn the_rule_is_the_smaller_of_cpus_and_quota_and_a_quota_is_at_least_two() {
        for (cpus, quota, want) in [
            (8, None, 8),
            (8, Some(4), 4),
            (8, Some(3), 3),
            (8, Some(2), 2),
            (8, Some(1), 2),
            (8, Some(0), 2),
            (8, Some(8), 8),
            (8, Some(9), 8),
            (8, Some(u64::MAX), 8),
            (2, Some(1), 2),
            (1, Some(1), 1),
            (1, Some(4), 1),
            (1, None, 1),
            (0, None, 1),
            (4096, None, MAX_PROCS),
            (4096, Some(2000), MAX_PROCS),
        ] {
            assert_eq!(rule(cpus, quota), want, "{cpus} CPUs, {quota:?}");
        }
    }

    #[test]
    fn pinned_workers_count_the_cpus_they_are_pinned_to() {
        let cpus: CpuSet = [0, 1, 2, 5].into_iter().collect();
        assert_eq!(usable(&cpus, None), 4);
        assert_eq!(usable(&cpus, Some(&[1, 5])), 2);
        assert_eq!(usable(&cpus, Some(&[1, 1, 1])), 1);
        // CPUs that were taken from the process since.
        assert_eq!(usable(&cpus, Some(&[5, 6])), 1);
        assert_eq!(usable(&cpus, Some(&[6])), 0);
    }

    #[test]
    fn the_machine_has_the_cpus_of_the_process() {
        assert!(num_cpu() >= 1);
        assert!(configured_cpus() >= num_cpu());
    }
}
