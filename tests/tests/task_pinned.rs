//! Goroutines that stay on the thread on which they first ran: `Builder::pinned`, and, in the last
//! test here, all of them.

use goweft::net::{TcpListener, TcpStream};
use goweft::sync::{Mutex, WaitGroup};
use goweft::{Builder, JoinHandle, channel, go, run, runtime, select, task, time};
use goweft_tests::pressure::{Hogs, WATCHDOG};
use goweft_tests::scenario;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

/// One at a time: these tests change `maxprocs`.
fn alone(procs: usize) -> MutexGuard<'static, ()> {
    static ALONE: StdMutex<()> = StdMutex::new(());
    let guard = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    runtime::set_maxprocs(procs);
    guard
}

fn pinned<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().pinned(true).spawn(f).unwrap()
}

/// Calls `f` and sees that it comes back where it was called.
#[track_caller]
fn here<T>(f: impl FnOnce() -> T) -> T {
    let before = thread::current().id();
    let value = f();
    assert_eq!(
        thread::current().id(),
        before,
        "a pinned goroutine changed threads"
    );
    value
}

#[test]
fn smoke() {
    let _alone = alone(2);
    let h = pinned(|| {
        here(|| task::sleep(Duration::from_millis(1)));
        here(task::yield_now);
        7
    });
    assert_eq!(h.join().unwrap(), 7);
}

/// On the same processor is one that calls all the time, and never waits.
#[test]
fn one_who_sleeps_is_not_starved_by_one_who_never_waits() {
    let _alone = alone(1);
    let (slept, has_slept) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let sleeper = pinned({
        let stop = stop.clone();
        move || {
            let caller = goweft::spawn({
                let stop = stop.clone();
                move || {
                    let (tx, rx) = channel::bounded(1);
                    while !stop.load(Ordering::Relaxed) {
                        tx.send(()).unwrap();
                        rx.recv().unwrap();
                    }
                }
            });
            (0..10).for_each(|_| here(|| task::sleep(Duration::from_millis(1))));
            slept.send(()).unwrap();
            caller
        }
    });
    let in_time = has_slept.recv_timeout(WATCHDOG);
    stop.store(true, Ordering::Relaxed);
    sleeper.join().unwrap().join().unwrap();
    in_time.expect("it sleeps ten times");
}

/// On the same thread is one that makes blocking calls all the time, pinned or not. Its thread
/// loses its processor with each, and gets one again.
#[test]
fn one_who_sleeps_is_not_starved_by_one_who_makes_blocking_calls() {
    fn short() {
        goweft::blocking(thread::yield_now);
    }
    /// Its processor is taken in the first, and lent in the second.
    fn two_ways() {
        thread::sleep(50 * MS);
        short();
    }
    /// It comes by a processor only where it cannot leave its thread.
    fn without_parking() {
        goweft::no_park(short);
        let (tx, rx) = channel::bounded(1);
        tx.send(()).unwrap();
        rx.recv().unwrap();
    }
    // Ten turns, each after a slice: one or two of the long calls.
    for (procs, is_pinned, call, most) in [
        (1, true, short as fn(), usize::MAX),
        (2, false, short, usize::MAX),
        (1, true, without_parking, usize::MAX),
        (1, true, two_ways, 100),
        (2, false, two_ways, 100),
    ] {
        let _alone = alone(procs);
        let (slept, has_slept) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sleeper = pinned(move || {
            let caller = Builder::new().pinned(is_pinned).spawn(move || {
                let mut calls = 0;
                while !stopped.load(Ordering::Relaxed) {
                    call();
                    calls += 1;
                }
                calls
            });
            (0..10).for_each(|_| here(|| task::sleep(Duration::from_millis(1))));
            slept.send(()).unwrap();
            caller.unwrap()
        });
        let in_time = has_slept.recv_timeout(WATCHDOG);
        stop.store(true, Ordering::Relaxed);
        let calls = sleeper.join().unwrap().join().unwrap();
        in_time.expect("it sleeps ten times");
        assert!(calls < most, "{calls} calls");
    }
}

