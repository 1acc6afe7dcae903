//! Accepting TCP connections.

use super::convert::conversions;
use super::socket::Socket;
use super::stream::TcpStream;
use super::{is_closed, resolve};
use goweft_netpoll::Direction;
use socket2::{Domain, SockRef, Type};
use std::fmt;
use std::io::{self, ErrorKind};
use std::iter::FusedIterator;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

/// A socket that listens for TCP connections: [`std::net::TcpListener`] for goroutines.
///
/// It is closed when the last clone is dropped, or by [`close`](Self::close). Connections
/// that were accepted live on.
///
/// # Examples
///
/// ```
/// use goweft::net::{TcpListener, TcpStream};
/// use std::io::{self, Write};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let addr = listener.local_addr()?;
/// let client = goweft::spawn(move || TcpStream::connect(addr)?.write_all(b"hello"));
/// let (stream, _) = listener.accept()?;
/// assert_eq!(io::read_to_string(stream)?, "hello");
/// client.join().expect("it does not panic")?;
/// # io::Result::Ok(())
/// ```
pub struct TcpListener {
    socket: Arc<Socket<std::net::TcpListener>>,
}

conversions!(TcpListener, std::net::TcpListener);

impl TcpListener {
    /// Listens on `addr`; if it stands for several, on the first that can be bound. Port 0 asks
    /// the system for one, see [`local_addr`](Self::local_addr).
    ///
    /// `SO_REUSEADDR` is set, as std does, and the backlog is the system's maximum. Looking up
    /// a name blocks the thread, but not the goroutines behind this one.
    ///
    /// # Errors
    /// Those of the last address: [`AddrInUse`](ErrorKind::AddrInUse),
    /// [`PermissionDenied`](ErrorKind::PermissionDenied), … If there is none,
    /// [`InvalidInput`](ErrorKind::InvalidInput).
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        resolve::first_that_works(addr, |addr| {
            let socket = socket2::Socket::new(
                Domain::for_address(addr),
                Type::STREAM.cloexec().nonblocking(),
                None,
            )?;
            socket.set_reuse_address(true)?;
            socket.bind(&addr.into())?;
            // The kernel makes it net.core.somaxconn.
            socket.listen(i32::MAX)?;
            let listener = TcpListener {
                socket: Arc::new(Socket::new(socket.into())),
            };
            listener.socket.check()?;
            Ok(listener)
        })
    }

    /// Waits for a connection; the stream, and the peer's address.
    ///
    /// Any number of goroutines may wait. Connections that the peer gave up meanwhile
    /// (ECONNABORTED) are skipped. Deadlines are those for reading.
    ///
    /// # Errors
    /// [`TimedOut`](ErrorKind::TimedOut) after the deadline;
    /// [`NotConnected`](ErrorKind::NotConnected) with [`Closed`](super::Closed) once it is
    /// closed; `WouldBlock` in non-blocking mode. What passes, and is to be expected of
    /// a busy server, is EMFILE: no descriptors left.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (accepted, addr) = self.socket.operate(Direction::Read, |listener| {
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            loop {
                match SockRef::from(listener).accept4(flags) {
                    Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                    done => return done,
                }
            }
        })?;
        let Some(addr) = addr.as_socket() else {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "the listener is not one for IP",
            ));
        };
        Ok((TcpStream::register(accepted.into())?, addr))
    }

    /// An iterator that accepts, forever; it ends when the listener is closed.
    ///
    /// Each item is what [`accept`](Self::accept) says, without the address.
    ///
    /// # Panics
    /// Its `next` does as [`accept`](Self::accept).
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Closes the listener for all its clones, at once: when it returns the port is free, and
    /// connections that nobody has accepted are reset. Does not wait.
    ///
    /// Who waits in [`accept`](Self::accept), and all later calls, fail with
    /// [`NotConnected`](ErrorKind::NotConnected) carrying [`Closed`](super::Closed): maybe just
    /// before this call returns.
    ///
    /// # Errors
    /// That one, if it was closed before.
    pub fn close(&self) -> io::Result<()> {
        self.socket.close()
    }

    /// When [`accept`](Self::accept) fails, now or later; `None`: never.
    /// The same as [`set_read_deadline`](Self::set_read_deadline), since that is all a
    /// listener does.
    ///
    /// # Errors
    /// When it is closed.
    pub fn set_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&Direction::BOTH, deadline)
    }

    /// When [`accept`](Self::accept) fails, now or later; `None`: never.
    ///
    /// # Errors
    /// When it is closed.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&[Direction::Read], deadline)
    }

    /// Of no effect on a listener, which does not write.
    ///
    /// # Errors
    /// When it is closed.
    pub fn set_write_deadline(&self, deadline: Option<Instant>) -> io::Result<()> {
        self.socket.set_deadline(&[Direction::Write], deadline)
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// When it is closed.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.call(std::net::TcpListener::local_addr)
    }

    /// Another handle of the same listener, with the same deadlines.
    ///
    /// # Errors
    /// When it is closed.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        self.socket.call(|_| {
            Ok(TcpListener {
                socket: Arc::clone(&self.socket),
            })
        })
    }

    /// Sets the time to live of what is sent.
    ///
    /// # Errors
    /// Those of `setsockopt(2)`, and when it is closed.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.call(|listener| listener.set_ttl(ttl))
    }

    /// The time to live of what is sent.
    ///
    /// # Errors
    /// When it is closed.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.call(std::net::TcpListener::ttl)
    }

    /// As std's: too late once it is bound.
    ///
    /// # Errors
    /// Always, mostly: see above.
    #[deprecated(note = "this option can only be set before the socket is bound")]
    #[allow(missing_docs, deprecated)]
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        self.socket.call(|listener| listener.set_only_v6(only_v6))
    }

    /// As std's.
    ///
    /// # Errors
    /// On an IPv4 listener.
    #[deprecated(note = "this option can only be set before the socket is bound")]
    #[allow(missing_docs, deprecated)]
    pub fn only_v6(&self) -> io::Result<bool> {
        self.socket.call(std::net::TcpListener::only_v6)
    }

    /// The error that is pending on the socket (`SO_ERROR`), which is cleared.
    ///
    /// # Errors
    /// When it is closed.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket.call(std::net::TcpListener::take_error)
    }

    /// Whether [`accept`](Self::accept) fails with [`WouldBlock`](ErrorKind::WouldBlock)
    /// instead of waiting. Counts for calls that begin later. The open file itself is
    /// non-blocking in any case.
    ///
    /// # Errors
    /// When it is closed.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("TcpListener");
        if let Ok(addr) = self.local_addr() {
            out.field("addr", &addr);
        }
        if self.socket.is_closed() {
            out.field("closed", &true);
        }
        out.field("fd", &self.as_raw_fd()).finish()
    }
}

/// Accepts until the listener is closed: see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        match self.listener.accept() {
            Ok((stream, _)) => Some(Ok(stream)),
            Err(e) if is_closed(&e) => None,
            Err(e) => Some(Err(e)),
        }
    }
}

impl FusedIterator for Incoming<'_> {}
