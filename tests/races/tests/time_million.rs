//! A million timers, armed, set again and stopped in random order while they fire: three in four
//! call functions, and the others tick, beside some tickers, while a few receive from them. One test
//! a process, because it looks at the goroutines of all of it. Under an emulator they are a
//! hundred thousand.

use goweft::time::{self, Ticker, Timer};
use goweft::{runtime, select, task};
use goweft_tests::sys::is_emulated;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const LANES: usize = 4;

/// Who receives in the lane that ticks.
const RECEIVERS: u64 = 4;

const TICKERS: usize = 4;

/// Timers of that lane that are set, and waited for, as often as all others together: so some are
/// set just then.
const BUSY: usize = 64;

/// Timers of a lane.
fn timers_of_a_lane() -> usize {
    if is_emulated() {
        100_000 / LANES
    } else {
        1_000_000 / LANES
    }
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Most of them soon, some at once, some never in our days.
fn some_time(state: &mut u64) -> Duration {
    match random(state) % 16 {
        0 => Duration::ZERO,
        1 => Duration::from_secs(random(state) % 10_000_000_000),
        2 => Duration::MAX,
        _ => Duration::from_micros(random(state) % 1_000_000),
    }
}

fn lane(seed: u64, made: usize) {
    let random_state = &mut seed.clone();
    let calls: &'static [AtomicU32] = Vec::leak((0..made).map(|_| AtomicU32::new(0)).collect());
    let mut expected = vec![1u32; made];
    let timers: Vec<Timer> = (0..made)
        .map(|i| {
            time::after_func(some_time(random_state), move || {
                calls[i].fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    for _ in 0..made {
        let i = random(random_state) as usize % made;
        match random(random_state) % 3 {
            0 => expected[i] -= u32::from(timers[i].stop()),
            _ => {
                let prevented = timers[i].reset(some_time(random_state));
                expected[i] += u32::from(!prevented);
            }
        }
    }
    // In another random order: a step that has no factor in common with the number.
    for n in 0..made {
        let i = n * 7919 % made;
        expected[i] -= u32::from(timers[i].stop());
    }
    drop(timers);
    // What has been started runs to its end.
    for (calls, expected) in calls.iter().zip(&expected) {
        while calls.load(Ordering::Relaxed) < *expected {
            task::yield_now();
        }
    }
    task::sleep(Duration::from_millis(1));
    for (calls, expected) in calls.iter().zip(&expected) {
        assert_eq!(calls.load(Ordering::Relaxed), *expected);
    }
}

/// Nanoseconds.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One timer of so many that tick: half of the time one of the busy ones.
fn some_timer(made: usize, state: &mut u64) -> usize {
    let among = match random(state) % 2 {
        0 => BUSY,
        _ => made,
    };
    random(state) as usize % among
}

/// When timer `i` of those that tick is to be due. A busy one soon.
fn some_delay(i: usize, state: &mut u64) -> Duration {
    match random(state) % 4 {
        1.. if i < BUSY => Duration::from_micros(random(state) % 200),
        _ => some_time(state),
    }
}

/// In nanoseconds: so long that what was received can be written down.
fn some_period(state: &mut u64) -> u64 {
    100_000 + random(state) % 900_000
}

/// Not before the one, not after the other: nanoseconds since the base.
type Window = (u64, u64);

/// Whose, a timer or behind all timers a ticker, and when it was due.
type Tick = (usize, u64);

/// The lane whose timers tick. One sets and stops them and writes that down, the others write down
/// what they receive; in the end the two must agree.
struct Ticking {
    base: Instant,
    timers: Vec<Timer>,
    tickers: Vec<Ticker>,
    over: AtomicBool,
}

/// What the one that sets them knows.
struct Book {
    /// When each timer is due. None: it is stopped.
    set: Vec<Option<Window>>,
    /// Settings that were not prevented, those of a timer in their order.
    came: Vec<(usize, Window)>,
    /// Settings of each ticker: since when, and the period.
    periods: [Vec<(u64, u64)>; TICKERS],
}

impl Book {
    /// Timer `i` was stopped or set anew, which has `prevented` what it was set to before.
    fn ends(&mut self, i: usize, prevented: bool) {
        let was = self.set[i].take();
        assert!(was.is_some() || !prevented, "timer {i} was stopped before");
        if !prevented {
            self.came.extend(was.map(|window| (i, window)));
        }
    }
}

/// What `set` returns, and when that is due which it sets to come after `delay`.
fn window<T>(base: Instant, delay: Duration, set: impl FnOnce() -> T) -> (T, Window) {
    let (before, delay) = (nanos(base.elapsed()), nanos(delay));
    let set = set();
    let after = nanos(base.elapsed());
    (
        set,
        (before.saturating_add(delay), after.saturating_add(delay)),
    )
}

impl Ticking {
    fn new(made: usize) -> (Ticking, Book) {
        let base = Instant::now();
        let random_state = &mut 0;
        let mut timers = Vec::with_capacity(made);
        let mut set = Vec::with_capacity(made);
        for i in 0..made {
            let delay = some_delay(i, random_state);
            let (timer, due) = window(base, delay, || Timer::new(delay));
            timers.push(timer);
            set.push(Some(due));
        }
        let mut tickers = Vec::new();
        let periods = [(); TICKERS].map(|()| {
            let (since, period) = (nanos(base.elapsed()), some_period(random_state));
            tickers.push(Ticker::new(Duration::from_nanos(period)));
            vec![(since, period)]
        });
        let ticking = Ticking {
            base,
            timers,
            tickers,
            over: AtomicBool::new(false),
        };
        let came = Vec::new();
        (ticking, Book { set, came, periods })
    }

    fn now(&self) -> u64 {
        nanos(self.base.elapsed())
    }

    /// A tick that was received just now.
    fn tick(&self, who: usize, tick: Instant) -> Tick {
        assert!(tick <= Instant::now(), "{who}: before its time");
        (who, nanos(tick.duration_since(self.base)))
    }

    /// Receives until it is over: at once, after a while, from one or from several.
    fn receive(&self, seed: u64) -> Vec<Tick> {
        let random_state = &mut seed.clone();
        let made = self.timers.len();
        let mut got = Vec::new();
        while !self.over.load(Ordering::Relaxed) {
            let [i, j] = [(); 2].map(|()| some_timer(made, random_state));
            let k = random(random_state) as usize % TICKERS;
            let one = self.timers[i].channel();
            let other = self.timers[j].channel();
            let ticker = self.tickers[k].channel();
            let patience = Duration::from_nanos(random(random_state) % 200_000);
            let tick = match random(random_state) % 4 {
                0 => one.try_recv().ok().map(|tick| (i, tick)),
                1 => one.recv_timeout(patience).ok().map(|tick| (i, tick)),
                2 => {
                    let tick = ticker.recv_timeout(patience);
                    tick.ok().map(|tick| (made + k, tick))
                }
                _ => select! {
                    recv(one) -> tick => Some((i, tick.unwrap())),
                    recv(other) -> tick => Some((j, tick.unwrap())),
                    recv(ticker) -> tick => Some((made + k, tick.unwrap())),
                    default(patience) => None,
                },
            };
            got.extend(tick.map(|(who, tick)| self.tick(who, tick)));
        }
        got
    }

    fn reset(&self, i: usize, delay: Duration, book: &mut Book) {
        let (prevented, due) = window(self.base, delay, || self.timers[i].reset(delay));
        book.ends(i, prevented);
        book.set[i] = Some(due);
    }

    /// Receives what is due, and stops it.
    fn stop(&self, i: usize, book: &mut Book, got: &mut Vec<Tick>) {
        let (timer, asked) = (&self.timers[i], self.now());
        let tick = timer.channel().try_recv();
        got.extend(tick.ok().map(|tick| self.tick(i, tick)));
        let prevented = timer.stop();
        let was_due = book.set[i].is_some_and(|(_, latest)| latest <= asked);
        assert!(!(prevented && was_due), "timer {i} did not come");
        book.ends(i, prevented);
        let tick = timer.channel().try_recv();
        assert!(tick.is_err(), "timer {i} comes after it was stopped");
    }

    /// Stops ticker `k`, and sets it again.
    fn restart(&self, k: usize, period: u64, book: &mut Book) {
        let ticker = &self.tickers[k];
        assert!(ticker.stop(), "ticker {k} was stopped before");
        let tick = ticker.channel().try_recv();
        assert!(tick.is_err(), "ticker {k} ticks after it was stopped");
        // No tick of the old setting is later, and none of the new one as early.
        let since = self.now();
        assert!(!ticker.reset(Duration::from_nanos(period)));
        book.periods[k].push((since, period));
    }

    /// Sets and stops them in random order, and stops all in the end. What it received itself.
    fn set_and_stop(&self, book: &mut Book) -> Vec<Tick> {
        goweft::defer!(self.over.store(true, Ordering::Relaxed));
        let random_state = &mut 1;
        let made = self.timers.len();
        let mut got = Vec::new();
        for n in 0..made {
            let i = some_timer(made, random_state);
            match random(random_state) % 3 {
                0 => self.stop(i, book, &mut got),
                _ => self.reset(i, some_delay(i, random_state), book),
            }
            if n % 1024 == 0 {
                self.restart(n / 1024 % TICKERS, some_period(random_state), book);
                task::yield_now();
            }
        }
        for n in 0..made {
            // As in the other lanes.
            self.stop(n * 7919 % made, book, &mut got);
        }
        for ticker in &self.tickers {
            assert!(ticker.stop());
            assert!(ticker.channel().try_recv().is_err());
        }
        got
    }

    /// Each setting that was not prevented has had its one tick, and there are no others.
    fn check(&self, book: Book, mut ticks: Vec<Tick>) {
        let made = self.timers.len();
        ticks.sort_unstable();
        let (of_timers, of_tickers) = ticks.split_at(ticks.partition_point(|(who, _)| *who < made));
        let mut came = book.came;
        // The settings of a timer stay in their order, and that is the order of its ticks: each was
        // received before the next setting began.
        came.sort_by_key(|(i, _)| *i);
        for (&(i, (earliest, latest)), &(who, due)) in came.iter().zip(of_timers) {
            assert!(
                i == who && (earliest..=latest).contains(&due),
                "timer {i}, from {earliest} to {latest}, has {due} of timer {who}"
            );
        }
        assert_eq!(of_timers.len(), came.len());
        // One in sixteen was set to be due at once.
        assert!(came.len() > made / 100);
        for ticks in of_tickers.chunk_by(|a, b| a.0 == b.0) {
            let settings = &book.periods[ticks[0].0 - made];
            assert!(ticks.is_sorted_by(|a, b| a < b), "one came twice");
            let setting = |tick: &Tick| settings.partition_point(|(since, _)| *since < tick.1);
            for ticks in ticks.chunk_by(|a, b| setting(a) == setting(b)) {
                let (first, n) = (ticks[0].1, setting(&ticks[0]));
                assert_ne!(n, 0, "a tick before it was set");
                let (since, period) = settings[n - 1];
                assert!(first >= since + period, "before its time");
                let in_phase = |tick: &Tick| (tick.1 - first).is_multiple_of(period);
                assert!(ticks.iter().all(in_phase), "out of phase: {ticks:?}");
            }
        }
    }
}

#[test]
fn a_million_timers_are_called_as_often_as_they_were_not_prevented() {
    goweft::run(|| {
        let (ticking, mut book) = Ticking::new(timers_of_a_lane());
        goweft::scope(|s| {
            let ticking = &ticking;
            // These first: when timers of the other lanes are due there may be no stack for them.
            let receivers: Vec<_> = (0..RECEIVERS)
                .map(|n| s.spawn(move || ticking.receive(100 + n)))
                .collect();
            for seed in 1..LANES {
                s.spawn(move || lane(seed as u64, timers_of_a_lane()));
            }
            let mut ticks = ticking.set_and_stop(&mut book);
            for receiver in receivers {
                ticks.extend(receiver.join().expect("it receives until it is over"));
            }
            ticking.check(book, ticks);
        });
        while runtime::num_goroutines() > 1 {
            task::yield_now();
        }
    });
}

/// Far more are due at once than there can be stacks where each guard splits a mapping. Nobody is
/// lost, and those that have a stack get on.
#[test]
fn it_is_so_where_there_are_stacks_for_few_of_them() {
    if std::env::var_os("GOWEFT_STACKS_GUARD").is_some() {
        // This is the child, or everything runs so.
        return;
    }
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_million_timers_are_called_as_often_as_they_were_not_prevented",
        ])
        .env("GOWEFT_STACKS_GUARD", "mprotect")
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
}
