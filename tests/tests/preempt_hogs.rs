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

/// Sorts them, shows the spread, and returns the 25th and the 99th percentile.
fn report(what: &str, mut waits: Vec<Duration>) -> (Duration, Duration) {
    waits.sort();
    let at = |q: usize| waits[(waits.len() - 1) * q / 100];
    println!(
        "{what}: p25 {:?}, p50 {:?}, p99 {:?}, max {:?}",
        at(25),
        at(50),
        at(99),
        at(100)
    );
    (at(25), at(99))
}

const NAP: Duration = Duration::from_millis(1);

/// By how much `n` sleeps of a millisecond were late.
fn oversleeps(n: usize) -> Vec<Duration> {
    let nap = |_| {
        let begin = Instant::now();
        task::sleep(NAP);
        begin.elapsed() - NAP
    };
    (0..n).map(nap).collect()
}

/// What such a sleep takes of the OS, done with threads alone: one sleeps, looks again a little
/// later, and wakes another. By how much that one was late.
fn late_relays(n: usize) -> Vec<Duration> {
    const LOOK_AGAIN: Duration = Duration::from_micros(100);
    let (pass, passed) = mpsc::sync_channel(0);
    let other = std::thread::spawn(move || {
        let late = |begin: Instant| begin.elapsed() - NAP - LOOK_AGAIN;
        passed.into_iter().map(late).collect()
    });
    for _ in 0..n {
        let begin = Instant::now();
        std::thread::sleep(NAP);
        std::thread::sleep(LOOK_AGAIN);
        pass.send(begin).expect("it goes on until the last");
    }
    drop(pass);
    other.join().unwrap()
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
    let (begun, has_begun) = mpsc::channel();
    let hog = spawn({
        let stop = stop.clone();
        move || {
            how(&|| {
                begun.send(()).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    spin_loop();
                }
            })
        }
    });
    // Or what comes next displaces it, and is displaced by it in turn.
    has_begun.recv_timeout(WATCHDOG).expect("it runs");
    let deadline = Instant::now() + WATCHDOG;
    // Computes as well, so that it wants the processor for long: the signal goes to who has
    // computed for a millisecond without it, in two looks.
    run_beside(move || {
        while runtime::metrics().taken_from_computing < before.taken_from_computing + 5 {
            assert!(Instant::now() < deadline, "its processor is never taken");
            let until = Instant::now() + Duration::from_millis(10);
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
    // It may never have a CPU while it has no processor.
    assert!((0..5).any(|_| stopped_while_computing(|f| f()) != 0));
    assert_eq!(stopped_while_computing(|f| goweft::no_preempt(f)), 0);
}

/// Without wake-up preemption three of four are late by a slice or two. One round of five must hold
/// the bar: at its 99th percentile, or, where threads that do as much do not hold it there because
/// the machine is away, for a quarter: for a wake-up all CPUs have to be there.
#[test]
fn a_sleeper_wakes_soon_beside_endless_loops_on_every_processor() {
    const BAR: Duration = Duration::from_millis(5);
    for procs in [1, 2] {
        let _alone = alone(procs);
        let hogs = Hogs::start(procs);
        let held = (0..5).any(|_| {
            let threads = std::thread::spawn(|| late_relays(300));
            let (quarter, late) = report(
                &format!("1 ms sleep beside {procs} hogs, late"),
                run_beside(|| oversleeps(300)),
            );
            let (_, os) = report("the same of threads", threads.join().unwrap());
            late <= BAR || (os > BAR && quarter <= BAR)
        });
        drop(hogs);
        assert!(held, "late by more than {BAR:?} in each of five rounds");
    }
}

/// Goes on until there were `enough` rounds; how long each took.
fn timed(enough: impl Fn(usize) -> bool, mut round: impl FnMut(u8)) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !enough(waits.len()) {
        let begin = Instant::now();
        round(waits.len() as u8);
        waits.push(begin.elapsed());
    }
    waits
}

fn ping_pong(enough: impl Fn(usize) -> bool) -> Vec<Duration> {
    let (to, there) = channel::bounded::<u8>(0);
    let (back, here) = channel::bounded(0);
    spawn(move || there.into_iter().for_each(|n| back.send(!n).unwrap()));
    timed(enough, |n| {
        to.send(n).unwrap();
        assert_eq!(here.recv(), Ok(!n));
    })
}

fn echo(enough: impl Fn(usize) -> bool) -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut conn = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    spawn(move || {
        let (mut conn, _) = listener.accept().unwrap();
        let mut buf = [0; 64];
        while let Ok(n @ 1..) = conn.read(&mut buf) {
            conn.write_all(&buf[..n]).unwrap();
        }
    });
    timed(enough, |n| {
        conn.write_all(&[n]).unwrap();
        let mut got = [0];
        conn.read_exact(&mut got).unwrap();
        assert_eq!(got, [n]);
    })
}

