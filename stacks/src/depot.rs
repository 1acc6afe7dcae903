//! The shared store of free stacks, one depot a class, and the promises made on
//! it.
//!
//! What always holds, for each class:
//! - `reserved <= capacity`: every reservation stands for one slot that exists
//!   (in the eager policies: that is carved). A reservation is held by a caller
//!   who has not taken its stack yet, by a stack in use, or by a magazine.
//! - Every slot is in one place: not carved yet, broken, warm, cold, in a
//!   magazine, in the hands of `trim`, or in use. Magazines hold a reservation
//!   for each of theirs, so whoever holds a reservation and finds the depot
//!   empty finds a slot as soon as `trim` is done with its share.
//! - User code never runs under the lock, and no system call is made under it;
//!   `growing` is held over the calls that map and carve.
//!
//! Warm stacks may have pages, cold ones have none. `trim` (`trim.rs`) makes warm
//! ones cold.

use crate::class::{self, Class};
use crate::exhausted::Exhausted;
use crate::list::List;
use crate::policy;
use crate::slab::{self, Slab, Slot};
use crate::spin::Spin;
use crate::{sys, trim};
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The depot of one class.
pub(crate) struct Depot {
    /// Reservations given out. Changed by compare-and-swap.
    reserved: AtomicUsize,
    /// Slots that may be reserved. Only grows, under `growing`.
    capacity: AtomicUsize,
    /// Held by the one who maps or carves for this class.
    growing: Spin<()>,
    pub(crate) free: Spin<Free>,
}

/// The free slots of one class.
pub(crate) struct Free {
    pub(crate) warm: List,
    pub(crate) cold: List,
    /// Slots whose carving failed.
    broken: List,
    /// The first slab that has slots to carve.
    fresh: *const Slab,
    /// Slots in all slabs of the class.
    pub(crate) slots: usize,
    /// Slots handed out to be carved.
    pub(crate) carved: usize,
    /// Free slots that `trim` has in hand.
    pub(crate) trimming: usize,
    /// Fewest warm ones since `trim::decay` last looked.
    pub(crate) warm_low: usize,
    /// Most slots that were out of the depot at a time.
    pub(crate) high_water: usize,
}

// SAFETY: slabs live for ever and are `Sync`; the lists are `Send`.
unsafe impl Send for Free {}

static DEPOTS: [Depot; class::COUNT] = [const { Depot::new() }; class::COUNT];

/// Slots carved in all classes, for the limit on mappings.
pub(crate) static CARVED: AtomicUsize = AtomicUsize::new(0);

#[inline]
pub(crate) fn of(class: Class) -> &'static Depot {
    &DEPOTS[class.index()]
}

impl Free {
    /// Slots that are free: warm, cold, or for a moment in the hands of `trim`.
    pub(crate) fn free(&self) -> usize {
        self.warm.len() + self.cold.len() + self.trimming
    }

    /// Slots that are out of the depot: in use, in magazines, or being carved.
    pub(crate) fn out(&self) -> usize {
        self.carved - self.free() - self.broken.len()
    }

    fn note_out(&mut self) {
        self.high_water = self.high_water.max(self.out());
        self.warm_low = self.warm_low.min(self.warm.len());
    }

    /// A slot to carve: one that failed before, or the next of a slab.
    fn uncarved(&mut self) -> Option<NonNull<Slot>> {
        if let Some(slot) = self.broken.pop() {
            return Some(slot);
        }
        loop {
            // SAFETY: slabs live for ever.
            let slab = unsafe { self.fresh.as_ref() }?;
            if let Some(slot) = slab.next_to_carve() {
                self.carved += 1;
                return Some(slot);
            }
            self.fresh = slab.next_fresh.load(Ordering::Relaxed);
        }
    }
}

impl Depot {
    const fn new() -> Self {
        Depot {
            reserved: AtomicUsize::new(0),
            capacity: AtomicUsize::new(0),
            growing: Spin::new(()),
            free: Spin::new(Free {
                warm: List::EMPTY,
                cold: List::EMPTY,
                broken: List::EMPTY,
                fresh: ptr::null(),
                slots: 0,
                carved: 0,
                trimming: 0,
                warm_low: 0,
                high_water: 0,
            }),
        }
    }

    /// Reserves `n` if that many exist. No system call.
    #[inline]
    pub(crate) fn try_reserve(&self, n: usize) -> bool {
        let mut now = self.reserved.load(Ordering::Relaxed);
        loop {
            if n > self.capacity.load(Ordering::Acquire).saturating_sub(now) {
                return false;
            }
            // Acquire: the stack that a returned reservation stood for is in the
            // depot by now.
            match self.reserved.compare_exchange_weak(
                now,
                now + n,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(other) => now = other,
            }
        }
    }

    #[inline]
    pub(crate) fn unreserve(&self, n: usize) {
        let before = self.reserved.fetch_sub(n, Ordering::Release);
        debug_assert!(before >= n, "stacks: more reservations returned than made");
    }

