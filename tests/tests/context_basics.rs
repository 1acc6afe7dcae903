//! `context`: Go's context_test.go and afterfunc_test.go, written anew. Custom
//! implementations of the interface have no twin: `Context` is a type.

use goweft::channel::{self, TryRecvError};
use goweft::context::{Cause, Context, ContextError};
use goweft::select;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
/// Only a failure waits for it.
const WATCHDOG: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq)]
struct Because(u32);

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "because of {}", self.0)
    }
}

impl Error for Because {}

fn because(cause: Option<Cause>) -> Option<u32> {
    cause.and_then(|c| c.downcast_ref::<Because>().map(|b| b.0))
}

/// The error that is its own cause.
fn itself(cause: Option<Cause>) -> Option<ContextError> {
    cause.and_then(|c| c.downcast_ref::<ContextError>().copied())
}

/// Waits for the end.
fn end(ctx: &Context) -> ContextError {
    let closed = ctx.done().recv_timeout(WATCHDOG);
    assert_eq!(closed, Err(channel::RecvTimeoutError::Disconnected));
    ctx.err().expect("done is closed")
}

fn is_open(ctx: &Context) -> bool {
    let open = ctx.done().try_recv() == Err(TryRecvError::Empty);
    assert_eq!(open, ctx.err().is_none());
    assert_eq!(open, !ctx.done().is_closed());
    assert_eq!(open, ctx.check().is_ok());
    assert_eq!(open, ctx.cause().is_none());
    open
}

#[goweft::test]
fn smoke() {
    let (ctx, cancel) = Context::background().with_cancel();
    let below = ctx.with_value("a value");
    assert!(is_open(&ctx) && is_open(&below));
    let waiter = goweft::spawn({
        let below = below.clone();
        move || end(&below)
    });
    cancel();
    assert_eq!(waiter.join().unwrap(), ContextError::Canceled);
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    assert_eq!(below.value::<&str>(), Some(&"a value"));
}

#[test]
fn contexts_and_their_functions_may_go_anywhere() {
    fn is<T: Clone + Send + Sync + std::panic::UnwindSafe + fmt::Debug + 'static>(_: &T) {}
    let (ctx, cancel) = Context::background().with_cancel();
    let (_, cancel_cause) = ctx.with_cancel_cause();
    is(&ctx);
    is(&cancel);
    is(&cancel_cause);
    is(&ctx.after_func(|| ()));
}

// TestBackground, TestTODO.
#[test]
fn the_roots_are_never_done_and_have_nothing() {
    for (ctx, text) in [
        (Context::background(), "background"),
        (Context::todo(), "todo"),
    ] {
        assert!(is_open(&ctx));
        assert_eq!(ctx.deadline(), None);
        assert_eq!(ctx.value::<u8>(), None);
        assert_eq!(format!("{ctx:?}"), text);
        let waited = ctx.done().recv_timeout(MS);
        assert_eq!(waited, Err(channel::RecvTimeoutError::Timeout));
    }
}

// TestWithCancel.
#[test]
fn cancelling_is_idempotent_and_can_be_seen_at_once() {
    let (ctx, cancel) = Context::background().with_cancel();
    assert!(is_open(&ctx));
    cancel();
    for _ in 0..3 {
        assert!(!is_open(&ctx));
        assert_eq!(ctx.err(), Some(ContextError::Canceled));
        assert_eq!(ctx.err().unwrap().to_string(), "context canceled");
        cancel();
        cancel.cancel();
    }
}

#[test]
fn a_cancel_function_that_is_dropped_cancels_with_its_last_clone() {
    let (ctx, cancel) = Context::background().with_cancel();
    let clone = cancel.clone();
    drop(cancel);
    assert!(is_open(&ctx));
    drop(clone);
    assert_eq!(end(&ctx), ContextError::Canceled);

    let (ctx, cancel) = Context::background().with_cancel_cause();
    drop(cancel);
    assert_eq!(itself(ctx.cause()), Some(ContextError::Canceled));

    let (ctx, cancel) = Context::background().with_cancel();
    let clone = cancel.clone();
    clone.detach();
    drop(cancel);
    assert!(is_open(&ctx), "one of them was detached");
}

