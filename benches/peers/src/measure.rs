//! What is timed and how: repetitions, memory of the process, calibrated work,
//! and the figures of the scenarios that watch a run from outside.

use crate::cli::{Cli, percentile};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Repetitions of a short scenario.
pub const REPS: usize = 21;
/// Repetitions of a scenario that takes a good part of a second.
pub const FEW: usize = 5;
/// Frames of the deep recursion: 1 KiB each.
pub const DEEP_FRAMES: usize = 1024;
/// Sleeps of each task in `sleep_timers`.
pub const ROUNDS: usize = 5;

/// Waiters of `condvar_all`.
pub const WAITERS: usize = 100;

/// What `rwlock_read` looks things up in.
pub fn table() -> Vec<u64> {
    (0..1024u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect()
}

/// Takes about as long as finding a key in a small map.
pub fn lookup(table: &[u64], key: usize) -> u64 {
    (0..8).fold(key as u64, |at, _| table[(at % 1024) as usize] >> 7)
}

/// Where results go, so that the compiler keeps the work.
pub static SINK: AtomicU64 = AtomicU64::new(0);

/// One warm-up, then `reps` repetitions.
pub fn repeat(reps: usize, mut f: impl FnMut() -> Duration) -> Vec<Duration> {
    f();
    (0..reps).map(|_| f()).collect()
}

/// Bytes this process holds: resident pages and page tables.
pub fn mem_bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .filter(|l| l.starts_with("VmRSS:") || l.starts_with("VmPTE:"))
        .filter_map(|l| l.split_whitespace().nth(1)?.parse::<f64>().ok())
        .sum::<f64>()
        * 1024.0
}

