//! The monitor: the one thread without a P that watches (PROTOCOL 12).
//!
//! What it does at each tick:
//! - timers that are due while any P is busy become runnable, and the netpoll is looked at
//!   when nobody has for a tick;
//! - a `runnext` that waits beside an idle P goes to the global queue;
//! - Ps are watched (`watch.rs`), and taken from threads that block, or compute while
//!   others wait (`theft.rs`);
//! - threads that have no P and compute are parked (`stolen.rs`);
//! - idle Ps go to bound Ms, and a spare M is kept (`threads.rs`);
//! - free stacks give their pages back, and `maxprocs` follows CPUs and quotas.
//!
//! It ticks every millisecond while something waits that only it would find (less often while all
//! Ps do nothing but compute, in the end once a slice), every ten while any P is busy, and sleeps
//! when all have been idle for a while.
//!
//! What always holds: it allocates nothing after its first lines, and takes no lock
//! that a goroutine can hold outside the runtime (I8).

use super::g::GList;
use super::inside::Inside;
use super::lists::{self, SLEEP};
use super::p::{self, P};
use super::theft::{self, Batch};
use super::thread_state::StateFiles;
use super::{idle, poll, preempt, start, steal, sys, threads, wakeup};
use crate::abort::OnUnwind;
use crate::clock::{self, Nanos};
use crate::protocol::alarm::Alarm;
use crate::protocol::delay;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

static BELL: OnceLock<sys::Bell> = OnceLock::new();
/// Whether to ring it.
pub(super) static ALARM: Alarm = Alarm::new();
/// How often some that were parked were released because an M seemed to wait for one inside.
pub(crate) static RESCUES: AtomicU64 = AtomicU64::new(0);

const SHORT: Nanos = 1_000_000;
const LONG: Nanos = 10_000_000;
/// While all Ps compute each tick may come twice as late as the one before, so often in a slice,
const CALM: u32 = 2;
/// and in all, once more after each slice in which they did nothing else.
const MOST_CALM: u32 = 4;
/// Between ticks when all Ps are idle and some threads have lost theirs.
const IDLE: Nanos = 100_000_000;
/// In builds for tests, now and then, while something waits.
const FORCED: Nanos = 50_000;
/// Ticks with all Ps idle before it sleeps without a timeout.
const IDLE_TICKS: u32 = 8;
/// Between two looks at the free stacks.
const DECAY_EVERY: Nanos = 1_000_000_000;
/// Such looks in a row that found nothing to give back before it sleeps without
/// a timeout: the first only notes what is free.
const DECAYS: u32 = 2;

/// Between two looks at CPUs and quotas.
const READ_LIMITS_EVERY: Nanos = 1_000_000_000;

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

/// Before anybody kicks it.
///
/// # Errors
/// What `eventfd` says.
pub(super) fn prepare() -> io::Result<()> {
    let bell = sys::Bell::new()?;
    BELL.get_or_init(|| bell);
    Ok(())
}

/// A P left the idle set: the monitor must tick again.
#[inline]
pub(crate) fn wake_if_asleep() {
    if ALARM.is_asleep() {
        kick();
    }
}

/// Has it tick now. Safe in a signal handler that saves errno.
pub(super) fn kick() {
    if ALARM.must_ring()
        && let Some(bell) = BELL.get()
    {
        bell.ring();
    }
}

/// Whether all Ps are idle, and no M has one that is to stop.
fn nobody_has_a_p() -> bool {
    let procs = lists::procs();
    SLEEP.idle_now() >= procs && p::all().all(|p| p.index < procs || p.owner().is_none())
}

/// Asks the M that owns `p` to yield at its next exit.
pub(super) fn ask(p: &'static P) {
    if let Some((m, _)) = p.owner() {
        m.rt.ask(p.slice());
    }
    p.call_attention();
}

