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

use super::monitor::ALARM;
use super::p::P;
use super::{lists, monitor};
use crate::clock::{self, Nanos};
use crate::protocol::poll_gate::PollGate;
use std::sync::atomic::{AtomicBool, Ordering};

/// From the asking to the theft, in ns.
pub(super) const LOOK_AGAIN: Nanos = 100_000;
/// What one theft costs, the share of a P's time that may be spent so, and how much
/// can be saved up, in ns.
const COST: Nanos = 20_000;
const SHARE: Nanos = 50;
const MOST: Nanos = 1_000_000;

/// Until when the monitor sleeps, while it alone watches the timers.
static GATE: PollGate = PollGate::new();
/// The monitor sleeps for long although a P is idle.
static NAPS_BESIDE_IDLE: AtomicBool = AtomicBool::new(false);

/// A thread without a P made a goroutine runnable.
pub(super) fn woken_outside() {
    // An idle P may go to a bound M first.
    if lists::SLEEP.idle_now() != 0 && !lists::bound_waits() {
        return;
    }
    if ALARM.woken() {
        monitor::kick();
    }
}

/// Something was queued that the monitor has to see.
pub(super) fn notice() {
    if ALARM.queued() {
        monitor::kick();
    }
}

/// Whether the monitor naps for long beside an idle P, which a goroutine in `runnext` may wait for
/// if its waker goes on without a call. A hint.
#[inline]
pub(super) fn may_keep_waiting() -> bool {
    NAPS_BESIDE_IDLE.load(Ordering::Relaxed)
}

/// Has it look at the `runnext`s at its usual pace.
#[cold]
#[inline(never)]
pub(super) fn watch_runnext() {
    if NAPS_BESIDE_IDLE.swap(false, Ordering::Relaxed) {
        monitor::kick();
    }
}

/// By the monitor, about to sleep for long beside an idle P, or awake again.
pub(super) fn set_naps_beside_idle(naps: bool) {
    NAPS_BESIDE_IDLE.store(naps, Ordering::Relaxed);
}

/// A timer was published, and the fence of the first gate is behind us.
#[inline]
pub(super) fn timer_was_set(when: Nanos) {
    if GATE.is_late(when) {
        monitor::kick();
    }
}

/// By the monitor, about to sleep until `until`, or earlier if something was queued since
/// its tick began: when to wake at the latest.
pub(super) fn listen(until: Nanos) -> Nanos {
    if ALARM.listen() {
        until
    } else {
        until.min(clock::now() + LOOK_AGAIN)
    }
}

/// As [`listen`], where nobody else watches the timers.
pub(super) fn close_gate(until: Nanos) -> Nanos {
    let soon = listen(until);
    GATE.close(until);
    soon.min(super::poll::earliest())
}

/// By the monitor, awake.
pub(super) fn open_gate() {
    GATE.open();
    ALARM.stop_listening();
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
