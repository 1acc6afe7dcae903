//! Searching: work from other Ps (PROTOCOL 14).
//!
//! Stealing pins crossbeam's epoch, which may run other code's destructors and
//! allocate. So it happens only here, on the M's own stack, without a goroutine,
//! outside the runtime: to those destructors this is a plain thread. Only atomics of
//! the victims are touched meanwhile.
//!
//! One at a time: a destructor runs before a goroutine is taken, and what was taken before is in a
//! queue by then. In an array until all are there it would wait for a destructor, which may wait
//! for just that one.
//!
//! Such a destructor may also block, or compute for long, and others rely on a searcher: the
//! monitor gives its place to somebody else (`watch.rs`). It may go on searching then, without one.
//!
//! A searcher also takes a `runnext` that has been there, unchanged, for
//! [`KEPT_WAITING`]: its waker computes on instead of parking.
//!
//! How long to search: a futex wake costs the waker 5 us and comes 10 to 50 us
//! later, too late for two goroutines that meet every 20 us. So when a `runnext`
//! was kept waiting, then for [`PATIENT_FOR`] every M that runs out of work searches
//! for [`PATIENCE`] before it rests, and one that rests beside an idle P is woken
//! for the next woken goroutine at once; otherwise it rests at once. Programs whose
//! wakers park at once, and those that wait for sockets or timers, never search
//! longer.

use super::g::GRef;
use super::idle;
use super::inside::Inside;
use super::lists::{self, SLEEP};
use super::m::M;
use super::p::{self, P};
use crate::clock::{self, Nanos};
use crate::protocol::delay;
use crate::protocol::mword::State;
use crossbeam_deque::Steal;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most that one theft takes.
const BATCH: u64 = 16;
/// Looks at all victims in any case.
const LOOKS: usize = 4;
/// A `runnext` this old is fair game, in ns.
const KEPT_WAITING: Nanos = 3_000;
/// Searching before a rest, in ns, while wakers compute on.
const PATIENCE: Nanos = 50_000;
/// For how long one `runnext` that was kept waiting makes the Ms patient, in ns; to the next tick
/// after that. Goroutines that meet all the time are found again at once. Short, because an
/// interrupt keeps a `runnext` waiting too, and a search beside two that wake each other costs them
/// as much as it.
const PATIENT_FOR: Nanos = 500_000;

/// Until when Ms are patient; 0: they are not.
static PATIENT_UNTIL: AtomicU64 = AtomicU64::new(0);

/// One to run, the rest of the loot in the own queue. None: there is nothing,
/// or enough others search.
pub(crate) fn search(inside: &mut Inside, m: &'static M, p: &'static P) -> Option<GRef> {
    // Of all Ps ever made: one that is to stop may have work while its M computes.
    if p::count() == 1 {
        return None;
    }
    if !m.searching.load(Ordering::Relaxed) {
        if !SLEEP.try_search(lists::procs()) {
            return None;
        }
        m.searching.store(true, Ordering::Relaxed);
    }
    let begin = clock::now();
    let patience = if PATIENT_UNTIL.load(Ordering::Relaxed) > begin {
        PATIENCE
    } else {
        0
    };
    let mut kept = KeptWaiting::default();
    let mut looks = 0;
    loop {
        match steal_round(inside, m, p) {
            Round::Found(g) => return Some(g),
            Round::Robbed => return None,
            Round::Nothing => {}
        }
        looks += 1;
        let now = clock::now();
        if let Some(g) = kept.look(p, now) {
            return Some(g);
        }
        if m.home.waits() {
            return m.home.take(inside);
        }
        if lists::global_len() != 0 || lists::bound_waits() {
            return lists::lock(inside).pop_global();
        }
        let enough = if kept.sees_any() {
            patience.max(2 * KEPT_WAITING)
        } else {
            patience
        };
        if looks >= LOOKS && now.saturating_sub(begin) >= enough {
            return None;
        }
        for _ in 0..16 {
            std::hint::spin_loop();
        }
    }
}

/// A `runnext` was kept waiting.
pub(crate) fn be_patient(now: Nanos) {
    PATIENT_UNTIL.store(now + PATIENT_FOR, Ordering::Relaxed);
}

/// Whether wakers compute on these days.
#[inline]
pub(crate) fn is_patient() -> bool {
    PATIENT_UNTIL.load(Ordering::Relaxed) != 0
}

/// By the monitor: ends the patience when its time is over.
pub(crate) fn review_patience(now: Nanos) {
    if PATIENT_UNTIL.load(Ordering::Relaxed) < now {
        PATIENT_UNTIL.store(0, Ordering::Relaxed);
    }
}