/// What the monitor has at hand.
pub(super) struct Monitor {
    /// When this tick began.
    pub(super) now: Nanos,
    /// For how long a goroutine has a P while others wait, in this tick.
    pub(super) slice: Nanos,
    /// This tick came much later than was planned: the machine was busy or stopped.
    pub(super) late: bool,
    /// So late that the process may have been stopped, and the same of the tick before.
    was_away: bool,
    /// The first tick after that: what was seen before it says nothing.
    pub(super) begin_anew: bool,
    /// Look again soon.
    pub(super) hurry: bool,
    /// Some goroutine with a P is to be displaced in this tick ([`is_urgent`](Self::is_urgent)).
    pub(super) urgent: bool,
    /// A P was taken for what was urgent in the last tick.
    served: bool,
    /// The last tick that heard that a thread had begun a goroutine.
    begun_at: Nanos,
    /// Look again at once, for its sake, or at who was just given a P.
    pub(super) look_again: bool,
    /// No busy P has changed since the last tick, but by what that did: nobody else looks at
    /// timers and netpoll.
    pub(super) all_still: bool,
    /// When the first slice is over at whose end others wait; 0: look again at the usual pace.
    pub(super) look_by: Nanos,
    /// When the last of them is.
    pub(super) last_end: Nanos,
    /// How many have a P for which others wait: no more than those, in the order of the Ps.
    pub(super) waited_for: usize,
    /// Ps were taken in the last tick, only from those whose slices were over. That others have
    /// them now is no news.
    pub(super) rotated: bool,
    /// How many in this tick went to threads that were stopped while they computed.
    resumed: usize,
    /// Some P is on its way from one M to another.
    pub(super) on_its_way: bool,
    /// Ticks in a row in which nothing has changed that the next one would not see as well, up to
    /// [`CALM`] of them, and slices in a row that were used up.
    calm: u32,
    /// Entries of the global and the bound queue for which no P is being taken yet.
    pub(super) unclaimed: usize,
    pub(super) files: StateFiles,
    pub(super) batch: Batch,
    /// No M rests: there is none for an idle P.
    pub(super) nobody_rests: bool,
    /// Work waited beside an idle P at the last tick.
    waited: bool,
    /// The M that was looked at last.
    pub(super) cursor: usize,
    /// Some Stolen one was seen since the cursor went round for the last time but one: it may take
    /// ticks to come to all.
    pub(super) stolen_seen: bool,
    /// The same for this round, and for the one before.
    pub(super) stolen_in_round: [bool; 2],
    /// And one to which the signal has not just been sent; or there may be some that this tick did
    /// not come to.
    pub(super) stolen_at_large: bool,
    /// Some M was stuck inside in this tick, and how many the next rescue releases.
    stuck: bool,
    release: usize,
    /// Another thread had the netpoll when the monitor wanted to look.
    netpoll_is_taken: bool,
    planned: Nanos,
    idle_ticks: u32,
    decayed_at: Nanos,
    /// Looks at the free stacks before it sleeps without a timeout.
    decays_left: u32,
    /// Of all Ps together, at the last tick.
    switches: u64,
    limits_read_at: Nanos,
}

/// The thread's body.
pub(crate) fn run() -> ! {
    let _never_ends = OnUnwind("a panic in the monitor");
    TID.store(crate::sys::gettid(), Ordering::Release);
    sys::block_signals();
    sys::ask_for_short_turns();
    let mut inside = Inside::foreign();
    let mut monitor = Monitor {
        now: clock::now(),
        slice: start::time_slice(),
        late: false,
        was_away: false,
        begin_anew: false,
        hurry: false,
        urgent: false,
        served: false,
        begun_at: 0,
        look_again: false,
        all_still: false,
        look_by: clock::NEVER,
        last_end: 0,
        waited_for: 0,
        rotated: false,
        resumed: 0,
        on_its_way: false,
        calm: 0,
        unclaimed: 0,
        files: StateFiles::new(),
        batch: Batch::new(),
        nobody_rests: false,
        waited: false,
        cursor: 0,
        stolen_seen: false,
        stolen_in_round: [false; 2],
        stolen_at_large: false,
        stuck: false,
        release: 1,
        netpoll_is_taken: false,
        planned: LONG,
        idle_ticks: 0,
        decayed_at: 0,
        decays_left: DECAYS,
        switches: 0,
        limits_read_at: clock::now(),
    };
    loop {
        monitor.tick(&mut inside);
        monitor.sleep();
    }
}

