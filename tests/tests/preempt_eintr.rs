//! What a system call sees of goweft's signal (docs/PREEMPTION.md has the list).
//!
//! A thread that blocks gets no signal, so none of this happens to it. But there are
//! some microseconds between the look at a thread and the signal: what a call that begins
//! just then sees is shown here, by sending the signal by hand.

use goweft::spawn;
use goweft_tests::pressure::{Hogs, alone, preemptions, wait_until};
use goweft_tests::sys;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// Longer than a test waits for anything.
const LONG: Duration = Duration::from_secs(600);

const LONG_TS: libc::timespec = libc::timespec {
    tv_sec: 600,
    tv_nsec: 0,
};

/// What a system call returned.
fn result(returned: impl TryInto<i64>) -> io::Result<i64> {
    match returned.try_into() {
        Ok(n) if n >= 0 => Ok(n),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What `/proc` says of a thread of this process.
fn of_thread(tid: i32, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/task/{tid}/{file}")).ok()
}

/// Whether the thread sleeps in a system call.
fn blocks(tid: i32) -> bool {
    of_thread(tid, "syscall").is_some_and(|s| s.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a signal waits for the thread to take it.
fn has_pending(tid: i32) -> bool {
    of_thread(tid, "status").is_some_and(|s| {
        let pending = s.lines().find_map(|l| l.strip_prefix("SigPnd:"));
        pending.is_some_and(|mask| mask.trim().bytes().any(|b| b != b'0'))
    })
}

/// Sends goweft's signal to a thread that blocks in `call`, which `release` lets come to its
/// end; what it returned.
fn interrupted(
    call: impl FnOnce() -> io::Result<i64> + Send + 'static,
    release: impl FnOnce(),
) -> io::Result<i64> {
    // The handler is there from now on, and nothing but the test is.
    let _alone = alone(2);
    goweft::run(|| ());
    let tid = Arc::new(AtomicI32::new(0));
    let its = tid.clone();
    let thread = std::thread::spawn(move || {
        its.store(sys::gettid(), Ordering::Release);
        call()
    });
    wait_until("the thread begins", || tid.load(Ordering::Acquire) != 0);
    let tid = tid.load(Ordering::Acquire);
    wait_until("the call blocks", || blocks(tid));
    sys::send_to_thread(tid, libc::SIGURG);
    // In this order: a thread that has taken the signal runs until it blocks again.
    wait_until("the signal has come", || {
        thread.is_finished() || (!has_pending(tid) && blocks(tid))
    });
    release();
    wait_until("the call comes to its end", || thread.is_finished());
    thread.join().unwrap()
}

#[track_caller]
fn sees_eintr(call: impl FnOnce() -> io::Result<i64> + Send + 'static) {
    let e = interrupted(call, || ()).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EINTR), "{e}");
}

#[track_caller]
fn is_restarted(call: impl FnOnce() -> io::Result<i64> + Send + 'static, release: impl FnOnce()) {
    interrupted(call, release).expect("it saw nothing");
}

/// A listener, and both ends of a connection to it.
fn connection() -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    (listener, one, other)
}

/// Fills what a write goes to, so that the next one blocks.
fn fill(to: &UnixStream) {
    to.set_nonblocking(true).unwrap();
    while (&*to).write(&[0; 4096]).is_ok() {}
    to.set_nonblocking(false).unwrap();
}

#[test]
fn sleeps_see_eintr() {
    // SAFETY: valid timespecs, and nowhere to write the rest to.
    sees_eintr(|| result(unsafe { libc::nanosleep(&LONG_TS, null_mut()) }));
    sees_eintr(|| {
        // This one returns the error itself.
        // SAFETY: as above.
        let rc = unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &LONG_TS, null_mut()) };
        Err(io::Error::from_raw_os_error(rc))
    });
    sees_eintr(|| {
        let mut until = LONG_TS;
        // SAFETY: as above; the clock is written to `until`.
        let rc = unsafe {
            libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut until);
            until.tv_sec += 600;
            let absolute = libc::TIMER_ABSTIME;
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, absolute, &until, null_mut())
        };
        Err(io::Error::from_raw_os_error(rc))
    });
}

