//! Preemption often: short slices, goroutines that compute without calls, and how to
//! know that they were stopped.

use goweft::{Config, JoinHandle, runtime, spawn};
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// After which something counts as hanging.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// The slice under which these tests run.
pub const SLICE: Duration = Duration::from_micros(200);

/// How `.ci/soak` says how long storms go on.
const SOAK: &str = "GOWEFT_SOAK_SECONDS";

/// Whether the tests may take long, because `.ci/soak` runs them.
pub fn is_soak() -> bool {
    std::env::var_os(SOAK).is_some()
}

/// How long a storm goes on, in seconds: as long as `.ci/soak` says, else `short`.
pub fn how_long(short: Duration) -> Duration {
    let seconds = std::env::var(SOAK).ok();
    seconds
        .and_then(|s| s.parse().ok())
        .map_or(short, Duration::from_secs)
}

/// A test that has the process for itself. At its end the last resort has not been used.
#[must_use]
pub struct Alone {
    _guard: MutexGuard<'static, ()>,
}

/// Waits until no other test runs; then there are `procs` processors, with slices of 200 us.
pub fn alone(procs: usize) -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    start(procs);
    Alone { _guard: guard }
}

/// The same for a process that does one thing only.
pub fn start(procs: usize) {
    static START: Once = Once::new();
    START.call_once(|| {
        let config = Config::new().time_slice(SLICE);
        config.install().expect("the first use of the runtime");
    });
    runtime::set_maxprocs(procs);
}

impl Drop for Alone {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(runtime::metrics().rescues, 0);
        }
    }
}

/// Until `condition` holds.
///
/// # Panics
/// When it does not in time: `what` it was.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WATCHDOG.max(how_long(Duration::ZERO));
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "{what}: not in time\n{:?}",
            runtime::metrics()
        );
        // Not in a loop without a rest: the runtime needs the CPU more.
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Tells on stderr itself: what a thread of a test prints is kept until the test has ended, and
/// lost when the process is ended instead.
pub fn tell(what: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// How many threads have been stopped so far.
pub fn preemptions() -> u64 {
    runtime::metrics().preemptions
}

/// How often a thread has lost its processor so far, whatever it did meanwhile.
pub fn taken() -> u64 {
    let m = runtime::metrics();
    m.taken_from_blocked + m.taken_from_computing
}

/// What `f`, as a goroutine, returns.
///
/// # Panics
/// When it does not return in time.
#[track_caller]
pub fn run_beside<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (tx, rx) = mpsc::channel();
    spawn(move || tx.send(f()).expect("somebody waits for it"));
    rx.recv_timeout(WATCHDOG).expect("it goes on")
}

/// Goroutines in endless loops without calls, until they are dropped.
pub struct Hogs {
    stop: Arc<AtomicBool>,
    turns: Arc<Vec<AtomicU64>>,
    hogs: Vec<JoinHandle<()>>,
}

impl Hogs {
    /// Starts `n`. All of them run, or have run, when this returns.
    pub fn start(n: usize) -> Hogs {
        let hogs = Hogs::launch(n);
        hogs.wait_for_turns();
        hogs
    }

    /// Starts `n`, and does not wait for them.
    pub fn launch(n: usize) -> Hogs {
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new((0..n).map(|_| AtomicU64::new(0)).collect::<Vec<_>>());
        let hogs = (0..n)
            .map(|i| {
                let (stop, turns) = (stop.clone(), turns.clone());
                spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        turns[i].store(turns[i].load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        Hogs { stop, turns, hogs }
    }

    /// Until each has got on.
    pub fn wait_for_turns(&self) {
        for turn in self.turns.iter() {
            let seen = turn.load(Ordering::Relaxed);
            wait_until("a hog gets a processor", || {
                turn.load(Ordering::Relaxed) != seen
            });
        }
    }

    /// Until each that has begun has got on.
    pub fn wait_for_turns_of_begun(&self) {
        for turn in self.turns.iter() {
            let seen = turn.load(Ordering::Relaxed);
            wait_until("a hog goes on", || {
                seen == 0 || turn.load(Ordering::Relaxed) != seen
            });
        }
    }

    /// How many have got a processor so far.
    pub fn begun(&self) -> usize {
        let begun = |t: &&AtomicU64| t.load(Ordering::Relaxed) != 0;
        self.turns.iter().filter(begun).count()
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for hog in self.hogs.drain(..) {
            let ended = hog.join();
            if !std::thread::panicking() {
                ended.expect("hogs do not panic");
            }
        }
    }
}
