//! Whether a thread may be sent the signal without its spoiling a system call (PROTOCOL 12).
//!
//! A thread that is in a system call gets none. But from the look at it until the signal arrives
//! some microseconds pass, and a call that begins in them and is not restarted (docs/PREEMPTION.md
//! has the list) returns EINTR. Nor is a look enough: of a thread that was woken in such a call and
//! waits for a CPU the OS says that it runs, and some of these calls return EINTR even then. To one
//! that computes for long both happen next to never; to one that computes for 50 us between two
//! calls that block, often; and now and then to one that does for some hundreds, and was just about
//! to make its next.
//!
//! What always holds: the signal is sent only to a thread that has not gone to sleep by
//! itself since the last look, and has used [`UNBROKEN`] of CPU time since it last did.
//!
//! How it works. A thread that used all of the time between two looks never slept. Of others,
//! which may have had to share their CPU, the OS tells how often they have slept.
//!
//! (Measured, with goroutines that computed for 30 us and blocked for 100, slices of 200 us, on a
//! busy machine: 250 of 10,000 calls saw EINTR; 150 when the thread was looked at once more just
//! before the signal, which is done too; none with 500 us without a sleep. With these, of those
//! that computed for up to a millisecond: 49 of 64,000, on a machine that was slow that day; with
//! twice as much none, in turns.)

use super::m::M;
use super::sys;
use crate::clock::{self, Nanos};
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// A thread that has used less than this between two looks does not compute, in ns.
const COMPUTES: Nanos = 50_000;
/// One that computes for a shorter time between two sleeps is left alone: the signal, which
/// takes some 10 us, would meet the beginning of a call too often.
const UNBROKEN: Nanos = 1_000_000;
/// No sleep takes less than this: 50 us of slack has each that has an end, and who waits for
/// another thread is woken after some microseconds at the soonest.
const SHORTEST: Nanos = 20_000;

/// What the monitor remembers of a thread's sleeps. Its fields are the monitor's alone. All
/// zero: nothing.
pub(super) struct Pauses {
    /// The thread's clock at the last look, and when that was.
    cpu: Cell<Nanos>,
    at: Cell<Nanos>,
    /// CPU time since it last slept, at least.
    unbroken: Cell<Nanos>,
    /// How often it had slept when that was last asked, as a count that wraps.
    sleeps: Cell<u32>,
    sleeps_known: Cell<bool>,
    /// There was no look since [`begin`](Self::begin), before which it may have slept.
    begins: Cell<bool>,
    /// It has not slept between the last two looks.
    awake: Cell<bool>,
}

/// CPU time between two looks, and the time between them.
#[derive(Clone, Copy)]
struct Used {
    cpu: Nanos,
    of: Nanos,
}

impl Used {
    /// It had a CPU for itself all the time, and can't have slept.
    fn is_all(self) -> bool {
        self.of.saturating_sub(self.cpu) < SHORTEST
    }
}

impl Pauses {
    /// The thread, whose clock shows `cpu`, owns another P, or runs another goroutine. Of that
    /// nothing is known; or it is the same one, back from the handler. Sleeps of the runtime's own
    /// do not count: the handler says how many there were when it ended.
    ///
    /// `slept`: how often it had slept by then, + 1, or 0 when it was not there.
    pub(super) fn begin(&self, cpu: Nanos, slept: u32) {
        if slept == 0 {
            self.unbroken.set(0);
        }
        self.awake.set(false);
        self.cpu.set(cpu);
        self.at.set(clock::now());
        self.sleeps.set(slept.wrapping_sub(1));
        self.sleeps_known.set(slept != 0);
        self.begins.set(true);
    }

    /// Whether the thread of `m` has computed since the last look.
    pub(super) fn has_computed(&self, m: &'static M) -> bool {
        m.cpu_time()
            .is_some_and(|cpu| cpu.saturating_sub(self.cpu.get()) >= COMPUTES)
    }

    /// Looks at the thread of `m`. True: it has computed since the last look. How often it slept
    /// costs 5 us, and is asked for only of such threads.
    pub(super) fn look(&self, m: &'static M) -> bool {
        let Some(cpu) = m.cpu_time() else {
            return false;
        };
        if cpu < self.cpu.get() {
            // A new thread in the slot of one that has ended.
            self.begin(cpu, 0);
            return false;
        }
        let now = clock::now();
        let used = Used {
            cpu: cpu.saturating_sub(self.cpu.get()),
            of: now.saturating_sub(self.at.get()),
        };
        if used.cpu < COMPUTES {
            // Too little to judge by: it adds up.
            return false;
        }
        self.cpu.set(cpu);
        self.at.set(now);
        self.note(used, || sys::sleeps(m.tid.load(Ordering::Relaxed)));
        true
    }

    fn note(&self, used: Used, sleeps: impl FnOnce() -> Option<u32>) {
        let all = used.is_all();
        let begins = self.begins.take();
        let count = if all && self.sleeps_known.get() && !begins {
            None
        } else {
            sleeps()
        };
        let awake = match count {
            // Certainly, or the OS does not say.
            None => true,
            Some(now) => {
                let before = self.sleeps.replace(now);
                // At the first look there is nothing to compare with.
                if self.sleeps_known.replace(true) {
                    before == now
                } else {
                    all
                }
            }
        };
        let unbroken = self.unbroken.get().saturating_add(used.cpu);
        self.awake.set(awake);
        self.unbroken.set(if awake { unbroken } else { 0 });
    }

