//! Any descriptor that can be waited for.

use super::sys;
use crate::net::socket::Socket;
use goweft_netpoll::Direction;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

/// Any other descriptor, for goroutines: what would block the thread parks instead.
///
/// For what is a file to the system and can be waited for: terminals, FIFOs, eventfd, timerfd,
/// inotify, a process (pidfd), devices, sockets that [`net`](crate::net) does not have, or the
/// library of somebody else that hands out a descriptor. `T` is whatever has it:
/// [`File`](std::fs::File), [`OwnedFd`], [`BorrowedFd`], [`UdpSocket`](std::net::UdpSocket),
/// [`UnixStream`](std::os::unix::net::UnixStream), … Regular files are always ready, and refused.
///
/// It can be read and written as a [`File`](std::fs::File) can, whatever `T` is: the bytes are
/// those of the descriptor. Every other call is made in [`read_with`](Self::read_with) or
/// [`write_with`](Self::write_with), or after [`readable`](Self::readable) or
/// [`writable`](Self::writable). Reading and writing may go on at the same time; to share it,
/// borrow it, or put it into an [`Arc`](std::sync::Arc). Those that wait in one direction are woken
/// in the order of their coming, one for each event; one that comes just then may be faster. They
/// should want the same: what is not enough for the first is not offered to the next. A plain OS
/// thread may use it too, and blocks.
///
/// The names are those of the crate async-io, where a future waits.
///
/// The open file is non-blocking from [`new`](Self::new) on, for duplicates and other processes as
/// well, also when this is dropped: [`into_inner`](Self::into_inner) puts back what was. Leave it
/// so; and `T` must be the same descriptor as long as it is in here.
///
/// # Errors
/// Every operation that may wait fails with [`TimedOut`](ErrorKind::TimedOut) after its deadline,
/// before anything is tried, and with what the system says.
///
/// # Panics
/// Inside [`no_park`](crate::no_park), what has to wait.
///
/// # Examples
///
/// ```
/// use goweft::io::Async;
/// use std::io::{self, Read, Write};
/// use std::os::unix::net::UnixStream;
///
/// let (here, there) = UnixStream::pair()?;
/// let (here, mut there) = (Async::new(here)?, Async::new(there)?);
/// goweft::scope(|s| {
///     s.spawn(|| (&here).write_all(b"weft")); // while others read
///     let mut word = [0; 4];
///     there.read_exact(&mut word)?; // parks
///     assert_eq!(&word, b"weft");
///     io::Result::Ok(())
/// })?;
/// # io::Result::Ok(())
/// ```
#[doc(alias = "AsyncFd")]
#[doc(alias = "os.NewFile")]
#[doc(alias = "syscall.RawConn")]
pub struct Async<T> {
    socket: Socket<T>,
    /// How the open file came.
    was_nonblocking: bool,
}

