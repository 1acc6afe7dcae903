//! `signal::notify` against real signals. Each test that stays in this process
//! has a signal of its own; those that end a process end a child.

use goweft::signal::{self, Signal};
use goweft::{channel, go, select};
use signal_hook::low_level::raise;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Long enough for a signal on any machine; only a failure waits for it.
const WATCHDOG: Duration = Duration::from_secs(20);

#[goweft::test]
fn smoke() {
    let rx = signal::notify(&[Signal::SIGUSR1]).unwrap();
    raise(libc::SIGUSR1).unwrap();
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok(Signal::SIGUSR1));
    assert!(rx.is_empty());
}

#[test]
fn a_plain_thread_may_listen() {
    let rx = signal::notify(&[Signal::SIGWINCH]).unwrap();
    raise(libc::SIGWINCH).unwrap();
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok(Signal::SIGWINCH));
}

#[goweft::test]
fn every_receiver_gets_its_own_copy_of_what_it_asked_for() {
    let both = signal::notify(&[Signal::SIGUSR2, Signal::SIGHUP, Signal::SIGUSR2]).unwrap();
    let one = signal::notify(&[Signal::SIGHUP]).unwrap();
    raise(libc::SIGUSR2).unwrap();
    assert_eq!(both.recv_timeout(WATCHDOG), Ok(Signal::SIGUSR2));
    raise(libc::SIGHUP).unwrap();
    assert_eq!(
        both.recv_timeout(WATCHDOG),
        Ok(Signal::SIGHUP),
        "named twice, sent once"
    );
    assert_eq!(one.recv_timeout(WATCHDOG), Ok(Signal::SIGHUP));
    assert!(one.is_empty() && both.is_empty());
}

#[goweft::test]
fn a_receiver_that_is_full_loses_the_newest_and_blocks_nobody() {
    let full = signal::notify(&[Signal::SIGALRM]).unwrap();
    for _ in 0..100 {
        let counts = signal::notify(&[Signal::SIGALRM]).unwrap();
        raise(libc::SIGALRM).unwrap();
        assert_eq!(counts.recv_timeout(WATCHDOG), Ok(Signal::SIGALRM));
    }
    assert_eq!(full.len(), full.capacity().unwrap());
}

#[goweft::test]
fn it_goes_into_select() {
    let rx = signal::notify(&[Signal::SIGIO]).unwrap();
    let never = channel::never::<()>();
    go!(|| raise(libc::SIGIO));
    select! {
        recv(rx) -> got => assert_eq!(got, Ok(Signal::SIGIO)),
        recv(never) -> _ => unreachable!(),
        default(WATCHDOG) => panic!("no signal"),
    }
}

#[test]
fn what_cannot_be_relayed_is_refused() {
    for (signal, text) in [
        (Signal::SIGKILL, "signal: SIGKILL cannot be caught"),
        (Signal::SIGSTOP, "signal: SIGSTOP cannot be caught"),
        (
            Signal::SIGSEGV,
            "signal: SIGSEGV reports an error in the program and cannot be relayed",
        ),
        (Signal::from_raw(0), "signal: signal 0 does not exist"),
        (Signal::from_raw(999), "signal: signal 999 does not exist"),
    ] {
        let error = signal::notify(&[Signal::SIGTERM, signal]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(
        signal::notify(&[]).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

// ---- in a child -----------------------------------------------------------

const ROLE: &str = "GOWEFT_TEST_SIGNAL_ROLE";

/// This test program again, running only `child`, in a role.
struct Role {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Role {
    fn start(role: &str) -> Role {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(ROLE, role)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Role { child, out }
    }

    /// Reads until the child prints `line`; it must.
    fn expect(&mut self, line: &str) {
        let mut all = String::new();
        while !all.ends_with(&format!("{line}\n")) {
            assert_ne!(
                self.out.read_line(&mut all).unwrap(),
                0,
                "the child ended, having said: {all}"
            );
        }
    }

    fn kill(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    fn end(mut self) -> ExitStatus {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        self.child.wait().unwrap()
    }
}

/// Not a test of its own: what the children of the tests below do.
#[goweft::test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "drops the receiver" => {
            let rx = signal::notify(&[Signal::SIGTERM]).unwrap();
            println!("listening");
            println!("got {}", rx.recv().unwrap());
            drop(rx);
            println!("deaf");
            channel::never::<()>().recv().unwrap();
        }
        "computes" => {
            let rx = signal::notify(&[Signal::SIGINT]).unwrap();
            go! {
                println!("got {}", rx.recv().unwrap());
                std::process::exit(7);
            }
            println!("listening");
            while std::hint::black_box(true) {
                goweft::task::yield_now();
            }
        }
        other => panic!("no role {other}"),
    }
}

#[test]
fn the_default_action_is_back_when_the_last_receiver_is_dropped() {
    let mut child = Role::start("drops the receiver");
    child.expect("listening");
    child.kill("TERM");
    child.expect("got terminated");
    child.expect("deaf");
    child.kill("TERM");
    assert_eq!(child.end().signal(), Some(libc::SIGTERM));
}

#[test]
fn a_signal_arrives_while_processors_are_busy() {
    let mut child = Role::start("computes");
    child.expect("listening");
    child.kill("INT");
    child.expect("got interrupt");
    assert_eq!(child.end().code(), Some(7));
}
