//! Goroutines from spawn to join: what they return, who drops it, what they are
//! called, what is refused.

use goweft::{Builder, run, spawn, task};
use std::collections::HashSet;
use std::future::Future;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Counts its drops, and where they happen.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn smoke() {
    assert_eq!(spawn(|| 6 * 7).join().unwrap(), 42);
}

#[test]
fn a_handle_goes_where_its_result_may_go() {
    fn goes_anywhere<T: Send + Sync + Unpin>() {}
    // Cell is not Sync: a shared handle gives nobody a reference to it.
    goes_anywhere::<goweft::JoinHandle<std::cell::Cell<u8>>>();
    goes_anywhere::<goweft::ScopedJoinHandle<'_, std::cell::Cell<u8>>>();
    goes_anywhere::<task::Task>();
}

#[test]
fn a_result_is_joined_from_a_thread_and_from_a_goroutine() {
    assert_eq!(spawn(|| String::from("abc")).join().unwrap(), "abc");
    let n = spawn(|| spawn(|| vec![1, 2, 3]).join().unwrap().len())
        .join()
        .unwrap();
    assert_eq!(n, 3);
}

#[test]
fn ten_thousand_results_come_back_to_their_handles() {
    let handles: Vec<_> = (0..10_000u64).map(|i| spawn(move || i * i)).collect();
    for (i, h) in handles.into_iter().enumerate() {
        assert_eq!(h.join().unwrap(), (i * i) as u64);
    }
}

#[test]
fn a_large_closure_and_a_large_result_are_moved_whole() {
    let big = [7u64; 512];
    let h = spawn(move || {
        let mut out = big;
        out[511] = 8;
        out
    });
    let out = h.join().unwrap();
    assert_eq!((out[0], out[510], out[511]), (7, 7, 8));
}

#[test]
fn an_overaligned_closure_stays_aligned() {
    #[repr(align(128))]
    struct Wide(u8);
    let wide = Wide(9);
    let h = spawn(move || (&raw const wide as usize % 128, wide.0));
    assert_eq!(h.join().unwrap(), (0, 9));
}

#[test]
fn join_waits_for_a_goroutine_that_parks() {
    let (tx, rx) = mpsc::channel();
    let h = spawn(move || {
        tx.send(task::current()).unwrap();
        task::park();
        5
    });
    let parked = rx.recv_timeout(SOON).unwrap();
    assert!(!h.is_finished());
    parked.unpark();
    assert_eq!(h.join().unwrap(), 5);
}

#[test]
fn is_finished_says_that_join_does_not_block() {
    let h = spawn(|| ());
    while !h.is_finished() {
        std::thread::yield_now();
    }
    h.join().unwrap();
}

#[test]
fn ids_are_unique_and_the_same_from_inside() {
    let mut seen = HashSet::new();
    for _ in 0..1_000 {
        let h = spawn(|| (task::id(), task::current().id()));
        let outside = h.id();
        assert_eq!(h.task().id(), outside);
        assert_eq!(h.join().unwrap(), (outside, outside));
        assert!(seen.insert(outside), "id {outside} came twice");
    }
    assert!(
        seen.insert(task::id()),
        "a thread's id is not a goroutine's"
    );
    assert_eq!(task::id(), task::current().id());
}

#[test]
fn a_name_is_seen_from_inside_and_from_the_handle() {
    let h = Builder::new()
        .name("acceptor")
        .spawn(|| task::current().name().map(str::to_owned))
        .unwrap();
    assert_eq!(h.task().name(), Some("acceptor"));
    assert_eq!(h.join().unwrap().as_deref(), Some("acceptor"));
    let h = spawn(|| task::current().name().map(str::to_owned));
    assert_eq!(h.task().name(), None);
    assert_eq!(h.join().unwrap(), None);
}

#[test]
fn a_goroutine_knows_that_it_is_one() {
    assert!(!task::is_goroutine());
    assert!(spawn(task::is_goroutine).join().unwrap());
    assert!(run(task::is_goroutine));
    assert!(!task::is_goroutine());
}

