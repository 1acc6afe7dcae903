//! Preemption every 200 us, wherever it strikes: in the allocator, in `println!`, in
//! hash maps, thread-locals and panics, in a C library that locks, with locks held.

use goweft::{Config, JoinHandle, runtime, spawn, sync, task};
use goweft_tests::pressure::{Hogs, wait_until};
use goweft_tests::{scenario, sys};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hint::{black_box, spin_loop};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::time::{Duration, Instant};

const WATCHDOG: Duration = Duration::from_secs(60);
/// How long each hot loop runs.
const LONG: Duration = Duration::from_millis(400);
/// Goroutines on two processors.
const MANY: usize = 8;

fn alone(procs: usize) -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    static START: Once = Once::new();
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    START.call_once(|| {
        let config = Config::new().time_slice(Duration::from_micros(200));
        config.install().expect("the first use of the runtime");
    });
    runtime::set_maxprocs(procs);
    guard
}

/// Runs `turn`, which does not call goweft, again and again in some goroutines, on so
/// many processors, for a while. It is preempted, and all of them end.
fn hot(procs: usize, turn: impl Fn(u64) + Clone + Send + 'static) {
    let mut parked = 0;
    // On a machine that is busy with other things one run may not be long enough, and threads
    // that often wait for a lock are seldom stopped.
    for _ in 0..40 {
        parked += busy(procs, turn.clone());
        if parked > 20 {
            return;
        }
    }
    panic!("{parked} preemptions");
}

/// As `hot`, for what also gives way by itself; how many preemptions there were.
fn busy(procs: usize, turn: impl Fn(u64) + Clone + Send + 'static) -> u64 {
    let _alone = alone(procs);
    let before = runtime::metrics();
    let (tx, rx) = mpsc::channel();
    let end = Instant::now() + LONG;
    let hogs: Vec<JoinHandle<()>> = (0..MANY)
        .map(|_| {
            let (turn, tx) = (turn.clone(), tx.clone());
            spawn(move || {
                let mut n = 0;
                // Once in any case: a slow machine may not come to it before the end.
                while n == 0 || Instant::now() < end {
                    turn(n);
                    n += 1;
                }
                tx.send(()).unwrap();
            })
        })
        .collect();
    for _ in 0..MANY {
        rx.recv_timeout(WATCHDOG).expect("all end");
    }
    for hog in hogs {
        hog.join().unwrap();
    }
    let after = runtime::metrics();
    assert_eq!(after.rescues, before.rescues);
    after.preemptions - before.preemptions
}

#[test]
fn allocations() {
    for procs in [1, 2] {
        hot(procs, |n| {
            let mut kept = Vec::new();
            for i in 0..64 {
                kept.push(vec![n as u8; 1 + (n as usize * 37 + i * 131) % 5000]);
            }
            let sum: usize = black_box(&kept).iter().map(|v| usize::from(v[0])).sum();
            assert_eq!(sum, 64 * usize::from(n as u8));
        });
    }
}

#[test]
fn hash_maps_with_the_default_hasher() {
    hot(2, |n| {
        let map: HashMap<String, u64> = (n..n + 50).map(|i| (i.to_string(), i)).collect();
        for i in n..n + 50 {
            assert_eq!(map[&i.to_string()], i);
        }
    });
}

/// Eight goroutines that do nothing but `println!` leave whole lines, all of them, however often
/// they lose their processors.
#[test]
fn println() {
    for procs in ["1", "2"] {
        let program = env!("CARGO_BIN_EXE_scenario");
        let ran = scenario::run_with(program, &["println_storm", procs], &[]);
        assert!(ran.status.success(), "{ran:?}");
        let mut seen = [0; 8];
        for line in ran.out.lines() {
            let (who, n) = line.split_once(": ").expect("whole lines");
            let who: usize = who.parse().unwrap();
            assert_eq!(n.parse(), Ok(seen[who]), "each in its order");
            seen[who] += 1;
        }
        let (printed, taken) = ran.err.trim().split_once('\n').expect("two lines");
        assert_eq!(printed, format!("{seen:?}"));
        println!("on {procs}: {taken}");
    }
}

