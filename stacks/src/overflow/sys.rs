//! Every system call of the overflow report, and what differs by architecture in
//! what a signal handler is given.

use std::ffi::c_int;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

pub(super) use libc::{
    SA_NODEFER, SA_ONSTACK, SA_RESTART, SA_SIGINFO, SIG_DFL, SIG_IGN, SIGBUS, SIGSEGV, sigaction,
    siginfo_t,
};

/// What a handler with `SA_SIGINFO` looks like.
pub(super) type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut libc::c_void);

/// The action installed for `signal`.
pub(super) fn action_of(signal: c_int) -> io::Result<sigaction> {
    // SAFETY: all zeroes is a valid `sigaction`, which the call fills in.
    unsafe {
        let mut old: sigaction = std::mem::zeroed();
        if libc::sigaction(signal, ptr::null(), &mut old) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(old)
    }
}

/// Installs `action` for `signal`. Safe in a signal handler.
pub(super) fn set_action(signal: c_int, action: &sigaction) -> io::Result<()> {
    // SAFETY: the action is complete; its handler was written for the signal.
    if unsafe { libc::sigaction(signal, action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// An action that runs `handler` on the alternate stack, with the mask of
/// `before` and SIGURG blocked.
pub(super) fn handler_action(handler: Handler, before: &sigaction) -> sigaction {
    let mut action = *before;
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | before.sa_flags & (SA_RESTART | SA_NODEFER);
    // SAFETY: a valid set and a valid signal.
    unsafe { libc::sigaddset(&mut action.sa_mask, libc::SIGURG) };
    action
}

/// Makes the signal end the process when it comes again.
pub(super) fn set_default(signal: c_int) {
    // SAFETY: all zeroes is `SIG_DFL` with no flags and an empty mask.
    let action = unsafe { std::mem::zeroed::<sigaction>() };
    let _ = set_action(signal, &action);
}

/// Sends the signal to the calling thread.
pub(super) fn raise(signal: c_int) {
    // SAFETY: no memory involved.
    unsafe { libc::raise(signal) };
}

/// The address that faulted, if a memory access did; a signal that somebody sent
/// has none.
///
/// # Safety
/// `info` is what the kernel gave a handler of SIGSEGV or SIGBUS.
pub(super) unsafe fn fault_address(info: *const siginfo_t) -> Option<usize> {
    // SAFETY: the caller's promise. Codes above zero come from the kernel, and
    // then the address is set.
    unsafe {
        ((*info).si_code > 0 && (*info).si_code != SI_KERNEL).then(|| (*info).si_addr().addr())
    }
}

/// The kernel's code for faults with no address (a non-canonical one).
const SI_KERNEL: c_int = 0x80;

/// The stack pointer of the interrupted code.
///
/// # Safety
/// `context` is what the kernel gave a handler.
pub(super) unsafe fn stack_pointer(context: *const libc::c_void) -> Option<usize> {
    let context = context.cast::<libc::ucontext_t>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise.
    return Some(unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] } as usize);
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's promise.
    return Some(unsafe { (*context).uc_mcontext.sp } as usize);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        None
    }
}

