//! Why there can be no stack: two numbers, and the words when somebody reads them.
//!
//! Whoever reserves may be inside a scheduler, where nothing may be allocated; so the
//! explanation is not made before it is shown or turned into an [`io::Error`].

use crate::class::Class;
use crate::depot::CARVED;
use crate::policy::{self, GuardKind};
use std::sync::atomic::Ordering;
use std::{error, fmt, io};

/// There can be no stack of this class now.
///
/// Shown, it says what is exhausted and which sysctl or limit to raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    class: Class,
    code: i32,
}

impl Exhausted {
    pub(crate) fn new(class: Class, e: &io::Error) -> Exhausted {
        Exhausted {
            class,
            code: e.raw_os_error().unwrap_or(libc::ENOMEM),
        }
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = policy::get();
        let size = self.class.size() >> 10;
        let e = io::Error::from_raw_os_error(self.code);
        let carved = CARVED.load(Ordering::Relaxed);
        let by_mappings = policy.guard == GuardKind::Mprotect;
        if by_mappings && (policy.max_slots <= carved || !policy.strict) {
            write!(
                f,
                "stacks: no more mappings for the guard of a {size} KiB stack ({carved} stacks are \
                 mapped, each guard takes two mappings): raise the sysctl vm.max_map_count, or use \
                 Linux 6.13 or later, where guards take none"
            )
        } else if policy.strict {
            write!(
                f,
                "stacks: the commit limit does not allow another {size} KiB stack: raise the sysctl \
                 vm.overcommit_ratio, set vm.overcommit_memory to 0 or 1, or use smaller stacks ({e})"
            )
        } else {
            write!(
                f,
                "stacks: no address space for another {size} KiB stack: raise the limit on virtual \
                 memory (ulimit -v) or the sysctl vm.max_map_count, or use smaller stacks ({e})"
            )
        }
    }
}

impl error::Error for Exhausted {}

/// Of kind [`OutOfMemory`](io::ErrorKind::OutOfMemory). Allocates.
impl From<Exhausted> for io::Error {
    fn from(e: Exhausted) -> io::Error {
        io::Error::new(io::ErrorKind::OutOfMemory, e)
    }
}
