//! Counting what there is.

use crate::class::{Class, GUARD_SIZE};
use crate::policy::{self, GuardKind};
use crate::{depot, slab, sys};
use std::sync::atomic::Ordering;

/// What all stacks of the process amount to, at one moment. Classes are looked at
/// one after the other, so sums may be off by what moved meanwhile.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Address space in slabs, in bytes.
    pub reserved_bytes: usize,
    /// Memory in stacks, in bytes: an estimate, from the stacks that may have
    /// pages times the mean of a sample of 64 of them.
    pub resident_bytes: usize,
    /// Page tables of stacks, in bytes: one page for every 2 MiB that holds a
    /// used slot, or for every slot that is larger.
    pub page_table_bytes: usize,
    /// Promises outstanding: stacks in use, stacks cached in magazines, and
    /// reservations not used yet.
    pub promised: usize,
    /// Stacks out of the depot: in use or cached in a magazine.
    pub live: usize,
    /// The most that `live` has been, of each class.
    pub high_water: usize,
    /// Stacks in the depot, warm and cold.
    pub free: usize,
    /// Of these, those whose pages were given back (or never touched).
    pub cold: usize,
    /// Slots of slabs that were never used.
    pub fresh: usize,
    /// Slabs mapped.
    pub slabs: usize,
    /// How guards are made here.
    pub guard: GuardKind,
}

/// How many stacks to look at for the estimate of resident bytes.
const SAMPLES: usize = 64;

impl Stats {
    /// The statistics of one class.
    pub fn of(class: Class) -> Stats {
        let depot = depot::of(class);
        let free = depot.free.lock();
        let (slots, carved, cold) = (free.slots, free.carved, free.cold.len());
        let mut s = Stats {
            reserved_bytes: slots * class.stride(),
            resident_bytes: 0,
            page_table_bytes: page_tables(class, carved),
            promised: depot.reserved(),
            live: free.out(),
            high_water: free.high_water,
            free: free.free(),
            cold,
            fresh: slots - carved,
            slabs: 0,
            guard: policy::get().guard,
        };
        drop(free);
        let warm = carved - cold;
        s.resident_bytes = warm * mean_resident(class, warm);
        s.slabs = slab::all().filter(|s| s.class == class).count();
        s
    }
}

/// The statistics of this moment, of all classes together. Some tens of
/// microseconds; not for hot paths.
pub fn stats() -> Stats {
    Class::all()
        .map(Stats::of)
        .reduce(|a, b| Stats {
            reserved_bytes: a.reserved_bytes + b.reserved_bytes,
            resident_bytes: a.resident_bytes + b.resident_bytes,
            page_table_bytes: a.page_table_bytes + b.page_table_bytes,
            promised: a.promised + b.promised,
            live: a.live + b.live,
            high_water: a.high_water + b.high_water,
            free: a.free + b.free,
            cold: a.cold + b.cold,
            fresh: a.fresh + b.fresh,
            slabs: a.slabs + b.slabs,
            guard: a.guard,
        })
        .expect("stacks: there are classes")
}

fn page_tables(class: Class, carved: usize) -> usize {
    let page = sys::page_size();
    // One table of 8-byte entries maps this much.
    let span = page / 8 * page;
    if class.stride() > span {
        carved * page
    } else {
        (carved * class.stride()).div_ceil(span) * page
    }
}

/// Mean resident bytes of the stacks of a class that have any, by sampling.
fn mean_resident(class: Class, warm: usize) -> usize {
    if warm == 0 {
        return 0;
    }
    let carved: usize = slab::all()
        .filter(|s| s.class == class)
        .map(|s| s.carved.load(Ordering::Acquire))
        .sum();
    let step = carved.div_ceil(SAMPLES).max(1);
    let (mut seen, mut bytes, mut skip) = (0, 0, 0);
    for slab in slab::all().filter(|s| s.class == class) {
        let carved = slab.carved.load(Ordering::Acquire);
        let mut index = skip;
        while index < carved {
            let resident = resident_of(slab.base + index * class.stride(), class);
            if resident > 0 {
                seen += 1;
                bytes += resident;
            }
            index += step;
        }
        skip = index - carved;
    }
    bytes.checked_div(seen).unwrap_or(0)
}

/// Resident bytes of one slot: from the top down to the first MiB without any.
fn resident_of(base: usize, class: Class) -> usize {
    const PART: usize = 1 << 20;
    let mut end = base + class.stride();
    let limit = base + GUARD_SIZE;
    let mut bytes = 0;
    while end > limit {
        let start = end.saturating_sub(PART).max(limit);
        let part = sys::resident(std::ptr::with_exposed_provenance_mut(start), end - start);
        if part == 0 {
            break;
        }
        bytes += part;
        end = start;
    }
    bytes
}
