//! What the monitor sees of the busy Ps, and what it makes of it (PROTOCOL 12).
//!
//! It looks from outside: at the word and the `rt` of the M that owns the P, at that
//! thread's clock, and, when these stand still, at what the OS says it does. All
//! that it remembers of an M stands in the M ([`Watch`]), so nothing is allocated.

use super::inside::Inside;
use super::m::M;
use super::monitor::Monitor;
use super::p::P;
use super::pauses::Pauses;
use super::theft::Victim;
use super::thread_state::ThreadState;
use super::{idle, lists, start, wakeup};
use crate::clock::Nanos;
use crate::protocol::barrier;
use crate::protocol::delay;
use crate::protocol::mword::Snapshot;
use crate::protocol::rt::Look;
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// A thread that has been in one system call for so long blocks, when work waits.
const BLOCKED_AFTER: Nanos = 900_000;
/// So when none does.
const IDLE_AFTER: Nanos = 9_000_000;
/// A thread inside spins for so long, by its own clock, only if what it waits for is parked: one
/// that the OS keeps from running, on a machine that is too small, comes back sooner.
const STUCK_AFTER: Nanos = 100_000_000;
/// And as often as this once more.
const STUCK_TIMES: u8 = 4;
/// One that was asked and calls the runtime now and then does so within this part of a
/// slice: of its own time, which the OS may give it late.
const HEARS_IN: Nanos = 20;
/// Looks without a change that count as blocking where the OS does not say.
const STILL_LOOKS: u32 = 5;

/// What the monitor remembers of an M. Its fields are the monitor's alone.
pub(crate) struct Watch {
    word: Cell<u64>,
    /// When the word was first seen.
    owns_since: Cell<Nanos>,
    /// Which slice it was; or is to be, since the monitor gave it the P.
    pub(super) nth: Cell<u64>,
    inside: Cell<bool>,
    /// Looks since then that saw the same.
    stills: Cell<u32>,
    /// When the first of those looks that saw it blocked, without one between that did not; 0:
    /// none.
    blocked_since: Cell<Nanos>,
    /// Since when it is where it is, in or out, and owns what it owns.
    since: Cell<Nanos>,
    /// Of the goroutine that runs: when it was first seen, and the thread's clock then. (Of one that
    /// goes on and makes calls: since when it runs, and the clock when that was seen.)
    slice_since: Cell<Nanos>,
    slice_cpu: Cell<Nanos>,
    /// Since when it runs: it was first seen then, or given the P by the monitor, to go on.
    pub(super) runs_since: Cell<Nanos>,
    /// It was asked to yield in this slice.
    asked: Cell<bool>,
    /// The thread was stopped while it computed, and the monitor gave it the P for this slice.
    resumed: Cell<bool>,
    /// The thread's clock when it was asked, or when it was first seen inside for long.
    cpu: Cell<Nanos>,
    /// How often it has used much of it inside.
    spun: Cell<u8>,
    pub(super) pauses: Pauses,
    /// For `stolen.rs`: whose thread this is about, when the signal was sent, and how often it was
    /// not answered.
    pub(super) tid: Cell<i32>,
    pub(super) requested_at: Cell<Nanos>,
    pub(super) unanswered: Cell<u8>,
    /// Until when it is sent none, because it was released by a rescue.
    pub(super) spared_until: Cell<Nanos>,
}

impl Watch {
    /// It has not called the runtime in this slice.
    fn is_deaf(&self) -> bool {
        self.since.get() == self.slice_since.get()
    }

    /// For how long the goroutine has had the P.
    fn ran(&self, now: Nanos) -> Nanos {
        now.saturating_sub(self.slice_since.get())
    }

    /// For how long the OS has said in every look that it blocks; the last one said `state`.
    fn blocked_for(&self, state: ThreadState, now: Nanos) -> Nanos {
        if state != ThreadState::Blocked {
            self.blocked_since.set(0);
            return 0;
        }
        if self.blocked_since.get() == 0 {
            self.blocked_since.set(now);
        }
        now - self.blocked_since.get()
    }

    /// Takes a look in. True: nothing has changed since the last one.
    fn update(&self, m: &'static M, word: Snapshot, look: Look, nth: u64, now: Nanos) -> bool {
        let same_word = self.word.get() == word.bits();
        if !same_word {
            self.word.set(word.bits());
            self.owns_since.set(now);
        }
        // Goroutines that began and ended in between need not have taken the note off.
        let same_nth = self.nth.replace(nth) == nth;
        let same_slice = same_nth && same_word;
        if !same_slice {
            let cpu = clock_of(m);
            self.slice_cpu.set(cpu);
            self.asked.set(false);
            let slept = m.slept.swap(0, Ordering::Relaxed);
            let resumed = slept != 0 && same_nth;
            self.resumed.set(resumed);
            if !resumed {
                self.runs_since.set(now);
            }
            // One that only computes begins where it is first seen to.
            let calls = resumed && look.called;
            self.slice_since
                .set(if calls { self.runs_since.get() } else { now });
            self.pauses.begin(cpu, slept);
        }
        let same_place = self.inside.replace(look.inside) == look.inside;
        if same_slice && same_place && !look.called {
            return true;
        }
        self.since.set(now);
        self.stills.set(0);
        self.blocked_since.set(0);
        false
    }
}

