//! What a system call sees of goweft's signal (docs/PREEMPTION.md has the list).
//!
//! A thread that blocks gets no signal, so none of this happens to it. But there are
//! some microseconds between the look at a thread and the signal: what a call that begins
//! just then sees is shown here, by sending the signal by hand.

use goweft::spawn;
use goweft_tests::pressure::{Alone, Hogs, alone, preemptions, run_beside, wait_until};
use goweft_tests::sys::{self, of_thread};
use std::cell::UnsafeCell;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than a test waits for anything.
const LONG: Duration = Duration::from_secs(600);

const LONG_TS: libc::timespec = libc::timespec {
    tv_sec: 600,
    tv_nsec: 0,
};

const LONG_TV: libc::timeval = libc::timeval {
    tv_sec: 600,
    tv_usec: 0,
};

/// What a system call returned.
fn result(returned: impl TryInto<i64>) -> io::Result<i64> {
    match returned.try_into() {
        Ok(n) if n >= 0 => Ok(n),
        _ => Err(io::Error::last_os_error()),
    }
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

/// A thread that makes a call which blocks.
struct Caller {
    thread: JoinHandle<io::Result<i64>>,
    tid: i32,
    _alone: Alone,
}

impl Caller {
    fn begin(call: impl FnOnce() -> io::Result<i64> + Send + 'static) -> Caller {
        // The handler is there from now on, and nothing but the test is.
        let alone = alone(2);
        goweft::run(|| ());
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(sys::gettid()).unwrap();
            call()
        });
        Caller {
            thread,
            tid: told.recv().unwrap(),
            _alone: alone,
        }
    }

    /// Whether the thread blocks, or has ended.
    fn rests(&self) -> bool {
        self.thread.is_finished() || blocks(self.tid)
    }

    /// Sends goweft's signal to the thread when it blocks, and waits until it has come.
    fn interrupt(&self) {
        wait_until("the call blocks", || self.rests());
        self.send();
        // In this order: a thread that has taken the signal runs until it blocks again.
        wait_until("the signal has come", || {
            !has_pending(self.tid) && self.rests()
        });
    }

    /// Sends goweft's signal to the thread, unless it has ended.
    fn send(&self) {
        if let Err(e) = sys::send_to_thread(self.tid, libc::SIGURG) {
            assert_eq!(e.raw_os_error(), Some(libc::ESRCH), "it has ended: {e}");
        }
    }

    /// What the call returned.
    fn end(self) -> io::Result<i64> {
        wait_until("the call comes to its end", || self.thread.is_finished());
        self.thread.join().unwrap()
    }
}

/// What `call` returns when it is interrupted. Again and again: before it the thread may block for
/// other reasons (memory, an emulator's locks), and take a signal there.
fn interrupted(call: impl FnOnce() -> io::Result<i64> + Send + 'static) -> io::Result<i64> {
    let caller = Caller::begin(call);
    wait_until("the call returns", || {
        caller.interrupt();
        caller.thread.is_finished()
    });
    caller.end()
}

#[track_caller]
fn sees_eintr(call: impl FnOnce() -> io::Result<i64> + Send + 'static) {
    let e = interrupted(call).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EINTR), "{e}");
}

/// The same of a call on a descriptor, which the test keeps open.
#[track_caller]
fn sees_eintr_on(on: &impl AsRawFd, call: impl FnOnce(RawFd) -> io::Result<i64> + Send + 'static) {
    let fd = on.as_raw_fd();
    sees_eintr(move || call(fd));
}

/// `release` lets the call come to its end.
#[track_caller]
fn is_restarted(call: impl FnOnce() -> io::Result<i64> + Send + 'static, release: impl FnOnce()) {
    let caller = Caller::begin(call);
    (0..3).for_each(|_| caller.interrupt());
    release();
    caller.end().expect("it saw nothing");
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
    // SAFETY: no memory is involved.
    sees_eintr(|| result(unsafe { libc::usleep(600_000_000) }));
}

#[test]
fn sleep_returns_early_with_what_is_left() {
    // SAFETY: no memory is involved.
    let left = interrupted(|| result(unsafe { libc::sleep(600) })).unwrap();
    assert!((1..=600).contains(&left), "{left} of 600 seconds");
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

/// As far away as `LONG`, by the clock on the wall.
fn long_from_now() -> libc::timespec {
    let mut until = LONG_TS;
    // SAFETY: a timespec of our own.
    let rc = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut until) };
    assert_eq!(rc, 0);
    until.tv_sec += LONG_TS.tv_sec;
    until
}

