//! `task::lock_os_thread`, and what Go's tests of `LockOSThread` prove (runtime/proc_test.go),
//! written anew.

use goweft::task::{self, lock_os_thread};
use goweft::{Builder, channel, run, runtime, select, spawn};
use goweft_tests::scenario;
use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// One at a time: these tests change `maxprocs` and count threads.
fn alone(procs: usize) -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    runtime::set_maxprocs(procs);
    guard
}

/// The kernel's id of the thread.
fn tid() -> String {
    let link = fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

fn exists(tid: &str) -> bool {
    fs::exists(format!("/proc/self/task/{tid}")).unwrap()
}

/// Waits until the thread has ended.
#[track_caller]
fn await_end(tid: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while exists(tid) {
        assert!(Instant::now() < deadline, "thread {tid} goes on");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn smoke() {
    let _alone = alone(2);
    run(|| {
        let _locked = lock_os_thread();
        let here = tid();
        task::sleep(Duration::from_millis(1));
        assert_eq!(tid(), here);
    });
}

#[test]
fn a_locked_goroutine_has_its_thread_for_itself() {
    let _alone = alone(2);
    run(|| {
        let _locked = lock_os_thread();
        let here = thread::current().id();
        let (tx, rx) = channel::bounded::<ThreadId>(0);
        let others: Vec<_> = (0..20)
            .map(|i| {
                let tx = tx.clone();
                Builder::new()
                    .pinned(i % 2 == 0)
                    .spawn(move || {
                        for _ in 0..50 {
                            tx.send(thread::current().id()).unwrap();
                            task::yield_now();
                        }
                    })
                    .unwrap()
            })
            .collect();
        drop(tx);
        let mut seen = HashSet::new();
        while let Ok(there) = rx.recv() {
            assert_eq!(thread::current().id(), here);
            seen.insert(there);
            if seen.len() % 7 == 0 {
                task::yield_now();
                goweft::blocking(thread::yield_now);
                task::sleep(Duration::from_micros(10));
                assert_eq!(thread::current().id(), here);
            }
        }
        assert!(!seen.contains(&here), "somebody else ran here");
        others.into_iter().for_each(|h| h.join().unwrap());
    });
}

/// Only the last guard unlocks: with one of three forgotten the thread ends, with none it
/// does not. TestLockOSThreadNesting.
#[test]
fn guards_nest() {
    let _alone = alone(2);
    for forget in [false, true] {
        let thread = spawn(move || {
            let first = lock_os_thread();
            let second = lock_os_thread();
            drop(first);
            let third = lock_os_thread();
            task::yield_now();
            drop(second);
            task::yield_now();
            if forget {
                std::mem::forget(third);
            }
            tid()
        });
        let thread = thread.join().unwrap();
        if forget {
            await_end(&thread);
        } else {
            run(|| task::sleep(Duration::from_millis(20)));
            assert!(exists(&thread), "a thread ended that was unlocked");
        }
    }
}

#[test]
fn an_unlocked_goroutine_changes_threads_again() {
    let _alone = alone(2);
    let (for_each, mine) = channel::bounded::<()>(0);
    let (tx, rx) = channel::bounded::<()>(0);
    let meet = |_| {
        let (mine, rx) = (mine.clone(), rx.clone());
        spawn(move || {
            let locked = lock_os_thread();
            let here = thread::current().id();
            for _ in 0..20 {
                mine.recv().unwrap();
                assert_eq!(thread::current().id(), here, "a locked one moved");
            }
            drop(locked);
            let mut moved = false;
            for () in rx {
                moved |= thread::current().id() != here;
                task::yield_now();
            }
            moved
        })
    };
    let handles: Vec<_> = (0..16).map(meet).collect();
    for _ in 0..16 * 20 {
        for_each.send(()).unwrap();
    }
    for _ in 0..16 * 280 {
        tx.send(()).unwrap();
    }
    drop(tx);
    let moved = handles.into_iter().map(|h| h.join().unwrap());
    let moved = moved.fold(false, |any, moved| any | moved);
    assert_eq!(moved, !scenario::everybody_is_pinned());
}

// proc_test.go TestLockOSThreadExit.
#[test]
fn a_goroutine_that_ends_locked_ends_its_thread_and_its_thread_locals() {
    struct Tells(mpsc::Sender<ThreadId>);
    impl Drop for Tells {
        fn drop(&mut self) {
            // A destructor of a thread-local: this is a plain thread by now, and goweft works here.
            let answer = spawn(|| 1).join().unwrap();
            assert_eq!((answer, task::is_goroutine()), (1, false));
            self.0.send(thread::current().id()).unwrap();
        }
    }
    thread_local! {
        static TELLS: std::cell::RefCell<Option<Tells>> = const { std::cell::RefCell::new(None) };
    }
    let _alone = alone(2);
    for i in 0..20 {
        let (tx, rx) = mpsc::channel();
        let h = spawn(move || {
            let locked = lock_os_thread();
            if i % 2 == 0 {
                task::sleep(Duration::from_micros(100));
            }
            TELLS.with(|t| *t.borrow_mut() = Some(Tells(tx)));
            // Left where nobody unlocks with it.
            std::mem::forget(locked);
            (tid(), thread::current().id())
        });
        let (thread, id) = h.join().unwrap();
        assert_eq!(rx.recv_timeout(Duration::from_secs(30)), Ok(id));
        await_end(&thread);
    }
}

#[test]
fn ended_threads_make_room_for_others() {
    let ran = scenario::run(env!("CARGO_BIN_EXE_scenario"), "locked_ends", &[]);
    assert_eq!(ran.out, "500 threads have ended\n", "{}", ran.err);
    assert!(ran.status.success(), "{}", ran.err);
}

/// Nobody else could wait for timers and sockets.
#[test]
fn one_that_has_the_only_thread_sleeps_and_reads() {
    let ran = scenario::run(env!("CARGO_BIN_EXE_scenario"), "locked_alone", &[]);
    assert_eq!(ran.out, "it slept\nit read\n", "{}", ran.err);
    assert!(ran.status.success(), "{}", ran.err);
}

/// What a panic does to a guard is what it does to any: it unlocks.
#[test]
fn a_panic_unlocks() {
    let _alone = alone(2);
    let (tx, rx) = mpsc::channel();
    let h = spawn(move || {
        let _locked = lock_os_thread();
        tx.send(tid()).unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    h.join().unwrap_err();
    let thread = rx.recv().unwrap();
    run(|| task::sleep(Duration::from_millis(20)));
    assert!(exists(&thread));
}

#[test]
fn on_a_plain_thread_it_does_nothing() {
    let outer = lock_os_thread();
    let inner = lock_os_thread();
    drop(outer);
    run(|| task::sleep(Duration::from_micros(10)));
    std::mem::forget(inner);
}

// proc_test.go TestYieldLocked: it yields, sleeps, and ends locked.
#[test]
fn a_locked_goroutine_yields_sleeps_and_ends() {
    let _alone = alone(2);
    let (tx, rx) = channel::bounded(1);
    spawn(move || {
        std::mem::forget(lock_os_thread());
        for _ in 0..10 {
            task::yield_now();
            task::sleep(Duration::from_millis(1));
        }
        tx.send(true).unwrap();
    });
    assert_eq!(rx.recv(), Ok(true));
}

// proc_test.go TestBlockLocked.
#[test]
fn a_locked_goroutine_meets_one_that_is_not() {
    for procs in [1, 2] {
        let _alone = alone(procs);
        let (tx, rx) = channel::bounded(0);
        spawn(move || {
            let _locked = lock_os_thread();
            (0..10).for_each(|_| tx.send(true).unwrap());
        });
        run(|| (0..10).for_each(|_| assert_eq!(rx.recv(), Ok(true))));
    }
}

// proc_test.go TestYieldLockedProgress, on one processor too.
#[test]
fn a_locked_poller_that_only_yields_sees_the_message() {
    for procs in [1, 2] {
        let _alone = alone(procs);
        run(|| {
            let (message, inbox) = channel::bounded(0);
            let (seen, ack) = channel::bounded(0);
            let poller = spawn(move || {
                let _locked = lock_os_thread();
                loop {
                    select! {
                        recv(inbox) -> m => return seen.send(m.unwrap()).unwrap(),
                        default => task::yield_now(),
                    }
                }
            });
            (0..10).for_each(|_| task::yield_now());
            message.send(7).unwrap();
            assert_eq!(ack.recv(), Ok(7));
            poller.join().unwrap();
        });
    }
}

// proc_test.go TestLockOSThreadTemplateThreadRace: threads are made while others are locked and
// end.
#[test]
fn locking_races_with_ending_and_with_resizing() {
    let _alone = alone(1);
    for round in 0..100 {
        let stop = Arc::new(AtomicBool::new(false));
        let resize = |n: usize| {
            let stop = stop.clone();
            spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    runtime::set_maxprocs(1 + (n + round) % 4);
                    task::yield_now();
                }
            })
        };
        let resizers = [0, 3].map(resize);
        let locked: Vec<_> = (0..4)
            .map(|i| {
                spawn(move || {
                    let guard = lock_os_thread();
                    let here = tid();
                    // A thread of one's own from a locked one.
                    thread::spawn(|| ()).join().unwrap();
                    task::yield_now();
                    assert_eq!(tid(), here);
                    if i % 2 == 0 {
                        std::mem::forget(guard);
                    }
                })
            })
            .collect();
        locked.into_iter().for_each(|h| h.join().unwrap());
        stop.store(true, Ordering::Release);
        resizers.into_iter().for_each(|h| h.join().unwrap());
    }
}

#[test]
fn locked_goroutines_play_ping_pong() {
    for procs in [1, 2, 4] {
        let _alone = alone(procs);
        let (ping, pinged) = channel::bounded(0);
        let (pong, ponged) = channel::bounded(0);
        let play = |tx: channel::Sender<usize>, rx: channel::Receiver<usize>, first: bool| {
            spawn(move || {
                let _locked = lock_os_thread();
                let here = thread::current().id();
                for i in 0..500 {
                    if first {
                        tx.send(i).unwrap();
                    }
                    assert_eq!(rx.recv(), Ok(i));
                    if !first {
                        tx.send(i).unwrap();
                    }
                    assert_eq!(thread::current().id(), here);
                }
            })
        };
        let players = [play(ping, ponged, true), play(pong, pinged, false)];
        players.into_iter().for_each(|h| h.join().unwrap());
    }
}

/// More of them than processors, and all only yield: nobody starves, locked or not.
#[test]
fn locked_goroutines_that_yield_and_others_take_turns() {
    for procs in [1, 2] {
        let _alone = alone(procs);
        let stop = Arc::new(AtomicBool::new(false));
        let turns: Arc<[AtomicUsize; 8]> = Arc::default();
        let handles: Vec<_> = (0..8)
            .map(|i| {
                let (stop, turns) = (stop.clone(), turns.clone());
                spawn(move || {
                    let _locked = (i % 2 == 0).then(lock_os_thread);
                    while !stop.load(Ordering::Acquire) {
                        turns[i].fetch_add(1, Ordering::Relaxed);
                        task::yield_now();
                    }
                })
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !turns.iter().all(|t| t.load(Ordering::Relaxed) >= 100) {
            assert!(Instant::now() < deadline, "{turns:?}");
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Release);
        handles.into_iter().for_each(|h| h.join().unwrap());
    }
}

/// Each time it is woken it takes the processor from one that computes, and each time it waits
/// another one of those is given it: what it has spawned has turns as well.
#[test]
fn a_locked_goroutine_that_wakes_often_leaves_others_their_turns_beside_those_that_compute() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let hogs = [(); 4].map(|()| {
        let stop = stop.clone();
        spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    });
    let locked = spawn(|| {
        let _locked = lock_os_thread();
        // Until the others have all been stopped.
        (0..30).for_each(|_| task::sleep(Duration::from_millis(2)));
        (0..5).all(|_| {
            let ran = Arc::new(AtomicBool::new(false));
            let begin = Instant::now();
            spawn({
                let ran = ran.clone();
                move || ran.store(true, Ordering::Relaxed)
            });
            while !ran.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(30) {
                task::sleep(Duration::from_millis(2));
            }
            ran.load(Ordering::Relaxed)
        })
    });
    let all_ran = locked.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    hogs.into_iter().for_each(|h| h.join().unwrap());
    assert!(all_ran, "one that was spawned never ran");
}

/// Those who live on the thread can run nowhere else: locking does not lock them out.
#[test]
fn a_locked_goroutine_waits_for_one_that_was_pinned_to_its_thread() {
    let _alone = alone(1);
    let (ready, started) = channel::bounded(0);
    let (tx, rx) = channel::bounded(0);
    let neighbour = move || {
        ready.send(thread::current().id()).unwrap();
        (0..100).for_each(|i| tx.send((i, thread::current().id())).unwrap());
    };
    let first = move || {
        let h = Builder::new().pinned(true).spawn(neighbour).unwrap();
        let there = started.recv().unwrap();
        let _locked = lock_os_thread();
        for i in 0..100 {
            assert_eq!(rx.recv(), Ok((i, there)));
        }
        h.join().unwrap();
        there == thread::current().id()
    };
    let tries = (0..50).filter(|_| {
        let first = first.clone();
        Builder::new()
            .pinned(true)
            .spawn(first)
            .unwrap()
            .join()
            .unwrap()
    });
    assert!(tries.count() > 0, "they never lived on one thread");
}

/// Spinning on a processor that is taken away, with a thread that must not move.
#[test]
fn a_locked_goroutine_that_computes_is_preempted_and_comes_back() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let (locks, is_locked) = mpsc::channel();
    let hog = {
        let stop = stop.clone();
        spawn(move || {
            let _locked = lock_os_thread();
            let here = thread::current().id();
            locks.send(()).unwrap();
            while !stop.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            task::yield_now();
            assert_eq!(thread::current().id(), here);
        })
    };
    // Nobody can begin on its thread any more: one that is pinned there would wait for it.
    is_locked.recv().unwrap();
    run(|| (0..5).for_each(|_| task::sleep(Duration::from_millis(1))));
    stop.store(true, Ordering::Release);
    hog.join().unwrap();
}

#[test]
fn the_same_where_everybody_is_pinned() {
    scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