impl<T: AsFd> Async<T> {
    /// Takes over a descriptor: makes its open file non-blocking, and watches it. Does not wait.
    ///
    /// # Errors
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) for what is always ready, which are
    /// regular files, directories and `/dev/null`: [`blocking`](crate::blocking) is for those.
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) for a descriptor that is in another `Async`, a
    /// socket or a pipe of ours. No memory, or the limit of `fs.epoll.max_user_watches`. The open
    /// file is as it was then, and `inner` is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::io::Async;
    /// use std::fs::File;
    /// use std::io::ErrorKind;
    ///
    /// let regular = Async::new(File::open("Cargo.toml")?).unwrap_err();
    /// assert_eq!(regular.kind(), ErrorKind::PermissionDenied);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn new(inner: T) -> io::Result<Async<T>> {
        let was_nonblocking = sys::is_nonblocking(inner.as_fd())?;
        // Watched first: what is refused stays as it is.
        let socket = Socket::new(inner);
        socket.check().map_err(explained)?;
        if !was_nonblocking {
            sys::set_nonblocking(socket.as_fd(), true)?;
        }
        Ok(Async {
            socket,
            was_nonblocking,
        })
    }

    /// What was given to [`new`](Self::new), for calls that never wait. One that would fails
    /// with [`WouldBlock`](ErrorKind::WouldBlock).
    pub fn get_ref(&self) -> &T {
        self.socket.get_ref()
    }

    /// Gives it back, no longer watched and in the mode in which it came.
    ///
    /// # Errors
    /// What the system says of the mode. There is none that can be expected. `T` is dropped then.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::io::Async;
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (here, mut there) = UnixStream::pair()?;
    /// let mut here = Async::new(here)?.into_inner()?;
    /// let plain = std::thread::spawn(move || here.read(&mut [0; 8])); // blocks the thread
    /// there.write_all(b"weft")?;
    /// assert_eq!(plain.join().unwrap()?, 4);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn into_inner(self) -> io::Result<T> {
        let inner = self.socket.unwatched();
        if !self.was_nonblocking {
            sys::set_nonblocking(inner.as_fd(), false)?;
        }
        Ok(inner)
    }

    /// Waits until a read would not: there is something, the end, or an error. Nothing is taken,
    /// so another reader may be faster. A pidfd is readable when its process has ended.
    ///
    /// # Errors
    /// See the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::io::Async;
    /// use std::io::Write;
    ///
    /// let (reader, mut writer) = std::io::pipe()?;
    /// let reader = Async::new(reader)?;
    /// goweft::scope(|s| {
    ///     s.spawn(|| writer.write_all(b"x"));
    ///     reader.readable()
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn readable(&self) -> io::Result<()> {
        self.read_with(|inner| ready(sys::is_readable(inner.as_fd())?))
    }

    /// Waits until a write would not: there is room for something, or it fails. Another writer
    /// may be faster.
    ///
    /// # Errors
    /// See the type.
    pub fn writable(&self) -> io::Result<()> {
        self.write_with(|inner| ready(sys::is_writable(inner.as_fd())?))
    }

    /// Calls `f`, and again whenever there may be something to read, until it does not say
    /// [`WouldBlock`](ErrorKind::WouldBlock) or [`Interrupted`](ErrorKind::Interrupted).
    ///
    /// `f` makes a call that reads, receives or accepts, and says `WouldBlock` only if that did:
    /// what it waits for is the next time that something comes. It may call goweft, but the others
    /// that wait to read do so until it has returned.
    ///
    /// # Errors
    /// Any other of `f`'s, and see the type.
    ///
    /// # Panics
    /// When `f` does; the next one that waits gets its turn all the same. And see the type.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::io::Async;
    /// use std::net::UdpSocket;
    ///
    /// let socket = Async::new(UdpSocket::bind("127.0.0.1:0")?)?;
    /// let addr = socket.get_ref().local_addr()?;
    /// let other = Async::new(UdpSocket::bind("127.0.0.1:0")?)?;
    /// goweft::scope(|s| {
    ///     s.spawn(|| other.write_with(|other| other.send_to(b"weft", addr)));
    ///     let mut buf = [0; 16];
    ///     let (n, from) = socket.read_with(|socket| socket.recv_from(&mut buf))?; // parks
    ///     assert_eq!((&buf[..n], from), (&b"weft"[..], other.get_ref().local_addr()?));
    ///     std::io::Result::Ok(())
    /// })?;
    /// # std::io::Result::Ok(())
    /// ```
    pub fn read_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.socket.operate(Direction::Read, f)
    }

    /// As [`read_with`](Self::read_with), for a call that writes, sends or connects: `f` is called
    /// again whenever there may be room.
    ///
    /// # Errors
    /// Any other of `f`'s, and see the type.
    ///
    /// # Panics
    /// As for `read_with`.
    pub fn write_with<R>(&self, f: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.socket.operate(Direction::Write, f)
    }

    /// When reading and writing fail, now or later; `None`: never. An absolute time, so it
    /// holds for any number of operations. Those that wait are woken to see it.
    ///
    /// # Errors
    /// None that can be expected.
    ///
    /// # Examples
    ///
    /// To end what waits, as there is no `close`:
    ///
    /// ```
    /// use goweft::io::Async;
    /// use std::io::ErrorKind;
    /// use std::time::Instant;
    ///
    /// let (reader, _writer) = std::io::pipe()?;
    /// let reader = Async::new(reader)?;
    /// let end = goweft::scope(|s| {
    ///     let waits = s.spawn(|| reader.readable());
    ///     reader.set_deadline(Some(Instant::now()))?;
    ///     waits.join().unwrap()
    /// });
    /// assert_eq!(end.unwrap_err().kind(), ErrorKind::TimedOut);
    /// # std::io::Result::Ok(())
    /// ```
    pub fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&Direction::BOTH, deadline)
    }

    /// [`set_deadline`](Self::set_deadline) for reading.
    ///
    /// # Errors
    /// None that can be expected.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&[Direction::Read], deadline)
    }

    /// [`set_deadline`](Self::set_deadline) for writing. A `write_all` that fails may
    /// have written some.
    ///
    /// # Errors
    /// None that can be expected.
    pub fn set_write_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&[Direction::Write], deadline)
    }
}

/// What an attempt says that only looks.
fn ready(is_ready: bool) -> io::Result<()> {
    if is_ready {
        Ok(())
    } else {
        Err(ErrorKind::WouldBlock.into())
    }
}

/// Why a descriptor cannot be watched, where epoll's words do not tell.
#[cold]
fn explained(e: io::Error) -> io::Error {
    let why = match e.kind() {
        ErrorKind::PermissionDenied => {
            "always ready, as regular files are: nothing to wait for (see goweft::blocking)"
        }
        ErrorKind::AlreadyExists => "the descriptor is being watched already",
        _ => return e,
    };
    io::Error::new(e.kind(), why)
}

// Not by `T`'s own `Read`: `impl Read for &Async<T> where &T: Read` asks the same question of
// another type without end, and where a program has left open which reference it reads from, the
// compiler stops there (rust-lang/rust#57854).

/// Reads the descriptor, by `read(2)`: what `T` may have buffered is passed by.
impl<T: AsFd> Read for &Async<T> {
    /// Waits until there is something, or the end: 0. With an empty buffer 0 at once.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.read_with(|inner| sys::read(inner.as_fd(), buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return Ok(0);
        }
        self.read_with(|inner| sys::read_vectored(inner.as_fd(), bufs))
    }
}

/// As for a reference.
impl<T: AsFd> Read for Async<T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

/// Writes to the descriptor, by `write(2)`: what `T` has buffered is passed by. Where nobody reads
/// any more the system sends SIGPIPE, for a socket too, unless the program ignores it, as Rust's
/// programs do.
impl<T: AsFd> Write for &Async<T> {
    /// Waits until there is room for something; how much was taken.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_with(|inner| sys::write(inner.as_fd(), buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_with(|inner| sys::write_vectored(inner.as_fd(), bufs))
    }

    /// Nothing to do: what is written is the system's.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// As for a reference.
impl<T: AsFd> Write for Async<T> {
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

/// As [`Async::new`], which tells the errors.
impl<T: AsFd + From<OwnedFd>> TryFrom<OwnedFd> for Async<T> {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<Async<T>> {
        Async::new(T::from(fd))
    }
}

/// The open file is in non-blocking mode; leave it so.
impl<T: AsFd> AsFd for Async<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<T: AsFd> AsRawFd for Async<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }
}

impl<T: AsFd> fmt::Debug for Async<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async")
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}
