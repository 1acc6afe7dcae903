//! Races: what many rounds of them need. How many, on how many processors, a source of delays,
//! a watchdog, and two sides that meet on something new each round.
//!
//! They are a package of their own, because it is built optimised (`Cargo.toml` of the workspace).
//!
//! A *pair race* has a side that waits and a side that ends the wait. They go through a row of
//! subjects in the same order. The waiting side says where it is; the ending side follows, now
//! and then a step too early; both dawdle at random. So each round is another interleaving, and
//! nobody stands at a barrier. There are three ways of it, [`Way`].
//!
//! The number of processors belongs to the process, so one race runs at a time.

use goweft::channel::{self, Receiver};
use goweft::sync::WaitGroup;
use goweft::task::{self, yield_now};
use goweft::{runtime, time};
use goweft_tests::{pressure, sys};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Long enough to be sure; never waited for when all is well.
pub const WATCHDOG: Duration = Duration::from_secs(120);

/// Rounds of each race with each number of processors: 100,000 in a soak, and otherwise with all
/// three together. A tenth of it where each takes ten times as long, and with corosensei's
/// switches, on which who comes first does not depend.
pub fn rounds() -> u64 {
    let rounds = if sys::is_instrumented() || cfg!(feature = "corosensei") {
        10_000_u64
    } else {
        100_000
    };
    rounds.div_ceil(if pressure::is_soak() { 1 } else { 3 })
}

/// A cheap source of different delays.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Each seed has a sequence of its own.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// Lets others run, once in `n` times.
    pub fn yield_in(&mut self, n: u64) {
        if self.roll(n) == 0 {
            yield_now();
        }
    }

    /// From nothing to longer than the race takes: 2^17 ns.
    pub fn timeout(&mut self) -> Duration {
        Duration::from_nanos(1 << self.roll(18))
    }

    /// About as long as the two sides of a pair race are apart: up to 4 us.
    pub fn moment(&mut self) -> Duration {
        Duration::from_nanos(1 << self.roll(13))
    }

    /// Takes nothing, a little, or a turn.
    pub fn dawdle(&mut self) {
        match self.roll(4) {
            0 => yield_now(),
            1 => (0..self.roll(64)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}

/// Runs `race` with 1, 2 and 8 processors, and no other race meanwhile.
pub fn with_1_2_and_8_processors(race: impl Fn()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for procs in [1, 2, 8] {
        let before = runtime::set_maxprocs(procs);
        race();
        runtime::set_maxprocs(before);
    }
}

/// Ends the process, with a word, when the race takes too long: somebody sleeps for ever.
pub fn watched(what: &'static str, race: impl FnOnce()) {
    let (over, ended) = std::sync::mpsc::channel::<()>();
    let dog = thread::spawn(move || {
        if ended.recv_timeout(WATCHDOG) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let metrics = runtime::metrics();
            pressure::tell(format_args!("{what}: somebody was not woken\n{metrics:?}"));
            std::process::abort();
        }
    });
    race();
    drop(over);
    dog.join().expect("it does nothing that panics");
}

/// Returns when `holds` says so. Gives way at first; then it sleeps a little at a time, for a
/// processor that only gave way would keep the CPU from a thread that it waits for.
pub fn until(holds: impl Fn() -> bool) {
    for _ in 0..20 {
        if holds() {
            return;
        }
        yield_now();
    }
    while !holds() {
        task::sleep(Duration::from_micros(20));
    }
}

/// Who the two sides of a pair race are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// Two goroutines.
    Goroutines,
    /// A goroutine and a plain thread, either way around, or two threads.
    Threads,
    /// A goroutine, and a timer that ends its wait.
    Timers,
}

/// What both sides of a pair race do, and what is looked at before and after.
#[derive(Debug)]
pub struct Pair<T> {
    /// Makes the subject of a round.
    pub make: fn(&mut Dice) -> T,
    /// Waits for it.
    pub wait: fn(&T, &mut Dice),
    /// Ends the wait.
    pub end: fn(&T, &mut Dice),
    /// Looks at what is left when both are through.
    pub check: fn(&T),
}

