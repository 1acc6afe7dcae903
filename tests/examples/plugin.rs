//! A library that a program loads while it runs, and that has goroutines of its own: for
//! `runtime_in_library.rs` among the tests.

use goweft::{channel, go, task};
use std::time::Duration;

/// The sum of the numbers below `n`, each from a goroutine that has slept.
#[unsafe(no_mangle)]
pub extern "C" fn sum_below(n: u64) -> u64 {
    goweft::run(move || {
        let (tx, rx) = channel::bounded(4);
        for i in 0..n {
            let tx = tx.clone();
            go!(move || {
                task::sleep(Duration::from_micros(i % 100));
                tx.send(i).unwrap();
            });
        }
        drop(tx);
        rx.iter().sum()
    })
}
