//! What the machine can do, found out once: how guards are made and whether
//! memory is charged when it is reserved.

use crate::sys;
use std::sync::OnceLock;

/// How the guard below each stack is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardKind {
    /// Markers in the page tables (Linux 6.13 and later). A slab stays one
    /// mapping however many stacks it holds.
    Marker,
    /// `mprotect`. Every guard splits a mapping, so there can be about half as
    /// many stacks as `vm.max_map_count` says.
    Mprotect,
}

/// The decisions, fixed at first use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) guard: GuardKind,
    /// Memory is charged when it becomes writable (`vm.overcommit_memory` = 2):
    /// slots stay closed until they are first needed.
    pub(crate) strict: bool,
    /// How many slots may be carved in all, so that guards never use up the
    /// process's mappings. `usize::MAX` where guards split nothing.
    pub(crate) max_slots: usize,
}

impl Policy {
    /// Slots must be made usable when they are promised, not when they are
    /// taken, because that can fail.
    pub(crate) fn eager(&self) -> bool {
        self.strict || self.guard == GuardKind::Mprotect
    }
}

/// Mappings left to the rest of the process (threads, allocator, libraries).
const SPARE_MAPPINGS: usize = 4096;

/// The policy of this process. `GOWEFT_STACKS_GUARD=mprotect` and
/// `GOWEFT_STACKS_OVERCOMMIT=strict` force the fallbacks.
pub(crate) fn get() -> &'static Policy {
    static POLICY: OnceLock<Policy> = OnceLock::new();
    POLICY.get_or_init(|| {
        let forced = |name, value| std::env::var_os(name).is_some_and(|v| v == value);
        let guard = if forced("GOWEFT_STACKS_GUARD", "mprotect") || !sys::markers_work() {
            GuardKind::Mprotect
        } else {
            GuardKind::Marker
        };
        let strict = forced("GOWEFT_STACKS_OVERCOMMIT", "strict")
            || sys::number_in("/proc/sys/vm/overcommit_memory") == Some(2);
        let max_slots = match guard {
            GuardKind::Marker => usize::MAX,
            GuardKind::Mprotect => {
                let maps = sys::number_in("/proc/sys/vm/max_map_count").unwrap_or(65_530);
                // A guard and the stack above it are two mappings.
                (maps - SPARE_MAPPINGS.min(maps / 2)) / 2
            }
        };
        Policy {
            guard,
            strict,
            max_slots,
        }
    })
}