// TestParentFinishesChild.
#[goweft::test]
fn a_cancelled_context_takes_those_below_with_it() {
    // Context tree: parent -> (value child -> timer child), cancel child.
    let (parent, cancel) = Context::background().with_cancel();
    let (cancel_child, _stop) = parent.with_cancel();
    let value_child = parent.with_value(7u8);
    let (timer_child, _stop) = value_child.with_timeout(3600 * 1000 * MS);
    let all = [&parent, &cancel_child, &value_child, &timer_child];
    assert!(all.iter().all(|ctx| is_open(ctx)));
    cancel();
    for ctx in all {
        assert_eq!(ctx.err(), Some(ContextError::Canceled));
        assert!(!is_open(ctx));
    }
    // TestWithCancelCanceledParent, …SimultaneouslyCanceledParent: done from the start.
    let (late, _stop) = parent.with_cancel();
    assert_eq!(late.err(), Some(ContextError::Canceled));
    let (late, _stop) = parent.with_timeout(Duration::ZERO);
    assert_eq!(late.err(), Some(ContextError::Canceled));
}

// TestChildFinishesFirst.
#[test]
fn a_cancelled_child_leaves_its_parent_alone() {
    let (stop_able, _stop) = Context::background().with_cancel();
    for parent in [Context::background(), stop_able] {
        let (child, cancel) = parent.with_cancel();
        assert!(is_open(&parent) && is_open(&child));
        cancel();
        assert!(is_open(&parent));
        assert_eq!(child.err(), Some(ContextError::Canceled));
    }
}

// TestDeadline, TestTimeout.
#[goweft::test]
fn a_deadline_ends_a_context_and_those_below() {
    let start = Instant::now();
    let (ctx, _a) = Context::background().with_deadline(start + 20 * MS);
    assert_eq!(ctx.deadline(), Some(start + 20 * MS));
    let below = ctx.with_value(1u8);
    let (later, _b) = below.with_timeout(3600 * 1000 * MS);
    assert_eq!(later.deadline(), Some(start + 20 * MS), "the earlier holds");
    let (sooner, _c) = later.with_timeout(5 * MS);
    assert_eq!(end(&sooner), ContextError::DeadlineExceeded);
    assert!(start.elapsed() >= 5 * MS);
    assert_eq!(end(&later), ContextError::DeadlineExceeded);
    assert!(start.elapsed() >= 20 * MS);
    assert_eq!(below.err(), Some(ContextError::DeadlineExceeded));
    assert_eq!(itself(later.cause()), Some(ContextError::DeadlineExceeded));
    let text = ctx.err().unwrap().to_string();
    assert_eq!(text, "context deadline exceeded");
}

// TestDeadline with a time that has passed, TestCanceledTimeout.
#[test]
fn a_deadline_that_has_passed_ends_it_at_once() {
    let past = Instant::now() - MS;
    let (ctx, cancel) = Context::background().with_deadline(past);
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    assert_eq!(ctx.deadline(), Some(past));
    cancel();
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    let (ctx, _stop) = Context::background().with_timeout(Duration::ZERO);
    assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));

    let (ctx, cancel) = Context::background().with_timeout(3600 * 1000 * MS);
    let (below, _stop) = ctx.with_timeout(1800 * 1000 * MS);
    cancel();
    assert_eq!(below.err(), Some(ContextError::Canceled));
}

#[test]
fn timeouts_of_centuries_are_harmless() {
    let (ctx, cancel) = Context::background().with_timeout(Duration::MAX);
    assert!(is_open(&ctx));
    assert_eq!(ctx.deadline(), None);
    let years = Duration::from_secs(400 * 365 * 24 * 3600);
    let (below, _stop) = ctx.with_timeout(years);
    assert!(is_open(&below) && below.deadline().is_some());
    cancel();
    assert_eq!(below.err(), Some(ContextError::Canceled));
}

// TestDeadlineExceededSupportsTimeout.
#[test]
fn errors_say_whether_it_was_the_time() {
    assert!(ContextError::DeadlineExceeded.is_timeout());
    assert!(!ContextError::Canceled.is_timeout());
    let late = std::io::Error::from(ContextError::DeadlineExceeded);
    assert_eq!(late.kind(), std::io::ErrorKind::TimedOut);
    let inner = late
        .get_ref()
        .and_then(|e| e.downcast_ref::<ContextError>());
    assert_eq!(inner, Some(&ContextError::DeadlineExceeded));
}

