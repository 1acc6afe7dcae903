//! The CPU quota of the cgroups that this process is in.
//!
//! The files are found once and kept open for good: reading them again is a `pread`
//! into a small buffer, allocates nothing (the monitor does it, which must not wait
//! for the allocator's lock), and goes on working after a change of root,
//! mounts or user. A process that is moved to another cgroup does not notice,
//! as with Go. Unlike with Go, the quota of every ancestor that can be seen counts, the
//! smallest of them: a pod's limit holds for the containers in it.
//!
//! Existing crates were looked at: those that read quotas look at the leaf only, or
//! round down, or are whole clients for cgroups.

use super::bandwidth;
use super::membership::{self, Version};
use super::mounts;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The open files, from the process' cgroup upwards.
pub(super) struct Quota {
    levels: Vec<Level>,
}

/// Those of one cgroup.
enum Level {
    V1 { quota: File, period: File },
    V2 { max: File },
}

/// More than two numbers of 20 digits.
type Text = [u8; 64];

impl Quota {
    /// Finds the files. `proc_self` is `/proc/self`, but for tests. What is not there,
    /// or can't be read, is no limit.
    pub(super) fn find(proc_self: &Path) -> Quota {
        Quota {
            levels: find(proc_self).unwrap_or_default(),
        }
    }

    /// The smallest quota as it is now, in CPUs, rounded up. None: no limit.
    pub(super) fn cpus(&self) -> Option<u64> {
        self.levels.iter().filter_map(Level::cpus).min()
    }
}

fn find(proc_self: &Path) -> Option<Vec<Level>> {
    let groups = fs::read(proc_self.join("cgroup")).ok()?;
    let group = membership::of_cpu(&groups)?;
    let mountinfo = fs::read(proc_self.join("mountinfo")).ok()?;
    // A mount may be hidden by another one on top of it; then nothing is found there.
    mounts::directories(&mountinfo, group)
        .iter()
        .map(|levels| {
            // The root of a hierarchy has no such files, nor has a cgroup
            // whose parent does not hand the controller down.
            levels
                .iter()
                .filter_map(|dir| Level::open(dir, group.version))
                .collect::<Vec<_>>()
        })
        .find(|levels| !levels.is_empty())
}

impl Level {
    fn open(dir: &Path, version: Version) -> Option<Level> {
        let open = |name| File::open(dir.join(name)).ok();
        Some(match version {
            Version::V1 => Level::V1 {
                quota: open("cpu.cfs_quota_us")?,
                period: open("cpu.cfs_period_us")?,
            },
            Version::V2 => Level::V2 {
                max: open("cpu.max")?,
            },
        })
    }

    fn cpus(&self) -> Option<u64> {
        let (mut one, mut two): (Text, Text) = ([0; 64], [0; 64]);
        match self {
            Level::V1 { quota, period } => {
                bandwidth::of_v1(read(quota, &mut one)?, read(period, &mut two)?)
            }
            Level::V2 { max } => bandwidth::of_v2(read(max, &mut one)?),
        }
    }
}