/// Writes to standard error; what cannot be written is lost.
pub(super) fn write_stderr(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the slice is valid memory.
        let n = unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        if n > 0 {
            bytes = &bytes[n as usize..];
        } else if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Aborts the process when the calling thread has got nowhere for `seconds`, or has not ended
/// it in ten times that: it may wait for a lock that is never released, and it may also have to
/// share its CPU with many.
pub(super) fn abort_after(seconds: u32) {
    static SECONDS: AtomicU32 = AtomicU32::new(0);
    static CLOCK: AtomicI32 = AtomicI32::new(0);
    static USED: AtomicU64 = AtomicU64::new(0);
    static ROUNDS: AtomicU32 = AtomicU32::new(0);
    /// Less CPU time than this in `seconds` is nowhere, in ns.
    const NOWHERE: u64 = 10_000_000;

    /// Async-signal-safe, and run by any thread.
    unsafe extern "C" fn give_up(_: c_int, _: *mut siginfo_t, _: *mut libc::c_void) {
        let used = cpu_time(CLOCK.load(Ordering::Relaxed));
        let got_on = used.saturating_sub(USED.swap(used, Ordering::Relaxed)) > NOWHERE;
        if got_on && ROUNDS.fetch_add(1, Ordering::Relaxed) < 9 {
            // SAFETY: no memory is involved.
            unsafe { libc::alarm(SECONDS.load(Ordering::Relaxed)) };
            return;
        }
        write_stderr(b"  (gave up)\n");
        abort();
    }
    SECONDS.store(seconds, Ordering::Relaxed);
    let mut clock = 0;
    // SAFETY: the thread lives, and the clock's number is written to a local. (If there is none, 0
    // is the clock on the wall, which always gets on.)
    unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
    CLOCK.store(clock, Ordering::Relaxed);
    USED.store(cpu_time(clock), Ordering::Relaxed);
    // SAFETY: all zeroes is a valid action and a valid mask, filled in below.
    unsafe {
        let action = handler_action(give_up, &std::mem::zeroed());
        let _ = set_action(libc::SIGALRM, &action);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
        libc::alarm(seconds);
    }
}

/// What a clock of a thread says, in ns.
fn cpu_time(clock: libc::clockid_t) -> u64 {
    // SAFETY: all zeroes is a valid time, which the call fills in.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(clock, &mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Ends the process with SIGABRT.
pub(super) fn abort() -> ! {
    // SAFETY: no memory involved.
    unsafe { libc::abort() }
}

/// Waits for the end of the process, which another thread is bringing about.
pub(super) fn wait_for_the_end() -> ! {
    loop {
        // SAFETY: no memory involved.
        unsafe { libc::pause() };
    }
}

/// Maps an alternate stack: `size` bytes above a guard of `guard` bytes. Returns
/// its lowest usable byte.
pub(super) fn map_alt_stack(size: usize, guard: usize) -> io::Result<*mut u8> {
    // SAFETY: a new private mapping at an address the kernel chooses, of which
    // the part above the guard is then opened.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let p = libc::mmap(ptr::null_mut(), size + guard, libc::PROT_NONE, flags, -1, 0);
        if p == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let low = p.byte_add(guard);
        if libc::mprotect(low, size, libc::PROT_READ | libc::PROT_WRITE) != 0 {
            let e = io::Error::last_os_error();
            libc::munmap(p, size + guard);
            return Err(e);
        }
        Ok(low.cast())
    }
}

/// Undoes [`map_alt_stack`].
///
/// # Safety
/// `low` came from it with these sizes and nothing runs there.
pub(super) unsafe fn unmap_alt_stack(low: *mut u8, size: usize, guard: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(low.sub(guard).cast(), size + guard) };
}

/// Makes the memory the calling thread's alternate stack; returns what it had.
pub(super) fn swap_alt_stack(new: &libc::stack_t) -> io::Result<libc::stack_t> {
    // SAFETY: the new stack is mapped, or `SS_DISABLE`; the old is filled in.
    unsafe {
        let mut old: libc::stack_t = std::mem::zeroed();
        if libc::sigaltstack(new, &mut old) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(old)
    }
}

/// The calling thread's alternate stack.
pub(super) fn alt_stack() -> io::Result<libc::stack_t> {
    // SAFETY: only reads, into a value that may be all zeroes.
    unsafe {
        let mut now: libc::stack_t = std::mem::zeroed();
        if libc::sigaltstack(ptr::null(), &mut now) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(now)
    }
}

/// The value that makes `size` bytes from `low` an alternate stack.
pub(super) fn enabled(low: *mut u8, size: usize) -> libc::stack_t {
    libc::stack_t {
        ss_sp: low.cast(),
        ss_flags: 0,
        ss_size: size,
    }
}

/// The value to restore `old` with: the kernel refuses the flags it reports
/// itself.
pub(super) fn restored(old: &libc::stack_t) -> libc::stack_t {
    libc::stack_t {
        ss_flags: old.ss_flags & libc::SS_DISABLE,
        ..*old
    }
}

/// The smallest alternate stack that the kernel's own frame fits in (vector
/// registers make it large).
pub(super) fn least_alt_stack() -> usize {
    // SAFETY: reads a constant of the process.
    let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    least.max(libc::MINSIGSTKSZ)
}
