//! TCP connections.

use super::convert::conversions;
use super::resolve;
use super::socket::Socket;
use crate::clock;
use goweft_netpoll::Direction;
use socket2::{Domain, Type};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::TcpStreamExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// At most this much is read or written by one system call, so that no goroutine keeps
/// its processor for the copying of more.
const MOST: usize = 1 << 30;

/// A TCP connection: [`std::net::TcpStream`] for goroutines.
///
/// Reading and writing may go on at the same time, from any goroutines, through clones or
/// `&TcpStream`. The connection is closed when the last clone is dropped, or by
/// [`close`](Self::close).
///
/// # Errors
/// Every operation that may wait fails with [`TimedOut`](ErrorKind::TimedOut) after its deadline
/// or timeout, with [`NotConnected`](ErrorKind::NotConnected) carrying
/// [`Closed`](super::Closed) once the stream is closed, and with
/// [`WouldBlock`](ErrorKind::WouldBlock) in non-blocking mode, beside what the system says.
///
/// # Panics
/// In [`no_park`](crate::no_park), every operation that has to wait: connecting, reading, peeking
/// and writing.
///
/// # Examples
///
/// ```
/// use goweft::net::{TcpListener, TcpStream};
/// use std::io::{self, Read, Write};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let server = goweft::spawn(move || {
///     let (mut stream, _) = listener.accept()?;
///     let mut word = [0; 4];
///     stream.read_exact(&mut word)?;
///     word.reverse();
///     stream.write_all(&word)
/// });
///
/// let mut stream = TcpStream::connect(addr)?;
/// stream.write_all(b"weft")?;
/// let mut word = [0; 4];
/// stream.read_exact(&mut word)?;
/// assert_eq!(&word, b"tfew");
/// server.join().expect("it does not panic")?;
/// # io::Result::Ok(())
/// ```
pub struct TcpStream {
    socket: Arc<Socket<std::net::TcpStream>>,
}

conversions!(TcpStream, std::net::TcpStream);

impl TcpStream {
    /// A connected socket of our own, non-blocking.
    pub(super) fn register(socket: std::net::TcpStream) -> io::Result<TcpStream> {
        let stream = TcpStream {
            socket: Arc::new(Socket::new(socket)),
        };
        stream.socket.check()?;
        Ok(stream)
    }

    /// For those that have the kernel move bytes.
    pub(crate) fn socket(&self) -> &Socket<std::net::TcpStream> {
        &self.socket
    }

