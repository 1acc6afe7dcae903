//! Spawn, join, scope, park.

use crate::letter::Letter;
use crate::sides::{DEAR_ROUNDS, ROUNDS, alone, both_ways};
use goweft::channel;
use goweft::task::{self, Task};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

#[test]
fn a_spawn_comes_before_the_goroutine_and_its_end_before_the_join() {
    alone(|| {
        let letters = Arc::new([Letter::default(), Letter::default()]);
        for n in 0..DEAR_ROUNDS {
            letters[0].write(n);
            let theirs = letters.clone();
            let handle = goweft::spawn(move || {
                theirs[0].expect(n);
                theirs[1].write(n + 7);
            });
            match n % 3 {
                0 => handle.join().unwrap(),
                1 => {
                    while !handle.is_finished() {
                        task::yield_now();
                    }
                    letters[1].expect(n + 7);
                    handle.join().unwrap();
                }
                _ => goweft::block_on(handle).unwrap(),
            }
            letters[1].expect(n + 7);
        }
    });
}

#[test]
fn the_ends_of_all_in_a_scope_come_before_the_end_of_the_scope() {
    alone(|| {
        for n in 0..DEAR_ROUNDS {
            let letters: [Letter; 3] = Default::default();
            goweft::scope(|s| {
                for letter in &letters {
                    s.spawn(move || letter.write(n));
                }
            });
            letters.iter().for_each(|letter| letter.expect(n));
        }
    });
}

#[test]
fn an_unpark_comes_before_the_end_of_the_park_that_takes_it() {
    both_ways(|| {
        let letters: Arc<[Letter; 2]> = Arc::default();
        let (to_second, from_first) = channel::bounded(1);
        let (to_first, from_second) = channel::bounded(1);
        let theirs = letters.clone();
        (
            move || {
                to_second.send(task::current()).unwrap();
                let second: Task = from_second.recv().unwrap();
                for n in 0..ROUNDS {
                    letters[0].write(n);
                    second.unpark();
                    task::park();
                    letters[1].expect(n);
                }
            },
            move || {
                to_first.send(task::current()).unwrap();
                let first: Task = from_first.recv().unwrap();
                for n in 0..ROUNDS {
                    task::park();
                    theirs[0].expect(n);
                    theirs[1].write(n);
                    first.unpark();
                }
            },
        )
    });
}

/// A future that is ready when a relaxed word says so: of all that its sides do, the call of the
/// waker is the one step that orders anything.
#[test]
fn a_wake_comes_before_the_poll_that_follows() {
    both_ways(|| {
        let shared = Arc::new((Letter::default(), AtomicU64::new(0)));
        let theirs = shared.clone();
        let (pass, passed) = channel::bounded::<Waker>(1);
        (
            move || {
                for n in 1..=DEAR_ROUNDS {
                    let mut polled = false;
                    goweft::block_on(poll_fn(|cx| {
                        if !polled {
                            // Before the letter is written: who has the waker writes it.
                            polled = true;
                            pass.send(cx.waker().clone()).unwrap();
                            return Poll::Pending;
                        }
                        // It is polled for nothing but the wake.
                        assert_eq!(shared.1.load(Ordering::Relaxed), n);
                        shared.0.expect(n);
                        Poll::Ready(())
                    }));
                }
            },
            move || {
                for n in 1..=DEAR_ROUNDS {
                    let waker = passed.recv().unwrap();
                    theirs.0.write(n);
                    theirs.1.store(n, Ordering::Relaxed);
                    waker.wake_by_ref();
                }
            },
        )
    });
}
