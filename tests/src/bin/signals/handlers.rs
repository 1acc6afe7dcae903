//! Handlers of the program's own, beside that of SIGURG.

use super::load::Load;
use goweft::{runtime, spawn, task};
use goweft_tests::pressure::{self, Hogs, wait_until};
use goweft_tests::sys;
use std::ffi::{c_int, c_void};
use std::hint::spin_loop;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often `count` ran.
static HANDLED: AtomicU64 = AtomicU64::new(0);

/// A handler.
///
/// # Safety
/// Called by the kernel.
unsafe extern "C" fn count(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

fn handled() -> u64 {
    HANDLED.load(Ordering::Relaxed)
}

/// Installs `count` for `signal`, restarting, as programs do.
fn install(signal: c_int) {
    // SAFETY: it may run anywhere: it only counts.
    unsafe { sys::install_handler(signal, count, libc::SA_RESTART, &[]) };
}

/// SIGPROF for each millisecond of CPU time (or as often as the kernel looks).
pub(crate) fn profiler() {
    install(libc::SIGPROF);
    let every = libc::timeval {
        tv_sec: 0,
        tv_usec: 1_000,
    };
    let timer = libc::itimerval {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: a valid timer.
    unsafe { libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut()) };
    let load = Load::start();
    load.until_preempted(1_000);
    wait_until("the profiler gets its signals", || handled() >= 200);
    load.until_preempted(100);
    load.end();
    println!("profiled");
}

/// A connection whose one end gets out-of-band data, and this process SIGURG for it.
pub(crate) fn urgent_connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (receiver, _) = listener.accept().unwrap();
    // SAFETY: no memory is involved.
    let rc = unsafe { libc::fcntl(receiver.as_raw_fd(), libc::F_SETOWN, libc::getpid()) };
    assert_eq!(rc, 0);
    (sender, receiver)
}

/// Sends one byte out of band, and reads it.
pub(crate) fn send_urgent(pair: &(TcpStream, TcpStream), byte: u8) {
    // SAFETY: one byte each, of our own.
    unsafe {
        let from = std::ptr::from_ref(&byte).cast();
        assert_eq!(libc::send(pair.0.as_raw_fd(), from, 1, libc::MSG_OOB), 1);
    }
    let mut got = 0u8;
    wait_until("the byte comes", || {
        let fd = pair.1.as_raw_fd();
        // SAFETY: as above.
        unsafe { libc::recv(fd, std::ptr::from_mut(&mut got).cast(), 1, libc::MSG_OOB) == 1 }
    });
    assert_eq!(got, byte);
}

/// The program's own handler of SIGURG, there before goweft, is called for each byte out of
/// band, and for none of goweft's signals.
pub(crate) fn out_of_band() {
    install(libc::SIGURG);
    let load = Load::start();
    load.until_preempted(100);
    assert_eq!(handled(), 0, "what was goweft's came to the program");
    let pair = urgent_connection();
    for i in 0..100 {
        send_urgent(&pair, i);
        wait_until("the handler is called", || handled() == u64::from(i) + 1);
    }
    load.until_preempted(100);
    load.end();
    println!("called {} times", handled());
}

/// Without a handler nothing comes of it.
pub(crate) fn out_of_band_unhandled() {
    let load = Load::start();
    let pair = urgent_connection();
    for i in 0..100 {
        send_urgent(&pair, i);
    }
    load.until_preempted(100);
    load.end();
    println!("ignored");
}

/// The threads on which goroutines run.
fn threads_of_goroutines() -> Vec<i32> {
    // goweft-0, goweft-1, ...; the monitor and the maker of threads take no signals.
    let has_number = |&tid: &i32| {
        let name = sys::name_of_thread(tid).unwrap();
        let number = name.strip_prefix("goweft-");
        number.is_some_and(|n| n.parse::<u32>().is_ok())
    };
    let threads = sys::threads().unwrap().into_iter();
    threads.filter(has_number).collect()
}

/// Threads that are stopped run the handlers of other signals at once, and not when it is their
/// turn: that takes 200 ms.
pub(crate) fn other_signals() {
    const HOGS: usize = 20;
    install(libc::SIGUSR1);
    goweft::Config::new().maxprocs(1).install().unwrap();
    let hogs = Hogs::start(HOGS);
    let threads = threads_of_goroutines();
    assert!(threads.len() >= HOGS, "{threads:?}");
    let mut waits = Vec::new();
    let before = pressure::preemptions();
    while waits.len() < 3 * threads.len() || pressure::preemptions() < before + 60 {
        for &tid in &threads {
            let begin = Instant::now();
            sys::send_to_thread(tid, libc::SIGUSR1).unwrap();
            let sent = waits.len() as u64 + 1;
            wait_until("the handler runs", || handled() == sent);
            waits.push(begin.elapsed());
        }
    }
    // They stayed stopped, and went on afterwards.
    hogs.wait_for_turns();
    drop(hogs);
    waits.sort();
    let (quarter, half) = (waits[waits.len() / 4], waits[waits.len() / 2]);
    eprintln!(
        "{} signals, a quarter of them handled after {quarter:?}, half after {half:?}, all after {:?}",
        waits.len(),
        waits[waits.len() - 1]
    );
    // A machine that is away makes many late. When it is their turn a tenth would be handled by
    // then.
    assert!(quarter < Duration::from_millis(20), "{quarter:?}");
    println!("handled");
}

