//! What the tests ask of the system directly.

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
    let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status"));
    let status = status.expect("the thread is there");
    let of_thread = |line: &str| {
        line.strip_prefix("voluntary_ctxt_switches:")?
            .trim()
            .parse()
            .ok()
    };
    status
        .lines()
        .find_map(of_thread)
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

/// Sends `signal` to the thread `tid` of this process.
pub fn send_to_thread(tid: i32, signal: i32) {
    // SAFETY: no memory is involved.
    let rc = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) };
    assert_eq!(rc, 0, "the thread {tid} is there");
}