impl Monitor {
    fn tick(&mut self, inside: &mut Inside) {
        let now = clock::now();
        let since_last = now.saturating_sub(self.now);
        self.late = since_last > 2 * self.planned;
        let was_away = self.was_away;
        self.was_away = since_last > self.planned + LONG;
        // Not twice: on a machine that has no time at all that says nothing.
        self.begin_anew = self.was_away && !was_away;
        self.now = now;
        // Before the looks at the queues: they see what was said before.
        if ALARM.take_begun() {
            self.begun_at = now;
        }
        self.slice = start::time_slice() << u32::from(preempt::are_many_parked());
        self.hurry = self.watch_outside(inside);
        let rested = theft::rested(inside);
        let takers = rested + lists::bound_len();
        self.nobody_rests = rested == 0;
        self.unclaimed = lists::global_len() + lists::bound_len();
        self.urgent = false;
        self.hurry |= self.unclaimed > 0;
        self.look_again = false;
        self.all_still = true;
        self.look_by = clock::NEVER;
        self.last_end = 0;
        self.waited_for = 0;
        self.on_its_way = false;
        self.stuck = false;
        self.wake_past_searchers(inside);
        // Also those beyond `maxprocs`: they are to stop.
        for p in p::all() {
            self.watch_queue(inside, p);
            self.watch(inside, p);
        }
        self.rotated &= self.on_its_way;
        if !self.stuck {
            self.release = 1;
        }
        if !self.batch.is_empty() {
            self.batch.limit(takers);
            // Where one blocks whoever has the P then may block as well: the first look of two at
            // it.
            self.look_again |= self.batch.any_blocks();
            if self.all_still && self.batch.is_by_slice() {
                self.rotated = true;
                self.calm = MOST_CALM.min(self.calm + 1);
            }
            let done = self
                .batch
                .carry_out(inside, &mut self.files, now, self.urgent);
            self.served = done.served;
            self.resumed = done.resumed;
            // Something may have been queued since.
            self.hurry = true;
        } else {
            self.served = false;
            self.resumed = 0;
        }
        self.serve_bound(inside);
        self.watch_stolen(inside);
        threads::see_to_a_spare(inside);
        steal::review_patience(now);
        self.hurry |= steal::is_patient();
        if now.saturating_sub(self.decayed_at) >= DECAY_EVERY {
            self.decayed_at = now;
            if goweft_stacks::decay() != 0 {
                self.decays_left = DECAYS;
            } else {
                self.decays_left = self.decays_left.saturating_sub(1);
            }
        }
        if now.saturating_sub(self.limits_read_at) > READ_LIMITS_EVERY {
            self.limits_read_at = now;
            start::follow_limits(inside);
        }
    }

    fn sleep(&mut self) {
        let Some(bell) = BELL.get() else { return };
        let all_idle = nobody_has_a_p();
        // Work beside idle Ps only waits for a thread that the system refused.
        // Goroutines that came and ended between two ticks have left stacks too.
        let switches = p::all().map(|p| p.counters().switches.get()).sum();
        if !all_idle || self.switches != switches {
            self.switches = switches;
            self.decays_left = DECAYS;
        }
        // Nor does anybody watch timers and netpoll then.
        if !all_idle || idle::there_is_work() || self.nobody_rests {
            self.idle_ticks = 0;
        } else if !self.hurry {
            self.idle_ticks += 1;
        }
        let deep = self.idle_ticks > IDLE_TICKS;
        if deep {
            ALARM.lie_down();
            // What the tick saw may be over, and nobody rings for that: the poller took a P while
            // we were awake, and has given it back without an M that takes its place.
            if !nobody_has_a_p() || idle::somebody_is_needed() {
                self.idle_ticks = 0;
            } else {
                // Threads that have lost their P may begin to compute.
                let timeout = if self.stolen_seen {
                    Some(IDLE)
                } else {
                    (self.decays_left != 0).then_some(DECAY_EVERY)
                };
                self.planned = timeout.unwrap_or(IDLE);
                bell.wait(None, timeout.map(Duration::from_nanos));
            }
            ALARM.get_up();
        } else {
            self.planned = if self.look_again {
                self.calm = 0;
                wakeup::LOOK_AGAIN
            } else if self.hurry && !threads::are_refused() {
                self.pace()
            } else {
                if !self.all_still {
                    self.calm = 0;
                }
                LONG
            };
            if self.hurry && delay::forces() {
                self.planned = self.planned.min(FORCED);
            }
            self.nap(bell);
        }
        ALARM.heard();
    }

