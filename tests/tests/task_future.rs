//! `JoinHandle` as a future, and `block_on`: with wakers that come from anywhere, change,
//! panic, wake too often, too early and too late.

use goweft::sync::WaitGroup;
use goweft::{JoinHandle, block_on, channel, run, scope, spawn, task};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// Counts its wakes.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counting() -> (Arc<Counting>, Waker) {
    let counting = Arc::new(Counting::default());
    (counting.clone(), Waker::from(counting))
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// A value that counts how often it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_handle_is_a_future_for_any_executor() {
    fn is<T: Future + Send + Sync + Unpin + 'static>(_: &T) {}
    let h = spawn(|| 6 * 7);
    is(&h);
    assert_eq!(block_on(h).unwrap(), 42);
    let panicked = block_on(spawn(|| std::panic::resume_unwind(Box::new("on purpose"))));
    let payload: Box<dyn std::any::Any + Send> = match panicked {
        Err(payload) => payload,
        Ok(never) => never,
    };
    assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
    let exited = block_on(spawn(|| -> () { task::exit() }));
    assert!(exited.unwrap_err().is::<task::Exited>());
}

#[test]
fn only_the_last_waker_is_woken_and_none_is_kept() {
    let (go_on, wait) = channel::bounded::<()>(0);
    let mut h = spawn(move || wait.recv().is_ok());
    let wakers: Vec<_> = (0..10).map(|_| counting()).collect();
    for round in 0..100 {
        let (_, waker) = &wakers[round % 10];
        assert!(poll(&mut h, waker).is_pending());
        // Once more with the same one.
        assert!(poll(&mut h, waker).is_pending());
    }
    for (n, (counting, _)) in wakers.iter().enumerate() {
        // Ours, the waker's, and the handle's of the last.
        assert_eq!(Arc::strong_count(counting), 2 + usize::from(n == 9));
    }
    go_on.send(()).unwrap();
    while wakers[9].0.0.load(Ordering::SeqCst) == 0 {
        task::yield_now();
    }
    assert_eq!(
        poll(&mut h, &wakers[0].1).map(Result::unwrap),
        Poll::Ready(true)
    );
    // Whoever woke it counts first, and lets go of it then.
    while Arc::strong_count(&wakers[9].0) > 2 {
        task::yield_now();
    }
    for (n, (counting, _)) in wakers.iter().enumerate() {
        assert_eq!(counting.0.load(Ordering::SeqCst), usize::from(n == 9));
        assert_eq!(Arc::strong_count(counting), 2);
    }
}

#[test]
fn a_handle_that_was_polled_can_be_joined_awaited_or_dropped() {
    for what in 0..3 {
        let (counting, waker) = counting();
        let (go_on, wait) = channel::bounded::<()>(0);
        let mut h = spawn(move || wait.recv().map(|()| 7).unwrap());
        assert!(poll(&mut h, &waker).is_pending());
        let value = thread::scope(|s| {
            let other = s.spawn(|| match what {
                0 => Some(h.join().unwrap()),
                1 => Some(block_on(h).unwrap()),
                _ => {
                    drop(h);
                    None
                }
            });
            go_on.send(()).unwrap();
            other.join().unwrap()
        });
        assert_eq!(value, (what < 2).then_some(7));
        drop(waker);
        // The waker may be on its way to be woken, if the join came late.
        while Arc::strong_count(&counting) > 1 {
            task::yield_now();
        }
    }
}

#[test]
fn a_handle_is_polled_to_completion_once() {
    let mut h = spawn(|| ());
    let (_, waker) = counting();
    while poll(&mut h, &waker).is_pending() {
        thread::yield_now();
    }
    assert!(h.is_finished());
    let text = |f: &mut dyn FnMut()| {
        let payload = catch_unwind(AssertUnwindSafe(f)).unwrap_err();
        *payload.downcast::<&str>().unwrap()
    };
    assert_eq!(
        text(&mut || _ = poll(&mut h, &waker)),
        "goweft: a JoinHandle was polled after completion"
    );
    let mut h = Some(h);
    assert_eq!(
        text(&mut || _ = h.take().map(JoinHandle::join)),
        "goweft: a JoinHandle was joined after it had been polled to completion"
    );
}

