//! Contexts that are cancelled from several sides at once: whoever is first decides, all
//! below are done when a cancel function returns, nobody who waits is forgotten.

use goweft::context::{CancelFunc, Context, ContextError};
use goweft::sync::WaitGroup;
use goweft::{channel, select, task};
use goweft_races::{rounds, watched, with_1_2_and_8_processors};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Only a failure waits for it.
const WATCHDOG: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct By(usize);

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {}", self.0)
    }
}

impl Error for By {}

/// As many contexts, each below the one before. Values between them now and then.
fn chain(root: &Context, n: usize) -> Vec<(Context, CancelFunc)> {
    let mut all = Vec::with_capacity(n);
    let mut at = root.clone();
    for i in 0..n {
        if i % 10 == 0 {
            at = at.with_value(i);
        }
        let (ctx, cancel) = at.with_cancel();
        at = ctx.clone();
        all.push((ctx, cancel));
    }
    all
}

// Go's context TestLayersCancel: layers of contexts and values, cancelled at several places.
#[goweft::test]
fn ten_thousand_layers_are_cancelled_from_root_and_leaf_at_once() {
    for round in 0..20 {
        let (root, cancel_root) = Context::background().with_cancel_cause();
        let mut layers = chain(&root, 10_000);
        let (leaf, cancel_leaf) = layers.pop().unwrap();
        let middle = layers[5_000].1.clone();
        let wg = WaitGroup::new();
        let seen = leaf.clone();
        wg.go(move || {
            cancel_root.cancel(By(1));
            assert!(seen.err().is_some(), "all below are done");
        });
        wg.go(move || cancel_leaf.cancel());
        if round % 2 == 0 {
            let seen = leaf.clone();
            wg.go(move || {
                middle();
                assert!(seen.err().is_some(), "all below are done");
            });
        }
        wg.wait();
        for (ctx, _) in &layers {
            assert_eq!(ctx.err(), Some(ContextError::Canceled));
        }
        // The causes: from the root down to a layer that was faster, then that
        // layer's.
        let is_by = |ctx: &Context| ctx.cause().unwrap().is::<By>();
        let first = layers.iter().position(|(ctx, _)| !is_by(ctx));
        if let Some(first) = first {
            assert_eq!(first, 5_000);
            assert!(layers[first..].iter().all(|(ctx, _)| !is_by(ctx)));
        }
    }
}

#[goweft::test]
fn deep_trees_are_dropped_without_recursion() {
    // On a goroutine's small stack, from the leaf, the last one to be held.
    let small = goweft::Builder::new().stack_size(16 << 10);
    let ended = small.spawn(|| {
        let (mut at, _cancel) = Context::background().with_cancel();
        for i in 0..100_000 {
            let (ctx, cancel) = at.with_value(i).with_cancel();
            cancel.detach();
            at = ctx;
        }
        let other = at.clone();
        assert_eq!(other.value::<u8>(), None);
        drop(at);
        drop(other);
    });
    ended.unwrap().join().unwrap();
}

// Go's context TestInterlockedCancels: a child is cancelled while its parent is.
#[test]
fn siblings_come_and_go_while_their_parent_is_cancelled() {
    for _ in 0..200 {
        let (parent, cancel) = Context::background().with_cancel();
        goweft::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for i in 0.. {
                        let (child, stop) = parent.with_cancel();
                        let (grandchild, _stop) = child.with_cancel();
                        match i % 3 {
                            0 => stop(),
                            1 => drop(child),
                            _ => {}
                        }
                        if parent.err().is_some() {
                            // Done already, or about to be: it hangs below.
                            let (late, _stop) = grandchild.with_cancel();
                            assert!(late.done().recv_timeout(WATCHDOG).is_err());
                            assert!(late.err().is_some());
                            return;
                        }
                        task::yield_now();
                    }
                });
            }
            task::sleep(Duration::from_micros(200));
            cancel();
        });
    }
}