/// What a look at the others brought.
enum Round {
    Found(GRef),
    Nothing,
    /// Meanwhile the monitor took the P from the thief.
    Robbed,
}

/// One look at every other P's queue, from a random one on.
fn steal_round(inside: &mut Inside, m: &'static M, p: &'static P) -> Round {
    let made = p::count();
    let start = p.random() as usize % made;
    for i in 0..made {
        let Some(victim) = p::get((start + i) % made) else {
            continue;
        };
        if std::ptr::eq(victim, p) || victim.queue.len() == 0 {
            continue;
        }
        let want = (victim.queue.len().div_ceil(2) as u64).min(BATCH);
        let mut taken = 0;
        while taken < want {
            let mut loot = None;
            let still_owned = outside(m, || loot = rob(victim));
            match loot {
                // In no hand when we are outside again.
                Some(g) if still_owned => inside.push_local(p, g),
                Some(g) => {
                    lists::lock(inside).push_global(g);
                    idle::wake_for_work(inside);
                }
                None => {}
            }
            taken += u64::from(loot.is_some());
            if !still_owned {
                return Round::Robbed;
            }
            if loot.is_none() {
                break;
            }
        }
        if taken == 0 {
            continue;
        }
        p.counters().steals.add(1);
        p.counters().stolen.add(taken);
        // Unless others were here already.
        if let Some(first) = p.queue.pop() {
            return Round::Found(first);
        }
    }
    Round::Nothing
}

/// The oldest `runnext` that a searcher has seen, and since when.
#[derive(Default)]
struct KeptWaiting {
    seen: Option<(&'static P, usize, u64, Nanos)>,
}

impl KeptWaiting {
    /// Watches one `runnext`; takes it when it has waited long enough.
    fn look(&mut self, own: &'static P, now: Nanos) -> Option<GRef> {
        if let Some((victim, g, switches, since)) = self.seen {
            if victim.queue.peek_next() != Some(g) || victim.counters().switches.get() != switches {
                self.seen = None;
            } else if now.saturating_sub(since) >= KEPT_WAITING {
                self.seen = None;
                be_patient(now);
                own.counters().steals.add(1);
                own.counters().stolen.add(1);
                return victim.queue.take_next();
            }
        }
        if self.seen.is_none() {
            self.seen = p::all().filter(|v| !std::ptr::eq(*v, own)).find_map(|v| {
                let switches = v.counters().switches.get();
                v.queue.peek_next().map(|g| (v, g, switches, now))
            });
        }
        None
    }

    fn sees_any(&self) -> bool {
        self.seen.is_some()
    }
}

/// Whether `next` stays in the `runnext` of `p` for [`KEPT_WAITING`], during which
/// the caller spins.
pub(crate) fn is_kept_waiting(p: &'static P, next: usize) -> bool {
    let switches = p.counters().switches.get();
    let begin = clock::now();
    while clock::now().saturating_sub(begin) < KEPT_WAITING {
        std::hint::spin_loop();
    }
    p.queue.peek_next() == Some(next) && p.counters().switches.get() == switches
}

/// The oldest of what the victim has.
fn rob(victim: &P) -> Option<GRef> {
    loop {
        match victim.queue.steal() {
            Steal::Success(g) => {
                delay::here();
                return Some(g);
            }
            Steal::Retry => {}
            Steal::Empty => return None,
        }
    }
}

/// Runs `f` outside the runtime: destructors that crossbeam runs in it may use
/// goweft as any thread may. Whether the M owns the same P afterwards: the monitor
/// may have taken it.
#[must_use]
fn outside(m: &'static M, f: impl FnOnce()) -> bool {
    super::tls::set_current(std::ptr::null());
    m.rt.leave();
    delay::here();
    f();
    delay::here();
    m.rt.enter();
    super::tls::set_current(m);
    m.owns_as_before() || still_owns(m)
}

/// Steps 1b and 5, for an M without a goroutine.
#[cold]
fn still_owns(m: &'static M) -> bool {
    loop {
        let seen = m.word.load();
        match seen.state() {
            State::Owns => {
                // Given back in place: another P perhaps, and the loot goes where
                // everybody finds it.
                let before = m.p.get();
                m.adopt_owned(seen);
                return std::ptr::eq(before, m.p.get());
            }
            State::Pending => {
                m.word.keep(seen);
            }
            State::Stolen => {
                if m.word.forget(seen) {
                    m.p.set(std::ptr::null());
                    return false;
                }
            }
            state => crate::abort::fatal(format_args!("a searching thread is {state:?}")),
        }
    }
}
