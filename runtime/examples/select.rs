//! Waiting for whatever comes first: several channels, a timeout, nothing at all, a quit
//! channel, a context.
//!
//! The arms of `select!` are code of the function around them: `break`, `return` and `?` work.

use goweft::channel::{self, Receiver, Sender};
use goweft::context::{Context, ContextError};
use goweft::{go, select, spawn};
use std::time::{Duration, Instant};

#[goweft::main]
fn main() {
    several_channels();
    timeout();
    default();
    quit();
    cancellation();
    println!("select: 5 of 5");
}

/// A channel that is closed is ready, with an error: `None` takes it out of the choice, as
/// setting it to nil does in Go.
fn several_channels() {
    let (tx, numbers) = channel::bounded(0);
    go! {
        for n in 1..=100u32 {
            tx.send(n).unwrap();
        }
    }
    let (tx, words) = channel::bounded(0);
    go! {
        for word in ["to", "be", "or", "not"] {
            tx.send(word).unwrap();
        }
    }
    let (mut numbers, mut words) = (Some(numbers), Some(words));
    let (mut sum, mut text) = (0, Vec::new());
    while numbers.is_some() || words.is_some() {
        select! {
            recv(numbers) -> n => match n {
                Ok(n) => sum += n,
                Err(_) => numbers = None,
            },
            recv(words) -> word => match word {
                Ok(word) => text.push(word),
                Err(_) => words = None,
            },
        }
    }
    assert_eq!((sum, text.join(" ")), (5050, "to be or not".to_string()));
    println!("several channels: the sum is {sum}, the words are {text:?}");
}

fn timeout() {
    let (_silent, rx) = channel::bounded::<u32>(0);
    let patience = Duration::from_millis(20);
    let begin = Instant::now();
    let answer = select! {
        recv(rx) -> n => n.ok(),
        default(patience) => None, // or recv(channel::after(patience)) -> _
    };
    assert_eq!(answer, None);
    assert!(begin.elapsed() >= patience);
    println!("timeout: no answer in {patience:?}");
}

/// With a plain `default` nothing waits.
fn default() {
    let (tx, rx) = channel::bounded(1);
    let look = || {
        select! {
            recv(rx) -> n => n.ok(),
            default => None,
        }
    };
    assert_eq!(look(), None);
    tx.send(7).unwrap();
    assert_eq!(look(), Some(7));
    println!("default: first nothing was there, then 7");
}

/// Closing the quit channel tells everybody who listens to it.
fn quit() {
    let (tx, numbers) = channel::bounded(0);
    let (quit, done) = channel::bounded(0);
    let generator = spawn(move || fibonacci(&tx, &done));
    let first: Vec<u64> = numbers.iter().take(10).collect();
    quit.close();
    let sent = generator.join().unwrap();
    assert_eq!(first, [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]);
    assert_eq!(sent, 10);
    println!("quit: {first:?}");
}

/// How many were taken.
fn fibonacci(out: &Sender<u64>, quit: &Receiver<()>) -> usize {
    let (mut a, mut b) = (0, 1);
    let mut sent = 0;
    loop {
        select! {
            send(out, a) -> result => {
                result.unwrap();
                (a, b) = (b, a + b);
                sent += 1;
            }
            recv(quit) -> _ => return sent,
        }
    }
}

fn cancellation() {
    let (_silent, rx) = channel::bounded::<u32>(0);
    let (ctx, cancel) = Context::background().with_cancel();
    let waiter = spawn(move || {
        select! {
            recv(rx) -> n => Ok(n.unwrap()),
            recv(ctx.done()) -> _ => Err(ctx.err().unwrap()),
        }
    });
    cancel();
    let outcome = waiter.join().unwrap();
    assert_eq!(outcome, Err(ContextError::Canceled));
    println!("cancellation: {}", outcome.unwrap_err());
}
