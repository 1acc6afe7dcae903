//! `sync::RwLock`, `Condvar` and `Barrier`, from goroutines and threads; fairness.

use goweft::channel;
use goweft::sync::{Barrier, Condvar, Mutex, RwLock, RwLockWriteGuard, WaitGroup};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);

/// Long enough to be sure; never waited for when all is well.
const WATCHDOG: Duration = Duration::from_secs(60);

#[test]
fn smoke() {
    let lock = RwLock::new(1);
    *lock.write() += 1;
    assert_eq!((*lock.read(), *lock.read()), (2, 2));
    Barrier::new(1).wait();
    Condvar::new().notify_all();
}

// ---- RwLock ----

// Go's sync/rwmutex_test.go TestParallelReaders.
#[test]
fn readers_are_in_together() {
    for readers in [1, 3, 4] {
        let lock = Arc::new(RwLock::new(()));
        // All meet while they hold it.
        let (inside, leave) = (Arc::new(Barrier::new(readers)), WaitGroup::new());
        for _ in 0..readers {
            let (lock, inside) = (lock.clone(), inside.clone());
            leave.go(move || {
                let _guard = lock.read();
                inside.wait();
            });
        }
        assert!(leave.wait_timeout(WATCHDOG));
    }
}

// Go's sync/rwmutex_test.go TestRWMutex: "activity" counts writers by 10,000.
#[test]
fn a_writer_is_alone_and_readers_see_no_writer() {
    const WRITER: i64 = 10_000;
    for (readers, rounds) in [(1, 300), (3, 300), (10, 300)] {
        let lock = Arc::new(RwLock::new(0u64));
        let activity = Arc::new(AtomicI64::new(0));
        let wg = WaitGroup::new();
        let read = || {
            let (lock, activity) = (lock.clone(), activity.clone());
            move || {
                for i in 0..rounds {
                    let guard = match i % 3 {
                        0 => match lock.try_read() {
                            Some(guard) => guard,
                            None => continue,
                        },
                        _ => lock.read(),
                    };
                    let n = activity.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!((1..WRITER).contains(&n), "a reader among {n}");
                    if i % 16 == 0 {
                        goweft::task::yield_now();
                    }
                    activity.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
            }
        };
        let write = || {
            let (lock, activity) = (lock.clone(), activity.clone());
            move || {
                for i in 0..rounds {
                    let mut guard = match i % 3 {
                        0 => match lock.try_write() {
                            Some(guard) => guard,
                            None => continue,
                        },
                        _ => lock.write(),
                    };
                    let n = activity.fetch_add(WRITER, Ordering::SeqCst);
                    assert_eq!(n, 0, "a writer among others");
                    *guard += 1;
                    if i % 16 == 0 {
                        goweft::task::yield_now();
                    }
                    activity.fetch_sub(WRITER, Ordering::SeqCst);
                    if i % 5 == 0 {
                        let seen = *guard;
                        assert_eq!(*RwLockWriteGuard::downgrade(guard), seen);
                    }
                }
            }
        };
        (0..readers).for_each(|_| wg.go(read()));
        (0..2).for_each(|_| wg.go(write()));
        let threads = [thread::spawn(read()), thread::spawn(write())];
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert!(wg.wait_timeout(WATCHDOG));
        assert!(lock.try_write().is_some());
    }
}

#[test]
fn tries_and_deadlines_give_up() {
    let lock = RwLock::new(());
    let reader = lock.read();
    assert!(lock.try_read().is_some());
    assert!(lock.try_write().is_none());
    let start = Instant::now();
    assert!(lock.try_write_for(SOON).is_none());
    assert!(lock.try_write_until(start + 2 * SOON).is_none());
    assert!(start.elapsed() >= 2 * SOON);
    drop(reader);
    let writer = lock.try_write_for(SOON).unwrap();
    assert!(lock.try_read().is_none() && lock.try_write().is_none());
    let start = Instant::now();
    assert!(lock.try_read_for(SOON).is_none());
    assert!(lock.try_read_until(start + 2 * SOON).is_none());
    assert!(lock.try_write_for(SOON).is_none());
    assert!(start.elapsed() >= 3 * SOON);
    drop(writer);
    assert!(lock.try_read_for(SOON).is_some());
    assert!(lock.try_write_for(SOON).is_some());
}

/// Readers that were many without a writer do not count any more, and a writer has to look for
/// them: before it keeps others out.
#[test]
fn a_reader_is_not_turned_away_by_one_that_tries_to_write() {
    let lock = RwLock::new(());
    goweft::run(|| (0..10_000).for_each(|_| drop(lock.read())));
    let (held, enough) = (Barrier::new(2), AtomicBool::new(false));
    let (lock, held, enough) = (&lock, &held, &enough);
    goweft::scope(|s| {
        let reader = s.spawn(move || {
            let _guard = lock.read();
            held.wait();
            let turned_away = (0..200_000).filter(|_| lock.try_read().is_none()).count();
            enough.store(true, Ordering::Release);
            turned_away
        });
        held.wait();
        let mut tries = 0;
        while !enough.load(Ordering::Acquire) {
            assert!(lock.try_write().is_none() || enough.load(Ordering::Acquire));
            tries += 1;
        }
        let turned_away = reader.join().unwrap();
        assert_eq!(turned_away, 0, "in {tries} tries to write");
    });
    assert!(lock.try_write().is_some());
}

#[test]
fn a_guard_that_was_forgotten_keeps_writers_out_of_its_own_lock_only() {
    goweft::run(|| {
        let make = || {
            let lock = Box::new(RwLock::new(0));
            (0..5_000).for_each(|_| drop(lock.read()));
            lock
        };
        for _ in 0..20 {
            let lock = make();
            std::mem::forget(lock.read());
            assert!(lock.try_read().is_some());
            assert!(lock.try_write().is_none());
            assert!(lock.try_write_for(Duration::from_micros(10)).is_none());
            drop(lock);
            // Likely at the same address.
            assert!(make().try_write().is_some());
        }
    });
}

#[test]
fn one_goroutine_reads_many_locks_and_one_lock_many_times() {
    goweft::run(|| {
        let locks: Vec<_> = (0..40).map(RwLock::new).collect();
        for lock in &locks {
            (0..5_000).for_each(|_| drop(lock.read()));
        }
        let guards: Vec<_> = (0..400).map(|i| locks[i % 40].read()).collect();
        assert!(
            guards
                .iter()
                .enumerate()
                .all(|(i, guard)| **guard == i % 40)
        );
        assert!(locks.iter().all(|lock| lock.try_write().is_none()));
        drop(guards);
        assert!(locks.iter().all(|lock| lock.try_write().is_some()));
    });
}

#[test]
fn a_writer_gets_in_among_readers_that_always_overlap() {
    let lock = Arc::new(RwLock::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let wg = WaitGroup::new();
    for _ in 0..4 {
        let (lock, stop) = (lock.clone(), stop.clone());
        wg.go(move || {
            // The next guard is there before the last one is gone, unless a writer waits.
            let mut guard = lock.read();
            while !stop.load(Ordering::Relaxed) {
                goweft::task::yield_now();
                let next = lock.try_read();
                drop(guard);
                guard = next.unwrap_or_else(|| lock.read());
            }
        });
    }
    for n in 0..50 {
        let mut guard = lock.try_write_for(WATCHDOG).expect("readers are kept out");
        assert_eq!(*guard, n);
        *guard += 1;
        drop(guard);
        goweft::task::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    assert!(wg.wait_timeout(WATCHDOG));
}

#[test]
fn a_reader_gets_in_among_writers_that_relock_at_once() {
    let lock = Arc::new(RwLock::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let wg = WaitGroup::new();
    for _ in 0..3 {
        let (lock, stop) = (lock.clone(), stop.clone());
        wg.go(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut guard = lock.write();
                *guard += 1;
                goweft::task::yield_now();
            }
        });
    }
    for _ in 0..50 {
        drop(
            lock.try_read_for(WATCHDOG)
                .expect("one writer at most goes first"),
        );
    }
    stop.store(true, Ordering::Relaxed);
    assert!(wg.wait_timeout(WATCHDOG));
}

#[test]
fn a_panic_releases_without_poison() {
    let lock = RwLock::new(1);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = lock.write();
        *guard = 2;
        panic!("while it writes");
    }));
    assert!(failed.is_err());
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let _guard = lock.read();
        panic!("while it reads");
    }));
    assert!(failed.is_err());
    assert_eq!(*lock.write(), 2);
}

