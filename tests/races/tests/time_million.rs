//! A million timers, armed, set again and stopped in random order while they fire. One test
//! a process, because it looks at the goroutines of all of it. Under an emulator they are a
//! hundred thousand.

use goweft::time::{self, Timer};
use goweft::{runtime, task};
use goweft_tests::sys::is_emulated;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const LANES: usize = 4;

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

#[test]
fn a_million_timers_are_called_as_often_as_they_were_not_prevented() {
    goweft::run(|| {
        goweft::scope(|s| {
            for seed in 0..LANES {
                s.spawn(move || lane(seed as u64, timers_of_a_lane()));
            }
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
