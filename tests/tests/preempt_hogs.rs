//! Goroutines that compute and never call: everybody else goes on.

use goweft::net::{TcpListener, TcpStream};
use goweft::{channel, runtime, spawn, task};
use goweft_tests::confined::{Without, run_again};
use goweft_tests::pressure::{Hogs, WATCHDOG, run_beside, wait_until};
use goweft_tests::sys::cpu_time;
use std::hint::{black_box, spin_loop};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// One test at a time, with so many processors: each needs the machine.
fn alone(procs: usize) -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    runtime::set_maxprocs(procs);
    guard
}

/// Sorts them, shows the spread, and returns the 99th percentile.
fn report(what: &str, mut waits: Vec<Duration>) -> Duration {
    waits.sort();
    let at = |q: usize| waits[(waits.len() - 1) * q / 100];
    println!(
        "{what}: p50 {:?}, p99 {:?}, max {:?}",
        at(50),
        at(99),
        at(100)
    );
    at(99)
}

/// By how much `sleep` overslept one millisecond, again and again.
fn oversleeps(n: usize, sleep: fn(Duration)) -> Vec<Duration> {
    let ms = Duration::from_millis(1);
    let nap = |_| {
        let begin = Instant::now();
        sleep(ms);
        begin.elapsed() - ms
    };
    (0..n).map(nap).collect()
}

#[test]
fn smoke_a_goroutine_runs_beside_an_endless_loop() {
    let _alone = alone(1);
    let hogs = Hogs::start(1);
    assert_eq!(run_beside(|| 42), 42);
    drop(hogs);
}

#[test]
fn endless_loops_take_turns() {
    let _alone = alone(1);
    let hogs = Hogs::start(4);
    for _ in 0..3 {
        hogs.wait_for_turns();
    }
}

/// How often threads were stopped while a goroutine computed in `how` beside one that takes its
/// processor five times.
fn stopped_while_computing(how: fn(&dyn Fn())) -> u64 {
    let stop = Arc::new(AtomicBool::new(false));
    let before = runtime::metrics();
    let hog = spawn({
        let stop = stop.clone();
        move || {
            how(&|| {
                while !stop.load(Ordering::Relaxed) {
                    spin_loop();
                }
            })
        }
    });
    let deadline = Instant::now() + WATCHDOG;
    // Computes as well, so that it wants the processor for long.
    run_beside(move || {
        while runtime::metrics().taken_from_computing < before.taken_from_computing + 5 {
            assert!(Instant::now() < deadline, "its processor is never taken");
            let until = Instant::now() + Duration::from_millis(2);
            while Instant::now() < until {
                spin_loop();
            }
            // Three of the monitor's long naps: it sees that the processor is idle, and gives it
            // to the one that computes.
            task::sleep(Duration::from_millis(30));
        }
    });
    let stopped = runtime::metrics().preemptions - before.preemptions;
    stop.store(true, Ordering::Relaxed);
    hog.join().unwrap();
    stopped
}

/// It gave its processor away by itself, so nobody takes one from it; and whoever has that
/// makes calls, and so is never stopped.
#[test]
fn a_thread_that_computes_in_blocking_is_stopped() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let before = runtime::metrics().preemptions;
    let (begun, has_begun) = mpsc::channel();
    let stopped = stop.clone();
    let owner = spawn(move || {
        begun.send(()).unwrap();
        // There is room always: it never parks.
        let (tx, rx) = channel::bounded(1);
        while !stopped.load(Ordering::Relaxed) {
            tx.send(()).unwrap();
            rx.recv().unwrap();
        }
    });
    has_begun.recv_timeout(WATCHDOG).expect("it runs");
    let stopped = stop.clone();
    let other = spawn(move || {
        goweft::blocking(|| {
            while !stopped.load(Ordering::Relaxed) {
                spin_loop();
            }
        })
    });
    let deadline = Instant::now() + WATCHDOG;
    while runtime::metrics().preemptions == before {
        assert!(Instant::now() < deadline, "it computes on beside the other");
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    owner.join().unwrap();
    other.join().unwrap();
}

#[test]
fn in_no_preempt_a_thread_loses_its_processor_and_is_not_stopped() {
    let _alone = alone(1);
    assert_ne!(stopped_while_computing(|f| f()), 0);
    assert_eq!(stopped_while_computing(|f| goweft::no_preempt(f)), 0);
}

