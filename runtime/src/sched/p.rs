//! P: the right to run goroutines, with what belongs to it: queue, timers,
//! caches, counters.
//!
//! There is a fixed array of places for Ps; a P is made when its index is first
//! needed and is never freed, so that thieves and the monitor may look at any
//! at any time. Fields that are not atomic or under a lock belong to the M that
//! owns the P, inside the runtime; the word of the M carries that ownership on.

use super::g::{self, GList, GRef};
use super::inside::Inside;
use super::local_queue::LocalQueue;
use super::m::M;
use super::timers::Timers;
use super::token::Token;
use super::turns::Turns;
use super::wakeup::Budget;
use crate::protocol::idle_set::{Link, Place};
use crate::protocol::mword::Snapshot;
use crossbeam_utils::CachePadded;
use goweft_stacks::Magazine;
use std::cell::{Cell, UnsafeCell};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// The most Ps there can be.
pub(crate) const MAX_PROCS: usize = 1024;

/// See the module.
#[repr(C)]
pub(crate) struct P {
    pub(crate) index: usize,
    /// Shows a second user, in builds for tests.
    pub(crate) token: Token,
    /// The M that owned it last, for the monitor, which asks that M's word.
    /// Written by the M that comes to own it.
    pub(crate) owner: AtomicPtr<M>,
    pub(crate) queue: LocalQueue,
    /// Counts schedules; every 61st goes through the scheduler loop.
    pub(crate) schedules: Cell<u32>,
    /// `runnext` was put in the operation that is still under way.
    pub(crate) runnext_is_new: Cell<bool>,
    rng: Cell<u32>,
    ids: Cell<(u64, u64)>,
    free: UnsafeCell<GList>,
    pub(crate) magazine: UnsafeCell<Magazine>,
    /// When it last looked at the netpoll.
    pub(crate) polled_at: Cell<u64>,
    /// Whose turn it is.
    pub(super) turns: Turns,
    /// For wake-up preemption. The monitor's alone.
    pub(super) budget: Budget,
    /// Among the idle ones, or those that take no part (`protocol/idle_set.rs`).
    idle: Link<P>,

    /// What others may touch.
    pub(crate) shared: CachePadded<Shared>,
}

/// The part of a P that others may touch.
pub(crate) struct Shared {
    pub(crate) timers: Timers,
    /// Go through the scheduler loop at the next schedule. Set by anybody, cleared by the loop.
    pub(crate) attention: AtomicBool,
    /// With `attention`: what was just woken goes before all that waits here. Set by
    /// the monitor, or by the loop where it is not its turn; cleared by the loop.
    pub(crate) urgent: AtomicBool,
    pub(crate) counters: Counters,
}

/// Written by the owner only (plain adds), read by anybody.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) spawned: Counter,
    pub(crate) ended: Counter,
    pub(crate) switches: Counter,
    pub(crate) parks: Counter,
    pub(crate) yields: Counter,
    pub(crate) steals: Counter,
    pub(crate) stolen: Counter,
    pub(crate) overflows: Counter,
    pub(crate) polls: Counter,
    pub(crate) woken: Counter,
    pub(crate) direct: Counter,
    /// Slices that began without a switch.
    slices: Counter,
}

/// A count with one writer at a time.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// SAFETY: see the module: every field is atomic, under a lock, or touched only
// by the owner, and ownership is handed over with Release and Acquire.
unsafe impl Sync for P {}
// SAFETY: as above.
unsafe impl Send for P {}

static RESERVED: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
static PS: [AtomicPtr<P>; MAX_PROCS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_PROCS];

/// The P of this index, if it is there.
#[inline]
pub(crate) fn get(index: usize) -> Option<&'static P> {
    // SAFETY: the array holds null or leaked boxes.
    unsafe { PS[index].load(Ordering::Acquire).as_ref() }
}

/// Makes the Ps of indices below `n` that are not there yet, without having them
/// take part. Allocates: outside the runtime.
pub(crate) fn reserve(n: usize) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let places = PS
        .iter()
        .enumerate()
        .take(n.min(MAX_PROCS))
        .skip(reserved());
    for (index, place) in places {
        let p = Box::into_raw(Box::new(P::new(index)));
        place.store(p, Ordering::Release);
        RESERVED.store(index + 1, Ordering::Release);
    }
}

/// How many there are in reserve or in use.
pub(crate) fn reserved() -> usize {
    RESERVED.load(Ordering::Acquire)
}

/// From now on [`all`] has the reserved Ps of indices below `n`.
pub(crate) fn use_up_to(n: usize) {
    debug_assert!(n <= reserved(), "{n} Ps are not there");
    USED.fetch_max(n, Ordering::AcqRel);
}

/// How many Ps were ever used: those of the lowest indices.
#[inline]
pub(crate) fn count() -> usize {
    USED.load(Ordering::Acquire)
}

/// Every P ever used, stopped ones included.
#[inline]
pub(crate) fn all() -> impl Iterator<Item = &'static P> {
    (0..count()).filter_map(get)
}

