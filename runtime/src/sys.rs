//! The system calls of the runtime: futexes, memory that is wiped on fork,
//! CPU counts. The only file of this crate that calls libc outside `net`,
//! `signal` and their own `sys.rs` files.

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

/// Asks for [`membarrier`]. Once, at start: while other threads run it takes
/// milliseconds. False: the system does not have it, or a sandbox refuses it.
pub(crate) fn register_membarrier() -> bool {
    // SAFETY: no memory involved.
    let registered = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_REGISTER, 0, 0) == 0 };
    // By effect: an emulator may know the one and not the other.
    registered && try_membarrier()
}

/// Makes every thread of this process that runs now execute a full fence.
pub(crate) fn membarrier() {
    if !try_membarrier() {
        crate::abort::fatal("membarrier, which worked at the start, is refused now");
    }
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

/// The CPUs this process may run on, at least 1.
pub(crate) fn affinity_count() -> usize {
    // SAFETY: all zero is a valid cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is as large as we say.
    let rc = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    if rc != 0 {
        return std::thread::available_parallelism().map_or(1, usize::from);
    }
    // SAFETY: `set` was filled in.
    let n = unsafe { libc::CPU_COUNT(&set) };
    usize::try_from(n).unwrap_or(1).max(1)
}

/// Whether this process may run on that CPU.
pub(crate) fn may_run_on(cpu: usize) -> bool {
    if cpu >= libc::CPU_SETSIZE as usize {
        return false;
    }
    // SAFETY: all zero is a valid cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is as large as we say.
    let rc = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    // SAFETY: the index is below CPU_SETSIZE, and `set` was filled in.
    rc == 0 && unsafe { libc::CPU_ISSET(cpu, &set) }
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

/// Pins the calling thread to one CPU.
///
/// # Errors
/// What `sched_setaffinity` says: EINVAL when the CPU is not there.
pub(crate) fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    // SAFETY: all zero is a valid cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the index is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: `set` is as large as we say.
    let rc = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A vector in pages of its own, for data that grows where nothing may be
/// allocated. Elements are `Copy`: nothing is dropped.
pub(crate) struct MappedVec<T: Copy> {
    base: *mut T,
    bytes: usize,
    len: usize,
}

// SAFETY: it owns its elements like a Vec.
unsafe impl<T: Copy + Send> Send for MappedVec<T> {}

impl<T: Copy> MappedVec<T> {
    const PAGE: usize = 4096;

    pub(crate) const fn new() -> Self {
        MappedVec {
            base: std::ptr::null_mut(),
            bytes: 0,
            len: 0,
        }
    }

    /// Appends; aborts the process when there is no memory.
    pub(crate) fn push(&mut self, value: T) {
        if (self.len + 1) * size_of::<T>() > self.bytes {
            self.grow();
        }
        // SAFETY: `grow` made room for element `len`.
        unsafe { self.base.add(self.len).write(value) };
        self.len += 1;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    #[cold]
    fn grow(&mut self) {
        let bytes = (2 * self.bytes).max(Self::PAGE);
        let base = if self.base.is_null() {
            map_pages(bytes, false).ok()
        } else {
            // SAFETY: `base` and `bytes` are a mapping of ours, and no
            // reference into it is alive (`&mut self`).
            let p =
                unsafe { libc::mremap(self.base.cast(), self.bytes, bytes, libc::MREMAP_MAYMOVE) };
            (p != libc::MAP_FAILED).then_some(p.cast())
        };
        let Some(base) = base else {
            crate::abort::fatal("out of memory for timers")
        };
        self.base = base.cast();
        self.bytes = bytes;
    }
}

impl<T: Copy> std::ops::Deref for MappedVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        if self.base.is_null() {
            return &[];
        }
        // SAFETY: `len` elements have been written.
        unsafe { std::slice::from_raw_parts(self.base, self.len) }
    }
}

impl<T: Copy> std::ops::DerefMut for MappedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if self.base.is_null() {
            return &mut [];
        }
        // SAFETY: as above, and `&mut self` makes the slice the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.len) }
    }
}

impl<T: Copy> Drop for MappedVec<T> {
    fn drop(&mut self) {
        if !self.base.is_null() {
            // SAFETY: the mapping is ours and nothing refers to it any more.
            unsafe { libc::munmap(self.base.cast(), self.bytes) };
        }
    }
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
