//! M: an OS thread of the runtime, and the table of them.
//!
//! The table is one mapping made at start, with a slot for every M there can
//! be. It is never freed, so the monitor may look at any slot at any time, and
//! it is wiped in a forked child: there every word is `Absent`, and the first
//! call into the runtime says so and aborts.

use super::g::G;
use super::p::P;
use crate::protocol::mword::MWord;
use crate::sys;
use goweft_stacks::context::Context;
use std::cell::Cell;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Slots in the table: more Ms than this there never are.
pub(crate) const MAX_MS: usize = 16_384;

/// See the module. The first line is read and written by others, the second
/// only by the thread itself or, where a field says so, under the lock of the scheduler.
#[repr(C, align(128))]
pub(crate) struct M {
    pub(crate) word: MWord,
    /// Odd: in the runtime. Written by this thread only.
    pub(crate) rt: AtomicU32,
    /// The P it is given + 1, or 0. Written under the scheduler's lock by the
    /// one who claimed this M; taken by this thread.
    pub(crate) next_p: AtomicU32,
    /// Futex: 1 when it was claimed. Set by the claimer, cleared by this thread.
    pub(crate) wake: AtomicU32,
    /// Please yield at the next exit. Set by the monitor, cleared by this thread.
    pub(crate) ask: AtomicU32,
    /// The CPU that its thread was moved to + 1, or 0: see `affinity.rs`.
    pub(crate) cpu: AtomicU32,

    /// The goroutine that runs, or null on the M's own stack. Others read it
    /// for reports only.
    pub(crate) g: Cell<*mut G>,
    /// Its P; null without one. What the word says, as a pointer: valid only inside.
    pub(crate) p: Cell<*const P>,
    /// The suspended scheduler loop on the thread's own stack.
    pub(crate) host: Cell<Option<Context>>,
    /// It counts as a searcher.
    pub(crate) searching: Cell<bool>,
    /// The claimer made it a searcher; under the scheduler's lock like `next_p`.
    pub(crate) woken_searching: Cell<bool>,
    /// Link in the spare or the bound list, under the scheduler's lock.
    pub(crate) next: Cell<*const M>,
    pub(crate) index: Cell<u32>,
    /// The kernel's id of the thread.
    pub(crate) tid: Cell<i32>,
}

const _: () = assert!(size_of::<M>() == 128);

// SAFETY: each field says who touches it and under what.
unsafe impl Sync for M {}

struct Table(*mut M);

// SAFETY: the table is memory of `M`s, which are Sync, and is never freed.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

static TABLE: OnceLock<Table> = OnceLock::new();
static USED: AtomicUsize = AtomicUsize::new(0);

/// Maps the table. Once, at start.
///
/// # Errors
/// What `mmap` says.
pub(crate) fn make_table() -> std::io::Result<()> {
    let base = sys::map_pages(MAX_MS * size_of::<M>(), true)?;
    TABLE.get_or_init(|| Table(base.cast()));
    Ok(())
}

/// The slot for a new M; None when all are taken.
pub(crate) fn new_slot() -> Option<&'static M> {
    let i = USED
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
            (n < MAX_MS).then_some(n + 1)
        })
        .ok()?;
    let m = slot(i);
    m.index.set(i as u32);
    m.word.init();
    Some(m)
}

/// How many slots have ever been taken.
pub(crate) fn count() -> usize {
    USED.load(Ordering::Acquire)
}

/// All Ms there are.
pub(crate) fn all() -> impl Iterator<Item = &'static M> {
    (0..count()).map(slot)
}

fn slot(i: usize) -> &'static M {
    let table = TABLE.get().expect("the table of Ms is made at start");
    // SAFETY: `i` is below MAX_MS, the mapping is never freed, and all zero is
    // a valid M.
    unsafe { &*table.0.add(i) }
}

/// An intrusive list of Ms. All of it under the scheduler's lock.
pub(crate) struct MList {
    head: *const M,
    tail: *const M,
    len: usize,
}

// SAFETY: see `M`.
unsafe impl Send for MList {}

impl MList {
    pub(crate) const fn new() -> MList {
        MList {
            head: ptr::null(),
            tail: ptr::null(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push_front(&mut self, m: &'static M) {
        m.next.set(self.head);
        self.head = m;
        if self.tail.is_null() {
            self.tail = m;
        }
        self.len += 1;
    }

    pub(crate) fn push_back(&mut self, m: &'static M) {
        m.next.set(ptr::null());
        if self.tail.is_null() {
            self.head = m;
        } else {
            // SAFETY: links hold null or addresses of the table.
            unsafe { &*self.tail }.next.set(m);
        }
        self.tail = m;
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<&'static M> {
        // SAFETY: links hold null or addresses of the table, which lives for ever.
        let m: &'static M = unsafe { self.head.as_ref() }?;
        self.head = m.next.get();
        if self.head.is_null() {
            self.tail = ptr::null();
        }
        self.len -= 1;
        Some(m)
    }

    /// Takes `m` out. The list is short: spare Ms, newest first.
    pub(crate) fn remove(&mut self, m: &'static M) -> bool {
        let mut before: *const M = ptr::null();
        let mut at = self.head;
        // SAFETY: links hold null or addresses of the table.
        while let Some(here) = unsafe { at.as_ref() } {
            if ptr::eq(here, m) {
                // SAFETY: as above.
                match unsafe { before.as_ref() } {
                    Some(b) => b.next.set(here.next.get()),
                    None => self.head = here.next.get(),
                }
                if ptr::eq(self.tail, here) {
                    self.tail = before;
                }
                self.len -= 1;
                return true;
            }
            before = at;
            at = here.next.get();
        }
        false
    }
}