impl Place for P {
    fn index(&self) -> usize {
        self.index
    }

    fn link(&self) -> &Link<P> {
        &self.idle
    }
}

impl P {
    /// Has the owner go through its loop soon. What the caller published before
    /// is seen there.
    pub(crate) fn call_attention(&self) {
        self.shared.attention.store(true, Ordering::Release);
    }

    /// By the owner: whether it is called. A look first: a swap of a word that
    /// others write costs more than all the rest of a schedule.
    #[inline]
    pub(crate) fn take_attention(&self) -> bool {
        self.shared.attention.load(Ordering::Relaxed)
            && self.shared.attention.swap(false, Ordering::Acquire)
    }

    fn new(index: usize) -> P {
        P {
            index,
            token: Token::default(),
            owner: AtomicPtr::new(ptr::null_mut()),
            queue: LocalQueue::new(),
            schedules: Cell::new(0),
            runnext_is_new: Cell::new(false),
            rng: Cell::new(0x9e37_79b9 ^ (index as u32 + 1).wrapping_mul(0x85eb_ca6b)),
            ids: Cell::new((0, 0)),
            free: UnsafeCell::new(GList::new()),
            magazine: UnsafeCell::new(Magazine::new()),
            polled_at: Cell::new(0),
            turns: Turns::default(),
            budget: Budget::default(),
            idle: Link::new(),
            shared: CachePadded::new(Shared {
                timers: Timers::new(),
                attention: AtomicBool::new(false),
                urgent: AtomicBool::new(false),
                counters: Counters::default(),
            }),
        }
    }

    #[inline]
    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Which slice this is: another one when a goroutine leaves, when the loop has found the next,
    /// so that what is decided about the first is not about the second, and when the P has changed
    /// hands. By anybody, as a hint.
    pub(crate) fn slice(&self) -> u64 {
        let counters = self.counters();
        let more = counters.slices.0.load(Ordering::Acquire);
        counters.switches.get().wrapping_add(more)
    }

    /// By the owner: another slice begins, without a switch. What was taken out of a queue for it
    /// is seen to be gone by who sees the slice.
    pub(crate) fn begin_slice(&self) {
        let slices = &self.counters().slices;
        slices
            .0
            .store(slices.get().wrapping_add(1), Ordering::Release);
    }

    /// Whether anything is in its queue. By anybody, as a hint.
    pub(crate) fn has_work(&self) -> bool {
        self.queue.peek_next().is_some() || self.queue.len() != 0
    }

    /// The M that owns it, which word says so.
    pub(crate) fn owner(&self) -> Option<(&'static M, Snapshot)> {
        // SAFETY: null or an M of the table, which is never freed.
        let m: &'static M = unsafe { self.owner.load(Ordering::Relaxed).as_ref() }?;
        let word = m.word.load();
        (word.owned_p() == Some(self.index)).then_some((m, word))
    }

    #[inline]
    pub(crate) fn timers(&self) -> &Timers {
        &self.shared.timers
    }

    /// The next number of a xorshift generator (Marsaglia, "Xorshift RNGs", 2003).
    #[inline]
    pub(crate) fn random(&self) -> u32 {
        let mut x = self.rng.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.rng.set(x);
        x
    }

    /// A number for a new goroutine, from a batch of this P's own.
    #[inline]
    pub(crate) fn new_id(&self, more: impl FnOnce(u64) -> u64) -> u64 {
        const BATCH: u64 = 16;
        let (mut at, mut end) = self.ids.get();
        if at == end {
            at = more(BATCH);
            end = at + BATCH;
        }
        self.ids.set((at + 1, end));
        at
    }

    /// A dead block. By the owner.
    #[inline]
    pub(crate) fn take_block(&self, inside: &Inside) -> GRef {
        // SAFETY: by the owner, inside: nobody else has a reference.
        let free = unsafe { &mut *self.free.get() };
        loop {
            if let Some(g) = free.pop() {
                return g;
            }
            g::take_blocks(inside, free, 32);
        }
    }

    /// Gives a dead block back. By the owner.
    #[inline]
    pub(crate) fn give_block(&self, inside: &Inside, g: GRef) {
        // SAFETY: as in `take_block`.
        let free = unsafe { &mut *self.free.get() };
        free.push_front(g);
        if free.len() > 256 {
            let mut back = GList::new();
            for _ in 0..128 {
                back.push(free.pop().expect("256 are here"));
            }
            g::give_blocks(inside, &mut back);
        }
    }

    /// The stacks at hand. By the owner.
    #[allow(
        clippy::mut_from_ref,
        reason = "the owner of the P is the only one who calls this, inside"
    )]
    #[inline]
    pub(crate) fn magazine(&self, _inside: &Inside) -> &mut Magazine {
        // SAFETY: by the owner, inside, and no caller keeps the reference.
        unsafe { &mut *self.magazine.get() }
    }
}
