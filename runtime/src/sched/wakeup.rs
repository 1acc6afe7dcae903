//! Wake-up preemption: while every P computes, a goroutine that is woken by a timer, a
//! descriptor or a plain thread displaces one of those (PROTOCOL 17).
//!
//! 1. Whoever wakes from outside says so ([`woken_outside`]); what timers and the netpoll
//!    wake the monitor finds itself: it sleeps until the earliest timer, and is
//!    kicked when an earlier one is set ([`timer_was_set`]).
//! 2. It asks the goroutines that have a P to give way, and looks again
//!    [`LOOK_AGAIN`] later. From one that has not moved the P is taken.
//! 3. That costs what was displaced some 20 us. So each P has a budget: 2 % of its time, and
//!    no more than 1 ms at once. Without one, whoever was woken waits for the
//!    slice's end.

use super::p::P;
use super::{lists, monitor};
use crate::clock::Nanos;
use crate::protocol::poll_gate::PollGate;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// From the asking to the theft, in ns.
pub(super) const LOOK_AGAIN: Nanos = 100_000;
/// What one theft costs, the share of a P's time that may be spent so, and how much
/// can be saved up, in ns.
const COST: Nanos = 20_000;
const SHARE: Nanos = 50;
const MOST: Nanos = 1_000_000;

/// Until when the monitor sleeps, while it alone watches the timers.
static GATE: PollGate = PollGate::new();
/// Somebody woke a goroutine from outside.
static WOKEN: AtomicBool = AtomicBool::new(false);
/// The monitor sleeps for long, and wants to be told of that.
static TELL: AtomicBool = AtomicBool::new(false);

/// A thread without a P made a goroutine runnable.
pub(super) fn woken_outside() {
    // An idle P may go to a bound M first.
    if lists::SLEEP.idle_now() != 0 && !lists::bound_waits() {
        return;
    }
    WOKEN.store(true, Ordering::Relaxed);
    notice();
}

/// By the monitor, behind its gate: whether something came since it last looked that
/// saw the gate open.
pub(super) fn came_meanwhile() -> bool {
    WOKEN.load(Ordering::Relaxed)
}

/// Something was queued that the monitor has to see.
pub(super) fn notice() {
    // Pairs with the fence in `close_gate`: either we see that it wants to be told,
    // or its second look sees what we published.
    fence(Ordering::SeqCst);
    if TELL.load(Ordering::Relaxed) && TELL.swap(false, Ordering::Relaxed) {
        monitor::kick();
    }
}

/// By the monitor: whether that happened since it last asked.
pub(super) fn take() -> bool {
    WOKEN.load(Ordering::Relaxed) && WOKEN.swap(false, Ordering::Relaxed)
}

/// A timer was published, and the fence of the first gate is behind us.
#[inline]
pub(super) fn timer_was_set(when: Nanos) {
    if GATE.is_late(when) {
        monitor::kick();
    }
}

/// By the monitor, about to sleep until `until`: when to wake at the latest.
pub(super) fn close_gate(until: Nanos) -> Nanos {
    TELL.store(true, Ordering::Relaxed);
    GATE.close(until);
    super::poll::earliest()
}

/// By the monitor, awake.
pub(super) fn open_gate() {
    GATE.open();
    TELL.store(false, Ordering::Relaxed);
}

/// By the monitor: whether the budget of `p` allows a theft.
pub(super) fn may_displace(p: &'static P, now: Nanos) -> bool {
    let (saved, at) = p.budget.get();
    let saved = MOST.min(saved + now.saturating_sub(at) / SHARE);
    p.budget.set((saved, now));
    saved >= COST
}

/// By the monitor: a theft took place.
pub(super) fn charge(p: &'static P) {
    let (saved, at) = p.budget.get();
    p.budget.set((saved.saturating_sub(COST), at));
}