impl<T: Send + Sync + 'static> Pair<T> {
    /// Runs [`rounds`] with each of 1, 2 and 8 processors: 45 in a hundred of them between
    /// goroutines, 10 with threads, 45 against timers. In a soak (`.ci/soak`) all of them in
    /// each way.
    ///
    /// # Panics
    /// When one of the four does. Ends the process when somebody waits for ever.
    pub fn race(&self, what: &'static str) {
        // Threads are started for each row.
        self.race_in_rows(what, 500, 1);
    }

    /// One round in `part` only, but all of them in a soak: for a race that goes the ways of
    /// another, or takes long. Few subjects at a time, as they may have descriptors.
    ///
    /// # Panics
    /// As [`race`](Self::race).
    pub fn race_one_in(&self, part: u64, what: &'static str) {
        self.race_in_rows(what, 16, part);
    }

    fn race_in_rows(&self, what: &'static str, row: u64, part: u64) {
        with_1_2_and_8_processors(|| {
            for way in [Way::Goroutines, Way::Threads, Way::Timers] {
                watched(what, || self.lanes(way, row, part));
            }
        });
    }

    /// Several pairs at the same time, so that they get into each other's way.
    fn lanes(&self, way: Way, row: u64, part: u64) {
        let (lanes, percent) = match way {
            Way::Goroutines => (3, 45),
            // Who waits for a thread waits ten times as long.
            Way::Threads => (3, 10),
            // As many waits as it takes for a processor not to sleep to the next timer.
            Way::Timers => (12, 45),
        };
        let rounds = match pressure::is_soak() {
            true => rounds(),
            false => (rounds() * percent).div_ceil(100 * part),
        };
        goweft::scope(|s| {
            for lane in 0..lanes {
                s.spawn(move || {
                    let mut dice = Dice::new(lane + 1);
                    let mut left = rounds.div_ceil(lanes);
                    while left > 0 {
                        let n = left.min(row);
                        left -= n;
                        let subjects: Arc<[T]> = (0..n).map(|_| (self.make)(&mut dice)).collect();
                        let seed = dice.roll(u64::MAX);
                        match (way, lane) {
                            (Way::Timers, _) => self.with_timers(&subjects, seed),
                            (Way::Goroutines, _) => self.side_by_side(&subjects, seed, [false; 2]),
                            (Way::Threads, 0) => self.side_by_side(&subjects, seed, [true; 2]),
                            (Way::Threads, _) => {
                                self.side_by_side(&subjects, seed, [lane == 1, lane == 2]);
                            }
                        }
                        subjects.iter().for_each(self.check);
                    }
                });
            }
        });
    }

    /// Goes through a row with two sides. `on_thread`: whether the one that waits, and the
    /// one that ends, is a thread.
    fn side_by_side(&self, row: &Arc<[T]>, seed: u64, on_thread: [bool; 2]) {
        // How many subjects the waiting side has come to.
        let at = Arc::new(AtomicUsize::new(0));
        let waiting = {
            let (row, at, wait) = (row.clone(), at.clone(), self.wait);
            move || {
                let mut dice = Dice::new(seed);
                for (i, subject) in row.iter().enumerate() {
                    at.store(i + 1, Ordering::Relaxed);
                    dice.dawdle();
                    wait(subject, &mut dice);
                }
            }
        };
        let ending = {
            let (row, end) = (row.clone(), self.end);
            move || {
                let mut dice = Dice::new(!seed);
                for (i, subject) in row.iter().enumerate() {
                    let early = usize::from(dice.roll(4) == 0);
                    until(|| at.load(Ordering::Relaxed) + early > i);
                    dice.dawdle();
                    end(subject, &mut dice);
                }
            }
        };
        let sides = [start(on_thread[0], waiting), start(on_thread[1], ending)];
        for side in sides {
            assert!(side.recv().is_ok(), "a side of the race panicked");
        }
    }

    /// Goes through a row alone: each wait is ended by a timer.
    fn with_timers(&self, row: &Arc<[T]>, seed: u64) {
        let mut dice = Dice::new(seed);
        let ended = WaitGroup::new();
        for (i, subject) in row.iter().enumerate() {
            ended.add(1);
            let (row, end, ended) = (row.clone(), self.end, ended.clone());
            let mut later = Dice::new(seed ^ i as u64);
            time::after_func(dice.moment(), move || {
                end(&row[i], &mut later);
                ended.done();
            });
            dice.dawdle();
            (self.wait)(subject, &mut dice);
        }
        ended.wait();
    }
}

/// Runs `side`, and says when it has returned: by the channel, so that nobody blocks a
/// processor while it waits for a thread. Nothing comes from one that panicked.
fn start(on_thread: bool, side: impl FnOnce() + Send + 'static) -> Receiver<()> {
    let (tx, rx) = channel::bounded(1);
    let side = move || {
        side();
        tx.send(()).expect("it is waited for");
    };
    if on_thread {
        thread::spawn(side);
    } else {
        goweft::spawn(side);
    }
    rx
}
