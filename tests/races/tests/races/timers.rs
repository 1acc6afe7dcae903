//! Timers that are stopped and set while they fire: each setting comes to pass once, or was
//! prevented.

use goweft::select;
use goweft::time::{self, Timer};
use goweft_races::{Dice, Pair, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