/// Forks, has the child send itself goweft's signal and end, and waits for it.
///
/// # Safety
/// Called by the kernel.
unsafe extern "C" fn fork_and_count(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    const CODE: c_int = 42;
    // SAFETY: errno is always there. The rest are system calls: the C library's fork takes locks
    // that the code below this handler may hold.
    unsafe {
        let errno = *libc::__errno_location();
        let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as c_int;
        if child == 0 {
            // It is nobody's there: the thread is a copy, on which no goroutine runs.
            libc::syscall(
                libc::SYS_tgkill,
                libc::getpid(),
                libc::gettid(),
                libc::SIGURG,
            );
            libc::_exit(CODE);
        }
        let mut status = 0;
        while libc::waitpid(child, &mut status, 0) == -1 && *libc::__errno_location() == libc::EINTR
        {
        }
        if child > 0 && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == CODE {
            HANDLED.fetch_add(1, Ordering::Relaxed);
        }
        *libc::__errno_location() = errno;
    }
}

/// Threads that are stopped, and others, fork in a handler of the program's; the children end, and
/// they go on.
pub(crate) fn forking() {
    const HOGS: usize = 12;
    // SAFETY: it may run anywhere: it makes system calls, and keeps errno.
    unsafe { sys::install_handler(libc::SIGUSR1, fork_and_count, libc::SA_RESTART, &[]) };
    pressure::start(1);
    let hogs = Hogs::start(HOGS);
    let threads = threads_of_goroutines();
    assert!(threads.len() >= HOGS, "{threads:?}");
    let (mut sent, mut stopped) = (0, 0);
    while sent < 3 * threads.len() || stopped < sent * HOGS / 2 {
        for &tid in &threads {
            // All but one or two.
            stopped += runtime::metrics().preempted_threads;
            sys::send_to_thread(tid, libc::SIGUSR1).unwrap();
            sent += 1;
            wait_until("the child ends", || handled() == sent as u64);
        }
        assert!(sent < 100 * threads.len(), "too few of them were stopped");
        hogs.wait_for_turns();
    }
    let before = pressure::preemptions();
    wait_until("threads are still stopped", || {
        pressure::preemptions() > before + 20
    });
    hogs.wait_for_turns();
    drop(hogs);
    println!("all have forked");
}

/// The program takes SIGURG for itself once goweft runs. From then on no thread is stopped;
/// processors are taken all the same.
pub(crate) fn taken_over() {
    pressure::start(1);
    let hogs = Hogs::start(3);
    wait_until("threads are stopped", || pressure::preemptions() > 10);
    install(libc::SIGURG);
    wait_until("the signal is the program's", || handled() > 0);
    for _ in 0..10 {
        pressure::run_beside(|| task::sleep(Duration::from_millis(1)));
        hogs.wait_for_turns();
    }
    drop(hogs);
    println!("all go on");
}

/// A goroutine that blocks every signal on its thread, and computes.
pub(crate) fn blocked_signals() {
    pressure::start(1);
    let (tx, rx) = std::sync::mpsc::channel();
    let (told, wait) = std::sync::mpsc::channel::<()>();
    let deaf = spawn(move || {
        // SAFETY: sets of our own. Put back before the next call into goweft.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            tx.send(()).unwrap();
            while wait.try_recv().is_err() {
                spin_loop();
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        }
    });
    rx.recv_timeout(pressure::WATCHDOG).unwrap();
    let hogs = Hogs::start(2);
    for _ in 0..10 {
        pressure::run_beside(|| task::sleep(Duration::from_millis(1)));
        hogs.wait_for_turns();
    }
    told.send(()).unwrap();
    pressure::run_beside(move || deaf.join().unwrap());
    let before = pressure::preemptions();
    wait_until("threads are still stopped", || {
        pressure::preemptions() > before + 10
    });
    drop(hogs);
    println!("all go on");
}

/// glibc has every thread of the process change its ids, by a signal of its own, and waits
/// for all of them. Those that are stopped do it at once, and not when it is their turn: for
/// all of them that takes 200 ms.
pub(crate) fn set_ids() {
    goweft::Config::new().maxprocs(1).install().unwrap();
    let hogs = Hogs::start(20);
    // SAFETY: no memory is involved; they become what they are.
    let set = || unsafe {
        assert_eq!(libc::setgid(libc::getgid()), 0);
        assert_eq!(libc::setuid(libc::getuid()), 0);
    };
    let mut waits = Vec::new();
    let before = pressure::preemptions();
    while waits.len() < 30 || pressure::preemptions() < before + 30 {
        let begin = Instant::now();
        set();
        waits.push(begin.elapsed());
    }
    // The same by a goroutine, which may be stopped while it waits for the others.
    pressure::run_beside(move || (0..50).for_each(|_| set()));
    hogs.wait_for_turns();
    drop(hogs);
    waits.sort();
    let (quarter, half) = (waits[waits.len() / 4], waits[waits.len() / 2]);
    eprintln!(
        "{} rounds, a quarter of them took {quarter:?}, half {half:?}, the longest {:?}",
        waits.len(),
        waits[waits.len() - 1]
    );
    // A machine that is away makes many long. When it is their turn none would be over by then.
    assert!(quarter < Duration::from_millis(50), "{quarter:?}");
    println!("all have changed");
}
