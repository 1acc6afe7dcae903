//! Choosing one of several operations: the engine of `select!` and `Select`.
//!
//! 1. **Try** the cases in a random order; the first that is ready is chosen. A
//!    fresh random order each time makes the choice uniform among the ready.
//! 2. **Enroll**: put a record into the queue of each channel, one lock at a
//!    time. All records share one choice word. A case that has become ready
//!    since, or a claim by somebody else, ends this step.
//! 3. **Park**, until somebody chose a case or a deadline passes. (A timer that is set to an
//!    earlier time wakes the owner, and one that was set to a later time, or whose tick another one
//!    received, lets it wake too soon. Then it parks again with another deadline, and its records
//!    stay where they are.)
//! 4. **Withdraw** the records of the cases that were not chosen.
//! 5. **Finish** what was chosen; or, when the owner called the choice off
//!    (somebody became ready during 2), begin again at 1.
//!
//! No two channel locks are ever held together: the choice word decides, not
//! the locks. Whether it is too late to be chosen is one compare-and-swap:
//! the owner's abort against the partner's claim. A partner that finds the
//! choice taken drops the record from its queue and goes on to the next.

use crate::channel::flavor::{Flavor, Side, Token};
use crate::channel::wait::{Record, Verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::protocol::choice::Choice;
use crate::sched::{Inside, WaitReason, Waiter};
use std::mem::MaybeUninit;
use std::ptr;

/// One operation of a select. A case without a channel is never ready.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) channel: Option<&'a (dyn Flavor + 'a)>,
    pub(crate) side: Side,
    /// Where the value is wanted; null: it is sent, or received later.
    pub(crate) slot: *mut (),
}

impl Case<'_> {
    /// Whether this is `side` of `channel`.
    pub(crate) fn is_of(&self, channel: &dyn Flavor, side: Side) -> bool {
        self.side == side && self.channel.is_some_and(|c| ptr::addr_eq(c, channel))
    }
}

/// What a select needs for each case while it waits. Arrays of it live on the
/// caller's stack.
pub(crate) struct Place {
    record: MaybeUninit<Record>,
    order: u16,
}

impl Place {
    pub(crate) const NEW: Place = Place {
        record: MaybeUninit::uninit(),
        order: 0,
    };
}

/// A select takes at most so many cases, as Go's.
pub(crate) const MAX_CASES: usize = 65536;

