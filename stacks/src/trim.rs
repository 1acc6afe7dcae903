//! Giving pages back, in bulk and off the hot path.
//!
//! Releasing a stack does not release its pages: reuse of a warm one costs 11 ns,
//! `MADV_DONTNEED` on each 2,300. Here warm stacks that are too many are sorted
//! by address, and every run of neighbours is given back with one call (430 ns a
//! stack). Markers and protection survive that.

use crate::class::{Class, GUARD_SIZE};
use crate::depot::{self, Depot};
use crate::list::List;
use crate::slab::Slot;
use crate::sys;
use std::ptr::{self, NonNull};

/// Warm stacks that a depot keeps through a trim: at most this many,
const KEEP_SLOTS: usize = 1024;
/// and at most this many bytes of usable stack.
const KEEP_BYTES: usize = 64 << 20;
/// Most stacks of a class that one `decay` gives back.
const DECAYED: usize = 16_384;
/// Slots given back between two looks of those who wait for them.
const CHUNK: usize = 4096;

fn keep(class: Class) -> usize {
    (KEEP_BYTES / class.size()).min(KEEP_SLOTS)
}

/// Gives back the pages of all free stacks but a bounded number for each class
/// (64 MiB of them, 1,024 at most). Returns how many bytes were resident in what
/// it gave back.
///
/// Blocks for about half a microsecond a stack. Call it off the hot path; other
/// threads go on taking and returning stacks.
pub fn trim() -> usize {
    Class::all().map(|c| trim_to(c, keep(c))).sum()
}

/// As [`trim`], but only what lay unused since the last call of `decay`. To be
/// called now and then (a second is a good interval): a burst that comes back
/// finds its stacks still resident.
///
/// At most 16,384 stacks of each class, some 7 ms, in one call: whoever calls it
/// has other things to do. Returns how many bytes were resident in what it gave
/// back.
pub fn decay() -> usize {
    Class::all()
        .map(|class| {
            let mut free = depot::of(class).free.lock();
            let (len, idle) = (free.warm.len(), free.warm_low.min(free.warm.len()));
            free.warm_low = len;
            drop(free);
            trim_to(class, keep(class).max(len - idle.min(DECAYED)))
        })
        .sum()
}

/// Gives back all but `keep` of the warm stacks of a class.
fn trim_to(class: Class, keep: usize) -> usize {
    let depot = depot::of(class);
    let mut kept = {
        let mut free = depot.free.lock();
        if free.warm.len() <= keep {
            return 0;
        }
        free.trimming += free.warm.len();
        free.warm.take()
    };
    // Walk without the lock; those last used stay.
    let mut rest = kept.split_off(keep);
    {
        let mut free = depot.free.lock();
        free.trimming -= kept.len();
        free.warm.prepend(kept);
    }
    rest.sort();
    let mut bytes = 0;
    while rest.len() > 0 {
        let after = rest.split_off(CHUNK);
        bytes += discard(class, depot, rest);
        rest = after;
    }
    bytes
}

/// Gives back a sorted list run by run and puts it among the cold.
fn discard(class: Class, depot: &Depot, mut list: List) -> usize {
    let len = list.len();
    let (mut cold, mut warm) = (List::EMPTY, List::EMPTY);
    let mut bytes = 0;
    let mut next = list.pop();
    while let Some(first) = next {
        let mut run = List::EMPTY;
        let mut last = first;
        run.push(first);
        loop {
            next = list.pop();
            match next {
                Some(slot) if follows(class, last, slot) => {
                    run.push(slot);
                    last = slot;
                }
                _ => break,
            }
        }
        // SAFETY: records are never unmapped.
        let start = unsafe { first.as_ref() }.limit();
        let bytes_of_run = run.len() * class.stride() - GUARD_SIZE;
        let resident = sys::resident(start, bytes_of_run);
        // SAFETY: the run is free stacks in our hands, and the guards between
        // them.
        if unsafe { sys::discard(start, bytes_of_run) }.is_ok() {
            bytes += resident;
            cold.prepend(run);
        } else {
            warm.prepend(run);
        }
    }
    let mut free = depot.free.lock();
    free.trimming -= len;
    free.cold.prepend(cold);
    free.warm.prepend(warm);
    bytes
}

/// Whether `b` lies right above `a`, in memory and not only in the records.
fn follows(class: Class, a: NonNull<Slot>, b: NonNull<Slot>) -> bool {
    // SAFETY: records are never unmapped.
    let (low, high) = unsafe { (a.as_ref(), b.as_ref()) };
    ptr::addr_eq(a.as_ptr().wrapping_add(1), b.as_ptr())
        && low.base() + class.stride() == high.base()
}
