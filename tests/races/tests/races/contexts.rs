//! Waits that a context ends, and contexts themselves.

use goweft::context::{CancelFunc, Context, ContextError};
use goweft::rate::{Limit, Limiter};
use goweft::select;
use goweft::signal::{self, Received, Signal};
use goweft::sync::{ErrGroup, OwnedPermit, Semaphore};
use goweft_races::{Pair, until};
use goweft_tests::sys;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A context below another, and who ends them.
struct Family {
    ctx: Context,
    cancel: Mutex<Option<CancelFunc>>,
    parent: CancelFunc,
    started: Arc<AtomicUsize>,
    stop: goweft::context::StopFunc,
    stopped: AtomicBool,
}

#[test]
fn waiting_for_a_context_against_all_its_ends() {
    let race = Pair {
        make: |dice| {
            let (above, parent) = Context::background().with_cancel();
            let (ctx, cancel) = match dice.roll(2) {
                0 => above.with_timeout(dice.moment()),
                _ => above.with_cancel(),
            };
            let started = Arc::new(AtomicUsize::new(0));
            let counter = started.clone();
            let stop = ctx.after_func(move || _ = counter.fetch_add(1, Ordering::Relaxed));
            Family {
                ctx,
                cancel: Mutex::new(Some(cancel)),
                parent,
                started,
                stop,
                stopped: AtomicBool::new(false),
            }
        },
        wait: |family: &Family, dice| match dice.roll(4) {
            0 => {
                let stopped = family.stop.stop();
                family.stopped.store(stopped, Ordering::Relaxed);
            }
            1 => _ = family.ctx.done().recv_timeout(dice.moment()),
            2 => select! { recv(family.ctx.done()) -> end => assert!(end.is_err()) },
            _ => assert!(family.ctx.done().recv().is_err()),
        },
        end: |family, dice| {
            match dice.roll(4) {
                0 => family.parent.cancel(),
                1 => drop(family.cancel.lock().unwrap().take()),
                _ => (family.cancel.lock().unwrap().as_ref().unwrap())(),
            }
            // By this, or earlier by its time.
            let err = family.ctx.err().expect("all below are done");
            let cause = family.ctx.cause().expect("it is done");
            assert_eq!(cause.downcast_ref(), Some(&err));
        },
        check: |family| {
            let stopped = family.stopped.load(Ordering::Relaxed);
            assert!(!family.stop.stop());
            let started = || family.started.load(Ordering::Relaxed);
            until(|| stopped || started() != 0);
            assert_eq!(started(), usize::from(!stopped));
        },
    };
    race.race("context");
}

struct Held {
    sem: Arc<Semaphore>,
    permit: Mutex<Option<OwnedPermit>>,
    ctx: Context,
    cancel: CancelFunc,
}

#[test]
fn a_permit_against_a_context() {
    let race = Pair {
        make: |_| {
            let sem = Arc::new(Semaphore::new(2));
            let (ctx, cancel) = Context::background().with_cancel();
            let permit = Mutex::new(Some(sem.acquire_owned(2)));
            Held {
                sem,
                permit,
                ctx,
                cancel,
            }
        },
        wait: |held: &Held, dice| {
            let n = 1 + dice.roll(2) as usize;
            match held.sem.acquire_ctx(&held.ctx, n) {
                Ok(permit) => drop(permit),
                Err(e) => assert_eq!(e, ContextError::Canceled),
            }
        },
        end: |held, dice| {
            let cancels = dice.roll(3);
            if cancels == 0 {
                held.cancel.cancel();
            }
            drop(held.permit.lock().unwrap().take());
            if cancels == 1 {
                held.cancel.cancel();
            }
        },
        check: |held| {
            assert_eq!(held.sem.available_permits(), 2);
            assert!(
                held.sem.try_acquire(2).is_some(),
                "nobody is believed to wait"
            );
        },
    };
    race.race("semaphore");
}