/// Chooses one of `cases` and says with what. None: none was ready by
/// `deadline`.
///
/// `places` are as many as `cases`.
pub(crate) fn select(
    inside: &mut Inside,
    cases: &[Case<'_>],
    places: &mut [Place],
    deadline: Nanos,
) -> Option<(usize, Token)> {
    let mut select = Select {
        cases,
        places,
        choice: &Choice::new(),
        watch: false,
    };
    loop {
        if let Some(chosen) = select.try_all(inside) {
            return Some(chosen);
        }
        if clock::has_passed(deadline) || inside.refuses() {
            return None;
        }
        let Some(case) = select.wait(inside, deadline) else {
            continue;
        };
        if let Some(token) = select.finish(inside, case) {
            return Some((case, token));
        }
    }
}

/// As [`select`], but only says which case is ready.
pub(crate) fn ready(
    inside: &mut Inside,
    cases: &[Case<'_>],
    places: &mut [Place],
    deadline: Nanos,
) -> Option<usize> {
    let mut select = Select {
        cases,
        places,
        choice: &Choice::new(),
        watch: true,
    };
    loop {
        select.shuffle(inside);
        for n in 0..cases.len() {
            let i = select.nth(n);
            if let Some(channel) = cases[i].channel
                && channel.is_ready(inside, cases[i].side)
            {
                return Some(i);
            }
        }
        if clock::has_passed(deadline) || inside.refuses() {
            return None;
        }
        if let Some(case) = select.wait(inside, deadline)
            && select.record(case).verdict() != Verdict::Retry
        {
            return Some(case);
        }
    }
}

struct Select<'s, 'a> {
    cases: &'s [Case<'a>],
    places: &'s mut [Place],
    choice: &'s Choice,
    watch: bool,
}

impl Select<'_, '_> {
    /// A random order of the cases (Fisher and Yates).
    #[inline]
    fn shuffle(&mut self, inside: &mut Inside) {
        for n in 0..self.places.len() {
            // A number below n + 1, by multiplication instead of division.
            let k = if n == 0 {
                0
            } else {
                ((u64::from(inside.random()) * (n as u64 + 1)) >> 32) as usize
            };
            self.places[n].order = self.places[k].order;
            self.places[k].order = n as u16;
        }
    }

    #[inline]
    fn nth(&self, n: usize) -> usize {
        usize::from(self.places[n].order)
    }

    /// Step 1.
    #[inline]
    fn try_all(&mut self, inside: &mut Inside) -> Option<(usize, Token)> {
        self.shuffle(inside);
        for n in 0..self.cases.len() {
            let i = self.nth(n);
            let case = &self.cases[i];
            if let Some(channel) = case.channel
                && let Some(token) = channel.attempt(inside, case.side, case.slot)
            {
                return Some((i, token));
            }
        }
        None
    }

    #[inline]
    fn record(&self, case: usize) -> &Record {
        // SAFETY: asked for cases that `wait` has enrolled, whose records it
        // has written.
        unsafe { self.places[case].record.assume_init_ref() }
    }

    /// Steps 2 to 4: the case that was chosen, or None to begin again.
    fn wait(&mut self, inside: &mut Inside, deadline: Nanos) -> Option<usize> {
        let any = self.cases.iter().any(|case| case.channel.is_some());
        let reason = if any {
            WaitReason::Select
        } else {
            WaitReason::SelectNoCases
        };
        self.choice.reset();
        let waiter = inside.prepare(reason);
        let mut enrolled = 0;
        let mut all = true;
        while enrolled < self.cases.len() {
            let i = self.nth(enrolled);
            if let Some(channel) = self.cases[i].channel
                && !self.enroll(inside, channel, i, waiter)
            {
                all = false;
                break;
            }
            enrolled += 1;
        }
        if all {
            self.park(inside, waiter, reason, deadline);
        } else {
            inside.cancel(waiter);
            self.choice.abort();
        }
        // From here on nobody can choose any more.
        let chosen = self.choice.chosen();
        for n in 0..enrolled {
            let i = self.nth(n);
            if let Some(channel) = self.cases[i].channel
                && Some(i) != chosen
            {
                channel.withdraw(inside, self.cases[i].side, self.record(i));
            }
        }
        chosen
    }

    fn enroll(
        &mut self,
        inside: &mut Inside,
        channel: &dyn Flavor,
        i: usize,
        waiter: Waiter,
    ) -> bool {
        let case = &self.cases[i];
        let record = Record::of_case(waiter, case.slot, self.choice, i, self.watch);
        let record = self.places[i].record.write(record);
        // SAFETY: the place is borrowed for as long as the select runs, and
        // `wait` withdraws every record that it has enrolled.
        unsafe { channel.enroll(inside, case.side, record) }
    }

    /// Step 3. Returns when a case is chosen or the choice is called off.
    fn park(
        &mut self,
        inside: &mut Inside,
        mut waiter: Waiter,
        reason: WaitReason,
        deadline: Nanos,
    ) {
        loop {
            // A timer that is set to an earlier time after this wakes the waiter that it finds.
            let until = self.until(inside, deadline);
            inside.park(waiter, until);
            if self.choice.chosen().is_some() {
                return;
            }
            // Not as it was before: whose timer was set to a later time, or had its tick received
            // by another, keeps its places in all queues.
            if clock::has_passed(self.until(inside, deadline)) {
                self.choice.abort();
                return;
            }
            // A timer was set, or for no reason: wait anew.
            waiter = inside.prepare(reason);
            for (i, case) in self.cases.iter().enumerate() {
                if let Some(channel) = case.channel {
                    channel.renew(inside, case.side, self.record(i), waiter);
                }
            }
            // Whoever chose before it saw the new waiter has woken the old one.
            if self.choice.chosen().is_some() {
                inside.cancel(waiter);
                return;
            }
        }
    }

    /// When one of the cases becomes ready by itself, or `deadline` passes.
    fn until(&self, inside: &Inside, deadline: Nanos) -> Nanos {
        self.cases
            .iter()
            .filter_map(|case| case.channel)
            .map(|channel| channel.deadline(inside))
            .fold(deadline, Nanos::min)
    }

    /// Step 5. None: the partner gave up.
    fn finish(&mut self, inside: &mut Inside, case: usize) -> Option<Token> {
        let Case {
            channel,
            side,
            slot,
        } = self.cases[case];
        let channel = channel.expect("only a case with a channel is chosen");
        let record = self.record(case);
        loop {
            match record.verdict() {
                Verdict::Done if slot.is_null() => return Some(Token::Credit),
                Verdict::Done => return Some(Token::Received),
                Verdict::Closed => return Some(Token::Closed),
                Verdict::Paired => return Some(Token::Partner(record.partner())),
                Verdict::Retry => return None,
                // Somebody holds it, and will wake us with a verdict.
                Verdict::Held | Verdict::Waiting => {
                    let waiter = inside.prepare(WaitReason::Select);
                    channel.renew(inside, side, record, waiter);
                    if record.verdict().is_final() {
                        inside.cancel(waiter);
                    } else {
                        inside.park(waiter, NEVER);
                    }
                }
            }
        }
    }
}
