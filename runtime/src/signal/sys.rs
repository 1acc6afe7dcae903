//! The one question about signals that `signal-hook` does not answer.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;

/// Whether `signal` has its default action: nobody handles or ignores it.
///
/// # Errors
/// What `sigaction` says: EINVAL when there is no such signal.
pub(super) fn has_default_action(signal: c_int) -> io::Result<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks; the old one is written to memory of
    // the right size.
    let rc = unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it filled the action in.
    let action = unsafe { action.assume_init() };
    Ok(action.sa_sigaction == libc::SIG_DFL)
}
