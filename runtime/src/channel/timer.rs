//! Channels that deliver the time: `after`, `tick`, and those of
//! [`time::Timer`](crate::time::Timer) and [`time::Ticker`](crate::time::Ticker).
//!
//! Nothing runs when a timer is due. The channel only knows *when* the next
//! tick is; a receive that comes later takes it, and one that comes earlier
//! parks with that deadline. So a timer that nobody waits on costs its memory
//! and nothing else, and `stop` and `reset` cannot race with a tick on its way:
//! what was not received is not there any more.
//!
//! As in Go, a tick carries the time at which it was due, at most one is
//! pending, and the phase is kept: the next one after a late receive is the
//! next multiple of the period.

use super::flavor::{Flavor, Outcome, Side, Token};
use super::wait::{Queue, Record, Verdict, Woken, await_verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::lock::ShortLock;
use crate::sched::{Inside, Waiter};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// See the module.
pub(crate) struct Channel {
    state: ShortLock<State>,
}

struct State {
    /// The next tick; NEVER: none will come, it is stopped.
    when: Nanos,
    /// Between ticks; 0: there is one only.
    period: Nanos,
    /// Changes with every stop, reset and tick, and with the close: a tick can be given back only
    /// while nothing came after it, or it would come after a later one.
    epoch: u64,
    closed: bool,
    /// Parked receivers, none of which waits beyond `when`. Nobody gives them a value: they look
    /// again at the time for which they wait, and are woken to do so when it becomes earlier.
    receivers: Queue,
}

impl State {
    /// The tick that is due, if one is.
    fn take(&mut self, now: Nanos) -> Option<Nanos> {
        let due = self.when;
        if due > now || due == NEVER {
            return None;
        }
        self.when = match self.period {
            0 => NEVER,
            period => due
                .saturating_add(period.saturating_mul(1 + (now - due) / period))
                .min(NEVER - 1),
        };
        self.epoch += 1;
        Some(due)
    }

    /// The next tick comes at `when`: those who wait beyond it look again. A select stays what it
    /// is to its other channels meanwhile: nobody there must find it gone because a timer was set.
    fn expect(&mut self, when: Nanos, inside: &mut Inside, woken: &mut Woken) {
        let old = std::mem::replace(&mut self.when, when);
        let mut next = self.receivers.first().filter(|_| when < old);
        while let Some(found) = next {
            next = self.receivers.after(found);
            if found.is_plain() {
                self.receivers.remove(&found);
                woken.add(inside, found.give(Verdict::Retry));
            } else {
                woken.add(inside, found.owner());
            }
        }
    }

    /// It is closed: nobody waits any more.
    fn release(&mut self, inside: &mut Inside, woken: &mut Woken) {
        while let Some(found) = self.receivers.first() {
            self.receivers.remove(&found);
            if found.claim() {
                // To look again: a tick may be due.
                woken.add(inside, found.give(Verdict::Retry));
            }
        }
    }
}

impl Channel {
    /// Ticks at `when`, and each `period` after it if that is not 0.
    pub(crate) fn new(when: Nanos, period: Nanos) -> Channel {
        Channel {
            state: ShortLock::new(State {
                when,
                period,
                epoch: 0,
                closed: false,
                receivers: Queue::new(),
            }),
        }
    }

    /// Lets the next tick come after `delay`, or none any more, as it is when the channel is
    /// closed; with `period` as in `new`. True: one was still to come, or was due and nobody had
    /// received it.
    pub(crate) fn set(&self, delay: Option<Duration>, period: Nanos) -> bool {
        let mut inside = Inside::enter();
        let mut woken = Woken::default();
        let mut state = self.state.lock(&inside);
        let was_active = state.when != NEVER;
        let delay = delay.filter(|_| !state.closed);
        state.period = period;
        state.epoch += 1;
        // Under the lock: a tick that was received before is not later than now.
        state.expect(delay.map_or(NEVER, clock::due), &mut inside, &mut woken);
        drop(state);
        woken.wake(&mut inside);
        was_active
    }

    /// Receives the next tick into `slot`; `Done` when it has one.
    pub(crate) fn recv(
        &self,
        inside: &mut Inside,
        slot: &mut MaybeUninit<Instant>,
        deadline: Nanos,
    ) -> Outcome {
        let reason = Side::Receive.reason();
        loop {
            let mut state = self.state.lock(inside);
            // Under the lock: when it is found closed, a tick that was due before that is found
            // too.
            let now = clock::now();
            if let Some(due) = state.take(now) {
                drop(state);
                slot.write(clock::to_instant(due));
                return Outcome::Done;
            }
            if state.closed {
                return Outcome::Closed;
            }
            if deadline <= now || inside.refuses() {
                return Outcome::TimedOut;
            }
            let until = deadline.min(state.when);
            let waiter = inside.prepare(reason);
            let record = Record::single(waiter, std::ptr::null_mut());
            // SAFETY: it stays here until the verdict or the deadline, which
            // unlinks it.
            unsafe { state.receivers.push_back(&record) };
            drop(state);
            // Whatever the verdict: look again.
            let _ = await_verdict(
                inside,
                &record,
                waiter,
                reason,
                until,
                &self.state,
                |state, record| {
                    state.receivers.remove(record);
                },
            );
        }
    }

    /// Closes; true the first time. A tick that is due is still there to be received, and no other
    /// one comes.
    pub(crate) fn close(&self) -> bool {
        let mut inside = Inside::enter();
        let mut woken = Woken::default();
        let mut state = self.state.lock(&inside);
        let first = !std::mem::replace(&mut state.closed, true);
        if state.when > clock::now() {
            state.when = NEVER;
        }
        state.period = 0;
        state.epoch += 1;
        state.release(&mut inside, &mut woken);
        drop(state);
        woken.wake(&mut inside);
        first
    }

    pub(crate) fn is_closed(&self) -> bool {
        let inside = Inside::enter();
        self.state.lock(&inside).closed
    }
}

impl Flavor for Channel {
    fn attempt(&self, inside: &mut Inside, _side: Side, slot: *mut ()) -> Option<Token> {
        let mut state = self.state.lock(inside);
        // Under the lock, as in `recv`.
        let Some(when) = state.take(clock::now()) else {
            return state.closed.then_some(Token::Closed);
        };
        let epoch = state.epoch;
        drop(state);
        if slot.is_null() {
            return Some(Token::Tick { when, epoch });
        }
        // SAFETY: a slot that a select gives has room for a value, here an
        // Instant.
        unsafe { slot.cast::<Instant>().write(clock::to_instant(when)) };
        Some(Token::Received)
    }

    fn is_ready(&self, inside: &Inside, _side: Side) -> bool {
        let now = clock::now();
        let state = self.state.lock(inside);
        state.closed || state.when <= now
    }

    unsafe fn enroll(&self, inside: &mut Inside, _side: Side, record: &Record) -> bool {
        let now = clock::now();
        let mut state = self.state.lock(inside);
        if state.closed || state.when <= now {
            return false;
        }
        // SAFETY: the caller's promise.
        unsafe { state.receivers.push_back(record) };
        true
    }

    fn withdraw(&self, inside: &mut Inside, _side: Side, record: &Record) {
        self.state.lock(inside).receivers.remove(record);
    }

    fn renew(&self, inside: &mut Inside, _side: Side, record: &Record, waiter: Waiter) {
        let _state = self.state.lock(inside);
        record.renew(waiter);
    }

    unsafe fn undo(&self, inside: &mut Inside, _side: Side, token: Token) {
        let Token::Tick { when, epoch } = token else {
            return;
        };
        let mut woken = Woken::default();
        let mut state = self.state.lock(inside);
        if state.epoch == epoch && !state.closed {
            let when = state.when.min(when);
            state.expect(when, inside, &mut woken);
        }
        drop(state);
        woken.wake(inside);
    }

    fn deadline(&self, inside: &Inside) -> Nanos {
        self.state.lock(inside).when
    }
}
