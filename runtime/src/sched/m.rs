//! M: an OS thread of the runtime, and the table of them.
//!
//! The table is one mapping made at start, with a slot for every M there can
//! be. It is never freed, so the monitor may look at any slot at any time, and
//! it is wiped in a forked child: there every word is `Absent`, and the first
//! call into the runtime says so and aborts.

use super::affinity;
use super::g::{G, GRef};
use super::home::Home;
use super::p;
use super::p::P;
use super::watch::Watch;
use crate::clock::Nanos;
use crate::protocol::atomic;
use crate::protocol::barrier;
use crate::protocol::delay;
use crate::protocol::mword::{MWord, Snapshot};
use crate::protocol::quiet::Sending;
use crate::protocol::rt::Rt;
use crate::sys;
use goweft_stacks::context::Context;
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// Slots in the table: more Ms than this there never are.
pub(crate) const MAX_MS: usize = 16_384;

/// See the module. The first lines are read and written by others, the next
/// only by the thread itself or, where a field says so, under the lock of the
/// scheduler; the last ones are the monitor's.
#[repr(C, align(128))]
pub(crate) struct M {
    pub(crate) word: MWord,
    /// Whether it is in the runtime, and what the monitor has to tell it.
    pub(crate) rt: Rt,
    /// The word when it last owned a P, complemented: in a forked child, where all
    /// this is zero, the word is not what it says. Written by this thread.
    owned: Cell<u64>,
    /// The same where an entry may believe it without a fence of its own, else 0, which is
    /// no word's complement. Written by this thread.
    believed: Cell<u64>,
    /// The goroutine that runs, or null on the M's own stack. Written by this thread; to others
    /// it is a hint.
    pub(crate) g: AtomicPtr<G>,
    /// Its P; null without one. What the word says, as a pointer: valid only inside.
    pub(crate) p: Cell<*const P>,
    /// 0: nobody is in `runnext` of that P, which this thread alone fills. Of this thread, inside.
    pub(super) may_have_next: Cell<u32>,

    /// The goroutine that goes on here with one P after the other, beside others that wait, and
    /// since when it does. Of this thread.
    pub(crate) goes_on: Cell<*mut G>,
    pub(crate) goes_on_since: Cell<Nanos>,
    /// The P it is given + 1, or 0. Written under the scheduler's lock by the
    /// one who claimed this M; taken by this thread.
    pub(crate) next_p: AtomicU32,
    /// Futex: 1 when it was claimed. Set by the claimer, cleared by this thread.
    pub(crate) wake: AtomicU32,
    /// The word for which the monitor sent SIGURG, or 0. Set by the monitor,
    /// cleared by this thread's handler.
    pub(crate) req: AtomicU64,
    /// The monitor is just sending it.
    pub(super) sending: Sending,
    /// How often it was sent, and how many of these have come to the handler, as counts that
    /// wrap. The second is the handler's.
    pub(super) sent: AtomicU32,
    pub(super) come: AtomicU32,
    /// The link in the stack of the preempted.
    pub(crate) next_preempted: atomic::AtomicU32,
    /// How often the thread had slept when its handler went on, + 1, as a count that wraps; 0 when
    /// it was not in its handler. For the monitor, which takes it.
    pub(super) slept: AtomicU32,
    /// It is parked in its handler. Written by this thread.
    pub(crate) preempted: AtomicBool,
    /// The next entry takes the long way, as with another P. Of this thread.
    looks_again: Cell<bool>,
    /// It counts as a searcher. Set by this thread; cleared by it, or by the monitor, which
    /// then has the searcher's place.
    pub(crate) searching: AtomicBool,
    /// The claimer made it a searcher; under the scheduler's lock like `next_p`.
    pub(crate) woken_searching: Cell<bool>,
    /// The kernel's id of the thread, 0 before and after it. Written by this thread.
    pub(crate) tid: AtomicI32,
    /// The CPU that its thread was moved to + 1, or 0: see `affinity.rs`.
    pub(crate) cpu: AtomicU32,
    /// Since when it waits for a P. Written before it is published as waiting.
    pub(crate) waits_since: AtomicU64,

    /// The suspended scheduler loop on the thread's own stack.
    pub(crate) host: Cell<Option<Context>>,
    /// Links in the spare or the bound list, under the scheduler's lock.
    next: Cell<*const M>,
    prev: Cell<*const M>,
    pub(crate) index: Cell<u32>,

    /// Who lives here.
    pub(crate) home: Home,

    /// What the monitor saw.
    pub(crate) watch: Watch,
}

const _: () = assert!(size_of::<M>() == 384);

// SAFETY: each field says who touches it and under what.
unsafe impl Sync for M {}

impl M {
    /// 0: it owns the P that it knows of. Something else also where that takes a fence to
    /// know. The thread has stepped in.
    #[inline(always)]
    pub(crate) fn differs(&self) -> u64 {
        !(self.word.load().bits() ^ self.believed.get())
    }

    /// The CPU time of its thread; None when that is gone.
    pub(super) fn cpu_time(&self) -> Option<Nanos> {
        super::sys::cpu_time(self.tid.load(Ordering::Relaxed))
    }

    /// Whether it owns the P that it knows of. The thread is inside.
    pub(crate) fn owns_as_before(&self) -> bool {
        self.word.load().bits() == !self.owned.get()
    }

