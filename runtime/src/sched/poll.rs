//! The netpoll in the scheduler: who polls, and what timers have to do with it
//! (PROTOCOL 16).
//!
//! Nobody waits in the netpoll with a P. Normally the poller is an M that has
//! nothing to do; it sleeps until the earliest timer of all heaps. A busy M
//! looks without waiting when its own queue is empty and at least every
//! [`POLL_EVERY`]; when nobody has looked for a tick, the monitor does.

use super::g::{GList, Kind};
use super::idle::Returned;
use super::inside::Inside;
use super::m::M;
use super::p::{self, P};
use super::{idle, later, lists, wakeup};
use crate::clock::{self, NEVER, Nanos};
use crate::protocol::poll_gate::PollGate;
use goweft_netpoll::Poller;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A busy M looks at the netpoll at least this often when it schedules, in ns.
pub(crate) const POLL_EVERY: Nanos = 200_000;
/// Events handled by one look.
const EVENTS: usize = 128;

static POLLER: OnceLock<Poller> = OnceLock::new();
static GATE: PollGate = PollGate::new();
static LAST_POLL: AtomicU64 = AtomicU64::new(0);

/// Makes the poller. Once, at start.
///
/// # Errors
/// What epoll says: EMFILE most often.
pub(crate) fn start() -> io::Result<()> {
    let poller = Poller::new()?;
    POLLER.get_or_init(|| poller);
    Ok(())
}

/// The poller, for descriptors to register with.
pub(crate) fn poller() -> Option<&'static Poller> {
    POLLER.get()
}

/// Whether there is one to sleep in.
pub(crate) fn exists() -> bool {
    POLLER.get().is_some()
}

/// Makes the poller look at its orders soon.
pub(crate) fn kick() {
    if let Some(poller) = POLLER.get() {
        poller.kick();
    }
}

/// A timer at `when` was published: the poller must not sleep past it.
#[inline]
pub(crate) fn timer_was_set(when: Nanos) {
    if GATE.must_kick(when) {
        kick();
    }
    wakeup::timer_was_set(when);
}

/// The earliest timer of all heaps.
pub(crate) fn earliest() -> Nanos {
    p::all()
        .map(|p| p.timers().earliest())
        .min()
        .unwrap_or(NEVER)
}

/// Whether any descriptor can have an event.
pub(crate) fn anything_registered() -> bool {
    POLLER.get().is_some_and(|p| p.registered() != 0)
}

/// When somebody last looked.
pub(crate) fn last_poll() -> Nanos {
    LAST_POLL.load(Ordering::Relaxed)
}

/// Runs what is due in the heap of `p`: into `out`, in order.
pub(crate) fn collect_due(inside: &mut Inside, p: &'static P, now: Nanos, out: &mut GList) {
    while let Some((g, ticket)) = p.timers().pop_due(inside, now) {
        if g.kind() == Kind::Later {
            later::begin_due(inside, g, ticket, now, out);
            continue;
        }
        wake(inside, super::Waiter::new(g, ticket), out);
    }
}

/// Ends a wait for a timer or a descriptor; whoever is put into a queue from `out` is counted then.
fn wake(inside: &mut Inside, waiter: super::Waiter, out: &mut GList) {
    if inside.ready_into(waiter, out) {
        match inside.p() {
            Some(p) => p.counters().woken.add(1),
            None => _ = lists::FOREIGN_WOKEN.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// Runs what is due in all heaps.
pub(crate) fn collect_all_due(inside: &mut Inside, now: Nanos, out: &mut GList) {
    for p in p::all() {
        collect_due(inside, p, now, out);
    }
}

/// What becomes readable when the netpoll has something; None when it cannot.
pub(crate) fn descriptor() -> Option<RawFd> {
    let poller = POLLER.get().filter(|p| p.registered() != 0)?;
    Some(poller.as_fd().as_raw_fd())
}

/// Looks without waiting. False: somebody else was at it.
pub(crate) fn look(inside: &mut Inside, now: Nanos, out: &mut GList) -> bool {
    let Some(poller) = POLLER.get() else {
        return true;
    };
    if poller.registered() == 0 {
        return true;
    }
    LAST_POLL.store(now, Ordering::Relaxed);
    if let Some(p) = inside.p() {
        p.counters().polls.add(1);
    }
    // An error would come again and be found by the next blocking poll.
    let polled = poller.try_poll(Some(Duration::ZERO), EVENTS, &mut |w| {
        // SAFETY: every waiter in the netpoll is one of ours, as two words.
        let waiter = unsafe { super::Waiter::from_words(w.who, w.ticket) };
        wake(inside, waiter, out);
    });
    polled.is_some()
}

/// The poller's sleep. `m` has no P and is in its place; returns when it has one.
pub(crate) fn sleep(inside: &mut Inside, m: &'static M) {
    let Some(poller) = POLLER.get() else { return };
    loop {
        let mut out = GList::new();
        let polled = poller.try_acquire().map(|mut polling| {
            // The gate belongs to whoever has the poller: one that was claimed and
            // is on its way out must not open it for its successor.
            let until = earliest();
            GATE.close(until);
            // The second look: a timer set before this would not see the gate. And
            // the successor may have taken the kick that was meant for us.
            let timeout = match earliest().min(until) {
                _ if m.next_p.load(Ordering::Acquire) != 0 || m.home.waits() => {
                    Some(Duration::ZERO)
                }
                NEVER => None,
                when => Some(Duration::from_nanos(when.saturating_sub(clock::now()))),
            };
            let polled = polling.poll(timeout, EVENTS, &mut |w| {
                // SAFETY: as in `look`.
                let waiter = unsafe { super::Waiter::from_words(w.who, w.ticket) };
                wake(inside, waiter, &mut out);
            });
            GATE.open();
            polled
        });
        let now = clock::now();
        LAST_POLL.store(now, Ordering::Relaxed);
        match polled {
            // Another thread is looking, without waiting, or is on its way out: it
            // will be done soon.
            None => std::thread::yield_now(),
            Some(Err(e)) => crate::abort::fatal(format_args!("the netpoll failed: {e}")),
            Some(Ok(_)) => {}
        }
        collect_all_due(inside, now, &mut out);
        let has_work = out.len() != 0;
        let returned = idle::poller_returns(inside, m, has_work);
        if has_work && !matches!(returned, Returned::HasP) {
            lists::FOREIGN_WOKEN.fetch_add(out.len() as u64, Ordering::Relaxed);
            lists::lock(inside).append_woken(&mut out);
            wakeup::woken_outside();
            // A P may have become idle since, after its look at that queue.
            idle::wake_for_work(inside);
        }
        match returned {
            Returned::KeepsPlace => continue,
            Returned::Queued => idle::wait_for_p(m),
            Returned::HasP => {}
        }
        if let Some(p) = inside.p() {
            p.counters().polls.add(1);
            // Who is at home here goes before all that was found.
            enqueue_found(inside, p, &mut out, !m.home.waits());
        }
        return;
    }
}

/// Puts what a poll found into the queue of `p`, in order, and wakes somebody for what is not run
/// here at once: all of it, or, if `first_is_next`, all but the first.
pub(crate) fn enqueue_found(
    inside: &mut Inside,
    p: &'static P,
    out: &mut GList,
    first_is_next: bool,
) {
    let found = out.len();
    p.counters().woken.add(found as u64);
    while let Some(g) = out.pop() {
        inside.push_local(p, g);
    }
    if found > usize::from(first_is_next) {
        idle::wake_for_work(inside);
    }
}
