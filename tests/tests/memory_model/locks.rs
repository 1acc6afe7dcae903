//! Locks, and what is built like one.

use crate::letter::Letter;
use crate::sides::{DEAR_ROUNDS, ROUNDS, both_ways};
use goweft::channel;
use goweft::rate::{Limit, Limiter, Sometimes};
use goweft::sync::{Barrier, Condvar, Mutex, RwLock, RwLockWriteGuard, Semaphore};
use goweft::task;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Each side writes under the lock and expects what the last one wrote: `locked` runs its argument
/// under the lock.
fn a_lock_hands_on<L: Send + Sync + 'static>(make: fn() -> L, locked: fn(&L, &mut dyn FnMut())) {
    both_ways(|| {
        let shared = Arc::new((make(), Letter::default(), AtomicU64::new(0)));
        shared.1.write(0);
        let side = |shared: Arc<(L, Letter, AtomicU64)>| {
            move || {
                let (lock, letter, last) = &*shared;
                for n in 0..ROUNDS {
                    locked(lock, &mut || {
                        let before = last.load(Ordering::Relaxed);
                        letter.expect(before);
                        letter.write(before + 1);
                        last.store(before + 1, Ordering::Relaxed);
                    });
                    if n % 64 == 0 {
                        task::yield_now();
                    }
                }
            }
        };
        (side(shared.clone()), side(shared))
    });
}

#[test]
fn an_unlock_comes_before_the_next_lock() {
    a_lock_hands_on(
        || Mutex::new(()),
        |mutex, f| {
            let _guard = mutex.lock();
            f();
        },
    );
    a_lock_hands_on(
        || Mutex::new(()),
        |mutex, f| {
            let _guard = loop {
                match mutex.try_lock() {
                    Some(guard) => break guard,
                    None => task::yield_now(),
                }
            };
            f();
        },
    );
}

#[test]
fn a_write_unlock_comes_before_the_next_lock_of_either_kind() {
    a_lock_hands_on(
        || RwLock::new(()),
        |lock, f| {
            let _guard = lock.write();
            f();
        },
    );
    both_ways(|| {
        let shared = Arc::new((RwLock::new(0), Letter::default()));
        shared.1.write(0);
        let theirs = shared.clone();
        (
            move || {
                for n in 1..=ROUNDS {
                    let mut last = shared.0.write();
                    shared.1.write(n);
                    *last = n;
                    drop(last);
                    if n % 64 == 0 {
                        task::yield_now();
                    }
                }
            },
            move || {
                loop {
                    let last = theirs.0.read();
                    theirs.1.expect(*last);
                    if *last == ROUNDS {
                        return;
                    }
                    drop(last);
                    task::yield_now();
                }
            },
        )
    });
}

#[test]
fn a_downgrade_comes_before_the_next_read_lock() {
    both_ways(|| {
        let shared = Arc::new((RwLock::new(0), Letter::default()));
        shared.1.write(0);
        let theirs = shared.clone();
        let (tx, seen) = channel::unbounded();
        (
            move || {
                for n in 1..=DEAR_ROUNDS / 4 {
                    let mut last = shared.0.write();
                    shared.1.write(n);
                    *last = n;
                    // Held until it was read, so that no unlock orders anything.
                    let _last = RwLockWriteGuard::downgrade(last);
                    assert_eq!(seen.recv(), Ok(n));
                }
            },
            move || {
                let mut before = 0;
                while before < DEAR_ROUNDS / 4 {
                    let last = theirs.0.read();
                    theirs.1.expect(*last);
                    if *last != before {
                        before = *last;
                        tx.send(before).unwrap();
                    }
                    drop(last);
                    task::yield_now();
                }
            },
        )
    });
}

/// Also of readers that count nowhere, to which the lock goes over after many reads.
#[test]
fn a_read_unlock_comes_before_the_next_write_lock() {
    both_ways(|| {
        let shared = Arc::new((RwLock::new(()), Letter::default(), AtomicU64::new(0)));
        shared.1.write(0);
        let theirs = shared.clone();
        (
            move || {
                // Who reads counts, which a writer that comes after must see.
                for n in 1..=10 * ROUNDS {
                    let guard = shared.0.read();
                    shared.1.write(n);
                    shared.2.store(n, Ordering::Relaxed);
                    drop(guard);
                    if n % 64 == 0 {
                        task::yield_now();
                    }
                }
            },
            move || {
                loop {
                    for _ in 0..500 {
                        // Rarely: between two writers readers are to become many.
                        task::yield_now();
                    }
                    let guard = theirs.0.write();
                    let n = theirs.2.load(Ordering::Relaxed);
                    theirs.1.expect(n);
                    drop(guard);
                    if n == 10 * ROUNDS {
                        return;
                    }
                }
            },
        )
    });
}

#[test]
fn what_a_sometimes_ran_comes_before_the_next_call() {
    a_lock_hands_on(
        || Sometimes::new().every(1),
        |sometimes, f| sometimes.run(f),
    );
}

