//! The locks and barriers of goweft, alone and among few.

use goweft::sync::{Condvar, Mutex, Once, RwLock, WaitGroup};
use goweft::{go, run};
use peers::cli::Cli;
use peers::measure::{FEW, REPS, WAITERS, lookup, repeat, table};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs the scenario, if it is one of these.
pub(crate) fn scenario(cli: &Cli) -> bool {
    let (n, times) = match cli.scenario.as_str() {
        "mutex_alone" => {
            let n = cli.n(2_000_000);
            (n, repeat(REPS, || run(|| mutex_alone(n))))
        }
        "once_done" => {
            let n = cli.n(10_000_000);
            (n, repeat(REPS, || run(|| once_done(n))))
        }
        "rwlock_read" => {
            let n = cli.n(10_000_000);
            (n, repeat(FEW, || run(|| rwlock_read(n))))
        }
        "condvar_wake" => {
            let n = cli.n(200_000);
            (n, repeat(REPS, || run(|| condvar_wake(n))))
        }
        "condvar_all" => {
            let n = cli.n(200_000);
            (n, repeat(REPS, || run(|| condvar_all(n))))
        }
        "wait_group_wake" => {
            let n = cli.n(200_000);
            (n, repeat(REPS, || run(|| wait_group_wake(n))))
        }
        _ => return false,
    };
    cli.report_ns(&cli.scenario, n, &times);
    true
}

fn mutex_alone(n: usize) -> Duration {
    static M: Mutex<usize> = Mutex::new(0);
    let t = Instant::now();
    (0..n).for_each(|_| *M.lock() += 1);
    let took = t.elapsed();
    assert_eq!(*M.lock() % n, 0);
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
    let (group, lock) = (WaitGroup::new(), Arc::new(RwLock::new(table())));
    let t = Instant::now();
    for seed in 0..8 {
        let lock = lock.clone();
        group.go(move || (0..n / 8).for_each(|i| _ = black_box(lookup(&lock.read(), seed + i))));
    }
    group.wait();
    t.elapsed()
}

fn condvar_wake(n: usize) -> Duration {
    let pair = Arc::new((Mutex::new(0usize), Condvar::new(), Condvar::new()));
    let other = pair.clone();
    let t = Instant::now();
    go!(move || {
        for i in 0..n / 2 {
            let mut turn = other.1.wait_while(other.0.lock(), |turn| *turn == 2 * i);
            *turn += 1;
            other.2.notify_one();
        }
    });
    for i in 0..n / 2 {
        let mut turn = pair.0.lock();
        *turn += 1;
        pair.1.notify_one();
        drop(pair.2.wait_while(turn, |turn| *turn == 2 * i + 1));
    }
    t.elapsed()
}

fn condvar_all(n: usize) -> Duration {
    let rounds = n / WAITERS;
    let pair = Arc::new((Mutex::new((0usize, 0usize)), Condvar::new(), Condvar::new()));
    let t = Instant::now();
    for _ in 0..WAITERS {
        let pair = pair.clone();
        go!(move || {
            let mut state = pair.0.lock();
            for round in 0..rounds {
                state.1 += 1;
                if state.1 == WAITERS {
                    pair.2.notify_one();
                }
                state = pair.1.wait_while(state, |state| state.0 == round);
            }
        });
    }
    let mut state = pair.0.lock();
    for _ in 0..rounds {
        state = pair.2.wait_while(state, |state| state.1 < WAITERS);
        *state = (state.0 + 1, 0);
        pair.1.notify_all();
    }
    drop(state);
    t.elapsed()
}

fn wait_group_wake(n: usize) -> Duration {
    let (there, back) = (WaitGroup::new(), WaitGroup::new());
    there.add(1);
    back.add(1);
    let (a, b) = (there.clone(), back.clone());
    let t = Instant::now();
    go!(move || {
        for _ in 0..n / 2 {
            a.wait();
            a.add(1);
            b.done();
        }
    });
    for _ in 0..n / 2 {
        there.done();
        back.wait();
        back.add(1);
    }
    t.elapsed()
}
