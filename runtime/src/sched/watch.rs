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
use super::{idle, lists, start, sys, wakeup};
use crate::clock::Nanos;
use crate::protocol::delay;
use crate::protocol::mword::Snapshot;
use crate::protocol::rt::Look;
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// A thread that has been in one system call for so long blocks, when work waits.
const BLOCKED_AFTER: Nanos = 900_000;
/// So when none does.
const IDLE_AFTER: Nanos = 9_000_000;
/// A thread inside spins for so long only if what it waits for is parked: one that the
/// OS keeps from running, on a machine that is too small, comes back sooner.
const STUCK_AFTER: Nanos = 100_000_000;
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
    switches: Cell<u64>,
    inside: Cell<bool>,
    /// Looks since then that saw the same.
    stills: Cell<u32>,
    /// When the first of those looks that saw it blocked, without one between that did not; 0: none.
    blocked_since: Cell<Nanos>,
    /// Since when it is where it is, in or out, and owns what it owns.
    since: Cell<Nanos>,
    /// Of the goroutine that runs: when it was first seen, and the thread's clock then.
    slice_since: Cell<Nanos>,
    slice_cpu: Cell<Nanos>,
    /// It was asked to yield in this slice.
    asked: Cell<bool>,
    /// The thread's clock when it was asked, or when it was first seen inside for long.
    cpu: Cell<Nanos>,
    pub(super) pauses: Pauses,
    /// For `stolen.rs`: whose thread this is about, when the signal was sent, and how often it was
    /// not answered.
    pub(super) tid: Cell<i32>,
    pub(super) requested_at: Cell<Nanos>,
    pub(super) unanswered: Cell<u32>,
    /// Until when it is sent none, because it was released by a rescue.
    pub(super) spared_until: Cell<Nanos>,
}

impl Watch {
    /// The CPU time of the thread of `m`; 0 when it is gone.
    fn clock(&self, m: &'static M) -> Nanos {
        sys::cpu_time(m.tid.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The CPU time of the thread of `m` since the slice began.
    fn used(&self, m: &'static M) -> Nanos {
        self.clock(m).saturating_sub(self.slice_cpu.get())
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
    fn update(&self, m: &'static M, word: Snapshot, look: Look, switches: u64, now: Nanos) -> bool {
        let same_word = self.word.get() == word.bits();
        if !same_word {
            self.word.set(word.bits());
            self.owns_since.set(now);
        }
        if !same_word || self.switches.get() != switches {
            self.switches.set(switches);
            self.slice_since.set(now);
            let cpu = self.clock(m);
            self.slice_cpu.set(cpu);
            self.asked.set(false);
            self.pauses.begin(cpu, m.slept.swap(0, Ordering::Relaxed));
        }
        let same_place = self.inside.replace(look.inside) == look.inside;
        if same_word && same_place && !look.called {
            return true;
        }
        self.since.set(now);
        self.stills.set(0);
        self.blocked_since.set(0);
        false
    }
}

impl Monitor {
    /// One P. Notes what is to be stolen, and whether to look again soon.
    pub(super) fn watch(&mut self, inside: &mut Inside, p: &'static P) {
        let Some((m, word)) = p.owner() else {
            // Idle, or on its way from one M to another.
            self.look_again |= self.urgent && p.index < lists::procs();
            return;
        };
        let (now, watch) = (self.now, &m.watch);
        let look = m.rt.look();
        let still = watch.update(m, word, look, p.counters().switches.get(), now);
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
        let urgent = crowded && self.urgent;
        let may_displace = urgent && wakeup::may_displace(p, now);
        if may_displace {
            p.shared.urgent.store(true, Ordering::Relaxed);
        }
        // Perhaps it gives way by itself before the next look, or is seen to block.
        self.look_again |= may_displace || (urgent && !still);
        if ((waits || at_home) && over) || may_displace || retires {
            if !watch.asked.replace(true) {
                watch.cpu.set(watch.clock(m));
            }
            m.rt.ask();
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
        self.all_still &= still;
        if !still {
            return;
        }
        let for_how_long = now.saturating_sub(watch.since.get());
        if look.inside {
            self.inside_for_long(inside, m, for_how_long);
            return;
        }
        // Held up by a destructor, outside.
        idle::stop_searching(inside, m);
        if !waits && for_how_long < IDLE_AFTER {
            watch.blocked_since.set(0);
            return;
        }
        let forced = waits && delay::forces();
        let mut signal = false;
        let state = match self.files.look(m) {
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
                    return;
                }
                (false, early && urgent)
            }
            ThreadState::Running => {
                // CPU time, and not the clock on the wall: what the OS gives to
                // others is not the goroutine's.
                signal = watch.pauses.look(m) && watch.pauses.allow_signal();
                let by_slice = waits
                    && over
                    && watch.used(m) >= self.slice / 2
                    && watch.clock(m).saturating_sub(watch.cpu.get()) >= self.slice / HEARS_IN;
                if !(asked && (by_slice || may_displace) || forced) {
                    return;
                }
                (true, !by_slice && !forced)
            }
            ThreadState::Unknown => {
                if watch.stills.get() < STILL_LOOKS {
                    self.hurry = true;
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

    /// PROTOCOL 13. A thread that waits inside for a parked one spins, and uses CPU
    /// time: one that the OS keeps waiting does not.
    fn inside_for_long(&mut self, inside: &Inside, m: &'static M, for_how_long: Nanos) {
        let Some(cpu) = sys::cpu_time(m.tid.load(Ordering::Relaxed)) else {
            return;
        };
        if m.watch.stills.get() <= 1 {
            m.watch.cpu.set(cpu);
        }
        let used = cpu.saturating_sub(m.watch.cpu.get());
        if for_how_long >= start::time_slice().max(STUCK_AFTER) && used >= for_how_long / 2 {
            self.rescue(inside);
        }
    }
}
