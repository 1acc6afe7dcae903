//! All that a thread's code can see of its processor is the same after a preemption as
//! before: loops that hold known values in every register, and are stopped a hundred times.
//!
//! Each loop (`x86_64.rs`, `aarch64.rs`) loads its registers, spins until [`GO`] is zero
//! without touching them, and stores what they hold then. There are two of each on one
//! processor, so that each takes the processor from the other. How often each was stopped
//! its thread's counter of sleeps says: the loop itself makes no calls. (At the least so often: one
//! that is given the processor back before its handler gets to sleep was stopped as well. On a slow
//! machine, as an emulator is, that is one time in ten.)

use goweft::{JoinHandle, spawn};
use goweft_tests::pressure::{WATCHDOG, alone, preemptions, wait_until};
use goweft_tests::sys;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

/// How often a loop is stopped, at the least.
const ENOUGH: u64 = 100;

/// The loops end when it is zero.
static GO: AtomicU64 = AtomicU64::new(0);

/// Runs `hold`, a loop that ends with [`GO`], in two goroutines until each was stopped often
/// enough. It gets a seed, so that the two hold different values.
fn while_stopped_often(hold: impl Fn(u8) + Clone + Send + 'static) {
    let _alone = alone(1);
    GO.store(0x600d_600d_600d_600d, Ordering::Relaxed);
    let before = preemptions();
    let (tx, rx) = mpsc::channel();
    let loops: Vec<JoinHandle<u64>> = [0x11, 0x5e]
        .map(|seed| {
            let (hold, tx) = (hold.clone(), tx.clone());
            spawn(move || {
                let before = sys::sleeps_of_this_thread();
                // Without calls it stays on this thread.
                tx.send((sys::gettid(), before)).unwrap();
                hold(seed);
                sys::sleeps_of_this_thread() - before
            })
        })
        .into();
    let threads = loops.iter().map(|_| rx.recv_timeout(WATCHDOG));
    let threads: Vec<(i32, u64)> = threads.collect::<Result<_, _>>().expect("both begin");
    wait_until("the loops are stopped", || {
        let often = |&(tid, before)| sys::sleeps_of_thread(tid) - before >= ENOUGH;
        // One that has ended has something to say.
        loops.iter().any(JoinHandle::is_finished)
            || (preemptions() - before > 2 * ENOUGH && threads.iter().all(often))
    });
    GO.store(0, Ordering::Relaxed);
    for l in loops {
        let stopped = l.join().unwrap();
        assert!(stopped >= ENOUGH, "stopped {stopped} times");
    }
}

/// Bytes of which no two neighbours are the same, different for each seed.
fn pattern<const N: usize>(seed: u8) -> [u8; N] {
    std::array::from_fn(|i| (i as u8).wrapping_mul(167).wrapping_add(seed) ^ (i >> 8) as u8)
}

/// The same as words.
fn words<const N: usize>(seed: u8) -> [u64; N] {
    std::array::from_fn(|i| {
        u64::from_le_bytes(pattern(seed.wrapping_add(29u8.wrapping_mul(i as u8))))
    })
}
