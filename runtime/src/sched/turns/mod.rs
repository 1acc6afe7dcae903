//! Whose turn it is: at a visit of the loop (README, "The loop"), and when a P changes hands
//! otherwise.
//!
//! Between two visits goroutines switch to each other directly, out of `runnext`, the own queue
//! and, in turns with both, home. A visit is where the others have theirs: Ms of the bound queue,
//! the global queue, and whatever stands behind something that never ends.
//!
//! What always holds: whoever has somebody runnable comes first in one of so many turns, whatever
//! the others have and whatever is asked. So each queue, first in, first out, gets on.
//!
//! - *Urgent* turns (PROTOCOL 17), for what was woken from outside, come three in a row at most,
//!   and leave the order of the others as it is.
//! - Otherwise bound Ms and queues take turns, at visits and where a P is taken or given away.
//! - Of the four queues each comes first in each fourth visit that is theirs: nothing but a
//!   rotation of its own is safe from whoever calls in step with it. (It went by the number of the
//!   schedule; bound Ms, whose every second visit is, then kept the global queue from all of its
//!   turns.) Then, where the P was called, come those that the one who was asked has not joined: it
//!   stands at the end of the global queue. Otherwise own and global queue: what is in `runnext`,
//!   and at home, comes without a visit.

#[cfg(test)]
mod model;

use std::cell::Cell;

/// What the loop knows when it comes by.
#[derive(Clone, Copy)]
pub(super) struct Visit {
    /// The P was called. (Otherwise it is a 61st schedule.)
    pub(super) asked: bool,
    /// For what was just woken.
    pub(super) urgent: bool,
    /// Some M wants a P, and one of those that are urgent does.
    pub(super) bound: bool,
    pub(super) urgent_bound: bool,
}

impl Visit {
    /// For what is queued, and nothing else.
    pub(super) fn of_queues(asked: bool) -> Visit {
        Visit {
            asked,
            urgent: false,
            bound: false,
            urgent_bound: false,
        }
    }
}

/// Where to look for the next goroutine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// The global queue, those first that were woken.
    Woken,
    Global,
    Own,
    Next,
    Home,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// The P goes to an M of the bound queue.
    Bound,
    /// To the first of these that has anybody. If none has, as between two visits.
    Queues(&'static [Source]),
}

/// Of one P. By whoever has it: its owner, the monitor with a P that it has taken.
#[derive(Default)]
pub(super) struct Turns {
    /// Urgent turns since the last visit that was none.
    urgent: Cell<u32>,
    /// Turns that bound Ms had in a row while something was queued. Unless it is 0, the next visit
    /// is the queues'.
    bound: Cell<u32>,
    /// Counts the visits that were the queues' turn.
    queues: Cell<u32>,
}

impl Turns {
    const URGENT_IN_A_ROW: u32 = 3;

    /// At a visit. Counts it.
    pub(super) fn next(&self, visit: Visit) -> Turn {
        use Source::{Global, Home, Next, Own, Woken};
        if visit.urgent && self.urgent_goes(true) {
            return match visit.urgent_bound {
                true => Turn::Bound,
                false => Turn::Queues(&[Woken, Own]),
            };
        }
        self.urgent.set(0);
        if self.bound.replace(0) == 0 && visit.bound {
            return Turn::Bound;
        }
        self.queues.set(self.queues.get().wrapping_add(1));
        Turn::Queues(match (self.queues.get() % 4, visit.asked) {
            (0, true) => &[Global, Own, Next, Home],
            (1, true) => &[Own, Next, Home, Global],
            (2, true) => &[Home, Own, Next, Global],
            (_, true) => &[Next, Own, Home, Global],
            (0, false) => &[Global, Own],
            (1, false) => &[Own, Global],
            (2, false) => &[Home, Global, Own],
            (_, false) => &[Next, Own, Global],
        })
    }

    /// Whether the last visit was for what was woken. If it was urgent and was not, the next one
    /// is.
    pub(super) fn was_urgent(&self) -> bool {
        self.urgent.get() != 0
    }

    /// At a visit, or a theft, for something urgent: whether it is the turn of that, and, if it
    /// `counts`, that it was. (A theft for one that stands in a queue does not count: the visit
    /// that follows does.)
    pub(super) fn urgent_goes(&self, counts: bool) -> bool {
        let goes = self.urgent.get() < Turns::URGENT_IN_A_ROW;
        let more = u32::from(goes && counts);
        self.urgent.set(self.urgent.get() + more);
        goes
    }

    /// The P was given to a bound M at a visit; `queued`: something was in a queue, and has the
    /// next turn.
    pub(super) fn has_gone_to_bound(&self, queued: bool) {
        let in_a_row = if queued { self.bound.get() + 1 } else { 0 };
        self.bound.set(in_a_row);
    }

    /// The P was taken from a thread, or is given away: whether to a bound M, `at_most` so often in
    /// a row where something is queued and only when it is `due`. Otherwise the next visit is the
    /// queues' turn.
    pub(super) fn bound_goes(&self, queued: bool, due: bool, at_most: u32) -> bool {
        let goes = !queued || (due && self.bound.get() < at_most);
        if goes {
            self.has_gone_to_bound(queued);
        } else {
            self.bound.set(self.bound.get().max(1));
        }
        goes
    }
}
