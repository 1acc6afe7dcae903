//! The loop of an M: find a goroutine, run it (ARCHITECTURE 5).
//!
//! It runs on the thread's own stack, and only to look for work: goroutines
//! switch to each other directly as long as the queue of their P has one
//! (`wait.rs`). Every 61st schedule goes through here whatever the queue has, so
//! that nothing outside the queue waits for ever: timers, the global queue,
//! bound Ms, the netpoll.

use super::entry;
use super::g::{GList, GRef};
use super::idle;
use super::inside::Inside;
use super::lists;
use super::m::{self, M};
use super::p::P;
use super::poll;
use super::steal;
use super::turns::{Source, Turn, Visit};
use super::wait::{LOOP_EVERY, next_by_turns, owned, resume_point};
use crate::clock;
use goweft_stacks::context::{self, Context};
use std::sync::atomic::Ordering;

/// Runs goroutines, until one has ended locked and nobody lives here any more. The thread is
/// `m` already, and inside; when it comes back it is a plain thread.
pub(crate) fn run_machine(m: &'static M) {
    // SAFETY: a new M is inside from its start, and this loop is its only one.
    let mut inside = std::mem::ManuallyDrop::new(unsafe { Inside::resume() });
    // Without a P: takes its place, and looks for work once before it sleeps.
    idle::rest_first(&mut inside, m);
    loop {
        match find(&mut inside, m) {
            Some(g) => run(&mut inside, m, g),
            None if m.home.is_over() => break,
            None => {
                idle::rest(&mut inside, m);
                m.home.has_rested();
            }
        }
    }
    idle::give_p_on(&mut inside, m);
    debug_assert!(
        !m.searching.load(Ordering::Relaxed),
        "it ran a goroutine last"
    );
    m::resign(m);
}

/// Runs `g` until this thread's goroutines have no direct successor.
fn run(inside: &mut Inside, m: &'static M, g: GRef) {
    idle::stop_searching(inside, m);
    owned(m).begin_slice();
    let to = if g.is_fresh() {
        entry::bind(inside, m, g)
    } else {
        m.set_running(Some(g));
        g.word.start();
        resume_point(g)
    };
    // SAFETY: `g` was runnable, left its queue to us alone, and its context is
    // complete. We are on the M's own stack, which `host` names until we are back.
    unsafe { context::switch(to, save_host, std::ptr::from_ref(m).cast_mut().cast()) };
}

/// Deferred action: the loop of `data`, an M, is suspended.
///
/// # Safety
/// `data` is the M of this thread.
unsafe extern "C" fn save_host(left: Context, data: *mut ()) {
    // SAFETY: the caller's promise.
    unsafe { &*data.cast::<M>() }.host.set(Some(left));
}

/// The goroutine to run next. None: nothing to do, or no P any more.
fn find(inside: &mut Inside, m: &'static M) -> Option<GRef> {
    // SAFETY: null or a P.
    let p: &'static P = unsafe { m.p.get().as_ref() }?;
    if p.index >= lists::procs() {
        return None;
    }
    let n = p.schedules.get().wrapping_add(1);
    p.schedules.set(n);
    if m.home.is_owed() {
        // Before anything that could have the P go on: or Ms that are called all the time would
        // pass it on and on.
        return m.home.take(inside);
    }
    let asked = p.take_attention();
    // `next_here` counted the 61st before it sent us here.
    let due = asked || n % LOOP_EVERY <= 1;
    if due {
        // Whoever was asked to yield has left.
        m.rt.forget_ask();
    }
    if m.home.is_closed() {
        return find_at_home(inside, m, p, due, asked);
    }
    if due {
        let mut turn = whose_turn(p, asked);
        if turn == Turn::Bound {
            if idle::give_to_bound(inside, m, p) {
                return None;
            }
            // Another P was faster.
            turn = p.turns.next(Visit::of_queues(asked));
        }
        look_outside(inside, p, asked);
        if let Turn::Queues(sources) = turn
            && let Some(g) = sources.iter().find_map(|&from| take(inside, m, p, from))
        {
            return Some(g);
        }
    }
    if let Some(g) = next_by_turns(inside, m, p) {
        return Some(g);
    }
    nothing_here(inside, m, p)
}

