//! Threads and processes that begin and end while their parents are preempted.

use goweft::{JoinHandle, spawn};
use goweft_tests::pressure::{Hogs, SLICE, alone, run_beside, wait_until};
use goweft_tests::sys;
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How often threads were stopped in `compute`.
static STOPPED: AtomicU64 = AtomicU64::new(0);

/// Takes some slices, now more and now fewer: the signal goes to threads that compute for
/// longer than five of these.
fn compute(n: u64) {
    let before = sys::sleeps_of_this_thread();
    let end = sys::cpu_time_of_this_thread() + SLICE * (2 * n % 16) as u32;
    while sys::cpu_time_of_this_thread() < end {
        (0..10_000).for_each(|i| _ = black_box(i));
    }
    let stopped = sys::sleeps_of_this_thread() - before;
    STOPPED.fetch_add(stopped, Ordering::Relaxed);
}

/// Four goroutines do `turn` again and again beside hogs on two processors, each
/// `least` times at least and all of them until they were stopped often.
fn again_and_again(least: u64, turn: impl Fn(u64) + Clone + Send + 'static) {
    let _alone = alone(2);
    STOPPED.store(0, Ordering::Relaxed);
    let hogs = Hogs::start(3);
    let stop = Arc::new(AtomicBool::new(false));
    let turns: Arc<Vec<AtomicU64>> = Arc::new((0..4).map(|_| AtomicU64::new(0)).collect());
    let workers: Vec<JoinHandle<()>> = (0..4)
        .map(|i| {
            let (stop, turns, turn) = (stop.clone(), turns.clone(), turn.clone());
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    turn(turns[i].load(Ordering::Relaxed));
                    turns[i].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    wait_until("all get on, and are stopped", || {
        let enough = |t: &AtomicU64| t.load(Ordering::Relaxed) >= least;
        turns.iter().all(enough) && STOPPED.load(Ordering::Relaxed) > 50
            || workers.iter().any(JoinHandle::is_finished)
    });
    stop.store(true, Ordering::Relaxed);
    for w in workers {
        w.join().unwrap();
    }
    drop(hogs);
}

#[test]
fn threads_begin_and_end() {
    again_and_again(50, |n| {
        let thread = std::thread::spawn(move || {
            compute(n);
            n + 1
        });
        compute(n);
        assert_eq!(thread.join().unwrap(), n + 1);
    });
}

#[test]
fn threads_with_thread_locals_and_goroutines_of_their_own_end() {
    struct Counts(&'static AtomicU64);
    impl Drop for Counts {
        fn drop(&mut self) {
            compute(3);
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    static ENDED: AtomicU64 = AtomicU64::new(0);
    thread_local!(static LAST: Counts = const { Counts(&ENDED) });
    let made = Arc::new(AtomicU64::new(0));
    let count = made.clone();
    again_and_again(20, move |n| {
        count.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::spawn(move || {
            LAST.with(|_| compute(n));
            spawn(move || n + 1).join().unwrap()
        });
        compute(n);
        assert_eq!(thread.join().unwrap(), n + 1);
    });
    assert_eq!(ENDED.load(Ordering::Relaxed), made.load(Ordering::Relaxed));
}

#[test]
fn processes_are_spawned() {
    again_and_again(10, |n| {
        compute(n);
        let out = Command::new("echo").arg(n.to_string()).output().unwrap();
        assert!(out.status.success());
        assert_eq!(out.stdout, format!("{n}\n").into_bytes());
    });
}

/// With code to run before it, `Command` forks; without, it makes a child that shares its
/// memory until it executes.
#[test]
fn processes_are_forked_and_executed() {
    again_and_again(10, |n| {
        compute(n);
        let mut command = Command::new("sh");
        command.args(["-c", "echo $0", &n.to_string()]);
        // SAFETY: it does nothing.
        unsafe { command.pre_exec(|| Ok(())) };
        let out = command.output().unwrap();
        assert!(out.status.success());
        assert_eq!(out.stdout, format!("{n}\n").into_bytes());
    });
}

/// How `pid`, a child of ours, ended.
fn reap(pid: c_int) -> c_int {
    let mut status = 0;
    // SAFETY: one of our children, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "{status:x}");
    libc::WEXITSTATUS(status)
}

#[test]
fn forked_children_compute_and_end() {
    again_and_again(50, |n| {
        compute(n);
        // SAFETY: the child only computes and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            compute(n);
            // SAFETY: it ends here.
            unsafe { libc::_exit((n % 100) as c_int) };
        }
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        assert_eq!(reap(pid), (n % 100) as c_int);
    });
}

/// A child of vfork has its parent's memory and thread-locals, and a thread number
/// of its own; its parent waits in the kernel for it.
#[test]
fn children_that_share_memory_compute_and_end() {
    extern "C" fn child(n: *mut c_void) -> c_int {
        let n = n.addr() as u64;
        compute(n);
        // Does not return, for its thread would end as one of many: to qemu-user the child is a
        // fork, whose copy of a lock for that may be taken for good.
        // SAFETY: the child ends here.
        unsafe { libc::_exit((n % 100) as c_int) }
    }
    again_and_again(50, |n| {
        compute(n);
        let mut stack = vec![0u128; 2048];
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the child runs on a stack of its own, which lives longer: the parent waits
        // until it has ended. It touches nothing else.
        let pid = unsafe {
            let top = stack.as_mut_ptr_range().end;
            libc::clone(
                child,
                top.cast(),
                flags,
                std::ptr::without_provenance_mut(n as usize),
            )
        };
        assert!(pid > 0, "{}", std::io::Error::last_os_error());
        assert_eq!(reap(pid), (n % 100) as c_int);
    });
}

#[test]
fn a_child_is_made_while_others_are_stopped_and_they_go_on() {
    let _alone = alone(1);
    let hogs = Hogs::start(4);
    for _ in 0..20 {
        let out = run_beside(|| Command::new("true").status().unwrap());
        assert!(out.success());
        hogs.wait_for_turns();
    }
    drop(hogs);
}
