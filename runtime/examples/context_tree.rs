//! A tree of contexts: cancelling, deadlines and values go down from parent to child, never up.
//!
//! The function beside a context cancels it when it is called, and when it is dropped: so it is
//! bound to a name (`_cancel`), and the context is done at the end of the scope at the latest.

use goweft::channel;
use goweft::context::{Context, ContextError};
use goweft::sync::WaitGroup;
use std::io;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Values are found by their type.
struct RequestId(u64);

#[goweft::main]
fn main() {
    timeouts_and_deadlines();
    values();
    cancelling();
    println!("context_tree: from the root to every leaf, and never up");
}

fn timeouts_and_deadlines() {
    let root = Context::background();
    let (parent, _cancel) = root.with_timeout(Duration::from_millis(20));
    let (child, _cancel_child) = parent.with_timeout(HOUR);
    // A child has no more time than its parent.
    assert_eq!(child.deadline(), parent.deadline());
    child.done().recv().unwrap_err(); // closed after 20 ms
    assert_eq!(child.err(), Some(ContextError::DeadlineExceeded));

    let deadline = parent.deadline().unwrap() + HOUR;
    let (other, _cancel_other) = root.with_deadline(deadline);
    assert_eq!(other.deadline(), Some(deadline));
    assert_eq!(other.err(), None);
    println!("timeout: {}", child.err().unwrap());
}

fn values() {
    let request = Context::background()
        .with_value(RequestId(7))
        .with_value("Ferris");
    let (below, _cancel) = request.with_cancel();
    let renamed = below.with_value("Gopher");
    let id = renamed.value::<RequestId>().unwrap().0;
    assert_eq!(id, 7);
    assert_eq!(renamed.value::<&str>(), Some(&"Gopher")); // the nearest one
    assert_eq!(below.value::<&str>(), Some(&"Ferris"));
    assert_eq!(below.value::<String>(), None);
    println!("values: request {id} is Gopher's here, and Ferris' above");
}

fn cancelling() {
    // Three levels, with ten below each; a goroutine waits at every leaf.
    let (root, cancel) = Context::background().with_cancel_cause();
    let leaves = WaitGroup::new();
    let (told, reasons) = channel::unbounded();
    let mut branches = Vec::new();
    for _ in 0..10 {
        let (ctx, cancel_branch) = root.with_cancel();
        for _ in 0..10 {
            let (leaf, cancel_leaf) = ctx.with_timeout(HOUR);
            let told = told.clone();
            leaves.go(move || {
                let _cancel_leaf = cancel_leaf;
                leaf.done().recv().unwrap_err();
                told.send(leaf.cause().unwrap().to_string()).unwrap();
            });
        }
        let audit = ctx.without_cancel();
        branches.push((ctx, cancel_branch, audit));
    }

    // One branch: its siblings and the root go on.
    let (first, cancel_first, _) = &branches[0];
    cancel_first.cancel();
    assert_eq!(first.err(), Some(ContextError::Canceled));
    assert_eq!(branches[1].0.err(), None);
    assert_eq!(root.err(), None);

    // The root: everybody who is left, with the reason.
    cancel.cancel(io::Error::other("disk is full"));
    leaves.wait();
    drop(told);
    let reasons: Vec<String> = reasons.iter().collect();
    let count = |reason| reasons.iter().filter(|r| *r == reason).count();
    assert_eq!((count("context canceled"), count("disk is full")), (10, 90));
    assert_eq!(branches[9].0.cause().unwrap().to_string(), "disk is full");
    // What has to be done also when the rest is cancelled goes on.
    assert!(branches.iter().all(|(_, _, audit)| audit.err().is_none()));
    println!("cancelling: 100 leaves were told, 10 of them before the others");
}