#[test]
fn a_rwlock_has_stds_conveniences() {
    static GLOBAL: RwLock<Vec<u8>> = RwLock::new(Vec::new());
    GLOBAL.write().push(1);
    let mut lock = RwLock::from(3);
    *lock.get_mut() = 4;
    assert_eq!(format!("{lock:?}"), "RwLock { data: 4 }");
    let guard = lock.write();
    assert_eq!(format!("{lock:?}"), "RwLock { data: <locked> }");
    assert_eq!(format!("{guard} {guard:?}"), "4 4");
    drop(guard);
    let guard = lock.read();
    assert_eq!(format!("{guard} {guard:?}"), "4 4");
    drop(guard);
    assert_eq!(lock.into_inner(), 4);
    assert_eq!(*RwLock::<u8>::default().read(), 0);
    let unsized_value: &RwLock<[u8]> = &RwLock::new([1, 2, 3]);
    assert_eq!(unsized_value.read().len(), 3);
    fn is_sync<T: Send + Sync>() {}
    is_sync::<RwLock<u8>>();
}

// ---- Condvar ----

/// `n` goroutines that wait once, and say when they wait and when they are awake.
fn waiters(pair: &Arc<(Mutex<usize>, Condvar)>, n: usize) -> (WaitGroup, channel::Receiver<usize>) {
    let (running, awake) = (WaitGroup::new(), channel::unbounded());
    running.add(n);
    for i in 0..n {
        let (pair, running, awake) = (pair.clone(), running.clone(), awake.0.clone());
        goweft::go! {
            let guard = pair.0.lock();
            // The mutex is still ours: who locks it after this finds us waiting.
            running.done();
            let _guard = pair.1.wait(guard);
            awake.send(i).unwrap();
        }
    }
    (running, awake.1)
}

