//! Programs in hard circumstances: forked, without threads, without a stderr.
//! `hard_times ROLE`, run by `hard_times.rs` among the tests.

use goweft::sync::{Mutex, RwLock};
use goweft::{Config, blocking, channel, run, runtime, spawn, time};
use goweft_tests::confined;
use goweft_tests::pressure::{taken, wait_until};
use goweft_tests::sys::{
    StderrTap, cpu_time, gettid, name_of_thread, sleeps_of_thread, state_of_thread, threads,
};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Forks; the child does `work` and must not come back from it.
fn fork(work: fn()) {
    run(|| ());
    // SAFETY: the child calls `work`, which the test expects to end it.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        work();
        println!("the child went on");
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: `pid` is our child.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    println!("signal {}", libc::WTERMSIG(status));
}

fn forked() {
    fork(|| run(|| ()));
    fork(|| {
        let (_tx, rx) = channel::bounded::<()>(0);
        let _ = rx.recv();
    });
}

/// Work waits beside an idle processor, and no thread can be had for it.
fn refused() {
    Config::new().max_threads(1).maxprocs(2).install().unwrap();
    run(|| {
        let waiting: Vec<_> = (0..4).map(|_| spawn(|| ())).collect();
        let before = cpu_time();
        blocking(|| thread::sleep(Duration::from_secs(1)));
        println!("{}", (cpu_time() - before).as_millis());
        for w in waiting {
            w.join().unwrap();
        }
    });
}

/// The same with a closed pipe as stderr.
fn stderr_gone() {
    // SAFETY: `ends` has room for two descriptors; they and stderr are ours.
    unsafe {
        let mut ends = [0; 2];
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        assert_eq!(libc::dup2(ends[1], libc::STDERR_FILENO), 2);
        libc::close(ends[0]);
    }
    refused();
    for _ in 0..100 {
        run(|| {
            for h in (0..4).map(|_| spawn(|| ())).collect::<Vec<_>>() {
                h.join().unwrap();
            }
        });
    }
    println!("goes on");
}

/// A burst of goroutines, and then nothing.
fn burst() {
    let (tx, rx) = channel::bounded::<()>(0);
    let all: Vec<_> = (0..2_000)
        .map(|_| {
            let rx = rx.clone();
            spawn(move || rx.recv().is_err())
        })
        .collect();
    drop(tx);
    assert!(all.into_iter().all(|h| h.join().unwrap()));
    let warm = || {
        let s = runtime::metrics().stacks;
        s.free - s.cold
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    // 64 MiB of them stay.
    while warm() > 256 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    println!("warm {}", warm());
}

/// As many threads as there may be: one blocks, another makes calls all the time. Who waits for a
/// turn comes from outside, or stood in the queue of the processor of the one that blocks, as
/// `block` does.
fn capped(queued: bool, block: fn(Box<dyn FnOnce()>)) {
    Config::new().max_threads(2).maxprocs(2).install().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (held, release) = mpsc::channel::<()>();
    let (blocks, is_blocked) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let waits = move || done.send(()).unwrap();
    let (go, may_go) = channel::bounded(0);
    let (waits, queued) = if queued {
        (None, Some(waits))
    } else {
        (Some(waits), None)
    };
    spawn(move || {
        may_go.recv().unwrap();
        queued.map(spawn);
        block(Box::new(move || {
            blocks.send(()).unwrap();
            release.recv().unwrap_err();
        }))
    });
    let (calls, has_called) = mpsc::sync_channel(1);
    let stopped = stop.clone();
    spawn(move || {
        // There is room always: it never parks.
        let (tx, rx) = channel::bounded(1);
        while !stopped.load(Ordering::Relaxed) {
            tx.send(()).unwrap();
            rx.recv().unwrap();
            let _ = calls.try_send(());
        }
    });
    has_called.recv().unwrap();
    // The number of threads is what it will be.
    while runtime::metrics().threads < 2 {
        thread::yield_now();
    }
    go.send(()).unwrap();
    is_blocked.recv().unwrap();
    waits.map(spawn);
    is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    stop.store(true, Ordering::Relaxed);
    drop(held);
    println!("has run");
}

/// On the only thread there may be each goroutine begins the next one, and lends its processor.
fn capped_beside_a_chain() {
    fn next(stop: Arc<AtomicBool>, calls: u32, most: mpsc::Sender<u32>) {
        if stop.load(Ordering::Relaxed) {
            return most.send(calls).unwrap();
        }
        spawn(move || next(stop, calls + 1, most));
        blocking(|| thread::sleep(Duration::from_millis(1)));
    }
    Config::new().max_threads(1).maxprocs(1).install().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (done, is_done) = mpsc::channel();
    spawn({
        let stop = stop.clone();
        move || {
            begun.send(()).unwrap();
            next(stop, 0, done);
        }
    });
    has_begun.recv().unwrap();
    let (late, waited) = mpsc::channel();
    let since = Instant::now();
    spawn(move || {
        stop.store(true, Ordering::Relaxed);
        late.send(since.elapsed()).unwrap();
    });
    let waited = waited.recv_timeout(Duration::from_secs(60)).unwrap();
    let calls = is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(calls < 1_000, "{calls} went before it in {waited:?}");
    println!("has run");
}

/// The only thread there may be lends its processor all the time: nobody comes for what is queued.
fn capped_to_one() {
    Config::new().max_threads(1).maxprocs(1).install().unwrap();
    let (done, is_done) = mpsc::channel();
    let lends = spawn(move || {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        spawn(move || stop.store(true, Ordering::Relaxed));
        let mut calls = 0;
        while !stopped.load(Ordering::Relaxed) {
            blocking(|| thread::sleep(Duration::from_millis(1)));
            calls += 1;
        }
        done.send(calls).unwrap();
    });
    let calls: u32 = is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    lends.join().unwrap();
    // Ten of them are a slice.
    assert!(calls < 100, "{calls} calls");
    println!("has run");
}

/// How many bytes of address space this process has.
fn address_space() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
    // SAFETY: it only looks.
    pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64
}

