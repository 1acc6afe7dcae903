//! What all Ms share: the global queue, and who is idle, spare, bound.
//!
//! Intrusive lists under one short lock. It is taken for a few instructions, by
//! those who are inside and by the monitor; the counts beside it are for those
//! who only want to know whether it is worth taking.

use super::Inside;
use super::g::{GList, GRef};
use super::home::Place;
use super::m::{self, M, MList};
use super::p::P;
use super::poll;
use crate::clock::{self, NEVER, Nanos};
use crate::lock::{ShortGuard, ShortLock};
use crate::protocol::idle_set::{Dismissed, IdleSet};
use crate::protocol::preempted::Preempted;
use crate::protocol::sleep::Sleep;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// The sleep and wake handshake.
pub(crate) static SLEEP: Sleep = Sleep::new();

static LISTS: ShortLock<Lists> = ShortLock::new(Lists::new());
static GLOBAL_LEN: AtomicUsize = AtomicUsize::new(0);
/// How many of them were woken from outside.
static WOKEN_LEN: AtomicUsize = AtomicUsize::new(0);
static BOUND_LEN: AtomicUsize = AtomicUsize::new(0);
/// How many of them are urgent.
static URGENT_LEN: AtomicUsize = AtomicUsize::new(0);
/// Since when the head of the bound queue waits; [`NEVER`] when there is none.
static BOUND_SINCE: AtomicU64 = AtomicU64::new(NEVER);
/// Somebody is in the poller's place.
static POLLED: AtomicBool = AtomicBool::new(false);
/// Ms that their handler parked, on their way to the bound queue.
pub(crate) static PREEMPTED: Preempted = Preempted::new();
static PROCS: AtomicUsize = AtomicUsize::new(0);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Whether a P is idle and nobody sleeps in the netpoll. A hint but for a second look.
pub(super) fn is_unwatched() -> bool {
    SLEEP.idle_now() != 0 && !POLLED.load(Ordering::Relaxed) && poll::exists()
}

/// Under the lock.
pub(crate) struct Lists {
    global: GList,
    /// Those of it that were woken by timers, the netpoll and plain threads. They take turns
    /// with the others: a sleeper does not wait for a thousand that have not begun.
    woken: GList,
    /// One that was woken went last.
    woken_went: bool,
    /// What was left of a P last went before the others.
    pours_before: bool,
    idle: IdleSet<P>,
    /// Ms that sleep on their futex, newest first.
    spare: MList,
    /// Ms that want a P for a goroutine that runs nowhere else, oldest first.
    bound: MList,
    /// Those among them for whom somebody was woken from outside: they go first.
    urgent: MList,
    turns: BoundTurns,
    /// The M that sleeps in the netpoll, if nobody claimed it yet.
    poller: *const M,
}

/// How many urgent Ms went, one after the other, while others waited in the bound queue.
struct BoundTurns(u32);

impl BoundTurns {
    /// So many, and then one of the others: who is woken from outside may come without an end.
    const IN_A_ROW: u32 = 8;

    /// Whether an urgent one goes next. At least one of the two is there.
    fn urgent_goes(&mut self, urgent: bool, other: bool) -> bool {
        let goes = urgent && (!other || self.0 < BoundTurns::IN_A_ROW);
        self.0 = if goes { self.0 + u32::from(other) } else { 0 };
        goes
    }
}

// SAFETY: the pointers are to Ps and Ms, which live for ever.
unsafe impl Send for Lists {}

impl Lists {
    const fn new() -> Lists {
        Lists {
            global: GList::new(),
            woken: GList::new(),
            woken_went: false,
            pours_before: false,
            idle: IdleSet::new(),
            spare: MList::new(),
            bound: MList::new(),
            urgent: MList::new(),
            turns: BoundTurns(0),
            poller: ptr::null(),
        }
    }