/// Without wake-up preemption the median is a slice or two. A machine that is busy with
/// other things makes threads of the OS late as well: what a thread that sleeps beside
/// says is taken off, and one round of ten must hold the bar.
#[test]
fn a_sleeper_wakes_soon_beside_endless_loops_on_every_processor() {
    const BAR: Duration = Duration::from_millis(5);
    for procs in [1, 2] {
        let _alone = alone(procs);
        let hogs = Hogs::start(procs);
        let held = (0..5).any(|_| {
            let thread = std::thread::spawn(|| oversleeps(300, std::thread::sleep));
            let late = run_beside(|| oversleeps(300, task::sleep));
            report("1 ms sleep of a thread, late", thread.join().unwrap());
            report(&format!("of a goroutine beside {procs} hogs, late"), late) <= BAR
        });
        drop(hogs);
        assert!(
            held,
            "the 99th percentile is above {BAR:?} in each of five rounds"
        );
    }
}

#[test]
fn a_ping_pong_goes_on_beside_endless_loops_on_every_processor() {
    let _alone = alone(2);
    let hogs = Hogs::start(2);
    let waits = run_beside(|| {
        let (to, there) = channel::bounded::<u32>(0);
        let (back, here) = channel::bounded(0);
        spawn(move || {
            for n in there {
                back.send(n + 1).unwrap();
            }
        });
        (0..5_000)
            .map(|n| {
                let begin = Instant::now();
                to.send(n).unwrap();
                assert_eq!(here.recv(), Ok(n + 1));
                begin.elapsed()
            })
            .collect::<Vec<_>>()
    });
    report("ping-pong beside 2 hogs", waits);
    drop(hogs);
}

