//! `runtime::*`: the number of processors while goroutines run, and the counters.

use goweft::{go, run, runtime, spawn, task};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Tests here change what holds for the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner())
}

#[test]
fn set_maxprocs_returns_the_previous_and_keeps_to_the_limits() {
    let _alone = alone();
    let before = runtime::set_maxprocs(3);
    assert_eq!(runtime::set_maxprocs(0), 3);
    assert_eq!(runtime::set_maxprocs(usize::MAX), 1);
    assert_eq!(runtime::set_maxprocs(before), 1024);
    assert_eq!(runtime::maxprocs(), before);
    assert!(runtime::num_cpu() >= 1);
}

/// Go's TestStopTheWorldDeadlock.
#[test]
fn a_storm_of_resizes_while_goroutines_are_spawned() {
    let _alone = alone();
    let before = runtime::maxprocs();
    let stop = Arc::new(AtomicBool::new(false));
    let ran = Arc::new(AtomicUsize::new(0));
    let spawners: Vec<_> = (0..4)
        .map(|_| {
            let (stop, ran) = (stop.clone(), ran.clone());
            spawn(move || {
                let mut spawned = 0;
                while !stop.load(Ordering::Relaxed) {
                    let ran = ran.clone();
                    go!(move || {
                        task::yield_now();
                        ran.fetch_add(1, Ordering::Relaxed);
                    });
                    spawned += 1;
                    task::yield_now();
                }
                spawned
            })
        })
        .collect();
    run(|| {
        for i in 0..1_000 {
            runtime::set_maxprocs(i % 4 + 1);
            if i % 10 == 0 {
                task::yield_now();
            }
        }
    });
    stop.store(true, Ordering::Relaxed);
    let spawned: usize = spawners.into_iter().map(|h| h.join().unwrap()).sum();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while ran.load(Ordering::Relaxed) != spawned {
        assert!(
            std::time::Instant::now() < deadline,
            "{ran:?} of {spawned} ran"
        );
        std::thread::yield_now();
    }
    runtime::set_maxprocs(before);
}

/// A goroutine that gives way at the end of a resize holds nothing that the next one
/// needs; all of them share one thread.
#[test]
fn goroutines_that_resize_in_turn_do_not_wait_for_each_other() {
    let _alone = alone();
    let before = runtime::set_maxprocs(1);
    let yields = runtime::metrics().yields;
    // The monitor asks each to give way, again and again, at the only call they make.
    let resize = |_| {
        spawn(move || {
            while runtime::metrics().yields < yields + 8 {
                runtime::set_maxprocs(1);
            }
        })
    };
    let handles: Vec<_> = (0..4).map(resize).collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
    runtime::set_maxprocs(before);
}

// Go's runtime/proc_test.go TestNumGoroutine.
#[test]
fn goroutines_are_counted() {
    let _alone = alone();
    run(|| {
        // Those of other tests have been joined, and end a moment later.
        while runtime::num_goroutines() != 1 {
            task::yield_now();
        }
        let before = 1;
        let handles: Vec<_> = (0..100).map(|_| spawn(task::park)).collect();
        assert_eq!(runtime::num_goroutines(), before + 100);
        for h in &handles {
            h.task().unpark();
        }
        handles.into_iter().for_each(|h| h.join().unwrap());
        // A goroutine has ended a moment after it can be joined.
        while runtime::num_goroutines() != before {
            task::yield_now();
        }
    });
}

#[test]
fn counters_grow_with_what_they_count() {
    let _alone = alone();
    let a = runtime::metrics();
    run(|| {
        for _ in 0..100 {
            let h = spawn(task::yield_now);
            h.join().unwrap();
        }
        // A sleep that begins late on a busy machine does not park.
        while runtime::metrics().woken == a.woken {
            task::sleep(std::time::Duration::from_millis(1));
        }
    });
    let b = runtime::metrics();
    assert!(b.spawned >= a.spawned + 101, "{a:?} {b:?}");
    assert!(
        b.switches >= a.switches + 100 && b.direct_switches >= a.direct_switches,
        "{b:?}"
    );
    assert!(
        b.parks > a.parks && b.yields >= a.yields + 100 && b.woken > a.woken,
        "{b:?}"
    );
    assert!(
        b.threads >= 1 && b.maxprocs >= 1 && b.idle_procs <= b.maxprocs,
        "{b:?}"
    );
    assert!(
        b.stacks.reserved_bytes > 0 && b.stacks.high_water >= 1,
        "{b:?}"
    );
}
