//! `sync::Semaphore`, `singleflight::Group` and `Pool`.

use goweft::channel;
use goweft::sync::singleflight::Group;
use goweft::sync::{Barrier, Pool, Semaphore, WaitGroup};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);
const WATCHDOG: Duration = Duration::from_secs(60);

fn text(payload: Box<dyn std::any::Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_string(),
    }
}

// ---- Semaphore ----

// Go's x/sync semaphore_test.go TestWeighted (HammerWeighted).
#[test]
fn a_semaphore_never_gives_more_than_it_has() {
    const SIZE: usize = 10;
    let sem = Arc::new(Semaphore::new(SIZE));
    let out = Arc::new(AtomicUsize::new(0));
    let wg = WaitGroup::new();
    for i in 0..SIZE {
        let (sem, out) = (sem.clone(), out.clone());
        let hammer = move || {
            for round in 0..300 {
                let n = i + 1;
                let permit = match round % 4 {
                    0 => sem.try_acquire(n),
                    1 => sem.acquire_timeout(n, Duration::from_micros(50)),
                    _ => Some(sem.acquire(n)),
                };
                let Some(permit) = permit else { continue };
                assert_eq!(permit.permits(), n);
                assert!(out.fetch_add(n, Ordering::SeqCst) + n <= SIZE);
                goweft::task::yield_now();
                out.fetch_sub(n, Ordering::SeqCst);
            }
        };
        match i % 5 {
            0 => drop(thread::spawn({
                let wg = wg.clone();
                wg.add(1);
                move || {
                    hammer();
                    wg.done();
                }
            })),
            _ => wg.go(hammer),
        }
    }
    assert!(wg.wait_timeout(WATCHDOG));
    assert_eq!(sem.available_permits(), SIZE);
}

// Go's x/sync semaphore_test.go TestWeightedPanic.
#[test]
fn releasing_more_than_is_held_panics() {
    let sem = Semaphore::new(3);
    let over = |n| text(catch_unwind(AssertUnwindSafe(|| sem.release(n))).unwrap_err());
    assert_eq!(over(1), "sync: Semaphore released more than held");
    sem.acquire(2).forget();
    assert_eq!(over(3), "sync: Semaphore released more than held");
    sem.release(1);
    sem.release(1);
    assert_eq!(sem.available_permits(), 3);
    assert!(catch_unwind(|| Semaphore::new(usize::MAX)).is_err());
}

// Go's x/sync semaphore_test.go TestWeightedTryAcquire.
#[test]
fn try_acquire_takes_what_is_free() {
    let sem = Semaphore::new(2);
    let one = sem.try_acquire(1).unwrap();
    let two = sem.try_acquire(1).unwrap();
    assert!(sem.try_acquire(1).is_none());
    assert!(sem.try_acquire(0).is_some());
    drop((one, two));
    assert!(sem.try_acquire(2).is_some());
    assert!(sem.try_acquire(3).is_none());
}

// Go's x/sync semaphore_test.go TestWeightedAcquire, TestWeightedDoesntBlockIfTooBig.
#[test]
fn one_that_wants_more_than_there_is_waits_in_nobodys_way() {
    let sem = Arc::new(Semaphore::new(2));
    let start = Instant::now();
    assert!(sem.acquire_timeout(3, SOON).is_none());
    assert!(start.elapsed() >= SOON);
    let s = sem.clone();
    let hopeless = goweft::spawn(move || s.acquire_timeout(3, 4 * SOON).is_none());
    for _ in 0..100 {
        drop(sem.acquire(2));
        goweft::task::yield_now();
    }
    assert!(hopeless.join().unwrap());
}

