//! Goroutines that are bound to their thread because they unwind (S12).

use crate::{Stress, compute, random};
use goweft::{channel, scope, spawn, sync, task};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Parks and computes while it is dropped by a panic, and catches another one meanwhile.
struct Parks(u64);

impl Drop for Parks {
    fn drop(&mut self) {
        assert!(std::thread::panicking());
        task::sleep(Duration::from_micros(self.0 % 100));
        compute(self.0 % 300);
        let inner = catch_unwind(|| resume_unwind(Box::new(3u8))).unwrap_err();
        assert_eq!(*inner.downcast::<u8>().unwrap(), 3);
        task::yield_now();
        assert!(std::thread::panicking());
    }
}

#[test]
fn those_that_park_while_they_unwind_come_to_their_end() {
    Stress::on_each("panics", |stress| {
        let lock = Arc::new(sync::Mutex::new(()));
        stress.turns(6, move |i, n| {
            let random = random(i, n);
            let lock = lock.clone();
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _parks = Parks(random);
                let _held = (random & 1 == 1).then(|| lock.lock());
                resume_unwind(Box::new(n));
            }));
            assert_eq!(*caught.unwrap_err().downcast::<u64>().unwrap(), n);
            assert!(!std::thread::panicking());
            compute(random >> 8 & 0x7f);
        });
    });
}

#[test]
fn a_scope_ends_with_all_that_it_spawned_when_one_of_them_panics() {
    Stress::on_each("scopes", |stress| {
        stress.turns(4, |i, n| {
            let random = random(i, n);
            let (tx, rx) = channel::bounded::<u64>(1);
            let mut sum = 0;
            let caught = catch_unwind(AssertUnwindSafe(|| {
                scope(|s| {
                    s.spawn(|| sum = rx.into_iter().sum());
                    s.spawn(move || {
                        tx.send(1).unwrap();
                        compute(random & 0x1ff);
                        tx.send(2).unwrap();
                    });
                    s.spawn(move || {
                        let _parks = Parks(random >> 8);
                        resume_unwind(Box::new(n));
                    });
                })
            }));
            assert!(caught.is_err());
            assert_eq!(sum, 3);
        });
    });
}

#[test]
fn pinned_goroutines_meet_others() {
    Stress::on_each("pinned", |stress| {
        stress.turns(4, |i, n| {
            let (there, here) = (channel::bounded(0), channel::bounded(0));
            let random = random(i, n);
            let pinned = goweft::Builder::new()
                .pinned(true)
                .spawn(move || {
                    let thread = std::thread::current().id();
                    for m in there.1 {
                        compute(random & 0x7f);
                        here.0.send(m).unwrap();
                        assert_eq!(std::thread::current().id(), thread);
                    }
                })
                .unwrap();
            let echo = here.1;
            for m in 0..4 {
                there.0.send(m).unwrap();
                if m % 2 == 1 {
                    spawn(task::yield_now).join().unwrap();
                }
                assert_eq!(echo.recv(), Ok(m));
            }
            drop(there.0);
            pinned.join().unwrap();
        });
    });
}

/// Half of them end locked, and take their thread with them.
#[test]
fn locked_goroutines_meet_others_and_end_with_their_threads() {
    Stress::on_each("locked", |stress| {
        stress.turns(3, |i, n| {
            let random = random(i, n);
            let (tx, rx) = channel::bounded(0);
            let locked = spawn(move || {
                let guard = task::lock_os_thread();
                let thread = std::thread::current().id();
                for m in 0..3u64 {
                    compute(random & 0x7f);
                    tx.send(m).unwrap();
                    assert_eq!(std::thread::current().id(), thread);
                }
                if random & 1 == 1 {
                    std::mem::forget(guard);
                }
                if random & 2 == 2 {
                    let _parks = Parks(random >> 8);
                    resume_unwind(Box::new(n));
                }
            });
            assert_eq!(rx.into_iter().sum::<u64>(), 3);
            assert_eq!(locked.join().is_err(), random & 2 == 2);
        });
    });
}