// Go's sync/cond_test.go TestCondSignal.
#[test]
fn notify_one_wakes_one_at_a_time() {
    const N: usize = 8;
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let (running, awake) = waiters(&pair, N);
    running.wait();
    for left in (0..N).rev() {
        assert!(awake.try_recv().is_err(), "nobody has called it");
        let guard = pair.0.lock();
        pair.1.notify_one();
        drop(guard);
        awake.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(awake.len(), 0, "{left} still wait");
    }
    pair.1.notify_one();
    // All senders are gone, and nobody was woken twice.
    assert!(awake.recv_timeout(WATCHDOG).is_err_and(|e| !e.is_timeout()));
}

// Go's sync/cond_test.go TestCondSignalGenerations: first come, first woken.
#[test]
fn notify_one_wakes_in_the_order_of_waiting() {
    const N: usize = 100;
    let pair = Arc::new((Mutex::new(0usize), Condvar::new()));
    let (running_tx, running) = channel::bounded(N);
    let (awake_tx, awake) = channel::bounded(N);
    for i in 0..N {
        let (p, running_tx, awake_tx) = (pair.clone(), running_tx.clone(), awake_tx.clone());
        goweft::go! {
            let guard = p.0.lock();
            running_tx.send(()).unwrap();
            let _guard = p.1.wait(guard);
            awake_tx.send(i).unwrap();
        }
        if i > 0 {
            assert_eq!(
                awake.recv_timeout(WATCHDOG),
                Ok(i - 1),
                "woken out of order"
            );
        }
        running.recv_timeout(WATCHDOG).unwrap();
        let _guard = pair.0.lock();
        pair.1.notify_one();
    }
}

// Go's sync/cond_test.go TestCondBroadcast.
#[test]
fn notify_all_wakes_all_who_wait_and_nobody_who_comes_later() {
    const N: usize = 200;
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let (running_tx, running) = channel::bounded(N);
    let (awake_tx, awake) = channel::bounded(N);
    let wg = WaitGroup::new();
    for i in 0..N {
        let (pair, running_tx, awake_tx) = (pair.clone(), running_tx.clone(), awake_tx.clone());
        wg.go(move || {
            let mut stop = pair.0.lock();
            while !*stop {
                running_tx.send(i).unwrap();
                stop = pair.1.wait(stop);
                awake_tx.send(i).unwrap();
            }
        });
    }
    for round in 0..10 {
        (0..N).for_each(|_| _ = running.recv_timeout(WATCHDOG).unwrap());
        let mut stop = pair.0.lock();
        assert_eq!(awake.len(), 0, "nobody is awake in round {round}");
        *stop = round == 9;
        pair.1.notify_all();
        drop(stop);
        let mut seen = [false; N];
        for _ in 0..N {
            let i = awake.recv_timeout(WATCHDOG).unwrap();
            assert!(!std::mem::replace(&mut seen[i], true), "{i} twice");
        }
    }
    assert!(wg.wait_timeout(WATCHDOG));
}