    /// Whether the signal may be sent now.
    pub(super) fn allow_signal(&self) -> bool {
        self.awake.get() && self.unbroken.get() >= UNBROKEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the rule stands now, 5 us.
    const UNIT: Nanos = UNBROKEN / 200;

    fn new() -> Pauses {
        // SAFETY: all zero is a valid value, as it is in the table of Ms.
        unsafe { std::mem::zeroed() }
    }

    /// A look, 200 units after the last one; since then it used so much, and by now it has slept so
    /// often.
    fn look(pauses: &Pauses, used: Nanos, sleeps: u32) -> bool {
        let used = Used {
            cpu: used,
            of: 200 * UNIT,
        };
        pauses.note(used, || Some(sleeps));
        pauses.allow_signal()
    }

    #[test]
    fn one_that_has_a_cpu_for_itself_gets_the_signal() {
        let pauses = new();
        assert!(!look(&pauses, 199 * UNIT, 7));
        assert!(look(&pauses, 199 * UNIT, 7));
    }

    #[test]
    fn one_that_sleeps_after_it_had_a_cpu_for_itself_gets_none() {
        let pauses = new();
        for _ in 0..3 {
            look(&pauses, 199 * UNIT, 7);
        }
        assert!(!look(&pauses, 100 * UNIT, 50));
        assert!(!look(&pauses, 199 * UNIT, 50));
        assert!(look(&pauses, 199 * UNIT, 50));
    }

    #[test]
    fn one_that_shares_its_cpu_and_does_not_sleep_gets_the_signal() {
        let pauses = new();
        let looks: Vec<_> = (0..6).map(|_| look(&pauses, 60 * UNIT, 7)).collect();
        // The first says nothing, and four make 240.
        assert_eq!(looks, [false, false, false, false, true, true]);
    }

    #[test]
    fn one_that_sleeps_between_two_looks_gets_none() {
        let pauses = new();
        assert!((0..10_000).all(|i| !look(&pauses, 150 * UNIT, i)));
    }

    #[test]
    fn one_that_blocked_and_computes_now_gets_the_signal_soon() {
        let pauses = new();
        (0..100).for_each(|i| _ = look(&pauses, 60 * UNIT, i));
        assert!(!look(&pauses, 198 * UNIT, 99));
        assert!(look(&pauses, 198 * UNIT, 99));
        assert!(!look(&pauses, 170 * UNIT, 100), "it slept again");
    }

    #[test]
    fn one_that_owns_another_p_is_not_judged_by_the_runtime_s_sleeps() {
        let pauses = new();
        (0..10).for_each(|_| _ = look(&pauses, 150 * UNIT, 7));
        pauses.begin(0, 9);
        assert!(look(&pauses, 150 * UNIT, 8), "they are known");
        pauses.begin(0, 9);
        assert!(
            !look(&pauses, 200 * UNIT, 9),
            "it slept before it was looked at"
        );
    }

    #[test]
    fn another_goroutine_is_not_judged_by_what_the_one_before_did() {
        let pauses = new();
        (0..10).for_each(|_| _ = look(&pauses, 199 * UNIT, 7));
        pauses.begin(0, 0);
        assert!(!look(&pauses, 199 * UNIT, 8));
        assert!(look(&pauses, 199 * UNIT, 8));
    }

    #[test]
    fn one_that_sleeps_shortly_and_seldom_is_seen_to() {
        let pauses = new();
        assert!((0..10_000).all(|i| !look(&pauses, 190 * UNIT, i)));
    }

    #[test]
    fn a_new_thread_is_not_measured_by_the_clock_of_the_one_before() {
        let pauses = new();
        // SAFETY: all zero is a valid M, and nobody else knows of this one.
        let m: &'static M = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        let tid = crate::sys::gettid();
        m.tid.store(tid, Ordering::Relaxed);
        pauses.begin(Nanos::MAX, 0);
        assert!(!pauses.look(m), "it begins");
        // By its own clock: the OS may have it wait for a CPU.
        let cpu = || sys::cpu_time(tid).expect("it runs");
        let begin = cpu();
        while cpu() - begin < COMPUTES {}
        assert!(pauses.look(m), "it has computed");
    }

    #[test]
    fn the_os_tells_how_often_a_thread_has_slept() {
        let tid = crate::sys::gettid();
        // No more than the thread itself counts. (How many these are depends: one of them may be
        // for a lock of an emulator.)
        let told = || {
            let least = sys::own_sleeps();
            let told = sys::sleeps(tid).expect("it tells");
            let range = least..=sys::own_sleeps();
            assert!(range.contains(&told), "{told} is not in {range:?}");
            told
        };
        let before = told();
        // A sleep that is over before the thread has gone is none: where the host took its CPU away.
        let slept = (0..1000)
            .inspect(|_| std::thread::sleep(std::time::Duration::from_micros(100)))
            .map(|_| told() - before)
            .find(|&slept| slept >= 10);
        assert!(slept.is_some(), "{} in a thousand", told() - before);
    }
}
