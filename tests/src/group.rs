//! Groups of processes (cgroups), of version 1 or 2, whichever the system has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A group that a test has made, with a limit. It is removed when it is dropped, by when its
/// processes have to have ended. A process has one of each kind at a time.
pub struct Group {
    path: PathBuf,
    /// It is of version 1.
    is_v1: bool,
}

impl Group {
    /// One that may have `time` of the CPUs in each `period`. None: this process may not make it.
    pub fn with_quota(time: Duration, period: Duration) -> Option<Group> {
        let group = Group::make("cpu")?;
        let (time, period) = (time.as_micros(), period.as_micros());
        if group.is_v1 {
            group.set("cpu.cfs_period_us", &period.to_string())?;
            group.set("cpu.cfs_quota_us", &time.to_string())?;
        } else {
            group.set("cpu.max", &format!("{time} {period}"))?;
        }
        Some(group)
    }

    /// One whose threads are counted, and limited by nothing yet: that is its file `pids.max`.
    /// None: as above.
    pub fn with_threads_counted() -> Option<Group> {
        let group = Group::make("pids")?;
        group.set("pids.max", "max")?;
        Some(group)
    }

    /// In version 1 each controller has groups of its own.
    fn make(controller: &str) -> Option<Group> {
        let all = Path::new("/sys/fs/cgroup");
        let of_controller = all.join(controller);
        let is_v1 = of_controller.is_dir();
        let parent = if is_v1 { &*of_controller } else { all };
        let path = parent.join(format!("goweft-tests-{controller}-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        Some(Group { path, is_v1 })
    }

    fn set(&self, file: &str, value: &str) -> Option<()> {
        fs::write(self.path.join(file), value).ok()
    }

    /// The folder that it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the process `pid` into it. Whether this process may.
    #[must_use]
    pub fn take_in(&self, pid: u32) -> bool {
        self.set("cgroup.procs", &pid.to_string()).is_some()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}
