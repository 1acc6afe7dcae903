//! Pipes of the operating system that park.

use crate::net::convert::conversions;
use crate::net::socket::Socket;
use goweft_netpoll::Direction;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use super::sys;

/// Makes a pipe: what is written to one end is read from the other. [`std::io::pipe`] for
/// goroutines.
///
/// It is one of the operating system, so that its ends can be given to other processes;
/// within a program a [channel](crate::channel) is the better one. (Go's `io.Pipe`,
/// which has no buffer and is not of the system, is a rendezvous channel of buffers.)
///
/// # Errors
/// What the system says: no descriptors left, most often.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// let (mut reader, mut writer) = goweft::io::pipe()?;
/// let read = goweft::spawn(move || {
///     let mut text = String::new();
///     reader.read_to_string(&mut text).map(|_| text) // parks
/// });
/// writer.write_all(b"weft and warp")?;
/// drop(writer); // the reader comes to the end
/// assert_eq!(read.join().unwrap()?, "weft and warp");
/// # std::io::Result::Ok(())
/// ```
#[doc(alias = "os.Pipe")]
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = sys::pipe()?;
    let reader = PipeReader {
        socket: Arc::new(Socket::new(reader.into())),
    };
    let writer = PipeWriter {
        socket: Arc::new(Socket::new(writer.into())),
    };
    reader.socket.check()?;
    writer.socket.check()?;
    Ok((reader, writer))
}

/// The end of a [`pipe()`] that is read: [`std::io::PipeReader`] for goroutines.
///
/// A read waits until there is something, and gives 0 when the other end is gone. The
/// descriptor is closed with the last clone.
///
/// # Errors
/// Every operation that may wait fails with [`TimedOut`](io::ErrorKind::TimedOut) after its
/// deadline, and with [`NotConnected`](io::ErrorKind::NotConnected) carrying
/// [`Closed`](crate::net::Closed) once this end is closed.
///
/// # Panics
/// In [`no_park`](crate::no_park), every operation that has to wait.
pub struct PipeReader {
    socket: Arc<Socket<io::PipeReader>>,
}

/// The end of a [`pipe()`] that is written: [`std::io::PipeWriter`] for goroutines.
///
/// A write waits until there is room for something, and fails with
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the other end is gone. The descriptor is closed
/// with the last clone.
///
/// # Errors
/// As for [`PipeReader`].
///
/// # Panics
/// As for [`PipeReader`].
pub struct PipeWriter {
    socket: Arc<Socket<io::PipeWriter>>,
}

conversions!(PipeReader, io::PipeReader);
conversions!(PipeWriter, io::PipeWriter);

impl PipeReader {
    pub(super) fn socket(&self) -> &Socket<io::PipeReader> {
        &self.socket
    }

    /// Another handle of this end: each byte goes to one of them. They share the deadline.
    ///
    /// # Errors
    /// When this end is closed.
    pub fn try_clone(&self) -> io::Result<PipeReader> {
        self.socket.call(|_| Ok(()))?;
        Ok(PipeReader {
            socket: self.socket.clone(),
        })
    }

    /// Lets reads, those that wait and later ones, fail from `deadline` on; None: never.
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Instant;
    ///
    /// let (mut reader, _writer) = goweft::io::pipe()?;
    /// reader.set_read_deadline(Some(Instant::now()))?;
    /// assert_eq!(reader.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    /// # std::io::Result::Ok(())
    /// ```
    ///
    /// # Errors
    /// When this end is closed.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&[Direction::Read], deadline)
    }

    /// Closes this end for all its clones, at once, and wakes who reads.
    ///
    /// # Errors
    /// When it was closed before.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close()
    }
}

impl PipeWriter {
    pub(super) fn socket(&self) -> &Socket<io::PipeWriter> {
        &self.socket
    }

    /// Another handle of this end. They share the deadline.
    ///
    /// # Errors
    /// When this end is closed.
    pub fn try_clone(&self) -> io::Result<PipeWriter> {
        self.socket.call(|_| Ok(()))?;
        Ok(PipeWriter {
            socket: self.socket.clone(),
        })
    }

    /// Lets writes, those that wait and later ones, fail from `deadline` on; None: never.
    ///
    /// # Errors
    /// When this end is closed.
    pub fn set_write_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&[Direction::Write], deadline)
    }

    /// Closes this end for all its clones, at once, and wakes who writes. The other end reads
    /// what was written, and then comes to the end.
    ///
    /// # Errors
    /// When it was closed before.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close()
    }
}

impl Read for &PipeReader {
    /// Waits until there is something, or the end: 0. With an empty buffer 0 at once.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return self.socket.call(|_| Ok(0));
        }
        self.socket
            .operate(Direction::Read, |mut reader| reader.read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return self.socket.call(|_| Ok(0));
        }
        self.socket
            .operate(Direction::Read, |mut reader| reader.read_vectored(bufs))
    }
}

impl Read for PipeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for &PipeWriter {
    /// Waits until there is room for something; how much was taken.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket
            .operate(Direction::Write, |mut writer| writer.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket
            .operate(Direction::Write, |mut writer| writer.write_vectored(bufs))
    }

    /// Nothing to do: what is written is the system's.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for PipeWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// For a child process, which gets it in blocking mode; as the conversion into a
/// descriptor.
impl From<PipeReader> for Stdio {
    fn from(reader: PipeReader) -> Stdio {
        OwnedFd::from(reader).into()
    }
}

/// For a child process, which gets it in blocking mode; as the conversion into a
/// descriptor.
impl From<PipeWriter> for Stdio {
    fn from(writer: PipeWriter) -> Stdio {
        OwnedFd::from(writer).into()
    }
}

impl fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeReader")
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}

impl fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeWriter")
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}
