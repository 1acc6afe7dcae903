//! Sleeping and waking: what an M does without work, and how it is given some
//! (PROTOCOL 5, 6 and 9).
//!
//! An M without work gives its P into the idle set and takes one of two places,
//! both in one step under the lock: it is *the poller*, which sleeps in the
//! netpoll until the next timer, or it is *spare* and sleeps on its futex. It
//! looks at every queue once more after that (`protocol/sleep.rs` says why).
//!
//! Whoever gives a P to an M writes `next_p` under the same lock at which it
//! takes that M off its list; so an M that holds the lock knows whether it has
//! been claimed. A claimed M is woken by its futex, or by a kick of the netpoll.

use super::g::{GList, GRef};
use super::home::Place;
use super::inside::Inside;
use super::lists::{self, Lists, SLEEP};
use super::m::M;
use super::p::{self, P};
use super::wait::owned;
use super::{affinity, monitor, poll, steal, threads, wakeup};
use crate::clock;
use crate::lock::ShortGuard;
use crate::protocol::delay;
use crate::protocol::mword::{Snapshot, State};
use crate::sys;
use std::ptr;
use std::sync::atomic::Ordering;

/// Somebody published work: wakes one M if a P is idle and nobody searches.
#[inline]
pub(crate) fn wake_for_work(inside: &mut Inside) {
    // The only P is ours: there is nobody to wake.
    if lists::procs() == 1 && inside.p().is_some_and(|p| p.index == 0) {
        return;
    }
    if SLEEP.wake_wanted() {
        wake_one(inside);
    }
}

/// By the monitor: wakes one M, however many search.
pub(super) fn wake_one_more(inside: &mut Inside) {
    SLEEP.search();
    wake_one(inside);
}

/// How an M that was given a P, or is to come for one, is to be woken.
#[must_use]
pub(super) enum Wake {
    Futex(&'static M),
    /// It is the poller.
    Kick(&'static M),
}

impl Wake {
    /// Whose thread was stopped while it computed, and goes on with that.
    pub(super) fn stopped(&self) -> Option<&'static M> {
        match self {
            Wake::Futex(m) if m.preempted.load(Ordering::Relaxed) => Some(m),
            _ => None,
        }
    }
}

/// Gives an idle P to an M and wakes it. The caller took a searcher's place,
/// which goes on to that M or is given back.
#[cold]
#[inline(never)]
fn wake_one(inside: &mut Inside) {
    loop {
        let mut lists = lists::lock(inside);
        // Whom it is for first: a P that left the idle set for nobody and came back would hide from
        // a submitter that looks in between.
        if !lists.has_bound() && lists.resting() == 0 {
            // An M that is made looks for work before it rests, so it needs no
            // searcher's place to be kept for it.
            SLEEP.stop_searching();
            drop(lists);
            return threads::want_for_idle();
        }
        let Some(p) = lists.pop_idle() else {
            // All Ps are busy: each looks at every queue before it sleeps. Under
            // the lock: a P that becomes idle after this finds the place free, so
            // that nobody relies on a searcher that there is not.
            return SLEEP.stop_searching();
        };
        // Bound Ms first, each with a P of its own; they do not search, so the
        // searcher's place stays with us for the next idle P.
        let bound = claim_bound_for(&mut lists, p);
        let is_for_bound = bound.is_some();
        let wake = bound
            .or_else(|| claim_rested(&mut lists, p, true))
            .expect("there is one");
        drop(lists);
        deliver(wake);
        monitor::wake_if_asleep();
        if !is_for_bound {
            return;
        }
    }
}

/// Under the lock: gives `p` to an M that sleeps for want of work.
pub(super) fn claim_rested(lists: &mut Lists, p: &'static P, searching: bool) -> Option<Wake> {
    if let Some(m) = lists.pop_spare() {
        give(m, p, searching);
        return Some(Wake::Futex(m));
    }
    let m = lists.take_poller()?;
    give(m, p, searching);
    Some(Wake::Kick(m))
}

/// Under the lock: gives `p` to the first bound M that wants one.
pub(super) fn claim_bound_for(lists: &mut Lists, p: &'static P) -> Option<Wake> {
    let m = lists.pop_bound()?;
    let wake = claim(m);
    give(m, p, false);
    Some(wake)
}

/// Under the lock, `m` is off the bound queue: nobody else will wake it.
pub(super) fn claim(m: &'static M) -> Wake {
    // One that rests stands there for the goroutines at home. It does not leave None but
    // under the lock, or with what it is given.
    if m.word.load().state() != State::None && !m.word.claim() {
        crate::abort::fatal("an M in the bound queue was claimed twice");
    }
    Wake::Futex(m)
}

/// Under the lock: `m` is claimed, or off its list; p is nobody's.
fn give(m: &'static M, p: &'static P, searching: bool) {
    debug_assert_eq!(
        m.next_p.load(Ordering::Relaxed),
        0,
        "an M is given one P at a time"
    );
    m.woken_searching.set(searching);
    delay::here();
    m.next_p.store(p.index as u32 + 1, Ordering::Release);
}

pub(super) fn deliver(wake: Wake) {
    let (Wake::Futex(m) | Wake::Kick(m)) = wake;
    // It sleeps where it ran last, and another may compute there.
    if let Some(p) = p_of(m.next_p.load(Ordering::Relaxed)) {
        affinity::follow(m, p);
    }
    match wake {
        Wake::Futex(m) => {
            delay::here();
            m.wake.store(1, Ordering::Release);
            delay::here();
            sys::futex_wake(&m.wake);
        }
        Wake::Kick(_) => poll::kick(),
    }
}

/// Sleeps until a P is given to `m`, and owns it.
pub(crate) fn wait_for_p(m: &'static M) {
    wait_for_claim(m);
    if !take_given(m) {
        crate::abort::fatal("an M was woken without a P");
    }
}

/// Sleeps until `m` has been claimed. Safe in a signal handler.
pub(crate) fn wait_for_claim(m: &'static M) {
    while m.wake.load(Ordering::Acquire) == 0 {
        sys::futex_wait(&m.wake, 0, None);
    }
    m.wake.store(0, Ordering::Relaxed);
    delay::here();
}

/// The P that a `next_p` names.
fn p_of(next: u32) -> Option<&'static P> {
    (next as usize).checked_sub(1).and_then(p::get)
}