#[test]
fn an_echo_over_tcp_goes_on_beside_endless_loops_on_every_processor() {
    let _alone = alone(2);
    let hogs = Hogs::start(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    spawn(move || {
        let (mut conn, _) = listener.accept().unwrap();
        let mut buf = [0; 64];
        while let Ok(n @ 1..) = conn.read(&mut buf) {
            conn.write_all(&buf[..n]).unwrap();
        }
    });
    let waits = run_beside(move || {
        let mut conn = TcpStream::connect(addr).unwrap();
        (0..200u8)
            .map(|i| {
                let begin = Instant::now();
                conn.write_all(&[i]).unwrap();
                let mut got = [0];
                conn.read_exact(&mut got).unwrap();
                assert_eq!(got, [i]);
                begin.elapsed()
            })
            .collect::<Vec<_>>()
    });
    report("TCP echo beside 2 hogs", waits);
    drop(hogs);
}

#[test]
fn no_more_threads_compute_than_there_are_processors() {
    let _alone = alone(1);
    let hogs = Hogs::start(8);
    let before = runtime::metrics().preemptions;
    let (begin, used) = (Instant::now(), cpu_time());
    while begin.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let used = (cpu_time() - used).as_secs_f64() / begin.elapsed().as_secs_f64();
    let parked = runtime::metrics().preemptions - before;
    println!("8 hogs on one processor: {used:.2} CPUs, {parked} threads parked a second");
    assert!(parked > 10, "{parked}");
    assert!(used < 1.4, "{used} CPUs for one processor");
    drop(hogs);
}

#[test]
fn with_many_threads_stopped_slices_are_longer_and_fewer_goroutines_are_begun() {
    // The limit is 32. Some more, for while one of them has its turn, and its successor is
    // not stopped yet, there are fewer.
    const MANY: usize = 36;
    const TURNS: u64 = 60;
    let _alone = alone(1);
    let hogs = Hogs::launch(80);
    let stopped = || runtime::metrics().preempted_threads;
    // How often a P was taken, and how often of that at the end of a slice. (Without /proc one that
    // the OS keeps waiting is taken for one that blocks, and loses its P earlier.)
    let taken = || {
        let m = runtime::metrics();
        let slices = m.taken_from_computing;
        (slices + m.taken_from_blocked, slices)
    };
    wait_until("36 threads are stopped", || stopped() >= MANY);
    let (before, begun, begin) = (taken(), hogs.begun(), Instant::now());
    wait_until("60 turns", || taken().0 >= before.0 + TURNS);
    let (now, begun, lasted) = (taken(), hogs.begun() - begun, begin.elapsed());
    let (turns, slices) = (now.0 - before.0, now.1 - before.1);
    println!("{begun} begun in {turns} turns, {slices} of them slices, which took {lasted:?}");
    // One turn of four; one of two without the limit.
    assert!((1..=turns as usize / 3).contains(&begun), "{begun}");
    let least = Duration::from_millis(20) * (slices as u32).saturating_sub(1);
    assert!(lasted >= least, "{lasted:?} for {slices} slices of 20 ms");
    drop(hogs);
    wait_until("none is stopped", || stopped() == 0);
}

#[test]
fn a_hog_goes_on_where_it_was_with_all_that_it_had() {
    let _alone = alone(1);
    let sums = (0..4)
        .map(|seed| {
            spawn(move || {
                // Floating point over several slices: what is interrupted is not changed.
                let mut x = f64::from(seed) + 1.5;
                let begin = Instant::now();
                let mut rounds = 0u64;
                while rounds < 20_000_000 {
                    x = black_box(x * 1.000_000_1 + 1e-9);
                    if x > 1e6 {
                        x /= 1e6;
                    }
                    rounds += 1;
                }
                (x, begin.elapsed())
            })
        })
        .collect::<Vec<_>>();
    let sums: Vec<_> = sums.into_iter().map(|h| h.join().unwrap().0).collect();
    for (seed, sum) in sums.into_iter().enumerate() {
        let mut x = seed as f64 + 1.5;
        for _ in 0..20_000_000 {
            x = black_box(x * 1.000_000_1 + 1e-9);
            if x > 1e6 {
                x /= 1e6;
            }
        }
        assert_eq!(x.to_bits(), sum.to_bits());
    }
}

/// Those that give way before their slice is over are never asked to, and what their
/// processor does at every 61st schedule only may be half a second away.
#[test]
fn one_that_was_stopped_goes_on_soon_beside_those_that_give_way_by_themselves() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));
    let polite: Vec<_> = (0..2)
        .map(|_| {
            let (stop, turns) = (stop.clone(), turns.clone());
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let until = Instant::now() + Duration::from_millis(2);
                    while Instant::now() < until {
                        spin_loop();
                    }
                    turns.fetch_add(1, Ordering::Relaxed);
                    task::yield_now();
                }
            })
        })
        .collect();
    let deadline = Instant::now() + WATCHDOG;
    let hog = spawn({
        let turns = turns.clone();
        move || {
            let (mut waits, mut seen) = (Vec::new(), turns.load(Ordering::Relaxed));
            while waits.len() < 10 && Instant::now() < deadline {
                let now = turns.load(Ordering::Relaxed);
                if now != seen {
                    waits.push(now - seen);
                    seen = now;
                }
            }
            waits
        }
    });
    let mut waits = hog.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    polite.into_iter().for_each(|p| p.join().unwrap());
    waits.sort_unstable();
    println!("turns of the others between two of a hog: {waits:?}");
    assert_eq!(waits.len(), 10);
    assert!(waits[8] < 35, "{waits:?}");
}

#[test]
fn a_spinner_waits_for_one_that_is_not_running() {
    let _alone = alone(1);
    let flag = Arc::new(AtomicBool::new(false));
    let seen = flag.clone();
    let spinner = spawn(move || {
        while !seen.load(Ordering::Acquire) {
            spin_loop();
        }
    });
    run_beside(move || flag.store(true, Ordering::Release));
    spinner.join().unwrap();
}

#[test]
fn the_last_resort_was_not_used() {
    let _alone = alone(2);
    let hogs = Hogs::start(4);
    for _ in 0..10 {
        hogs.wait_for_turns();
        run_beside(|| Mutex::new(vec![1, 2, 3]));
    }
    drop(hogs);
    assert_eq!(runtime::metrics().rescues, 0);
}

/// What needs threads that are stopped.
const STOPPED: [&str; 4] = [
    "no_more_threads_compute",
    "in_no_preempt_a_thread",
    "a_thread_that_computes_in_blocking",
    "with_many_threads_stopped",
];

#[test]
fn all_of_it_without_membarrier() {
    let _alone = alone(1);
    // How many are stopped has nothing to do with it.
    run_again(Without::Membarrier, &["with_many_threads_stopped"]);
}

/// Clocks alone tell there who computes.
#[test]
fn all_of_it_without_proc() {
    let _alone = alone(1);
    run_again(Without::Proc, &[]);
}

#[test]
fn processors_are_taken_without_signals() {
    let _alone = alone(1);
    run_again(Without::Signals, &STOPPED);
}