#[test]
fn permits_are_owned_and_forgotten() {
    let sem = Arc::new(Semaphore::new(2));
    let owned = sem.acquire_owned(2);
    assert_eq!(owned.permits(), 2);
    goweft::spawn(move || drop(owned)).join().unwrap();
    assert_eq!(sem.available_permits(), 2);
    sem.acquire_owned(1).forget();
    assert_eq!((sem.available_permits(), Arc::strong_count(&sem)), (1, 1));
    sem.release(1);
    assert_eq!(
        format!("{sem:?}"),
        "Semaphore { size: 2, available_permits: 2 }"
    );
    let both = sem.acquire_owned_timeout(2, WATCHDOG).unwrap();
    assert!(sem.acquire_owned_timeout(1, SOON).is_none());
    let s = sem.clone();
    let next = goweft::spawn(move || s.acquire_owned_timeout(1, WATCHDOG));
    drop(both);
    assert_eq!(next.join().unwrap().unwrap().permits(), 1);
    assert_eq!((sem.available_permits(), Arc::strong_count(&sem)), (2, 1));
    static GLOBAL: Semaphore = Semaphore::new(1);
    drop(GLOBAL.acquire(1));
}

// ---- singleflight ----

// Go's x/sync singleflight_test.go TestDo, TestDoErr.
#[test]
fn a_call_alone_is_not_shared() {
    let group = Group::new();
    assert_eq!(group.call("key", || "bar"), ("bar", false));
    assert_eq!(group.call("key", || "again"), ("again", false));
    let group: Group<String, Result<u8, String>> = Group::default();
    let failed = group.call("key".into(), || Err("some error".into()));
    assert_eq!(failed, (Err("some error".into()), false));
    assert_eq!(format!("{group:?}"), "Group { .. }");
}

// Go's x/sync singleflight_test.go TestForget.
#[test]
fn what_was_forgotten_is_called_anew() {
    let group = Arc::new(Group::new());
    let (first_running, first_go) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (g, running, go) = (group.clone(), first_running.clone(), first_go.clone());
    let first = goweft::spawn(move || {
        g.call("key", || {
            running.wait();
            go.wait();
            1
        })
    });
    first_running.wait();
    group.forget(&"key");
    let (tx, second_go) = channel::bounded::<()>(0);
    let second = group.call_chan("key", move || {
        second_go.recv().unwrap_err();
        2
    });
    first_go.wait();
    assert_eq!(first.join().unwrap(), (1, false));
    // The end of the first has not taken the second out of the map.
    let third = group.call_chan("key", || 3);
    drop(tx);
    assert_eq!(second.recv_timeout(WATCHDOG), Ok((2, true)));
    assert_eq!(third.recv_timeout(WATCHDOG), Ok((2, true)));
    assert_eq!(group.call("key", || 4), (4, false));
}

// Go's x/sync singleflight_test.go TestDoChan.
#[test]
fn a_call_can_be_waited_for_by_channel() {
    let group = Group::new();
    let result = group.call_chan("key", || "bar");
    assert_eq!(result.recv_timeout(WATCHDOG), Ok(("bar", false)));
    assert!(result.recv().is_err(), "it comes once");
    // One whose receiver is gone harms nobody.
    drop(group.call_chan("key", || "bar"));
    assert_eq!(group.call("other", || "bar"), ("bar", false));
}

