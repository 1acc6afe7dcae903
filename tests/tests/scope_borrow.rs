//! `scope`: borrows end after all goroutines did, whatever happens.

use goweft::{Builder, run, scope, spawn, task};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

fn text(payload: Box<dyn std::any::Any + Send>) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("another payload")
}

#[test]
fn smoke() {
    let mut a = vec![1, 2, 3];
    let mut x = 0;
    scope(|s| {
        s.spawn(|| assert_eq!(a.len(), 3));
        s.spawn(|| x += a[0] + a[2]);
    });
    a.push(4);
    assert_eq!((x, a.len()), (4, 4));
}

#[test]
fn it_returns_what_the_closure_returns_when_all_have_ended() {
    for in_goroutine in [false, true] {
        let body = || {
            let ended = AtomicUsize::new(0);
            let n = scope(|s| {
                for _ in 0..1_000 {
                    s.spawn(|| {
                        task::yield_now();
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
                1_000
            });
            assert_eq!(ended.into_inner(), n);
        };
        if in_goroutine { run(body) } else { body() }
    }
}

#[test]
fn a_handle_gives_the_result_or_the_panic_of_a_joined_goroutine() {
    let words = ["a".to_string(), "b".to_string()];
    let out = scope(|s| {
        let good = Builder::new()
            .name("good")
            .spawn_scoped(s, || words.concat())
            .unwrap();
        assert_eq!(good.task().name(), Some("good"));
        let bad = s.spawn(|| std::panic::resume_unwind(Box::new("taken")));
        assert_ne!(good.id(), bad.id());
        let payload = bad.join().unwrap_err();
        (good.join().unwrap(), text(payload))
    });
    assert_eq!(out, ("ab".to_string(), "taken"));
}

#[test]
fn a_panic_that_nobody_joined_panics_the_scope() {
    let ended = AtomicUsize::new(0);
    let payload = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            s.spawn(|| std::panic::resume_unwind(Box::new("lost")));
            s.spawn(|| {
                task::yield_now();
                ended.fetch_add(1, Ordering::Relaxed);
            });
        })
    }))
    .unwrap_err();
    assert_eq!(text(payload), "a scoped goroutine panicked");
    assert_eq!(ended.into_inner(), 1);
}

#[test]
fn a_panic_is_lost_whether_the_handle_goes_before_or_after_the_end() {
    for wait in [false, true] {
        for _ in 0..500 {
            let result = catch_unwind(|| {
                scope(|s| {
                    let h = s.spawn(|| std::panic::resume_unwind(Box::new("lost")));
                    while wait && !h.is_finished() {
                        std::thread::yield_now();
                    }
                    drop::<goweft::ScopedJoinHandle<'_, ()>>(h);
                })
            });
            assert_eq!(text(result.unwrap_err()), "a scoped goroutine panicked");
        }
    }
}

#[test]
fn the_closures_own_panic_goes_on_after_the_join() {
    let ended = AtomicUsize::new(0);
    let payload = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            for _ in 0..100 {
                s.spawn(|| {
                    for _ in 0..20 {
                        task::yield_now();
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
            std::panic::resume_unwind(Box::new("the closure's"));
        })
    }))
    .unwrap_err();
    assert_eq!(text(payload), "the closure's");
    assert_eq!(ended.into_inner(), 100, "they ended before the borrow did");
}

#[test]
fn goroutines_of_a_scope_spawn_into_it() {
    let leaves = AtomicUsize::new(0);
    scope(|s| {
        for _ in 0..10 {
            s.spawn(|| {
                for _ in 0..10 {
                    s.spawn(|| {
                        s.spawn(|| leaves.fetch_add(1, Ordering::Relaxed));
                    });
                }
            });
        }
    });
    assert_eq!(leaves.into_inner(), 100);
}

#[test]
fn scopes_nest() {
    fn sum(of: &[u64]) -> u64 {
        if of.len() < 8 {
            return of.iter().sum();
        }
        let (a, b) = of.split_at(of.len() / 2);
        scope(|s| {
            let left = s.spawn(|| sum(a));
            sum(b) + left.join().unwrap()
        })
    }
    let all: Vec<u64> = (0..10_000).collect();
    assert_eq!(spawn(move || sum(&all)).join().unwrap(), 49_995_000);
}

#[test]
fn a_leaked_handle_leaks_the_result_and_nothing_else() {
    struct Counted<'a>(&'a AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let drops = AtomicUsize::new(0);
    scope(|s| {
        std::mem::forget(s.spawn(|| Counted(&drops)));
        drop(s.spawn(|| Counted(&drops)));
    });
    assert_eq!(drops.into_inner(), 1);
}

#[test]
fn a_refused_spawn_leaves_the_scope_as_it_was() {
    let drops = AtomicUsize::new(0);
    struct Counted<'a>(&'a AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    scope(|s| {
        let held = Counted(&drops);
        let refused = Builder::new()
            .stack_size(1)
            .spawn_scoped(s, move || drop(held));
        assert!(refused.is_err());
    });
    assert_eq!(drops.into_inner(), 1);
}

/// Its closure goes, and panics, where the spawn has found no memory for a stack.
#[test]
fn a_panic_out_of_a_refused_spawn_ends_the_scope() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let ended = catch_unwind(AssertUnwindSafe(|| {
        scope(|s| {
            let panics = Panics;
            let refused = Builder::new()
                .stack_size(1 << 46)
                .spawn_scoped(s, move || std::mem::forget(panics));
            unreachable!("{:?}", refused.is_ok());
        })
    }));
    assert_eq!(ended.unwrap_err().downcast_ref(), Some(&"dropped"));
}

