//! A pipeline: generate, square, print; each stage a goroutine, a channel between two of them.
//!
//! When the first stage ends its channel is closed, then the next stage ends, and so on. When the
//! last stage wants no more, it works in the other direction: by a context, or since a send fails
//! when nobody is left to receive.

use goweft::channel::{self, Receiver};
use goweft::context::Context;
use goweft::sync::WaitGroup;
use goweft::{go, select};

#[goweft::main]
fn main() {
    let mut squares = Vec::new();
    for square in square(generate(1..=10)) {
        println!("{square}");
        squares.push(square);
    }
    assert_eq!(squares, [1, 4, 9, 16, 25, 36, 49, 64, 81, 100]);

    // The same without an end, until it is cancelled.
    let stages = WaitGroup::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let numbers = generate_until(&ctx, &stages);
    let squares = square_until(&ctx, &stages, numbers);
    let found = squares.iter().find(|n| *n > 1_000_000);
    cancel();
    stages.wait(); // every stage has ended
    assert_eq!(found, Some(1_002_001));
    println!("the first square above a million is {}", found.unwrap());

    // And the same by dropping the receiver.
    let found = square(generate(1..)).iter().find(|n| *n > 2_000_000);
    assert_eq!(found, Some(2_002_225));
    println!("pipeline: 1 to 100, then 1002001, then 2002225");
}

fn generate(numbers: impl Iterator<Item = u64> + Send + 'static) -> Receiver<u64> {
    let (tx, rx) = channel::bounded(0);
    go! {
        for n in numbers {
            if tx.send(n).is_err() {
                return; // nobody wants more
            }
        }
    }
    rx
}

fn square(numbers: Receiver<u64>) -> Receiver<u64> {
    let (tx, rx) = channel::bounded(0);
    go! {
        for n in numbers {
            if tx.send(n * n).is_err() {
                return;
            }
        }
    }
    rx
}

fn generate_until(ctx: &Context, stages: &WaitGroup) -> Receiver<u64> {
    let ctx = ctx.clone();
    let (tx, rx) = channel::bounded(0);
    stages.go(move || {
        for n in 1.. {
            select! {
                send(tx, n) -> sent => if sent.is_err() { return },
                recv(ctx.done()) -> _ => return,
            }
        }
    });
    rx
}

fn square_until(ctx: &Context, stages: &WaitGroup, numbers: Receiver<u64>) -> Receiver<u64> {
    let ctx = ctx.clone();
    let (tx, rx) = channel::bounded(0);
    stages.go(move || {
        for n in numbers {
            select! {
                send(tx, n * n) -> sent => if sent.is_err() { return },
                recv(ctx.done()) -> _ => return,
            }
        }
    });
    rx
}