// Polls with changing wakers, drops and joins, against the end of the goroutine.
#[test]
fn ends_race_with_polls_and_drops() {
    const ROUNDS: usize = 30_000;
    let dropped = Arc::new(AtomicUsize::new(0));
    let wg = WaitGroup::new();
    for lane in 0..4 {
        let dropped = dropped.clone();
        wg.go(move || {
            let (a, b) = (counting(), counting());
            for round in 0..ROUNDS {
                let value = Dropped(dropped.clone());
                let mut h = spawn(move || value);
                for n in 0..(round + lane) % 4 {
                    let waker = if n % 2 == 0 { &a.1 } else { &b.1 };
                    if poll(&mut h, waker).is_ready() {
                        break;
                    }
                    if round % 5 == 0 {
                        task::yield_now();
                    }
                }
                match round % 3 {
                    0 => drop(h),
                    1 if !h.is_finished() => _ = h.join(),
                    _ => drop(h),
                }
            }
        });
    }
    wg.wait();
    while dropped.load(Ordering::SeqCst) < 4 * ROUNDS {
        task::yield_now();
    }
    thread::sleep(Duration::from_millis(2));
    assert_eq!(dropped.load(Ordering::SeqCst), 4 * ROUNDS);
}

/// A waker that does things: in `wake`, and when it is dropped.
struct Busy {
    woken: channel::Sender<&'static str>,
    panics: bool,
}

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        self.woken.send("woken").unwrap();
        // A goroutine of its own, which is waited for here.
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
        if self.panics {
            panic!("on purpose");
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        task::yield_now();
        self.woken.send("dropped").unwrap();
    }
}

#[test]
fn wakers_may_use_the_runtime_and_panic() {
    for panics in [false, true] {
        let (woken, said) = channel::unbounded();
        let waker = Waker::from(Arc::new(Busy { woken, panics }));
        let (go_on, wait) = channel::bounded::<()>(0);
        let mut h = spawn(move || wait.recv().is_ok());
        assert!(poll(&mut h, &waker).is_pending());
        drop(waker);
        go_on.send(()).unwrap();
        assert_eq!(said.iter().collect::<Vec<_>>(), ["woken", "dropped"]);
        assert!(h.join().unwrap(), "the result is there all the same");
    }
}

#[goweft::test]
fn many_handles_are_awaited_together() {
    let (go_on, wait) = channel::bounded::<usize>(0);
    let mut handles: Vec<Option<JoinHandle<usize>>> = (0..100)
        .map(|_| {
            let wait = wait.clone();
            Some(spawn(move || wait.recv().unwrap()))
        })
        .collect();
    goweft::go!(move || (0..100).for_each(|n| go_on.send(n).unwrap()));
    let sum: usize = block_on(async {
        let mut sum = 0;
        for _ in 0..100 {
            // Whichever is first.
            sum += poll_fn(|cx| {
                for slot in &mut handles {
                    if let Some(h) = slot
                        && let Poll::Ready(n) = Pin::new(h).poll(cx)
                    {
                        *slot = None;
                        return Poll::Ready(n.unwrap());
                    }
                }
                Poll::Pending
            })
            .await;
        }
        sum
    });
    assert_eq!(sum, 99 * 100 / 2);
}

// ---- block_on ----------------------------------------------------------------------

/// Gives its waker away and is ready when it was told so.
#[derive(Default, Clone)]
struct Told(Arc<(AtomicBool, Mutex<Vec<Waker>>)>);