// Go's x/sync singleflight_test.go TestPanicDo, TestGoexitDo, TestPanicDoChan.
#[test]
fn whatever_way_a_call_ends_nobody_is_left_waiting() {
    for exits in [false, true] {
        const N: usize = 5;
        let group: Arc<Group<&str, u8>> = Arc::new(Group::new());
        let (entered_tx, entered) = channel::bounded(1);
        let (tx, go) = channel::bounded::<()>(0);
        let end = move || -> u8 {
            entered_tx.send(()).unwrap();
            go.recv().unwrap_err();
            match exits {
                true => goweft::task::exit(),
                false => std::panic::resume_unwind(Box::new("invalid")),
            }
        };
        let leader = {
            let (group, end) = (group.clone(), end.clone());
            goweft::spawn(move || group.call("key", end))
        };
        entered.recv_timeout(WATCHDOG).unwrap();
        let by_channel = group.call_chan("key", || unreachable!("it follows"));
        let (at_it_tx, at_it) = channel::bounded(N);
        let followers: Vec<_> = (0..N)
            .map(|_| {
                let (group, at_it_tx) = (group.clone(), at_it_tx.clone());
                goweft::spawn(move || {
                    at_it_tx.send(()).unwrap();
                    // Who comes after the end makes a call of its own.
                    group.call("key", || 1)
                })
            })
            .collect();
        (0..N).for_each(|_| at_it.recv_timeout(WATCHDOG).unwrap());
        drop(tx);
        let payload = leader.join().unwrap_err();
        match exits {
            true => assert!(payload.is::<goweft::task::Exited>()),
            false => assert_eq!(text(payload), "invalid"),
        }
        assert!(
            by_channel
                .recv_timeout(WATCHDOG)
                .is_err_and(|e| !e.is_timeout())
        );
        for follower in followers {
            match follower.join() {
                Ok((value, _)) => assert_eq!(value, 1),
                Err(payload) if exits => assert!(payload.is::<goweft::task::Exited>()),
                Err(payload) => {
                    assert_eq!(text(payload), "sync: a singleflight call panicked: invalid");
                }
            }
        }
        assert_eq!(group.call("key", || 2), (2, false));
    }
}

/// A value whose copies are not to be had.
struct Single;

impl Clone for Single {
    fn clone(&self) -> Single {
        panic!("there is one only")
    }
}

/// A key that tells when it is compared: by who finds a call under it, with the map locked.
#[derive(Clone)]
struct Told;

static COMPARED: AtomicUsize = AtomicUsize::new(0);

impl PartialEq for Told {
    fn eq(&self, _: &Told) -> bool {
        COMPARED.fetch_add(1, Ordering::SeqCst);
        true
    }
}

impl Eq for Told {}

