//! Destructors of other code that run on a thread of goweft while it steals, because
//! crossbeam runs them there: they may do what they like, and hold nobody up.

use goweft::{channel, runtime, spawn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const WATCHDOG: Duration = Duration::from_secs(60);

fn is_a_machine() -> bool {
    let thread = std::thread::current();
    thread
        .name()
        .is_some_and(|name| name.starts_with("goweft-"))
}

/// The thread that steals counts as the one that looks for work. It must not be believed
/// to while it waits for what only other work brings.
#[test]
fn one_that_waits_for_a_goroutine_keeps_no_work_waiting() {
    runtime::set_maxprocs(2);
    let (tx, rx) = channel::bounded::<()>(0);
    let waits = Arc::new(AtomicBool::new(false));
    let deadline = Instant::now() + WATCHDOG;
    while !waits.load(Ordering::SeqCst) {
        assert!(
            Instant::now() < deadline,
            "no destructor ran in a thief's hands"
        );
        let (first, tx) = (waits.clone(), tx.clone());
        let guard = crossbeam_epoch::pin();
        guard.defer(move || {
            if is_a_machine() && !first.swap(true, Ordering::SeqCst) {
                tx.send(()).unwrap();
            }
        });
        guard.flush();
        drop(guard);
        // Something to steal.
        let (begun, all) = mpsc::channel::<()>();
        spawn(move || {
            for _ in 0..20 {
                let begun = begun.clone();
                spawn(move || {
                    std::hint::black_box((0..20_000).fold(0u64, |a, b| a ^ b));
                    drop(begun);
                });
            }
        });
        while !waits.load(Ordering::SeqCst) && all.try_recv() == Err(mpsc::TryRecvError::Empty) {
            assert!(Instant::now() < deadline, "goroutines never end");
            std::thread::yield_now();
        }
    }
    // By now everybody else may rest.
    while runtime::metrics().idle_procs < 2 {
        assert!(Instant::now() < deadline, "they never rest");
        std::thread::yield_now();
    }
    let receiver = spawn(move || rx.recv());
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || done.send(receiver.join().unwrap()));
    let received = is_done.recv_timeout(WATCHDOG).expect("it gets its turn");
    assert_eq!(received, Ok(()));
}