    /// How long to the next tick, while there is something to see to. Where all Ps compute that is
    /// only the end of their slices, and that one of them may begin to block: the longer they have
    /// not, the longer that may wait. (Ticks cost those who compute: 30 us each on one virtual
    /// machine, 100 on another, of which the sleep itself is half.)
    ///
    /// Slices that end within half a slice of each other end together, at the last one's end: then
    /// they begin together too. Those of threads that were stopped while they computed, and go on,
    /// begin where the monitor next looks, a slice or 16 ms later: so those of 10 ms last for two.
    fn pace(&mut self) -> Nanos {
        let slice = start::time_slice();
        let shortest = SHORT.min(slice);
        let calm = self.all_still
            && !self.netpoll_is_taken
            && !self.stolen_at_large
            && SLEEP.idle_now() == 0;
        if self.rotated {
            // For a look at who has them now: in a while, where all go on that computed for long.
            let all_resumed = self.resumed == self.waited_for && !self.on_its_way;
            let later = calm && self.calm == MOST_CALM && all_resumed && slice >= LONG;
            let longest = SHORT << MOST_CALM;
            return if later { longest.min(slice) } else { shortest };
        }
        let times = if calm { self.calm } else { 0 };
        self.calm = times.max(CALM.min(times + 1));
        let end = self.look_by.min(self.now + slice);
        let together = (end + slice / 2).min(self.now + slice);
        let until = if times == MOST_CALM && end != 0 && self.last_end <= together {
            end.max(self.last_end)
        } else {
            end
        };
        (SHORT << times)
            .min(until.saturating_sub(self.now))
            .max(shortest)
    }

    /// Sleeps until the next tick, or until there is something that nobody else sees:
    /// a timer that is set for an earlier time, and while the goroutines on all Ps only
    /// compute, what is due and what comes over the netpoll.
    fn nap(&mut self, bell: &sys::Bell) {
        let mut until = self.now + self.planned;
        let long = self.planned > SHORT;
        let mut netpoll = None;
        if SLEEP.idle_now() == 0 && (self.all_still || long) {
            until = wakeup::close_gate(until);
            if self.all_still && !self.netpoll_is_taken {
                netpoll = poll::descriptor();
            }
        } else if long {
            // The last idle P may become busy, and then somebody be woken. (Timers and netpoll are
            // the poller's, also then, unless it is who takes that P: what comes meanwhile is seen at
            // the next tick.)
            until = wakeup::listen(until);
        }
        if long && SLEEP.idle_now() != 0 {
            wakeup::set_naps_beside_idle(true);
            // Its waker may have left before it could see that. (A hint: no fence is between.)
            if p::all().any(|p| p.queue.peek_next().is_some()) {
                until = until.min(self.now + SHORT);
            }
        }
        let left = until.saturating_sub(clock::now());
        if left != 0 {
            bell.wait(netpoll, Some(Duration::from_nanos(left)));
        }
        wakeup::set_naps_beside_idle(false);
        wakeup::open_gate();
    }

    /// Work that has waited beside an idle P for a whole tick: whoever counts as the
    /// searcher for whom submitters wake nobody is stuck, in a destructor that crossbeam
    /// runs while it steals. It may be waiting for just that work.
    fn wake_past_searchers(&mut self, inside: &mut Inside) {
        let waits = SLEEP.idle_now() != 0
            && (lists::global_len() != 0 || p::all().any(|p| p.queue.len() != 0));
        if std::mem::replace(&mut self.waited, waits) && waits {
            idle::wake_one_more(inside);
        }
        self.hurry |= waits;
    }

