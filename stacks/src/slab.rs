//! Slabs: large reservations, carved into slots of one class.
//!
//! What always holds:
//! - A slab is never unmapped, so a `&'static Slab` and a `&'static Slot` are
//!   always valid. All slabs are on one list that only grows and that a signal
//!   handler may walk.
//! - A slot is 16 bytes beside the slab, not in it: bookkeeping touches no page
//!   of a cold stack, and none of a stack in use.
//! - `carved` counts the slots, from the low end, that were handed out to be
//!   carved; it changes under the depot's lock (`depot.rs`). A guard is
//!   installed once and never removed.
//!
//! How a slab lies (`base` is aligned to 2 MiB, so that the page table pages of
//! a slab are its own; for strides above 2 MiB it is moved up by 1 MiB, so that
//! a stack's top and the guard of the slot above share a page table page):
//!
//! ```text
//!   base                 base + stride
//!   | guard |  slot 0   top| guard |  slot 1   top| ...
//! ```

use crate::class::{Class, GUARD_SIZE};
use crate::policy::{self, GuardKind};
use crate::sys;
use std::cell::Cell;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const ALIGN: usize = 2 << 20;
/// First slab of a class, in bytes of address space. Later ones double.
const FIRST_SLAB: usize = 64 << 20;
/// Largest slab but for classes that are larger themselves.
const LARGEST_SLAB: usize = 1 << 30;
/// Colours of stack tops, and the step between two, in bytes: one cache line.
const COLOURS: usize = 16;
const COLOUR_STEP: usize = 64;

/// The record of one slot.
///
/// Written by whoever owns the slot: the depot under its lock, a magazine, or
/// the holder of the `Stack`.
#[repr(C)]
pub(crate) struct Slot {
    /// Lowest address of the slot (its guard), plus the class's number: slots
    /// begin on a page, so the low bits are free. Written once, by `carve`.
    base_and_class: Cell<usize>,
    /// The next free slot, of whichever list this one is on.
    pub(crate) next: Cell<Option<NonNull<Slot>>>,
}

const CLASS_BITS: usize = 31;

impl Slot {
    pub(crate) fn class(&self) -> Class {
        let index = self.base_and_class.get() & CLASS_BITS;
        // Every class's number fits; see the assertion below.
        Class::from_index(index).expect("stacks: slot of no class")
    }

    /// Lowest address of the slot: the start of its guard.
    pub(crate) fn base(&self) -> usize {
        self.base_and_class.get() & !CLASS_BITS
    }

    /// Lowest usable address.
    pub(crate) fn limit(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.base() + GUARD_SIZE)
    }

    /// One past the highest usable address, coloured.
    pub(crate) fn top(&self) -> *mut u8 {
        // Neighbouring slots have neighbouring records.
        let colour = (ptr::from_ref(self).addr() / size_of::<Slot>()) % COLOURS;
        let end = self.base() + self.class().stride();
        ptr::with_exposed_provenance_mut(end - colour * COLOUR_STEP)
    }
}

const _: () = assert!(size_of::<Slot>() == 16 && crate::class::COUNT <= CLASS_BITS + 1);

/// A reservation and the records of its slots, which follow this header.
#[repr(C, align(64))]
pub(crate) struct Slab {
    pub(crate) base: usize,
    pub(crate) class: Class,
    /// How many slots it has.
    pub(crate) slots: usize,
    /// How many of them were handed out to be carved.
    pub(crate) carved: AtomicUsize,
    /// The records of the slots: right behind this header, in its mapping.
    records: *mut Slot,
    /// The next slab of the process. Written once, before publication.
    next: AtomicPtr<Slab>,
    /// The next slab of the class that has slots to carve. Under the depot's
    /// lock.
    pub(crate) next_fresh: AtomicPtr<Slab>,
}

// SAFETY: fields that change are atomics; the slots that follow are owned one by
// one, see `Slot`.
unsafe impl Sync for Slab {}

/// All slabs, newest first. Only grows.
static SLABS: AtomicPtr<Slab> = AtomicPtr::new(ptr::null_mut());

/// All slabs of the process. Safe in a signal handler.
pub(crate) fn all() -> impl Iterator<Item = &'static Slab> {
    // SAFETY: slabs are published complete (release) and live for ever.
    let mut at = unsafe { SLABS.load(Ordering::Acquire).as_ref() };
    std::iter::from_fn(move || {
        let slab = at?;
        // SAFETY: as above.
        at = unsafe { slab.next.load(Ordering::Acquire).as_ref() };
        Some(slab)
    })
}

