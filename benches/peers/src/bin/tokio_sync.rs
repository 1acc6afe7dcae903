//! tokio's locks, alone and among few tasks. It has no condition variable: `Notify` stands for it.

use peers::cli::Cli;
use peers::measure::{FEW, REPS, WAITERS, lookup, repeat, table};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, Notify, OnceCell, RwLock};

/// Runs the scenario, if it is one of these.
pub(crate) fn scenario(cli: &Cli, rt: &Runtime) -> bool {
    let (n, times) = match cli.scenario.as_str() {
        "mutex_alone" => {
            let n = cli.n(2_000_000);
            (n, repeat(REPS, || on(rt, mutex_alone(n))))
        }
        "once_done" => {
            let n = cli.n(10_000_000);
            (n, repeat(REPS, || on(rt, once_done(n))))
        }
        "rwlock_read" => {
            let n = cli.n(10_000_000);
            (n, repeat(FEW, || on(rt, rwlock_read(n))))
        }
        "condvar_wake" => {
            let n = cli.n(200_000);
            (n, repeat(REPS, || on(rt, notify_wake(n))))
        }
        "condvar_all" => {
            let n = cli.n(200_000);
            (n, repeat(REPS, || on(rt, notify_all(n))))
        }
        _ => return false,
    };
    cli.report_ns(&cli.scenario, n, &times);
    true
}

fn on<F: Future<Output = Duration> + Send + 'static>(rt: &Runtime, f: F) -> Duration {
    rt.block_on(async { tokio::spawn(f).await.unwrap() })
}

async fn mutex_alone(n: usize) -> Duration {
    static M: Mutex<usize> = Mutex::const_new(0);
    let t = Instant::now();
    for _ in 0..n {
        *M.lock().await += 1;
    }
    let took = t.elapsed();
    assert_eq!(*M.lock().await % n, 0);
    took
}

async fn once_done(n: usize) -> Duration {
    static ONCE: OnceCell<()> = OnceCell::const_new_with(());
    let t = Instant::now();
    for _ in 0..n {
        ONCE.get_or_init(async || unreachable!()).await;
    }
    t.elapsed()
}

async fn rwlock_read(n: usize) -> Duration {
    let lock = Arc::new(RwLock::new(table()));
    let t = Instant::now();
    let tasks: Vec<_> = (0..8)
        .map(|seed| {
            let lock = lock.clone();
            tokio::spawn(async move {
                for i in 0..n / 8 {
                    black_box(lookup(&lock.read().await, seed + i));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    t.elapsed()
}

async fn notify_wake(n: usize) -> Duration {
    let pair = Arc::new((Notify::new(), Notify::new()));
    let other = pair.clone();
    let t = Instant::now();
    let task = tokio::spawn(async move {
        for _ in 0..n / 2 {
            other.0.notified().await;
            other.1.notify_one();
        }
    });
    for _ in 0..n / 2 {
        pair.0.notify_one();
        pair.1.notified().await;
    }
    task.await.unwrap();
    t.elapsed()
}

async fn notify_all(n: usize) -> Duration {
    let rounds = n / WAITERS;
    let trio = Arc::new((AtomicUsize::new(0), Notify::new(), Notify::new()));
    let t = Instant::now();
    let tasks: Vec<_> = (0..WAITERS)
        .map(|_| {
            let trio = trio.clone();
            tokio::spawn(async move {
                for _ in 0..rounds {
                    let mut woken = std::pin::pin!(trio.1.notified());
                    woken.as_mut().enable();
                    if trio.0.fetch_add(1, Ordering::AcqRel) + 1 == WAITERS {
                        trio.2.notify_one();
                    }
                    woken.await;
                }
            })
        })
        .collect();
    for _ in 0..rounds {
        trio.2.notified().await;
        trio.0.store(0, Ordering::Release);
        trio.1.notify_waiters();
    }
    for task in tasks {
        task.await.unwrap();
    }
    t.elapsed()
}
