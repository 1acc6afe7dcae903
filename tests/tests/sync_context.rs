//! `sync` with contexts: `ErrGroup`, and acquiring a semaphore until a context is done.

use goweft::channel;
use goweft::context::{Cause, Context, ContextError};
use goweft::sync::{Barrier, ErrGroup, Semaphore, WaitGroup};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);
const WATCHDOG: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
struct Failure(&'static str);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Failure {}

// ---- ErrGroup ----

// Go's x/sync errgroup_test.go TestZeroGroup: the first error stays.
#[test]
fn wait_returns_the_first_error() {
    let (first, second) = (Failure("first"), Failure("second"));
    let cases = [
        vec![],
        vec![None],
        vec![Some(first.clone())],
        vec![Some(first.clone()), None],
        vec![Some(first.clone()), None, Some(second)],
    ];
    for errors in cases {
        let group = ErrGroup::new();
        let mut expected = Ok(());
        for error in errors {
            let result = error.clone().map_or(Ok(()), Err);
            group.go(move || result);
            if let (Ok(()), Some(error)) = (&expected, error) {
                expected = Err(error);
            }
            assert_eq!(group.wait(), expected);
        }
    }
}

// Go's x/sync errgroup_test.go TestWithContext.
#[test]
fn the_first_error_cancels_the_context_and_so_does_the_end() {
    let doomed = Failure("group_test: doomed");
    for errors in [
        vec![],
        vec![None],
        vec![Some(doomed.clone())],
        vec![Some(doomed.clone()), None],
    ] {
        let (group, ctx) = ErrGroup::with_context(&Context::background());
        let fails = errors.iter().flatten().next().cloned();
        assert_eq!(ctx.err(), None);
        for error in errors {
            group.go(move || error.map_or(Ok(()), Err));
        }
        assert_eq!(group.wait(), fails.clone().map_or(Ok(()), Err));
        assert_eq!(ctx.err(), Some(ContextError::Canceled));
        let cause = ctx.cause().unwrap().to_string();
        assert_eq!(
            cause,
            fails.map_or("context canceled".into(), |e| e.to_string())
        );
    }
}

#[test]
fn a_group_that_is_dropped_cancels_its_context_when_its_last_goroutine_has_ended() {
    let (group, ctx) = ErrGroup::<Failure>::with_context(&Context::background());
    let clone = group.clone();
    let (end, ended) = channel::bounded::<()>(0);
    let (started, begun) = channel::bounded::<()>(0);
    group.go(move || {
        started.send(()).unwrap();
        let _ = ended.recv();
        Ok(())
    });
    begun.recv().unwrap();
    drop(group);
    assert_eq!(ctx.err(), None, "there is a clone");
    drop(clone);
    assert_eq!(ctx.err(), None, "a goroutine runs");
    drop(end);
    assert!(ctx.done().recv_timeout(WATCHDOG).is_err());
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    // Of one without goroutines it is the drop itself.
    let (group, ctx) = ErrGroup::<Failure>::with_context(&Context::background());
    drop(group);
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
}

#[test]
fn an_error_ends_those_that_watch_the_context() {
    let (group, ctx) = ErrGroup::with_context(&Context::background());
    let meet = Arc::new(Barrier::new(9));
    for _ in 0..8 {
        let (ctx, meet) = (ctx.clone(), meet.clone());
        group.go(move || {
            meet.wait();
            ctx.done().recv().unwrap_err();
            Err(Failure("too late to count"))
        });
    }
    let m = meet.clone();
    group.go(move || {
        m.wait();
        Err(Failure("first"))
    });
    assert_eq!(group.wait(), Err(Failure("first")));
    assert_eq!(ctx.cause().unwrap().downcast_ref(), Some(&Failure("first")));
}

#[test]
fn the_context_is_done_for_all_who_have_waited() {
    for _ in 0..2_000 {
        let (group, ctx) = ErrGroup::<Failure>::with_context(&Context::background());
        let end = Arc::new(Barrier::new(2));
        let runs = end.clone();
        group.go(move || {
            runs.wait();
            Ok(())
        });
        let waits: Vec<_> = (0..8)
            .map(|_| {
                let (group, ctx) = (group.clone(), ctx.clone());
                goweft::spawn(move || (group.wait(), ctx.err()))
            })
            .collect();
        end.wait();
        for wait in waits {
            let (result, ended) = wait.join().unwrap();
            assert_eq!((result, ended), (Ok(()), Some(ContextError::Canceled)));
        }
    }
}

#[test]
fn errors_of_any_type_are_causes() {
    let group: ErrGroup = ErrGroup::new();
    group.go(|| Ok(()));
    group.go(|| Err(Arc::new(Failure("boxed")) as Cause));
    assert_eq!(
        group.wait().unwrap_err().downcast_ref(),
        Some(&Failure("boxed"))
    );
    assert_eq!(format!("{group:?}"), "ErrGroup { .. }");
}

// Go's x/sync errgroup_test.go TestTryGo.
#[test]
fn try_go_starts_what_there_is_room_for() {
    const N: usize = 42;
    let group: ErrGroup<Failure> = ErrGroup::default();
    let (tx, rx) = channel::unbounded::<()>();
    let work = || {
        let rx = rx.clone();
        move || {
            rx.recv().unwrap();
            Ok(())
        }
    };
    group.set_limit(N);
    (0..N).for_each(|_| assert!(group.try_go(work())));
    assert!(!group.try_go(work()));
    let more = {
        let (group, work) = (group.clone(), work());
        // Waits for room.
        goweft::spawn(move || group.go(work))
    };
    (0..=N).for_each(|_| tx.send(()).unwrap());
    more.join().unwrap();
    assert_eq!(group.wait(), Ok(()));
    group.set_limit(1);
    assert!(group.try_go(work()));
    assert!(!group.try_go(work()));
    let changed = catch_unwind(AssertUnwindSafe(|| group.set_limit(2))).unwrap_err();
    assert_eq!(
        *changed.downcast::<String>().unwrap(),
        "sync: ErrGroup limit changed while 1 goroutines are active"
    );
    tx.send(()).unwrap();
    assert_eq!(group.wait(), Ok(()));
    group.set_limit(0);
    assert!(!group.try_go(work()));
    // More than a semaphore counts is no limit either.
    for none in [usize::MAX, usize::MAX - 1, usize::MAX / 2 + 1] {
        group.set_limit(none);
        assert!(group.try_go(|| Ok(())));
    }
    assert_eq!(group.wait(), Ok(()));
}

// Go's x/sync errgroup_test.go TestGoLimit.
#[test]
fn a_limit_bounds_how_many_run() {
    const LIMIT: usize = 10;
    let group: ErrGroup<Failure> = ErrGroup::new();
    group.set_limit(LIMIT);
    let active = Arc::new(AtomicUsize::new(0));
    for _ in 0..1000 {
        let active = active.clone();
        group.go(move || {
            let n = active.fetch_add(1, Ordering::SeqCst);
            assert!(n < LIMIT, "{n} run already");
            goweft::task::yield_now();
            active.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
    }
    assert_eq!(group.wait(), Ok(()));
}

#[test]
fn a_panic_cancels_and_is_told_by_wait_and_an_exit_is_no_error() {
    let (group, ctx) = ErrGroup::<Failure>::with_context(&Context::background());
    group.set_limit(1);
    group.go(|| goweft::task::exit());
    group.go(|| Ok(()));
    assert_eq!(ctx.err(), None);
    group.go(|| std::panic::resume_unwind(Box::new("quietly")));
    assert!(
        ctx.done()
            .recv_timeout(WATCHDOG)
            .is_err_and(|e| !e.is_timeout())
    );
    let told = catch_unwind(AssertUnwindSafe(|| group.wait())).unwrap_err();
    assert_eq!(
        *told.downcast::<&str>().unwrap(),
        "sync: a goroutine of an ErrGroup panicked"
    );
}

/// An error whose copies are not to be had.
#[derive(Debug)]
struct Single;

impl Clone for Single {
    fn clone(&self) -> Single {
        std::panic::resume_unwind(Box::new("there is one only"))
    }
}

impl fmt::Display for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("single")
    }
}

impl std::error::Error for Single {}

#[test]
fn an_error_that_panics_when_it_is_cloned_is_no_success() {
    let (group, ctx) = ErrGroup::<Single>::with_context(&Context::background());
    group.go(|| Err(Single));
    let told = catch_unwind(AssertUnwindSafe(|| group.wait())).unwrap_err();
    assert_eq!(
        *told.downcast::<&str>().unwrap(),
        "sync: a goroutine of an ErrGroup panicked"
    );
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
}

// ---- Semaphore::acquire_ctx ----

// Go's x/sync semaphore_test.go TestWeightedAcquire.
#[test]
fn acquire_ctx_gives_up_when_the_context_is_done() {
    let sem = Semaphore::new(2);
    let (ctx, _cancel) = Context::background().with_timeout(WATCHDOG);
    let both = sem.acquire_ctx(&ctx, 2).unwrap();
    let (ctx, _cancel) = ctx.with_timeout(SOON);
    let start = Instant::now();
    assert_eq!(
        sem.acquire_ctx(&ctx, 1).err(),
        Some(ContextError::DeadlineExceeded)
    );
    assert!(start.elapsed() < WATCHDOG);
    drop(both);
    // Already done: even though there are some.
    assert_eq!(
        sem.acquire_ctx(&ctx, 1).err(),
        Some(ContextError::DeadlineExceeded)
    );
    assert_eq!(sem.available_permits(), 2);
    assert!(sem.acquire_ctx(&Context::background(), 2).is_ok());
}

#[test]
fn acquire_owned_ctx_keeps_the_semaphore_alive_and_gives_up_alike() {
    let sem = Arc::new(Semaphore::new(1));
    let (ctx, cancel) = Context::background().with_cancel();
    let permit = sem.acquire_owned_ctx(&ctx, 1).unwrap();
    assert_eq!((permit.permits(), Arc::strong_count(&sem)), (1, 2));
    let (s, c) = (sem.clone(), ctx.clone());
    let waiting = goweft::spawn(move || s.acquire_owned_ctx(&c, 1).err());
    cancel();
    assert_eq!(waiting.join().unwrap(), Some(ContextError::Canceled));
    goweft::spawn(move || drop(permit)).join().unwrap();
    // Done, even though there is one.
    let late = sem.acquire_owned_ctx(&ctx, 1).err();
    assert_eq!(late, Some(ContextError::Canceled));
    let found = sem.acquire_owned_ctx(&Context::background(), 1).unwrap();
    found.forget();
    assert_eq!((sem.available_permits(), Arc::strong_count(&sem)), (0, 1));
}

// Go's x/sync semaphore_test.go TestWeightedDoesntBlockIfTooBig.
#[test]
fn one_that_wants_too_much_waits_for_its_context_only() {
    let sem = Arc::new(Semaphore::new(2));
    let (ctx, cancel) = Context::background().with_cancel();
    let (s, c) = (sem.clone(), ctx.clone());
    let hopeless = goweft::spawn(move || s.acquire_ctx(&c, 3).err());
    let group = WaitGroup::new();
    for n in [2, 1] {
        for _ in 0..n * 10 {
            let sem = sem.clone();
            group.go(move || drop(sem.acquire(n)));
        }
    }
    assert!(group.wait_timeout(WATCHDOG));
    cancel();
    assert_eq!(hopeless.join().unwrap(), Some(ContextError::Canceled));
}

#[test]
fn acquire_ctx_waits_on_a_plain_thread_too_and_lets_those_behind_it_go() {
    let sem = Arc::new(Semaphore::new(2));
    let one = sem.acquire(1);
    let (ctx, cancel) = Context::background().with_cancel();
    let (s, c) = (sem.clone(), ctx.clone());
    let first = thread::spawn(move || s.acquire_ctx(&c, 2).err());
    while sem.try_acquire(1).is_some() {
        thread::yield_now(); // until it waits
    }
    let s = sem.clone();
    let second = goweft::spawn(move || drop(s.acquire(1)));
    cancel();
    assert_eq!(first.join().unwrap(), Some(ContextError::Canceled));
    second.join().unwrap();
    drop(one);
    assert_eq!(sem.available_permits(), 2);
}