#[test]
fn empty_scopes_return_at_once() {
    assert_eq!(scope(|_| 5), 5);
    assert!(run(|| scope(|s| scope(|_| format!("{s:?}")).len()) > 0));
}

#[test]
fn a_hundred_thousand_ends_race_with_the_wait() {
    run(|| {
        let mut total = 0usize;
        for i in 0..25_000usize {
            let (mut a, mut b, mut c, mut d) = (0, 0, 0, 0);
            scope(|s| {
                s.spawn(|| a = i);
                s.spawn(|| b = i);
                s.spawn(|| c = i);
                s.spawn(|| d = i);
            });
            total += a + b + c + d;
        }
        assert_eq!(total, 4 * (0..25_000).sum::<usize>());
    });
}

#[test]
fn a_scope_on_a_thread_serves_goroutines_that_wait_for_threads() {
    let (tx, rx) = mpsc::channel();
    let sum = scope(|s| {
        let h = s.spawn(move || goweft::blocking(|| rx.iter().sum::<u32>()));
        for i in 0..10 {
            tx.send(i).unwrap();
        }
        drop(tx);
        h.join().unwrap()
    });
    assert_eq!(sum, 45);
}

#[test]
fn leaving_early_waits_for_those_that_run() {
    // By return, by `?`, by a panic and by exit.
    fn leave(how: usize, ended: &AtomicUsize) -> Result<usize, usize> {
        scope(|s| {
            for _ in 0..10 {
                s.spawn(|| {
                    (0..10).for_each(|_| task::yield_now());
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
            match how {
                0 => return Ok(1),
                1 => Err(2usize)?,
                2 => std::panic::resume_unwind(Box::new("left")),
                _ => task::exit(),
            }
            Ok(0)
        })
    }
    for how in 0..4 {
        let ended = AtomicUsize::new(0);
        let left = scope(|s| s.spawn(|| leave(how, &ended)).join());
        assert_eq!(ended.load(Ordering::Relaxed), 10, "{how}");
        match (how, left) {
            (0, Ok(left)) => assert_eq!(left, Ok(1)),
            (1, Ok(left)) => assert_eq!(left, Err(2)),
            (2, Err(payload)) => assert_eq!(text(payload), "left"),
            (3, Err(payload)) => assert!(payload.is::<task::Exited>()),
            (_, left) => panic!("{how}: {left:?}"),
        }
    }
}

#[test]
fn panics_of_nested_scopes_come_out_level_by_level() {
    // Each level is borrowed by the next; the innermost panics while others run.
    fn level(depth: usize, running: &AtomicUsize) {
        let here = AtomicUsize::new(0);
        let done = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                for _ in 0..3 {
                    s.spawn(|| {
                        here.fetch_add(1, Ordering::Relaxed);
                        running.fetch_add(1, Ordering::Relaxed);
                        task::yield_now();
                        running.fetch_sub(1, Ordering::Relaxed);
                    });
                }
                match depth {
                    0 => std::panic::resume_unwind(Box::new("innermost")),
                    _ => _ = s.spawn(|| level(depth - 1, running)),
                }
            });
        }));
        assert_eq!(here.into_inner(), 3, "all of this level have ended");
        let expected = match depth {
            0 => "innermost",
            _ => "a scoped goroutine panicked",
        };
        let payload = done.unwrap_err();
        assert_eq!(text(payload), expected);
        std::panic::resume_unwind(Box::new("on"));
    }
    let running = AtomicUsize::new(0);
    let out = catch_unwind(AssertUnwindSafe(|| level(20, &running)));
    assert_eq!(text(out.unwrap_err()), "on");
    assert_eq!(running.into_inner(), 0);
}

#[test]
fn a_scope_in_a_drop_that_unwinding_runs_waits_too() {
    struct Scopes<'a>(&'a AtomicUsize);
    impl Drop for Scopes<'_> {
        fn drop(&mut self) {
            let mut borrowed = [0; 10];
            scope(|s| {
                for n in &mut borrowed {
                    s.spawn(|| {
                        task::yield_now();
                        *n += 1;
                    });
                }
            });
            self.0.fetch_add(borrowed.iter().sum(), Ordering::Relaxed);
        }
    }
    for in_goroutine in [false, true] {
        let body = || {
            let sum = AtomicUsize::new(0);
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let _scopes = Scopes(&sum);
                std::panic::resume_unwind(Box::new("on purpose"))
            }));
            let payload: Box<dyn std::any::Any + Send> = match panicked {
                Err(payload) => payload,
                Ok(never) => never,
            };
            assert_eq!(text(payload), "on purpose");
            assert_eq!(sum.into_inner(), 10);
        };
        if in_goroutine { run(body) } else { body() }
    }
}

#[test]
fn a_spawn_while_the_scope_waits_is_waited_for() {
    for _ in 0..1_000 {
        let ended = AtomicUsize::new(0);
        scope(|s| {
            s.spawn(|| {
                // The scope's closure has returned by now, or will soon.
                task::yield_now();
                let h = s.spawn(|| s.spawn(|| ended.fetch_add(1, Ordering::Relaxed)));
                drop(h);
            });
        });
        assert_eq!(ended.into_inner(), 1);
    }
}
