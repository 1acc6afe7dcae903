//! M: an OS thread of the runtime, and the table of them.
//!
//! The table is one mapping made at start, with a slot for every M there can
//! be. It is never freed, so the monitor may look at any slot at any time, and
//! it is wiped in a forked child: there every word is `Absent`, and the first
//! call into the runtime says so and aborts.

use super::affinity;
use super::g::G;
use super::p;
use super::p::P;
use super::watch::Watch;
use crate::protocol::atomic;
use crate::protocol::delay;
use crate::protocol::mword::{MWord, Snapshot};
use crate::protocol::rt::Rt;
use crate::sys;
use goweft_stacks::context::Context;
use std::cell::Cell;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

/// Slots in the table: more Ms than this there never are.
pub(crate) const MAX_MS: usize = 16_384;

/// See the module. The first lines are read and written by others, the next
/// only by the thread itself or, where a field says so, under the lock of the
/// scheduler; the last ones are the monitor's.
#[repr(C, align(128))]
pub(crate) struct M {
    pub(crate) word: MWord,
    /// Odd: in the runtime. Written by this thread only.
    pub(crate) rt: Rt,
    /// Please yield at the next exit. Set by the monitor, cleared by this thread.
    pub(crate) ask: AtomicU32,
    /// The word when it last owned a P, complemented: in a forked child, where all
    /// this is zero, the word is not what it says. Written by this thread.
    owned: Cell<u64>,
    /// The goroutine that runs, or null on the M's own stack. Others read it
    /// for reports only.
    pub(crate) g: Cell<*mut G>,
    /// Its P; null without one. What the word says, as a pointer: valid only inside.
    pub(crate) p: Cell<*const P>,

    /// The P it is given + 1, or 0. Written under the scheduler's lock by the
    /// one who claimed this M; taken by this thread.
    pub(crate) next_p: AtomicU32,
    /// Futex: 1 when it was claimed. Set by the claimer, cleared by this thread.
    pub(crate) wake: AtomicU32,
    /// The word for which the monitor sent SIGURG, or 0. Set by the monitor,
    /// cleared by this thread's handler.
    pub(crate) req: AtomicU64,
    /// The link in the stack of the preempted.
    pub(crate) next_preempted: atomic::AtomicU32,
    /// It is parked in its handler. Written by this thread.
    pub(crate) preempted: AtomicBool,
    /// The kernel's id of the thread, 0 before and after it. Written by this thread.
    pub(crate) tid: AtomicI32,
    /// The CPU that its thread was moved to + 1, or 0: see `affinity.rs`.
    pub(crate) cpu: AtomicU32,
    /// Since when it waits for a P. Written before it is published as waiting.
    pub(crate) waits_since: AtomicU64,

    /// The suspended scheduler loop on the thread's own stack.
    pub(crate) host: Cell<Option<Context>>,
    /// It counts as a searcher. Set by this thread; cleared by it, or by the monitor, which
    /// then has the searcher's place.
    pub(crate) searching: AtomicBool,
    /// The claimer made it a searcher; under the scheduler's lock like `next_p`.
    pub(crate) woken_searching: Cell<bool>,
    /// Link in the spare or the bound list, under the scheduler's lock.
    pub(crate) next: Cell<*const M>,
    pub(crate) index: Cell<u32>,

    /// What the monitor saw.
    pub(crate) watch: Watch,
}

const _: () = assert!(size_of::<M>() == 256);

// SAFETY: each field says who touches it and under what.
unsafe impl Sync for M {}

impl M {
    /// Whether it owns the P that it knows of. The thread is inside.
    #[inline(always)]
    pub(crate) fn owns_as_before(&self) -> bool {
        self.word.load().bits() == !self.owned.get()
    }

    /// It owns p from now on: its own thread, which holds it.
    pub(crate) fn own(&'static self, p: &'static P) {
        let word = self.word.own(p.index);
        self.adopt(word, p);
    }