#[test]
fn a_ping_pong_goes_on_beside_endless_loops_on_every_processor() {
    let _alone = alone(2);
    let hogs = Hogs::start(2);
    let waits = run_beside(|| ping_pong(|n| n == 5_000));
    report("ping-pong beside 2 hogs", waits);
    drop(hogs);
}

#[test]
fn an_echo_over_tcp_goes_on_beside_endless_loops_on_every_processor() {
    let _alone = alone(2);
    let hogs = Hogs::start(2);
    let waits = run_beside(|| echo(|n| n == 200));
    report("TCP echo beside 2 hogs", waits);
    drop(hogs);
}

/// While one sleeps so often the others have a tenth as many rounds at least.
#[test]
fn a_sleeper_an_echo_and_a_ping_pong_go_on_together_beside_endless_loops() {
    const NAPS: usize = 200;
    let _alone = alone(2);
    let hogs = Hogs::start(2);
    let woken = Arc::new(AtomicBool::new(false));
    let enough = || {
        let woken = woken.clone();
        move |n| n >= NAPS / 10 && woken.load(Ordering::Relaxed)
    };
    let ping_pong = spawn({
        let enough = enough();
        move || ping_pong(enough)
    });
    let echo = spawn({
        let enough = enough();
        move || echo(enough)
    });
    let late = run_beside(|| oversleeps(NAPS));
    woken.store(true, Ordering::Relaxed);
    report("together: 1 ms sleep, late", late);
    for (what, waits) in [("ping-pong", ping_pong), ("TCP echo", echo)] {
        wait_until(what, || waits.is_finished());
        report(&format!("together: {what}"), waits.join().unwrap());
    }
    drop(hogs);
}

#[test]
fn no_more_threads_compute_than_there_are_processors() {
    let _alone = alone(1);
    let hogs = Hogs::start(8);
    // One second of five is enough: hogs that nobody stops use all CPUs in each of them. One whose
    // CPU the host takes away before it hears that it is to stop counts as one that computes until
    // it has that back.
    let held = (0..5).any(|_| {
        let before = runtime::metrics().preemptions;
        let parked = || runtime::metrics().preemptions - before;
        let (begin, used) = (Instant::now(), cpu_time());
        wait_until("threads are parked", || {
            std::thread::sleep(Duration::from_millis(10));
            begin.elapsed() >= Duration::from_secs(1) && parked() > 10
        });
        let (parked, used) = (parked(), cpu_time() - used);
        let (took, used) = (begin.elapsed(), used.as_secs_f64());
        let cpus = used / took.as_secs_f64();
        println!("8 hogs on one processor: {cpus:.2} CPUs, {parked} threads parked in {took:?}");
        cpus < 1.4
    });
    assert!(held, "more than one processor computes");
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
    // Those that begin are counted for no longer than the turns, and these for no longer than the
    // clock runs.
    let (begin, before, begun) = (Instant::now(), taken(), hogs.begun());
    wait_until("60 turns", || taken().0 >= before.0 + TURNS);
    let (begun, now, lasted) = (hogs.begun() - begun, taken(), begin.elapsed());
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
fn where_all_compute_for_long_each_is_stopped_after_two_slices() {
    const PROCS: u32 = 2;
    const TURNS: u32 = 20;
    let _alone = alone(PROCS as usize);
    let hogs = Hogs::start(4);
    let taken = || runtime::metrics().taken_from_computing;
    // What else the machine does makes the monitor look more often: then a slice is one.
    let held = (0..20).any(|_| {
        let (begin, before) = (Instant::now(), taken());
        wait_until("they take turns", || {
            taken() >= before + u64::from(PROCS * TURNS)
        });
        let turn = begin.elapsed() / TURNS;
        println!("{turn:?} a turn");
        turn >= Duration::from_millis(18)
    });
    assert!(held, "each is stopped after one slice");
    drop(hogs);
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
    // Half of them: if nobody called its processor, all but a few were 60. A machine that does not
    // let it run when it is its turn makes others longer.
    assert!(waits[5] < 35, "{waits:?}");
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
const STOPPED: [&str; 5] = [
    "no_more_threads_compute",
    "in_no_preempt_a_thread",
    "a_thread_that_computes_in_blocking",
    "with_many_threads_stopped",
    "where_all_compute",
];

#[test]
fn all_of_it_without_membarrier() {
    let _alone = alone(1);
    // How many are stopped, and how often, has nothing to do with it.
    let skipped = ["with_many_threads_stopped", "where_all_compute"];
    run_again(Without::Membarrier, &skipped);
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