fn limit_address_space(soft: Option<u64>) {
    // SAFETY: an rlimit is valid when zeroed, and the calls write and read one.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limit), 0);
        limit.rlim_cur = soft.unwrap_or(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
    }
}

/// Whether there is room for a thread's stack all the same: an emulator does not enforce the
/// limit.
fn is_generous() -> bool {
    // SAFETY: a fresh mapping, given back at once.
    unsafe {
        let (size, flags) = (256 << 10, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let p = libc::mmap(std::ptr::null_mut(), size, libc::PROT_READ, flags, -1, 0);
        p != libc::MAP_FAILED && libc::munmap(p, size) == 0
    }
}

/// Whether all threads of this process sleep but the one that asks.
fn all_others_sleep() -> bool {
    let sleeps = |&tid: &i32| tid == gettid() || state_of_thread(tid) == Some('S');
    threads().unwrap().iter().all(sleeps)
}

/// Until no thread is on its way: neither at its start nor about to be made.
fn until_all_threads_rest() {
    // Twice: whoever is looked at first may be woken by another while the others are looked at.
    let rest = || {
        let now = runtime::metrics();
        now.idle_threads == now.threads && all_others_sleep()
    };
    while !(rest() && rest()) {
        thread::yield_now();
    }
}

/// All threads block, and another cannot be had at that moment. A timer that is set when
/// one could be had again.
fn refused_for_a_while() {
    Config::new().maxprocs(1).install().unwrap();
    run(|| ());
    let mut told = StderrTap::begin();
    // One that has a stack already, but no more than that, would end the process.
    until_all_threads_rest();
    // Too little for a thread's stack.
    limit_address_space(Some(address_space() + (100 << 10)));
    if is_generous() {
        return println!("has fired");
    }
    let mut held = Vec::new();
    for _ in 0..runtime::metrics().threads {
        let (hold, release) = mpsc::channel::<()>();
        let (blocks, is_blocked) = mpsc::channel();
        held.push(hold);
        spawn(move || {
            blocking(|| {
                blocks.send(()).unwrap();
                release.recv().unwrap_err()
            })
        });
        is_blocked.recv().unwrap();
    }
    let line = told.line();
    if !line.contains("the system refuses another thread") {
        return println!("{line}");
    }
    while runtime::metrics().idle_procs != 1 {
        thread::yield_now();
    }
    limit_address_space(None);
    let (fire, fired) = mpsc::channel();
    let _timer = time::after_func(Duration::from_millis(1), move || fire.send(()).unwrap());
    fired.recv_timeout(Duration::from_secs(60)).unwrap();
    drop(held);
    println!("has fired");
}

/// The number of the monitor's thread, which gives itself its name when it begins.
fn monitor() -> i32 {
    loop {
        let is_monitor = |&tid: &i32| name_of_thread(tid).as_deref() == Some("goweft-monitor");
        if let Some(tid) = threads().unwrap().into_iter().find(is_monitor) {
            return tid;
        }
        thread::yield_now();
    }
}

/// Starts, and puts up a sandbox after that. False: there can be none here.
fn refuse_membarrier_too_late() -> bool {
    Config::new().maxprocs(1).install().unwrap();
    run(|| ());
    match confined::refuse_membarrier() {
        Ok(()) => true,
        Err(e) => {
            println!("left out: {e}");
            false
        }
    }
}

/// Nobody loses the processor, whether it blocks or computes.
fn membarrier_is_refused() {
    if !refuse_membarrier_too_late() {
        return;
    }
    let monitor = monitor();
    let before = taken();
    let blocks = |release: mpsc::Receiver<()>| _ = release.recv();
    let computes = |release: mpsc::Receiver<()>| {
        while release.try_recv() == Err(mpsc::TryRecvError::Empty) {
            spin_loop();
        }
    };
    let ways: [fn(mpsc::Receiver<()>); 2] = [blocks, computes];
    for holds_it in ways {
        let (hold, release) = mpsc::channel();
        let (begins, has_begun) = mpsc::channel();
        let holder = spawn(move || {
            begins.send(()).unwrap();
            holds_it(release);
        });
        has_begun.recv().unwrap();
        let waiting = spawn(|| ());
        let looks = sleeps_of_thread(monitor);
        // That many looks, at least.
        wait_until("the monitor looks", || {
            sleeps_of_thread(monitor) >= looks + 50
        });
        assert!(!waiting.is_finished());
        drop(hold);
        holder.join().unwrap();
        waiting.join().unwrap();
    }
    assert_eq!(taken(), before);
    println!("nothing was taken");
}

/// Two threads, which are no goroutines, want a lock.
fn membarrier_is_refused_to_a_mutex() {
    if refuse_membarrier_too_late() {
        let lock = Mutex::new(());
        // From some time on it counts on nobody else's coming.
        (0..10_000).for_each(|_| drop(lock.lock()));
        let _guard = lock.lock();
        thread::scope(|s| s.spawn(|| drop(lock.lock())).join().unwrap());
    }
}

/// A lock is written after many have read.
fn membarrier_is_refused_to_a_rwlock() {
    if refuse_membarrier_too_late() {
        let lock = RwLock::new(());
        (0..10_000).for_each(|_| drop(lock.read()));
        drop(lock.write());
        println!("written");
    }
}

fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "forked" => forked(),
        "refused" => refused(),
        "stderr_gone" => stderr_gone(),
        "burst" => burst(),
        "capped" => capped(false, blocking),
        "capped_and_queued" => capped(true, blocking),
        "capped_and_queued_raw" => capped(true, |f| f()),
        "capped_beside_a_chain" => capped_beside_a_chain(),
        "capped_to_one" => capped_to_one(),
        "refused_for_a_while" => refused_for_a_while(),
        "membarrier_is_refused" => membarrier_is_refused(),
        "membarrier_is_refused_to_a_mutex" => membarrier_is_refused_to_a_mutex(),
        "membarrier_is_refused_to_a_rwlock" => membarrier_is_refused_to_a_rwlock(),
        role => panic!("no role {role:?}"),
    }
}