    /// The word is Owns, by its own thread or because a P was given back in place.
    pub(crate) fn adopt_owned(&'static self, word: Snapshot) {
        if word.bits() != !self.owned.get()
            && let Some(p) = word.owned_p().and_then(p::get)
        {
            self.adopt(word, p);
        }
    }

    fn adopt(&'static self, word: Snapshot, p: &'static P) {
        self.owned.set(!word.bits());
        delay::here();
        self.p.set(p);
        p.token.take(self);
        p.owner
            .store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        self.ask.store(0, Ordering::Relaxed);
        affinity::follow(self, p);
    }
}

impl M {
    /// It is no searcher any more. True: it was one, and the caller has its place.
    #[inline]
    pub(crate) fn leave_search(&self) -> bool {
        self.searching.load(Ordering::Relaxed) && self.searching.swap(false, Ordering::Relaxed)
    }
}

struct Table(*mut M);

// SAFETY: the table is memory of `M`s, which are Sync, and is never freed.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

static TABLE: OnceLock<Table> = OnceLock::new();
static USED: AtomicUsize = AtomicUsize::new(0);

/// One more than the largest thread id of Linux.
const TIDS: usize = 1 << 22;
const _: () = assert!(MAX_MS < u16::MAX as usize);

/// From a thread's id to its M's number + 1: reserved whole, touched where there are threads.
struct ByTid(*const AtomicU16);

// SAFETY: atomics in memory that is never freed.
unsafe impl Send for ByTid {}
// SAFETY: as above.
unsafe impl Sync for ByTid {}

static BY_TID: OnceLock<ByTid> = OnceLock::new();

/// Maps the tables. Once, at start.
///
/// # Errors
/// What `mmap` says.
pub(crate) fn make_table() -> std::io::Result<()> {
    let base = sys::map_pages(MAX_MS * size_of::<M>(), true)?;
    TABLE.get_or_init(|| Table(base.cast()));
    let base = sys::map_pages(TIDS * size_of::<AtomicU16>(), true)?;
    BY_TID.get_or_init(|| ByTid(base.cast()));
    Ok(())
}

fn place_of(tid: i32) -> Option<&'static AtomicU16> {
    let table = BY_TID.get()?;
    let tid = usize::try_from(tid).ok().filter(|&tid| tid < TIDS)?;
    // SAFETY: below TIDS, the mapping is never freed, and zero is a valid AtomicU16.
    Some(unsafe { &*table.0.add(tid) })
}

/// The M that the thread `tid` is. Safe in a signal handler.
pub(crate) fn of_tid(tid: i32) -> Option<&'static M> {
    let number = place_of(tid)?.load(Ordering::Relaxed);
    let m = slot(usize::from(number).checked_sub(1)?);
    (m.tid.load(Ordering::Relaxed) == tid).then_some(m)
}

/// The calling thread is `m` from now on.
pub(crate) fn enroll(m: &'static M) {
    let tid = sys::gettid();
    m.tid.store(tid, Ordering::Relaxed);
    if let Some(place) = place_of(tid) {
        place.store(m.index.get() as u16 + 1, Ordering::Release);
    }
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

/// The slot that was handed out last is not needed: its thread could not be made.
/// Slots are handed out by one thread at a time.
pub(crate) fn give_slot_back(m: &'static M) {
    m.word.uninit();
    USED.store(m.index.get() as usize, Ordering::Release);
}

/// How many slots have ever been taken.
pub(crate) fn count() -> usize {
    USED.load(Ordering::Acquire)
}

/// The M of this number, which has been handed out.
pub(crate) fn slot(i: usize) -> &'static M {
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

    pub(crate) fn first(&self) -> Option<&'static M> {
        self.find(|_| true)
    }

    /// The first for which `pred` holds; it stays.
    pub(crate) fn find(&self, pred: impl Fn(&'static M) -> bool) -> Option<&'static M> {
        // SAFETY: links hold null or addresses of the table, which lives for ever.
        let mut at: Option<&'static M> = unsafe { self.head.as_ref() };
        while let Some(m) = at {
            if pred(m) {
                return Some(m);
            }
            // SAFETY: as above.
            at = unsafe { m.next.get().as_ref() };
        }
        None
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