    /// The queue of one P, beside idle ones.
    fn watch_queue(&mut self, inside: &mut Inside, p: &'static P) {
        if SLEEP.idle_now() == 0 {
            return;
        }
        let runnext = p.queue.peek_next();
        if let Some(next) = runnext
            && steal::is_kept_waiting(p, next)
            && let Some(g) = p.queue.take_next()
        {
            steal::be_patient(self.now);
            lists::lock(inside).push_global(g);
            idle::wake_for_work(inside);
        }
        if p.queue.len() != 0 || lists::global_len() != 0 {
            idle::wake_for_work(inside);
        }
        self.hurry |= runnext.is_some() || p.queue.len() != 0;
    }

    /// Timers and netpoll while Ps are busy, or while they are idle and nobody polls: only closed
    /// Ms rest, and the system refuses a thread. True: look again soon.
    fn watch_outside(&mut self, inside: &mut Inside) -> bool {
        if SLEEP.idle_now() >= lists::procs() && !lists::is_unwatched() {
            return false;
        }
        let now = self.now;
        let mut out = GList::new();
        let due = poll::earliest();
        // Beside an idle P the poller sees to timers too, if there is one.
        if due <= now {
            poll::collect_all_due(inside, now, &mut out);
        }
        let unwatched = self.all_still || now.saturating_sub(poll::last_poll()) >= SHORT;
        self.netpoll_is_taken = unwatched && !poll::look(inside, now, &mut out);
        lists::FOREIGN_WOKEN.fetch_add(out.len() as u64, Ordering::Relaxed);
        inside.enqueue_all(&mut out);
        due < now + LONG || (unwatched && poll::anything_registered())
    }

    /// Whether what computes is to be displaced now, for what was woken and still waits. Not in the
    /// tick after a theft for that: one P serves all of it.
    pub(super) fn is_urgent(&self) -> bool {
        lists::urgent_waits() || (lists::woken_waits() && !self.served)
    }

    /// Whether one that has run since `since` is to be displaced by what a thread has begun: once,
    /// if it ran already. (A thread that begins one after the other leaves each that has a P a
    /// millisecond.)
    pub(super) fn gives_way_to_new(&self, since: Nanos) -> bool {
        self.now.saturating_sub(since) >= SHORT && self.new_waits(since)
    }

    /// As [`gives_way_to_new`](Self::gives_way_to_new), when it has run for long enough.
    pub(super) fn will_give_way_to_new(&self, since: Nanos) -> bool {
        self.now.saturating_sub(since) < SHORT && self.new_waits(since)
    }

    fn new_waits(&self, since: Nanos) -> bool {
        since <= self.begun_at && lists::global_len() != 0
    }

    /// Idle Ps for bound Ms: whoever made one of the two may not have seen the other,
    /// or have left it to us (the handler).
    fn serve_bound(&mut self, inside: &mut Inside) {
        while SLEEP.idle_now() != 0 && lists::bound_waits() {
            let mut lists = lists::lock(inside);
            // A P that left the idle set for nobody and came back would hide from a
            // submitter that looks in between.
            if !lists.has_bound() {
                return;
            }
            let Some(p) = lists.pop_idle() else { return };
            let wake = idle::claim_bound_for(&mut lists, p).expect("there is one");
            drop(lists);
            idle::deliver(wake);
        }
    }

    /// PROTOCOL 13: an M seems to wait inside for what a parked thread holds.
    pub(super) fn rescue(&mut self, inside: &Inside) {
        if std::mem::replace(&mut self.stuck, true) {
            return;
        }
        let mut released = 0;
        for _ in 0..self.release {
            let mut lists = lists::lock(inside);
            let Some(m) = lists.pop_preempted() else {
                break;
            };
            let wake = idle::claim(m);
            drop(lists);
            m.watch.spared_until.set(self.now + start::time_slice());
            idle::deliver(wake);
            released += 1;
        }
        // Without anybody parked it only has to wait for the OS, as others on a machine that is
        // too small.
        if released == 0 {
            return;
        }
        RESCUES.fetch_add(1, Ordering::Relaxed);
        self.release = (2 * self.release).min(1024);
    }
}
