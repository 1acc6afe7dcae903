//! What the OS says that a thread is doing: computing, or blocked in the kernel.
//!
//! A clock that stands still does not mean blocked: a thread that shares its CPU with
//! others shows a still clock in most looks. `/proc/self/task/T/syscall` tells: it shows
//! `running` for a thread that runs or could run, and the number of its system call
//! (or -1, in a page fault) for one that sleeps. Reading it takes 0.7 us when
//! it is kept open, so some are.

use super::m::M;
use super::sys;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

/// What a thread is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ThreadState {
    /// It runs, or would if it had a CPU.
    Running,
    /// It sleeps in the kernel.
    Blocked,
    /// There is no such file, or no descriptor for it.
    Unknown,
}

/// Files that are kept open at most.
const KEPT: usize = 64;

/// The monitor's open files, each in the place that its thread's id says.
pub(super) struct StateFiles {
    kept: [Option<(i32, OwnedFd)>; KEPT],
}

impl StateFiles {
    pub(super) fn new() -> StateFiles {
        StateFiles {
            kept: [const { None }; KEPT],
        }
    }

    /// Looks at the thread of `m`.
    pub(super) fn look(&mut self, m: &'static M) -> ThreadState {
        let tid = m.tid.load(Ordering::Relaxed);
        let place = &mut self.kept[tid.unsigned_abs() as usize % KEPT];
        if place.as_ref().is_none_or(|(owner, _)| *owner != tid) {
            *place = sys::open_state(tid).map(|file| (tid, file));
        }
        let running = place.as_ref().and_then(|(_, file)| sys::is_running(file));
        match running {
            Some(true) => ThreadState::Running,
            Some(false) => ThreadState::Blocked,
            None => {
                // The thread that had this id is gone, or there never was a file.
                *place = None;
                ThreadState::Unknown
            }
        }
    }
}
