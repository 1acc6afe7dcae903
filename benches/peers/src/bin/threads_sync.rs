//! std's locks, alone and among few threads.

use peers::cli::Cli;
use peers::measure::{FEW, REPS, WAITERS, lookup, repeat, table};
use std::hint::black_box;
use std::sync::{Arc, Condvar, Mutex, Once, RwLock};
use std::thread;
use std::time::{Duration, Instant};

/// Runs the scenario, if it is one of these.
pub(crate) fn scenario(cli: &Cli) -> bool {
    let (n, times) = match cli.scenario.as_str() {
        "mutex_alone" => {
            let n = cli.n(2_000_000);
            (n, repeat(REPS, || mutex_alone(n)))
        }
        "once_done" => {
            let n = cli.n(10_000_000);
            (n, repeat(REPS, || once_done(n)))
        }
        "rwlock_read" => {
            let n = cli.n(10_000_000);
            (n, repeat(FEW, || rwlock_read(n)))
        }
        "condvar_wake" => {
            let n = cli.n(20_000);
            (n, repeat(FEW, || condvar_wake(n)))
        }
        "condvar_all" => {
            let n = cli.n(20_000);
            (n, repeat(FEW, || condvar_all(n)))
        }
        _ => return false,
    };
    cli.report_ns(&cli.scenario, n, &times);
    true
}

fn mutex_alone(n: usize) -> Duration {
    static M: Mutex<usize> = Mutex::new(0);
    let t = Instant::now();
    (0..n).for_each(|_| *M.lock().unwrap() += 1);
    let took = t.elapsed();
    assert_eq!(*M.lock().unwrap() % n, 0);
    took
}

fn once_done(n: usize) -> Duration {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| ());
    let t = Instant::now();
    (0..n).for_each(|_| ONCE.call_once(|| unreachable!()));
    t.elapsed()
}

fn rwlock_read(n: usize) -> Duration {
    let lock = RwLock::new(table());
    let t = Instant::now();
    thread::scope(|s| {
        for seed in 0..8 {
            let lock = &lock;
            s.spawn(move || {
                (0..n / 8).for_each(|i| _ = black_box(lookup(&lock.read().unwrap(), seed + i)));
            });
        }
    });
    t.elapsed()
}

fn condvar_wake(n: usize) -> Duration {
    let (turn, there, back) = (Mutex::new(0usize), Condvar::new(), Condvar::new());
    let t = Instant::now();
    thread::scope(|s| {
        s.spawn(|| {
            for i in 0..n / 2 {
                let waits = |turn: &mut usize| *turn == 2 * i;
                let mut turn = there.wait_while(turn.lock().unwrap(), waits).unwrap();
                *turn += 1;
                back.notify_one();
            }
        });
        for i in 0..n / 2 {
            let mut turn = turn.lock().unwrap();
            *turn += 1;
            there.notify_one();
            drop(back.wait_while(turn, |turn| *turn == 2 * i + 1).unwrap());
        }
    });
    t.elapsed()
}

fn condvar_all(n: usize) -> Duration {
    let rounds = n / WAITERS;
    let trio = Arc::new((Mutex::new((0usize, 0usize)), Condvar::new(), Condvar::new()));
    let t = Instant::now();
    thread::scope(|s| {
        for _ in 0..WAITERS {
            s.spawn(|| {
                let mut state = trio.0.lock().unwrap();
                for round in 0..rounds {
                    state.1 += 1;
                    if state.1 == WAITERS {
                        trio.2.notify_one();
                    }
                    state = trio.1.wait_while(state, |state| state.0 == round).unwrap();
                }
            });
        }
        let mut state = trio.0.lock().unwrap();
        for _ in 0..rounds {
            state = trio.2.wait_while(state, |state| state.1 < WAITERS).unwrap();
            *state = (state.0 + 1, 0);
            trio.1.notify_all();
        }
        drop(state);
    });
    t.elapsed()
}
