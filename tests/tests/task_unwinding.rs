//! Goroutines that do what goroutines do, while they unwind.

use goweft::{runtime, spawn, task};
use std::panic::{catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_drop_that_sleeps_while_unwinding_parks_with_its_thread() {
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
    let before = runtime::set_maxprocs(1);
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
    runtime::set_maxprocs(before);
}

#[test]
fn a_thousand_unwind_at_once_and_each_waits_and_recovers_in_its_drops() {
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