#[test]
fn thread_locals() {
    thread_local! {
        static COUNT: Cell<u64> = const { Cell::new(0) };
        static NAMES: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    hot(2, |n| {
        // A borrow over a preemption: the thread keeps its goroutine, so nobody
        // else comes to this thread meanwhile.
        NAMES.with_borrow_mut(|names| {
            names.clear();
            for i in 0..100 {
                COUNT.set(COUNT.get() + 1);
                names.push(n + i);
            }
            assert_eq!(names.len(), 100);
            assert_eq!(names[99], n + 99);
        });
    });
}

#[test]
fn panics_that_are_caught() {
    struct Sum(Arc<AtomicU64>);
    impl Drop for Sum {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = dropped.clone();
    hot(2, move |n| {
        let sum = Sum(counted.clone());
        let e = catch_unwind(AssertUnwindSafe(move || {
            let _sum = sum;
            std::panic::resume_unwind(Box::new(n));
        }))
        .unwrap_err();
        assert_eq!(*e.downcast::<u64>().unwrap(), n);
        assert!(!std::thread::panicking());
    });
    assert!(dropped.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_c_library_that_locks() {
    // setenv and getenv share glibc's lock; so do the streams of stdio.
    // SAFETY: strings that end, and no other thread of this test looks at the
    // environment while it changes: glibc's own lock is what is tested.
    hot(2, |_| unsafe {
        let stream = libc::fopen(c"/dev/null".as_ptr(), c"w".as_ptr());
        assert!(!stream.is_null());
        for _ in 0..20 {
            assert!(libc::fputs(c"a line\n".as_ptr(), stream) >= 0);
        }
        assert_eq!(libc::fclose(stream), 0);
    });
}

#[test]
fn a_spin_lock_of_the_users_own() {
    for procs in [1, 2] {
        let spin = Arc::new(AtomicBool::new(false));
        let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
        let shared = counts.clone();
        hot(procs, move |_| {
            let [count, turns] = &*shared;
            while spin.swap(true, Ordering::Acquire) {
                spin_loop();
            }
            // Not one instruction: so that it can be interrupted.
            let seen = count.load(Ordering::Relaxed);
            for _ in 0..200 {
                black_box(seen);
            }
            count.store(seen + 1, Ordering::Relaxed);
            spin.store(false, Ordering::Release);
            turns.fetch_add(1, Ordering::Relaxed);
        });
        let [count, turns] = &*counts;
        assert_eq!(count.load(Ordering::Relaxed), turns.load(Ordering::Relaxed));
    }
}

#[test]
fn a_lock_of_std() {
    for procs in [1, 2] {
        let lock = Arc::new(Mutex::new(0u64));
        let turns = Arc::new(AtomicU64::new(0));
        let (shared, all) = (lock.clone(), turns.clone());
        hot(procs, move |_| {
            let mut count = shared.lock().unwrap();
            let seen = *count;
            (0..200).for_each(|_| _ = black_box(seen));
            *count = seen + 1;
            drop(count);
            all.fetch_add(1, Ordering::Relaxed);
            // Who waits for the lock all the time is not stopped.
            (0..600).for_each(|_| _ = black_box(seen));
        });
        assert_eq!(*lock.lock().unwrap(), turns.load(Ordering::Relaxed));
    }
}

/// Four goroutines take turns with a lock, beside others that compute, and each time whoever has it
/// is stopped before it gives it up. `with` does something with the lock held.
fn holders_are_stopped(with: impl Fn(&dyn Fn()) + Clone + Send + 'static) {
    const ENOUGH: u64 = 10;
    for procs in [1, 2] {
        let _alone = alone(procs);
        let before = runtime::metrics();
        let others = Hogs::start(procs);
        let inside = Arc::new(AtomicBool::new(false));
        let all: Vec<JoinHandle<()>> = (0..4)
            .map(|_| {
                let (with, inside) = (with.clone(), inside.clone());
                let held = move || {
                    assert!(!inside.swap(true, Ordering::Relaxed));
                    let before = sys::sleeps_of_this_thread();
                    while sys::sleeps_of_this_thread() == before {
                        (0..1_000u64).for_each(|i| _ = black_box(i));
                    }
                    inside.store(false, Ordering::Relaxed);
                };
                spawn(move || (0..ENOUGH).for_each(|_| with(&held)))
            })
            .collect();
        wait_until("all have been stopped with it", || {
            all.iter().all(JoinHandle::is_finished)
        });
        all.into_iter().for_each(|h| h.join().unwrap());
        drop(others);
        let after = runtime::metrics();
        assert_eq!(after.rescues, before.rescues);
        assert!(after.preemptions >= before.preemptions + 4 * ENOUGH);
    }
}

#[test]
fn who_holds_a_spin_lock_of_the_users_own_is_stopped() {
    let lock = Arc::new(AtomicBool::new(false));
    holders_are_stopped(move |f| {
        while lock.swap(true, Ordering::Acquire) {
            spin_loop();
        }
        f();
        lock.store(false, Ordering::Release);
    });
}

#[test]
fn who_holds_a_lock_of_std_is_stopped() {
    let lock = Arc::new(Mutex::new(()));
    holders_are_stopped(move |f| {
        let _held = lock.lock().unwrap();
        f();
    });
}

#[test]
fn who_holds_a_lock_of_goweft_is_stopped() {
    let lock = Arc::new(sync::Mutex::new(()));
    holders_are_stopped(move |f| {
        let _held = lock.lock();
        f();
    });
}

/// The lock that `println!` takes.
#[test]
fn who_holds_stdout_is_stopped() {
    holders_are_stopped(|f| {
        let _held = io::stdout().lock();
        let _once_more = io::stdout().lock();
        f();
    });
}

#[test]
fn locks_of_std_and_of_goweft() {
    for procs in [1, 2] {
        let std_lock = Arc::new(Mutex::new(0u64));
        let ours = Arc::new(sync::Mutex::new(0u64));
        let (s, o) = (std_lock.clone(), ours.clone());
        let turns = Arc::new(AtomicU64::new(0));
        let count = turns.clone();
        busy(procs, move |_| {
            let mut a = s.lock().unwrap();
            let seen = *a;
            (0..100).for_each(|_| _ = black_box(seen));
            *a = seen + 1;
            drop(a);
            let mut b = o.lock();
            let seen = *b;
            (0..100).for_each(|_| _ = black_box(seen));
            *b = seen + 1;
            drop(b);
            count.fetch_add(1, Ordering::Relaxed);
        });
        let turns = turns.load(Ordering::Relaxed);
        assert_eq!(*std_lock.lock().unwrap(), turns);
        assert_eq!(*ours.lock(), turns);
    }
}

#[test]
fn spawning_parking_and_yielding() {
    busy(2, |n| {
        let h = spawn(move || n + 1);
        task::yield_now();
        assert_eq!(h.join().unwrap(), n + 1);
        if n % 100 == 0 {
            task::sleep(Duration::from_micros(50));
        }
        (0..2_000u64).for_each(|i| _ = black_box(i));
    });
}

#[test]
fn errno_is_kept() {
    hot(2, |n| {
        let number = 1 + (n % 100) as i32;
        // SAFETY: this thread's errno is always there; a goroutine stays on its
        // thread between two calls into goweft.
        unsafe { *libc::__errno_location() = number };
        (0..20_000u64).for_each(|i| _ = black_box(i));
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, number);
    });
}
