//! System calls of the sockets that neither std nor socket2 offers.
//!
//! | function | calls | why |
//! |---|---|---|
//! | [`retire`] | open, dup3 | closes a socket while its number stays taken |

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

/// Closes the open file behind `fd` at once and puts another one there, on which
/// every call fails with EBADF. The number stays the owner's: calls that are on
/// their way to it cannot hit a stranger that was opened meanwhile.
///
/// # Errors
/// When there is no descriptor left for the one that is put there. `fd` is then
/// as it was.
pub(super) fn retire(fd: BorrowedFd<'_>) -> io::Result<()> {
    let nothing = nothing()?;
    loop {
        // SAFETY: dup3 takes plain numbers. Both are open, and `fd` is borrowed
        // from an owner that asked for this.
        let rc = unsafe { libc::dup3(nothing.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) };
        if rc >= 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => {}
            e => return Err(e),
        }
    }
}

/// One for the process, never closed: a path that cannot be read, written or
/// asked anything about sockets.
fn nothing() -> io::Result<&'static OwnedFd> {
    static NOTHING: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(fd) = NOTHING.get() {
        return Ok(fd);
    }
    // SAFETY: a C string that lives for ever.
    let fd = unsafe { libc::open(c"/".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's. Who comes second drops theirs.
    Ok(NOTHING.get_or_init(|| unsafe { OwnedFd::from_raw_fd(fd) }))
}