    /// Takes the P that became idle last.
    pub(crate) fn pop_idle(&mut self) -> Option<&'static P> {
        self.idle.pop(&SLEEP)
    }

    /// A P takes part from now on, unless it does already (it was to stop, and
    /// its M has not noticed).
    pub(crate) fn admit(&mut self, p: &'static P) {
        self.idle.admit(&SLEEP, p);
    }

    /// Puts a P that nobody owns into the idle set. False: it is beyond `maxprocs`, and to be
    /// emptied first.
    #[must_use]
    pub(crate) fn try_push_idle(&mut self, p: &'static P) -> bool {
        self.idle.try_push(&SLEEP, procs(), p)
    }

    /// A P that nobody owns, and that is empty, goes to the idle set, or stops when it is beyond
    /// `maxprocs`.
    pub(crate) fn push_idle_or_stop(&mut self, p: &'static P) {
        debug_assert!(p.index < procs() || !p.has_work(), "nobody comes for it");
        self.idle.push_or_stop(&SLEEP, procs(), p);
    }

    /// Takes the idle Ps beyond `maxprocs` out. The caller has them stop.
    pub(crate) fn dismiss(&mut self) -> Dismissed<P> {
        self.idle.dismiss(&SLEEP, procs())
    }

    pub(crate) fn push_global(&mut self, g: GRef) {
        self.global.push(g);
        self.publish_global();
    }

    pub(crate) fn append_global(&mut self, list: &mut GList) {
        self.global.append(list);
        self.publish_global();
    }

    /// Those stood in the queue of a P: before and behind what is here, in turns. Most of them have
    /// waited for longer. But goroutines that each begin the next one, and lend the P, would keep
    /// all others from it for ever.
    pub(crate) fn pour_into_global(&mut self, list: &mut GList) {
        self.pours_before = !self.pours_before;
        if self.pours_before {
            list.append(&mut self.global);
            std::mem::swap(list, &mut self.global);
        } else {
            self.global.append(list);
        }
        self.publish_global();
    }

    /// Puts one that was woken by somebody without a P into the global queue.
    pub(crate) fn push_woken(&mut self, g: GRef) {
        self.woken.push(g);
        self.publish_global();
    }

    /// Puts those that were woken by somebody without a P into the global queue.
    pub(crate) fn append_woken(&mut self, list: &mut GList) {
        self.woken.append(list);
        self.publish_global();
    }

    /// The next of the global queue.
    pub(crate) fn pop_global(&mut self) -> Option<GRef> {
        self.pop_in_turns(!self.woken_went)
    }

    /// The next of the global queue that was woken, if there is one.
    pub(crate) fn pop_woken(&mut self) -> Option<GRef> {
        self.pop_in_turns(true)
    }

    fn pop_in_turns(&mut self, woken_first: bool) -> Option<GRef> {
        self.woken_went = self.woken.len() != 0 && (woken_first || self.global.len() == 0);
        let g = if self.woken_went {
            self.woken.pop()
        } else {
            self.global.pop()
        };
        self.publish_global();
        g
    }

    fn publish_global(&self) {
        GLOBAL_LEN.store(self.global.len() + self.woken.len(), Ordering::Relaxed);
        WOKEN_LEN.store(self.woken.len(), Ordering::Relaxed);
    }

    /// `m` is Waiting, or rests, and wants a P from now on.
    pub(crate) fn push_bound(&mut self, m: &'static M) {
        m.waits_since.store(clock::now(), Ordering::Relaxed);
        self.drain_preempted();
        m.home.place.set(Place::Bound);
        self.bound.push_back(m);
        self.publish_bound();
    }

    /// As [`push_bound`](Self::push_bound), before all that are not urgent.
    pub(crate) fn push_urgent(&mut self, m: &'static M) {
        m.waits_since.store(clock::now(), Ordering::Relaxed);
        m.home.place.set(Place::Urgent);
        self.urgent.push_back(m);
        self.publish_bound();
    }

    /// The M that has waited longest, of the urgent ones if there are any; now and then of the
    /// others.
    pub(crate) fn pop_bound(&mut self) -> Option<&'static M> {
        self.drain_preempted();
        let (urgent, other) = (self.urgent.first(), self.bound.first());
        let m = if self.turns.urgent_goes(urgent.is_some(), other.is_some()) {
            urgent
        } else {
            other
        }?;
        self.withdraw(m);
        Some(m)
    }

    /// Whether any M wants a P.
    pub(crate) fn has_bound(&mut self) -> bool {
        self.drain_preempted();
        self.bound.len() + self.urgent.len() != 0
    }

    /// `m` rests on its futex from now on.
    pub(super) fn push_spare(&mut self, m: &'static M) {
        m.home.place.set(Place::Spare);
        self.spare.push_front(m);
    }

    /// The M that became spare last.
    pub(super) fn pop_spare(&mut self) -> Option<&'static M> {
        let m = self.spare.first()?;
        self.withdraw(m);
        Some(m)
    }

    /// How many Ms rest for want of work.
    pub(crate) fn resting(&self) -> usize {
        self.spare.len() + usize::from(self.has_poller())
    }

    /// `m` is the poller from now on, if there is none.
    pub(super) fn set_poller(&mut self, m: &'static M) {
        m.home.place.set(Place::Poller);
        self.poller = m;
        POLLED.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_poller(&self) -> bool {
        !self.poller.is_null()
    }

    /// Takes the poller from its place.
    pub(super) fn take_poller(&mut self) -> Option<&'static M> {
        // SAFETY: null or an M of the table.
        let m: &'static M = unsafe { self.poller.as_ref() }?;
        self.withdraw(m);
        Some(m)
    }

    /// Takes `m` out of wherever it rests.
    pub(super) fn withdraw(&mut self, m: &'static M) {
        match m.home.place.replace(Place::Elsewhere) {
            Place::Elsewhere | Place::Home => {}
            Place::Spare => self.spare.remove(m),
            Place::Poller => {
                self.poller = ptr::null();
                POLLED.store(false, Ordering::Relaxed);
            }
            Place::Bound => {
                self.bound.remove(m);
                self.publish_bound();
            }
            Place::Urgent => {
                self.urgent.remove(m);
                self.publish_bound();
            }
        }
    }

    /// Takes the first that is parked in its handler, for rescue.
    pub(crate) fn pop_preempted(&mut self) -> Option<&'static M> {
        self.drain_preempted();
        let m = self.bound.find(|m| m.preempted.load(Ordering::Relaxed))?;
        self.withdraw(m);
        Some(m)
    }

    /// Moves those that handlers parked to the bound queue.
    pub(crate) fn drain_preempted(&mut self) {
        if PREEMPTED.is_empty() {
            return;
        }
        let bound = &mut self.bound;
        PREEMPTED.take_all(
            |i| &m::slot(i as usize).next_preempted,
            |i| {
                let m = m::slot(i as usize);
                m.home.place.set(Place::Bound);
                bound.push_back(m);
            },
        );
        self.publish_bound();
    }

    fn publish_bound(&self) {
        let since = |list: &MList| {
            let first = list.first();
            first.map_or(NEVER, |m| m.waits_since.load(Ordering::Relaxed))
        };
        let since = since(&self.bound).min(since(&self.urgent));
        BOUND_LEN.store(self.bound.len() + self.urgent.len(), Ordering::Relaxed);
        URGENT_LEN.store(self.urgent.len(), Ordering::Relaxed);
        BOUND_SINCE.store(since, Ordering::Relaxed);
    }
}