/// What the C library makes of it.
#[test]
fn semaphores_show_what_condition_variables_hide() {
    /// Made for many threads, and never moved.
    struct Shared<T>(UnsafeCell<T>);
    // SAFETY: only calls use it that are made for many threads.
    unsafe impl<T> Sync for Shared<T> {}
    // SAFETY: all zero is a semaphore of value 0 on Linux; it is made anew below.
    static SEMAPHORE: Shared<libc::sem_t> = Shared(UnsafeCell::new(unsafe { std::mem::zeroed() }));
    static LOCK: Shared<libc::pthread_mutex_t> =
        Shared(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));
    static CONDITION: Shared<libc::pthread_cond_t> =
        Shared(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER));
    static HOLDS: AtomicBool = AtomicBool::new(false);

    // SAFETY: before anybody uses it, and not for other processes.
    assert_eq!(unsafe { libc::sem_init(SEMAPHORE.0.get(), 0, 0) }, 0);
    // SAFETY: a semaphore that was made, and a valid time.
    sees_eintr(|| result(unsafe { libc::sem_timedwait(SEMAPHORE.0.get(), &long_from_now()) }));
    is_restarted(
        // SAFETY: as above.
        || result(unsafe { libc::sem_wait(SEMAPHORE.0.get()) }),
        // SAFETY: as above.
        || assert_eq!(unsafe { libc::sem_post(SEMAPHORE.0.get()) }, 0),
    );
    is_restarted(
        || {
            let (mut waits, until) = (0, long_from_now());
            // SAFETY: both were made; the lock is ours while we wait.
            unsafe {
                assert_eq!(libc::pthread_mutex_lock(LOCK.0.get()), 0);
                while !HOLDS.load(Ordering::Relaxed) {
                    let (condition, lock) = (CONDITION.0.get(), LOCK.0.get());
                    assert_eq!(libc::pthread_cond_timedwait(condition, lock, &until), 0);
                    waits += 1;
                }
                assert_eq!(libc::pthread_mutex_unlock(LOCK.0.get()), 0);
            }
            assert!(waits <= 1, "it returned {waits} times");
            Ok(0)
        },
        // SAFETY: as above.
        || unsafe {
            assert_eq!(libc::pthread_mutex_lock(LOCK.0.get()), 0);
            HOLDS.store(true, Ordering::Relaxed);
            assert_eq!(libc::pthread_cond_signal(CONDITION.0.get()), 0);
            assert_eq!(libc::pthread_mutex_unlock(LOCK.0.get()), 0);
        },
    );
}

#[test]
fn polls_see_eintr() {
    // SAFETY: no memory is involved, and the descriptor is ours.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
    // SAFETY: room for one event.
    let no_event = || -> libc::epoll_event { unsafe { std::mem::zeroed() } };
    for timeout in [600_000, -1] {
        // SAFETY: no descriptors.
        sees_eintr(move || result(unsafe { libc::poll(null_mut(), 0, timeout) }));
        sees_eintr_on(&epoll, move |fd| {
            // SAFETY: room for one event.
            result(unsafe { libc::epoll_wait(fd, &mut no_event(), 1, timeout) })
        });
        sees_eintr_on(&epoll, move |fd| {
            // SAFETY: room for one event, no mask.
            result(unsafe { libc::epoll_pwait(fd, &mut no_event(), 1, timeout, null()) })
        });
    }
    for timeout in [Some(&LONG_TS), None] {
        let time = move || timeout.map_or(null(), std::ptr::from_ref);
        // SAFETY: no descriptors, a valid timespec or none, no mask.
        sees_eintr(move || result(unsafe { libc::ppoll(null_mut(), 0, time(), null()) }));
        sees_eintr(move || {
            let none = null_mut();
            // SAFETY: as above.
            result(unsafe { libc::pselect(0, none, none, none, time(), null()) })
        });
        sees_eintr(move || {
            let mut time = timeout.map(|_| LONG_TV);
            let time = time.as_mut().map_or(null_mut(), std::ptr::from_mut);
            // SAFETY: no descriptors, and a valid time or none.
            result(unsafe { libc::select(0, null_mut(), null_mut(), null_mut(), time) })
        });
    }
}

/// Sets `SO_RCVTIMEO` or `SO_SNDTIMEO`.
fn set_timeout(of: &impl AsRawFd, which: libc::c_int) {
    let (fd, level, time) = (of.as_raw_fd(), libc::SOL_SOCKET, LONG_TV);
    let size = size_of_val(&time) as libc::socklen_t;
    // SAFETY: a time that is as large as we say.
    let rc = unsafe { libc::setsockopt(fd, level, which, (&raw const time).cast(), size) };
    assert_eq!(rc, 0);
}