/// Waits on a futex that holds 0, at most so long.
fn futex_wait(word: &AtomicU32, timeout: Option<&libc::timespec>) -> io::Result<i64> {
    let timeout = timeout.map_or(null(), std::ptr::from_ref);
    // SAFETY: a word that lives, and a timespec or null.
    result(unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 0, timeout) })
}

fn futex_wake(word: &AtomicU32) {
    // SAFETY: a word that lives.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

#[test]
fn futexes_see_eintr_when_they_have_a_timeout() {
    static WORD: AtomicU32 = AtomicU32::new(0);
    sees_eintr(|| futex_wait(&WORD, Some(&LONG_TS)));
    is_restarted(|| futex_wait(&WORD, None), || futex_wake(&WORD));
}

#[test]
fn polls_see_eintr() {
    let epoll = || {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0);
        fd
    };
    for timeout in [600_000, -1] {
        // SAFETY: no descriptors.
        sees_eintr(move || result(unsafe { libc::poll(null_mut(), 0, timeout) }));
        let fd = epoll();
        sees_eintr(move || {
            // SAFETY: room for one event.
            let mut event: libc::epoll_event = unsafe { std::mem::zeroed() };
            // SAFETY: as above.
            result(unsafe { libc::epoll_wait(fd, &mut event, 1, timeout) })
        });
        // SAFETY: ours alone.
        unsafe { libc::close(fd) };
    }
    // SAFETY: no descriptors, a valid timespec, no mask.
    sees_eintr(|| result(unsafe { libc::ppoll(null_mut(), 0, &LONG_TS, null()) }));
    sees_eintr(|| {
        let mut time = libc::timeval {
            tv_sec: 600,
            tv_usec: 0,
        };
        // SAFETY: no descriptors, and a valid time.
        result(unsafe { libc::select(0, null_mut(), null_mut(), null_mut(), &mut time) })
    });
}

#[test]
fn sockets_see_eintr_when_they_have_a_timeout() {
    let (listener, a, _b) = connection();
    a.set_read_timeout(Some(LONG)).unwrap();
    sees_eintr(move || (&a).read(&mut [0]).map(|n| n as i64));
    // SAFETY: a timeval of our own.
    unsafe {
        let time = libc::timeval {
            tv_sec: 600,
            tv_usec: 0,
        };
        let rc = libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            std::ptr::from_ref(&time).cast(),
            size_of_val(&time) as libc::socklen_t,
        );
        assert_eq!(rc, 0);
    }
    sees_eintr(move || {
        // std's own begins again.
        // SAFETY: no address is asked for.
        result(unsafe { libc::accept(listener.as_raw_fd(), null_mut(), null_mut()) })
    });
    let (c, _d) = UnixStream::pair().unwrap();
    fill(&c);
    c.set_write_timeout(Some(LONG)).unwrap();
    sees_eintr(move || (&c).write(&[0]).map(|n| n as i64));
}

#[test]
fn sockets_are_restarted_when_they_have_none() {
    let (listener, a, mut b) = connection();
    is_restarted(
        move || (&a).read(&mut [0]).map(|n| n as i64),
        || b.write_all(&[1]).unwrap(),
    );
    let addr = listener.local_addr().unwrap();
    is_restarted(
        move || listener.accept().map(|_| 0),
        || drop(TcpStream::connect(addr).unwrap()),
    );
    let (c, mut d) = UnixStream::pair().unwrap();
    fill(&c);
    is_restarted(
        move || (&c).write(&[0]).map(|n| n as i64),
        || _ = d.read(&mut vec![0; 1 << 20]).unwrap(),
    );
}

