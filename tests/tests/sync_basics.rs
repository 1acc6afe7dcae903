//! `sync::Mutex` and `sync::WaitGroup`, from goroutines and threads.

use goweft::channel;
use goweft::sync::{Mutex, WaitGroup};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);

#[test]
fn smoke() {
    let mutex = Mutex::new(1);
    *mutex.lock() += 1;
    assert_eq!(*mutex.lock(), 2);
    let wg = WaitGroup::new();
    wg.wait();
    wg.add(1);
    let wg2 = wg.clone();
    thread::spawn(move || wg2.done());
    wg.wait();
}

// Go's sync/mutex_test.go TestMutex, and TestSemaphore, which is of what is under it: lockers,
// some of which only try.
#[test]
fn a_mutex_excludes_goroutines_and_threads() {
    let mutex = Arc::new(Mutex::new(0u64));
    let inside = Arc::new(AtomicUsize::new(0));
    let wg = WaitGroup::new();
    let work = |rounds: u64| {
        let (mutex, inside) = (mutex.clone(), inside.clone());
        move || {
            for i in 0..rounds {
                let mut guard = loop {
                    if i % 3 != 0 {
                        break mutex.lock();
                    }
                    match mutex.try_lock() {
                        Some(guard) => break guard,
                        None => goweft::task::yield_now(),
                    }
                };
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                *guard += 1;
                if i % 64 == 0 {
                    // Holding it over a switch is allowed.
                    goweft::task::yield_now();
                }
                assert_eq!(inside.fetch_sub(1, Ordering::Relaxed), 1);
            }
        }
    };
    for _ in 0..10 {
        wg.go(work(1000));
    }
    let threads: Vec<_> = (0..2).map(|_| thread::spawn(work(1000))).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    wg.wait();
    assert_eq!(*mutex.lock(), 12_000);
}

#[test]
fn try_lock_and_deadlines_give_up() {
    let mutex = Mutex::new(());
    let guard = mutex.lock();
    assert!(mutex.try_lock().is_none());
    let start = Instant::now();
    assert!(mutex.try_lock_for(SOON).is_none());
    assert!(mutex.try_lock_until(start + 2 * SOON).is_none());
    assert!(start.elapsed() >= 2 * SOON);
    drop(guard);
    assert!(mutex.try_lock_for(SOON).is_some());
    assert!(mutex.try_lock().is_some());
}

#[test]
fn a_waiter_that_gives_up_passes_the_mutex_on() {
    // Waiters with short deadlines among some without: all of the latter must
    // get it, however many of the former were woken and gave up.
    let mutex = Arc::new(Mutex::new(0));
    let wg = WaitGroup::new();
    let timeouts = Arc::new(AtomicUsize::new(0));
    for i in 0..60 {
        let (mutex, timeouts) = (mutex.clone(), timeouts.clone());
        wg.go(move || {
            for _ in 0..50 {
                let guard = match i % 2 {
                    0 => Some(mutex.lock()),
                    _ => mutex.try_lock_for(Duration::from_micros(20 * (i % 7))),
                };
                match guard {
                    Some(mut guard) => *guard += 1,
                    None => _ = timeouts.fetch_add(1, Ordering::Relaxed),
                }
            }
        });
    }
    wg.wait();
    assert_eq!(*mutex.lock() + timeouts.load(Ordering::Relaxed), 3000);
}

// Go's sync/mutex_test.go TestMutexFairness.
#[test]
fn a_waiter_is_not_starved_by_one_who_relocks_at_once() {
    let mutex = Arc::new(Mutex::new(()));
    let stop = Arc::new(AtomicBool::new(false));
    let (mutex2, stop2) = (mutex.clone(), stop.clone());
    let hog = thread::spawn(move || {
        while !stop2.load(Ordering::Relaxed) {
            let _guard = mutex2.lock();
            thread::sleep(Duration::from_micros(100));
        }
    });
    for _ in 0..10 {
        thread::sleep(Duration::from_micros(100));
        assert!(mutex.try_lock_for(Duration::from_secs(20)).is_some());
    }
    stop.store(true, Ordering::Relaxed);
    hog.join().unwrap();
}

