//! Theft: the monitor takes Ps from threads that are outside the runtime
//! (PROTOCOL 4), and gives each to an M that can use it (PROTOCOL 6).
//!
//! All thefts of a tick share one heavy barrier. The head of `README.md`'s step 4
//! has the argument.

use super::inside::Inside;
use super::lists;
use super::m::M;
use super::p::{self, P};
use super::thread_state::StateFiles;
use super::{affinity, idle, preempt, start, stolen, threads};
use crate::clock::{self, Nanos};
use crate::protocol::barrier;
use crate::protocol::delay;
use crate::protocol::mword::Snapshot;
use crate::tell::tell;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Ps taken from threads that computed.
pub(crate) static FROM_COMPUTING: AtomicU64 = AtomicU64::new(0);
/// Ps taken from threads that blocked.
pub(crate) static FROM_BLOCKED: AtomicU64 = AtomicU64::new(0);

/// Thefts in one tick at most.
pub(super) const BATCH: usize = 64;

/// A P that is to be taken.
#[derive(Clone, Copy)]
pub(super) struct Victim {
    pub(super) m: &'static M,
    /// Its word when it was looked at; it was outside then.
    pub(super) word: Snapshot,
    /// It computes: it is parked when it has lost its P.
    pub(super) computes: bool,
    /// It may be sent the signal at once. (Others are looked at again in `stolen.rs`.)
    pub(super) signal: bool,
    /// There is work that wants the P; otherwise it becomes idle.
    pub(super) for_work: bool,
    /// Before its time, for a goroutine that was just woken.
    pub(super) early: bool,
    /// For how long its goroutine has had the P.
    pub(super) ran: Nanos,
}

/// What became of the Ps of a batch.
pub(super) struct Done {
    /// One was taken for what was just woken: one serves all of it.
    pub(super) served: bool,
    /// How many went to threads that were stopped while they computed.
    pub(super) resumed: usize,
}

/// The thefts of one tick.
pub(super) struct Batch {
    victims: [Option<Victim>; BATCH],
    len: usize,
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            victims: [None; BATCH],
            len: 0,
        }
    }

    pub(super) fn push(&mut self, victim: Victim) {
        if self.len < BATCH {
            self.victims[self.len] = Some(victim);
            self.len += 1;
        }
    }

    /// Drops all but what the work that waits and the Ms that could take a P justify: those that
    /// have run longest stay, and those whose P becomes idle. So does that of a thread that blocks
    /// where no more threads can be had: what is in its queue goes where those that are busy look
    /// too.
    pub(super) fn limit(&mut self, takers: usize) {
        let no_more = takers == 0 && threads::are_refused();
        let needs_one = |v: Victim| v.for_work && (v.computes || !no_more);
        let victims = &mut self.victims[..self.len];
        // Not stable, and so without memory of its own.
        victims.sort_unstable_by_key(|v| v.map(|v| (needs_one(v), std::cmp::Reverse(v.ran))));
        let idle = victims.iter().flatten().filter(|&&v| !needs_one(v)).count();
        self.len = self.len.min(idle + takers);
    }

    pub(super) fn any_blocks(&self) -> bool {
        self.victims[..self.len]
            .iter()
            .flatten()
            .any(|v| !v.computes)
    }

    /// Whether there are some, and all of them compute and have used up their slices.
    pub(super) fn is_by_slice(&self) -> bool {
        let mut victims = self.victims[..self.len].iter().flatten();
        !self.is_empty() && victims.all(|v| v.computes && !v.early)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Step 4. The batch is empty afterwards. `urgent`: something was just woken.
    pub(super) fn carry_out(
        &mut self,
        inside: &mut Inside,
        files: &mut StateFiles,
        now: Nanos,
        urgent: bool,
    ) -> Done {
        let mut unserved = urgent;
        let mut resumed = 0;
        let mut pending: [Option<(Victim, Snapshot)>; BATCH] = [None; BATCH];
        for (place, victim) in pending
            .iter_mut()
            .zip(self.victims[..self.len].iter().flatten())
        {
            delay::often();
            *place = victim.m.word.pend(victim.word).map(|word| (*victim, word));
        }
        self.len = 0;
        let sees_all = barrier::heavy();
        if !sees_all {
            complain();
        }
        delay::often();
        for (victim, word) in pending.into_iter().flatten() {
            let wanted = sees_all && (unserved || !victim.early);
            let robbed = if wanted && victim.m.rt.is_still_outside() {
                victim.m.word.rob(word)
            } else {
                None
            };
            let Some(stolen) = robbed else {
                // It entered; it may have called the theft off itself.
                victim.m.word.keep(word);
                continue;
            };
            let Some(p) = word.owned_p().and_then(p::get) else {
                crate::abort::fatal("a P was stolen that there is not");
            };
            p.token.take_from(victim.m);
            // It may have begun to search since the look at it.
            idle::stop_searching(inside, victim.m);
            affinity::widen(victim.m);
            if victim.computes {
                if victim.early {
                    p.budget.charge();
                }
                FROM_COMPUTING.fetch_add(1, Ordering::Relaxed);
                // First: the one who takes the P needs the CPU that this one has.
                if victim.signal {
                    stolen::request(files, victim.m, stolen, now);
                }
            } else {
                FROM_BLOCKED.fetch_add(1, Ordering::Relaxed);
            }
            resumed += usize::from(hand_over(inside, p, &mut unserved, now));
        }
        Done {
            served: urgent && !unserved,
            resumed,
        }
    }
}