// TestValues.
#[test]
fn values_are_found_by_type_the_newest_first() {
    #[derive(Debug, PartialEq)]
    struct One(&'static str);
    #[derive(Debug, PartialEq)]
    struct Two(&'static str);
    let c0 = Context::background();
    let c1 = c0.with_value(One("c1"));
    let c2 = c1.with_value(Two("c2"));
    let c3 = c2.with_value(One("c3"));
    let found = |ctx: &Context| {
        (
            ctx.value::<One>().map(|v| v.0),
            ctx.value::<Two>().map(|v| v.0),
        )
    };
    assert_eq!(found(&c0), (None, None));
    assert_eq!(found(&c1), (Some("c1"), None));
    assert_eq!(found(&c2), (Some("c1"), Some("c2")));
    assert_eq!(found(&c3), (Some("c3"), Some("c2")));
    let (c4, _stop) = c3.with_cancel();
    assert_eq!(found(&c4), (Some("c3"), Some("c2")));
    assert_eq!(found(&c4.without_cancel()), (Some("c3"), Some("c2")));
}

// The cause table of TestCause; TestCauseRace is in `context_races`.
#[test]
fn the_first_cancellation_decides_the_cause() {
    // A cause of its own.
    let (ctx, cancel) = Context::background().with_cancel_cause();
    cancel.cancel(Because(1));
    cancel.cancel(Because(2));
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    assert_eq!(because(ctx.cause()), Some(1));

    // A cause that was handed on is the same one.
    let first: Cause = ctx.cause().unwrap();
    let (other, cancel) = Context::background().with_cancel_cause();
    cancel.cancel(first.clone());
    assert!(Arc::ptr_eq(&first, &other.cause().unwrap()));

    // The parent first, then the child: both have the parent's.
    let (parent, cancel_parent) = Context::background().with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel_cause();
    cancel_parent.cancel(Because(3));
    cancel_child.cancel(Because(4));
    assert_eq!(
        (because(parent.cause()), because(child.cause())),
        (Some(3), Some(3))
    );

    // The child first: each its own.
    let (parent, cancel_parent) = Context::background().with_cancel_cause();
    let (child, cancel_child) = parent.with_cancel_cause();
    cancel_child.cancel(Because(5));
    cancel_parent.cancel(Because(6));
    assert_eq!(
        (because(parent.cause()), because(child.cause())),
        (Some(6), Some(5))
    );

    // Without a cause it is the error.
    let (parent, cancel_parent) = Context::background().with_cancel();
    let (child, cancel_child) = parent.with_cancel_cause();
    cancel_parent();
    cancel_child.cancel(Because(7));
    assert_eq!(itself(child.cause()), Some(ContextError::Canceled));
}

#[goweft::test]
fn a_timeout_has_its_own_cause() {
    let background = Context::background();
    let (ctx, _stop) = background.with_timeout_cause(2 * MS, Because(1));
    assert_eq!(end(&ctx), ContextError::DeadlineExceeded);
    assert_eq!(because(ctx.cause()), Some(1));

    // Cancelled before: the function does not set it.
    let (ctx, cancel) = background.with_timeout_cause(3600 * 1000 * MS, Because(2));
    cancel();
    assert_eq!(itself(ctx.cause()), Some(ContextError::Canceled));

    // The parent's deadline is earlier: its cause.
    let soon = Instant::now() + 2 * MS;
    let (parent, _a) = background.with_deadline_cause(soon, Because(3));
    let (child, _b) = parent.with_deadline_cause(soon + MS, Because(4));
    assert_eq!(end(&child), ContextError::DeadlineExceeded);
    assert_eq!(because(child.cause()), Some(3));

    // The past.
    let past = Instant::now() - MS;
    let (ctx, _stop) = background.with_deadline_cause(past, Because(5));
    assert_eq!(because(ctx.cause()), Some(5));
}

// TestWithoutCancel.
#[test]
fn without_cancel_keeps_values_and_nothing_else() {
    let (parent, cancel) = Context::background().with_timeout(3600 * 1000 * MS);
    let ctx = parent.with_value(7u8).without_cancel();
    let (below, _stop) = ctx.with_cancel();
    cancel();
    assert!(is_open(&ctx) && is_open(&below));
    assert_eq!(ctx.deadline(), None);
    assert_eq!(below.value::<u8>(), Some(&7));
}

// The String methods.
#[test]
fn debug_tells_how_it_was_made() {
    let (ctx, _a) = Context::todo().with_value(1u8).with_cancel();
    let (ctx, _b) = ctx
        .with_value("text")
        .with_timeout(Duration::from_secs(3600));
    let text = format!("{:?}", ctx.with_value(2u32));
    let rest = text
        .strip_prefix("todo.with_value(u8).with_cancel.with_value(&str).with_deadline(in ")
        .unwrap_or_else(|| panic!("{text}"));
    let secs = rest
        .strip_suffix("s).with_value(u32)")
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        (3500.0..=3600.0).contains(&secs.parse::<f64>().unwrap()),
        "{text}"
    );
    let text = format!("{:?}", ctx.without_cancel());
    assert_eq!(text, "todo.with_value(u8).with_value(&str).without_cancel");
    let (ctx, _a) = Context::background().with_deadline(Instant::now() - 2000 * MS);
    let text = format!("{ctx:?}");
    let secs = text
        .strip_prefix("background.with_deadline(")
        .and_then(|rest| rest.strip_suffix("s ago)"))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        (2.0..100.0).contains(&secs.parse::<f64>().unwrap()),
        "{text}"
    );
}

