//! Channels: how goroutines, and threads, talk.
//!
//! A channel has a sending and a receiving side, any number of handles on each,
//! and a buffer: of fixed size ([`bounded()`]), of none, so that a send waits
//! for its receiver (`bounded(0)`, a *rendezvous*), or of any size
//! ([`unbounded()`]).
//!
//! The semantics are Go's, the surface is Rust's. Values come out in the order they went in; who
//! waits is served first come, first served. (Not so the ticks of a timer: of several who wait for
//! one, any may receive it.) `close` ends a channel: what is queued is still received, then
//! receivers get [`RecvError`]. Unlike in Go, dropping the last sender closes too, sending on a
//! closed channel is an error that gives the value back instead of a panic, and closing twice is
//! allowed.
//!
//! All operations work from goroutines and from plain OS threads, in any
//! mixture; a goroutine that waits parks, a thread blocks.
//!
//! # Waiting for several
//!
//! [`select!`](crate::select) waits for the first of several operations:
//!
//! ```
//! use goweft::{channel, select};
//! use std::time::Duration;
//!
//! let (tx, rx) = channel::bounded(0);
//! let quit = channel::after(Duration::from_secs(5));
//! goweft::go!(move || tx.send(42));
//! select! {
//!     recv(rx) -> n => assert_eq!(n, Ok(42)),
//!     recv(quit) -> _ => panic!("too late"),
//! }
//! ```
//!
//! [`Select`] is the form for a list of operations that is known at run time only.

// The protocol is in README.md beside this file.
mod bounded;
mod counter;
mod errors;
pub(crate) mod flavor;
mod handle;
mod iter;
mod rendezvous;
pub(crate) mod select;
pub(crate) mod timer;
mod unbounded;
pub(crate) mod wait;

pub use crate::select;
pub use errors::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError,
    SendTimeoutError, TryReadyError, TryRecvError, TrySelectError, TrySendError,
};
pub use handle::{Receiver, Sender};
pub(crate) use handle::{done, ticks};
pub use iter::{IntoIter, Iter, TryIter};
pub use select::{Select, SelectedOperation};

use crate::clock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A channel with room for `capacity` values.
///
/// With capacity 0 there is no buffer: a send waits until a receiver takes the value
/// from it.
///
/// # Panics
/// When memory cannot hold that many values: `channel: capacity ... out of range`.
///
/// # Examples
///
/// ```
/// let (tx, rx) = goweft::channel::bounded(1);
/// tx.send(1).unwrap();
/// assert!(tx.try_send(2).is_err()); // full
/// assert_eq!(rx.recv(), Ok(1));
/// ```
#[doc(alias = "make")]
#[doc(alias = "chan")]
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    match capacity {
        0 => handle::new_rendezvous(),
        _ => handle::new_bounded(capacity),
    }
}

/// A channel with a buffer that grows. Sending never waits.
///
/// # Examples
///
/// ```
/// let (tx, rx) = goweft::channel::unbounded();
/// for n in 0..1000 {
///     tx.send(n).unwrap();
/// }
/// drop(tx);
/// assert_eq!(rx.iter().count(), 1000);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    handle::new_unbounded()
}

/// A channel that delivers the time once, `duration` from now.
///
/// What it delivers is the time at which it was due, however late it is
/// received. It costs nothing while nobody waits on it.
///
/// # Examples
///
/// ```
/// use goweft::{channel, select};
/// use std::time::Duration;
///
/// let (_tx, rx) = channel::unbounded::<u8>();
/// let timeout = channel::after(Duration::from_millis(5));
/// let timed_out = select! {
///     recv(rx) -> _ => false,
///     recv(timeout) -> _ => true,
/// };
/// assert!(timed_out);
/// ```
pub fn after(duration: Duration) -> Receiver<Instant> {
    ticks(Arc::new(timer::Channel::new(clock::due(duration), 0)))
}

/// A channel that delivers the time again and again, each `period`. With a period
/// of zero it never does, as Go's.
///
/// A receiver that is slow misses ticks: at most one is kept. The phase stays.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// let ticks = goweft::channel::tick(Duration::from_millis(2));
/// let first = ticks.recv()?;
/// assert!(ticks.recv()? >= first + Duration::from_millis(2));
/// # Ok::<(), goweft::channel::RecvError>(())
/// ```
pub fn tick(period: Duration) -> Receiver<Instant> {
    match clock::nanos(period) {
        0 => never(),
        nanos => ticks(Arc::new(timer::Channel::new(clock::due(period), nanos))),
    }
}

/// A channel that never delivers anything, and is never closed: for a select arm
/// that is switched off.
///
/// # Examples
///
/// ```
/// use goweft::{channel, select};
///
/// let nothing = channel::never::<u8>();
/// select! {
///     recv(nothing) -> _ => unreachable!(),
///     default => {}
/// }
/// ```
pub fn never<T>() -> Receiver<T> {
    handle::new_never()
}