impl std::hash::Hash for Told {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

#[test]
fn a_value_that_panics_when_it_is_cloned_leaves_nobody_waiting() {
    let group: Arc<Group<Told, Single>> = Arc::new(Group::new());
    let (entered_tx, entered) = channel::bounded(1);
    let (tx, go) = channel::bounded::<()>(0);
    let leader = {
        let group = group.clone();
        goweft::spawn(move || {
            let lead = || {
                entered_tx.send(()).unwrap();
                go.recv().unwrap_err();
                Single
            };
            group.call(Told, lead).1
        })
    };
    entered.recv_timeout(WATCHDOG).unwrap();
    let (ended_tx, ended) = channel::bounded(1);
    let follow = move || {
        let follow = || group.call(Told, || unreachable!("it follows")).1;
        let result = catch_unwind(AssertUnwindSafe(follow));
        ended_tx.send(result.map_err(text)).unwrap();
    };
    let follower = goweft::spawn(follow);
    while COMPARED.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    drop(tx);
    assert_eq!(text(leader.join().unwrap_err()), "there is one only");
    let error = ended.recv_timeout(WATCHDOG).unwrap().unwrap_err();
    assert_eq!(
        error,
        "sync: a singleflight call panicked: its value could not be handed on"
    );
    follower.join().unwrap();
}

/// Its hash panics when it is told to, once. There is but one such key.
struct Moody(Arc<AtomicBool>);

impl PartialEq for Moody {
    fn eq(&self, _: &Moody) -> bool {
        true
    }
}

impl Eq for Moody {}

impl std::hash::Hash for Moody {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {
        assert!(!self.0.swap(false, Ordering::Relaxed), "moody");
    }
}

#[test]
fn a_key_whose_hash_panics_leaves_nobody_waiting() {
    let group = Arc::new(Group::new());
    let mood = Arc::new(AtomicBool::new(false));
    let (let_go, may_go) = channel::bounded::<()>(0);
    let (begun, has_begun) = channel::bounded(1);
    let leader = goweft::spawn({
        let (group, mood) = (group.clone(), mood.clone());
        move || {
            group.call(Moody(mood.clone()), || {
                begun.send(()).unwrap();
                may_go.recv().unwrap();
                mood.store(true, Ordering::Relaxed);
                1
            })
        }
    });
    has_begun.recv_timeout(WATCHDOG).unwrap();
    let follower = group.call_chan(Moody(mood.clone()), || 2);
    let_go.send(()).unwrap();
    leader.join().unwrap_err();
    assert_eq!(
        follower.recv_timeout(WATCHDOG),
        Err(channel::RecvTimeoutError::Disconnected)
    );
    assert_eq!(group.call(Moody(mood), || 3), (3, false), "the key is free");
}

#[test]
fn keys_do_not_wait_for_each_other() {
    let group = Group::new();
    let nested = group.call(1, || group.call(2, || group.call(3, || 4).0).0);
    assert_eq!(nested, (4, false));
}

// ---- Pool ----

// Go's sync/pool_test.go TestPool, TestPoolNew.
#[test]
fn a_pool_gives_what_was_returned_before_it_makes_more() {
    goweft::run(|| {
        let made = Arc::new(AtomicUsize::new(0));
        let count = made.clone();
        let pool = Pool::new(move || count.fetch_add(1, Ordering::Relaxed));
        let (a, b) = (pool.get(), pool.get());
        assert_eq!((*a, *b), (0, 1));
        drop(a);
        assert_eq!(*pool.get(), 0);
        drop(b);
        let (c, d) = (pool.get(), pool.get());
        assert_eq!(*c + *d, 1);
        assert_eq!(c.into_inner() + d.into_inner(), 1);
        let mut e = pool.get();
        assert_eq!(*e, 2, "what was taken out is not returned");
        *e = 7;
        drop(e);
        assert_eq!(*pool.get(), 7);
        assert_eq!(format!("{pool:?} {:?}", pool.get()), "Pool { .. } 7");
        assert_eq!(made.load(Ordering::Relaxed), 3);
    });
}

// Go's sync/pool_test.go TestPoolStress.
#[test]
fn a_pool_gives_each_thing_to_one_user_at_a_time() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let pool = Arc::new(Pool::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        AtomicUsize::new(0)
    }));
    let wg = WaitGroup::new();
    for i in 0..10 {
        let pool = pool.clone();
        let user = move || {
            for round in 0..2_000 {
                let thing = pool.get();
                assert_eq!(thing.fetch_add(1, Ordering::Relaxed), 0, "somebody has it");
                if round % 8 == 0 {
                    goweft::task::yield_now();
                }
                assert_eq!(thing.fetch_sub(1, Ordering::Relaxed), 1);
            }
        };
        match i {
            0 => thread::spawn(user).join().unwrap(),
            _ => wg.go(user),
        }
    }
    assert!(wg.wait_timeout(WATCHDOG));
    assert!(made.load(Ordering::Relaxed) < 20_000, "it keeps some");
}

// Go's sync/pool_test.go TestPoolGC, as far as it goes: what is not needed is dropped.
#[test]
fn a_pool_lets_go_of_what_is_not_needed_and_drops_the_rest_with_itself() {
    let token = Arc::new(());
    let t = token.clone();
    let pool = Pool::new(move || t.clone());
    let many: Vec<_> = (0..500).map(|_| pool.get()).collect();
    drop(many);
    let peak = Arc::strong_count(&token);
    assert!(peak > 400, "they are kept: {peak}");
    for _ in 0..50_000 {
        drop(pool.get());
    }
    let calm = Arc::strong_count(&token);
    assert!(calm < 50, "one at a time needs no {calm}");
    drop(pool);
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn a_pool_is_not_broken_by_those_who_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                std::panic::resume_unwind(Box::new(()));
            }
        }
    }
    let pool = Pool::new(|| None::<Bomb>);
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let _thing = pool.get();
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(failed.is_err());
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let mut thing = pool.get();
        *thing = Some(Bomb);
        *thing = None;
    }));
    assert!(failed.is_err());
    assert!(pool.get().is_none());
    let no_luck: Pool<u8> = Pool::new(|| std::panic::resume_unwind(Box::new(())));
    assert!(catch_unwind(AssertUnwindSafe(|| *no_luck.get())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| *no_luck.get())).is_err());
}