/// Takes the lock.
#[inline]
pub(crate) fn lock(inside: &Inside) -> ShortGuard<'static, Lists> {
    LISTS.lock(inside)
}

/// How long the global queue is; a hint.
#[inline]
pub(crate) fn global_len() -> usize {
    GLOBAL_LEN.load(Ordering::Relaxed)
}

/// Whether anybody is queued for `p`: there, or for all; a hint.
#[inline]
pub(super) fn any_queued_for(p: &P) -> bool {
    p.has_work() || global_len() != 0
}

/// Whether anybody in it was woken from outside; a hint.
pub(crate) fn woken_waits() -> bool {
    WOKEN_LEN.load(Ordering::Relaxed) != 0
}

/// Whether bound Ms, preempted ones included, want a P; a hint.
#[inline]
pub(crate) fn bound_waits() -> bool {
    BOUND_LEN.load(Ordering::Relaxed) != 0 || !PREEMPTED.is_empty()
}

/// How many Ms are in the bound queue; a hint.
pub(crate) fn bound_len() -> usize {
    BOUND_LEN.load(Ordering::Relaxed)
}

/// Whether an urgent M is in the bound queue; a hint.
pub(crate) fn urgent_waits() -> bool {
    URGENT_LEN.load(Ordering::Relaxed) != 0
}

/// Since when the one waits that has waited longest in the bound queue; a hint.
pub(crate) fn bound_since() -> Nanos {
    BOUND_SINCE.load(Ordering::Relaxed)
}

/// `maxprocs`: Ps with a lower index run goroutines.
#[inline]
pub(crate) fn procs() -> usize {
    PROCS.load(Ordering::Relaxed)
}

/// Whether some other P would come for work that there was: it is idle, or its M searches. A hint.
pub(crate) fn others_look_for_work() -> bool {
    procs() > 1 && (SLEEP.idle_now() != 0 || SLEEP.is_searched())
}

/// Sets `maxprocs`; the rest of a change is `start::resize`.
pub(crate) fn set_procs(n: usize) {
    PROCS.store(n, Ordering::Relaxed);
}

/// The first of `n` numbers for new goroutines.
pub(crate) fn new_ids(n: u64) -> u64 {
    NEXT_ID.fetch_add(n, Ordering::Relaxed)
}

/// A random number for threads without a P (splitmix64; Steele, Lea, Flood 2014).
pub(crate) fn foreign_random() -> u32 {
    static STATE: AtomicU64 = AtomicU64::new(0x2545_f491_4f6c_dd1d);
    let mut z = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 32) as u32
}

/// Goroutines that were spawned by threads without a P.
pub(crate) static FOREIGN_SPAWNED: AtomicU64 = AtomicU64::new(0);

/// Goroutines that a thread without a P found woken by timers or the netpoll.
pub(crate) static FOREIGN_WOKEN: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    use super::BoundTurns;

    #[test]
    fn one_of_the_others_goes_however_many_urgent_ones_come() {
        let mut turns = BoundTurns(0);
        for _ in 0..3 {
            let urgent = (0..9).filter(|_| turns.urgent_goes(true, true)).count();
            assert_eq!(urgent, 8);
        }
        assert!(turns.urgent_goes(true, true));
    }

    #[test]
    fn an_urgent_one_now_and_then_goes_at_once() {
        let mut turns = BoundTurns(0);
        for _ in 0..100 {
            assert!(turns.urgent_goes(true, true));
            assert!(!turns.urgent_goes(false, true));
            // While nobody else waits they do not count.
            assert!((0..20).all(|_| turns.urgent_goes(true, false)));
        }
    }
}
