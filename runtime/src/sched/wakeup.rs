//! Wake-up preemption: while every P computes, a goroutine that is woken by a timer, a
//! descriptor or a plain thread displaces one of those (PROTOCOL 17).
//!
//! 1. Whoever wakes from outside says so ([`woken_outside`]), and it shows in the queues as long as
//!    it waits; so does whoever begins a goroutine ([`begun_outside`]), which may displace
//!    something once; what timers and the netpoll wake the monitor finds itself: it sleeps until
//!    the earliest timer, and is kicked when an earlier one is set ([`timer_was_set`]).
//! 2. It asks the goroutines that have a P to give way, and looks again
//!    [`LOOK_AGAIN`] later. From one that has not moved the P is taken.
//! 3. That costs what was displaced some 20 us. So each P has a budget: 2 % of its time, and
//!    no more than 1 ms at once. Without one, whoever was woken waits for the
//!    slice's end.

use super::monitor::ALARM;
use super::{lists, monitor};
use crate::clock::{self, Nanos};
use crate::protocol::poll_gate::PollGate;
use std::cell::Cell;
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

/// A thread without a P made a goroutine runnable that waited.
pub(super) fn woken_outside() {
    if !is_seen_to() {
        notice();
    }
}

/// A thread without a P has begun a goroutine.
pub(super) fn begun_outside() {
    if !is_seen_to() && ALARM.begun() {
        monitor::kick();
    }
}

/// Whether there is an idle P for it, which does not go to a bound M first.
fn is_seen_to() -> bool {
    lists::SLEEP.idle_now() != 0 && !lists::bound_waits()
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

/// How much of a P's time may be spent on thefts for what was woken.
#[derive(Default)]
pub(super) struct Budget {
    /// In ns.
    saved: Cell<Nanos>,
    reckoned_at: Cell<Nanos>,
}

impl Budget {
    /// Whether there is enough for a theft.
    pub(super) fn allows_theft(&self, now: Nanos) -> bool {
        let earned = now.saturating_sub(self.reckoned_at.replace(now)) / SHARE;
        self.saved.set(MOST.min(self.saved.get() + earned));
        self.saved.get() >= COST
    }

    /// A theft took place.
    pub(super) fn charge(&self) {
        self.saved.set(self.saved.get().saturating_sub(COST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many thefts as there can be between `from` and `to`, each as soon as it is allowed.
    fn thefts(budget: &Budget, from: Nanos, to: Nanos) -> u64 {
        let looks = (from..to).step_by(LOOK_AGAIN as usize);
        let allowed = looks.filter(|&now| budget.allows_theft(now));
        allowed.inspect(|_| budget.charge()).count() as u64
    }

    #[test]
    fn thefts_take_a_fiftieth_of_the_time() {
        const SECOND: Nanos = 1_000_000_000;
        let budget = Budget::default();
        assert_eq!(
            thefts(&budget, 0, 10 * SECOND),
            10 * SECOND / SHARE / COST - 1
        );
    }

    #[test]
    fn a_long_rest_saves_up_a_millisecond_and_no_more() {
        const HOUR: Nanos = 3_600_000_000_000;
        let budget = Budget::default();
        for n in 1..=3 {
            let mut at_once = 0;
            while budget.allows_theft(n * HOUR) {
                budget.charge();
                at_once += 1;
            }
            assert_eq!(at_once, MOST / COST);
        }
    }
}
