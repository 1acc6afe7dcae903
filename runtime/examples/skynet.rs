//! Skynet: a goroutine starts ten, each of which starts ten, until there are a million at the
//! bottom. Those have the numbers from 0 to 999,999, and every other one tells its parent the sum
//! of its children.
//!
//! ```text
//! skynet [LEAVES]      a power of ten
//! ```

use goweft::channel::{self, Sender};
use goweft::{go, runtime};
use std::time::Instant;

#[goweft::main]
fn main() {
    let leaves = match std::env::args().nth(1) {
        Some(number) => number.parse().expect("a number of leaves"),
        None => 1_000_000,
    };
    let begin = Instant::now();
    let (tx, sum) = channel::bounded(1);
    go!(skynet(0, leaves, tx));
    let sum = sum.recv().unwrap();
    let spawned = runtime::metrics().spawned;
    println!("{spawned} goroutines in {:?}", begin.elapsed());
    assert_eq!(sum, leaves * (leaves - 1) / 2);
    println!("skynet: the sum is {sum}");
}

fn skynet(first: u64, leaves: u64, parent: Sender<u64>) {
    if leaves == 1 {
        parent.send(first).unwrap();
        return;
    }
    let (tx, sums) = channel::bounded(10);
    let share = leaves / 10;
    for child in 0..10 {
        go!(skynet(first + child * share, share, tx.clone()));
    }
    drop(tx);
    parent.send(sums.iter().sum()).unwrap();
}