/// Owns the P in `next_p`. False: there is none. Safe in a signal handler.
pub(crate) fn take_given(m: &'static M) -> bool {
    let given = m.next_p.swap(0, Ordering::Acquire);
    delay::here();
    let Some(p) = p_of(given) else {
        return false;
    };
    m.own(p);
    m.searching
        .store(m.woken_searching.get(), Ordering::Relaxed);
    // `maxprocs` may have been lowered on the way: then the monitor counts this P with neither
    // side.
    monitor::wake_if_asleep();
    true
}

/// A bound M's goroutine became runnable: gives it an idle P, or queues it and
/// makes the busy Ps look.
pub(crate) fn ready_bound(inside: &mut Inside, m: &'static M) {
    let mut lists = lists::lock(inside);
    let urgent = inside.p().is_none();
    let Some(p) = lists.pop_idle() else {
        return queue_bound(inside, lists, m, urgent);
    };
    let wake = if let Some(first) = claim_bound_for(&mut lists, p) {
        // One waits already that nobody has come to serve.
        queue_bound(inside, lists, m, urgent);
        first
    } else {
        let wake = claim(m);
        give(m, p, false);
        drop(lists);
        wake
    };
    deliver(wake);
    monitor::wake_if_asleep();
}

/// No P is idle for it: `m`, for whom somebody became runnable, queues for one, and the busy Ps
/// look when they next schedule. `urgent`: by a thread without a P, so one of them is displaced
/// (step 17).
fn queue_bound(inside: &mut Inside, mut lists: ShortGuard<'_, Lists>, m: &'static M, urgent: bool) {
    if urgent {
        lists.push_urgent(m);
    } else {
        lists.push_bound(m);
    }
    drop(lists);
    p::all().for_each(P::call_attention);
    if urgent {
        wakeup::woken_outside();
    }
    wake_for_work(inside);
}

