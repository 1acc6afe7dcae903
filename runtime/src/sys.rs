//! The system calls of the runtime: futexes, memory that is wiped on fork,
//! threads. The only file of this crate that calls libc outside `net`, `signal`,
//! `limits`, `sched` and their own `sys.rs` files.

use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` is `expected`, for at most `timeout`. Returns at once
/// when it is not; may return for no reason: callers loop.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let ts = timeout.map(|d| libc::timespec {
        tv_sec: libc::time_t::try_from(d.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: d.subsec_nanos().into(),
    });
    let ts_ptr = ts.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word outlives the call (it is borrowed), and `ts_ptr` is null
    // or points to a timespec that does.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            ts_ptr,
        );
    }
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: waking only compares the address.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            1,
        );
    }
}

/// Writes to stderr, past std's lock and buffer. What cannot be written is lost.
pub(crate) fn write_to_stderr(bytes: &[u8]) {
    // SAFETY: the bytes are borrowed for the call.
    unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
}

/// Has `f` called in each child that `fork` makes from now on.
///
/// # Errors
/// No memory to note it.
pub(crate) fn in_forked_children(f: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the function is never unloaded before the process ends, and only
    // stores to atomics (its one caller's), which is allowed in a forked child.
    match unsafe { libc::pthread_atfork(None, None, Some(f)) } {
        0 => Ok(()),
        e => Err(io::Error::from_raw_os_error(e)),
    }
}

/// Asks for [`membarrier`]. Once, at start: while other threads run it takes
/// milliseconds. False: the system does not have it, or a sandbox refuses it.
pub(crate) fn register_membarrier() -> bool {
    // SAFETY: no memory involved.
    let registered = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_REGISTER, 0, 0) == 0 };
    // By effect: an emulator may know the one and not the other.
    registered && try_membarrier()
}

/// Makes every thread of this process that runs now execute a full fence. False: the
/// system refuses, though it did not at the start.
pub(crate) fn membarrier() -> bool {
    try_membarrier()
}

/// `MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED` and `MEMBARRIER_CMD_PRIVATE_EXPEDITED`.
const MEMBARRIER_REGISTER: i32 = 1 << 4;
const MEMBARRIER: i32 = 1 << 3;

fn try_membarrier() -> bool {
    // SAFETY: no memory involved.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER, 0, 0) == 0 }
}

/// Zeroed pages of our own, never given back. With `wipe_on_fork` a forked
/// child finds them zeroed again.
///
/// # Errors
/// What `mmap` says.
pub(crate) fn map_pages(len: usize, wipe_on_fork: bool) -> io::Result<*mut u8> {
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice
    // touches nothing that exists.
    let p = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if p == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    if wipe_on_fork {
        // Refused by kernels before 4.14 and by qemu-user: a forked child then
        // is not told what it did wrong, nothing else.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(p, len, libc::MADV_WIPEONFORK) };
    }
    Ok(p.cast())
}

/// Whether the calling thread is the one that the process began with.
pub(crate) fn is_main_thread() -> bool {
    // SAFETY: neither has arguments or can fail.
    unsafe { libc::getpid() == libc::gettid() }
}

/// The kernel's id of the calling thread.
pub(crate) fn gettid() -> i32 {
    // SAFETY: it has no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// The signal that preempts, to the calling thread. It is handled before this
/// returns, unless it is blocked here.
pub(crate) fn preempt_self() {
    // SAFETY: a signal to a thread of this process; without a handler SIGURG
    // does nothing. It cannot fail for the thread itself.
    unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            libc::getpid(),
            libc::gettid(),
            libc::SIGURG,
        );
    }
}

/// Enlarges a mapping of `map_pages`, which may move.
///
/// # Errors
/// What `mremap` says; the mapping is as it was.
///
/// # Safety
/// `base` and `len` are such a mapping, and no reference into it is alive.
pub(crate) unsafe fn remap_pages(base: *mut u8, len: usize, new_len: usize) -> io::Result<*mut u8> {
    // SAFETY: the caller's promise.
    let p = unsafe { libc::mremap(base.cast(), len, new_len, libc::MREMAP_MAYMOVE) };
    if p == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(p.cast())
}

/// Gives a mapping of `map_pages` back.
///
/// # Safety
/// `base` and `len` are such a mapping, and nothing refers to it any more.
pub(crate) unsafe fn unmap_pages(base: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(base.cast(), len) };
}

/// System calls of this crate's tests.
#[cfg(test)]
pub(crate) mod test {
    /// The signal that preempts, blocked on this thread for as long as this lives.
    pub(crate) struct PreemptBlocked {
        set: libc::sigset_t,
        before: libc::sigset_t,
        /// The mask is the thread's.
        not_send: std::marker::PhantomData<*const ()>,
    }

    impl PreemptBlocked {
        pub(crate) fn new() -> PreemptBlocked {
            // SAFETY: the sets are initialized by sigemptyset and by
            // pthread_sigmask before they are read.
            unsafe {
                let mut set = std::mem::zeroed();
                let mut before = std::mem::zeroed();
                libc::sigemptyset(&mut set);
                assert_eq!(libc::sigaddset(&mut set, libc::SIGURG), 0);
                assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before), 0);
                PreemptBlocked {
                    set,
                    before,
                    not_send: std::marker::PhantomData,
                }
            }
        }

        /// Takes the signal, if it is pending.
        pub(crate) fn take(&self) -> bool {
            let now = libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            // SAFETY: the set is initialized, no information is asked for, and
            // the time outlives the call.
            unsafe { libc::sigtimedwait(&self.set, std::ptr::null_mut(), &now) > 0 }
        }
    }

    impl Drop for PreemptBlocked {
        fn drop(&mut self) {
            while self.take() {}
            // SAFETY: `before` is the mask that the thread had.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
        }
    }
}
