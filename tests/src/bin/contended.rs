//! Computes on two processors for so many seconds, as soon as its stdin ends, and tells what
//! the runtime took from it: `contended SECONDS`, run by `preempt_stress_cases`.
//!
//! Four goroutines that compute and call the runtime every 100 us of their time: each gives way
//! when it is asked, so there is no reason to take anything from it, however little time it has.

use goweft::{Config, run, runtime, scope};
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// On the first two CPUs that there are, as all the others.
fn pin() {
    // SAFETY: all zero is a set of no CPUs; the calls fill it in and read it.
    unsafe {
        let mut may: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of_val(&may);
        assert_eq!(libc::sched_getaffinity(0, size, &mut may), 0);
        let mut two: libc::cpu_set_t = std::mem::zeroed();
        let cpus = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &may));
        cpus.take(2).for_each(|cpu| libc::CPU_SET(cpu, &mut two));
        assert_eq!(libc::sched_setaffinity(0, size, &two), 0);
    }
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|s| s.parse().ok());
    let seconds = seconds.expect("contended SECONDS");
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("it ends");
    pin();
    Config::new()
        .maxprocs(2)
        .install()
        .expect("the first use of the runtime");
    let turns = AtomicU64::new(0);
    run(|| {
        let end = Instant::now() + Duration::from_secs(seconds);
        scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    while Instant::now() < end {
                        (0..10_000u64).for_each(|i| _ = std::hint::black_box(i));
                        // Enters and leaves, where it gives way.
                        _ = runtime::metrics();
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    });
    let m = runtime::metrics();
    println!(
        "turns {} yields {} computing {} blocked {} stopped {} rescues {}",
        turns.load(Ordering::Relaxed),
        m.yields,
        m.taken_from_computing,
        m.taken_from_blocked,
        m.preemptions,
        m.rescues
    );
}
