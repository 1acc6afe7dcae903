//! The monitor: the one thread without a P that watches (PROTOCOL 12, in part).
//!
//! What it does at each tick:
//! - makes the threads that were asked for (nobody else allocates for others);
//! - a `runnext` that waits beside an idle P goes to the global queue;
//! - a P that has run one goroutine for a time slice while work waits is asked to
//!   yield at its next exit from the runtime;
//! - timers that are due while no P is idle become runnable;
//! - the netpoll, when nobody has looked for a tick;
//! - free stacks give their pages back, and `maxprocs` follows CPUs and quotas.
//!
//! It ticks every millisecond while something waits that only it would find,
//! every ten while any P is busy, and sleeps when all have been idle for a while.

use super::g::GList;
use super::inside::Inside;
use super::lists::{self, SLEEP, THREADS_WANTED};
use super::p::{self, P};
use super::{idle, poll, start, steal};
use crate::abort::OnUnwind;
use crate::clock::{self, Nanos};
use crate::sys;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering, fence};
use std::time::Duration;

/// Futex: 1 when there is something to do at once.
static KICKED: AtomicU32 = AtomicU32::new(0);
/// 1 while it sleeps without a timeout.
static ASLEEP: AtomicU32 = AtomicU32::new(0);

const SHORT: Nanos = 1_000_000;
const LONG: Nanos = 10_000_000;
/// Ticks with all Ps idle before it sleeps without a timeout.
const IDLE_TICKS: u32 = 8;
/// Between two looks at the free stacks.
const DECAY_EVERY: Nanos = 1_000_000_000;
/// Such looks in a row that found nothing to give back before it sleeps without
/// a timeout: the first only notes what is free.
const DECAYS: u32 = 2;

/// Its thread, once it is up.
static TID: AtomicI32 = AtomicI32::new(0);

/// The thread of the monitor, which may run wherever the process may: it is never
/// pinned. Waits until it is up.
pub(crate) fn tid() -> i32 {
    loop {
        match TID.load(Ordering::Acquire) {
            0 => std::thread::yield_now(),
            tid => return tid,
        }
    }
}

/// A P left the idle set: the monitor must tick again.
#[inline]
pub(crate) fn wake_if_asleep() {
    // Pairs with the fence in `sleep`: either we see that it sleeps, or it
    // sees that a P is busy.
    fence(Ordering::SeqCst);
    if ASLEEP.load(Ordering::Relaxed) != 0 {
        kick();
    }
}

/// There is an idle P, work, and no M to run it: one is made.
pub(crate) fn want_thread() {
    THREADS_WANTED.fetch_add(1, Ordering::AcqRel);
    kick();
}

fn kick() {
    if KICKED.swap(1, Ordering::AcqRel) == 0 {
        sys::futex_wake(&KICKED);
    }
}

/// What one P showed at the last look.
#[derive(Clone, Copy, Default)]
struct Look {
    switches: u64,
    since: Nanos,
}

/// The thread's body.
pub(crate) fn run() -> ! {
    let mut looks = Vec::with_capacity(p::reserved());
    let mut idle_ticks = 0;
    let mut decayed_at = 0;
    let mut decays_left = DECAYS;
    // Of all Ps together, at the last tick.
    let mut switches: u64 = 0;
    let mut limits_read_at = clock::now();
    TID.store(sys::gettid(), Ordering::Release);
    let mut inside = Inside::foreign();
    let _never_ends = OnUnwind("a panic in the monitor");
    loop {
        while THREADS_WANTED.load(Ordering::Acquire) != 0 {
            THREADS_WANTED.fetch_sub(1, Ordering::AcqRel);
            start::add_machine();
        }
        let now = clock::now();
        let procs = lists::procs();
        looks.resize(procs.max(looks.len()), Look::default());
        let mut hurry = false;
        for (p, look) in p::all().take(procs).zip(&mut looks) {
            hurry |= watch(&mut inside, p, look, now);
        }
        // One that an M took just before it had to stop.
        p::all().skip(procs).for_each(ask);
        hurry |= watch_outside(&mut inside, now);
        steal::review_patience(now);
        hurry |= steal::is_patient();
        if now.saturating_sub(decayed_at) >= DECAY_EVERY {
            decayed_at = now;
            if goweft_stacks::decay() != 0 {
                decays_left = DECAYS;
            } else {
                decays_left = decays_left.saturating_sub(1);
            }
        }
        if now.saturating_sub(limits_read_at) > 1_000_000_000 {
            limits_read_at = now;
            start::follow_limits(&mut inside);
        }
        let all_idle = SLEEP.idle_now() >= lists::procs();
        // Goroutines that came and ended between two ticks have left stacks too.
        let switches_now = p::all().map(|p| p.counters().switches.get()).sum();
        if !all_idle || switches != switches_now {
            switches = switches_now;
            decays_left = DECAYS;
        }
        if !all_idle {
            idle_ticks = 0;
        } else if !hurry {
            idle_ticks += 1;
        }
        let short = hurry && !start::threads_are_refused();
        match idle_ticks > IDLE_TICKS {
            true if decays_left == 0 => sleep_until_kicked(None),
            true => sleep_until_kicked(Some(DECAY_EVERY)),
            false => sleep(if short { SHORT } else { LONG }),
        }
    }
}