/// `g`, who lives on `m`, became runnable: sees to it that `m` comes to run it (PROTOCOL 19).
pub(crate) fn ready_at_home(inside: &mut Inside, m: &'static M, g: GRef) {
    if inside.m().is_some_and(|here| ptr::eq(here, m)) {
        return m.home.push_own(g);
    }
    let urgent = inside.p().is_none();
    let mut lists = lists::lock(inside);
    m.home.put_into_inbox(&mut lists, g, urgent);
    let place = m.home.place.get();
    match place {
        // It looks at its inbox when it next schedules, or before it rests.
        Place::Elsewhere | Place::Bound | Place::Urgent => return,
        Place::Spare | Place::Poller | Place::Home => {}
    }
    let wake = match lists.pop_idle() {
        Some(p) => {
            lists.withdraw(m);
            give(m, p, false);
            if place == Place::Poller {
                Wake::Kick(m)
            } else {
                Wake::Futex(m)
            }
        }
        // It leaves its place by itself, and then queues: an M in the netpoll does not
        // wake when it is given a P like the others in the queue.
        None if place == Place::Poller => Wake::Kick(m),
        None => {
            lists.withdraw(m);
            return queue_bound(inside, lists, m, urgent);
        }
    };
    drop(lists);
    deliver(wake);
    monitor::wake_if_asleep();
}

/// PROTOCOL 5 (a): Stolen -> None -> Owns, when a P is idle.
pub(crate) fn acquire_stolen(m: &'static M, seen: Snapshot) -> bool {
    let mut inside = Inside::foreign();
    let Some(p) = lists::lock(&inside).pop_idle() else {
        return false;
    };
    if m.word.forget(seen) {
        m.own(p);
        monitor::wake_if_asleep();
        return true;
    }
    // A P was given back in place meanwhile.
    rest_p(&mut inside, p);
    false
}

/// The M gives its P on because its goroutine will sleep with it: Owns -> None.
pub(crate) fn give_p_away(inside: &mut Inside, m: &'static M) {
    owned(m).token.lay_down(m);
    m.word.disown();
    release_p(inside, m);
}

/// The M gives its P on around a call that blocks: Owns -> Stolen.
pub(crate) fn lend_p(inside: &mut Inside, m: &'static M) {
    owned(m).token.lay_down(m);
    m.word.lend();
    affinity::widen(m);
    release_p(inside, m);
}

/// The P of `m`, whose word does not name it any more, goes to whoever needs it.
fn release_p(inside: &mut Inside, m: &'static M) {
    let p = owned(m);
    m.p.set(ptr::null());
    // Thieves can take what is in the queue, but not what is in `runnext`.
    if let Some(next) = p.queue.take_next()
        && let Some(mut half) = p.queue.push(next)
    {
        lists::lock(inside).append_global(&mut half);
    }
    if p.index < lists::procs() {
        let mut lists = lists::lock(inside);
        // In turns: those who stand in the bound queue may be back in it before the
        // last of them is served.
        let queued = lists::any_queued_for(p);
        let bound_first = p.turns.bound_goes(queued, lists.has_bound(), 1);
        let wake = if bound_first {
            claim_bound_for(&mut lists, p)
        } else {
            claim_rested(&mut lists, p, false).or_else(|| claim_bound_for(&mut lists, p))
        };
        if !bound_first {
            p.call_attention();
        }
        if let Some(wake) = wake {
            drop(lists);
            return deliver(wake);
        }
    }
    rest_p(inside, p);
}

/// A P that the caller holds goes to the idle set (or stops), with a goer's second look
/// on its behalf: somebody must see to what was in its queue, and watch the netpoll and the timers.
pub(super) fn rest_p(inside: &mut Inside, p: &'static P) {
    let (lists, stops) = try_push_idle(inside, p);
    drop(lists);
    if stops {
        stop(inside, p);
    }
    SLEEP.before_second_look(false);
    if somebody_is_needed() && SLEEP.wake_wanted() {
        wake_one(inside);
    }
}

/// A P that the caller holds goes to the idle set, unless it has to stop: then true. The lock is
/// held still.
///
/// What is in its queue goes to the global one: into that of an idle P only searchers look, and
/// where there can be no more threads all may be busy for ever.
fn try_push_idle(inside: &Inside, p: &'static P) -> (ShortGuard<'static, Lists>, bool) {
    let mut queued = take_all(p);
    let mut lists = lists::lock(inside);
    if queued.len() != 0 {
        lists.pour_into_global(&mut queued);
    }
    let stops = !lists.try_push_idle(p);
    (lists, stops)
}

/// `p`, which `m` owns, is the caller's from now on.
fn disown(m: &'static M, p: &'static P) {
    p.token.lay_down(m);
    m.word.disown();
    m.p.set(ptr::null());
}