// ---- done, as a channel ----------------------------------------------------

#[goweft::test]
fn done_goes_into_every_kind_of_wait() {
    let waits: [fn(&Context); 6] = [
        |ctx| assert!(ctx.done().recv().is_err()),
        |ctx| {
            let waited = ctx.done().recv_timeout(WATCHDOG);
            assert_eq!(waited, Err(channel::RecvTimeoutError::Disconnected));
        },
        |ctx| {
            let never = channel::never::<u8>();
            select! {
                recv(ctx.done()) -> end => assert_eq!(end, Err(channel::RecvError)),
                recv(never) -> _ => unreachable!(),
            }
        },
        |ctx| {
            let mut select = channel::Select::new();
            let done = select.recv(ctx.done());
            let op = select.select();
            assert_eq!(op.index(), done);
            assert!(op.recv(ctx.done()).is_err());
        },
        |ctx| {
            let mut select = channel::Select::new();
            let done = select.recv(ctx.done());
            assert_eq!(select.ready(), done);
        },
        |ctx| assert_eq!(ctx.done().iter().count(), 0),
    ];
    for from_thread in [false, true] {
        let (ctx, cancel) = Context::background().with_cancel();
        // Twice each, so that somebody waits behind somebody.
        let waiters: Vec<_> = waits
            .iter()
            .chain(&waits)
            .map(|wait| {
                let (wait, ctx) = (*wait, ctx.clone());
                move || wait(&ctx)
            })
            .collect();
        if from_thread {
            let threads: Vec<_> = waiters.into_iter().map(thread::spawn).collect();
            cancel();
            threads.into_iter().for_each(|t| t.join().unwrap());
        } else {
            let goroutines: Vec<_> = waiters.into_iter().map(goweft::spawn).collect();
            cancel();
            goroutines.into_iter().for_each(|g| g.join().unwrap());
        }
        // And when it is done already.
        waits.iter().for_each(|wait| wait(&ctx));
    }
}

#[test]
fn done_can_not_be_closed_by_hand() {
    let (ctx, cancel) = Context::background().with_cancel();
    let done = ctx.with_value(1).done().clone();
    assert!(done.same_channel(ctx.done()));
    assert!(!done.close());
    assert!(is_open(&ctx));
    assert_eq!((done.len(), done.capacity()), (0, Some(0)));
    // The receiver is enough to see the end.
    drop(ctx);
    cancel();
    assert!(done.recv().is_err());
}

#[goweft::test]
fn a_wait_that_times_out_leaves_nothing_behind() {
    let (ctx, cancel) = Context::background().with_cancel();
    for _ in 0..1000 {
        let waited = ctx.done().recv_timeout(Duration::from_micros(10));
        assert_eq!(waited, Err(channel::RecvTimeoutError::Timeout));
        select! {
            recv(ctx.done()) -> _ => unreachable!(),
            default(Duration::from_micros(10)) => {}
        }
    }
    cancel();
    assert_eq!(end(&ctx), ContextError::Canceled);
}

// ---- after_func --------------------------------------------------------------