#[cold]
fn complain() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tell(format_args!(
            "the system allows membarrier(2) no more, so goroutines that block or compute keep their \
             processor; put up the sandbox before the first use of goweft, or allow the call"
        ));
    });
}

/// Gives `p`, which is the monitor's, to whoever should run on it. `unserved`: what was just woken
/// waits still, and is served then, unless `p` is to stop. Whether that is a thread that was stopped
/// while it computed.
fn hand_over(inside: &mut Inside, p: &'static P, unserved: &mut bool, now: Nanos) -> bool {
    if p.index >= lists::procs() {
        idle::rest_p(inside, p);
        return false;
    }
    let mut lists = lists::lock(inside);
    lists.drain_preempted();
    let queued = lists::any_queued_for(p);
    let overdue = now.saturating_sub(lists::bound_since()) >= 2 * start::time_slice();
    // With many that compute the first is always overdue. When there are too many threads already
    // those have three turns of four.
    let in_a_row = if preempt::are_many_parked() { 3 } else { 1 };
    let urgent = std::mem::take(unserved) && p.turns.urgent_goes(lists::urgent_waits());
    let first = if urgent {
        lists::urgent_waits()
    } else {
        p.turns.bound_goes(queued, overdue, in_a_row)
    };
    let wake = if first || !queued {
        idle::claim_bound_for(&mut lists, p)
    } else {
        None
    };
    let wake = match wake {
        None if queued => idle::claim_rested(&mut lists, p, false)
            .or_else(|| idle::claim_bound_for(&mut lists, p)),
        wake => wake,
    };
    // What was set before was for the one who lost it.
    p.shared.urgent.store(urgent && !first, Ordering::Relaxed);
    // It is decided here whose turn it is: the queues have it in the loop. (What else
    // called it, a resize for example, calls again at the next tick.)
    p.shared.attention.store(!first, Ordering::Release);
    drop(lists);
    delay::here();
    let Some(wake) = wake else {
        idle::rest_p(inside, p);
        return false;
    };
    let resumed = wake.stopped();
    if let Some(m) = resumed {
        // It begins a slice when it owns the P.
        m.watch.nth.set(p.slice().wrapping_add(1));
        m.watch.runs_since.set(clock::now());
    }
    idle::deliver(wake);
    resumed.is_some()
}

/// How many Ms rest. They could take a P now, and so could those in the bound queue, where
/// those that their handler has parked stand afterwards.
pub(super) fn rested(inside: &Inside) -> usize {
    let mut lists = lists::lock(inside);
    lists.drain_preempted();
    lists.resting()
}
