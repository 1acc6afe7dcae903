//! The system calls that move bytes without our seeing them:
//!
//! | function | call | between |
//! |---|---|---|
//! | [`splice`] | splice | a pipe and anything |
//! | [`send_file`] | sendfile | a file and anything |
//! | [`copy_files`] | copy_file_range | two files |
//!
//! Also those for a descriptor of any kind: whether it is ready, its mode, bytes in and out.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, copy_file_range, fcntl_getfl, sendfile};
use rustix::io::{ioctl_fionbio, readv, writev};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

/// A pipe whose ends are non-blocking and not inherited by children.
///
/// # Errors
/// No descriptors left, most often.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

/// Gives a pipe room for so many bytes, if the system allows it.
pub(super) fn enlarge(pipe: BorrowedFd<'_>, bytes: usize) {
    // Refused to an unprivileged user who has many: it works as it is.
    let _ = fcntl_setpipe_size(pipe, bytes);
}

/// Moves up to `most` bytes from `from` to `to`, one of which is a pipe; 0 at the end.
/// Does not wait for the pipe, nor for a non-blocking descriptor.
///
/// # Errors
/// `WouldBlock` when one of them is not ready, and what else the system says.
pub(super) fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(rustix::pipe::splice(from, None, to, None, most, flags)?)
}

/// Moves up to `most` bytes from `file`, at its position, to `to`; 0 at the end.
///
/// # Errors
/// `WouldBlock` when `to` is not ready, and what else the system says.
pub(super) fn send_file(
    file: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    most: usize,
) -> io::Result<usize> {
    Ok(sendfile(to, file, None, most)?)
}

/// Moves up to `most` bytes between files, at their positions; 0 at the end.
///
/// # Errors
/// What the system says.
pub(super) fn copy_files(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    most: usize,
) -> io::Result<usize> {
    Ok(copy_file_range(from, None, to, None, most)?)
}

/// Whether a read would not wait.
pub(super) fn is_readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    is_ready(fd, PollFlags::IN)
}

/// Whether a write would not wait.
pub(super) fn is_writable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    is_ready(fd, PollFlags::OUT)
}

/// A hang-up or an error counts: the attempt tells.
fn is_ready(fd: BorrowedFd<'_>, what: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, what)];
    Ok(poll(&mut fds, Some(&Timespec::default()))? != 0)
}

/// Whether the open file is non-blocking.
pub(super) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(fcntl_getfl(fd)?.contains(OFlags::NONBLOCK))
}

/// Sets that, and no other flag, whoever else sets some.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    Ok(ioctl_fionbio(fd, nonblocking)?)
}

/// Reads; 0 at the end.
///
/// # Errors
/// `WouldBlock` when there is nothing, and what else the system says. So for the others.
pub(super) fn read(fd: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(fd, buf)?)
}

/// Reads into one after the other.
pub(super) fn read_vectored(fd: BorrowedFd<'_>, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    Ok(readv(fd, bufs)?)
}

/// Writes.
pub(super) fn write(fd: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(fd, buf)?)
}

/// Writes one after the other.
pub(super) fn write_vectored(fd: BorrowedFd<'_>, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(writev(fd, bufs)?)
}
