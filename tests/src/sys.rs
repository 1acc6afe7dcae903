//! What the tests ask of the system directly.

use std::ffi::{CString, c_int, c_void};
use std::fs::{DirEntry, File};
use std::io::{self, BufRead, BufReader, PipeReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Whether an emulator runs the tests, which says so in this variable (`.ci/aarch64`).
pub fn is_emulated() -> bool {
    std::env::var_os("GOWEFT_STACKS_TEST_RUNNER").is_some()
}

/// Whether the tests run under an emulator or AddressSanitizer: whatever is measured is theirs as
/// well, time ten times over, and memory that they have for each thread.
pub fn is_instrumented() -> bool {
    is_emulated() || cfg!(sanitize_address)
}

/// The calling thread's number.
pub fn gettid() -> i32 {
    // SAFETY: it has no arguments.
    unsafe { libc::gettid() }
}

/// The numbers of all threads of this process.
///
/// # Errors
/// What `/proc` says: it may be empty.
pub fn threads() -> io::Result<Vec<i32>> {
    let number = |thread: io::Result<DirEntry>| {
        let name = thread?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        Ok(number.expect("threads are called by their numbers"))
    };
    std::fs::read_dir("/proc/self/task")?.map(number).collect()
}

/// What `file` in `/proc` says of the thread `tid` of this process. None: it has ended.
pub fn of_thread(tid: i32, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/task/{tid}/{file}")).ok()
}

/// Its name.
pub fn name_of_thread(tid: i32) -> Option<String> {
    Some(of_thread(tid, "comm")?.trim().into())
}

/// The letter for what it does: `S` when it sleeps.
pub fn state_of_thread(tid: i32) -> Option<char> {
    // Number, name in brackets, state.
    of_thread(tid, "stat")?.rsplit(") ").next()?.chars().next()
}

/// How often the calling thread has gone to sleep so far. A thread that only computes does so
/// when a handler puts it to sleep, and at no other time.
pub fn sleeps_of_this_thread() -> u64 {
    // SAFETY: all zero is a valid rusage, which the call fills in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
        usage
    };
    usage.ru_nvcsw as u64
}

/// The same of the thread `tid` of this process.
///
/// # Panics
/// When there is none.
pub fn sleeps_of_thread(tid: i32) -> u64 {
    let status = of_thread(tid, "status").expect("the thread is there");
    let number = |line: &str| {
        line.strip_prefix("voluntary_ctxt_switches:")?
            .trim()
            .parse()
            .ok()
    };
    status
        .lines()
        .find_map(number)
        .expect("its sleeps are counted")
}

/// CPU time of the process so far.
pub fn cpu_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The same of the calling thread.
pub fn cpu_time_of_this_thread() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(which: libc::clockid_t) -> Duration {
    // SAFETY: all zero is a valid timespec, which the call fills in.
    let t = unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        let rc = libc::clock_gettime(which, &mut t);
        assert_eq!(rc, 0);
        t
    };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

/// Lets this process, and those that it starts, have as many descriptors as they may have at most.
///
/// # Panics
/// When the system does not know.
pub fn allow_all_descriptors() {
    // SAFETY: an rlimit is valid when zeroed, and the calls write and read one.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

/// Sends `signal` to the thread `tid` of this process.
///
/// # Errors
/// What `tgkill` says: `ESRCH`, if there is no such thread.
pub fn send_to_thread(tid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let rc = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What a handler that is told more than the signal looks like.
pub type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// Installs `handler` for `signal`, on the alternate stack, with `flags` besides (`SA_RESTART`, or
/// none). While it runs, signals of `blocked` wait.
///
/// # Safety
/// `handler` may run wherever the signal comes, whatever the thread is doing there.
///
/// # Panics
/// When there can be no handler for that signal.
pub unsafe fn install_handler(signal: c_int, handler: Handler, flags: c_int, blocked: &[c_int]) {
    // SAFETY: an action is valid when zeroed; the rest is as the caller says.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | flags;
        for &other in blocked {
            assert_eq!(libc::sigaddset(&mut action.sa_mask, other), 0);
        }
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// What this process says on stderr, which goes nowhere else meanwhile.
#[derive(Debug)]
pub struct StderrTap {
    said: BufReader<PipeReader>,
    before: OwnedFd,
}

impl StderrTap {
    /// From now on, until it is dropped.
    ///
    /// # Panics
    /// Without descriptors.
    pub fn begin() -> StderrTap {
        let before = io::stderr().as_fd().try_clone_to_owned().unwrap();
        let (said, ours) = io::pipe().unwrap();
        set_stderr(ours.as_fd());
        StderrTap {
            said: BufReader::new(said),
            before,
        }
    }

    /// Waits for a line, without its end.
    ///
    /// # Panics
    /// When it is no text.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().into()
    }
}

impl Drop for StderrTap {
    fn drop(&mut self) {
        set_stderr(self.before.as_fd());
    }
}

fn set_stderr(to: BorrowedFd<'_>) {
    // SAFETY: `to` is open, and who writes to stderr does not mind where that goes.
    let fd = unsafe { libc::dup2(to.as_raw_fd(), libc::STDERR_FILENO) };
    assert_eq!(fd, libc::STDERR_FILENO);
}

/// What a system call gave us.
fn opened(fd: c_int) -> File {
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: just opened, and nobody else's.
    unsafe { File::from_raw_fd(fd) }
}

/// An eventfd at 0, in blocking mode. With `one_by_one` each read takes one.
///
/// # Panics
/// Without descriptors. So the others.
pub fn event_counter(one_by_one: bool) -> File {
    let how = if one_by_one { libc::EFD_SEMAPHORE } else { 0 };
    // SAFETY: no memory is involved.
    opened(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | how) })
}