// TestAfterFuncCalledAfterCancel, …CalledAfterTimeout, …CalledImmediately.
#[goweft::test]
fn after_func_runs_once_when_the_context_is_done() {
    let (tx, rx) = channel::bounded(4);
    let send = |text| {
        let tx = tx.clone();
        move || tx.send(text).unwrap()
    };
    let (ctx, cancel) = Context::background().with_cancel();
    let stop = ctx.after_func(send("cancelled"));
    let below = ctx.with_value(1);
    below.after_func(send("cancelled"));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    cancel();
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok("cancelled"));
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok("cancelled"));
    assert!(!stop());
    cancel();

    let (timed, _stop) = Context::background().with_timeout(2 * MS);
    timed.after_func(send("timed out"));
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok("timed out"));

    let stop = timed.after_func(send("at once"));
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok("at once"));
    assert!(!stop.stop());
    drop(tx);
    assert!(rx.recv().is_err(), "nothing ran twice, and nothing is kept");
}

// TestAfterFuncNotCalledAfterStop.
#[goweft::test]
fn after_func_that_was_stopped_does_not_run() {
    let (tx, rx) = channel::bounded::<()>(1);
    let (ctx, cancel) = Context::background().with_cancel();
    let stop = ctx.after_func({
        let tx = tx.clone();
        move || tx.send(()).unwrap()
    });
    let other = stop.clone();
    assert!(stop());
    assert!(!other());
    assert!(!stop.stop());
    cancel();
    drop(tx);
    assert!(rx.recv().is_err(), "the closure is gone and never ran");
}

// TestAfterFuncCalledAsynchronously.
#[goweft::test]
fn after_func_does_not_make_the_canceller_wait() {
    let (tx, rx) = channel::bounded::<()>(0);
    let (ctx, cancel) = Context::background().with_cancel();
    ctx.after_func(move || tx.send(()).unwrap());
    cancel(); // would wait for ever if it ran here
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok(()));
}

#[goweft::test]
fn after_func_runs_although_nobody_holds_the_context_any_more() {
    let (tx, rx) = channel::bounded(1);
    let (parent, cancel) = Context::background().with_cancel();
    let (child, detached) = parent.with_cancel();
    child.after_func(move || tx.send(()).unwrap());
    detached.detach();
    drop(child);
    cancel();
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok(()));

    let (tx, rx) = channel::bounded(1);
    let (ctx, detached) = Context::background().with_timeout(2 * MS);
    ctx.after_func(move || tx.send(()).unwrap());
    detached.detach();
    drop(ctx);
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok(()));
}

#[test]
fn after_func_of_a_context_without_an_end_is_stopped_or_dropped() {
    let token = Arc::new(());
    let hold = || {
        let token = token.clone();
        move || unreachable!("{token:?}")
    };
    let stop = Context::background().after_func(hold());
    assert_eq!(Arc::strong_count(&token), 2);
    assert!(stop());
    assert!(!stop());
    assert_eq!(Arc::strong_count(&token), 1);
    drop(Context::todo().after_func(hold()));
    assert_eq!(Arc::strong_count(&token), 1);
}

#[goweft::test]
fn a_panic_in_after_func_ends_that_goroutine_only() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, rx) = channel::bounded(1);
    ctx.after_func(|| panic!("on purpose"));
    ctx.after_func(|| goweft::task::exit());
    ctx.after_func(move || tx.send(()).unwrap());
    cancel();
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok(()));
}

#[goweft::test]
fn what_runs_after_is_a_goroutine_with_a_number_of_its_own() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, rx) = channel::bounded(10);
    let stops: Vec<_> = (0..10)
        .map(|_| {
            let tx = tx.clone();
            ctx.after_func(move || tx.send(goweft::task::id()).unwrap())
        })
        .collect();
    cancel();
    let mut ids: Vec<_> = (0..10)
        .map(|_| rx.recv_timeout(WATCHDOG).unwrap())
        .collect();
    ids.push(goweft::task::id());
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 11);
    drop(stops);
}

#[goweft::test]
fn ending_wakes_a_thousand_that_wait() {
    let (ctx, cancel) = Context::background().with_timeout(3600 * 1000 * MS);
    let woken = Arc::new(AtomicUsize::new(0));
    let wg = goweft::sync::WaitGroup::new();
    for _ in 0..1000 {
        let (ctx, woken) = (ctx.clone(), woken.clone());
        wg.go(move || {
            end(&ctx);
            woken.fetch_add(1, Ordering::Relaxed);
        });
    }
    // Most of them wait by now; how many does not matter.
    goweft::task::yield_now();
    cancel();
    assert!(wg.wait_timeout(WATCHDOG));
    assert_eq!(woken.load(Ordering::Relaxed), 1000);
}