#[test]
fn a_call_of_a_limiter_comes_before_every_later_one() {
    both_ways(|| {
        let letters: Vec<Letter> = (0..=DEAR_ROUNDS).map(|_| Letter::default()).collect();
        letters[0].write(0);
        let shared = Arc::new((Limiter::new(Limit::INF, 0), letters));
        let theirs = shared.clone();
        (
            move || {
                let (limiter, letters) = &*shared;
                for n in 1..=DEAR_ROUNDS {
                    letters[n as usize].write(n);
                    limiter.set_burst(n as _);
                    if n % 64 == 0 {
                        task::yield_now();
                    }
                }
            },
            move || {
                let (limiter, letters) = &*theirs;
                loop {
                    let n = limiter.burst() as u64;
                    letters[n as usize].expect(n);
                    if n == DEAR_ROUNDS {
                        return;
                    }
                    task::yield_now();
                }
            },
        )
    });
}

#[test]
fn a_release_of_permits_comes_before_an_acquire_that_needs_them() {
    a_lock_hands_on(
        || Semaphore::new(1),
        |semaphore, f| {
            let _permit = semaphore.acquire(1);
            f();
        },
    );
    a_lock_hands_on(
        || Semaphore::new(3),
        |semaphore, f| {
            let _permit = semaphore.acquire(2);
            f();
        },
    );
}

/// To one that is free, behind a permit that is held: what needs none of those that were released
/// comes after the release as well.
#[test]
fn a_release_of_permits_comes_before_an_acquire_that_needs_others() {
    both_ways(|| {
        let shared = Arc::new((
            Semaphore::new(2),
            Letter::default(),
            [AtomicU64::new(0), AtomicU64::new(0)],
        ));
        let theirs = shared.clone();
        let until = |n: u64, side: &AtomicU64| {
            while side.load(Ordering::Acquire) != n {
                task::yield_now();
            }
        };
        (
            move || {
                let (semaphore, letter, [held, read]) = &*shared;
                for n in 1..=DEAR_ROUNDS {
                    let permit = semaphore.acquire(1);
                    held.store(n, Ordering::Release);
                    letter.write(n);
                    drop(permit);
                    until(n, read);
                }
            },
            move || {
                let (semaphore, letter, [held, read]) = &*theirs;
                for n in 1..=DEAR_ROUNDS {
                    until(n, held);
                    while semaphore.available_permits() != 2 {
                        task::yield_now();
                    }
                    drop(semaphore.acquire(1));
                    letter.expect(n);
                    read.store(n, Ordering::Release);
                }
            },
        )
    });
}

/// Written after the mutex was unlocked, so that it orders nothing.
#[test]
fn what_comes_right_before_a_notification_comes_before_the_end_of_each_wait() {
    const WAITERS: u64 = 3;
    for waiters in [1, WAITERS] {
        both_ways(|| {
            let shared = Arc::new((Mutex::new(0), Condvar::new(), Letter::default()));
            let theirs = shared.clone();
            (
                move || {
                    let (begun, called, letter) = &*shared;
                    for n in 1..=DEAR_ROUNDS {
                        while *begun.lock() != n * waiters {
                            task::yield_now();
                        }
                        letter.write(n);
                        match waiters {
                            1 => called.notify_one(),
                            _ => called.notify_all(),
                        }
                    }
                },
                move || {
                    let (begun, called, letter) = &*theirs;
                    let wait = || {
                        for n in 1..=DEAR_ROUNDS {
                            let mut begun = begun.lock();
                            *begun += 1;
                            let begun = called.wait(begun);
                            letter.expect(n);
                            drop(begun);
                        }
                    };
                    goweft::scope(|s| {
                        for _ in 1..waiters {
                            s.spawn(wait);
                        }
                        wait();
                    });
                },
            )
        });
    }
}

#[test]
fn a_notification_comes_before_the_end_of_the_wait_that_it_ends() {
    both_ways(|| {
        let shared = Arc::new((Mutex::new(0), Condvar::new(), <[Letter; 2]>::default()));
        let theirs = shared.clone();
        (
            move || {
                let (mutex, changed, letters) = &*shared;
                for n in 1..=ROUNDS {
                    letters[0].write(n);
                    let mut turn = mutex.lock();
                    *turn = n;
                    drop(turn);
                    changed.notify_one();
                    drop(changed.wait_while(mutex.lock(), |turn| *turn != 0));
                    letters[1].expect(n);
                }
            },
            move || {
                let (mutex, changed, letters) = &*theirs;
                for n in 1..=ROUNDS {
                    drop(changed.wait_while(mutex.lock(), |turn| *turn == 0));
                    letters[0].expect(n);
                    letters[1].write(n);
                    *mutex.lock() = 0;
                    changed.notify_all();
                }
            },
        )
    });
}

#[test]
fn what_each_did_comes_before_the_end_of_the_barrier_for_all() {
    both_ways(|| {
        let shared = Arc::new((Barrier::new(2), [Letter::default(), Letter::default()]));
        let side = |me: usize, shared: Arc<(Barrier, [Letter; 2])>| {
            move || {
                let (barrier, letters) = &*shared;
                for n in 0..ROUNDS {
                    letters[me].write(n);
                    barrier.wait();
                    letters[1 - me].expect(n);
                    barrier.wait();
                }
            }
        };
        (side(0, shared.clone()), side(1, shared))
    });
}