#[test]
fn a_turn_of_a_limiter_against_a_context() {
    let race = Pair {
        make: |dice| {
            // Whose next turn comes as the context ends, or does not come.
            let slow = dice.roll(2) == 0;
            let every = if slow { HOUR } else { dice.moment() };
            let limiter = Limiter::new(Limit::every(every), 1);
            assert!(limiter.allow());
            let (ctx, cancel) = Context::background().with_cancel();
            (limiter, slow, ctx, cancel)
        },
        wait: |(limiter, slow, ctx, _): &(Limiter, bool, Context, CancelFunc), _| {
            assert!(!(limiter.wait(ctx).is_ok() && *slow));
        },
        end: |(.., cancel), _| cancel.cancel(),
        check: |(limiter, slow, ..)| {
            // Who gave up gave its turn back.
            assert!(!slow || limiter.tokens() > -0.5, "{}", limiter.tokens());
        },
    };
    race.race("limiter");
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failure {
    First,
    Late,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Failure {}

#[test]
fn waiting_for_an_error_group_against_the_first_error() {
    let race = Pair {
        make: |_| {
            let (above, cancel) = Context::background().with_cancel();
            let (group, ctx) = ErrGroup::with_context(&above);
            group.go(move || {
                ctx.done().recv().unwrap_err();
                Err(Failure::Late)
            });
            (group, cancel, AtomicBool::new(false))
        },
        wait: |(group, _, fails): &(ErrGroup<Failure>, CancelFunc, AtomicBool), _| {
            let first = group.wait();
            let fails = fails.load(Ordering::Relaxed);
            assert_eq!(
                first,
                Err(if fails { Failure::First } else { Failure::Late })
            );
        },
        end: |(group, cancel, fails), dice| match dice.roll(2) {
            0 => cancel.cancel(),
            _ => {
                fails.store(true, Ordering::Relaxed);
                group.go(|| Err(Failure::First));
            }
        },
        check: |_| (),
    };
    race.race("error group");
}

/// A context that a signal ends too.
struct Notified {
    above: Context,
    cancel: CancelFunc,
    /// Made by the one that waits.
    stop: OnceLock<CancelFunc>,
    signalled: AtomicBool,
}

#[test]
fn waiting_for_a_signal_against_stopping_and_the_parent() {
    // One more listens as long as the process lives: a signal that comes too late does not end it.
    // (It may come after all rounds: a sender that is preempted after it has asked for its thread
    // goes on elsewhere, and the thread that it names may be without a CPU.)
    std::mem::forget(signal::notify(&[Signal::SIGUSR1]).unwrap());
    let race = Pair {
        make: |_| {
            let (above, cancel) = Context::background().with_cancel();
            Notified {
                above,
                cancel,
                stop: OnceLock::new(),
                signalled: AtomicBool::new(false),
            }
        },
        wait: |notified: &Notified, dice| {
            let (ctx, stop) = signal::notify_context(&notified.above, &[Signal::SIGUSR1]).unwrap();
            assert!(notified.stop.set(stop).is_ok());
            match dice.roll(2) {
                0 => assert!(ctx.done().recv().is_err()),
                _ => select! { recv(ctx.done()) -> end => assert!(end.is_err()) },
            }
            assert_eq!(ctx.err(), Some(ContextError::Canceled));
            let received = Received {
                signal: Signal::SIGUSR1,
            };
            let cause = ctx.cause().expect("it is done");
            // Those of others end this one too; what nothing else ended, a signal did.
            let by_signal = cause.downcast_ref() == Some(&received);
            assert!(
                by_signal || !notified.signalled.load(Ordering::Relaxed),
                "{cause}"
            );
        },
        end: |notified, dice| {
            let stop = notified.stop.get();
            match (dice.roll(4), stop) {
                (0, Some(stop)) => stop.cancel(),
                (1 | 2, Some(_)) => {
                    notified.signalled.store(true, Ordering::Relaxed);
                    let signal = Signal::SIGUSR1.as_raw();
                    sys::send_to_thread(sys::gettid(), signal).unwrap();
                }
                // Also when it has not begun to listen.
                _ => notified.cancel.cancel(),
            }
        },
        check: |_| (),
    };
    race.race_one_in(100, "signal");
}
