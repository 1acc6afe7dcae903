//! Contexts and timers.

use crate::letter::Letter;
use crate::sides::{DEAR_ROUNDS, alone, both_ways};
use goweft::context::Context;
use goweft::{channel, select, task, time};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn a_cancellation_comes_before_whatever_finds_the_context_done() {
    both_ways(|| {
        let letter = Arc::new(Letter::default());
        let theirs = letter.clone();
        let (pass, passed) = channel::bounded::<Context>(0);
        (
            move || {
                for n in 0..DEAR_ROUNDS {
                    let (ctx, cancel) = Context::background().with_cancel();
                    pass.send(ctx).unwrap();
                    letter.write(n);
                    cancel.cancel();
                }
            },
            move || {
                for n in 0..DEAR_ROUNDS {
                    let ctx = passed.recv().unwrap();
                    // Of the context itself, or of one below it.
                    let (below, _cancel) = ctx.with_cancel();
                    let ctx = if n % 2 == 0 { ctx } else { below };
                    match n % 3 {
                        0 => _ = ctx.done().recv().unwrap_err(),
                        1 => {
                            while ctx.err().is_none() {
                                task::yield_now();
                            }
                        }
                        _ => select! {
                            recv(ctx.done()) -> gone => assert!(gone.is_err()),
                        },
                    }
                    theirs.expect(n);
                }
            },
        )
    });
}

#[test]
fn what_came_before_an_after_func_comes_before_its_call() {
    alone(|| {
        let letters: Arc<[Letter; 3]> = Arc::default();
        let (tx, rx) = channel::bounded(0);
        for n in 0..DEAR_ROUNDS / 4 {
            // A context's: what came before it was registered, and before the cancellation.
            let (ctx, cancel) = Context::background().with_cancel();
            letters[0].write(n);
            let (theirs, done) = (letters.clone(), tx.clone());
            ctx.after_func(move || {
                theirs[0].expect(n);
                theirs[1].expect(n);
                done.send(()).unwrap();
            });
            letters[1].write(n);
            cancel.cancel();
            rx.recv().unwrap();
            // A timer's: what came before it was set, and set again.
            let (theirs, done) = (letters.clone(), tx.clone());
            letters[2].write(n);
            let mut calls = 0;
            let timer = time::after_func(Duration::from_micros(10), move || {
                theirs[2].expect(n + calls);
                calls += 1;
                done.send(()).unwrap();
            });
            rx.recv().unwrap();
            letters[2].write(n + 1);
            timer.reset(Duration::from_micros(10));
            rx.recv().unwrap();
        }
    });
}

#[test]
fn the_reset_of_a_timer_comes_before_the_tick_that_it_brings() {
    both_ways(|| {
        let shared = Arc::new((
            time::Timer::new(Duration::from_secs(3600)),
            Letter::default(),
        ));
        let theirs = shared.clone();
        let (tx, rx) = channel::bounded::<()>(0);
        let ticked = Arc::new(AtomicBool::new(false));
        let their_ticked = ticked.clone();
        (
            move || {
                for n in 0..DEAR_ROUNDS {
                    shared.1.write(n);
                    shared.0.reset(Duration::ZERO);
                    rx.recv().unwrap();
                    assert!(ticked.swap(false, Ordering::Relaxed));
                }
            },
            move || {
                for n in 0..DEAR_ROUNDS {
                    theirs.0.channel().recv().unwrap();
                    theirs.1.expect(n);
                    their_ticked.store(true, Ordering::Relaxed);
                    tx.send(()).unwrap();
                }
            },
        )
    });
}

#[test]
fn the_reset_of_a_ticker_comes_before_the_tick_that_it_brings() {
    both_ways(|| {
        let shared = Arc::new((
            time::Ticker::new(Duration::from_secs(3600)),
            Letter::default(),
        ));
        let theirs = shared.clone();
        let (tx, rx) = channel::bounded::<()>(0);
        (
            move || {
                for n in 0..DEAR_ROUNDS / 4 {
                    shared.1.write(n);
                    shared.0.reset(Duration::from_nanos(1));
                    rx.recv().unwrap();
                }
            },
            move || {
                for n in 0..DEAR_ROUNDS / 4 {
                    theirs.0.channel().recv().unwrap();
                    theirs.1.expect(n);
                    assert!(theirs.0.stop());
                    tx.send(()).unwrap();
                }
            },
        )
    });
}