/// Counts itself, and waits for a notification.
fn wait_with(mutex: &Mutex<usize>, condvar: &Condvar) {
    let mut waiting = mutex.lock();
    *waiting += 1;
    drop(condvar.wait(waiting));
}

fn until_waiting(mutex: &Mutex<usize>, n: usize) {
    let deadline = Instant::now() + WATCHDOG;
    while *mutex.lock() != n {
        assert!(Instant::now() < deadline, "not all wait");
        goweft::task::yield_now();
    }
}

#[test]
fn notify_all_wakes_who_wait_with_another_mutex_though_the_first_has_to_wait() {
    let (held, free, condvar) = (Mutex::new(0), Mutex::new(0), Condvar::new());
    goweft::scope(|s| {
        s.spawn(|| wait_with(&held, &condvar));
        until_waiting(&held, 1);
        let other = s.spawn(|| wait_with(&free, &condvar));
        until_waiting(&free, 1);
        s.spawn(|| wait_with(&held, &condvar));
        until_waiting(&held, 2);
        let guard = held.lock();
        condvar.notify_all();
        other
            .join()
            .expect("it does not need the mutex that is held");
        drop(guard);
    });
}

#[test]
fn turns_with_one_mutex_do_not_wait_for_those_with_another() {
    let (held, free, condvar) = (Mutex::new(0), Mutex::new(0), Condvar::new());
    goweft::scope(|s| {
        let condvar = &condvar;
        let wait_twice = |mutex| {
            let two = [0, 1].map(|_| s.spawn(move || wait_with(mutex, condvar)));
            until_waiting(mutex, 2);
            two
        };
        let first = wait_twice(&held);
        let guard = held.lock();
        condvar.notify_all();
        // Those come to a queue that is empty, while turns go on.
        let others = wait_twice(&free);
        condvar.notify_all();
        for other in others {
            other
                .join()
                .expect("it does not need the mutex that is held");
        }
        drop(guard);
        for one in first {
            one.join().expect("it comes back");
        }
    });
}

#[test]
fn notify_all_wakes_threads_and_goroutines_alike() {
    let (mutex, condvar) = (Mutex::new(0), Condvar::new());
    goweft::scope(|s| {
        thread::scope(|threads| {
            for n in [1, 4, 7] {
                let a_thread = threads.spawn(|| wait_with(&mutex, &condvar));
                until_waiting(&mutex, n);
                let two = [0, 1].map(|_| s.spawn(|| wait_with(&mutex, &condvar)));
                until_waiting(&mutex, n + 2);
                condvar.notify_all();
                two.into_iter()
                    .for_each(|one| one.join().expect("it comes back"));
                a_thread.join().expect("it comes back");
            }
        });
    });
}

#[test]
fn who_was_notified_in_time_has_not_timed_out_however_late_its_turn_comes() {
    goweft_tests::in_time(Duration::from_millis(500), |patience| {
        let (mutex, condvar) = (Mutex::new(0), Condvar::new());
        let begin = Instant::now();
        goweft::scope(|s| {
            let all: Vec<_> = (0..10)
                .map(|_| {
                    s.spawn(|| {
                        let mut waiting = mutex.lock();
                        *waiting += 1;
                        condvar.wait_timeout(waiting, patience).1
                    })
                })
                .collect();
            until_waiting(&mutex, 10);
            let guard = mutex.lock();
            condvar.notify_all();
            let in_time = begin.elapsed() < patience;
            // Who comes later is not meant.
            let late = s.spawn(|| {
                let guard = mutex.lock();
                condvar.wait_timeout(guard, SOON).1
            });
            // The deadlines of all pass.
            thread::sleep(patience + SOON);
            drop(guard);
            for one in all {
                assert!(!one.join().expect("it comes back").timed_out() || !in_time);
            }
            assert!(late.join().expect("it comes back").timed_out());
            in_time
        })
    });
}

#[test]
fn notifications_to_all_that_follow_each_other_wake_all() {
    const WAITERS: usize = 20;
    let (rounds, condvar) = (Mutex::new(0), Condvar::new());
    let come = AtomicUsize::new(0);
    goweft::scope(|s| {
        for _ in 0..WAITERS {
            s.spawn(|| {
                let mut seen = 0;
                while seen < 1000 {
                    let round = condvar.wait_while(rounds.lock(), |round| *round == seen);
                    seen = *round;
                }
                come.fetch_add(1, Ordering::Relaxed);
            });
        }
        for _ in 0..1000 {
            // Most rounds begin before all have had their turn in the last one.
            *rounds.lock() += 1;
            condvar.notify_all();
        }
    });
    assert_eq!(come.into_inner(), WAITERS);
}