#[test]
fn dropping_the_handle_detaches_and_the_goroutine_drops_the_result() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (tx, rx) = mpsc::channel();
    let result = Counted(drops.clone());
    let done = tx.clone();
    let h = spawn(move || {
        tx.send(task::current()).unwrap();
        task::park();
        (result, SendOnDrop(done))
    });
    let t = rx.recv_timeout(SOON).unwrap();
    drop(h);
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    t.unpark();
    let dropper = rx.recv_timeout(SOON).unwrap();
    assert_eq!(dropper.id(), t.id(), "the goroutine itself drops it");
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

struct SendOnDrop(mpsc::Sender<task::Task>);

impl Drop for SendOnDrop {
    fn drop(&mut self) {
        self.0.send(task::current()).unwrap();
    }
}

#[test]
fn dropping_a_finished_handle_drops_the_result_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let result = Counted(drops.clone());
    let h = spawn(move || result);
    while !h.is_finished() {
        std::thread::yield_now();
    }
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    drop(h);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn detaching_races_with_the_end_and_every_result_is_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    for _ in 0..20_000 {
        let result = Counted(drops.clone());
        drop(spawn(move || result));
    }
    let deadline = std::time::Instant::now() + SOON;
    while drops.load(Ordering::SeqCst) != 20_000 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of 20000",
            drops.load(Ordering::SeqCst)
        );
        std::thread::yield_now();
    }
}

#[test]
fn run_borrows_and_returns() {
    let mut words = vec!["b", "a"];
    let n = run(|| {
        words.sort_unstable();
        words.len()
    });
    assert_eq!((n, words), (2, vec!["a", "b"]));
}

#[test]
fn run_nests_and_works_from_many_threads() {
    std::thread::scope(|s| {
        for i in 0..8u64 {
            s.spawn(move || {
                for j in 0..500 {
                    assert_eq!(run(|| run(|| i + j) + 1), i + j + 1);
                }
            });
        }
    });
}

#[test]
fn run_resumes_a_panic_in_the_caller() {
    let payload = catch_unwind(|| run(|| std::panic::resume_unwind(Box::new(17u8)))).unwrap_err();
    assert_eq!(payload.downcast_ref::<u8>(), Some(&17));
}

#[test]
fn stack_sizes_that_are_not_allowed_are_refused_with_a_reason() {
    for bytes in [1, 4096, 8192, (1 << 30) + 1, usize::MAX / 2 + 2, usize::MAX] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let captured = Counted(dropped.clone());
        let e = Builder::new()
            .stack_size(bytes)
            .spawn(move || drop(captured))
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{bytes}");
        let text = e.to_string();
        assert!(
            text.contains(&bytes.to_string()) && text.contains("16 KiB to 1 GiB"),
            "{text}"
        );
        assert_eq!(
            dropped.load(Ordering::SeqCst),
            1,
            "what it captured is dropped"
        );
    }
}

#[test]
fn stack_sizes_that_are_allowed_spawn() {
    for bytes in [0, 10_000, 16 << 10, 100_000, 256 << 10, 1 << 30] {
        assert_eq!(
            Builder::new()
                .stack_size(bytes)
                .spawn(move || bytes)
                .unwrap()
                .join()
                .unwrap(),
            bytes
        );
    }
}

/// Beside goroutines that change threads, on more processors than one.
#[test]
fn a_pinned_goroutine_stays_on_its_thread_whatever_it_waits_for() {
    goweft::runtime::set_maxprocs(2);
    let all_stay = goweft_tests::scenario::everybody_is_pinned();
    // While the machine keeps a thread from running all may stay on the other.
    let rounds = if all_stay { 1 } else { 20 };
    let free_ones_moved = (0..rounds).any(|_| free_ones_move_and_pinned_ones_stay());
    assert_eq!(
        free_ones_moved, !all_stay,
        "nobody ever moves: this shows nothing"
    );
}

