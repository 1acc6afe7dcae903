//! Groups of goroutines, and what callers share.

use crate::letter::Letter;
use crate::sides::{DEAR_ROUNDS, ROUNDS, alone, both_ways};
use goweft::channel;
use goweft::sync::{Barrier, ErrGroup, Pool, WaitGroup, singleflight};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_done_comes_before_the_end_of_the_wait() {
    both_ways(|| {
        let (pass, passed) = channel::bounded::<WaitGroup>(0);
        let letter = Arc::new(Letter::default());
        let theirs = letter.clone();
        (
            move || {
                for n in 0..ROUNDS {
                    let wg = WaitGroup::new();
                    wg.add(1);
                    pass.send(wg.clone()).unwrap();
                    wg.wait();
                    letter.expect(n);
                }
            },
            move || {
                for (n, wg) in passed.into_iter().enumerate() {
                    theirs.write(n as u64);
                    wg.done();
                }
            },
        )
    });
}

#[test]
fn all_that_a_group_runs_comes_before_the_end_of_its_wait() {
    alone(|| {
        let letters: Arc<[Letter; 4]> = Arc::default();
        for n in 0..DEAR_ROUNDS {
            let (wg, group) = (WaitGroup::new(), ErrGroup::<fmt::Error>::new());
            for i in 0..4 {
                let letters = letters.clone();
                let run = move || letters[i].write(n);
                match i % 2 {
                    0 => wg.go(run),
                    _ => group.go(move || {
                        run();
                        Err(fmt::Error)
                    }),
                }
            }
            wg.wait();
            assert_eq!(group.wait(), Err(fmt::Error));
            letters.iter().for_each(|letter| letter.expect(n));
        }
    });
}

#[test]
fn what_a_shared_call_did_comes_before_its_return_to_all() {
    both_ways(|| {
        let shared = Arc::new((singleflight::Group::new(), Barrier::new(2)));
        let letters: Arc<[Letter; 2]> = Arc::default();
        let side = |me: usize, shared: Arc<(singleflight::Group<u64, usize>, Barrier)>| {
            let letters = letters.clone();
            move || {
                let (group, barrier) = &*shared;
                for n in 0..DEAR_ROUNDS {
                    barrier.wait();
                    let (by, _) = group.call(n, || {
                        letters[me].write(n);
                        me
                    });
                    letters[by].expect(n);
                }
            }
        };
        (side(0, shared.clone()), side(1, shared.clone()))
    });
}

#[test]
fn a_return_to_a_pool_comes_before_the_get_that_has_it() {
    both_ways(|| {
        let made = AtomicUsize::new(0);
        let pool = Arc::new(Pool::new(move || {
            let letter = Letter::default();
            letter.write(0);
            (made.fetch_add(1, Ordering::Relaxed), 0, letter)
        }));
        let side = |pool: Arc<Pool<(usize, u64, Letter)>>| {
            move || {
                for _ in 0..ROUNDS {
                    let mut got = pool.get();
                    let n = got.1;
                    got.2.expect(n);
                    got.2.write(n + 1);
                    got.1 = n + 1;
                }
            }
        };
        (side(pool.clone()), side(pool))
    });
}
