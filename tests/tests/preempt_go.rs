//! Go's tests of preemption (runtime/proc_test.go), written anew. Go stops the world for its
//! collector; here what comes nearest, a change of the number of processors, has to reach
//! each of them just the same.

use goweft::{runtime, spawn, task};
use goweft_tests::pressure::{Hogs, WATCHDOG, alone, run_beside, wait_until};
use std::fs::File;
use std::hint::{black_box, spin_loop};
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Go's TestPreemption.
#[test]
fn two_that_spin_until_it_is_their_turn_both_come_to_their_end() {
    const TURNS: u32 = 10;
    let _alone = alone(1);
    let turn = Arc::new(AtomicU32::new(0));
    let (tx, rx) = mpsc::channel();
    for who in 0..2 {
        let (turn, tx) = (turn.clone(), tx.clone());
        spawn(move || {
            for i in 0..TURNS {
                while turn.load(Ordering::Acquire) != 2 * i + who {
                    spin_loop();
                }
                turn.store(2 * i + who + 1, Ordering::Release);
            }
            tx.send(()).unwrap();
        });
    }
    for _ in 0..2 {
        rx.recv_timeout(WATCHDOG).expect("it gets its turns");
    }
    assert_eq!(turn.load(Ordering::Relaxed), 2 * TURNS);
}

/// Go's TestPreemptionGC.
#[test]
fn the_number_of_processors_changes_while_all_of_them_compute() {
    let _alone = alone(4);
    let hogs = Hogs::start(5);
    for i in 0..10 {
        let n = 1 + i % 4;
        runtime::set_maxprocs(n);
        wait_until("as many are busy as there are", || {
            let m = runtime::metrics();
            m.maxprocs == n && m.idle_procs == 0
        });
        assert_eq!(run_beside(runtime::maxprocs), n);
        hogs.wait_for_turns();
    }
    drop(hogs);
}

/// Go's TestGCFairness.
#[test]
fn a_sleeper_returns_beside_loops_of_system_calls() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let stop = stop.clone();
            let mut null = File::options().write(true).open("/dev/null").unwrap();
            spawn(move || {
                let mut written = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    null.write_all(b".").unwrap();
                    written += 1;
                }
                written
            })
        })
        .collect();
    let slept = run_beside(|| {
        let begin = Instant::now();
        task::sleep(Duration::from_millis(10));
        begin.elapsed()
    });
    assert!(slept >= Duration::from_millis(10));
    stop.store(true, Ordering::Relaxed);
    for w in writers {
        assert!(run_beside(move || w.join().unwrap()) > 0);
    }
}

/// Go's TestGCFairness2.
#[test]
fn all_of_three_that_allocate_all_the_time_get_on() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let counts: Arc<[AtomicU64; 3]> = Arc::default();
    let hogs: Vec<_> = (0..3)
        .map(|i| {
            let (stop, counts) = (stop.clone(), counts.clone());
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let kept: Vec<Vec<u8>> = (0..64).map(|n| vec![n as u8; 16]).collect();
                    black_box(kept);
                    counts[i].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    // From a goroutine that needs the processor as well.
    let seen = counts.clone();
    run_beside(move || {
        while seen.iter().any(|n| n.load(Ordering::Relaxed) < 10) {
            task::sleep(Duration::from_millis(1));
        }
    });
    stop.store(true, Ordering::Relaxed);
    for h in hogs {
        run_beside(move || h.join().unwrap());
    }
}

/// A frame of 32 KiB.
#[inline(never)]
fn big(stop: &AtomicBool) -> u32 {
    let frame = black_box([1u8; 32 << 10]);
    // Done when it is stopped in here, again and again.
    (0..1_000).for_each(|i| _ = black_box(i));
    u32::from(frame[usize::from(stop.load(Ordering::Relaxed))])
}

/// Go's TestPreemptSplitBig, where the prologue of such a function is where Go looks.
#[test]
fn a_loop_over_a_function_with_a_big_frame_gives_way() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let calls = stop.clone();
    let h = spawn(move || {
        let mut sum = 0u64;
        while !calls.load(Ordering::Relaxed) {
            sum += u64::from(big(&calls));
        }
        sum
    });
    for _ in 0..10 {
        run_beside(|| task::sleep(Duration::from_millis(1)));
    }
    stop.store(true, Ordering::Relaxed);
    assert!(run_beside(move || h.join().unwrap()) > 0);
}

/// Go's TestPreemptionAfterSyscall.
#[test]
fn processors_taken_from_short_system_calls_are_there_for_others() {
    let _alone = alone(2);
    for micros in [10, 100, 1_000] {
        let stop = Arc::new(AtomicBool::new(false));
        let calls: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
        let callers: Vec<_> = (0..8)
            .map(|i| {
                let (stop, calls) = (stop.clone(), calls.clone());
                spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_micros(micros));
                        calls[i].fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for n in [1, 2, 3, 2] {
            runtime::set_maxprocs(n);
            assert_eq!(run_beside(runtime::maxprocs), n);
        }
        wait_until("all get on", || {
            calls.iter().all(|n| n.load(Ordering::Relaxed) >= 5)
        });
        stop.store(true, Ordering::Relaxed);
        for c in callers {
            run_beside(move || c.join().unwrap());
        }
    }
}
