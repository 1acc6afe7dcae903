//! TCP for goroutines: the sockets of [`std::net`], which park instead of blocking.
//!
//! [`TcpListener`] and [`TcpStream`] have every stable method and trait of std's, with the
//! same meaning, so most code needs no more than another `use`. A goroutine that waits gives
//! its thread to others; a plain OS thread may use the same sockets and blocks. Beyond std:
//!
//! - **Closing.** [`close`](TcpStream::close) ends a socket for all its clones. Whoever waits on
//!   it, and whoever uses it later, gets [`NotConnected`](std::io::ErrorKind::NotConnected)
//!   carrying [`Closed`]; [`incoming`](TcpListener::incoming) ends.
//! - **Deadlines.** Points in time, per direction, for pending *and* later operations. They may
//!   be changed while an operation waits, which counts at once. One that has passed makes
//!   operations fail with [`TimedOut`](std::io::ErrorKind::TimedOut) before anything is tried;
//!   set another or `None`, and the socket works again. Nothing is lost: what was not
//!   read is still there.
//! - **Timeouts** of std count from when an operation begins to wait, and fail with `TimedOut`
//!   too (std's fail with `WouldBlock`). The earlier of timeout and deadline wins.
//!
//! Clones share the socket, its settings and its deadlines. Any number of goroutines may use one
//! socket; those that wait in one direction are woken in the order of their coming; one that comes
//! just when data does may be faster.
//!
//! Sockets of other kinds, as UDP's and those of Unix, are std's in an [`Async`](crate::io::Async).
//!
//! The defaults are std's: `TCP_NODELAY` is off (Go's is on), and there is no keep-alive. The
//! backlog of a listener is the system's maximum, as Go's.
//!
//! # Examples
//!
//! A server that sends back what it gets, and a client:
//!
//! ```
//! use goweft::net::{TcpListener, TcpStream};
//! use std::io::{self, Read, Write};
//! use std::net::Shutdown;
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let addr = listener.local_addr()?;
//! let server = listener.try_clone()?;
//! let accepting = goweft::spawn(move || {
//!     for stream in server.incoming() {
//!         let stream = stream?;
//!         goweft::go!(move || {
//!             let _ = io::copy(&mut &stream, &mut &stream);
//!         });
//!     }
//!     io::Result::Ok(()) // the listener was closed
//! });
//!
//! let mut client = TcpStream::connect(addr)?;
//! client.write_all(b"weft and warp")?;
//! client.shutdown(Shutdown::Write)?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!(answer, "weft and warp");
//!
//! listener.close()?;
//! accepting.join().expect("it does not panic")?;
//! # io::Result::Ok(())
//! ```
//!
//! A deadline for whatever is waiting, set by somebody else:
//!
//! ```
//! use goweft::net::{TcpListener, TcpStream};
//! use std::io::{self, ErrorKind, Read};
//! use std::time::Instant;
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let mut stream = TcpStream::connect(listener.local_addr()?)?;
//! let same = stream.try_clone()?;
//! let reading = goweft::spawn(move || stream.read(&mut [0; 16]));
//! same.set_read_deadline(Some(Instant::now()))?;
//! let read = reading.join().expect("it does not panic");
//! assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
//! # io::Result::Ok(())
//! ```

pub(crate) mod convert;
mod listener;
mod resolve;
pub(crate) mod socket;
mod stream;
mod sys;

pub use listener::{Incoming, TcpListener};
pub use stream::TcpStream;

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

/// What the error of an operation on a closed socket carries: the socket was closed here, by
/// [`TcpStream::close`] or [`TcpListener::close`], not by the peer. So does that of an operation on
/// an end of a [pipe](crate::io::pipe()) that was closed here; its text speaks of a network
/// connection too.
///
/// # Examples
///
/// ```
/// use goweft::net::{Closed, TcpListener};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// listener.close()?;
/// let error = listener.accept().unwrap_err();
/// assert!(error.get_ref().is_some_and(|inner| inner.is::<Closed>()));
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("use of a closed network connection")
    }
}

impl Error for Closed {}

/// The error of a closed socket. Allocates: not inside the runtime.
#[cold]
fn closed() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, Closed)
}

/// Whether it is that error.
fn is_closed(e: &io::Error) -> bool {
    e.get_ref().is_some_and(|inner| inner.is::<Closed>())
}