/// A timerfd that runs off once, in non-blocking mode.
///
/// # Panics
/// See `event_counter`.
pub fn kernel_timer(after: Duration) -> File {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: no memory is involved.
    let timer = opened(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) });
    // SAFETY: all zero is a valid itimerspec.
    let mut when: libc::itimerspec = unsafe { std::mem::zeroed() };
    when.it_value.tv_sec = after.as_secs() as libc::time_t;
    when.it_value.tv_nsec = after.subsec_nanos().into();
    // SAFETY: the call reads `when`, and writes nothing.
    let rc = unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &when, std::ptr::null_mut()) };
    assert_eq!(rc, 0);
    timer
}

/// An inotify that tells what is made in `directory`, in non-blocking mode.
///
/// # Panics
/// See `event_counter`.
pub fn watch_directory(directory: &Path) -> File {
    let path = c_string(directory);
    // SAFETY: no memory is involved.
    let inotify = opened(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) });
    // SAFETY: a C string.
    let watch =
        unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), libc::IN_CREATE) };
    assert!(watch >= 0, "{}", io::Error::last_os_error());
    inotify
}

/// Makes a FIFO.
///
/// # Panics
/// When there is something already.
pub fn make_fifo(path: &Path) {
    let path = c_string(path);
    // SAFETY: a C string.
    let rc = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    assert_eq!(rc, 0, "{}", io::Error::last_os_error());
}

/// The two ends of a terminal that passes on what it gets, as it is.
///
/// # Panics
/// See `event_counter`.
pub fn terminal() -> (File, File) {
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: all zero is a valid termios, which `cfmakeraw` makes what it must be, and the
    // numbers are written to where they are.
    let rc = unsafe {
        let mut mode: libc::termios = std::mem::zeroed();
        libc::cfmakeraw(&mut mode);
        mode.c_cc[libc::VMIN] = 1;
        mode.c_cflag |= libc::CREAD | libc::B38400;
        let name = std::ptr::null_mut();
        libc::openpty(&mut ours, &mut theirs, name, &mode, std::ptr::null())
    };
    assert_eq!(rc, 0, "{}", io::Error::last_os_error());
    (opened(ours), opened(theirs))
}

/// A descriptor of a process; None where the system has none.
pub fn descriptor_of_process(pid: u32) -> Option<File> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    (fd >= 0).then(|| opened(fd as c_int))
}

/// Whether the open file is in non-blocking mode.
///
/// # Panics
/// When it is closed.
pub fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: no memory is involved.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0, "{}", io::Error::last_os_error());
    flags & libc::O_NONBLOCK != 0
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("a path has no zero bytes")
}

/// What the host of a virtual machine has taken from its CPUs so far, in ticks of the system's (10
/// ms as a rule). 0 where it does not tell.
pub fn stolen_by_host() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let stolen = stat
        .lines()
        .next()
        .and_then(|all| all.split_whitespace().nth(8));
    stolen.map_or(0, |ticks| ticks.parse().expect("a number"))
}

/// In a round nothing is seen that should not be, unless a host took the machine's own CPUs away
/// meanwhile: then the clock of a thread that just had one goes on, to those that look from
/// another, and it seems to compute, and to hear nothing; and whoever looks acts on what it saw
/// long before. That explains as much as the host took: one for a tick; and one of five such rounds,
/// for it may take less than a tick at a time.
///
/// # Panics
/// When two are not explained.
#[track_caller]
pub fn unless_the_host_takes_time(mut round: impl FnMut() -> u64) {
    let mut unexplained = 0;
    for _ in 0..5 {
        let before = stolen_by_host();
        let seen = round();
        if seen == 0 {
            return;
        }
        let stolen = stolen_by_host().saturating_sub(before);
        println!("{seen} were seen, and {stolen} ticks taken by the host");
        unexplained += u32::from(seen > stolen);
        assert!(
            unexplained < 2,
            "{seen} were seen, {stolen} taken by the host, and once before"
        );
    }
}
