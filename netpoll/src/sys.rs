//! System calls that neither std nor mio offers.
//!
//! | function | call | why |
//! |---|---|---|
//! | [`wait_readable`] | ppoll | `epoll_wait`'s timeout is in milliseconds |

use std::{io, os::fd::AsRawFd, ptr, time::Duration};

/// Waits until `fd` is readable or `timeout` (nanosecond resolution) has passed; true if it
/// is. A signal ends it like the timeout.
pub(crate) fn wait_readable(fd: &impl AsRawFd, timeout: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: one initialised pollfd and a timespec, both alive during the call; a null
    // signal mask means that it is left alone.
    match unsafe { libc::ppoll(&mut poll, 1, &timeout, ptr::null()) } {
        -1 => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(false),
            e => Err(e),
        },
        n => Ok(n > 0),
    }
}