/// Whether one of those moved that may.
fn free_ones_move_and_pinned_ones_stay() -> bool {
    let (tx, rx) = goweft::channel::bounded(0);
    let work = |i: usize| {
        let rx = rx.clone();
        let meet = move || {
            let here = std::thread::current().id();
            let mut moved = false;
            for round in 0..200 {
                rx.recv().unwrap();
                moved |= std::thread::current().id() != here;
                task::yield_now();
                moved |= std::thread::current().id() != here;
                if round % 20 == 0 {
                    task::sleep(Duration::from_micros(100));
                    moved |= std::thread::current().id() != here;
                    goweft::blocking(std::thread::yield_now);
                    task::yield_now();
                    moved |= std::thread::current().id() != here;
                }
            }
            moved
        };
        let pinned = i.is_multiple_of(2);
        (pinned, Builder::new().pinned(pinned).spawn(meet).unwrap())
    };
    let meeting: Vec<_> = (0..16).map(work).collect();
    for i in 0..16 * 200 {
        tx.send(i).unwrap();
    }
    let mut free_ones_moved = false;
    for (pinned, h) in meeting {
        let moved = h.join().unwrap();
        assert!(!(pinned && moved), "a pinned goroutine changed threads");
        free_ones_moved |= moved;
    }
    free_ones_moved
}

/// Each waits for the other by yielding only.
#[test]
fn pinned_goroutines_that_yield_let_others_run() {
    let (pinned_turn, turns) = (Arc::new(AtomicUsize::new(0)), 200);
    let play = |me: usize| {
        let turn = pinned_turn.clone();
        move || {
            for i in 0..turns {
                while turn.load(Ordering::Acquire) != 3 * i + me {
                    task::yield_now();
                }
                turn.store(3 * i + me + 1, Ordering::Release);
            }
        }
    };
    let players = [0, 1, 2].map(|me| Builder::new().pinned(me != 1).spawn(play(me)).unwrap());
    for h in players {
        h.join().unwrap();
    }
}

struct Flag(mpsc::SyncSender<()>);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        let _ = self.0.try_send(());
    }
}

fn poll_to_end<F: Future + Unpin>(mut future: F) -> F::Output {
    let (tx, rx) = mpsc::sync_channel(1);
    let waker = Waker::from(Arc::new(Flag(tx)));
    let mut cx = Context::from_waker(&waker);
    loop {
        match std::pin::Pin::new(&mut future).poll(&mut cx) {
            Poll::Ready(out) => return out,
            Poll::Pending => rx.recv_timeout(SOON).expect("woken"),
        }
    }
}

#[test]
fn a_handle_is_a_future_that_wakes() {
    for i in 0..2_000 {
        let h = spawn(move || {
            task::yield_now();
            i
        });
        assert_eq!(poll_to_end(h).unwrap(), i);
    }
}

#[test]
fn the_last_waker_is_the_one_that_is_woken() {
    let (tx, rx) = mpsc::channel();
    let mut h = spawn(move || {
        tx.send(task::current()).unwrap();
        task::park();
        1
    });
    let t = rx.recv_timeout(SOON).unwrap();
    let (first, first_rx) = mpsc::sync_channel(1);
    let waker = Waker::from(Arc::new(Flag(first)));
    assert!(
        std::pin::Pin::new(&mut h)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    let (second, second_rx) = mpsc::sync_channel(1);
    let waker = Waker::from(Arc::new(Flag(second)));
    assert!(
        std::pin::Pin::new(&mut h)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    t.unpark();
    second_rx.recv_timeout(SOON).unwrap();
    assert!(first_rx.try_recv().is_err());
    assert_eq!(h.join().unwrap(), 1, "a polled handle can be joined");
}

#[test]
fn a_handle_polled_after_completion_panics() {
    let mut h = spawn(|| 1);
    assert_eq!(poll_to_end(&mut h).unwrap(), 1);
    let again = catch_unwind(AssertUnwindSafe(|| poll_to_end(&mut h)));
    let text = *again.unwrap_err().downcast::<&str>().unwrap();
    assert!(text.contains("polled after completion"), "{text}");
}