    /// It owns p from now on: its own thread, which holds it.
    pub(crate) fn own(&'static self, p: &'static P) {
        let word = self.word.own(p.index);
        self.adopt(word, p);
    }

    /// The word is Owns, by its own thread or because a P was given back in place. True: of another
    /// P than when it last entered, or it was to look again.
    pub(crate) fn adopt_owned(&'static self, word: Snapshot) -> bool {
        if word.bits() != !self.owned.get()
            && let Some(p) = word.owned_p().and_then(p::get)
        {
            self.adopt(word, p);
            return true;
        }
        let again = self.looks_again.replace(false);
        if again && barrier::is_cheap() {
            self.believed.set(!word.bits());
        }
        again
    }

    /// By its own thread, or that thread's handler: the next entry takes the long way.
    pub(crate) fn look_again(&self) {
        self.believed.set(0);
        self.looks_again.set(true);
    }

    fn adopt(&'static self, word: Snapshot, p: &'static P) {
        self.owned.set(!word.bits());
        self.believed
            .set(if barrier::is_cheap() { !word.bits() } else { 0 });
        self.looks_again.set(false);
        delay::here();
        self.p.set(p);
        self.may_have_next.set(1);
        p.token.take(self);
        p.begin_slice();
        p.owner
            .store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed);
        self.rt.forget_ask();
        affinity::follow(self, p);
    }
}

impl M {
    /// The goroutine that runs on it, or None on its own stack. From another thread: one that did
    /// just then.
    #[inline(always)]
    pub(crate) fn running(&self) -> Option<GRef> {
        // SAFETY: null or an address of a block.
        unsafe { GRef::from_nullable(self.g.load(Ordering::Relaxed)) }
    }

    /// By its own thread, which switches to `g`, or to its own stack.
    #[inline(always)]
    pub(super) fn set_running(&self, g: Option<GRef>) {
        let g = g.map_or(ptr::null_mut(), GRef::as_ptr);
        self.g.store(g, Ordering::Relaxed);
    }

    /// It is no searcher any more. True: it was one, and the caller has its place. By the M, or by
    /// the monitor. Relaxed: one of them gets it. The count is changed by read-modify-writes only,
    /// which see each other: an M that became a searcher later has counted itself before it said
    /// so.
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

/// Slots whose threads have ended. Under the lock of those who make threads.
static FREE: Mutex<MList> = Mutex::new(MList::new());

/// The slot for a new M; None when all are taken.
pub(crate) fn new_slot() -> Option<&'static M> {
    if let Some(m) = free_slots().pop() {
        m.home.reset();
        m.word.init();
        return Some(m);
    }
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

/// The slot is not needed: its thread could not be made, or has ended. Who looks at it still
/// finds Absent there, and nothing else has changed.
pub(crate) fn give_slot_back(m: &'static M) {
    m.word.uninit();
    free_slots().push_front(m);
}

fn free_slots() -> MutexGuard<'static, MList> {
    FREE.lock().unwrap_or_else(|e| e.into_inner())
}

/// The calling thread, inside and without a P, is `m` no more: to the rest of the runtime it is a
/// plain thread, and the slot may be another's as soon as it is given back.
pub(crate) fn resign(m: &'static M) {
    super::tls::set_current(ptr::null());
    if let Some(place) = place_of(m.tid.load(Ordering::Relaxed)) {
        place.store(0, Ordering::Release);
    }
    m.tid.store(0, Ordering::Relaxed);
    m.host.set(None);
    m.cpu.store(0, Ordering::Relaxed);
    // Of this thread.
    m.slept.store(0, Ordering::Relaxed);
    m.rt.leave();
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

/// An intrusive list of Ms, each of which is in one list at most. All of it under the lock that
/// guards the list.
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
        m.prev.set(ptr::null());
        m.next.set(self.head);
        match deref(self.head) {
            Some(second) => second.prev.set(m),
            None => self.tail = m,
        }
        self.head = m;
        self.len += 1;
    }

    pub(crate) fn push_back(&mut self, m: &'static M) {
        m.next.set(ptr::null());
        m.prev.set(self.tail);
        match deref(self.tail) {
            Some(last) => last.next.set(m),
            None => self.head = m,
        }
        self.tail = m;
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<&'static M> {
        let m = deref(self.head)?;
        self.remove(m);
        Some(m)
    }

    pub(crate) fn first(&self) -> Option<&'static M> {
        deref(self.head)
    }

    /// The first for which `pred` holds; it stays.
    pub(crate) fn find(&self, pred: impl Fn(&'static M) -> bool) -> Option<&'static M> {
        let mut at = deref(self.head);
        while let Some(m) = at {
            if pred(m) {
                return Some(m);
            }
            at = deref(m.next.get());
        }
        None
    }

    /// Takes out `m`, which is in this list.
    pub(crate) fn remove(&mut self, m: &'static M) {
        match deref(m.prev.get()) {
            Some(prev) => prev.next.set(m.next.get()),
            None => self.head = m.next.get(),
        }
        match deref(m.next.get()) {
            Some(next) => next.prev.set(m.prev.get()),
            None => self.tail = m.prev.get(),
        }
        self.len -= 1;
    }
}

/// What a link names.
fn deref(link: *const M) -> Option<&'static M> {
    // SAFETY: links hold null or addresses of the table, which lives for ever.
    unsafe { link.as_ref() }
}
