//! What `signal-hook` does not do: to ask for the action of a signal, and to ignore it
//! for a time.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// What the system does at a signal.
pub(super) struct Action(libc::sigaction);

// SAFETY: the handler in it is an address that is only given back to the system.
unsafe impl Send for Action {}

impl Action {
    /// Whether nobody handles or ignores the signal.
    pub(super) fn is_default(&self) -> bool {
        self.0.sa_sigaction == libc::SIG_DFL
    }

    /// Whether it is to ignore the signal.
    pub(super) fn ignores(&self) -> bool {
        self.0.sa_sigaction == libc::SIG_IGN
    }

    pub(super) fn is_same_handler(&self, other: &Action) -> bool {
        self.0.sa_sigaction == other.0.sa_sigaction
    }

    /// The same, run on the thread's alternate stack.
    pub(super) fn on_alternate_stack(mut self) -> Action {
        self.0.sa_flags |= libc::SA_ONSTACK;
        self
    }

    /// Makes it the action of `signal`, of which it was one.
    ///
    /// # Errors
    /// What `sigaction` says.
    pub(super) fn restore(&self, signal: c_int) -> io::Result<()> {
        // SAFETY: the action is one that the system has given for this signal, so its
        // handler, if it has one, is made for it; handlers are never taken down.
        check(unsafe { libc::sigaction(signal, &self.0, ptr::null_mut()) })
    }
}

/// The action of `signal`.
///
/// # Errors
/// What `sigaction` says: EINVAL when there is no such signal.
pub(super) fn action(signal: c_int) -> io::Result<Action> {
    exchange(signal, ptr::null())
}

/// Lets the system ignore `signal`; the action before.
///
/// # Errors
/// What `sigaction` says.
pub(super) fn ignore(signal: c_int) -> io::Result<Action> {
    // SAFETY: all zero is a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_IGN;
    exchange(signal, &action)
}

fn exchange(signal: c_int, new: *const libc::sigaction) -> io::Result<Action> {
    let mut old = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: `new` is null, which only asks, or ignores; the old action is written to
    // memory of the right size.
    check(unsafe { libc::sigaction(signal, new, old.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, so it filled the action in.
    Ok(Action(unsafe { old.assume_init() }))
}

fn check(rc: c_int) -> io::Result<()> {
    match rc {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