impl Told {
    fn tell(&self) {
        self.0.0.store(true, Ordering::Release);
        let wakers = std::mem::take(&mut *self.0.1.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Future for Told {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // As many as polls: all but the last are spurious.
        self.0.1.lock().unwrap().push(cx.waker().clone());
        match self.0.0.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

#[test]
fn wakes_come_from_threads_and_goroutines() {
    for round in 0..300 {
        let told = Told::default();
        let teller = told.clone();
        let (thread, goroutine) = match round % 2 {
            0 => (Some(thread::spawn(move || teller.tell())), None),
            _ => (None, Some(spawn(move || teller.tell()))),
        };
        match round % 4 {
            0 | 1 => block_on(told),
            _ => run(|| block_on(told)),
        }
        thread.into_iter().for_each(|t| t.join().unwrap());
        goroutine.into_iter().for_each(|g| g.join().unwrap());
    }
}

#[test]
fn a_wake_within_a_poll_is_not_lost() {
    for in_goroutine in [false, true] {
        let body = || {
            let mut polls = 0;
            block_on(poll_fn(|cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                let waker = cx.waker().clone();
                spawn(move || waker.wake()).join().unwrap();
                match polls {
                    100 => Poll::Ready(()),
                    _ => Poll::Pending,
                }
            }));
            assert_eq!(polls, 100);
        };
        if in_goroutine { run(body) } else { body() }
    }
}

#[test]
fn wakes_for_nothing_poll_once_each_and_harm_nobody() {
    let told = Told::default();
    let stop = Arc::new(AtomicBool::new(false));
    let pesterers: Vec<_> = (0..2)
        .map(|_| {
            let (told, stop) = (told.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let waker = told.0.1.lock().unwrap().last().cloned();
                    waker.into_iter().for_each(Waker::wake);
                }
            })
        })
        .collect();
    let waits = spawn({
        let told = told.clone();
        move || block_on(told)
    });
    task::sleep(Duration::from_millis(5));
    assert!(!waits.is_finished());
    told.tell();
    waits.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    pesterers.into_iter().for_each(|p| p.join().unwrap());
}

#[goweft::test]
fn late_wakes_do_not_disturb_what_comes_after() {
    // The wakers outlive the block_on that made them; their owner is parked elsewhere.
    let told = Told::default();
    told.0.0.store(true, Ordering::Release);
    for _ in 0..50 {
        block_on(told.clone());
    }
    let wakers = std::mem::take(&mut *told.0.1.lock().unwrap());
    assert_eq!(wakers.len(), 50);
    let (tx, rx) = channel::bounded::<u8>(0);
    let waker = goweft::spawn(move || {
        for _ in 0..1000 {
            wakers.iter().for_each(Waker::wake_by_ref);
            task::yield_now();
        }
        tx.send(1).unwrap();
    });
    assert_eq!(rx.recv(), Ok(1));
    waker.join().unwrap();
    task::park_timeout(Duration::from_millis(1));
}

#[goweft::test]
fn block_on_nests() {
    let inner = Told::default();
    let told = inner.clone();
    let sum = block_on(async {
        let a = spawn(|| 1);
        // A future that blocks: not kind to others on an executor, but here it parks.
        goweft::go!(move || told.tell());
        block_on(inner);
        let b = spawn(|| block_on(async { spawn(|| 2).await.unwrap() }));
        a.await.unwrap() + b.await.unwrap()
    });
    assert_eq!(sum, 3);
}

#[test]
fn a_panic_of_the_future_leaves_block_on_and_a_drop_may_block_on() {
    struct JoinsOnDrop(Option<JoinHandle<u8>>);
    impl Drop for JoinsOnDrop {
        fn drop(&mut self) {
            let h = self.0.take().unwrap();
            assert!(thread::panicking());
            assert_eq!(block_on(h).unwrap(), 7);
        }
    }
    for in_goroutine in [false, true] {
        let body = || {
            let (go_on, wait) = channel::bounded::<()>(1);
            let h = spawn(move || {
                wait.recv().unwrap();
                task::yield_now();
                7
            });
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                block_on(async {
                    let _joins = JoinsOnDrop(Some(h));
                    go_on.send(()).unwrap();
                    std::panic::resume_unwind(Box::new("on purpose"))
                })
            }));
            let payload: Box<dyn std::any::Any + Send> = match panicked {
                Err(payload) => payload,
                Ok(never) => never,
            };
            assert_eq!(payload.downcast_ref(), Some(&"on purpose"));
        };
        if in_goroutine { run(body) } else { body() }
    }
}

#[test]
fn a_future_may_borrow_and_need_not_be_send() {
    let text = String::from("borrowed");
    let not_send = std::rc::Rc::new(1);
    let n = block_on(async {
        spawn(|| ()).await.unwrap();
        text.len() + *not_send
    });
    assert_eq!(n, 9);
    let n = scope(|s| s.spawn(|| block_on(async { text.len() })).join().unwrap());
    assert_eq!(n, 8);
}