// Go's context TestSimultaneousCancels: all in a tree, at once.
#[test]
fn everybody_returns_to_a_tree_that_is_done() {
    // Many cancel at many places; each looks at what is below its own.
    for _ in 0..500 {
        let (root, cancel_root) = Context::background().with_cancel();
        let mut level = vec![(root, cancel_root)];
        let mut all = Vec::new();
        for _ in 0..4 {
            let next: Vec<_> = level
                .iter()
                .flat_map(|(ctx, _)| (0..3).map(|_| ctx.with_cancel()))
                .collect();
            all.append(&mut level);
            level = next;
        }
        all.append(&mut level);
        // Children of number i are 3 i + 1 to 3 i + 3.
        let all = Arc::new(all);
        goweft::scope(|s| {
            for i in [0, 1, 2, 5, 7, 14, 0] {
                let all = all.clone();
                s.spawn(move || {
                    (all[i].1)();
                    let mut below = vec![i];
                    while let Some(i) = below.pop() {
                        assert!(all[i].0.err().is_some(), "{i} is below");
                        below.extend((3 * i + 1..3 * i + 4).filter(|&i| i < all.len()));
                    }
                });
            }
        });
    }
}

/// One context with a waiter of each kind, which is ended in three ways at once.
fn race(round: u64) {
    let (parent, cancel_parent) = Context::background().with_cancel_cause();
    let (ctx, cancel) = parent.with_timeout(Duration::from_micros(round % 40));
    let started = Arc::new(AtomicUsize::new(0));
    let stop = ctx.after_func({
        let started = started.clone();
        move || _ = started.fetch_add(1, Ordering::Relaxed)
    });
    let (tx, rx) = channel::bounded::<()>(0);
    let wg = WaitGroup::new();
    let other = ctx.clone();
    wg.go(move || {
        select! {
            recv(other.done()) -> end => assert!(end.is_err()),
            recv(rx) -> closed => assert!(closed.is_err()),
        }
    });
    wg.go(move || cancel_parent.cancel(By(1)));
    if round.is_multiple_of(2) {
        wg.go(move || _ = tx.close());
    }
    match round % 3 {
        0 => cancel(),
        1 => drop(cancel),
        _ => cancel.detach(),
    }
    assert!(ctx.done().recv_timeout(WATCHDOG).is_err());
    let err = ctx.err().expect("it is done");
    let cause = ctx.cause().expect("it is done");
    let stopped = stop();
    assert!(wg.wait_timeout(WATCHDOG));
    assert_eq!(ctx.err(), Some(err));
    assert!(Arc::ptr_eq(&cause, &ctx.cause().unwrap()));
    match cause.downcast_ref() {
        Some(itself) => assert_eq!(err, *itself),
        None => assert!(cause.is::<By>() && err == ContextError::Canceled),
    }
    assert!(!stopped || started.load(Ordering::Relaxed) == 0);
    assert!(!stop());
}

/// The timer of a context against what is stopped on it.
fn race_of_stop(round: u64) {
    let (ctx, _cancel) = Context::background().with_timeout(Duration::from_micros(round % 20));
    let (tx, rx) = channel::bounded(1);
    let stop = ctx.after_func(move || tx.send(()).unwrap());
    if round.is_multiple_of(3) {
        task::yield_now();
    }
    let stopped = stop();
    // Stopped: the sender is dropped unused. Not stopped: it runs.
    assert_eq!(rx.recv_timeout(WATCHDOG).is_ok(), !stopped);
}

/// Go's context TestCauseRace: two who cancel with different causes, and those who see one of them.
fn race_of_causes(_round: u64) {
    let (parent, cancel_parent) = Context::background().with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel_cause();
    let wg = WaitGroup::new();
    wg.go(move || cancel_parent.cancel(By(1)));
    cancel_child.cancel(By(2));
    let by = |ctx: &Context| ctx.cause().unwrap().downcast_ref::<By>().unwrap().0;
    let first = by(&child);
    wg.wait();
    assert_eq!((by(&parent), by(&child)), (1, first));
}

#[test]
fn cancelling_timing_out_and_closing_race() {
    for race in [race, race_of_stop, race_of_causes] {
        with_1_2_and_8_processors(|| {
            watched("contexts", || {
                // Several at a time, so that they get into each other's way.
                goweft::scope(|s| {
                    for lane in 0..8 {
                        s.spawn(move || (0..rounds() / 8).for_each(|n| race(8 * n + lane)));
                    }
                });
            });
        });
    }
}

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
