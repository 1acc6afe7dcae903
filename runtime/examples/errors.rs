//! When several goroutines may fail: a channel of errors, and `ErrGroup`, where the first error
//! cancels the others.

use goweft::context::Context;
use goweft::sync::ErrGroup;
use goweft::{channel, go};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Clone, PartialEq, Debug)]
struct NoSuchPage(u32);

impl fmt::Display for NoSuchPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no page {}", self.0)
    }
}

impl Error for NoSuchPage {}

fn fetch(page: u32) -> Result<String, NoSuchPage> {
    match page {
        1..=7 => Ok(format!("text of page {page}")),
        _ => Err(NoSuchPage(page)),
    }
}

#[goweft::main]
fn main() {
    all_errors();
    first_error();
    println!("errors: all of them by a channel, the first one by a group");
}

/// Everybody runs to its end, and says how it went.
fn all_errors() {
    let (tx, results) = channel::unbounded();
    for page in 5..=9 {
        let tx = tx.clone();
        go!(move || tx.send(fetch(page)));
    }
    drop(tx);
    let (pages, mut errors): (Vec<_>, Vec<_>) = results.iter().partition(Result::is_ok);
    errors.sort_by_key(|e| e.as_ref().unwrap_err().0);
    assert_eq!(pages.len(), 3);
    assert_eq!(errors, [Err(NoSuchPage(8)), Err(NoSuchPage(9))]);
    println!("a channel: {} pages, {} errors", pages.len(), errors.len());
}

/// The first error is the group's, and the cause for which its context is cancelled.
fn first_error() {
    let (group, ctx) = ErrGroup::with_context(&Context::background());
    let given_up = Arc::new(AtomicU32::new(0));
    for _ in 0..10 {
        let (ctx, given_up) = (ctx.clone(), given_up.clone());
        group.go(move || {
            // Work without an end: only the error of another ends it.
            ctx.done().recv().unwrap_err();
            given_up.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
    }
    group.go(|| fetch(7).map(drop));
    group.go(|| fetch(8).map(drop));
    let outcome = group.wait(); // all twelve have ended
    assert_eq!(outcome, Err(NoSuchPage(8)));
    assert_eq!(ctx.cause().unwrap().to_string(), "there is no page 8");
    assert_eq!(given_up.load(Ordering::Relaxed), 10);
    println!("a group: {}, so 10 others gave up", outcome.unwrap_err());
}