#[test]
fn a_panic_unlocks_without_poison() {
    let mutex = Arc::new(Mutex::new(1));
    let mutex2 = mutex.clone();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = mutex2.lock();
        *guard = 2;
        panic!("while it is held");
    }));
    assert!(result.is_err());
    assert_eq!(*mutex.lock(), 2);
}

#[test]
fn a_mutex_has_stds_conveniences() {
    static GLOBAL: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    GLOBAL.lock().push(1);
    let mut mutex = Mutex::from(3);
    *mutex.get_mut() = 4;
    assert_eq!(format!("{mutex:?}"), "Mutex { data: 4 }");
    let guard = mutex.lock();
    assert_eq!(format!("{mutex:?}"), "Mutex { data: <locked> }");
    assert_eq!(format!("{guard} {guard:?}"), "4 4");
    drop(guard);
    assert_eq!(mutex.into_inner(), 4);
    assert_eq!(*Mutex::<u8>::default().lock(), 0);
    let unsized_value: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    assert_eq!(unsized_value.lock().len(), 3);
    fn is_send<T: Send + Sync>() {}
    is_send::<Mutex<std::cell::Cell<u8>>>();
    is_send::<WaitGroup>();
}

// Go's sync/waitgroup_test.go TestWaitGroup: used twice, by many.
#[test]
fn a_wait_group_is_a_barrier_and_can_be_used_again() {
    goweft::run(|| {
        let (first, second) = (WaitGroup::new(), WaitGroup::new());
        for _ in 0..8 {
            const N: usize = 16;
            first.add(N);
            second.add(N);
            let (exited_tx, exited) = channel::bounded(N);
            for _ in 0..N {
                let (first, second, exited_tx) = (first.clone(), second.clone(), exited_tx.clone());
                goweft::go!(move || {
                    first.done();
                    second.wait();
                    exited_tx.send(()).unwrap();
                });
            }
            first.wait();
            for _ in 0..N {
                assert!(exited.try_recv().is_err(), "released too early");
                second.done();
            }
            for _ in 0..N {
                exited.recv().unwrap();
            }
        }
    });
}

#[test]
fn a_wait_that_is_over_is_not_confused_by_the_next_use() {
    // The counter is used again at once; a waiter of the second use must not be
    // released by the end of the first.
    for _ in 0..500 {
        let wg = WaitGroup::new();
        wg.add(1);
        let waiter = {
            let wg = wg.clone();
            goweft::spawn(move || wg.wait())
        };
        let done = {
            let wg = wg.clone();
            goweft::spawn(move || wg.done())
        };
        done.join().unwrap();
        wg.add(1);
        let second = wg.wait_timeout(Duration::ZERO);
        assert!(!second);
        wg.done();
        waiter.join().unwrap();
    }
}

// Go's sync/waitgroup_test.go TestWaitGroupMisuse.
#[test]
fn a_negative_counter_panics() {
    let wg = WaitGroup::new();
    wg.add(1);
    wg.done();
    let text = catch_unwind(AssertUnwindSafe(|| wg.done())).unwrap_err();
    assert_eq!(
        *text.downcast::<&str>().unwrap(),
        "sync: negative WaitGroup counter"
    );
    // And it is as it was.
    wg.wait();
    assert!(catch_unwind(AssertUnwindSafe(|| wg.add(usize::MAX))).is_err());
    wg.wait();
}

// Go's sync/waitgroup_test.go TestWaitGroupGo; and what ends otherwise counts too.
#[test]
fn go_counts_whatever_way_it_ends() {
    let wg = WaitGroup::new();
    let ran = Arc::new(AtomicUsize::new(0));
    for how in 0..3 {
        let ran = ran.clone();
        wg.go(move || {
            ran.fetch_add(1, Ordering::Relaxed);
            match how {
                0 => {}
                1 => goweft::task::exit(),
                _ => std::panic::resume_unwind(Box::new("quietly")),
            }
        });
    }
    wg.wait();
    assert_eq!(ran.load(Ordering::Relaxed), 3);
    assert_eq!(format!("{wg:?}"), "WaitGroup { count: 0 }");
}

#[test]
fn a_wait_times_out() {
    let wg = WaitGroup::new();
    wg.add(1);
    let start = Instant::now();
    assert!(!wg.wait_timeout(SOON));
    assert!(start.elapsed() >= SOON);
    wg.done();
    assert!(wg.wait_timeout(Duration::ZERO));
}
