//! A machine that has no time for us (S6): others on the same CPUs, a stopped process, a quota.
//! What the OS keeps waiting is not taken for something that blocks, nor for something stuck.

use crate::is_slow;
use goweft_tests::group::Group;
use goweft_tests::scenario::Ran;
use goweft_tests::sys::unless_the_host_takes_time;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How many of them share the CPUs.
const PROCESSES: usize = 8;

/// A process that computes on two processors (`busy` of the program `contended`).
struct Busy(Child);

impl Busy {
    fn start(seconds: u64) -> Busy {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contended"));
        command
            .arg(seconds.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Busy(command.spawn().expect("the program starts"))
    }

    /// It waits until it is told, so that it can be put into a group of processes before.
    fn go(&mut self) {
        drop(self.0.stdin.take());
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: our own child, which nobody has waited for.
        unsafe { libc::kill(self.0.id() as libc::pid_t, signal) };
    }

    /// It ends by itself; what it took, in its own words.
    fn end(mut self) -> Ran {
        let deadline = Instant::now() + Duration::from_secs(120);
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it hangs");
            sleep(Duration::from_millis(5));
        };
        let mut out = String::new();
        let mut pipe = self.0.stdout.take().unwrap();
        pipe.read_to_string(&mut out).unwrap();
        Ran {
            status,
            out,
            err: String::new(),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// They computed and gave way when they were asked; how often a processor was taken from one
/// nevertheless.
#[track_caller]
fn taken(ran: Ran) -> u64 {
    assert!(ran.status.success(), "{ran:?}");
    println!("{}", ran.out.trim());
    let number = |name: &str| -> u64 {
        let (_, rest) = ran.out.split_once(name).expect("it tells");
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    assert_eq!(number("rescues "), 0, "{ran:?}");
    assert!(number("turns ") > 0, "{ran:?}");
    // With delays Ps are taken at any time; an emulator's threads have system calls of their own;
    // AddressSanitizer makes a turn take many times as long.
    if is_slow() {
        return 0;
    }
    number("computing ") + number("blocked ")
}

fn seconds() -> u64 {
    crate::how_long().as_secs().clamp(2, 20)
}

#[test]
fn threads_that_share_their_cpu_with_seven_others_are_not_taken_for_blocked_or_stuck() {
    unless_the_host_takes_time(|| {
        let mut all: Vec<_> = (0..PROCESSES).map(|_| Busy::start(seconds())).collect();
        all.iter_mut().for_each(Busy::go);
        all.into_iter().map(Busy::end).map(taken).sum()
    });
}

#[test]
fn a_process_that_is_stopped_and_continued_goes_on_as_if_nothing_had_been() {
    unless_the_host_takes_time(|| {
        let mut busy = Busy::start(seconds());
        busy.go();
        let end = Instant::now() + Duration::from_secs(seconds()) / 2;
        while Instant::now() < end {
            busy.signal(libc::SIGSTOP);
            sleep(Duration::from_millis(25));
            busy.signal(libc::SIGCONT);
            sleep(Duration::from_millis(15));
        }
        taken(busy.end())
    });
}

#[test]
fn a_quota_of_a_fifth_of_a_cpu_takes_nothing_from_anybody() {
    let period = Duration::from_millis(100);
    let Some(group) = Group::with_quota(period / 5, period) else {
        println!("left out: this process may not make a cgroup");
        return;
    };
    unless_the_host_takes_time(|| {
        let mut busy = Busy::start(seconds());
        if !group.take_in(busy.0.id()) {
            println!("left out: this process may not put another into a cgroup");
            return 0;
        }
        busy.go();
        taken(busy.end())
    });
}