    /// Connects to `addr`; if it stands for several, to the first that answers. Waits as long as
    /// the system tries, two minutes or so an address.
    ///
    /// Looking up a name blocks the thread, but not the goroutines behind this one.
    ///
    /// # Errors
    /// Those of the last address: [`ConnectionRefused`](ErrorKind::ConnectionRefused),
    /// [`TimedOut`](ErrorKind::TimedOut), … If there is none,
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        resolve::first_that_works(addr, |addr| connect(addr, clock::NEVER))
    }

    /// Connects to `addr` within `timeout`.
    ///
    /// # Errors
    /// [`TimedOut`](ErrorKind::TimedOut) when it takes longer;
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a timeout of zero; those of
    /// [`connect`](Self::connect).
    ///
    /// # Panics
    /// As [`connect`](Self::connect).
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a timeout of zero would fail at once",
            ));
        }
        connect(*addr, clock::after(timeout))
    }

    /// Closes the connection for all its clones, at once. Does not wait: what was written is
    /// still sent, but if there is something left to read, the peer sees a reset.
    ///
    /// Who waits on the stream, and all later calls, fail with
    /// [`NotConnected`](ErrorKind::NotConnected) carrying [`Closed`](super::Closed).
    ///
    /// # Errors
    /// That one, if it was closed before.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::net::{Closed, TcpListener, TcpStream};
    /// use std::io::Read;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut stream = TcpStream::connect(listener.local_addr()?)?;
    /// let same = stream.try_clone()?;
    /// let reading = goweft::spawn(move || stream.read(&mut [0; 16]));
    /// same.close()?;
    /// let error = reading.join().expect("it does not panic").unwrap_err();
    /// assert!(error.get_ref().is_some_and(|inner| inner.is::<Closed>()));
    /// # std::io::Result::Ok(())
    /// ```
    pub fn close(&self) -> io::Result<()> {
        self.socket.close()
    }

    /// When reading and writing fail, now or later; `None`: never. An absolute time, so it
    /// holds for any number of operations. Those that wait are woken to see it.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&Direction::BOTH, deadline)
    }

    /// [`set_deadline`](Self::set_deadline) for reading and peeking.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&[Direction::Read], deadline)
    }

    /// [`set_deadline`](Self::set_deadline) for writing. A `write_all` that fails may
    /// have written some.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn set_write_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&[Direction::Write], deadline)
    }

    /// The address of the other end.
    ///
    /// # Errors
    /// When the stream is closed, or not connected any more.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(std::net::TcpStream::peer_addr)
    }

    /// The address of this end.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(std::net::TcpStream::local_addr)
    }

    /// Ends reading, writing or both; those who wait for it see the end of the stream, or
    /// [`BrokenPipe`](ErrorKind::BrokenPipe).
    ///
    /// # Errors
    /// Those of `shutdown(2)`, and when the stream is closed.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.call(|stream| stream.shutdown(how))
    }

    /// Another handle of the same connection, with the same deadlines and timeouts.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        self.socket.call(|_| {
            Ok(TcpStream {
                socket: Arc::clone(&self.socket),
            })
        })
    }

    /// How long each read waits at most, from its first `WouldBlock` on; `None`: forever.
    /// Counts for reads that begin later; see [`set_read_deadline`](Self::set_read_deadline)
    /// for one that waits.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for zero, and when the stream is closed.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_timeout(Direction::Read, timeout)
    }

    /// How long each write waits at most, as for reads.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for zero, and when the stream is closed.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_timeout(Direction::Write, timeout)
    }

    /// What [`set_read_timeout`](Self::set_read_timeout) set.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.socket.timeout(Direction::Read)
    }

    /// What [`set_write_timeout`](Self::set_write_timeout) set.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.socket.timeout(Direction::Write)
    }

    /// Reads without taking: the next read gets the same. Waits until there is something.
    ///
    /// # Errors
    /// See the type.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return self.socket.call(|_| Ok(0));
        }
        self.socket
            .operate(Direction::Read, |stream| stream.peek(buf))
    }

    /// Whether small pieces are sent at once (`TCP_NODELAY`). Off at first, as std's.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.call(|stream| stream.set_nodelay(nodelay))
    }

    /// What [`set_nodelay`](Self::set_nodelay) set.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.call(std::net::TcpStream::nodelay)
    }

    /// Sets the time to live of what is sent.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`, and when the stream is closed.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.call(|stream| stream.set_ttl(ttl))
    }

    /// The time to live of what is sent.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.call(std::net::TcpStream::ttl)
    }

    /// Whether receipt is acknowledged at once (`TCP_QUICKACK`); std has this in
    /// [`TcpStreamExt`].
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        self.socket.call(|stream| stream.set_quickack(quickack))
    }

    /// What [`set_quickack`](Self::set_quickack) set, unless the system has changed it.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn quickack(&self) -> io::Result<bool> {
        self.socket.call(TcpStreamExt::quickack)
    }

    /// The error that is pending on the socket (`SO_ERROR`), which is cleared.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.call(std::net::TcpStream::take_error)
    }

    /// Whether operations fail with [`WouldBlock`](ErrorKind::WouldBlock) instead of
    /// waiting. Counts for those that begin later, on all clones. The open file itself is
    /// non-blocking in any case.
    ///
    /// # Errors
    /// When the stream is closed.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }
}

/// A connection to one address, by `limit`.
fn connect(addr: SocketAddr, limit: clock::Nanos) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(
        Domain::for_address(addr),
        Type::STREAM.cloexec().nonblocking(),
        None,
    )?;
    let pending = match socket.connect(&addr.into()) {
        Ok(()) => false,
        // Interrupted: it goes on, as if it had been in progress.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => true,
        Err(e) => return Err(e),
    };
    // Registered only now: before, epoll reports a socket that is not connected as hung up.
    let stream = TcpStream::register(socket.into())?;
    if pending {
        stream
            .socket
            .operate_until(Direction::Write, Some(limit), |socket| {
                if let Some(e) = socket.take_error()? {
                    return Err(e);
                }
                match socket.peer_addr() {
                    Ok(_) => Ok(()),
                    // Neither failed nor connected: an event of something else.
                    Err(e) if e.kind() == ErrorKind::NotConnected => {
                        Err(ErrorKind::WouldBlock.into())
                    }
                    Err(e) => Err(e),
                }
            })?;
    }
    Ok(stream)
}

impl Read for &TcpStream {
    /// Waits until there is something, or the end of the stream: 0. With an empty buffer 0
    /// at once.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return self.socket.call(|_| Ok(0));
        }
        let most = buf.len().min(MOST);
        let buf = &mut buf[..most];
        self.socket
            .operate(Direction::Read, |mut stream| stream.read(buf))
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if bufs.iter().all(|buf| buf.is_empty()) {
            return self.socket.call(|_| Ok(0));
        }
        self.socket
            .operate(Direction::Read, |mut stream| stream.read_vectored(bufs))
    }
}

impl Write for &TcpStream {
    /// Waits until there is room for something; how much was taken.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let buf = &buf[..buf.len().min(MOST)];
        self.socket
            .operate(Direction::Write, |mut stream| stream.write(buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket
            .operate(Direction::Write, |mut stream| stream.write_vectored(bufs))
    }

    /// Nothing to do: what is written is the system's.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
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

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TcpStream");
        if let Ok(addr) = self.local_addr() {
            out.field("addr", &addr);
        }
        if let Ok(peer) = self.peer_addr() {
            out.field("peer", &peer);
        }
        if self.socket.is_closed() {
            out.field("closed", &true);
        }
        out.field("fd", &self.as_raw_fd()).finish()
    }
}
