//! Goroutines that do what goroutines do, while they unwind.

use goweft::{runtime, spawn, task};
use goweft_tests::pressure::wait_until;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// No other test of this program has goroutines until this is dropped.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f` with one processor, which no other test has a part of.
fn on_one_processor(f: impl FnOnce()) {
    let _alone = alone();
    let before = runtime::set_maxprocs(1);
    f();
    runtime::set_maxprocs(before);
}

#[test]
fn a_drop_that_sleeps_while_unwinding_parks_with_its_thread() {
    let _alone = alone();
    let h = spawn(|| {
        let before = std::thread::current().id();
        let _guard = OnDrop(move || {
            assert!(std::thread::panicking());
            for _ in 0..5 {
                task::sleep(Duration::from_millis(1));
                task::yield_now();
            }
            assert!(std::thread::panicking(), "the count is a thread-local");
            assert_eq!(std::thread::current().id(), before);
        });
        resume_unwind(Box::new("unwinding"));
    });
    let payload = h.join().unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"unwinding"));
    assert!(!std::thread::panicking());
}

#[test]
fn while_one_unwinds_and_waits_the_others_on_its_processor_run_unpanicked() {
    on_one_processor(|| {
        let unwinding = spawn(|| {
            let _guard = OnDrop(task::park);
            resume_unwind(Box::new(0u8));
        });
        let t = unwinding.task().clone();
        for _ in 0..100 {
            assert!(!spawn(std::thread::panicking).join().unwrap());
        }
        assert!(!unwinding.is_finished());
        t.unpark();
        assert!(unwinding.join().is_err());
    });
}

#[test]
fn one_that_yields_while_it_unwinds_lets_the_others_go() {
    on_one_processor(|| {
        let yields = Arc::new(AtomicUsize::new(0));
        let count = yields.clone();
        let unwinding = spawn(move || {
            let has_run = Arc::new(AtomicBool::new(false));
            let flag = has_run.clone();
            let _guard = OnDrop(move || {
                while !flag.load(Ordering::Relaxed) {
                    task::yield_now();
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
            // There is a second thread, and it rests: it can come for the processor.
            let (up, is_up) = std::sync::mpsc::channel();
            spawn(move || up.send(()));
            goweft::blocking(|| is_up.recv().unwrap());
            wait_until("the second thread rests", || {
                runtime::metrics().idle_threads != 0
            });
            spawn(move || has_run.store(true, Ordering::Relaxed));
            resume_unwind(Box::new(0u8));
        });
        assert!(unwinding.join().is_err());
        let yields = yields.load(Ordering::Relaxed);
        assert!(yields < 100, "{yields} yields, and nobody else ran");
    });
}

#[test]
fn a_thousand_unwind_at_once_and_each_waits_and_recovers_in_its_drops() {
    let _alone = alone();
    let done = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..1_000usize)
        .map(|i| {
            let done = done.clone();
            spawn(move || {
                let _outer = OnDrop(move || {
                    task::sleep(Duration::from_micros((i % 7) as u64 * 300));
                    let inner = catch_unwind(|| {
                        let _inner = OnDrop(|| task::sleep(Duration::from_millis(1)));
                        resume_unwind(Box::new(i));
                    });
                    let payload = inner.unwrap_err();
                    assert_eq!(payload.downcast_ref(), Some(&i));
                    assert!(std::thread::panicking());
                    // Others spawn and join from here as well.
                    assert_eq!(spawn(move || i + 1).join().unwrap(), i + 1);
                    done.fetch_add(1, Ordering::Relaxed);
                });
                task::yield_now();
                resume_unwind(Box::new(i));
            })
        })
        .collect();
    for (i, h) in handles.into_iter().enumerate() {
        let payload = h.join().unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&i));
    }
    assert_eq!(done.load(Ordering::Relaxed), 1_000);
}

#[test]
fn a_scope_inside_a_drop_joins_while_unwinding() {
    let _alone = alone();
    let h = spawn(|| {
        let _guard = OnDrop(|| {
            let mut n = [0; 4];
            goweft::scope(|s| {
                for slot in &mut n {
                    s.spawn(|| *slot = 1);
                }
            });
            assert_eq!(n, [1; 4]);
        });
        resume_unwind(Box::new(()));
    });
    assert!(h.join().is_err());
}

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
