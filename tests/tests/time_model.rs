//! Timers against a simple reference.
//!
//! Durations are zero or an hour, so that what is due does not depend on how fast the
//! machine is: every answer of `stop`, `reset` and `try_recv` is known. A function that
//! is due may have been called or not; the answer of the next `stop` or `reset` tells
//! which, and the number of calls must be what these answers add up to.

use goweft::channel;
use goweft::time::{self, Ticker, Timer};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
enum Step {
    Stop,
    ResetToNow,
    ResetToFar,
    /// Receives, from so many goroutines at once.
    Receive(usize),
    Yield,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Set {
    Off,
    Now,
    Far,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Stop),
        Just(Step::ResetToNow),
        Just(Step::ResetToFar),
        (1usize..4).prop_map(Step::Receive),
        Just(Step::Yield),
    ]
}

/// How many of so many goroutines receive something at once.
fn receive(timer: &channel::Receiver<std::time::Instant>, n: usize) -> usize {
    let receivers: Vec<_> = (0..n)
        .map(|_| {
            let timer = timer.clone();
            goweft::spawn(move || timer.try_recv().is_ok())
        })
        .collect();
    let received = receivers.into_iter().map(|r| r.join().unwrap());
    received.filter(|received| *received).count()
}

fn run_timer(steps: &[Step]) {
    let timer = Timer::new(HOUR);
    let mut set = Set::Far;
    for step in steps {
        match step {
            Step::Stop => {
                assert_eq!(timer.stop(), set != Set::Off);
                set = Set::Off;
            }
            Step::ResetToNow => {
                assert_eq!(timer.reset(Duration::ZERO), set != Set::Off);
                set = Set::Now;
            }
            Step::ResetToFar => {
                assert_eq!(timer.reset(HOUR), set != Set::Off);
                set = Set::Far;
            }
            Step::Receive(n) => {
                assert_eq!(
                    receive(timer.channel(), *n),
                    usize::from(set == Set::Now),
                    "{set:?}"
                );
                if set == Set::Now {
                    set = Set::Off;
                }
            }
            Step::Yield => goweft::task::yield_now(),
        }
    }
}

fn run_ticker(steps: &[Step]) {
    let ticker = Ticker::new(HOUR);
    let mut on = true;
    for step in steps {
        match step {
            Step::Stop => {
                assert_eq!(ticker.stop(), on);
                on = false;
            }
            Step::ResetToNow | Step::ResetToFar => {
                assert_eq!(ticker.reset(HOUR), on);
                on = true;
            }
            Step::Receive(n) => assert_eq!(receive(ticker.channel(), *n), 0),
            Step::Yield => goweft::task::yield_now(),
        }
    }
}

fn run_call(steps: &[Step]) {
    let calls = Arc::new(AtomicUsize::new(0));
    let (held, released) = channel::bounded::<()>(1);
    let counter = calls.clone();
    let timer = time::after_func(HOUR, move || {
        let _ = &held;
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let (mut set, mut due) = (Set::Far, 0);
    // What was to be called, and was not prevented.
    let mut end = |set: Set, prevented: bool| match set {
        Set::Off => assert!(!prevented),
        Set::Far => assert!(prevented),
        Set::Now => due += usize::from(!prevented),
    };
    for step in steps {
        match step {
            Step::Stop => {
                end(set, timer.stop());
                set = Set::Off;
            }
            Step::ResetToNow => {
                end(set, timer.reset(Duration::ZERO));
                set = Set::Now;
            }
            Step::ResetToFar => {
                end(set, timer.reset(HOUR));
                set = Set::Far;
            }
            Step::Receive(n) => assert_eq!(receive(timer.channel(), *n), 0),
            Step::Yield => goweft::task::yield_now(),
        }
    }
    end(set, timer.stop());
    drop(timer);
    // When all calls are over the closure goes, and what it holds.
    assert!(released.recv().is_err());
    assert_eq!(calls.load(Ordering::Relaxed), due);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn timers_do_what_the_reference_does(steps in prop::collection::vec(step(), 1..40)) {
        goweft::run(|| {
            run_timer(&steps);
            run_ticker(&steps);
            run_call(&steps);
        });
    }
}
