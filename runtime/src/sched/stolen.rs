//! Ms that have lost or given away their P: those that compute are given an idle
//! one, or parked by signal (PROTOCOL 12).

use super::inside::Inside;
use super::lists::{self, SLEEP};
use super::m::{self, M};
use super::monitor::Monitor;
use super::thread_state::{StateFiles, ThreadState};
use super::{affinity, idle, preempt, start};
use crate::clock::Nanos;
use crate::protocol::mword::{Snapshot, State};
use std::sync::atomic::Ordering;

/// Words looked at in one tick at most, and Stolen ones among them. A tick that comes late, beside
/// thousands of threads that compute, does the work of several.
const WORDS: usize = 1024;
const STOLEN: usize = 64;
const LATE: usize = 4;
/// Requests without an answer after which an M gets no more.
const PATIENCE: u8 = 3;

/// Sends the signal to `m`, whose word is `stolen`, unless it blocks by now, or wants none. Whether
/// it did.
pub(super) fn request(files: &mut StateFiles, m: &'static M, stolen: Snapshot, now: Nanos) -> bool {
    if !preempt::is_on() || m.watch.unanswered.get() >= PATIENCE {
        return false;
    }
    // Right before the signal: what the tick has seen is some microseconds old, and a call
    // that has begun since would return EINTR.
    if files.look(m) == ThreadState::Blocked {
        return false;
    }
    m.watch.requested_at.set(now);
    preempt::request(m, stolen)
}

impl Monitor {
    /// Looks at some of the Stolen Ms, in turn.
    pub(super) fn watch_stolen(&mut self, inside: &mut Inside) {
        let count = m::count();
        let times = if self.late { LATE } else { 1 };
        let mut left = times * STOLEN;
        let mut seen = false;
        self.stolen_at_large = false;
        for _ in 0..count.min(times * WORDS) {
            self.cursor += 1;
            if self.cursor >= count {
                self.cursor = 0;
                self.stolen_in_round = [false, self.stolen_in_round[0]];
            }
            let m = m::slot(self.cursor);
            let word = m.word.load();
            if word.state() != State::Stolen {
                continue;
            }
            seen = true;
            self.watch_one_stolen(inside, m, word);
            left -= 1;
            if left == 0 {
                break;
            }
        }
        self.stolen_in_round[0] |= seen;
        self.stolen_seen = self.stolen_in_round.contains(&true);
        // There may be more, to which this tick did not come.
        self.stolen_at_large |= left == 0 || (self.stolen_seen && count > times * WORDS);
    }

    fn watch_one_stolen(&mut self, inside: &mut Inside, m: &'static M, word: Snapshot) {
        let watch = &m.watch;
        let tid = m.tid.load(Ordering::Relaxed);
        if watch.tid.replace(tid) != tid {
            // A new thread in the slot of one that has ended.
            watch.unanswered.set(0);
            watch.requested_at.set(0);
        }
        let requested = m.req.load(Ordering::Relaxed) == word.bits();
        if requested && self.now.saturating_sub(watch.requested_at.get()) < start::time_slice() {
            return;
        }
        self.stolen_at_large = true;
        if !watch.pauses.look(m) || m.rt.is_inside() || self.now < watch.spared_until.get() {
            return;
        }
        // (Where the OS does not say, the clock has.)
        if self.files.look(m) == ThreadState::Blocked {
            return;
        }
        if SLEEP.idle_now() != 0 && !idle::there_is_work() {
            return give_back(inside, m, word);
        }
        if !watch.pauses.allow_signal() {
            return;
        }
        if !requested {
            watch.unanswered.set(0);
        }
        if request(&mut self.files, m, word, self.now) && requested {
            watch.unanswered.set(watch.unanswered.get() + 1);
        }
    }
}

/// Stolen -> Owns, when a P is idle.
fn give_back(inside: &mut Inside, m: &'static M, stolen: Snapshot) {
    let Some(p) = lists::lock(inside).pop_idle() else {
        return;
    };
    // First: afterwards it may be another M's already, which has written itself there.
    p.owner
        .store(std::ptr::from_ref(m).cast_mut(), Ordering::Relaxed);
    if m.word.give_back(stolen, p.index) {
        affinity::follow(m, p);
    } else {
        idle::rest_p(inside, p);
    }
}
