//! `sync::Once`, `OnceLock` and `LazyLock`.

use goweft::channel;
use goweft::sync::{Barrier, LazyLock, Once, OnceLock, WaitGroup};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const WATCHDOG: Duration = Duration::from_secs(60);

/// The text that `f` panics with.
fn panic_text(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_string(),
    }
}

// Go's sync/once_test.go TestOnce.
#[test]
fn all_callers_return_after_the_one_call() {
    const N: usize = 20;
    for _ in 0..100 {
        let once = Arc::new(Once::new());
        let calls = Arc::new(AtomicUsize::new(0));
        let wg = WaitGroup::new();
        for i in 0..N {
            let (once, calls) = (once.clone(), calls.clone());
            let call = move || {
                once.call_once(|| {
                    goweft::task::yield_now();
                    calls.fetch_add(1, Ordering::Relaxed);
                });
                assert_eq!(calls.load(Ordering::Relaxed), 1);
                assert!(once.is_completed());
            };
            match i % 10 {
                0 => thread::spawn(call).join().unwrap(),
                _ => wg.go(call),
            }
        }
        assert!(wg.wait_timeout(WATCHDOG));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}

// Go's sync/once_test.go TestOncePanic.
#[test]
fn a_closure_that_panicked_has_run() {
    let once = Once::new();
    assert_eq!(panic_text(|| once.call_once(|| panic!("failed"))), "failed");
    assert!(once.is_completed());
    once.call_once(|| unreachable!("it has run"));
    once.call_once_force(|_| unreachable!("it has run"));
    once.wait();
}

#[test]
fn those_who_wait_go_on_after_a_panic_or_an_exit() {
    for exits in [false, true] {
        let (once, meet) = (Arc::new(Once::new()), Arc::new(Barrier::new(2)));
        let (o, m) = (once.clone(), meet.clone());
        let runs = goweft::spawn(move || {
            o.call_once(|| {
                m.wait();
                if exits {
                    goweft::task::exit();
                }
                std::panic::resume_unwind(Box::new("quietly"));
            })
        });
        meet.wait();
        once.call_once(|| unreachable!("it has begun"));
        assert!(runs.join().is_err());
    }
}

#[test]
fn wait_waits_for_somebody_elses_call() {
    let once = Arc::new(Once::new());
    let (tx, done) = channel::bounded(2);
    for _ in 0..2 {
        let (once, tx) = (once.clone(), tx.clone());
        goweft::go! {
            once.wait();
            once.wait_force();
            tx.send(()).unwrap();
        }
    }
    assert!(done.try_recv().is_err());
    once.call_once_force(|state| assert!(!state.is_poisoned()));
    assert!((0..2).all(|_| done.recv_timeout(WATCHDOG).is_ok()));
}

#[test]
fn a_once_lock_is_set_once() {
    let cell = OnceLock::new();
    assert_eq!(cell.get(), None);
    assert_eq!(cell.set(1), Ok(()));
    assert_eq!(cell.set(2), Err(2));
    assert_eq!(
        (cell.get(), cell.get_or_init(|| 3), cell.wait()),
        (Some(&1), &1, &1)
    );
    let mut copy = cell.clone();
    assert_eq!(copy, cell);
    *copy.get_mut().unwrap() = 5;
    assert_ne!(copy, cell);
    assert_eq!(copy.take(), Some(5));
    assert_eq!((copy.take(), copy.get_mut()), (None, None));
    assert_eq!(
        format!("{cell:?} {copy:?}"),
        "OnceLock(1) OnceLock(<uninit>)"
    );
    assert_eq!(
        (cell.into_inner(), OnceLock::from(7).into_inner()),
        (Some(1), Some(7))
    );
    assert_eq!(OnceLock::<u8>::default().into_inner(), None);
}

#[test]
fn a_once_lock_drops_its_value_once() {
    let value = Arc::new(());
    let cell = OnceLock::new();
    cell.set(value.clone()).unwrap();
    assert!(cell.set(value.clone()).is_err());
    assert_eq!(Arc::strong_count(&value), 2);
    drop(cell);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn an_initialiser_that_panics_leaves_room_for_the_next() {
    const N: usize = 8;
    for _ in 0..200 {
        let (cell, tries) = (OnceLock::new(), AtomicUsize::new(0));
        let failed = AtomicUsize::new(0);
        goweft::scope(|s| {
            for _ in 0..N {
                s.spawn(|| {
                    let value = catch_unwind(AssertUnwindSafe(|| {
                        *cell.get_or_init(|| {
                            goweft::task::yield_now();
                            // The first two fail.
                            if tries.fetch_add(1, Ordering::SeqCst) < 2 {
                                std::panic::resume_unwind(Box::new(()));
                            }
                            7
                        })
                    }));
                    match value {
                        Ok(value) => assert_eq!(value, 7),
                        Err(_) => _ = failed.fetch_add(1, Ordering::SeqCst),
                    }
                });
            }
            s.spawn(|| assert_eq!(*cell.wait(), 7));
        });
        assert_eq!((tries.into_inner(), failed.into_inner()), (3, 2));
    }
}

// Go's sync/oncefunc_test.go TestOnceValue, TestOnceFunc, TestOnceValues: a tuple is a value.
#[test]
fn a_lazy_value_is_made_at_its_first_use() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    static LAZY: LazyLock<String> = LazyLock::new(|| {
        MADE.fetch_add(1, Ordering::Relaxed);
        goweft::task::yield_now();
        "made".to_string()
    });
    assert_eq!(LazyLock::get(&LAZY), None);
    assert_eq!(format!("{LAZY:?}"), "LazyLock(<uninit>)");
    goweft::scope(|s| {
        (0..8).for_each(|_| _ = s.spawn(|| assert_eq!(LAZY.as_str(), "made")));
        thread::scope(|t| _ = t.spawn(|| assert_eq!(LAZY.len(), 4)));
    });
    assert_eq!(MADE.load(Ordering::Relaxed), 1);
    assert_eq!(LazyLock::get(&LAZY).map(String::as_str), Some("made"));
    assert_eq!(format!("{LAZY:?}"), "LazyLock(\"made\")");
    let mut own = LazyLock::new(|| 1);
    assert_eq!(LazyLock::get_mut(&mut own), None);
    *own += 1;
    *LazyLock::force_mut(&mut own) += 1;
    assert_eq!(
        (LazyLock::get_mut(&mut own), *LazyLock::<u8>::default()),
        (Some(&mut 3), 0)
    );
}

// Go's sync/oncefunc_test.go TestOnceFuncPanic, TestOnceValuePanic, …PanicNil: the same panic every
// time.
#[test]
fn a_lazy_value_that_could_not_be_made_panics_alike_at_each_use() {
    let calls = AtomicUsize::new(0);
    let count = || calls.fetch_add(1, Ordering::Relaxed);
    let fixed: LazyLock<u8, _> = LazyLock::new(|| {
        count();
        panic!("no luck")
    });
    let formatted: LazyLock<u8, _> = LazyLock::new(|| panic!("no luck {}", count()));
    let exits: LazyLock<u8, _> = LazyLock::new(|| goweft::task::exit());
    let other: LazyLock<u8, _> = LazyLock::new(|| std::panic::resume_unwind(Box::new(7)));
    for _ in 0..3 {
        assert_eq!(panic_text(|| _ = *fixed), "no luck");
        assert_eq!(panic_text(|| _ = *formatted), "no luck 1");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert!(
        catch_unwind(AssertUnwindSafe(|| *exits))
            .unwrap_err()
            .is::<goweft::task::Exited>()
    );
    assert!(panic_text(|| _ = *exits).starts_with("sync: "));
    assert!(
        catch_unwind(AssertUnwindSafe(|| *other))
            .unwrap_err()
            .is::<i32>()
    );
    assert!(panic_text(|| _ = *other).starts_with("sync: "));
    assert_eq!(LazyLock::get(&fixed), None);
}

// Go's sync/oncefunc_test.go TestOnceXGC: the closure, and what it owns, is gone after the call.
#[test]
fn a_lazy_value_drops_its_closure_after_the_call() {
    for panics in [false, true] {
        let owned = Arc::new(());
        let held = owned.clone();
        let lazy = LazyLock::new(move || {
            let _held = held;
            if panics {
                std::panic::resume_unwind(Box::new(()));
            }
        });
        assert_eq!(Arc::strong_count(&owned), 2);
        assert_eq!(catch_unwind(AssertUnwindSafe(|| *lazy)).is_err(), panics);
        assert_eq!(Arc::strong_count(&owned), 1);
    }
}
