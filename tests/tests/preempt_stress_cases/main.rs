//! The protocol's stress tests, one by one, each with 1, 2 and 4 processors and a slice of 100 us.
//!
//! They are short here. Their place is a build with `--cfg goweft_delays` (`.ci/delays`,
//! `.ci/soak`), in which every step of the protocol takes a random while, Ps are taken at any time,
//! and each P has a token that shows a second user. `GOWEFT_STRESS_SECONDS` is how long each one
//! goes on with each number of processors.
//!
//! In all of them: nobody is left behind (a watchdog ends the process, with the metrics and what
//! its threads do, when nothing has got on for 30 s), and the last resort is not used.

mod blocked;
mod destructors;
mod machine;
mod panics;
mod processors;
mod wakes;

use goweft::{Config, runtime, spawn};
use goweft_tests::pressure::tell;
use goweft_tests::sys::{self, is_instrumented};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Whether everything takes its time here: latencies and the like are not what they are otherwise.
fn is_slow() -> bool {
    cfg!(goweft_delays) || is_instrumented()
}

/// So long nothing may stand still.
const STANDS_STILL: Duration = Duration::from_secs(30);

fn how_long() -> Duration {
    let seconds = std::env::var("GOWEFT_STRESS_SECONDS").ok();
    let short = if cfg!(goweft_delays) { 250 } else { 150 };
    seconds
        .and_then(|s| s.parse().ok())
        .map_or(Duration::from_millis(short), Duration::from_secs_f64)
}

/// One stress on one number of processors, alone in its process.
#[derive(Clone)]
struct Stress {
    procs: usize,
    end: Instant,
    progress: Arc<AtomicU64>,
}

impl Stress {
    /// Runs `f` with each number of processors.
    fn on_each(what: &str, f: impl Fn(&Stress)) {
        Stress::on(&[1, 2, 4], what, f);
    }

    /// With these.
    fn on(all: &[usize], what: &str, mut f: impl FnMut(&Stress)) {
        static ALONE: Mutex<()> = Mutex::new(());
        static START: Once = Once::new();
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        START.call_once(|| {
            let config = Config::new().time_slice(Duration::from_micros(100));
            config.install().expect("the first use of the runtime");
        });
        for &procs in all {
            runtime::set_maxprocs(procs);
            let before = runtime::metrics();
            let stress = Stress {
                procs,
                end: Instant::now() + how_long(),
                progress: Arc::default(),
            };
            {
                let _watched = stress.watch(what.to_owned());
                f(&stress);
            }
            let after = runtime::metrics();
            println!(
                "{what}, {procs} processors: {} turns, {} taken from computing, {} from blocked, {} stopped",
                stress.progress.load(Ordering::Relaxed),
                after.taken_from_computing - before.taken_from_computing,
                after.taken_from_blocked - before.taken_from_blocked,
                after.preemptions - before.preemptions,
            );
            assert_eq!(after.rescues, before.rescues, "{what}: the last resort");
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Something has got on.
    fn step(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Goroutines that do `turn` again and again until the end; it is told who and the how
    /// manieth. Returns when they have ended.
    fn turns(&self, goroutines: usize, turn: impl Fn(usize, u64) + Clone + Send + 'static) {
        let all: Vec<_> = (0..goroutines).map(|i| self.go(i, turn.clone())).collect();
        all.into_iter().for_each(|h| h.join().unwrap());
    }

    /// One of them.
    fn go(&self, i: usize, turn: impl Fn(usize, u64) + Send + 'static) -> goweft::JoinHandle<()> {
        let stress = self.clone();
        spawn(move || {
            let mut n = 0;
            // Each has a turn, however late it comes.
            while n == 0 || !stress.is_over() {
                turn(i, n);
                n += 1;
                stress.step();
            }
        })
    }

    /// Ends the process if nothing gets on, until the sender is dropped.
    fn watch(&self, what: String) -> mpsc::Sender<()> {
        let (ended, until) = mpsc::channel();
        let progress = self.progress.clone();
        std::thread::spawn(move || {
            let mut seen = (progress.load(Ordering::Relaxed), Instant::now());
            while until.recv_timeout(Duration::from_millis(500))
                == Err(mpsc::RecvTimeoutError::Timeout)
            {
                let now = progress.load(Ordering::Relaxed);
                if now != seen.0 {
                    seen = (now, Instant::now());
                } else if seen.1.elapsed() > STANDS_STILL {
                    tell(format_args!(
                        "{what}: nothing gets on\n{:?}",
                        runtime::metrics()
                    ));
                    tell_threads();
                    std::process::abort();
                }
            }
        });
        ended
    }
}

/// What the OS says that the threads of this process do.
fn tell_threads() {
    for tid in sys::threads().unwrap_or_default() {
        let name = sys::name_of_thread(tid).unwrap_or_default();
        let call = sys::of_thread(tid, "syscall").unwrap_or_default();
        tell(format_args!("{tid} {name}: {}", call.trim()));
    }
}

/// Computes for so many microseconds, without a call into the runtime.
fn compute(micros: u64) {
    let until = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// A random number made of two (splitmix64; Steele, Lea, Flood 2014).
fn random(i: usize, n: u64) -> u64 {
    let mut z = (n << 8 | i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
