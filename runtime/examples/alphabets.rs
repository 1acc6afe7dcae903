//! Two goroutines, one processor: one writes the small letters, the other the capitals.
//!
//! First each as it is scheduled, joined by a `WaitGroup`: every letter is there, and each
//! alphabet in its order, but who writes when is nobody's promise. Then in turns, by passing a
//! baton over two channels: concurrency is what there is to arrange, orchestration is to
//! arrange it.

use goweft::channel::{self, Receiver, Sender};
use goweft::sync::{Mutex, WaitGroup};
use goweft::task;
use std::sync::Arc;

#[goweft::main(maxprocs = 1)]
fn main() {
    let text = as_scheduled();
    println!("as scheduled: {text}");
    assert_eq!(only(&text, char::is_lowercase), alphabet('a'));
    assert_eq!(only(&text, char::is_uppercase), alphabet('A'));

    let text = in_turns();
    println!("in turns:     {text}");
    assert_eq!(text, "aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ");
    println!("alphabets: 52 letters, twice");
}

fn as_scheduled() -> String {
    let text = Arc::new(Mutex::new(String::new()));
    let both = WaitGroup::new();
    for first in ['a', 'A'] {
        let text = text.clone();
        both.go(move || {
            for letter in alphabet(first).chars() {
                text.lock().push(letter);
                task::yield_now(); // let the other one have the processor
            }
        });
    }
    both.wait();
    text.lock().clone()
}

fn in_turns() -> String {
    let (to_lower, lower_turn) = channel::bounded(0);
    let (to_upper, upper_turn) = channel::bounded(0);
    let (to_main, finished) = channel::bounded(1);
    let both = WaitGroup::new();
    let to_lower_again = to_lower.clone();
    both.go(move || write('a', &lower_turn, &to_upper));
    both.go(move || {
        let last = write('A', &upper_turn, &to_lower_again);
        to_main.send(last).unwrap();
    });
    to_lower.send(String::new()).unwrap();
    both.wait();
    finished.recv().unwrap()
}

/// Adds a letter whenever the text comes, and passes it on; when the other one has left, the text
/// stays here.
fn write(first: char, my_turn: &Receiver<String>, next: &Sender<String>) -> String {
    let mut left = String::new();
    for letter in alphabet(first).chars() {
        let mut text = my_turn.recv().unwrap();
        text.push(letter);
        if let Err(unsent) = next.send(text) {
            left = unsent.into_inner();
        }
    }
    left
}

fn alphabet(first: char) -> String {
    (first..).take(26).collect()
}

fn only(text: &str, which: fn(char) -> bool) -> String {
    text.chars().filter(|c| which(*c)).collect()
}