    pub(crate) fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Makes room until `n` more can be reserved, and reserves them.
    #[cold]
    pub(crate) fn grow_and_reserve(&self, class: Class, n: usize) -> Result<(), Exhausted> {
        let mut trimmed = false;
        loop {
            let done = {
                let _growing = self.growing.lock();
                loop {
                    if self.try_reserve(n) {
                        return Ok(());
                    }
                    let step = if policy::get().eager() {
                        self.carve_one(class)
                    } else {
                        self.map_slab(class)
                    };
                    if let Err(e) = step {
                        break e;
                    }
                }
            };
            // Pressure: give back what lies about and try once more.
            if trimmed || trim::trim() == 0 {
                return Err(Exhausted::new(class, &done));
            }
            trimmed = true;
        }
    }

    /// Maps one more slab. Under `growing`.
    fn map_slab(&self, class: Class) -> io::Result<()> {
        let have = self.free.lock().slots;
        let slab = Slab::map(class, Slab::next_size(class, have))?;
        let mut free = self.free.lock();
        slab.next_fresh
            .store(free.fresh.cast_mut(), Ordering::Relaxed);
        free.fresh = slab;
        free.slots += slab.slots;
        drop(free);
        if !policy::get().eager() {
            self.capacity.fetch_add(slab.slots, Ordering::Release);
        }
        Ok(())
    }

    /// Carves one more slot, mapping a slab for it if need be. Under `growing`.
    fn carve_one(&self, class: Class) -> io::Result<()> {
        let limit = policy::get().max_slots;
        if CARVED.fetch_add(1, Ordering::Relaxed) >= limit {
            CARVED.fetch_sub(1, Ordering::Relaxed);
            return Err(io::Error::from_raw_os_error(libc::ENOMEM));
        }
        let slot = loop {
            let next = self.free.lock().uncarved();
            match next {
                Some(slot) => break slot,
                None => self.map_slab(class).inspect_err(|_| {
                    CARVED.fetch_sub(1, Ordering::Relaxed);
                })?,
            }
        };
        // SAFETY: the slot is ours and was never carved.
        let carved = unsafe { slab::carve(slot.as_ref()) };
        let mut free = self.free.lock();
        match carved {
            Ok(()) => free.cold.push(slot),
            Err(e) => {
                free.broken.push(slot);
                drop(free);
                CARVED.fetch_sub(1, Ordering::Relaxed);
                return Err(e);
            }
        }
        drop(free);
        self.capacity.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Takes one slot, and up to `more` others into `extra` if they are at hand.
    ///
    /// The caller holds a reservation for each. Warm ones first, then cold, then
    /// slots that no one has used yet.
    ///
    /// # Errors
    /// A new slot could not get its guard; the OS error, unexplained (nothing is
    /// allocated here).
    pub(crate) fn take(&self, more: usize, extra: &mut List) -> io::Result<NonNull<Slot>> {
        let mut trimmed = false;
        let mut patience = 1000;
        loop {
            let mut free = self.free.lock();
            if let Some(slot) = free.warm.pop().or_else(|| free.cold.pop()) {
                for _ in 0..more {
                    let Some(slot) = free.warm.pop().or_else(|| free.cold.pop()) else {
                        break;
                    };
                    extra.push(slot);
                }
                free.note_out();
                return Ok(slot);
            }
            let Some(slot) = free.uncarved() else {
                // What is free is for a moment in the hands of `trim`, or of
                // another taker whose carving fails.
                patience -= usize::from(free.trimming == 0);
                drop(free);
                if patience == 0 {
                    return Err(io::Error::from_raw_os_error(libc::ENOMEM));
                }
                sys::yield_thread();
                continue;
            };
            free.note_out();
            drop(free);
            // SAFETY: the slot is ours and was never carved.
            match unsafe { slab::carve(slot.as_ref()) } {
                Ok(()) => return Ok(slot),
                Err(e) => {
                    self.free.lock().broken.push(slot);
                    if trimmed || trim::trim() == 0 {
                        return Err(e);
                    }
                    trimmed = true;
                }
            }
        }
    }

    /// Takes back one slot, without its reservation.
    pub(crate) fn put(&self, slot: NonNull<Slot>) {
        self.free.lock().warm.push(slot);
    }

    /// Takes back a whole list, without the reservations.
    pub(crate) fn put_list(&self, list: List) {
        if list.len() > 0 {
            self.free.lock().warm.prepend(list);
        }
    }
}

/// Promises one stack of `class`: a later [`Magazine::take`](crate::Magazine::take)
/// consumes the promise. See [`reserve_many`].
///
/// # Errors
/// As [`reserve_many`].
#[inline]
pub fn reserve(class: Class) -> Result<(), Exhausted> {
    reserve_many(class, 1)
}

/// Promises `n` stacks of `class`, all or none.
///
/// A counter: it maps the next slab when the counter needs it. Never blocks but
/// for that; allocates nothing.
///
/// # Errors
/// Out of memory, address space or mappings: the error says which, and the
/// sysctl or limit to raise. It works again when other stacks have been given
/// back.
#[inline]
pub fn reserve_many(class: Class, n: usize) -> Result<(), Exhausted> {
    let depot = of(class);
    if depot.try_reserve(n) {
        Ok(())
    } else {
        depot.grow_and_reserve(class, n)
    }
}

/// Returns `n` promises of `class` that were not used.
#[inline]
pub fn unreserve(class: Class, n: usize) {
    of(class).unreserve(n);
}
