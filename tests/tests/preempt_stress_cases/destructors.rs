//! Destructors of others that run on the runtime's threads: crossbeam's epoch collects where
//! somebody pins it, and stealing does (S15).
//!
//! They are deferred by plain threads: in a goroutine one that parks would hold the guard of a
//! thread over a park, which is not allowed.

use crate::{Stress, compute, random};
use crossbeam_epoch as epoch;
use goweft::{channel, spawn, task};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// They send, for which they have to wait: where a goroutine steals, too.
#[test]
fn destructors_that_an_epoch_collects_may_wait_for_goroutines() {
    if goweft_tests::scenario::everybody_is_pinned() {
        // The receiver may live on the thread on which a destructor waits for it.
        return;
    }
    Stress::on(&[2, 4], "epoch", |stress| {
        let (tx, rx) = channel::bounded::<()>(2);
        // Sends begun by destructors, and received. What an idle thread keeps of its garbage
        // is not collected, so the channel does not end, and the receiver stays.
        let (begun, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let on_machines = Arc::new(AtomicU64::new(0));
        let counted = received.clone();
        spawn(move || {
            for () in rx {
                counted.fetch_add(1, Ordering::SeqCst);
                compute(5);
            }
        });
        let deferrer = std::thread::spawn({
            let (stress, begun, on_machines) = (stress.clone(), begun.clone(), on_machines.clone());
            move || {
                // A machine that is away has collected nothing by then.
                while !stress.is_over() || begun.load(Ordering::SeqCst) == 0 {
                    let guard = epoch::pin();
                    for _ in 0..16 {
                        let (tx, begun, on_machines) =
                            (tx.clone(), begun.clone(), on_machines.clone());
                        guard.defer(move || {
                            begun.fetch_add(1, Ordering::SeqCst);
                            let thread = std::thread::current();
                            if thread.name().is_some_and(|n| n.starts_with("goweft-")) {
                                on_machines.fetch_add(1, Ordering::Relaxed);
                            }
                            tx.send(()).unwrap();
                        });
                    }
                    guard.flush();
                    drop(guard);
                    std::thread::sleep(Duration::from_micros(500));
                }
            }
        });
        stress.turns(4, |i, n| {
            // Work to steal.
            let helpers: Vec<_> = (0..6)
                .map(|k| spawn(move || compute(random(i, n + k) % 20)))
                .collect();
            task::yield_now();
            helpers.into_iter().for_each(|h| h.join().unwrap());
        });
        deferrer.join().unwrap();
        // The watchdog ends what does not come to this.
        while received.load(Ordering::SeqCst) != begun.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        println!(
            "{} destructors, {on_machines:?} on the runtime's threads",
            begun.load(Ordering::SeqCst)
        );
        assert!(begun.load(Ordering::SeqCst) > 0, "nothing was collected");
    });
}

/// Where a thread that looks for work to steal is held up, others have relied on it to find theirs.
#[test]
fn a_destructor_that_holds_a_thief_up_holds_nobody_else_up() {
    Stress::on(&[2, 4], "held up", |stress| {
        let gate = Arc::new((Mutex::new(()), AtomicBool::new(false)));
        let closed = gate.0.lock().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !gate.1.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "no thief collects garbage");
            // Work to steal, and garbage to collect on the way.
            let helpers: Vec<_> = (0..8).map(|_| spawn(|| compute(20))).collect();
            let guard = epoch::pin();
            let gate = gate.clone();
            guard.defer(move || {
                let thread = std::thread::current();
                let is_machine = thread.name().is_some_and(|n| n.starts_with("goweft-"));
                if is_machine && !gate.1.swap(true, Ordering::AcqRel) {
                    drop(gate.0.lock());
                }
            });
            guard.flush();
            drop(guard);
            helpers.into_iter().for_each(|h| h.join().unwrap());
            stress.step();
        }
        // All is quiet but for that one.
        for n in 0..100 {
            assert_eq!(spawn(move || n).join().unwrap(), n);
            stress.step();
        }
        drop(closed);
    });
}
