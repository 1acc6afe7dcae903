//! What the tests of `goweft::net` share: connected pairs, a watchdog, and a
//! second run of the whole file on one processor and on many.

#![allow(dead_code)] // each file uses some of it

use goweft::net::{Closed, TcpListener, TcpStream};
use std::io;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Only a failure waits this long.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(120);
/// A time that a test wants to see pass.
pub(crate) const SHORT: Duration = Duration::from_millis(20);

/// A listener on a port of its own.
///
/// On an address of this process: of 127.0.0.1 alone the ports run out, since those of
/// thousands of connections that were closed are kept for a minute.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind((address(0), 0)).unwrap()
}

/// A loopback address that no other test uses: for tests that connect to a port after it
/// was closed, which may be a stranger's by then.
pub(crate) fn own_address() -> IpAddr {
    static USED: AtomicU8 = AtomicU8::new(0);
    address(USED.fetch_add(1, Ordering::Relaxed) % 3 + 1)
}

/// Four for each process, never 127.0.0.1. A process number has 22 bits.
fn address(n: u8) -> IpAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, (n << 6 | high) % 254 + 1, middle, low])
}

/// The two ends of a connection.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = listener();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, addr) = listener.accept().unwrap();
    assert_eq!(addr, near.local_addr().unwrap());
    (near, far)
}

/// Whether the operation failed because of `close`.
#[track_caller]
pub(crate) fn assert_closed<T: std::fmt::Debug>(done: io::Result<T>) {
    let e = done.expect_err("the socket was closed");
    assert_eq!(e.kind(), io::ErrorKind::NotConnected, "{e:?}");
    assert!(e.get_ref().is_some_and(|e| e.is::<Closed>()), "{e:?}");
}

/// Whether the operation failed with an error of this kind.
#[track_caller]
pub(crate) fn assert_kind<T: std::fmt::Debug>(done: io::Result<T>, kind: io::ErrorKind) {
    let e = done.expect_err("it must fail");
    assert_eq!(e.kind(), kind, "{e:?}");
}

/// Runs `f` as a goroutine and as a plain thread; panics if it takes too long.
pub(crate) fn both<F: Fn() + Copy + Send + 'static>(f: F) {
    in_goroutine(f);
    let (done, finished) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        f();
        let _ = done.send(());
    });
    wait(&finished);
    thread.join().expect("the test failed on a plain thread");
}

/// Runs `f` as a goroutine; panics if it takes too long.
pub(crate) fn in_goroutine<F: FnOnce() + Send + 'static>(f: F) {
    if let Ok(procs) = std::env::var(CHILD) {
        assert_eq!(goweft::runtime::maxprocs().to_string(), procs);
    }
    let (done, finished) = mpsc::channel();
    let goroutine = goweft::spawn(move || {
        f();
        let _ = done.send(());
    });
    wait(&finished);
    if let Err(e) = goroutine.join() {
        panic!("in a goroutine: {e:?}, {:?}", e.downcast_ref::<String>());
    }
}

fn wait(finished: &mpsc::Receiver<()>) {
    if let Err(mpsc::RecvTimeoutError::Timeout) = finished.recv_timeout(WATCHDOG) {
        panic!("it hangs");
    }
}

const CHILD: &str = "GOWEFT_NET_TESTS_CHILD";

/// Runs this file's other tests in a child that has `procs` processors. `me` is
/// what the names of the tests that call this contain: a child runs none of them.
pub(crate) fn run_again_with(procs: usize, me: &str) {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--skip", me, "--test-threads", "2"])
        .env(CHILD, procs.to_string())
        .env("GOWEFT_MAXPROCS", procs.to_string())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !told.contains("ok. 0 passed"),
        "with {procs} processors:\n{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
