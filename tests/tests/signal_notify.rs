//! `signal` against real signals: what Go's os/signal/signal_test.go proves. Each test that stays
//! in this process has a signal of its own; those that end a process end a child.

use goweft::context::{Context, ContextError};
use goweft::signal::{self, Received, Signal};
use goweft::{channel, go, select};
use signal_hook::low_level::raise;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Long enough for a signal on any machine; only a failure waits for it.
const WATCHDOG: Duration = Duration::from_secs(20);

// Go's os/signal TestSignal.
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

// Go's os/signal TestSignal, TestStress.
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

// TestNotifyContextNotifications, TestNotifyContextStop, …CancelParent, …PrematureCancelParent,
// …SimultaneousStop.
#[goweft::test]
fn a_context_is_done_by_its_signal_its_parent_or_its_function() {
    let signals = [Signal::SIGVTALRM, Signal::SIGXCPU];
    let background = Context::background();
    let (ctx, stop) = signal::notify_context(&background, &signals).unwrap();
    let waiter = goweft::spawn({
        let ctx = ctx.clone();
        move || ctx.done().recv_timeout(WATCHDOG)
    });
    raise(libc::SIGVTALRM).unwrap();
    let closed = Err(channel::RecvTimeoutError::Disconnected);
    assert_eq!(waiter.join().unwrap(), closed);
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    let cause = ctx.cause().unwrap();
    let received = cause.downcast_ref::<Received>().unwrap();
    assert_eq!(received.signal, Signal::SIGVTALRM);
    assert_eq!(cause.to_string(), "virtual timer expired signal received");
    let source = cause.source().and_then(|e| e.downcast_ref());
    assert_eq!(source, Some(&ContextError::Canceled));
    stop();

    let (parent, cancel) = background.with_cancel();
    let (ctx, _stop) = signal::notify_context(&parent, &signals).unwrap();
    cancel();
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    let (ctx, _stop) = signal::notify_context(&parent, &signals).unwrap();
    assert_eq!(ctx.err(), Some(ContextError::Canceled));

    let (ctx, stop) = signal::notify_context(&background, &signals).unwrap();
    goweft::scope(|s| {
        for _ in 0..10 {
            s.spawn(|| stop.cancel());
        }
    });
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    assert!(ctx.cause().unwrap().is::<ContextError>());
    assert_eq!(
        signal::notify_context(&background, &[]).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

// TestReset, as far as it can be seen from inside.
#[goweft::test]
fn reset_closes_receivers_that_have_no_other_signal() {
    let one = signal::notify(&[Signal::SIGTTOU]).unwrap();
    let two = signal::notify(&[Signal::SIGTTOU, Signal::SIGTTIN]).unwrap();
    let (ctx, _stop) = signal::notify_context(&Context::background(), &[Signal::SIGTTOU]).unwrap();
    raise(libc::SIGTTOU).unwrap();
    assert_eq!(one.recv_timeout(WATCHDOG), Ok(Signal::SIGTTOU));
    assert!(ctx.done().recv_timeout(WATCHDOG).is_err() && ctx.err().is_some());
    signal::reset(&[Signal::SIGTTOU]).unwrap();
    assert_eq!(one.recv(), Err(channel::RecvError));
    raise(libc::SIGTTIN).unwrap();
    assert_eq!(two.recv_timeout(WATCHDOG), Ok(Signal::SIGTTOU));
    assert_eq!(two.recv_timeout(WATCHDOG), Ok(Signal::SIGTTIN));
    signal::reset(&[Signal::SIGTTIN]).unwrap();
    assert_eq!(two.recv(), Err(channel::RecvError));
    // And from the beginning.
    let again = signal::notify(&[Signal::SIGTTOU]).unwrap();
    raise(libc::SIGTTOU).unwrap();
    assert_eq!(again.recv_timeout(WATCHDOG), Ok(Signal::SIGTTOU));
    assert_eq!(
        signal::reset(&[Signal::SIGKILL]).unwrap_err().kind(),
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
        Role::run(
            role,
            Command::new(std::env::current_exe().unwrap()).args([
                "--exact",
                "child",
                "--nocapture",
            ]),
        )
    }

    fn run(role: &str, command: &mut Command) -> Role {
        let mut child = command
            .env(ROLE, role)
            .stdin(Stdio::piped())
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
        "stops beside a signal" => {
            for n in 0..100 {
                let rx = signal::notify(&[Signal::SIGTERM]).unwrap();
                let raised = goweft::spawn(|| raise(libc::SIGTERM).unwrap());
                if n % 2 == 0 {
                    goweft::task::yield_now();
                }
                rx.close();
                raised.join().unwrap();
                if rx.recv().is_err() {
                    // It came too late for that, so it acts.
                    let rest = channel::never::<()>().recv_timeout(WATCHDOG);
                    unreachable!("the signal is lost: {rest:?}");
                }
            }
            // All came in time, as may be.
            raise(libc::SIGTERM).unwrap();
            channel::never::<()>().recv().unwrap();
        }
        "stops its context" => {
            let background = Context::background();
            let (ctx, stop) = signal::notify_context(&background, &[Signal::SIGTERM]).unwrap();
            println!("listening");
            assert!(ctx.done().recv().is_err());
            // Still caught: the second one does nothing.
            let counts = signal::notify(&[Signal::SIGUSR1]).unwrap();
            raise(libc::SIGTERM).unwrap();
            // Those that have come are told in the order of their numbers: what came before the
            // first of these may be told after it, but not after the second.
            for _ in 0..2 {
                raise(libc::SIGUSR1).unwrap();
                assert_eq!(counts.recv(), Ok(Signal::SIGUSR1));
            }
            stop();
            println!("stopped");
            channel::never::<()>().recv().unwrap();
        }
        "ignores" => {
            let rx = signal::notify(&[Signal::SIGTERM]).unwrap();
            signal::ignore(&[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD]).unwrap();
            assert!(rx.recv().is_err(), "it undoes notify");
            let known = [
                Signal::SIGTERM,
                Signal::SIGHUP,
                Signal::SIGCHLD,
                Signal::SIGUSR1,
            ];
            let ignored = known.map(|signal| signal::ignored(signal).unwrap());
            assert_eq!(ignored, [true, true, true, false]);
            raise(libc::SIGTERM).unwrap();
            raise(libc::SIGHUP).unwrap();
            // Programs that are started from here ignore them too. (And can be waited for.)
            let inherited = Command::new("sh")
                .args(["-c", "kill -s TERM $$; kill -s HUP $$; exit 3"])
                .status()
                .unwrap();
            assert_eq!(inherited.code(), Some(3));
            // Notified again: the signal comes; and is ignored again.
            for _ in 0..3 {
                let rx = signal::notify(&[Signal::SIGTERM, Signal::SIGHUP]).unwrap();
                raise(libc::SIGTERM).unwrap();
                assert_eq!(rx.recv(), Ok(Signal::SIGTERM));
                raise(libc::SIGHUP).unwrap();
                assert_eq!(rx.recv(), Ok(Signal::SIGHUP));
                signal::ignore(&[Signal::SIGTERM, Signal::SIGHUP]).unwrap();
                raise(libc::SIGTERM).unwrap();
                raise(libc::SIGHUP).unwrap();
            }
            println!("ignoring");
            let mut line = String::new();
            goweft::blocking(|| std::io::stdin().read_line(&mut line)).unwrap();
            signal::reset(&[]).unwrap();
            println!("reset");
            channel::never::<()>().recv().unwrap();
        }
        "is started ignoring" => {
            // As under nohup: SIGHUP was ignored when the program began.
            assert!(signal::ignored(Signal::SIGHUP).unwrap());
            let rx = signal::notify(&[Signal::SIGHUP]).unwrap();
            assert!(!signal::ignored(Signal::SIGHUP).unwrap());
            raise(libc::SIGHUP).unwrap();
            assert_eq!(rx.recv(), Ok(Signal::SIGHUP));
            drop(rx);
            raise(libc::SIGHUP).unwrap();
            signal::reset(&[Signal::SIGHUP]).unwrap();
            raise(libc::SIGHUP).unwrap();
            // The relay has come past it when it brings another.
            let rx = signal::notify(&[Signal::SIGUSR1]).unwrap();
            raise(libc::SIGUSR1).unwrap();
            rx.recv().unwrap();
            std::process::exit(5);
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

// Go's os/signal TestStop.
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

// Go's os/signal TestAtomicStop.
#[test]
fn a_signal_that_comes_while_its_receiver_is_closed_arrives_or_acts() {
    for _ in 0..10 {
        let child = Role::start("stops beside a signal");
        assert_eq!(child.end().signal(), Some(libc::SIGTERM));
    }
}

#[test]
fn a_signal_arrives_while_processors_are_busy() {
    let mut child = Role::start("computes");
    child.expect("listening");
    child.kill("INT");
    child.expect("got interrupt");
    assert_eq!(child.end().code(), Some(7));
}

// TestNotifyContext's program: the default action is back after stop.
#[test]
fn a_context_catches_its_signal_until_it_is_stopped() {
    let mut child = Role::start("stops its context");
    child.expect("listening");
    child.kill("TERM");
    child.expect("stopped");
    child.kill("TERM");
    assert_eq!(child.end().signal(), Some(libc::SIGTERM));
}

// TestIgnore, TestDetectNohup's other side, TestReset.
#[test]
fn ignored_signals_do_nothing_until_they_are_reset() {
    let mut child = Role::start("ignores");
    child.expect("ignoring");
    child.kill("TERM");
    child.kill("HUP");
    writeln!(child.child.stdin.as_ref().unwrap(), "go on").unwrap();
    child.expect("reset");
    child.kill("HUP");
    assert_eq!(child.end().signal(), Some(libc::SIGHUP));
}

// TestNohup.
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_so_when_nobody_listens() {
    let exe = std::env::current_exe().unwrap();
    let child = Role::run(
        "is started ignoring",
        Command::new("sh")
            .args(["-c", "trap '' HUP; exec \"$0\" --exact child --nocapture"])
            .arg(exe),
    );
    assert_eq!(child.end().code(), Some(5));
}