/// Free ones change threads under the same load: so this shows something.
#[test]
fn a_thread_local_is_the_same_after_each_call_that_parks() {
    thread_local! {
        static MARK: Cell<usize> = const { Cell::new(0) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    static OTHERS_MOVED: AtomicBool = AtomicBool::new(false);
    // Not inlined: optimised code looks a thread-local up once, and keeps its address over parks.
    #[inline(never)]
    fn mark() -> usize {
        if MARK.get() == 0 {
            MARK.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        MARK.get()
    }
    let _alone = alone(2);
    let (tx, rx) = channel::bounded::<usize>(0);
    let meet = |stays: bool, rx: channel::Receiver<usize>| {
        move || {
            let begin = mark();
            let mut moved = false;
            for n in rx {
                moved |= mark() != begin;
                if n % 16 == 0 {
                    task::sleep(Duration::from_micros(50));
                    moved |= mark() != begin;
                    goweft::blocking(thread::yield_now);
                    moved |= mark() != begin;
                }
                task::yield_now();
                moved |= mark() != begin;
                if moved && !stays {
                    OTHERS_MOVED.store(true, Ordering::Relaxed);
                }
            }
            moved
        }
    };
    let handles: Vec<_> = (0..16)
        .map(|i| {
            let stays = i % 2 == 0;
            let h = Builder::new().pinned(stays).spawn(meet(stays, rx.clone()));
            (stays, h.unwrap())
        })
        .collect();
    drop(rx);
    // Until one of the others has moved, so that the test can tell.
    let deadline = Instant::now() + WATCHDOG;
    let all_stay = scenario::everybody_is_pinned();
    let mut n = 0;
    while n < 5_000 || !(all_stay || OTHERS_MOVED.load(Ordering::Relaxed)) {
        assert!(Instant::now() < deadline, "nobody moves");
        tx.send(n).unwrap();
        n += 1;
    }
    drop(tx);
    for (stays, h) in handles {
        let moved = h.join().unwrap();
        assert!(!(stays && moved), "a thread-local changed under a park");
    }
    assert_eq!(OTHERS_MOVED.load(Ordering::Relaxed), !all_stay);
}

/// Counts that are not atomic, shared by all that live on a thread.
#[test]
fn what_is_not_send_may_be_held_over_parks_and_shared_by_neighbours() {
    thread_local! {
        static SHARED: RefCell<Rc<Cell<usize>>> = RefCell::new(Rc::new(Cell::new(0)));
    }
    let _alone = alone(4);
    let total = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..200)
        .map(|_| {
            let total = total.clone();
            pinned(move || {
                for _ in 0..50 {
                    let mine = here(|| SHARED.with(|s| s.borrow().clone()));
                    mine.set(mine.get() + 1);
                    here(task::yield_now);
                    let before = mine.get();
                    drop(mine);
                    assert!(before >= 1);
                    total.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
    assert_eq!(total.load(Ordering::Relaxed), 200 * 50);
}

#[test]
fn a_thousand_of_them_play_ping_pong_on_the_threads_of_two_processors() {
    const ROUNDS: usize = 100;
    let _alone = alone(2);
    let handles: Vec<_> = (0..500)
        .flat_map(|_| {
            let (ping, pinged) = channel::bounded(0);
            let (pong, ponged) = channel::bounded(0);
            let serve = pinned(move || {
                for i in 0..ROUNDS {
                    here(|| ping.send(i)).unwrap();
                    assert_eq!(here(|| ponged.recv()), Ok(i + 1));
                }
                thread::current().id()
            });
            let back = pinned(move || {
                for i in 0..ROUNDS {
                    assert_eq!(here(|| pinged.recv()), Ok(i));
                    here(|| pong.send(i + 1)).unwrap();
                }
                thread::current().id()
            });
            [serve, back]
        })
        .collect();
    let threads: HashSet<ThreadId> = handles.into_iter().map(|h| h.join().unwrap()).collect();
    // Two, and a few more when the system has kept one of them from running for long.
    assert!(
        threads.len() <= 40,
        "a thousand goroutines on {} threads",
        threads.len()
    );
}

#[test]
fn whoever_wakes_them_finds_them() {
    let _alone = alone(2);
    let woken = Arc::new(AtomicUsize::new(0));
    let sleepers: Vec<_> = (0..8)
        .map(|_| {
            let woken = woken.clone();
            pinned(move || {
                for _ in 0..200 {
                    here(task::park);
                    woken.fetch_add(1, Ordering::Release);
                }
            })
        })
        .collect();
    // By a plain thread, and by goroutines that are free, while all rest or work.
    let tasks: Vec<_> = sleepers.iter().map(|h| h.task().clone()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let wake_all = move |stop: Arc<AtomicBool>, tasks: Vec<task::Task>, pause: u64| {
        while !stop.load(Ordering::Acquire) {
            tasks.iter().for_each(task::Task::unpark);
            if pause == 0 {
                task::yield_now();
            } else {
                task::sleep(Duration::from_micros(pause));
            }
        }
    };
    let plain = {
        let (stop, tasks) = (stop.clone(), tasks.clone());
        thread::spawn(move || wake_all(stop, tasks, 20))
    };
    let wakers = [0, 100].map(|pause| {
        let (stop, tasks) = (stop.clone(), tasks.clone());
        goweft::spawn(move || wake_all(stop, tasks, pause))
    });
    sleepers.into_iter().for_each(|h| h.join().unwrap());
    stop.store(true, Ordering::Release);
    plain.join().unwrap();
    wakers.into_iter().for_each(|h| h.join().unwrap());
    assert_eq!(woken.load(Ordering::Acquire), 8 * 200);
}

#[test]
fn each_one_is_woken_while_all_threads_rest() {
    let _alone = alone(2);
    let (tx, rx) = channel::bounded(0);
    let (done, all) = channel::unbounded();
    for _ in 0..4 {
        let (rx, done) = (rx.clone(), done.clone());
        drop(pinned(move || {
            for n in rx {
                done.send(here(|| n)).unwrap();
            }
        }));
    }
    drop((rx, done));
    // One at a time, from a plain thread: between two of them everybody goes to rest.
    for n in 0..500 {
        tx.send(n).unwrap();
        assert_eq!(all.recv(), Ok(n));
        if n % 50 == 0 {
            thread::sleep(Duration::from_millis(2));
        }
    }
    drop(tx);
    assert!(all.recv().is_err());
}

#[test]
fn timers_sockets_and_selects_wake_them_where_they_live() {
    let _alone = alone(2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = pinned(move || {
        for _ in 0..8 {
            let (mut stream, _) = here(|| listener.accept()).unwrap();
            drop(pinned(move || {
                let mut byte = [0];
                while here(|| stream.read(&mut byte)).unwrap() == 1 {
                    here(|| stream.write_all(&byte)).unwrap();
                }
            }));
        }
    });
    let clients: Vec<_> = (0..8)
        .map(|i| {
            pinned(move || {
                let mut stream = here(|| TcpStream::connect(address)).unwrap();
                for n in 0..50u8 {
                    here(|| stream.write_all(&[n])).unwrap();
                    let mut byte = [0];
                    here(|| stream.read_exact(&mut byte)).unwrap();
                    assert_eq!(byte, [n]);
                    if n % 10 == i {
                        here(|| task::sleep(Duration::from_micros(300)));
                        let never = channel::never::<()>();
                        let after = time::after(Duration::from_micros(100));
                        here(|| {
                            select! {
                                recv(never) -> _ => unreachable!(),
                                recv(after) -> tick => _ = tick.unwrap(),
                            }
                        });
                    }
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|h| h.join().unwrap());
    server.join().unwrap();
}

#[test]
fn they_stay_while_processors_come_and_go() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let resizer = {
        let stop = stop.clone();
        goweft::spawn(move || {
            let mut n = 0;
            while !stop.load(Ordering::Acquire) {
                runtime::set_maxprocs(1 + n % 8);
                n += 1;
                task::yield_now();
            }
        })
    };
    let (lock, group) = (Arc::new(Mutex::new(0)), WaitGroup::new());
    let workers: Vec<_> = (0..32)
        .map(|_| {
            let (lock, group) = (lock.clone(), group.clone());
            pinned(move || {
                for i in 0..200 {
                    *here(|| lock.lock()) += 1;
                    here(task::yield_now);
                    if i % 40 == 0 {
                        group.add(1);
                        let group = group.clone();
                        go!(move || {
                            task::yield_now();
                            group.done();
                        });
                        here(|| goweft::blocking(|| thread::sleep(Duration::from_micros(200))));
                        here(|| task::sleep(Duration::from_micros(100)));
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|h| h.join().unwrap());
    group.wait();
    stop.store(true, Ordering::Release);
    resizer.join().unwrap();
    assert_eq!(*lock.lock(), 32 * 200);
}

#[test]
fn neighbours_take_turns_with_the_processor_s_own_queue() {
    let _alone = alone(1);
    let stop = Arc::new(AtomicBool::new(false));
    let turns: Arc<[AtomicUsize; 6]> = Arc::default();
    let spin = |i: usize| {
        let (stop, turns) = (stop.clone(), turns.clone());
        let body = move || {
            while !stop.load(Ordering::Acquire) {
                turns[i].fetch_add(1, Ordering::Relaxed);
                task::yield_now();
            }
        };
        Builder::new()
            .pinned(i.is_multiple_of(2))
            .spawn(body)
            .unwrap()
    };
    let handles: Vec<_> = (0..6).map(spin).collect();
    let all_had = |n: usize| turns.iter().all(|t| t.load(Ordering::Relaxed) >= n);
    run(|| {
        while !all_had(1_000) {
            task::sleep(Duration::from_millis(1));
        }
    });
    stop.store(true, Ordering::Release);
    handles.into_iter().for_each(|h| h.join().unwrap());
}

/// Each of them gives the one processor to the other one's thread, again and again.
#[test]
fn two_that_wake_each_other_on_two_threads_leave_others_their_turns() {
    const ROUNDS: usize = 600;
    let _alone = alone(1);
    let done = Arc::new(AtomicBool::new(false));
    let rounds = Arc::new(AtomicUsize::new(0));
    let (ping, pinged) = channel::bounded(0);
    let (pong, ponged) = channel::bounded(0);
    let (begun, has_begun) = std::sync::mpsc::channel();
    let first = {
        let (done, rounds) = (done.clone(), rounds.clone());
        pinned(move || {
            // Keeps its thread to itself until the other one lives elsewhere.
            has_begun.recv().unwrap();
            while !done.load(Ordering::Relaxed) {
                ping.send(()).unwrap();
                ponged.recv().unwrap();
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let second = pinned(move || {
        begun.send(()).unwrap();
        pinged.into_iter().for_each(|()| pong.send(()).unwrap());
    });
    // Begun by a goroutine: what a plain thread begins may go before others.
    let measure = || {
        let rounds = rounds.clone();
        run(|| {
            let third = goweft::spawn(move || {
                let (mut longest, mut last) = (0, rounds.load(Ordering::Relaxed));
                let end = last + ROUNDS;
                while last < end {
                    task::yield_now();
                    let now = rounds.load(Ordering::Relaxed);
                    longest = longest.max(now - last);
                    last = now;
                }
                longest
            });
            third.join().unwrap()
        })
    };
    // Once in five times: while the machine stands still for the third, its processor is taken, and
    // one of its turns is long. Where it has to wait for a slice's end each is.
    let waits_are_short = (0..5).any(|_| {
        let longest = measure();
        println!("at most {longest} rounds of the two for one turn of a third");
        longest < 60
    });
    done.store(true, Ordering::Relaxed);
    first.join().unwrap();
    second.join().unwrap();
    assert!(waits_are_short);
}

/// It sleeps together with its thread; what it waits for runs elsewhere.
#[test]
fn one_that_panics_may_wait_in_its_drops() {
    struct Waits(channel::Receiver<u32>, channel::Sender<u32>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let got = here(|| self.0.recv()).unwrap();
            here(|| task::sleep(Duration::from_millis(1)));
            self.1.send(got + 1).unwrap();
        }
    }
    let _alone = alone(2);
    for n in 0..50 {
        let (tx, rx) = channel::bounded(0);
        let (out, answer) = channel::bounded(1);
        let panics = pinned(move || {
            let _waits = Waits(rx, out);
            std::panic::resume_unwind(Box::new(n));
        });
        // Fresh: it begins on a thread that is free.
        let answers = pinned(move || tx.send(n));
        assert_eq!(answer.recv(), Ok(n + 1));
        assert_eq!(panics.join().unwrap_err().downcast_ref(), Some(&n));
        answers.join().unwrap().unwrap();
    }
}

#[test]
fn one_who_was_woken_while_its_thread_blocked_does_not_wait_for_a_slice() {
    if scenario::everybody_is_pinned() {
        // The other one would live there too, and neither could go before it has a processor.
        return;
    }
    let ran = scenario::run(env!("CARGO_BIN_EXE_scenario"), "woken_at_home", &[]);
    assert_eq!(ran.out, "soon\n", "{ran:?}");
}

/// All others compute, and nobody waits for their processors: so the monitor looks seldom, and has
/// to be told.
#[test]
fn one_who_comes_back_from_a_call_that_blocks_has_a_processor_as_soon_as_others() {
    if scenario::everybody_is_pinned() {
        return;
    }
    let _alone = alone(2);
    let _hogs = Hogs::start(2);
    // At the median.
    let late = |is_pinned| {
        let caller = Builder::new().pinned(is_pinned).spawn(|| {
            let mut late = [(); 11].map(|()| {
                // Their slices are over by then.
                thread::sleep(25 * MS);
                let back = Instant::now();
                time::Timer::new(WATCHDOG).stop();
                back.elapsed()
            });
            late.sort_unstable();
            late[5]
        });
        caller.unwrap().join().unwrap()
    };
    // Of some rounds, for the machine may be away in one.
    let rounds: Vec<_> = (0..5).map(|_| (late(true), late(false))).collect();
    let soon = rounds.iter().any(|(pinned, free)| *pinned < 2 * *free + MS);
    assert!(soon, "{rounds:?}");
}

#[test]
fn the_same_where_everybody_is_pinned() {
    scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