/// splitmix64: the same numbers, drawn cheaply, for every peer.
pub fn mix(x: u64) -> u64 {
    let mut x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Computes for about 20 us of CPU time, the same amount at every call.
///
/// The amount is a count of steps, not a time, so that two stages on one
/// processor cannot share one stretch of wall time. The first call calibrates.
pub fn work_20us() {
    static STEPS: OnceLock<u64> = OnceLock::new();
    let steps = *STEPS.get_or_init(|| {
        const PROBE: u64 = 100_000;
        // The best of many: anything that interrupts a probe only makes it longer.
        let best = (0..50)
            .map(|_| {
                let t = Instant::now();
                work(PROBE);
                t.elapsed()
            })
            .min()
            .unwrap_or_default();
        (PROBE as f64 * 20_000.0 / best.as_nanos().max(1) as f64) as u64
    });
    work(steps);
}

#[inline(never)]
fn work(steps: u64) {
    let mut x = steps;
    for _ in 0..steps {
        x = mix(x);
    }
    black_box(x);
}

/// How long sleep number `i` of `sleep_timers` lasts: 1 to 100 ms.
pub fn sleep_for(i: usize) -> Duration {
    Duration::from_micros(1000 + mix(i as u64) % 99_001)
}

/// Milliseconds of a duration.
pub fn millis(d: Duration) -> f64 {
    d.as_nanos() as f64 / 1e6
}

/// The longest sum of sleeps any one of `n` tasks was asked for.
pub fn sleep_ideal(n: usize) -> Duration {
    (0..n)
        .map(|i| (0..ROUNDS).map(|r| sleep_for(i * ROUNDS + r)).sum())
        .max()
        .unwrap_or_default()
}

/// Runs `sleep_timers` once to warm up and [`FEW`] times, and prints its figures.
/// `run` gives the time it took and every sleep's lateness in ms.
pub fn sleep_timers(cli: &Cli, n: usize, mut run: impl FnMut() -> (Duration, Vec<f64>)) {
    let ideal = sleep_ideal(n);
    let (mut over, mut p99) = (vec![], vec![]);
    for rep in 0..=FEW {
        let (elapsed, mut late) = run();
        if rep > 0 {
            over.push(millis(elapsed) - millis(ideal));
            p99.push(percentile(&mut late, 0.99));
        }
    }
    cli.report("sleep_timers.over_ideal", n, &over, "ms");
    cli.report("sleep_timers.late_p99", n, &p99, "ms");
}

/// Figures of `idle_mem`: memory before and after, time to spawn, time until all wait.
pub fn idle_mem(cli: &Cli, n: usize, before: f64, spawned: Duration, parked: Duration) {
    // What the allocator and the kernel do a little later counts too.
    std::thread::sleep(Duration::from_millis(200));
    let us = |d: Duration| d.as_nanos() as f64 / 1000.0 / n as f64;
    cli.figure(
        "idle_mem.bytes",
        n,
        (mem_bytes() - before) / n as f64,
        "bytes",
    );
    cli.figure("idle_mem.spawn", n, us(spawned), "us");
    cli.figure("idle_mem.spawn_to_parked", n, us(parked), "us");
}

/// Recursion of about 1 KiB a frame; `deep(DEEP_FRAMES - 1)` takes about 1 MiB.
#[inline(never)]
pub fn deep(depth: usize) -> usize {
    let mut buf = [0u8; 1024];
    buf[depth & 1023] = depth as u8;
    let b = black_box(&mut buf);
    if depth == 0 {
        return b[0] as usize;
    }
    let below = deep(depth - 1);
    below + b[depth & 1023] as usize + b[(depth * 7) & 1023] as usize
}

/// Microseconds of the first and of the second deep call.
pub fn deep_timed() -> (f64, f64) {
    let t = Instant::now();
    let a = deep(DEEP_FRAMES - 1);
    let first = t.elapsed();
    let t = Instant::now();
    let b = deep(DEEP_FRAMES - 1);
    let second = t.elapsed();
    SINK.store((a + b) as u64, Ordering::Relaxed);
    (
        first.as_nanos() as f64 / 1000.0,
        second.as_nanos() as f64 / 1000.0,
    )
}

/// Figures of `deep_stack`: `run` makes one task that calls deep twice and then stays parked.
pub fn deep_stack(cli: &Cli, n: usize, mut run: impl FnMut() -> (f64, f64)) {
    for _ in 0..5 {
        run();
    }
    let before = mem_bytes();
    let (first, second): (Vec<f64>, Vec<f64>) = (0..n).map(|_| run()).unzip();
    let after = mem_bytes();
    cli.report("deep_stack.first", n, &first, "us");
    cli.report("deep_stack.second", n, &second, "us");
    cli.figure(
        "deep_stack.retained",
        n,
        (after - before) / n as f64,
        "bytes",
    );
}

/// Sleeps that a `preempt` run wants to see.
pub const SLEEPS: usize = 500;

/// The `preempt` scenario for peers whose tasks are plain closures: every processor computes
/// without end, and one more task sleeps 1 ms again and again. `sleeper_first` starts it before
/// the others, so that it has a processor once.
pub fn preempt(
    cli: &Cli,
    name: &str,
    sleeper_first: bool,
    spawn: impl Fn(Job),
    sleep: fn(Duration),
) {
    let stop = Arc::new(AtomicBool::new(false));
    let running = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let late = Arc::new(Mutex::new(vec![]));
    let sleeper = || {
        let (stop, done, late) = (stop.clone(), done.clone(), late.clone());
        spawn(Box::new(move || {
            while done.load(Ordering::Relaxed) < SLEEPS && !stop.load(Ordering::Relaxed) {
                let t = Instant::now();
                sleep(Duration::from_millis(1));
                late.lock().unwrap().push(millis(t.elapsed()) - 1.0);
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    };
    if sleeper_first {
        sleeper();
        std::thread::sleep(Duration::from_millis(20));
    }
    for seed in 0..cli.procs as u64 {
        let (stop, running) = (stop.clone(), running.clone());
        spawn(Box::new(move || spin(seed, &stop, &running)));
    }
    if !sleeper_first {
        preempt_await_spinners(&running, cli.procs);
        sleeper();
    }
    let starved = preempt_watch(&done);
    stop.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    preempt_report(cli, name, starved, &mut late.lock().unwrap());
}

/// What a peer runs as a task.
pub type Job = Box<dyn FnOnce() + Send>;

/// Computes until told to stop, calling nothing.
pub fn spin(seed: u64, stop: &AtomicBool, running: &AtomicUsize) {
    running.fetch_add(1, Ordering::Relaxed);
    let mut x = seed;
    while !stop.load(Ordering::Relaxed) {
        x = mix(x);
    }
    SINK.store(x, Ordering::Relaxed);
}

/// Two tasks a processor, each with its share of a fixed amount of work and without a call: the CPU
/// time of the process, in ms. What it takes longer than alone is what sharing costs.
pub fn busy(cli: &Cli, spawn: impl Fn(Job)) {
    const STEPS: u64 = 1_000_000_000;
    let tasks = 2 * cli.procs;
    let (tx, rx) = std::sync::mpsc::channel();
    for seed in 0..tasks as u64 {
        let tx = tx.clone();
        spawn(Box::new(move || {
            let x = (0..STEPS / tasks as u64).fold(seed, |x, _| mix(x));
            tx.send(x).expect("the main thread waits for all");
        }));
    }
    drop(tx);
    let before = crate::sys::cpu_time();
    SINK.store(rx.iter().fold(0, |a, x| a ^ x), Ordering::Relaxed);
    let used = crate::sys::cpu_time() - before;
    cli.figure("busy.cpu", STEPS as usize, millis(used), "ms");
}

/// Waits, at most a second, until `procs` spinners run: a peer may not get them all going.
pub fn preempt_await_spinners(running: &AtomicUsize, procs: usize) {
    let t = Instant::now();
    while running.load(Ordering::Relaxed) < procs && t.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Watches a `preempt` run from an OS thread outside the peer's scheduler.
/// Returns whether the sleeper starved: no sleep ended for 5 s.
pub fn preempt_watch(done: &AtomicUsize) -> bool {
    let begin = Instant::now();
    let (mut last, mut last_at) = (usize::MAX, begin);
    loop {
        let now = done.load(Ordering::Relaxed);
        if now >= SLEEPS || begin.elapsed() > Duration::from_secs(25) {
            return false;
        }
        if now != last {
            last = now;
            last_at = Instant::now();
        } else if last_at.elapsed() > Duration::from_secs(5) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Figures of a `preempt` run: how late the sleeps ended, in ms.
pub fn preempt_report(cli: &Cli, name: &str, starved: bool, late: &mut [f64]) {
    let sleeps = late.len();
    let (p50, p99) = if starved {
        eprintln!(
            "# starved bench={name} peer={} procs={} after {sleeps} sleeps",
            cli.peer, cli.procs
        );
        (f64::INFINITY, f64::INFINITY)
    } else {
        (percentile(late, 0.5), percentile(late, 0.99))
    };
    cli.figure(&format!("{name}.late_p50"), sleeps, p50, "ms");
    cli.figure(&format!("{name}.late_p99"), sleeps, p99, "ms");
}
