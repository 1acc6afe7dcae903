//! The scheduler by itself: goroutines run, park and wake.

use super::spawn::{Spec, spawn};
use super::{Inside, WaitReason, Waiter, deferral, entry, lists, monitor, preempt};
use crate::clock::{self, NEVER};
use std::panic::Location;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

#[track_caller]
fn start(f: impl FnOnce() + Send + 'static) {
    spawn(
        f,
        Spec {
            class: None,
            name: None,
            pinned: false,
            at: Location::caller(),
        },
    )
    .expect("there is room for a stack");
}

#[test]
fn a_goroutine_runs() {
    let (tx, rx) = mpsc::channel();
    start(move || tx.send(42).expect("the test waits"));
    assert_eq!(rx.recv_timeout(Duration::from_secs(10)), Ok(42));
}

#[test]
fn a_hundred_thousand_goroutines_run_once_each() {
    let ran = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = mpsc::channel::<()>();
    for _ in 0..100_000 {
        let (ran, tx) = (ran.clone(), tx.clone());
        start(move || {
            ran.fetch_add(1, Ordering::Relaxed);
            drop(tx);
        });
    }
    drop(tx);
    assert_eq!(rx.recv(), Err(mpsc::RecvError));
    assert_eq!(ran.load(Ordering::Relaxed), 100_000);
}

#[test]
fn yielding_goroutines_take_turns_to_the_end() {
    let (tx, rx) = mpsc::channel();
    for _ in 0..100 {
        let tx = tx.clone();
        start(move || {
            for _ in 0..1_000 {
                Inside::enter().yield_now();
            }
            tx.send(()).expect("the test waits");
        });
    }
    drop(tx);
    assert_eq!(rx.iter().count(), 100);
}

#[test]
fn a_parked_goroutine_is_readied_across_threads() {
    for _ in 0..2_000 {
        let slot: Arc<Mutex<Option<Waiter>>> = Arc::new(Mutex::new(None));
        let (tx, rx) = mpsc::channel();
        let s: Arc<Mutex<Option<Waiter>>> = slot.clone();
        start(move || {
            let mut inside = Inside::enter();
            let w = inside.prepare(WaitReason::Park);
            *s.lock().expect("not poisoned") = Some(w);
            inside.park(w, NEVER);
            drop(inside);
            tx.send(()).expect("the test waits");
        });
        let w = loop {
            if let Some(w) = slot.lock().expect("not poisoned").take() {
                break w;
            }
            std::thread::yield_now();
        };
        Inside::enter().ready(w);
        Inside::enter().ready(w);
        rx.recv_timeout(Duration::from_secs(10)).expect("woken");
    }
}

#[test]
fn sleepers_wake_in_order_and_not_early() {
    let (tx, rx) = mpsc::channel();
    let begin = clock::now();
    for ms in [30u64, 10, 20, 1] {
        let tx = tx.clone();
        start(move || {
            let mut inside = Inside::enter();
            let until = clock::after(Duration::from_millis(ms));
            while clock::now() < until {
                let w = inside.prepare(WaitReason::Sleep);
                inside.park(w, until);
            }
            drop(inside);
            tx.send((ms, clock::now())).expect("the test waits");
        });
    }
    drop(tx);
    for (ms, at) in rx {
        assert!(at - begin >= ms * 1_000_000);
    }
}

#[test]
fn the_count_of_goroutines_returns_to_what_it_was() {
    let (tx, rx) = mpsc::channel::<()>();
    start(move || drop(tx));
    assert!(rx.recv().is_err());
    assert!(entry::live() < 1_000_000);
}

/// Set: this process is the child, with one P.
const CHILD: &str = "GOWEFT_TEST_ONE_P";

/// Runs the test `name` again, by itself and with one P. False: this is that child.
fn was_run_by_itself(name: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return false;
    }
    let child = Command::new(std::env::current_exe().expect("it is there"))
        .args(["--exact", &format!("sched::test::{name}")])
        .env(CHILD, "1")
        .env("GOWEFT_MAXPROCS", "1")
        .output()
        .expect("it starts");
    assert!(child.status.success(), "{child:?}");
    true
}

/// One that computes without a P holds what another waits for inside. No code of ours does that; so
/// this breaks the rule on purpose.
#[test]
fn one_that_waits_inside_for_a_thread_that_is_stopped_is_rescued() {
    if was_run_by_itself("one_that_waits_inside_for_a_thread_that_is_stopped_is_rescued") {
        return;
    }
    static GO: AtomicBool = AtomicBool::new(false);
    static HELD: AtomicBool = AtomicBool::new(true);
    start(|| {
        while !GO.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        HELD.store(false, Ordering::Release);
    });
    let (tx, rx) = mpsc::channel();
    start(move || {
        loop {
            let inside = Inside::enter();
            // Only the other one can stand there: it was stopped, and the only P is ours.
            if lists::bound_waits() {
                GO.store(true, Ordering::Release);
                while HELD.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                drop(inside);
                break;
            }
        }
        tx.send(()).expect("the test waits");
    });
    assert_eq!(
        rx.recv_timeout(Duration::from_secs(60)),
        Ok(()),
        "it was not rescued"
    );
    assert_ne!(monitor::RESCUES.load(Ordering::Relaxed), 0);
}

/// While another has the only P.
#[test]
fn one_that_computes_with_preemption_deferred_is_stopped_when_that_ends() {
    if was_run_by_itself("one_that_computes_with_preemption_deferred_is_stopped_when_that_ends") {
        return;
    }
    static DEFERS: AtomicBool = AtomicBool::new(false);
    static STOP: AtomicBool = AtomicBool::new(false);
    let (tx, rx) = mpsc::channel();
    start(move || {
        let before = deferral::defer_here();
        DEFERS.store(true, Ordering::Release);
        // Until the handler has come and has left it alone.
        while !deferral::is_put_off() {
            std::hint::spin_loop();
        }
        let deferred = preempt::PARKED.load(Ordering::Relaxed);
        deferral::allow_here(before);
        let after = preempt::PARKED.load(Ordering::Relaxed);
        tx.send((deferred, after)).expect("the test waits");
    });
    while !DEFERS.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    // It takes the P. Nobody waits for that then, so it is not stopped before the other one.
    start(|| {
        while !STOP.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let stopped = rx.recv_timeout(Duration::from_secs(60));
    STOP.store(true, Ordering::Relaxed);
    let (deferred, after) = stopped.expect("the handler did not put it off");
    assert_eq!(deferred, 0, "it was stopped all the same");
    assert_ne!(after, 0, "it was not stopped afterwards");
}