#[test]
fn pipes_are_restarted_and_a_write_that_has_begun_comes_short() {
    let (mut reader, writer) = io::pipe().unwrap();
    let w = writer.try_clone().unwrap();
    let begun = interrupted(move || (&w).write(&[1; 1 << 20]).map(|n| n as i64), || ());
    let begun = usize::try_from(begun.unwrap()).unwrap();
    assert!(begun > 0 && begun < 1 << 20, "{begun} of 1 MiB");
    // Nothing is lost: so much is there. It is full, so that the next one blocks.
    let w = writer.try_clone().unwrap();
    let mut got = vec![0; begun];
    is_restarted(
        move || (&w).write(&[2]).map(|n| n as i64),
        || reader.read_exact(&mut got).unwrap(),
    );
    assert_eq!(got, vec![1; begun]);
    reader.read_exact(&mut [0]).unwrap();
    is_restarted(
        move || reader.read(&mut [0]).map(|n| n as i64),
        || _ = (&writer).write(&[3]).unwrap(),
    );
}

#[test]
fn a_send_that_has_begun_comes_short() {
    let (a, _b) = UnixStream::pair().unwrap();
    let sent = interrupted(
        move || (&a).write(&vec![1; 8 << 20]).map(|n| n as i64),
        || (),
    );
    assert!((1..8 << 20).contains(&sent.unwrap()));
}

#[test]
fn messages_and_semaphores_of_system_v_and_waits_for_signals_see_eintr() {
    // SAFETY: objects of our own, removed below, which nobody else knows; the message has
    // room for its type and its text.
    unsafe {
        let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
        assert!(queue >= 0);
        sees_eintr(move || {
            let mut message = [0u64; 2];
            result(libc::msgrcv(queue, message.as_mut_ptr().cast(), 8, 0, 0))
        });
        libc::msgctl(queue, libc::IPC_RMID, null_mut());
        let set = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
        assert!(set >= 0);
        sees_eintr(move || {
            let mut down = libc::sembuf {
                sem_num: 0,
                sem_op: -1,
                sem_flg: 0,
            };
            result(libc::semop(set, &mut down, 1))
        });
        libc::semctl(set, 0, libc::IPC_RMID);
    }
    sees_eintr(|| {
        // SAFETY: a set of our own, with a signal that nobody sends.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGUSR2);
            result(libc::sigtimedwait(&set, null_mut(), &LONG_TS))
        }
    });
    // SAFETY: no memory is involved.
    sees_eintr(|| result(unsafe { libc::pause() }));
}

#[test]
fn waits_for_children_files_and_locks_are_restarted() {
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take();
    is_restarted(move || child.wait().map(|_| 0), || drop(stdin));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let held = std::fs::File::create(&path).unwrap();
    held.lock().unwrap();
    let wanted = std::fs::File::open(&path).unwrap();
    is_restarted(
        // SAFETY: no memory is involved.
        move || result(unsafe { libc::flock(wanted.as_raw_fd(), libc::LOCK_EX) }),
        || held.unlock().unwrap(),
    );
    // SAFETY: no memory is involved; the descriptor is closed with the process.
    let event = unsafe { libc::eventfd(0, 0) };
    is_restarted(
        move || {
            let mut n = 0u64;
            // SAFETY: eight bytes of our own.
            result(unsafe { libc::read(event, (&raw mut n).cast(), 8) })
        },
        || {
            let one = 1u64;
            // SAFETY: as above.
            assert_eq!(unsafe { libc::write(event, (&raw const one).cast(), 8) }, 8);
        },
    );
}

/// What std makes of it: its sleeps, locks and channels begin again, and so do the loops over
/// reads and writes.
#[test]
fn std_begins_again() {
    let (tx, rx) = mpsc::channel();
    is_restarted(
        move || Ok(rx.recv_timeout(LONG).unwrap()),
        || tx.send(1).unwrap(),
    );
    let (a, mut b) = UnixStream::pair().unwrap();
    a.set_read_timeout(Some(LONG)).unwrap();
    is_restarted(
        move || (&a).read_exact(&mut [0, 0]).map(|()| 0),
        || b.write_all(&[1, 2]).unwrap(),
    );
    is_restarted(
        || {
            std::thread::park_timeout(Duration::from_secs(2));
            std::thread::sleep(Duration::from_millis(50));
            Ok(0)
        },
        || (),
    );
}