/// The P of `m` goes to the first bound M that wants one. False: there is none. What is queued has
/// its turn when that one next schedules: two that wake each other on two threads would have the P
/// for themselves.
pub(crate) fn give_to_bound(inside: &mut Inside, m: &'static M, p: &'static P) -> bool {
    if !lists::bound_waits() {
        return false;
    }
    stop_searching(inside, m);
    let mut lists = lists::lock(inside);
    let Some(bound) = lists.pop_bound() else {
        return false;
    };
    // The giver's word does not name the P any more when it is given.
    disown(m, p);
    p.turns.has_gone_to_bound(lists::any_queued_for(p));
    let wake = claim(bound);
    give(bound, p, false);
    drop(lists);
    deliver(wake);
    true
}

/// A P beyond `maxprocs`, which the caller holds, stops: what is in its queue goes to
/// the global one. Its timers stay where they are; everybody looks at the
/// heaps of all Ps. The caller looks for work afterwards: there may be an idle
/// P that nobody was woken for.
pub(super) fn stop(inside: &mut Inside, p: &'static P) {
    let mut queued = take_all(p);
    p.magazine(inside).drain();
    let mut lists = lists::lock(inside);
    lists.append_global(&mut queued);
    lists.push_idle_or_stop(p);
}

/// What is queued at `p`, which the caller holds.
fn take_all(p: &'static P) -> GList {
    let mut all = GList::new();
    if let Some(g) = p.queue.take_next() {
        all.push(g);
    }
    while let Some(g) = p.queue.pop() {
        all.push(g);
    }
    all
}

/// Step 15: `runnext` has been kept waiting beside an idle P.
pub(crate) fn spill_runnext(inside: &mut Inside, p: &'static P) {
    if let Some(g) = p.queue.take_next() {
        steal::be_patient(clock::now());
        inside.push_local(p, g);
        wake_for_work(inside);
    }
}

/// The M found work: it does not search any more. The last searcher wakes one
/// more, because those who submitted work meanwhile relied on it.
#[inline]
pub(crate) fn stop_searching(inside: &mut Inside, m: &'static M) {
    if m.leave_search() && SLEEP.found() {
        wake_for_work(inside);
    }
}

/// Where an M without work sleeps.
enum Rest {
    Poller,
    Spare,
}

/// Nothing to do for `m`, which may have a P: sleeps until it has one and
/// something to do.
pub(crate) fn rest(inside: &mut Inside, m: &'static M) {
    if m.home.is_closed() {
        return rest_closed(inside, m);
    }
    // SAFETY: null or a P.
    let p: Option<&'static P> = unsafe { m.p.get().as_ref() };
    if let Some(p) = p {
        if p.index < lists::procs() && p.has_work() {
            // It was to stop when its M saw it, and takes part again.
            return;
        }
        disown(m, p);
    }
    let (mut lists, stops) = match p {
        Some(p) => try_push_idle(inside, p),
        None => (lists::lock(inside), false),
    };
    if let Some(p) = p.filter(|_| stops) {
        drop(lists);
        stop(inside, p);
        // Not every way from here looks for what it left.
        wake_for_work(inside);
        lists = lists::lock(inside);
    }
    if m.home.waits() {
        return wait_for_home(inside, lists, m);
    }
    let place = take_place(&mut lists, m);
    drop(lists);
    rest_at(inside, m, place);
}

/// As `rest`, for an M whose thread has just come up.
pub(crate) fn rest_first(inside: &mut Inside, m: &'static M) {
    let place = take_place(&mut lists::lock(inside), m);
    threads::one_is_up();
    rest_at(inside, m, place);
}

/// The second look, and sleep.
fn rest_at(inside: &mut Inside, m: &'static M, place: Rest) {
    SLEEP.before_second_look(m.leave_search());
    // Also without a P: submitters that saw us search relied on us, and a P that
    // stopped left its work to whoever has an idle one. The poller of a moment ago may be gone, and
    // who gave its P away meanwhile relied on us too: then the place is ours when we rest again.
    if somebody_is_needed() {
        if leave_place(inside, m) {
            return;
        }
        // Claimed perhaps, and for something else than what is there.
        wake_for_work(inside);
    }
    match place {
        Rest::Spare => wait_for_p(m),
        Rest::Poller => poll::sleep(inside, m),
    }
}

