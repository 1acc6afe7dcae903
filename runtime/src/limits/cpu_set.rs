//! A set of CPUs, as the kernel's affinity masks are.

use super::sys;
use std::fmt;
use std::io;

/// More than any kernel is built for (8,192).
const WORDS: usize = 128;

/// One bit a CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct CpuSet([u64; WORDS]);

impl CpuSet {
    pub(crate) const EMPTY: CpuSet = CpuSet([0; WORDS]);

    /// The CPUs that a thread may run on; 0 is the calling one.
    ///
    /// # Errors
    /// When the kernel does not tell: a sandbox forbids it, there is no such thread.
    pub(crate) fn of_thread(tid: i32) -> io::Result<CpuSet> {
        let mut set = CpuSet::EMPTY;
        sys::get_affinity(tid, &mut set.0)?;
        Ok(set)
    }

    /// Has a thread run on these CPUs only; 0 is the calling one.
    ///
    /// # Errors
    /// When it may run on none of them, or there is no such thread any more.
    pub(crate) fn apply_to(&self, tid: i32) -> io::Result<()> {
        sys::set_affinity(tid, &self.0)
    }

    pub(crate) fn contains(&self, cpu: usize) -> bool {
        self.0
            .get(cpu / 64)
            .is_some_and(|word| word & (1 << (cpu % 64)) != 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

impl FromIterator<usize> for CpuSet {
    /// CPUs beyond what a kernel can have are left out.
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for cpu in cpus {
            if let Some(word) = set.0.get_mut(cpu / 64) {
                *word |= 1 << (cpu % 64);
            }
        }
        set
    }
}

/// As the kernel lists CPUs: `0-3,8`.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut cpu = 0;
        while cpu < 64 * WORDS {
            let first = cpu;
            while self.contains(cpu) {
                cpu += 1;
            }
            match cpu - first {
                0 => {
                    cpu += 1;
                    continue;
                }
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", cpu - 1)?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of() {
        let set: CpuSet = [0, 2, 63, 64, 8191, 8192, usize::MAX].into_iter().collect();
        assert_eq!(set.count(), 5);
        for cpu in [0, 2, 63, 64, 8191] {
            assert!(set.contains(cpu), "{cpu}");
        }
        for cpu in [1, 62, 65, 8190, 8192, usize::MAX] {
            assert!(!set.contains(cpu), "{cpu}");
        }
        assert_eq!(CpuSet::EMPTY.count(), 0);
    }

    #[test]
    fn it_is_listed_as_the_kernel_does() {
        for (cpus, want) in [
            (&[][..], ""),
            (&[0], "0"),
            (&[0, 1], "0-1"),
            (&[0, 1, 2, 3, 8], "0-3,8"),
            (&[1, 3, 5], "1,3,5"),
            (&[5, 62, 63, 64, 65, 8191], "5,62-65,8191"),
        ] {
            let set: CpuSet = cpus.iter().copied().collect();
            assert_eq!(set.to_string(), want);
        }
    }

    #[test]
    fn a_thread_runs_where_its_set_says() {
        // Of a thread that ends with the test: nobody else is moved.
        std::thread::spawn(|| {
            let all = CpuSet::of_thread(0).unwrap();
            assert!(all.count() >= 1);
            let last = (0..8192).rev().find(|&cpu| all.contains(cpu)).unwrap();
            let only: CpuSet = [last].into_iter().collect();
            only.apply_to(0).unwrap();
            assert_eq!(CpuSet::of_thread(0).unwrap().to_string(), last.to_string());
            all.apply_to(0).unwrap();
            assert!(CpuSet::of_thread(0).unwrap() == all);
            assert!(CpuSet::EMPTY.apply_to(0).is_err());
        })
        .join()
        .unwrap();
    }
}