/// The CPU time of the thread of `m`; 0 when it is gone.
fn clock_of(m: &M) -> Nanos {
    m.cpu_time().unwrap_or(0)
}

impl Monitor {
    /// One P. Notes what is to be stolen, and whether to look again soon.
    pub(super) fn watch(&mut self, inside: &mut Inside, p: &'static P) {
        let Some((m, word)) = p.owner() else {
            // Idle, or on its way from one M to another.
            if lists::SLEEP.idle_now() == 0 && p.index < lists::procs() {
                self.look_again |= self.is_urgent();
                self.look_by = 0;
                self.on_its_way = true;
            }
            return;
        };
        let (now, watch) = (self.now, &m.watch);
        let look = m.rt.look();
        let nth = p.slice();
        let still = watch.update(m, word, look, nth, now);
        if still && (!self.late || look.inside) {
            watch.stills.set(watch.stills.get() + 1);
        }
        // Beside an idle P whoever waits is served without us, if there is an M for it.
        let crowded = lists::SLEEP.idle_now() == 0 || self.nobody_rests;
        let own = p.has_work();
        // Who lives on this M is not served by taking its P.
        let at_home = m.home.waits();
        let retires = p.index >= lists::procs();
        let waits = retires || (crowded && (own || self.unclaimed > 0));
        let over = watch.ran(now) >= self.slice;
        self.hurry |= waits || at_home;
        let asked = watch.asked.get();
        // After the look at the slice: so it is not about whoever has this slice.
        let since = watch.slice_since.get();
        let runs_since = watch.runs_since.get();
        let urgent = crowded && (self.is_urgent() || self.gives_way_to_new(runs_since));
        self.urgent |= urgent;
        if crowded && self.will_give_way_to_new(runs_since) {
            self.look_by = 0;
        }
        let may_displace = urgent && p.budget.allows_theft(now);
        if may_displace {
            p.shared.urgent.store(true, Ordering::Relaxed);
        }
        // Where no M rests the P would go to another goroutine that computes.
        let may_rob = may_displace && (!self.nobody_rests || lists::urgent_waits());
        // Perhaps it gives way by itself before the next look, or is seen to block.
        self.look_again |= may_rob || (urgent && !still);
        if ((waits || at_home) && over) || may_displace || retires {
            if !watch.asked.replace(true) {
                watch.cpu.set(clock_of(m));
            }
            m.rt.ask(nth);
            p.call_attention();
        }
        // Goroutines that give way before their slice is over are not asked; 61 of them may
        // take half a second. So the Ms that wait for a P go by age too, in turns.
        let slice = start::time_slice();
        let had_it = now.saturating_sub(watch.owns_since.get());
        let overdue = now.saturating_sub(lists::bound_since()) >= 2 * slice;
        if crowded && overdue && had_it >= slice {
            p.call_attention();
        }
        if waits || at_home {
            let ends = since + self.slice;
            // Who was asked is seen to at the next tick.
            self.look_by = self.look_by.min(if watch.asked.get() { 0 } else { ends });
            self.last_end = self.last_end.max(ends);
            self.waited_for += 1;
        }
        // That one which computes goes on is no news; what another does is to be seen soon.
        let goes_on = since == now
            && self.rotated
            && watch.resumed.get()
            && !look.called
            && self.files.look(m) != ThreadState::Blocked;
        self.all_still &= still || goes_on;
        if !still {
            return;
        }
        if look.inside {
            self.inside_for_long(inside, m);
            return;
        }
        // Held up by a destructor, outside.
        idle::stop_searching(inside, m);
        let for_how_long = now.saturating_sub(watch.since.get());
        if !waits && for_how_long < IDLE_AFTER {
            watch.blocked_since.set(0);
            return;
        }
        let forced = waits && delay::forces();
        let mut signal = false;
        let seen = self.files.look(m);
        let state = match seen {
            // A clock that runs tells enough. (One that stands still does not.)
            ThreadState::Unknown if watch.pauses.has_computed(m) => ThreadState::Running,
            state => state,
        };
        if self.begin_anew {
            watch.blocked_since.set(0);
        }
        let blocked_for = watch.blocked_for(state, now);
        let (computes, early) = match state {
            ThreadState::Blocked => {
                let early = for_how_long < BLOCKED_AFTER;
                // Who blocks loses nothing with its P. But one look is not enough: a thread that
                // waited for a CPU for long may be in a short wait of the kernel's just now, or
                // about to run again where the whole process was stopped.
                if !(urgent || forced) && (early || blocked_for < wakeup::LOOK_AGAIN / 2) {
                    self.look_again |= !early;
                    self.look_by = 0;
                    return;
                }
                (false, early && urgent)
            }
            ThreadState::Running => {
                // CPU time, and not the clock on the wall: what the OS gives to
                // others is not the goroutine's.
                let by_slice = waits && over && {
                    let cpu = clock_of(m);
                    let in_slice = cpu.saturating_sub(watch.slice_cpu.get());
                    let since_asked = cpu.saturating_sub(watch.cpu.get());
                    let may_hear = since_asked < self.slice / HEARS_IN;
                    in_slice >= self.slice / 2
                        && ((asked && !may_hear)
                            || (watch.is_deaf() && seen != ThreadState::Unknown))
                };
                // Twice at least before a theft: it tells what was between. (And where the OS does
                // not say, each time: the clock since the last look does.)
                let counts = watch.stills.get() == 1
                    || watch.asked.get()
                    || forced
                    || seen == ThreadState::Unknown;
                signal = counts && watch.pauses.look(m) && watch.pauses.allow_signal();
                if !(by_slice || (asked && may_rob) || forced) {
                    return;
                }
                (true, !by_slice && !forced)
            }
            ThreadState::Unknown => {
                if watch.stills.get() < STILL_LOOKS {
                    self.hurry = true;
                    self.look_by = 0;
                    return;
                }
                (false, false)
            }
        };
        if waits && !own && !retires {
            self.unclaimed -= 1;
        }
        self.batch.push(Victim {
            m,
            word,
            computes,
            for_work: (waits || urgent) && !retires,
            early,
            signal,
            ran: watch.ran(now),
        });
    }