/// Until a P leaves the idle set, at most for so long.
fn sleep_until_kicked(at_most: Option<Nanos>) {
    ASLEEP.store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    let all_idle = SLEEP.idle_now() >= lists::procs();
    sleep_for(if all_idle { at_most } else { Some(LONG) });
    ASLEEP.store(0, Ordering::Relaxed);
    unkick();
}

fn sleep(tick: Nanos) {
    sleep_for(Some(tick));
    unkick();
}

fn sleep_for(at_most: Option<Nanos>) {
    sys::futex_wait(&KICKED, 0, at_most.map(Duration::from_nanos));
}

fn unkick() {
    // A swap, not a store: whoever kicked before it is seen below with what it
    // kicked for, and whoever kicks after it wakes us.
    KICKED.swap(0, Ordering::AcqRel);
}

/// One P. True: look again soon.
fn watch(inside: &mut Inside, p: &'static P, look: &mut Look, now: Nanos) -> bool {
    let switches = p.counters().switches.get();
    let runnext = p.queue.peek_next();
    let same = look.switches == switches;
    if !same {
        *look = Look {
            switches,
            since: now,
        };
    }
    if let Some(next) = runnext
        && SLEEP.idle_now() != 0
        && steal::is_kept_waiting(p, next)
        && let Some(g) = p.queue.take_next()
    {
        steal::be_patient(now);
        lists::lock(inside).push_global(g);
        idle::wake_for_work(inside);
    }
    // What a yield did not submit, and what no thread could be made for, is
    // submitted here.
    let queued = p.queue.len() != 0 || lists::global_len() != 0 || lists::bound_len() != 0;
    let waits = runnext.is_some() || queued;
    if waits && now.saturating_sub(look.since) >= start::time_slice() {
        ask(p);
    }
    if queued && SLEEP.idle_now() != 0 {
        idle::wake_for_work(inside);
    }
    waits && SLEEP.idle_now() != 0
}

/// Asks the M that owns `p` to yield at its next exit.
pub(crate) fn ask(p: &'static P) {
    for m in super::m::all() {
        if m.word.load().owned_p() == Some(p.index) {
            m.ask.store(1, Ordering::Relaxed);
        }
    }
    p.call_attention();
}

/// Timers and netpoll while the Ps are busy. True: look again soon.
fn watch_outside(inside: &mut Inside, now: Nanos) -> bool {
    if SLEEP.idle_now() >= lists::procs() {
        return false;
    }
    let mut out = GList::new();
    let due = poll::earliest();
    // Beside an idle P the poller sees to timers.
    if due <= now {
        poll::collect_all_due(inside, now, &mut out);
    }
    let unwatched = now.saturating_sub(poll::last_poll()) >= SHORT;
    if unwatched {
        poll::look(inside, now, &mut out);
    }
    lists::FOREIGN_WOKEN.fetch_add(out.len() as u64, Ordering::Relaxed);
    inside.enqueue_all(&mut out);
    due < now + LONG || (unwatched && poll::anything_registered())
}
