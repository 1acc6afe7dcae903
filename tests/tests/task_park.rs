//! `park` and `unpark`, `sleep`, `yield_now`, `block_on`, `blocking`.

use goweft::task::{self, Task};
use goweft::{Builder, block_on, blocking, go, run, runtime, scope, spawn};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

/// A goroutine that parks once it has told who it is.
fn parked<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> (Task, goweft::JoinHandle<T>) {
    let (tx, rx) = mpsc::channel();
    let h = spawn(move || {
        tx.send(task::current()).unwrap();
        f()
    });
    (rx.recv_timeout(SOON).unwrap(), h)
}

#[test]
fn a_permit_that_is_there_ends_park_at_once() {
    spawn(|| {
        task::current().unpark();
        task::park();
    })
    .join()
    .unwrap();
}

#[test]
fn permits_do_not_add_up() {
    let (t, h) = parked(|| {
        while !GO.load(Ordering::Acquire) {
            task::yield_now();
        }
        task::park();
        let begin = Instant::now();
        task::park_timeout(Duration::from_millis(20));
        begin.elapsed()
    });
    static GO: AtomicBool = AtomicBool::new(false);
    t.unpark();
    t.unpark();
    GO.store(true, Ordering::Release);
    assert!(h.join().unwrap() >= Duration::from_millis(20));
}

#[test]
fn park_timeout_ends_by_itself_or_by_unpark() {
    let (_, h) = parked(|| {
        let begin = Instant::now();
        task::park_timeout(Duration::from_millis(10));
        begin.elapsed()
    });
    let waited = h.join().unwrap();
    assert!(waited >= Duration::from_millis(10), "{waited:?}");
    let (t, h) = parked(|| task::park_timeout(Duration::from_secs(3600)));
    t.unpark();
    h.join().unwrap();
    let (t, h) = parked(|| task::park_timeout(Duration::MAX));
    t.unpark();
    h.join().unwrap();
}

#[test]
fn a_hundred_thousand_permits_are_handed_to_and_fro() {
    const ROUNDS: u32 = 100_000;
    let turn = Arc::new(AtomicU32::new(0));
    let player = |me: u32, other: mpsc::Receiver<Task>| {
        let turn = turn.clone();
        move || {
            let other = blocking(|| other.recv().unwrap());
            for round in 0..ROUNDS {
                while turn.load(Ordering::Acquire) != 2 * round + me {
                    task::park();
                }
                turn.store(2 * round + me + 1, Ordering::Release);
                other.unpark();
            }
        }
    };
    let ((tx0, rx0), (tx1, rx1)) = (mpsc::channel(), mpsc::channel());
    let h0 = spawn(player(0, rx0));
    let h1 = spawn(player(1, rx1));
    tx0.send(h1.task().clone()).unwrap();
    tx1.send(h0.task().clone()).unwrap();
    h0.join().unwrap();
    h1.join().unwrap();
    assert_eq!(turn.load(Ordering::Acquire), 2 * ROUNDS);
}

#[test]
fn unparks_from_threads_race_with_parks_and_timeouts() {
    const ROUNDS: u32 = 100_000;
    let given = Arc::new(AtomicU32::new(0));
    let seen = given.clone();
    let (t, h) = parked(move || {
        // Each permit is seen: the value it came with is.
        while seen.load(Ordering::Acquire) != ROUNDS {
            let before = seen.load(Ordering::Acquire);
            if before.is_multiple_of(3) {
                task::park_timeout(Duration::from_micros(u64::from(before % 50)));
            } else {
                task::park();
            }
        }
    });
    for _ in 0..ROUNDS {
        given.fetch_add(1, Ordering::Release);
        t.unpark();
    }
    h.join().unwrap();
}

#[test]
fn a_late_unpark_does_nothing_to_whoever_has_the_block_now() {
    let mut old = Vec::new();
    for _ in 0..200 {
        let h = spawn(task::current);
        old.push(h.join().unwrap());
    }
    // New goroutines reuse the blocks.
    let all: Vec<_> = (0..200).map(|_| parked(task::park)).collect();
    for _ in 0..5 {
        old.iter().for_each(Task::unpark);
    }
    assert!(all.iter().all(|(_, h)| !h.is_finished()));
    for (t, h) in all {
        t.unpark();
        h.join().unwrap();
    }
}

