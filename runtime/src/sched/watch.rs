//! What the monitor sees of the busy Ps, and what it makes of it (PROTOCOL 12).
//!
//! It looks from outside: at the word and the `rt` of the M that owns the P, at that
//! thread's clock, and, when these stand still, at what the OS says it does. All
//! that it remembers of an M stands in the M ([`Watch`]), so nothing is allocated.

use super::inside::Inside;
use super::m::M;
use super::monitor::Monitor;
use super::p::P;
use super::theft::Victim;
use super::thread_state::ThreadState;
use super::{idle, lists, start, sys, wakeup};
use crate::clock::Nanos;
use crate::protocol::delay;
use crate::protocol::mword::Snapshot;
use crate::protocol::rt::Count;
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
    switches: Cell<u64>,
    rt: Cell<Count>,
    /// Looks since then that saw the same.
    stills: Cell<u32>,
    /// When the word and `rt` were first seen as they are.
    since: Cell<Nanos>,
    /// Of the goroutine that runs: when it was first seen, and the thread's clock then.
    slice_since: Cell<Nanos>,
    slice_cpu: Cell<Nanos>,
    /// It was asked to yield in this slice.
    asked: Cell<bool>,
    /// The thread's clock when it was asked, or when it was first seen inside for long.
    /// For `stolen.rs`: the clock at the last look, when the signal was sent, and
    /// how often it was not answered.
    pub(super) cpu: Cell<Nanos>,
    pub(super) requested_at: Cell<Nanos>,
    pub(super) unanswered: Cell<u32>,
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

    /// Takes a look in. True: nothing has changed since the last one.
    fn update(&self, m: &'static M, word: Snapshot, rt: Count, switches: u64, now: Nanos) -> bool {
        let same_word = self.word.get() == word.bits();
        if !same_word || self.switches.get() != switches {
            self.word.set(word.bits());
            self.switches.set(switches);
            self.slice_since.set(now);
            self.slice_cpu.set(self.clock(m));
            self.asked.set(false);
        }
        if same_word && self.rt.get() == rt {
            return true;
        }
        self.rt.set(rt);
        self.since.set(now);
        self.stills.set(0);
        false
    }
}

impl Monitor {
    /// One P. Notes what is to be stolen, and whether to look again soon.
    pub(super) fn watch(&mut self, inside: &mut Inside, p: &'static P) {
        let Some((m, word)) = p.owner() else {
            // Idle, or on its way from one M to another.
            self.look_again |= self.urgent;
            return;
        };
        let (now, watch) = (self.now, &m.watch);
        let rt = m.rt.load();
        let still = watch.update(m, word, rt, p.counters().switches.get(), now);
        if still && (!self.late || rt.is_inside()) {
            watch.stills.set(watch.stills.get() + 1);
        }
        // Beside an idle P whoever waits is served without us.
        let crowded = lists::SLEEP.idle_now() == 0;
        let own = p.has_work();
        let retires = p.index >= lists::procs();
        let waits = retires || (crowded && (own || self.unclaimed > 0));
        let over = watch.ran(now) >= start::time_slice();
        self.hurry |= waits;
        let asked = watch.asked.get();
        let urgent = crowded && self.urgent && wakeup::may_displace(p, now);
        if urgent {
            // Perhaps it gives way by itself before the next look.
            self.look_again = true;
            p.shared.urgent.store(true, Ordering::Relaxed);
        }
        if (waits && over) || urgent || retires {
            if !watch.asked.replace(true) {
                watch.cpu.set(watch.clock(m));
            }
            m.ask.store(1, Ordering::Relaxed);
            p.call_attention();
        }
        self.all_still &= still;
        if !still {
            return;
        }
        let for_how_long = now.saturating_sub(watch.since.get());
        if rt.is_inside() {
            self.inside_for_long(inside, m, for_how_long);
            return;
        }
        // Held up by a destructor, outside.
        idle::stop_searching(inside, m);
        if !waits && for_how_long < IDLE_AFTER {
            return;
        }
        let forced = waits && delay::forces();
        let computes = match self.files.look(m) {
            ThreadState::Blocked => {
                if for_how_long < BLOCKED_AFTER && !forced {
                    return;
                }
                false
            }
            ThreadState::Running => {
                // CPU time, and not the clock on the wall: what the OS gives to
                // others is not the goroutine's.
                let slice = start::time_slice();
                let by_slice = waits
                    && over
                    && watch.used(m) >= slice / 2
                    && watch.clock(m).saturating_sub(watch.cpu.get()) >= slice / HEARS_IN;
                if !(asked && (by_slice || urgent) || forced) {
                    return;
                }
                true
            }
            ThreadState::Unknown => {
                if watch.stills.get() < STILL_LOOKS {
                    self.hurry = true;
                    return;
                }
                false
            }
        };
        if waits && !own && !retires {
            self.unclaimed -= 1;
        }
        self.batch.push(Victim {
            m,
            word,
            rt,
            computes,
            for_work: waits && !retires,
            urgent: urgent && computes,
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
