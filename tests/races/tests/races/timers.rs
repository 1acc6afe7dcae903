//! Timers that are stopped and set while they fire: each setting comes to pass once, or was
//! prevented.

use goweft::select;
use goweft::time::{self, Ticker, Timer};
use goweft_races::{Dice, Pair, until};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What became of a timer's settings.
struct Set {
    timer: Timer,
    settings: AtomicUsize,
    prevented: AtomicUsize,
    /// Ticks that were received, or calls of its function.
    fired: Arc<AtomicUsize>,
}

impl Set {
    fn new(timer: Timer, fired: Arc<AtomicUsize>) -> Set {
        Set {
            timer,
            settings: AtomicUsize::new(1),
            prevented: AtomicUsize::new(0),
            fired,
        }
    }

    fn stop(&self) {
        let prevented = self.timer.stop();
        self.prevented
            .fetch_add(usize::from(prevented), Ordering::Relaxed);
    }

    fn reset(&self, dice: &mut Dice) {
        self.settings.fetch_add(1, Ordering::Relaxed);
        let prevented = self.timer.reset(dice.moment());
        self.prevented
            .fetch_add(usize::from(prevented), Ordering::Relaxed);
    }

    fn stop_or_reset(&self, dice: &mut Dice) {
        match dice.roll(2) {
            0 => self.stop(),
            _ => self.reset(dice),
        }
    }

    /// Nobody has it any more: a call may still be on its way.
    fn check(&self) {
        self.stop();
        let all = self.settings.load(Ordering::Relaxed);
        let now = || self.prevented.load(Ordering::Relaxed) + self.fired.load(Ordering::Relaxed);
        until(|| now() >= all);
        assert_eq!(now(), all);
    }
}

#[test]
fn receiving_from_a_timer_against_stopping_it() {
    let race = Pair {
        make: |dice| Set::new(Timer::new(dice.moment()), Arc::default()),
        wait: |set: &Set, dice| {
            for _ in 0..2 {
                let ticks = set.timer.channel();
                let received = match dice.roll(3) {
                    0 => ticks.try_recv().is_ok(),
                    1 => ticks.recv_timeout(dice.moment()).is_ok(),
                    _ => select! {
                        recv(ticks) -> tick => tick.is_ok(),
                        default(dice.moment()) => false,
                    },
                };
                set.fired
                    .fetch_add(usize::from(received), Ordering::Relaxed);
            }
        },
        end: |set, dice| (0..2).for_each(|_| set.stop_or_reset(dice)),
        check: Set::check,
    };
    race.race("timer");
}

#[test]
fn the_function_of_a_timer_against_stopping_it() {
    let race = Pair {
        make: |dice| {
            let fired = Arc::new(AtomicUsize::new(0));
            let counter = fired.clone();
            let timer = time::after_func(dice.moment(), move || {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            Set::new(timer, fired)
        },
        wait: |set: &Set, dice| (0..2).for_each(|_| set.stop_or_reset(dice)),
        end: |set, dice| (0..2).for_each(|_| set.stop_or_reset(dice)),
        check: Set::check,
    };
    race.race("timer's function");
}

/// A ticker, and the time of its last setting.
struct Ticks {
    ticker: Ticker,
    since: Mutex<Instant>,
}

#[test]
fn receiving_from_a_ticker_against_stopping_it() {
    fn period(dice: &mut Dice) -> Duration {
        dice.moment().max(Duration::from_nanos(1))
    }
    let race = Pair {
        make: |dice| Ticks {
            since: Mutex::new(Instant::now()),
            ticker: Ticker::new(period(dice)),
        },
        wait: |Ticks { ticker, .. }: &Ticks, dice| {
            let ticks = ticker.channel();
            let mut last = None;
            for _ in 0..2 {
                let tick = match dice.roll(4) {
                    0 => ticks.try_recv().ok(),
                    1 => ticks.recv_timeout(dice.moment()).ok(),
                    2 => select! {
                        recv(ticks) -> tick => tick.ok(),
                        default(dice.moment()) => None,
                    },
                    // One will come: it is set in the end.
                    _ => Some(ticks.recv().unwrap()),
                };
                assert!(tick.is_none() || tick > last, "{tick:?} after {last:?}");
                last = tick.or(last);
            }
        },
        end: |Ticks { ticker, since }, dice| {
            for _ in 0..dice.roll(3) {
                match dice.roll(2) {
                    0 => _ = ticker.stop(),
                    _ => _ = ticker.reset(period(dice)),
                }
                dice.dawdle();
            }
            *since.lock().unwrap() = Instant::now();
            ticker.reset(period(dice));
        },
        check: |Ticks { ticker, since }| {
            let tick = ticker.channel().recv().unwrap();
            assert!(tick > *since.lock().unwrap(), "a stale tick");
            assert!(ticker.stop());
            assert!(ticker.channel().try_recv().is_err());
            assert!(!ticker.stop());
        },
    };
    race.race_one_in(10, "ticker");
}