/// At a visit. Whoever is left out is seen to at the next schedule.
fn whose_turn(p: &'static P, asked: bool) -> Turn {
    let visit = Visit {
        asked,
        urgent: asked && p.shared.urgent.swap(false, Ordering::Relaxed),
        bound: lists::bound_waits(),
        urgent_bound: lists::urgent_waits(),
    };
    let turn = p.turns.next(visit);
    let still_urgent = visit.urgent_bound || lists::global_len() != 0;
    if visit.urgent && !p.turns.was_urgent() && still_urgent {
        p.shared.urgent.store(true, Ordering::Relaxed);
        p.call_attention();
    }
    if visit.bound && !visit.urgent && turn != Turn::Bound {
        p.call_attention();
    }
    turn
}

/// On an M that is closed only who lives there runs. None: nobody is runnable, or it is the
/// others' turn: then the P goes on, and `m` queues for one.
#[cold]
fn find_at_home(
    inside: &mut Inside,
    m: &'static M,
    p: &'static P,
    due: bool,
    asked: bool,
) -> Option<GRef> {
    if due {
        look_outside(inside, p, asked);
    }
    let theirs = m.home.take_gave_way() || due;
    if theirs && (lists::any_queued_for(p) || lists::bound_waits()) {
        if asked {
            // For the next owner: something may have been woken that is urgent.
            p.call_attention();
        }
        return None;
    }
    m.home.take(inside)
}

/// Timers, and the netpoll if it is time: what they wake goes to the own queue.
fn look_outside(inside: &mut Inside, p: &'static P, asked: bool) {
    let now = clock::now();
    let mut out = GList::new();
    poll::collect_due(inside, p, now, &mut out);
    if asked || now.saturating_sub(p.polled_at.get()) > poll::POLL_EVERY {
        p.polled_at.set(now);
        poll::look(inside, now, &mut out);
    }
    // It stands behind what `p` has already.
    poll::enqueue_found(inside, p, &mut out, false);
}

/// The head of one of the queues that `turns` names.
fn take(inside: &mut Inside, m: &'static M, p: &'static P, from: Source) -> Option<GRef> {
    match from {
        Source::Own => p.queue.pop(),
        Source::Next => p.queue.take_next(),
        Source::Home => m.home.take(inside),
        Source::Woken | Source::Global if lists::global_len() == 0 => None,
        Source::Woken => lists::lock(inside).pop_woken(),
        Source::Global => lists::lock(inside).pop_global(),
    }
}

/// The own queue is empty.
fn nothing_here(inside: &mut Inside, m: &'static M, p: &'static P) -> Option<GRef> {
    if lists::global_len() != 0
        && let Some(g) = take_global(inside, p)
    {
        return Some(g);
    }
    if idle::give_to_bound(inside, m, p) {
        return None;
    }
    let now = clock::now();
    let mut out = GList::new();
    poll::collect_all_due(inside, now, &mut out);
    p.polled_at.set(now);
    poll::look(inside, now, &mut out);
    if let Some(first) = out.pop() {
        p.counters().woken.add(1);
        poll::enqueue_found(inside, p, &mut out, false);
        return Some(first);
    }
    steal::search(inside, m, p)
}

/// A fair share of the global queue: one to run, the rest into the own queue.
fn take_global(inside: &mut Inside, p: &'static P) -> Option<GRef> {
    let share = (lists::global_len() / lists::procs().max(1) + 1)
        .min(p.queue.room())
        .min(32);
    let mut lists = lists::lock(inside);
    let first = lists.pop_global()?;
    for _ in 1..share {
        match lists.pop_global() {
            Some(g) => {
                let full = p.queue.push(g);
                debug_assert!(full.is_none(), "there was room");
            }
            None => break,
        }
    }
    Some(first)
}