/// Whoever rests beside an idle P polls, if nobody does. When all Ps are busy nobody begins to (who
/// polls already goes on): they look at the netpoll themselves, and a sleeper beside them would
/// take each event over a thread switch. Nor does anybody between a poller's leaving with a P and
/// the next rest: then the monitor looks at each tick.
fn take_place(lists: &mut Lists, m: &'static M) -> Rest {
    // The count changes under this lock only.
    if SLEEP.idle_now() != 0 && !lists.has_poller() && poll::exists() {
        lists.set_poller(m);
        Rest::Poller
    } else {
        lists.push_spare(m);
        Rest::Spare
    }
}

/// Somebody at home is runnable, and `m`, under the lock, has no P: sleeps until it
/// has one.
fn wait_for_home(inside: &mut Inside, mut lists: ShortGuard<'_, Lists>, m: &'static M) {
    if let Some(p) = lists.pop_idle() {
        drop(lists);
        m.own(p);
        return monitor::wake_if_asleep();
    }
    if m.home.is_urgent(&lists) {
        queue_bound(inside, lists, m, true);
    } else {
        lists.push_bound(m);
        drop(lists);
    }
    drop_search(inside, m);
    wait_for_p(m);
}

/// `m` does not search any more, without having found anything.
fn drop_search(inside: &mut Inside, m: &'static M) {
    if m.leave_search() {
        SLEEP.before_second_look(true);
        if somebody_is_needed() {
            wake_for_work(inside);
        }
    }
}

/// `rest` of an M that is closed: no place where it could be given what is not its own.
#[cold]
fn rest_closed(inside: &mut Inside, m: &'static M) {
    give_p_on(inside, m);
    drop_search(inside, m);
    let lists = lists::lock(inside);
    if m.home.waits() {
        return wait_for_home(inside, lists, m);
    }
    m.home.place.set(Place::Home);
    drop(lists);
    wait_for_p(m);
}

/// The P of `m`, if it has one, goes to whoever needs it. The caller is on the M's own stack.
pub(super) fn give_p_on(inside: &mut Inside, m: &'static M) {
    if !m.p.get().is_null() {
        give_p_away(inside, m);
    }
}

/// Takes `m`, which saw work, from its place back to an idle P. False: it has
/// been claimed meanwhile, or there is no idle P any more.
fn leave_place(inside: &mut Inside, m: &'static M) -> bool {
    let mut lists = lists::lock(inside);
    if m.next_p.load(Ordering::Relaxed) != 0 {
        return false;
    }
    let Some(p) = lists.pop_idle() else {
        return false;
    };
    // In its place, or by now in the bound queue.
    lists.withdraw(m);
    drop(lists);
    m.own(p);
    SLEEP.search();
    m.searching.store(true, Ordering::Relaxed);
    monitor::wake_if_asleep();
    true
}

/// What becomes of the poller that is back from the netpoll.
#[must_use]
pub(crate) enum Returned {
    HasP,
    /// It is the poller still, without a P.
    KeepsPlace,
    /// It wants a P for who lives here, and stands in the bound queue: it is to
    /// [`wait_for_p`].
    Queued,
}

/// The poller is back: unless it was claimed it takes an idle P, if it wants one
/// and there is one, and otherwise keeps its place.
pub(crate) fn poller_returns(inside: &mut Inside, m: &'static M, wants_p: bool) -> Returned {
    let mut lists = lists::lock(inside);
    if m.next_p.load(Ordering::Relaxed) != 0 {
        drop(lists);
        return if take_given(m) {
            Returned::HasP
        } else {
            Returned::KeepsPlace
        };
    }
    let for_home = m.home.waits();
    if !wants_p && !for_home {
        return Returned::KeepsPlace;
    }
    let Some(p) = lists.pop_idle() else {
        if !for_home {
            return Returned::KeepsPlace;
        }
        lists.withdraw(m);
        queue_bound(inside, lists, m, true);
        return Returned::Queued;
    };
    lists.withdraw(m);
    drop(lists);
    m.own(p);
    m.searching.store(false, Ordering::Relaxed);
    monitor::wake_if_asleep();
    Returned::HasP
}

/// What a goer looks for a second time.
pub(super) fn somebody_is_needed() -> bool {
    there_is_work() || lists::is_unwatched()
}

/// Every queue there is, looked at without taking anything.
pub(crate) fn there_is_work() -> bool {
    lists::global_len() != 0
        || lists::bound_waits()
        || p::all().any(|p| p.queue.len() != 0)
        || p::all()
            .any(|p| p.timers().earliest() != clock::NEVER && p.timers().earliest() <= clock::now())
}