#[test]
fn a_task_of_a_thread_is_that_thread() {
    let t = std::thread::Builder::new()
        .name("plain".into())
        .spawn(|| {
            let me = task::current();
            assert_eq!(me.name(), Some("plain"));
            go!(move || me.unpark());
            task::park();
            task::park_timeout(Duration::from_millis(1));
        })
        .unwrap();
    t.join().unwrap();
}

#[test]
fn sleep_lasts_and_does_not_hold_the_processor() {
    let begin = Instant::now();
    let sleepers: Vec<_> = (0..1_000)
        .map(|_| spawn(|| task::sleep(Duration::from_millis(30))))
        .collect();
    sleepers.into_iter().for_each(|h| h.join().unwrap());
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(30), "{took:?}");
    assert!(
        took < Duration::from_secs(15),
        "one after the other it were 30 s: {took:?}"
    );
    run(|| task::sleep(Duration::ZERO));
    task::sleep(Duration::from_millis(1));
}

#[test]
fn yield_now_lets_others_run_on_one_processor() {
    let order = Arc::new(Mutex::new(Vec::new()));
    run(|| {
        scope(|s| {
            for i in 0..3 {
                let order = order.clone();
                s.spawn(move || {
                    for _ in 0..3 {
                        order.lock().unwrap().push(i);
                        task::yield_now();
                    }
                });
            }
        });
    });
    let order = order.lock().unwrap();
    assert_eq!(order.len(), 9);
    task::yield_now();
}

#[test]
fn block_on_waits_for_handles_from_goroutines_and_threads() {
    let of_thread = block_on(async {
        let (a, b) = (spawn(|| 1), spawn(|| 2));
        b.await.unwrap() + a.await.unwrap()
    });
    assert_eq!(of_thread, 3);
    let of_goroutine = run(|| block_on(async { spawn(|| String::from("x")).await.unwrap() + "y" }));
    assert_eq!(of_goroutine, "xy");
}

/// Pending until somebody takes the waker and uses it, `rounds` times.
async fn woken_by(wakers: mpsc::Sender<Waker>, rounds: u32) {
    let mut left = rounds;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        wakers.send(cx.waker().clone()).unwrap();
        Poll::Pending
    })
    .await;
}

#[test]
fn wakes_race_with_the_park_of_block_on() {
    let (tx, rx) = mpsc::channel::<Waker>();
    let waking = std::thread::spawn(move || {
        let mut woken = 0;
        for waker in rx {
            waker.wake_by_ref();
            // Late and double wakes harm nobody.
            waker.wake();
            woken += 1;
        }
        woken
    });
    let other = tx.clone();
    let h = spawn(move || block_on(woken_by(other, 20_000)));
    block_on(woken_by(tx, 20_000));
    h.join().unwrap();
    // Double wakes poll too often, which `woken_by` counts as rounds.
    assert_eq!(waking.join().unwrap(), 40_000);
}

#[test]
fn a_permit_for_park_is_not_taken_by_block_on() {
    let (_, h) = parked(|| {
        task::current().unpark();
        block_on(async { spawn(|| ()).await.unwrap() });
        task::park();
    });
    h.join().unwrap();
}

#[test]
fn blocking_lets_others_have_the_processor() {
    // As many goroutines block as there are processors; one more unblocks them.
    let n = runtime::maxprocs() + 2;
    let barrier = Arc::new(std::sync::Barrier::new(n));
    let handles: Vec<_> = (0..n)
        .map(|i| {
            let barrier = barrier.clone();
            spawn(move || {
                let led = blocking(|| barrier.wait().is_leader());
                task::yield_now();
                (i, u32::from(led))
            })
        })
        .collect();
    let leaders: u32 = handles.into_iter().map(|h| h.join().unwrap().1).sum();
    assert_eq!(leaders, 1);
    assert_eq!(blocking(|| 5), 5, "on a plain thread it calls the closure");
}

#[test]
fn blocking_that_panics_or_parks_inside_goes_on_as_a_goroutine() {
    let h = Builder::new()
        .spawn(|| {
            let caught =
                std::panic::catch_unwind(|| blocking(|| std::panic::resume_unwind(Box::new(1u8))));
            assert!(caught.is_err());
            let inner = blocking(|| spawn(task::id).join().unwrap());
            assert_ne!(inner, task::id());
            task::yield_now();
            blocking(|| blocking(|| 3))
        })
        .unwrap();
    assert_eq!(h.join().unwrap(), 3);
}

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
