//! The report of a stack overflow.
//!
//! A fault in the guard of a stack, by code that runs on that stack, is an
//! overflow: the process says so, with a backtrace, and aborts. Any other fault
//! goes to the handler that was installed before.
//!
//! What always holds:
//! - The handler runs on an alternate stack ([`AltStack`]), allocates nothing and
//!   takes no lock until the facts are written. Only then does it look for
//!   symbols, with a deadline: the overflow may have happened inside the
//!   allocator, whose lock it would wait for.
//! - Slabs are found without locks: their list only grows, see `slab.rs`.
//! - The fault counts as an overflow only if the interrupted stack pointer lies in
//!   the same slot. A wild write into somebody's guard is a wild write.
//! - `si_code` says nothing: a marker's fault is SEGV_MAPERR and not SEGV_ACCERR,
//!   like that of a null pointer.
//!
//! How a fault is handled:
//! 1. Which slot's guard holds the address? None: step 5.
//! 2. The first thread to get here reports; others wait for the end.
//! 3. Write what `describe` says, the numbers, the raw addresses.
//! 4. Write the symbols; no longer than three seconds without getting on, or thirty. Abort.
//! 5. The handler there was before: a function is called; the default is put back,
//!    and the faulting instruction, run again, ends the process.

mod alt;
mod report;
mod sys;

pub use alt::AltStack;

use crate::class::GUARD_SIZE;
use crate::slab;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::fmt::Write;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

/// A stack overflow.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fault {
    /// The address that was touched, in the guard.
    pub address: usize,
    /// The stack pointer of the code that touched it, where it is known.
    pub stack_pointer: Option<usize>,
    /// The nominal size of the stack, in bytes: its class's.
    pub stack_size: usize,
    /// The usable part of the stack, as addresses, uncoloured: the end is a
    /// multiple of the page size.
    pub stack: Range<usize>,
}

/// Writes what is known of the computation that overflowed: what it is, who
/// started it, how to give it more stack. Runs in a signal handler: it must not
/// allocate, lock or panic. What it writes goes to standard error.
pub type Describe = fn(&Fault, &mut dyn Write);

/// Says what this crate knows: that it was a coroutine.
pub fn describe_coroutine(_: &Fault, to: &mut dyn Write) {
    let _ = writeln!(to, "a coroutine has overflowed its stack");
}

/// The actions that were installed before ours.
struct Before(UnsafeCell<MaybeUninit<[sys::sigaction; 2]>>);

// SAFETY: written once, before our handler is installed, and only read by it.
unsafe impl Sync for Before {}

static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::uninit()));
static DESCRIBE: OnceLock<Describe> = OnceLock::new();
static INSTALLED: Mutex<bool> = Mutex::new(false);
static REPORTING: AtomicBool = AtomicBool::new(false);

/// Installs the handlers of SIGSEGV and SIGBUS for the process. Later calls do
/// nothing.
///
/// They need an [`AltStack`] on each thread that runs on stacks of this crate.
///
/// # Errors
/// The kernel refuses to install a handler.
pub fn install(describe: Describe) -> io::Result<()> {
    let mut installed = INSTALLED.lock().unwrap_or_else(|e| e.into_inner());
    if *installed {
        return Ok(());
    }
    let before = [sys::action_of(sys::SIGSEGV)?, sys::action_of(sys::SIGBUS)?];
    DESCRIBE.get_or_init(|| describe);
    // SAFETY: under the lock, once, and no handler of ours runs yet.
    unsafe { (*BEFORE.0.get()).write(before) };
    for (signal, before) in [sys::SIGSEGV, sys::SIGBUS].into_iter().zip(&before) {
        sys::set_action(signal, &sys::handler_action(handle, before))?;
    }
    *installed = true;
    Ok(())
}

/// The handler of SIGSEGV and SIGBUS.
///
/// # Safety
/// Called by the kernel.
unsafe extern "C" fn handle(signal: c_int, info: *mut sys::siginfo_t, context: *mut c_void) {
    // SAFETY: both pointers are the kernel's.
    let (address, sp) = unsafe { (sys::fault_address(info), sys::stack_pointer(context)) };
    if let Some(fault) = address.and_then(|a| find(a, sp)) {
        if REPORTING.swap(true, Ordering::Relaxed) {
            sys::wait_for_the_end();
        }
        let describe = DESCRIBE.get().copied().unwrap_or(describe_coroutine);
        report::write(&fault, describe);
        sys::abort();
    }
    // SAFETY: as above.
    unsafe { forward(signal, info, context) };
}

/// The overflow that a fault at `address` is, if it is one.
fn find(address: usize, sp: Option<usize>) -> Option<Fault> {
    let slab = slab::all().find(|s| s.carved_range().contains(&address))?;
    let stride = slab.class.stride();
    let base = address - (address - slab.base) % stride;
    let slot = base..base + stride;
    let guard = base..base + GUARD_SIZE;
    // The stack pointer may already be in the guard, or right at the top of an
    // empty stack.
    let runs_here = sp.is_none_or(|sp| slot.contains(&sp) || sp == slot.end);
    (guard.contains(&address) && runs_here).then(|| Fault {
        address,
        stack_pointer: sp,
        stack_size: slab.class.size(),
        stack: guard.end..slot.end,
    })
}

/// Does what would have happened without us.
///
/// # Safety
/// The arguments are what the kernel gave the handler.
unsafe fn forward(signal: c_int, info: *mut sys::siginfo_t, context: *mut c_void) {
    // SAFETY: written before the handler was installed.
    let before = unsafe { (*BEFORE.0.get()).assume_init_ref() };
    let before = &before[usize::from(signal == sys::SIGBUS)];
    // SAFETY: as the kernel gave it.
    let sent = unsafe { (*info).si_code } <= 0;
    match before.sa_sigaction {
        sys::SIG_IGN if sent => {}
        // The kernel does not let faults be ignored.
        sys::SIG_DFL | sys::SIG_IGN => {
            sys::set_default(signal);
            // A fault comes again by itself when we return; what was sent must be
            // sent again, and arrives then.
            if sent {
                sys::raise(signal);
            }
        }
        function if before.sa_flags & sys::SA_SIGINFO != 0 => {
            // SAFETY: that is how it was installed.
            let function: sys::Handler = unsafe { std::mem::transmute(function) };
            // SAFETY: the kernel's own arguments.
            unsafe { function(signal, info, context) };
        }
        function => {
            // SAFETY: that is how it was installed.
            let function: unsafe extern "C" fn(c_int) = unsafe { std::mem::transmute(function) };
            // SAFETY: the kernel's own argument.
            unsafe { function(signal) };
        }
    }
}
