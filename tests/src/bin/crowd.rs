//! More goroutines that compute than threads can be had for, or as many: `crowd ROLE`, run by
//! `preempt_crowd.rs` among the tests.

use goweft::{Config, blocking, runtime, spawn};
use goweft_tests::pressure::{Hogs, SLICE, run_beside, wait_until};
use goweft_tests::sys::{StderrTap, is_emulated};
use std::hint::spin_loop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Instant;

/// Hogs of which there are too many.
const MANY: usize = 60;

fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    let number = line.and_then(|l| l.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).expect("a number")
}

/// KiB of memory, and of page tables.
fn memory() -> (u64, u64) {
    (status("VmRSS"), status("VmPTE"))
}

fn start(procs: usize, max_threads: usize) {
    let config = Config::new().time_slice(SLICE).maxprocs(procs);
    config.max_threads(max_threads).install().unwrap();
    goweft::run(|| ());
}

/// So many threads without a processor begin to compute at the same moment.
fn begin_at_once(n: usize) {
    start(2, n + 100);
    let before = memory();
    let stop = Arc::new(AtomicBool::new(false));
    let arrived = Arc::new(AtomicUsize::new(0));
    // Held until all may begin.
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap();
    let started = Instant::now();
    let hogs: Vec<_> = (0..n)
        .map(|_| {
            let (arrived, gate, stop) = (arrived.clone(), gate.clone(), stop.clone());
            spawn(move || {
                // In here it has given its processor away.
                blocking(|| {
                    arrived.fetch_add(1, Ordering::Relaxed);
                    drop(gate.read());
                    while !stop.load(Ordering::Relaxed) {
                        spin_loop();
                    }
                })
            })
        })
        .collect();
    wait_until("each has a thread", || arrived.load(Ordering::Relaxed) == n);
    eprintln!("{n} threads after {:?}", started.elapsed());
    drop(closed);
    // All but those that have been given a processor, and the next ones.
    wait_until("they are stopped", || {
        runtime::metrics().preempted_threads >= n - 8
    });
    eprintln!("all are stopped after {:?}", started.elapsed());
    let after = memory();
    println!("threads {}", runtime::metrics().threads);
    println!("KiB {}", after.0 - before.0);
    println!("page tables {}", after.1 - before.1);
    // Others go on meanwhile.
    assert_eq!(run_beside(|| 42), 42);
    stop.store(true, Ordering::Relaxed);
    for h in hogs {
        h.join().unwrap();
    }
    eprintln!("all have ended after {:?}", started.elapsed());
}

/// Those that have begun take turns, and no more than that begin: until nobody new has in five
/// rounds.
fn take_turns(hogs: &Hogs, most: usize) {
    wait_until("hogs have begun", || hogs.begun() > 2);
    let mut rounds = 0;
    while rounds < 5 {
        let begun = hogs.begun();
        hogs.wait_for_turns_of_begun();
        let threads = runtime::metrics().threads;
        assert!(threads <= most, "{threads} threads");
        assert!(begun <= hogs.begun() && hogs.begun() <= most);
        rounds = if hogs.begun() == begun { rounds + 1 } else { 0 };
    }
}

/// Up to the cap of the program's own.
fn capped() {
    const CAP: usize = 12;
    start(2, CAP);
    let hogs = Hogs::launch(MANY);
    // A machine that is busy makes threads slowly.
    wait_until("the cap is reached", || hogs.begun() == CAP);
    take_turns(&hogs, CAP);
    println!("{} of {MANY} had begun", hogs.begun());
    // Once they may end, the others have their turn.
    drop(hogs);
}

fn set_limit(n: u64) {
    // SAFETY: a limit of our own.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NPROC, &mut limit), 0);
        limit.rlim_cur = n.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &limit), 0);
    }
}

/// Threads of all processes of this user.
fn threads_of_user(uid: u32) -> u64 {
    let mut threads = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        // A process may end while it is looked at.
        let Ok(text) = std::fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let of = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name));
            line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        };
        if of("Uid:") == Some(u64::from(uid)) {
            threads += of("Threads:").unwrap_or(0);
        }
    }
    threads
}

/// The system refuses threads for a while.
fn refused() {
    const ROOM: u64 = 12;
    // SAFETY: no memory is involved.
    let uid = unsafe {
        // Nobody else's: the limit counts all threads of a user, and none of root's.
        if libc::getuid() == 0 {
            assert_eq!(libc::setgid(54_321), 0);
            assert_eq!(libc::setuid(54_321), 0);
        }
        libc::getuid()
    };
    set_limit(threads_of_user(uid) + ROOM);
    // An emulator's first thread stays another user's, and so do those that it makes.
    let most = if is_emulated() {
        MANY - 1
    } else {
        ROOM as usize
    };
    refused_until(most, || set_limit(u64::MAX));
}

/// The same by a group of processes that may have so many threads: the one in the folder
/// `CROWD_GROUP`, which this one enters.
fn refused_by_group() {
    const MOST: usize = 12;
    let group = PathBuf::from(std::env::var_os("CROWD_GROUP").unwrap());
    let set = |file: &str, value: &str| std::fs::write(group.join(file), value);
    if let Err(e) = set("cgroup.procs", "0") {
        return println!("left out: the group cannot be entered: {e}");
    }
    set("pids.max", &MOST.to_string()).unwrap();
    refused_until(MOST, || set("pids.max", "max").unwrap());
}

/// While the system refuses threads those that there are, `most` or fewer, take turns; when it has
/// been had to `allow` more, the others begin.
fn refused_until(most: usize, allow: impl FnOnce()) {
    let mut told = StderrTap::begin();
    start(2, 10_000);
    let hogs = Hogs::launch(MANY);
    // Not before somebody was refused: a machine that is busy makes threads slowly.
    let refusal = told.line();
    drop(told);
    eprintln!("{refusal}");
    take_turns(&hogs, most);
    println!("{} of {MANY} had begun", hogs.begun());
    allow();
    wait_until("threads are asked for again", || hogs.begun() == MANY);
    println!("then all");
    drop(hogs);
}

fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "begin_at_once" => {
            let n = std::env::var("CROWD").unwrap();
            begin_at_once(n.parse().unwrap());
        }
        "capped" => capped(),
        "refused" => refused(),
        "refused_by_group" => refused_by_group(),
        role => panic!("no role {role:?}"),
    }
    assert_eq!(runtime::metrics().rescues, 0);
}
