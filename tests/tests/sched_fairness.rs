//! Nobody waits for ever: behind goroutines that wake each other, behind one
//! that never parks, on a processor that had to stop.
//!
//! What must happen ends each test; the deadline only turns a hang into a
//! failure.

use goweft::{channel, io, run, runtime, spawn, task};
use std::hint::spin_loop;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// Tests here change the number of processors, which is the process's.
struct Procs(usize, #[expect(dead_code)] MutexGuard<'static, ()>);

impl Procs {
    fn set(n: usize) -> Procs {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
        Procs(runtime::set_maxprocs(n), alone)
    }
}

impl Drop for Procs {
    fn drop(&mut self) {
        runtime::set_maxprocs(self.0);
    }
}

/// Two goroutines that wake each other until `done` or the deadline. True: it was
/// `done`.
fn wake_each_other_until(done: &Arc<AtomicBool>) -> bool {
    let (ping, pinged) = channel::bounded(0);
    let (pong, ponged) = channel::bounded(0);
    let done = done.clone();
    let begin = Instant::now();
    let first = spawn(move || {
        while !done.load(Ordering::Relaxed) {
            if begin.elapsed() > DEADLINE || ping.send(()).is_err() || ponged.recv().is_err() {
                return false;
            }
        }
        true
    });
    for () in pinged {
        pong.send(()).unwrap();
    }
    first.join().unwrap()
}

#[test]
fn a_chain_of_wakers_leaves_the_queue_its_turns() {
    let _procs = Procs::set(1);
    run(|| {
        let done = Arc::new(AtomicBool::new(false));
        let third = {
            let done = done.clone();
            spawn(move || {
                for _ in 0..1_000 {
                    task::yield_now();
                }
                done.store(true, Ordering::Relaxed);
            })
        };
        assert!(wake_each_other_until(&done), "the third one starved");
        third.join().unwrap();
    });
}

#[test]
fn a_chain_of_wakers_leaves_a_sleeper_its_turn() {
    for procs in [1, 2] {
        let _procs = Procs::set(procs);
        run(|| {
            let done = Arc::new(AtomicBool::new(false));
            let sleeper = {
                let done = done.clone();
                spawn(move || {
                    task::sleep(Duration::from_millis(5));
                    done.store(true, Ordering::Relaxed);
                })
            };
            assert!(wake_each_other_until(&done), "the sleeper starved");
            sleeper.join().unwrap();
        });
    }
}

/// Whoever polls has no processor: all are busy with what a thread has spawned.
#[test]
fn what_the_netpoll_wakes_does_not_wait_behind_those_that_have_not_begun() {
    // Each takes a millisecond; and a machine that is busy may be away for hundreds of those.
    const MANY: usize = 2_000;
    const EARLY: usize = MANY / 2;
    let _procs = Procs::set(1);
    // Two threads, one of which then polls.
    let both = Arc::new(Barrier::new(2));
    let waits = [both.clone(), both].map(|both| spawn(move || goweft::blocking(|| both.wait())));
    for wait in waits {
        wait.join().unwrap();
    }
    let begun = Arc::new(AtomicUsize::new(0));
    let (mut there, mut here) = io::pipe().unwrap();
    let reader = spawn({
        let begun = begun.clone();
        move || {
            there.read_exact(&mut [0]).unwrap();
            begun.load(Ordering::Relaxed)
        }
    });
    let begin = Instant::now();
    let rest = || {
        let now = runtime::metrics();
        now.idle_procs == 1 && now.idle_threads >= 2
    };
    while !rest() {
        assert!(
            begin.elapsed() < DEADLINE,
            "it waits in the netpoll, beside a spare thread"
        );
        std::thread::yield_now();
    }
    let stop = Arc::new(AtomicBool::new(false));
    for _ in 0..MANY {
        let (begun, stop) = (begun.clone(), stop.clone());
        spawn(move || {
            begun.fetch_add(1, Ordering::Relaxed);
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(1) && !stop.load(Ordering::Relaxed) {
                spin_loop();
            }
        });
    }
    let before = begun.load(Ordering::Relaxed);
    here.write_all(&[1]).unwrap();
    let since = reader.join().unwrap().saturating_sub(before);
    stop.store(true, Ordering::Relaxed);
    assert!(
        since < EARLY,
        "{since} of those that were spawned went before"
    );
}

/// Those that give way for one that was woken do not do so again for nobody: that would go on for
/// as long as they wait for each other.
#[test]
fn one_wake_up_leaves_the_others_their_slices() {
    const CALLERS: usize = 4;
    let _procs = Procs::set(2);
    let stop = Arc::new(AtomicBool::new(false));
    let turns: Arc<[AtomicU64; CALLERS]> = Arc::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|i| {
            let (stop, turns) = (stop.clone(), turns.clone());
            spawn(move || {
                // It calls all the time, and never waits.
                let (tx, rx) = channel::bounded(1);
                while !stop.load(Ordering::Relaxed) {
                    tx.send(()).unwrap();
                    rx.recv().unwrap();
                    turns[i].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let begin = Instant::now();
    let all_have_had_turns = |before: [u64; CALLERS]| {
        while turns
            .iter()
            .zip(before)
            .any(|(n, before)| n.load(Ordering::Relaxed) <= before)
        {
            assert!(begin.elapsed() < DEADLINE, "one of them waits for ever");
            std::thread::yield_now();
        }
    };
    all_have_had_turns([0; CALLERS]);
    for _ in 0..3 {
        spawn(|| task::sleep(Duration::from_millis(1)))
            .join()
            .unwrap();
        let (since, before) = (Instant::now(), runtime::metrics().yields);
        while since.elapsed() < Duration::from_millis(100) {
            all_have_had_turns(std::array::from_fn(|i| turns[i].load(Ordering::Relaxed)));
        }
        let yields = runtime::metrics().yields - before;
        let slices = since.elapsed().as_millis() as u64 / 10;
        println!("{yields} yields in {slices} slices");
        assert!(
            yields <= 20 * (slices + 1),
            "{yields} yields in {slices} slices"
        );
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
}

/// `call` in a loop by two goroutines on one processor, until both have come to
/// it again after the other did, `turns` times.
fn take_turns(call: fn()) {
    const TURNS: u64 = 5;
    let _procs = Procs::set(1);
    let last = Arc::new(AtomicU64::new(0));
    let turns = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let callers: Vec<_> = (1..=2)
        .map(|me| {
            let (last, turns) = (last.clone(), turns.clone());
            spawn(move || {
                while turns.load(Ordering::Relaxed) < 2 * TURNS && begin.elapsed() < DEADLINE {
                    call();
                    if last.swap(me, Ordering::Relaxed) != me {
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|c| c.join().unwrap());
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns >= 2 * TURNS, "only {turns} changes of turns");
}

type Ends = (channel::Sender<()>, channel::Receiver<()>);

#[test]
fn callers_that_never_park_take_turns() {
    static NOBODY: LazyLock<Ends> = LazyLock::new(|| channel::bounded(0));
    take_turns(|| assert!(NOBODY.0.try_send(()).is_err()));
}

#[test]
fn callers_of_set_maxprocs_take_turns() {
    take_turns(|| {
        runtime::set_maxprocs(1);
    });
}

/// They never compute at once any more, though neither parks.
#[test]
fn a_shrink_ends_beside_goroutines_that_never_park() {
    let _procs = Procs::set(2);
    // How many compute, how many changes of turns since two last did, and who came last.
    let state = Arc::new((AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)));
    let callers: Vec<_> = (1..=2)
        .map(|me| {
            let state = state.clone();
            spawn(move || {
                let (computing, turns, last) = &*state;
                let (_tx, rx) = channel::bounded::<()>(0);
                let begin = Instant::now();
                while turns.load(Ordering::Relaxed) < 10 && begin.elapsed() < DEADLINE {
                    computing.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..100 {
                        std::hint::spin_loop();
                    }
                    if computing.fetch_sub(1, Ordering::Relaxed) == 2 {
                        turns.store(0, Ordering::Relaxed);
                    } else if last.swap(me, Ordering::Relaxed) != me {
                        turns.fetch_add(1, Ordering::Relaxed);
                    }
                    // Where it may have to give way.
                    assert!(rx.try_recv().is_err());
                }
            })
        })
        .collect();
    runtime::set_maxprocs(1);
    callers.into_iter().for_each(|c| c.join().unwrap());
    let turns = state.1.load(Ordering::Relaxed);
    assert!(turns >= 10, "two still compute at once");
}

/// Two goroutines compute, one on each processor, each with five others in its queue;
/// then one processor has to stop. When the goroutine on the other one ends, all
/// ten must run there while the first one computes on. Which is where is not
/// known, so they take turns at ending first.
#[test]
fn work_left_on_a_stopped_processor_is_taken_while_its_thread_computes() {
    let _procs = Procs::set(2);
    let taken = (0..20).any(|round| {
        runtime::set_maxprocs(2);
        let state = Arc::new((AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false)));
        let computing: Vec<_> = (0..2)
            .map(|me| {
                let state = state.clone();
                spawn(move || {
                    let (ready, ran, stopped) = &*state;
                    let others: Vec<_> = (0..5)
                        .map(|_| {
                            let state = state.clone();
                            spawn(move || state.1.fetch_add(1, Ordering::Relaxed))
                        })
                        .collect();
                    ready.fetch_add(1, Ordering::Relaxed);
                    while !stopped.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                    let begin = Instant::now();
                    let all_ran = || ran.load(Ordering::Relaxed) == 10;
                    while me == round % 2 && !all_ran() && begin.elapsed() < PATIENCE {
                        std::hint::spin_loop();
                    }
                    let taken = me == round % 2 && all_ran();
                    (taken, others)
                })
            })
            .collect();
        // Where all are pinned one that gives way before it is ready may live on the thread on
        // which the other one computes, and then it waits for that one's end: such a round does not
        // count.
        let begin = Instant::now();
        let both_are_ready = || state.0.load(Ordering::Relaxed) == 2;
        while !both_are_ready() && begin.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        let counts = both_are_ready();
        runtime::set_maxprocs(1);
        state.2.store(true, Ordering::Relaxed);
        let mut taken = false;
        for c in computing {
            let (all, others) = c.join().unwrap();
            taken |= all;
            for o in others {
                o.join().unwrap();
            }
        }
        taken && counts
    });
    assert!(taken, "nobody took what the computing thread left");
}

/// How long a round computes in which the wrong one ended first.
const PATIENCE: Duration = Duration::from_millis(500);

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
