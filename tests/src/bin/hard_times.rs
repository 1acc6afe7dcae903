//! Programs in hard circumstances: forked, without threads, without a stderr.
//! `hard_times ROLE`, run by `hard_times.rs` among the tests.

use goweft::{Config, blocking, channel, run, runtime, spawn};
use std::thread;
use std::time::{Duration, Instant};

/// CPU time of the process.
fn cpu() -> Duration {
    // SAFETY: a timespec is valid when zeroed, and the call writes one.
    let t = unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut t);
        t
    };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

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
        let before = cpu();
        blocking(|| thread::sleep(Duration::from_secs(1)));
        println!("{}", (cpu() - before).as_millis());
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

fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "forked" => forked(),
        "refused" => refused(),
        "stderr_gone" => stderr_gone(),
        "burst" => burst(),
        role => panic!("no role {role:?}"),
    }
}
