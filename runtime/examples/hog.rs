//! Goroutines that compute on every processor, beside one that sleeps for a millisecond at a
//! time.
//!
//! In this version a goroutine that computes gives way when it says so, by
//! `task::yield_now`, and the sleeper is late by what lies between two of these. Two kinds of
//! hogs show the difference; both find the same answer.

use goweft::channel::{self, TryRecvError};
use goweft::{runtime, spawn, task};
use std::fmt;
use std::time::{Duration, Instant};

const NUMBERS: u64 = 300_000;
const NAP: Duration = Duration::from_millis(1);

#[goweft::main]
fn main() {
    let (greedy, late) = beside_a_sleeper(|| longest(|| ()));
    println!("without a call: {late}");
    let (polite, late) = beside_a_sleeper(|| longest(task::yield_now));
    println!("giving way:     {late}");
    assert!(late.median < Duration::from_millis(20));
    assert_eq!(greedy, (442, 230_631));
    assert_eq!(polite, greedy);
    println!("hog: of 300000 numbers 230631 takes the most steps to 1: 442");
}

/// By how much the sleeper was late.
struct Late {
    median: Duration,
    worst: Duration,
    naps: usize,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Late {
            median,
            worst,
            naps,
        } = self;
        write!(
            f,
            "{naps} naps, late by {median:?} as a rule, {worst:?} at worst"
        )
    }
}

/// Runs a hog on every processor; their answer, and how the sleeper fared.
fn beside_a_sleeper(hog: fn() -> (u32, u64)) -> ((u32, u64), Late) {
    let (stop, stopped) = channel::bounded::<()>(0);
    let (ready, is_ready) = channel::bounded(0);
    let sleeper = spawn(move || {
        let mut late = Vec::new();
        ready.send(()).unwrap();
        loop {
            let due = Instant::now() + NAP;
            task::sleep(NAP);
            late.push(due.elapsed());
            if stopped.try_recv() == Err(TryRecvError::Disconnected) {
                break;
            }
        }
        late.sort();
        Late {
            median: late[late.len() / 2],
            worst: late[late.len() - 1],
            naps: late.len(),
        }
    });
    is_ready.recv().unwrap();
    let hogs: Vec<_> = (0..runtime::maxprocs()).map(|_| spawn(hog)).collect();
    let mut answers: Vec<_> = hogs.into_iter().map(|hog| hog.join().unwrap()).collect();
    drop(stop);
    answers.dedup();
    assert_eq!(answers.len(), 1, "the hogs disagree");
    (answers[0], sleeper.join().unwrap())
}

/// Of the numbers up to `NUMBERS` the one that takes the most steps to 1, after that number: halve what
/// is even, triple what is odd and add one. `pause` is called every hundred numbers.
fn longest(pause: fn()) -> (u32, u64) {
    let mut longest = (0, 0);
    for first in 1..=NUMBERS {
        let (mut n, mut steps) = (first, 0);
        while n != 1 {
            n = if n.is_multiple_of(2) {
                n / 2
            } else {
                3 * n + 1
            };
            steps += 1;
        }
        longest = longest.max((steps, first));
        if first.is_multiple_of(100) {
            pause();
        }
    }
    longest
}
