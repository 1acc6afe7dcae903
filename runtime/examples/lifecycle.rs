//! How long goroutines live: longer than the function that started them, and not longer
//! than `main`.
//!
//! Nobody waits for a goroutine unless somebody says so: with a `WaitGroup`, which counts
//! many, or with the `JoinHandle` of one, which also brings its result, or the panic that it
//! died of.

use goweft::channel::{self, Receiver, Sender};
use goweft::sync::WaitGroup;
use goweft::{defer, go, runtime, spawn, task};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[goweft::main]
fn main() {
    // It outlives its caller: `start` has returned before it may go on.
    let (go_on, child) = start();
    drop(go_on);
    assert_eq!(child.recv(), Ok("the child goes on, its caller is gone"));
    println!("a goroutine outlived its caller");

    // A WaitGroup waits for many.
    let finished = Arc::new(AtomicU32::new(0));
    let all = WaitGroup::new();
    for _ in 0..10 {
        let finished = finished.clone();
        all.go(move || finished.fetch_add(1, Ordering::Relaxed));
    }
    all.wait();
    assert_eq!(finished.load(Ordering::Relaxed), 10);
    println!("a wait group waited for 10");

    // A JoinHandle waits for one, and tells how it ended.
    let sum = spawn(|| (1..=100).sum::<u32>());
    assert_eq!(sum.join().unwrap(), 5050);
    let gone = spawn(|| task::exit());
    assert!(gone.join().unwrap_err().is::<task::Exited>());
    println!("a handle brought a result, another told of an exit");

    // The end of `main` ends all. This one would wait for ever, and never says its line.
    let (ready, is_ready) = channel::bounded(0);
    go! {
        defer! { println!("this is never printed") }
        ready.send(()).unwrap();
        channel::never::<()>().recv().unwrap();
    }
    is_ready.recv().unwrap();
    // It and `main`.
    assert!(runtime::num_goroutines() >= 2);
    println!("lifecycle: main ends, and with it the one that still waits");
}

/// Starts a goroutine and returns while it waits. It goes on when the sender is dropped, and
/// says so to the receiver.
fn start() -> (Sender<()>, Receiver<&'static str>) {
    let (go_on, told) = channel::bounded(0);
    let (tx, child) = channel::bounded(1);
    go! {
        told.recv().unwrap_err(); // closed: nothing was sent
        tx.send("the child goes on, its caller is gone").unwrap();
    }
    (go_on, child)
}