// Go's sync/cond_test.go TestRace: three steps, each waits for the one before it.
#[test]
fn steps_that_wait_for_each_other_come_through() {
    for _ in 0..100 {
        let (step, changed) = (Mutex::new(0), Condvar::new());
        goweft::scope(|s| {
            s.spawn(|| {
                let mut at = step.lock();
                *at = 1;
                at = changed.wait(at);
                assert_eq!(*at, 2);
                *at = 3;
                changed.notify_one();
            });
            s.spawn(|| {
                loop {
                    let mut at = step.lock();
                    if *at == 1 {
                        *at = 2;
                        changed.notify_one();
                        break;
                    }
                    drop(at);
                    goweft::task::yield_now();
                }
            });
            s.spawn(|| {
                loop {
                    let mut at = step.lock();
                    if *at == 2 {
                        at = changed.wait(at);
                        assert_eq!(*at, 3);
                        break;
                    }
                    let done = *at == 3;
                    drop(at);
                    if done {
                        break;
                    }
                    goweft::task::yield_now();
                }
            });
        });
    }
}

#[test]
fn waits_with_conditions_and_timeouts_are_stds() {
    let (mutex, condvar) = (Mutex::new(0), Condvar::default());
    let start = Instant::now();
    let (guard, result) = condvar.wait_timeout(mutex.lock(), SOON);
    assert!(result.timed_out() && start.elapsed() >= SOON);
    let (guard, result) = condvar.wait_timeout_while(guard, SOON, |n| *n == 0);
    assert!(result.timed_out());
    let (guard, result) = condvar.wait_timeout_while(guard, Duration::ZERO, |n| *n != 0);
    assert!(!result.timed_out());
    drop(guard);
    thread::scope(|s| {
        s.spawn(|| {
            for _ in 0..3 {
                *mutex.lock() += 1;
                condvar.notify_all();
            }
        });
        let guard = condvar.wait_while(mutex.lock(), |n| *n < 3);
        assert_eq!(*guard, 3);
        let (guard, result) = condvar.wait_timeout_while(guard, WATCHDOG, |n| *n < 3);
        assert!(!result.timed_out());
        drop(guard);
    });
    assert_eq!(format!("{condvar:?}"), "Condvar { .. }");
}

#[test]
fn a_condition_that_panics_leaves_the_mutex_unlocked() {
    let (mutex, condvar) = (Mutex::new(0), Condvar::new());
    let failed = catch_unwind(AssertUnwindSafe(|| {
        *condvar.wait_while(mutex.lock(), |_| panic!("the condition"))
    }));
    assert!(failed.is_err());
    assert!(mutex.try_lock().is_some());
}

// ---- Barrier ----

#[test]
fn a_barrier_lets_all_through_when_the_last_one_comes() {
    const N: usize = 10;
    let barrier = Arc::new(Barrier::new(N));
    let (tx, through) = channel::unbounded();
    for i in 0..N - 1 {
        let (barrier, tx) = (barrier.clone(), tx.clone());
        let wait = move || tx.send(barrier.wait().is_leader()).unwrap();
        match i % 3 {
            0 => drop(thread::spawn(wait)),
            _ => goweft::go!(wait),
        }
    }
    assert!(through.try_recv().is_err());
    let mut leaders = usize::from(barrier.wait().is_leader());
    for _ in 0..N - 1 {
        leaders += usize::from(through.recv_timeout(WATCHDOG).unwrap());
    }
    assert_eq!(leaders, 1);
}

#[test]
fn a_barrier_is_used_again_at_once() {
    const N: usize = 4;
    const ROUNDS: usize = 2_000;
    let barrier = Barrier::new(N);
    let (arrived, leaders) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        for round in 1..=ROUNDS {
            arrived.fetch_add(1, Ordering::SeqCst);
            if barrier.wait().is_leader() {
                leaders.fetch_add(1, Ordering::SeqCst);
            }
            let n = arrived.load(Ordering::SeqCst);
            assert!(
                (round * N..(round + 1) * N).contains(&n),
                "{n} in round {round}"
            );
        }
    };
    thread::scope(|threads| {
        threads.spawn(work);
        goweft::scope(|s| (0..N - 1).for_each(|_| _ = s.spawn(work)));
    });
    assert_eq!(leaders.into_inner(), ROUNDS);
    assert!(Barrier::new(0).wait().is_leader());
}