/// A message without an address, with room for, or made of, one byte.
struct Message {
    _byte: Box<u8>,
    _part: Box<libc::iovec>,
    header: libc::mmsghdr,
}

impl Message {
    fn new() -> Message {
        let mut byte = Box::new(0);
        let mut part = Box::new(libc::iovec {
            iov_base: (&raw mut *byte).cast(),
            iov_len: 1,
        });
        // SAFETY: all zero is a message of nothing.
        let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_iov = &raw mut *part;
        header.msg_hdr.msg_iovlen = 1;
        Message {
            _byte: byte,
            _part: part,
            header,
        }
    }
}

#[test]
fn sockets_see_eintr_when_they_have_a_timeout() {
    let (listener, a, _b) = connection();
    set_timeout(&a, libc::SO_RCVTIMEO);
    sees_eintr_on(&a, |fd| {
        // SAFETY: one byte of our own.
        result(unsafe { libc::read(fd, [0u8].as_mut_ptr().cast(), 1) })
    });
    let reader = a.try_clone().unwrap();
    sees_eintr(move || (&reader).read(&mut [0]).map(|n| n as i64));
    sees_eintr_on(&a, |fd| {
        let byte = [0u8].as_mut_ptr().cast();
        // SAFETY: one byte of our own, and no address is asked for.
        result(unsafe { libc::recvfrom(fd, byte, 1, 0, null_mut(), null_mut()) })
    });
    sees_eintr_on(&a, |fd| {
        // SAFETY: a message of our own.
        result(unsafe { libc::recvmsg(fd, &mut Message::new().header.msg_hdr, 0) })
    });
    sees_eintr_on(&a, |fd| {
        // SAFETY: one message of our own, and no timeout of its own.
        result(unsafe { libc::recvmmsg(fd, &mut Message::new().header, 1, 0, null_mut()) })
    });
    set_timeout(&listener, libc::SO_RCVTIMEO);
    sees_eintr_on(&listener, |fd| {
        // std's own begins again.
        // SAFETY: no address is asked for.
        result(unsafe { libc::accept(fd, null_mut(), null_mut()) })
    });
    let (c, _d) = UnixStream::pair().unwrap();
    fill(&c);
    set_timeout(&c, libc::SO_SNDTIMEO);
    sees_eintr_on(&c, |fd| {
        // SAFETY: one byte of our own.
        result(unsafe { libc::write(fd, [0u8].as_ptr().cast(), 1) })
    });
    let writer = c.try_clone().unwrap();
    sees_eintr(move || (&writer).write(&[0]).map(|n| n as i64));
    sees_eintr_on(&c, |fd| {
        // SAFETY: one byte of our own, and no address.
        result(unsafe { libc::sendto(fd, [0u8].as_ptr().cast(), 1, 0, null(), 0) })
    });
    sees_eintr_on(&c, |fd| {
        // SAFETY: a message of our own.
        result(unsafe { libc::sendmsg(fd, &Message::new().header.msg_hdr, 0) })
    });
    sees_eintr_on(&c, |fd| {
        // SAFETY: one message of our own.
        result(unsafe { libc::sendmmsg(fd, &mut Message::new().header, 1, 0) })
    });
}

/// A listener with as many connections as may wait for it, so that the next one blocks.
fn full_listener(dir: &Path) -> (UnixListener, PathBuf) {
    let path = dir.join("listener");
    let listener = UnixListener::bind(&path).unwrap();
    // SAFETY: no memory is involved.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    while connect(&socket(libc::SOCK_NONBLOCK), &path).is_ok() {}
    (listener, path)
}

fn socket(flags: libc::c_int) -> OwnedFd {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: no memory is involved, and the descriptor is ours.
    unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_UNIX, kind, 0)) }
}

fn connect(socket: &OwnedFd, to: &Path) -> io::Result<i64> {
    // SAFETY: all zero is an address of nothing.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let path = to.as_os_str().as_bytes();
    for (to, from) in address.sun_path.iter_mut().zip(path) {
        *to = *from as libc::c_char;
    }
    let size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: an address that is as large as we say.
    result(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size) })
}