/// The file as it is now; None: it can't be read (its cgroup is gone), or is longer
/// than such a file is.
fn read<'a>(file: &File, into: &'a mut Text) -> Option<&'a [u8]> {
    let n = file.read_at(into, 0).ok()?;
    (n < into.len()).then(|| &into[..n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder that stands for `/proc/self` and for the mount points in it.
    struct Tree(PathBuf);

    impl Tree {
        fn new() -> Tree {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            // The blank is there to be escaped.
            let dir = format!("goweft quota {} {n}", std::process::id());
            let dir = std::env::temp_dir().join(dir);
            fs::create_dir_all(&dir).unwrap();
            Tree(dir)
        }

        fn write(&self, path: &str, text: &str) -> &Tree {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        /// A line of `mountinfo` for the folder `at`.
        fn mount(&self, root: &str, at: &str, kind: &str, options: &str) -> String {
            let point = self.0.join(at).to_str().unwrap().replace(' ', "\\040");
            format!("50 40 0:26 {root} {point} rw - {kind} cgroup rw,{options}\n")
        }

        fn cpus(&self) -> Option<u64> {
            Quota::find(&self.0).cpus()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_smallest_quota_of_all_ancestors_counts() {
        let tree = Tree::new();
        tree.write("cgroup", "0::/pod/app/worker\n").write(
            "mountinfo",
            &tree.mount("/", "mnt", "cgroup2", "nsdelegate"),
        );
        assert_eq!(tree.cpus(), None, "no such directories");
        tree.write("mnt/pod/app/worker/cpu.max", "max 100000\n");
        assert_eq!(tree.cpus(), None);
        tree.write("mnt/pod/cpu.max", "250000 100000\n");
        assert_eq!(tree.cpus(), Some(3));
        tree.write("mnt/pod/app/cpu.max", "40000 20000\n");
        assert_eq!(tree.cpus(), Some(2));
        tree.write("mnt/pod/app/worker/cpu.max", "10000 20000\n");
        assert_eq!(tree.cpus(), Some(1));
    }

    #[test]
    fn version_1_takes_its_quota_from_two_files() {
        let tree = Tree::new();
        tree.write("cgroup", "7:cpu,cpuacct:/box\n0::/\n").write(
            "mountinfo",
            &(tree.mount("/", "two", "cgroup2", "x")
                + &tree.mount("/", "set", "cgroup", "cpuset")
                + &tree.mount("/", "one", "cgroup", "cpuacct,cpu")),
        );
        // Not the one that counts.
        tree.write("two/cpu.max", "100000 100000\n");
        tree.write("one/box/cpu.cfs_quota_us", "-1\n")
            .write("one/box/cpu.cfs_period_us", "100000\n")
            .write("one/cpu.cfs_quota_us", "600000\n");
        assert_eq!(tree.cpus(), None, "a quota without its period");
        tree.write("one/cpu.cfs_period_us", "100000\n");
        assert_eq!(tree.cpus(), Some(6));
        tree.write("one/box/cpu.cfs_quota_us", "350000\n");
        assert_eq!(tree.cpus(), Some(4));
    }

    #[test]
    fn a_change_is_seen_in_the_open_files() {
        let tree = Tree::new();
        tree.write("cgroup", "0::/\n")
            .write("mountinfo", &tree.mount("/", "mnt", "cgroup2", "x"))
            .write("mnt/cpu.max", "300000 100000\n");
        let quota = Quota::find(&tree.0);
        assert_eq!(quota.cpus(), Some(3));
        tree.write("mnt/cpu.max", "1200000 100000\n");
        assert_eq!(quota.cpus(), Some(12));
        tree.write("mnt/cpu.max", "max 100000\n");
        assert_eq!(quota.cpus(), None);
        tree.write("mnt/cpu.max", &"9".repeat(64));
        assert_eq!(quota.cpus(), None, "too long");
        tree.write("mnt/cpu.max", "100000 100000\n");
        assert_eq!(quota.cpus(), Some(1));
    }

    #[test]
    fn the_first_mount_with_something_in_it_counts() {
        let tree = Tree::new();
        tree.write("cgroup", "0::/a/b\n").write(
            "mountinfo",
            // The one that shows more is hidden by another mount on top of it.
            &(tree.mount("/a/b", "leaf", "cgroup2", "x")
                + &tree.mount("/", "hidden", "cgroup2", "x")),
        );
        tree.write("leaf/cpu.max", "500000 100000\n");
        assert_eq!(tree.cpus(), Some(5));
        tree.write("hidden/a/cpu.max", "200000 100000\n");
        assert_eq!(tree.cpus(), Some(2));
    }

    #[test]
    fn missing_and_broken_files_are_no_limit() {
        let tree = Tree::new();
        assert_eq!(tree.cpus(), None, "no files at all");
        tree.write("cgroup", "0::/\n");
        assert_eq!(tree.cpus(), None, "no mountinfo");
        tree.write("mountinfo", "garbage\n");
        assert_eq!(tree.cpus(), None, "no mount");
        tree.write("mountinfo", &tree.mount("/", "mnt", "cgroup2", "x"));
        assert_eq!(tree.cpus(), None, "no cpu.max");
        fs::create_dir_all(tree.0.join("mnt/cpu.max")).unwrap();
        assert_eq!(tree.cpus(), None, "a folder for a file");
        fs::remove_dir(tree.0.join("mnt/cpu.max")).unwrap();
        tree.write("mnt/cpu.max", "200000 100000\n");
        assert_eq!(tree.cpus(), Some(2));
        tree.write("cgroup", "");
        assert_eq!(tree.cpus(), None, "in no cgroup");
    }
}
