//! The system calls of preemption: what a thread is doing, the signal, the
//! monitor's sleep. All of them allocate nothing.

use crate::clock::Nanos;
use std::ffi::{CStr, c_int, c_void};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

pub(super) use libc::siginfo_t as SigInfo;

/// What a handler of a signal looks like.
pub(super) type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// The signal that parks a thread. It is ignored by default, libraries rarely use
/// it, and debuggers pass it on: Go's choice, for the same reasons.
pub(super) const SIGNAL: c_int = libc::SIGURG;

/// What was to happen when the signal came, before us.
pub(super) struct Before(libc::sigaction);

/// Whether `address` is in the calling thread's block of the program's own thread-locals: of module
/// 1, in the words of the ELF ABI, if that is the program. (In one without thread-locals it is a
/// library.)
#[cfg(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(any(miri, feature = "corosensei"))
))]
pub(super) fn is_thread_local_of_program(address: usize) -> bool {
    /// # Safety
    /// `dl_iterate_phdr` calls it; `data` is a `Search`.
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: the caller's promise.
        let (info, search) = unsafe { (&*info, &mut *data.cast::<Search>()) };
        if info.dlpi_phdr.addr() != search.headers {
            return 0;
        }
        // SAFETY: a module has as many headers there as it says.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let within = search.address.wrapping_sub(info.dlpi_tls_data.addr());
        let covers = |h: &libc::Elf64_Phdr| h.p_type == libc::PT_TLS && within < h.p_memsz as usize;
        search.found = info.dlpi_tls_modid == 1 && headers.iter().any(covers);
        1
    }
    struct Search {
        /// The program's, as the kernel says.
        headers: usize,
        address: usize,
        found: bool,
    }
    // SAFETY: no memory is involved.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
    let mut search = Search {
        headers,
        address,
        found: false,
    };
    if headers != 0 {
        // SAFETY: `look` is what it says, and has the search for itself until this returns.
        unsafe { libc::dl_iterate_phdr(Some(look), ptr::from_mut(&mut search).cast()) };
    }
    search.found
}

/// Installs `handler` on alternate stacks; returns what was there.
///
/// # Errors
/// What `sigaction` says.
pub(super) fn install(handler: Handler) -> io::Result<Before> {
    // SAFETY: all zero is a valid action; both are filled in as the call wants
    // them, and the handler was written for the signal.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        // Nothing more: with all signals masked a parked thread would hang setgid.
        libc::sigaddset(&mut action.sa_mask, SIGNAL);
        if libc::sigaction(SIGNAL, &action, &mut before) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Before(before))
    }
}

impl Before {
    /// Does what would have happened without us.
    ///
    /// # Safety
    /// The arguments are what the kernel gave the handler.
    pub(super) unsafe fn call(
        &self,
        signal: c_int,
        info: *mut libc::siginfo_t,
        context: *mut c_void,
    ) {
        match self.0.sa_sigaction {
            // By default it is ignored.
            libc::SIG_DFL | libc::SIG_IGN => {}
            function if self.0.sa_flags & libc::SA_SIGINFO != 0 => {
                // SAFETY: that is how it was installed.
                let function: Handler = unsafe { std::mem::transmute(function) };
                // SAFETY: the kernel's own arguments.
                unsafe { function(signal, info, context) };
            }
            function => {
                // SAFETY: that is how it was installed.
                let function: unsafe extern "C" fn(c_int) =
                    unsafe { std::mem::transmute(function) };
                // SAFETY: the kernel's own argument.
                unsafe { function(signal) };
            }
        }
    }
}

/// Lets the signal through to the calling thread: threads inherit masks.
pub(super) fn unblock_signal() {
    mask_signal(libc::SIG_UNBLOCK);
}

/// Keeps the signal away from the calling thread.
pub(super) fn block_signal() {
    mask_signal(libc::SIG_BLOCK);
}

fn mask_signal(how: c_int) {
    // SAFETY: a set of our own, filled in.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, SIGNAL);
        libc::pthread_sigmask(how, &set, ptr::null_mut());
    }
}

/// Has the OS run the calling thread soon after it wakes, among threads of the same priority: it
/// asks for short turns, and those come earlier (Linux 6.12; nothing happens before). And, where
/// that is allowed, for a somewhat higher priority than the process has: beside hundreds of threads
/// that compute an equal share would be too little to stop them. Does nothing under another policy
/// than the usual one.
pub(super) fn ask_for_short_turns() {
    /// `struct sched_attr` of Linux, as long as it was in its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    /// The shortest turn there is, in ns.
    const TURN: u64 = 100_000;
    const HIGHER: i32 = 5;
    const HIGHEST: i32 = -20;
    let size = size_of::<Attributes>() as u32;
    let mut now = Attributes::default();
    // SAFETY: a structure of our own, as long as it is said to be.
    let rc = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, size, 0) };
    if rc != 0 || now.policy != libc::SCHED_OTHER as u32 {
        return;
    }
    for nice in [(now.nice - HIGHER).max(HIGHEST), now.nice] {
        let attributes = Attributes {
            size,
            policy: now.policy,
            nice,
            runtime: TURN,
            ..Attributes::default()
        };
        // SAFETY: a structure of our own, with its size in it.
        let rc = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        if rc == 0 {
            return;
        }
    }
}