#[test]
fn connect_sees_eintr_when_it_has_a_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let (listener, path) = full_listener(dir.path());
    let to = path.clone();
    sees_eintr(move || {
        let socket = socket(0);
        set_timeout(&socket, libc::SO_SNDTIMEO);
        connect(&socket, &to)
    });
    is_restarted(
        move || connect(&socket(0), &path),
        || drop(listener.accept().unwrap()),
    );
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
    let begun = interrupted(move || (&w).write(&[1; 1 << 20]).map(|n| n as i64));
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
    let text = vec![1; 8 << 20];
    let sent = interrupted(move || (&a).write(&text).map(|n| n as i64));
    assert!((1..8 << 20).contains(&sent.unwrap()));
}

#[test]
fn messages_and_semaphores_of_system_v_see_eintr() {
    // SAFETY: objects of our own, removed below, which nobody else knows; the messages have
    // room for their type and their text.
    unsafe {
        let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
        assert!(queue >= 0);
        sees_eintr(move || {
            let mut message = [0u64; 2];
            result(libc::msgrcv(queue, message.as_mut_ptr().cast(), 8, 0, 0))
        });
        let send = move |flags| {
            // Type 1.
            let message = [1u64; 128];
            result(libc::msgsnd(queue, message.as_ptr().cast(), 1016, flags))
        };
        while send(libc::IPC_NOWAIT).is_ok() {}
        sees_eintr(move || send(0));
        libc::msgctl(queue, libc::IPC_RMID, null_mut());
        let set = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
        assert!(set >= 0);
        let down = || libc::sembuf {
            sem_num: 0,
            sem_op: -1,
            sem_flg: 0,
        };
        sees_eintr(move || result(libc::semop(set, &mut down(), 1)));
        sees_eintr(move || {
            let (mut down, time) = (down(), std::ptr::from_ref(&LONG_TS));
            result(libc::syscall(
                libc::SYS_semtimedop,
                set,
                &raw mut down,
                1,
                time,
            ))
        });
        libc::semctl(set, 0, libc::IPC_RMID);
    }
}

#[test]
fn waits_for_signals_see_eintr() {
    /// A signal that nobody sends.
    fn never() -> libc::sigset_t {
        // SAFETY: a set of our own.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGUSR2);
            set
        }
    }
    // SAFETY: a set, a valid time, and nowhere to write to.
    sees_eintr(|| result(unsafe { libc::sigtimedwait(&never(), null_mut(), &LONG_TS) }));
    // SAFETY: as above.
    sees_eintr(|| result(unsafe { libc::sigwaitinfo(&never(), null_mut()) }));
    // SAFETY: a set.
    sees_eintr(|| result(unsafe { libc::sigsuspend(&never()) }));
    // SAFETY: no memory is involved.
    sees_eintr(|| result(unsafe { libc::pause() }));
}

#[test]
fn io_getevents_sees_eintr() {
    let mut context = 0usize;
    // SAFETY: a word of our own for the context.
    if let Err(e) = result(unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) }) {
        // A kernel may be built without, a sandbox forbid it, an emulator not know it.
        println!("left out: there is no io_setup here: {e}");
        return;
    }
    sees_eintr(move || {
        // As large as an io_event.
        let mut event = [0u64; 4];
        let (number, one) = (libc::SYS_io_getevents, 1 as libc::c_long);
        let no_time = null::<libc::timespec>();
        // SAFETY: a context that was made, and room for one event.
        result(unsafe { libc::syscall(number, context, one, one, event.as_mut_ptr(), no_time) })
    });
    // SAFETY: nobody waits for it any more.
    unsafe { libc::syscall(libc::SYS_io_destroy, context) };
}