impl Slab {
    /// Reserves a slab of up to `slots` slots, fewer if that is all the address
    /// space there is (`ulimit -v`), and puts it on the list of slabs.
    pub(crate) fn map(class: Class, slots: usize) -> io::Result<&'static Slab> {
        let stride = class.stride();
        let (mut slots, shift) = (slots, if stride > ALIGN { ALIGN / 2 } else { 0 });
        let (start, len) = loop {
            let len = slots * stride + shift + ALIGN;
            match sys::map(len, !policy::get().strict) {
                Ok(p) => break (p, len),
                Err(e) if slots == 1 => return Err(e),
                Err(_) => slots /= 2,
            }
        };
        // SAFETY: the mapping is ours.
        unsafe { sys::no_huge_pages(start, len) };
        let records = size_of::<Slab>() + slots * size_of::<Slot>();
        let head = match sys::map(records, true) {
            Ok(p) => p.cast::<Slab>(),
            Err(e) => {
                // SAFETY: nobody knows of the mapping yet.
                unsafe { sys::unmap(start, len) };
                return Err(e);
            }
        };
        let base = start.expose_provenance().next_multiple_of(ALIGN) + shift;
        let slab = Slab {
            base,
            class,
            slots,
            carved: AtomicUsize::new(0),
            // SAFETY: the mapping has room for `slots` records behind the header.
            records: unsafe { head.add(1) }.cast(),
            next: AtomicPtr::new(ptr::null_mut()),
            next_fresh: AtomicPtr::new(ptr::null_mut()),
        };
        // SAFETY: a fresh mapping, page aligned and large enough, that is never
        // unmapped.
        let slab = unsafe {
            head.write(slab);
            &*head
        };
        let mut first = SLABS.load(Ordering::Relaxed);
        loop {
            slab.next.store(first, Ordering::Relaxed);
            // Release: whoever finds the slab finds it complete.
            match SLABS.compare_exchange_weak(first, head, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(slab),
                Err(now) => first = now,
            }
        }
    }

    /// How many slots a class's next slab should have, if it has `have` now.
    pub(crate) fn next_size(class: Class, have: usize) -> usize {
        let bytes = (have * class.stride()).clamp(FIRST_SLAB, LARGEST_SLAB);
        (bytes / class.stride()).max(1)
    }

    /// The addresses of the slots that were handed out. Safe in a signal handler.
    pub(crate) fn carved_range(&self) -> std::ops::Range<usize> {
        self.base..self.base + self.carved.load(Ordering::Acquire) * self.class.stride()
    }

    /// The record of slot `index`.
    pub(crate) fn slot(&'static self, index: usize) -> NonNull<Slot> {
        assert!(index < self.slots);
        // SAFETY: there are `slots` records, in a mapping that stays.
        unsafe { NonNull::new_unchecked(self.records.add(index)) }
    }

    /// Hands out the next slot to be carved, with its record filled in. Under the
    /// depot's lock.
    pub(crate) fn next_to_carve(&'static self) -> Option<NonNull<Slot>> {
        let index = self.carved.load(Ordering::Relaxed);
        if index == self.slots {
            return None;
        }
        let slot = self.slot(index);
        let base = self.base + index * self.class.stride();
        // SAFETY: the record is in the slab's own mapping, zero so far, and this
        // slot has not been handed out.
        unsafe {
            slot.write(Slot {
                base_and_class: Cell::new(base | self.class.index()),
                next: Cell::new(None),
            });
        }
        // Release: a signal handler that counts this slot sees its record.
        self.carved.store(index + 1, Ordering::Release);
        Some(slot)
    }
}

/// Makes a slot a stack: opens it and installs its guard.
///
/// # Errors
/// The kernel has no memory (page tables, commit limit) or no mappings left. The
/// slot is then as before and may be tried again.
///
/// # Safety
/// The caller owns the slot, and it has not been carved yet.
pub(crate) unsafe fn carve(slot: &Slot) -> io::Result<()> {
    let stride = slot.class().stride();
    let at = ptr::with_exposed_provenance_mut::<u8>(slot.base());
    let policy = policy::get();
    crate::context::sanitizer::register_stack(slot.base() + GUARD_SIZE, slot.base() + stride);
    // SAFETY: the range is the slot, which nobody uses yet.
    unsafe {
        match (policy.guard, policy.strict) {
            (GuardKind::Marker, false) => sys::install_markers(at, GUARD_SIZE),
            // Opened whole: neighbours that are open are one mapping.
            (GuardKind::Marker, true) => sys::open(at, stride).and_then(|()| {
                sys::install_markers(at, GUARD_SIZE).inspect_err(|_| {
                    // Uncharge it; if even that fails, the retry opens it again.
                    let _ = sys::close(at, stride);
                })
            }),
            (GuardKind::Mprotect, false) => sys::close(at, GUARD_SIZE),
            (GuardKind::Mprotect, true) => sys::open(at.add(GUARD_SIZE), stride - GUARD_SIZE),
        }
    }
}
