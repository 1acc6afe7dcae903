//! One counter, four ways.
//!
//! The first way, goroutines that all change one variable, is the bug that Go's race detector
//! is for. Here it does not compile:
//!
//! ```compile_fail
//! let mut count = 0;
//! for _ in 0..1000 {
//!     go!(|| count += 1); // error: the closure may outlive the current function
//! }
//! ```
//!
//! (`RacyCounter` in `tests/src/lib.rs` holds the compiler to it.) The other three: an atomic, a
//! mutex, and a goroutine that owns the number and hears of it over a channel.

use goweft::sync::{Mutex, WaitGroup};
use goweft::{channel, go, spawn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const GOROUTINES: u64 = 1000;

#[goweft::main]
fn main() {
    let counts = [
        ("an atomic", with_an_atomic()),
        ("a mutex", with_a_mutex()),
        ("an owner", with_an_owner()),
    ];
    for (how, count) in counts {
        println!("{how} counted {count}");
        assert_eq!(count, GOROUTINES);
    }
    println!("counter: 1000, three times");
}

/// Enough for a number.
fn with_an_atomic() -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let all = WaitGroup::new();
    for _ in 0..GOROUTINES {
        let count = count.clone();
        all.go(move || count.fetch_add(1, Ordering::Relaxed));
    }
    all.wait();
    count.load(Ordering::Relaxed)
}

/// For what is more than a number. The mutex owns the data: it cannot be forgotten.
fn with_a_mutex() -> u64 {
    let count = Arc::new(Mutex::new(0));
    let all = WaitGroup::new();
    for _ in 0..GOROUTINES {
        let count = count.clone();
        all.go(move || *count.lock() += 1);
    }
    all.wait();
    *count.lock()
}

/// "Share memory by communicating": nobody but the owner can reach the number.
fn with_an_owner() -> u64 {
    let (add, added) = channel::bounded::<u64>(0);
    let owner = spawn(move || added.iter().sum());
    for _ in 0..GOROUTINES {
        go!(add.clone().send(1));
    }
    drop(add); // the sum ends when the last sender is gone
    owner.join().unwrap()
}
