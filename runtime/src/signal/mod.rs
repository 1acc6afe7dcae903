//! Signals as values on a channel, as Go's `os/signal` has them.
//!
//! [`notify`] gives a receiver of the signals that it names. Every receiver
//! gets its own copy of each signal; dropping the receiver stops it.
//!
//! ```no_run
//! use goweft::signal::{self, Signal};
//!
//! # fn main() -> std::io::Result<()> {
//! let stop = signal::notify(&[Signal::SIGINT, Signal::SIGTERM])?;
//! let got = stop.recv().unwrap();
//! println!("{got}: stopping"); // "interrupt: stopping"
//! # Ok(())
//! # }
//! ```
//!
//! How it works: one thread of the process sleeps on a pipe that the signal
//! handler writes to, and hands what arrives to the channels (`relay.rs`). It is
//! no goroutine, so a signal arrives also while every processor computes, and
//! costs nothing until one does.

mod kind;
mod relay;
mod sys;

pub use kind::Signal;

use crate::channel::{self, Receiver};
use std::io;

/// How many signals wait in a receiver before further ones are dropped.
const CAPACITY: usize = 16;

/// Relays `signals` to the receiver that it returns, from now until the
/// receiver is dropped.
///
/// While anybody listens to a signal, its default action (to end the process,
/// for most) does not happen. When the last receiver that listens to it is gone,
/// the default action is back; a handler that was there before goweft, or a
/// signal that was ignored, stays so.
///
/// A signal is dropped for a receiver in which 16 signals wait: a program that
/// waits for a signal does not miss the first. As ever on Unix, two signals of a
/// kind that come close together may arrive as one.
///
/// Does not block. Receiving does, as on any channel, and the receiver goes into
/// `select!` like any other.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) when `signals` is empty, or names a signal that cannot
/// be caught (SIGKILL, SIGSTOP), that is the processor's report of an error in
/// the program (SIGSEGV, SIGBUS, SIGFPE, SIGILL), or that does not exist; what the
/// system says when the pipe or the thread cannot be made. Nothing is relayed
/// then.
///
/// # Examples
///
/// ```
/// use goweft::signal::{self, Signal};
///
/// let hangups = signal::notify(&[Signal::SIGHUP])?;
/// assert!(hangups.is_empty());
///
/// let error = signal::notify(&[Signal::SIGKILL]).unwrap_err();
/// assert_eq!(error.to_string(), "signal: SIGKILL cannot be caught");
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "Notify")]
#[doc(alias = "signal.Notify")]
pub fn notify(signals: &[Signal]) -> io::Result<Receiver<Signal>> {
    if signals.is_empty() {
        return Err(invalid(
            "signal: notify needs at least one signal".to_string(),
        ));
    }
    for &signal in signals {
        if let Some(why) = signal.why_not() {
            return Err(invalid(format!("signal: {} {why}", signal.name())));
        }
    }
    let (tx, rx) = channel::bounded(CAPACITY);
    relay::add(signals, &tx)?;
    Ok(rx)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