/// A system call with its name.
type Call = (&'static str, Box<dyn FnMut() -> io::Result<i64> + Send>);

/// Calls that would see it, each with a timeout of some 100 us.
fn short_calls() -> Vec<Call> {
    const SHORT: libc::timespec = libc::timespec {
        tv_sec: 0,
        tv_nsec: 100_000,
    };
    let (a, keep) = UnixStream::pair().unwrap();
    a.set_read_timeout(Some(Duration::from_micros(100)))
        .unwrap();
    let word = AtomicU32::new(0);
    vec![
        (
            "nanosleep",
            // SAFETY: a valid timespec.
            Box::new(|| result(unsafe { libc::nanosleep(&SHORT, null_mut()) })),
        ),
        ("futex", Box::new(move || futex_wait(&word, Some(&SHORT)))),
        (
            "ppoll",
            // SAFETY: no descriptors, a valid timespec, no mask.
            Box::new(|| result(unsafe { libc::ppoll(null_mut(), 0, &SHORT, null()) })),
        ),
        (
            "recv",
            Box::new(move || {
                let _ = &keep;
                (&a).read(&mut [0]).map(|n| n as i64)
            }),
        ),
    ]
}

/// Runs short calls in goroutines, `compute` between two of them, beside hogs, until there
/// were so many, and threads were stopped; how many saw EINTR, how many there were, and
/// how many threads were stopped.
fn count_eintr(calls: u64, compute: fn(u64)) -> (u64, u64, u64) {
    let _alone = alone(2);
    let hogs = Hogs::start(4);
    let before = preemptions();
    let stop = Arc::new(AtomicBool::new(false));
    let (made, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = short_calls()
        .into_iter()
        .map(|(what, mut call)| {
            let (stop, made, seen) = (stop.clone(), made.clone(), seen.clone());
            spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    compute(n);
                    n += 1;
                    let e = call().err().and_then(|e| e.raw_os_error());
                    made.fetch_add(1, Ordering::Relaxed);
                    match e {
                        None | Some(libc::EAGAIN | libc::ETIMEDOUT) => {}
                        Some(libc::EINTR) => _ = seen.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{what}: {other:?}"),
                    }
                }
            })
        })
        .collect();
    wait_until("the calls are made", || {
        let enough = made.load(Ordering::Relaxed) >= calls && preemptions() > before + 100;
        enough || callers.iter().any(|c| c.is_finished())
    });
    stop.store(true, Ordering::Relaxed);
    for c in callers {
        c.join().unwrap();
    }
    drop(hogs);
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    (count(&seen), count(&made), preemptions() - before)
}

#[test]
fn calls_of_threads_that_only_block_see_nothing_beside_hogs() {
    let (seen, calls, stopped) = count_eintr(10_000, |_| ());
    println!("{seen} of {calls} calls saw EINTR, {stopped} threads were stopped");
    assert_eq!(seen, 0);
}

/// It cannot be ruled out: the signal may be on its way when a call begins.
#[test]
fn calls_of_threads_that_compute_in_between_hardly_ever_see_it() {
    let compute = |n: u64| (0..1_000 * (n % 60)).for_each(|i| _ = black_box(i));
    let (seen, calls, stopped) = count_eintr(4_000, compute);
    println!("{seen} of {calls} calls saw EINTR, {stopped} threads were stopped");
    // An emulator takes longer to pass the signal on.
    let one_of = if sys::is_emulated() { 100 } else { 1_000 };
    assert!(seen <= calls / one_of, "{seen} of {calls}");
}
