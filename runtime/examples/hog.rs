//! Goroutines that compute on every processor, beside one that sleeps for a millisecond at a
//! time.
//!
//! The hogs call nothing: there is no place where they could give way. Their processors
//! are taken from them, and their threads are stopped where they stand, in time for the sleeper.

use goweft::channel::{self, TryRecvError};
use goweft::{runtime, spawn, task};
use std::time::{Duration, Instant};

const NUMBERS: u64 = 1_000_000;
const NAP: Duration = Duration::from_millis(1);

#[goweft::main]
fn main() {
    let (answer, mut late) = beside_a_sleeper(longest);
    late.sort();
    let naps = late.len();
    let (quarter, median) = (late[naps / 4], late[naps / 2]);
    let p99 = late[(naps - 1) * 99 / 100];
    println!(
        "{naps} naps beside the hogs, late by {median:?} as a rule, 99 of 100 by less than {p99:?}"
    );
    // (Not more than a quarter: where others have the CPUs too it may be late as a rule.)
    assert!(quarter < Duration::from_millis(5));
    assert_eq!(answer, (524, 837_799));
    println!("hog: of a million numbers 837799 takes the most steps to 1: 524");
}

/// Runs a hog on every processor; their answer, and by how much the sleeper was late.
fn beside_a_sleeper(hog: fn() -> (u32, u64)) -> ((u32, u64), Vec<Duration>) {
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
                return late;
            }
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

/// Of the numbers up to `NUMBERS` the one that takes the most steps to 1, after that number: halve
/// what is even, triple what is odd and add one.
fn longest() -> (u32, u64) {
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
    }
    longest
}