    /// PROTOCOL 13. A thread that waits inside for a parked one spins, and uses CPU time: one that
    /// the OS keeps waiting does not. On a virtual machine that is true of all but the present
    /// moment: the clock of a thread whose CPU the host has just taken away goes on, until that CPU
    /// is back. So there are some such times, and between them a barrier that all CPUs have to run
    /// for.
    fn inside_for_long(&mut self, inside: &Inside, m: &'static M) {
        let watch = &m.watch;
        let Some(cpu) = m.cpu_time() else {
            return;
        };
        if watch.stills.get() <= 1 {
            watch.cpu.set(cpu);
            watch.spun.set(0);
        }
        let used = cpu.saturating_sub(watch.cpu.get());
        if used < start::time_slice().max(STUCK_AFTER) {
            return;
        }
        if watch.spun.get() < STUCK_TIMES {
            watch.spun.set(watch.spun.get() + 1);
            let _ = barrier::heavy();
            watch.cpu.set(m.cpu_time().unwrap_or(cpu));
        } else {
            self.rescue(inside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An M that was stopped, and given a P at 3, for its seventh slice; at 5 the monitor looks at
    /// it for the first time, and it runs its `nth`.
    fn resumed(nth: u64, called: bool) -> &'static Watch {
        // SAFETY: all zero is a valid M, and nobody else knows of this one.
        let m: &'static M = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        m.tid.store(crate::sys::gettid(), Ordering::Relaxed);
        m.slept.store(1, Ordering::Relaxed);
        m.watch.word.set(!m.word.load().bits());
        m.watch.nth.set(7);
        m.watch.runs_since.set(3);
        let look = |called, now| {
            let inside = false;
            let look = Look { inside, called };
            m.watch.update(m, m.word.load(), look, nth, now)
        };
        assert!(!look(called, 5), "it is new");
        assert!(look(false, 6), "it stands still");
        &m.watch
    }

    #[test]
    fn one_that_goes_on_begins_its_slice_where_it_is_seen() {
        let watch = resumed(7, false);
        assert!(watch.resumed.get() && watch.is_deaf());
        assert_eq!((watch.runs_since.get(), watch.ran(6)), (3, 1));
    }

    #[test]
    fn one_that_goes_on_and_calls_has_begun_it_where_it_was_given_its_p() {
        let watch = resumed(7, true);
        assert!(watch.resumed.get() && !watch.is_deaf());
        assert_eq!((watch.runs_since.get(), watch.ran(6)), (3, 3));
    }

    #[test]
    fn another_goroutine_does_not_go_on_where_that_thread_was_stopped() {
        let watch = resumed(8, false);
        assert!(!watch.resumed.get());
        assert_eq!((watch.runs_since.get(), watch.ran(6)), (5, 1));
    }
}
