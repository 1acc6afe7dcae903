//! The slots in which readers are visible (`protocol/read_bias.rs`): some for each machine.
//!
//! A row is filled by the thread that is the machine, and by nobody else: a goroutine that
//! looks for a slot makes no call between that and filling it, so it stays on its thread,
//! preempted or not. Emptying is another matter: a guard may be dropped anywhere.
//!
//! A slot has the address of a lock that lives, because the guard borrows it. Of a guard that was
//! forgotten the address stays behind; so a lock clears the slots when it ends. (Not those that it
//! left before it was moved. Whoever forgets a guard and moves the lock, may find that
//! another lock at the old place is never free for writers.)

use crate::protocol::read_bias::Slot;
use crate::sched;
use crossbeam_utils::CachePadded;

/// Machines beyond so many count.
const ROWS: usize = 256;

/// Locks that one machine's goroutines can be readers of at the same time, and be
/// visible.
const SLOTS: usize = 8;

/// How many slots are tried.
const TRIES: usize = 4;

static TABLE: [CachePadded<[Slot; SLOTS]>; ROWS] =
    [const { CachePadded::new([const { Slot::new() }; SLOTS]) }; ROWS];

/// The slots of this thread to try for `lock`; none on a plain thread.
#[inline]
pub(super) fn slots(lock: usize) -> impl Iterator<Item = &'static Slot> {
    let row = sched::machine_index().and_then(|machine| TABLE.get(machine));
    // Locks lie at multiples of eight, and often in arrays.
    let first = (lock >> 3) ^ (lock >> 7);
    row.into_iter()
        .flat_map(move |row| (first..first + TRIES).map(|i| &row[i % SLOTS]))
}

/// Whether a reader of `lock` is visible. By a writer; only after the heavy barrier does a no mean
/// anything.
pub(super) fn any(lock: usize) -> bool {
    all().any(|slot| slot.has(lock))
}

/// `lock` ends: nobody borrows it any more.
#[cold]
pub(super) fn forget(lock: usize) {
    all().for_each(|slot| slot.forget(lock));
}

/// Those that were ever used, and more.
fn all() -> impl Iterator<Item = &'static Slot> {
    let machines = sched::machines().min(ROWS);
    TABLE[..machines].iter().flat_map(|row| row.iter())
}