/// Keeps the program's signals away from the calling thread: they are for others
/// to handle, who can wait.
pub(super) fn block_signals() {
    // SAFETY: a set of our own, filled in. Faults are let through: blocked ones kill.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut set);
        for fault in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
        ] {
            libc::sigdelset(&mut set, fault);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut());
    }
}

/// Sends the signal to the thread `tid` of this process.
pub(super) fn send(tid: i32) {
    // SAFETY: no memory involved. A thread that is gone does not get it.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, SIGNAL) };
}

/// Whether a signal was sent by this process to one of its threads.
///
/// # Safety
/// `info` is the kernel's.
pub(super) unsafe fn is_from_here(info: *const SigInfo) -> bool {
    // SAFETY: the caller's promise; a signal with this code has a sender.
    unsafe { (*info).si_code == libc::SI_TKILL && (*info).si_pid() == libc::getpid() }
}

/// The calling thread's `errno`.
pub(super) fn errno() -> c_int {
    // SAFETY: it is always there.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's `errno`.
pub(super) fn set_errno(errno: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// The CPU time that the thread `tid` has used; None when it is gone.
pub(super) fn cpu_time(tid: i32) -> Option<Nanos> {
    // The kernel's encoding of "thread `tid`, its scheduler's clock".
    let clock = (!tid << 3) | 6;
    // SAFETY: all zero is a valid timespec, filled in by the call.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        (libc::clock_gettime(clock, &mut time) == 0)
            .then(|| time.tv_sec as Nanos * 1_000_000_000 + time.tv_nsec as Nanos)
    }
}

/// The file that shows what the thread `tid` of this process is doing.
pub(super) fn open_state(tid: i32) -> Option<OwnedFd> {
    open_of_task(tid, "syscall")
}

/// A file that the OS has for the thread `tid` of this process.
fn open_of_task(tid: i32, name: &str) -> Option<OwnedFd> {
    let mut path = [0u8; 48];
    // The array has room for any number.
    let _ = write!(&mut path[..], "/proc/self/task/{tid}/{name}\0");
    let path = CStr::from_bytes_until_nul(&path).ok()?;
    // SAFETY: a string that ends; the descriptor is ours alone.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    }
}

/// Whether that file shows a thread that runs or could; None when it cannot tell.
pub(super) fn is_running(state: &OwnedFd) -> Option<bool> {
    let mut begin = [0u8; 8];
    // SAFETY: the buffer is as long as we say.
    let n = unsafe { libc::pread(state.as_raw_fd(), begin.as_mut_ptr().cast(), begin.len(), 0) };
    (n > 0).then_some(begin[0] == b'r')
}

/// How often the thread `tid` of this process has gone to sleep, as a count that wraps; None when
/// the OS does not say. Takes some 5 us: the file tells much else.
pub(super) fn sleeps(tid: i32) -> Option<u32> {
    const NAME: &[u8] = b"\nvoluntary_ctxt_switches:\t";
    let file = open_of_task(tid, "status")?;
    // Longer than it is on any machine; what is looked for stands at the end.
    let mut text = [0u8; 4096];
    // SAFETY: the buffer is as long as we say.
    let n = unsafe { libc::pread(file.as_raw_fd(), text.as_mut_ptr().cast(), text.len(), 0) };
    let text = &text[..usize::try_from(n).ok()?];
    let at = text.windows(NAME.len()).rposition(|w| w == NAME)?;
    let digits = text[at + NAME.len()..].iter();
    let digits = digits.take_while(|b| b.is_ascii_digit());
    Some(digits.fold(0, |n: u32, b| {
        n.wrapping_mul(10).wrapping_add(u32::from(b - b'0'))
    }))
}

/// As [`sleeps`], of the calling thread. Safe in a signal handler.
pub(super) fn own_sleeps() -> u32 {
    // SAFETY: all zeroes is a value, which the call fills in; it is one system call.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        usage.ru_nvcsw as u32
    }
}

/// What the monitor sleeps on, and how it is woken.
pub(super) struct Bell(OwnedFd);

impl Bell {
    /// # Errors
    /// What `eventfd` says.
    pub(super) fn new() -> io::Result<Bell> {
        // SAFETY: no memory involved; the descriptor is ours alone.
        unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Bell(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Wakes the monitor. Safe in a signal handler that saves errno.
    pub(super) fn ring(&self) {
        let one = 1u64;
        // SAFETY: eight bytes of our own. It fails only when it rings already.
        unsafe { libc::write(self.0.as_raw_fd(), ptr::from_ref(&one).cast(), 8) };
    }

    /// Sleeps until it rings, `also` is readable or `timeout` is over.
    pub(super) fn wait(&self, also: Option<RawFd>, timeout: Option<Duration>) {
        let watched = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // A negative descriptor is left out.
        let mut fds = [watched(self.0.as_raw_fd()), watched(also.unwrap_or(-1))];
        let ts = timeout.map(|d| libc::timespec {
            tv_sec: libc::time_t::try_from(d.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: d.subsec_nanos().into(),
        });
        let ts = ts.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut count = 0u64;
        // SAFETY: two pollfds, a timespec or null, no mask, and eight bytes to read into.
        unsafe {
            libc::ppoll(fds.as_mut_ptr(), 2, ts, ptr::null());
            if fds[0].revents != 0 {
                libc::read(self.0.as_raw_fd(), ptr::from_mut(&mut count).cast(), 8);
            }
        }
    }
}