/// Sets, or waits for, a lock on a whole file, by `fcntl`.
fn lock_all_of(file: &File, how: libc::c_int, kind: libc::c_int) -> io::Result<i64> {
    // SAFETY: all zero is a whole file.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: a lock of our own.
    result(unsafe { libc::fcntl(file.as_raw_fd(), how, &raw mut lock) })
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
    let held = File::create(&path).unwrap();
    held.lock().unwrap();
    let wanted = File::open(&path).unwrap();
    is_restarted(
        // SAFETY: no memory is involved.
        move || result(unsafe { libc::flock(wanted.as_raw_fd(), libc::LOCK_EX) }),
        || held.unlock().unwrap(),
    );
    let held = File::options().write(true).open(&path).unwrap();
    let wanted = held.try_clone().unwrap();
    // The one is the open file's, the other this process', and so they conflict.
    lock_all_of(&held, libc::F_OFD_SETLK, libc::F_WRLCK).unwrap();
    is_restarted(
        move || lock_all_of(&wanted, libc::F_SETLKW, libc::F_WRLCK),
        || _ = lock_all_of(&held, libc::F_OFD_SETLK, libc::F_UNLCK).unwrap(),
    );
    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let to = fifo.clone();
    is_restarted(
        move || File::open(to).map(|_| 0),
        || drop(File::options().write(true).open(fifo).unwrap()),
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

/// Signals come all the time while one thread writes and reads a file; each call does all of it.
#[test]
fn files_on_disks_are_not_interrupted() {
    const SIZE: usize = 1 << 20;
    let file = tempfile::tempfile().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let caller = Caller::begin(move || {
        let (text, mut back) = (vec![7; SIZE], vec![0; SIZE]);
        let mut calls = 0;
        while !stopped.load(Ordering::Relaxed) {
            assert_eq!(file.write_at(&text, 0)?, SIZE);
            // (std's own begins again.)
            // SAFETY: no memory is involved.
            result(unsafe { libc::fdatasync(file.as_raw_fd()) })?;
            assert_eq!(file.read_at(&mut back, 0)?, SIZE);
            assert_eq!(back, text);
            calls += 3;
        }
        Ok(calls)
    });
    for _ in 0..30 {
        caller.send();
        wait_until("the signal has come", || {
            !has_pending(caller.tid) || caller.thread.is_finished()
        });
    }
    stop.store(true, Ordering::Relaxed);
    caller.end().expect("they saw nothing");
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
    let readers: [fn(&UnixStream) -> io::Result<i64>; 2] = [
        |mut from| from.read_to_end(&mut Vec::new()).map(|n| n as i64),
        |mut from| io::copy(&mut from, &mut io::sink()).map(|n| n as i64),
    ];
    for read in readers {
        let (a, mut b) = UnixStream::pair().unwrap();
        a.set_read_timeout(Some(LONG)).unwrap();
        is_restarted(move || read(&a), move || b.write_all(&[1, 2]).unwrap());
    }
    let (c, mut d) = UnixStream::pair().unwrap();
    fill(&c);
    c.set_write_timeout(Some(LONG)).unwrap();
    is_restarted(
        move || (&c).write_all(&[1; 1 << 16]).map(|()| 0),
        || _ = d.read_to_end(&mut Vec::new()).unwrap(),
    );
    let (listener, _a, _b) = connection();
    set_timeout(&listener, libc::SO_RCVTIMEO);
    let addr = listener.local_addr().unwrap();
    is_restarted(
        move || listener.accept().map(|_| 0),
        || drop(TcpStream::connect(addr).unwrap()),
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
    sys::unless_the_host_takes_time(|| {
        let (seen, calls, stopped) = count_eintr(10_000, |_| ());
        println!("{seen} of {calls} calls saw EINTR, {stopped} threads were stopped");
        seen
    });
}

/// It cannot be ruled out: the signal may be on its way when a call begins.
#[test]
fn calls_of_threads_that_compute_in_between_hardly_ever_see_it() {
    let compute = |n: u64| (0..1_000 * (n % 60)).for_each(|i| _ = black_box(i));
    // An emulator takes longer to pass the signal on.
    let one_of = if sys::is_emulated() { 100 } else { 1_000 };
    // In one round of three: it is on its way for as long as the machine stands still between the
    // look and the signal.
    let seldom = (0..3).any(|_| {
        let (seen, calls, stopped) = count_eintr(4_000, compute);
        println!("{seen} of {calls} calls saw EINTR, {stopped} threads were stopped");
        seen <= calls / one_of
    });
    assert!(seldom);
}

/// Computes for so much CPU time, or until goweft's signal waits for the thread, which does not
/// take it; whether it does.
fn is_signalled_in(time: Duration) -> bool {
    // SAFETY: sets of our own; the mask is as before at the end, and nothing in between calls
    // goweft.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, libc::SIGURG);
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before);
        let end = sys::cpu_time_of_this_thread() + time;
        let mut waiting: libc::sigset_t = std::mem::zeroed();
        while libc::sigismember(&waiting, libc::SIGURG) == 0 && sys::cpu_time_of_this_thread() < end
        {
            (0..1_000).for_each(|i| _ = black_box(i));
            libc::sigpending(&mut waiting);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut());
        libc::sigismember(&waiting, libc::SIGURG) == 1
    }
}

#[test]
fn in_no_preempt_a_thread_gets_no_signal() {
    let _alone = alone(1);
    let hogs = Hogs::start(2);
    sys::unless_the_host_takes_time(|| {
        let comes = |_: &u64| {
            assert!(run_beside(|| is_signalled_in(Duration::from_secs(10))));
            run_beside(|| goweft::no_preempt(|| is_signalled_in(Duration::from_millis(30))))
        };
        (0..20).filter(comes).count() as u64
    });
    drop(hogs);
}
