//! Signals as values on a channel, as Go's `os/signal` has them.
//!
//! [`notify`] gives a receiver of the signals that it names. Every receiver
//! gets its own copy of each signal; dropping the receiver stops it.
//! [`notify_context`] makes a context of them, for programs that hand one down.
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
//! handler writes to, and hands what arrives to the channels and contexts (`relay.rs`). It is
//! no goroutine, so a signal arrives also while every processor computes, and
//! costs nothing until one does.

mod kind;
mod relay;
mod sys;

pub use kind::Signal;

use crate::channel::{self, Receiver};
use crate::context::{CancelFunc, Context, ContextError};
use relay::Target;
use std::error::Error;
use std::fmt;
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
/// Unlike in Go a receiver has the signals that it was made with and no more, and naming none does
/// not mean all.
///
/// Does not block. Receiving does, as on any channel, and the receiver goes into
/// `select!` like any other.
///
/// # Errors
///
/// [`InvalidInput`](io::ErrorKind::InvalidInput) when `signals` is empty, or names a signal that
/// cannot be caught (SIGKILL, SIGSTOP), that is the processor's report of an error in the program
/// (SIGSEGV, SIGBUS, SIGFPE, SIGILL), or that does not exist; what the system says when the pipe or
/// the thread cannot be made. Nothing is relayed then.
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
#[doc(alias = "signal.Stop")]
pub fn notify(signals: &[Signal]) -> io::Result<Receiver<Signal>> {
    check("notify", signals)?;
    let (tx, rx) = channel::bounded(CAPACITY);
    relay::add(signals, &Target::Channel(tx))?;
    Ok(rx)
}

/// A context that is done when one of `signals` comes, when `ctx` is, or when the function
/// beside it is called (or dropped).
///
/// The [cause](Context::cause) tells which signal it was: see [`Received`].
///
/// The signals are caught from now until that function is called or dropped, also after the
/// context is done: a second Ctrl-C does nothing as long as the program, which is
/// stopping, keeps it. To let a second one end the program, call it when the
/// first has come:
///
/// ```
/// use goweft::context::Context;
/// use goweft::signal::{self, Signal};
///
/// # fn main() -> std::io::Result<()> {
/// let signals = [Signal::SIGINT, Signal::SIGTERM];
/// let (ctx, stop) = signal::notify_context(&Context::background(), &signals)?;
/// # signal_hook::low_level::raise(2).unwrap();
/// ctx.done().recv().unwrap_err(); // serve until then
/// println!("{}", ctx.cause().unwrap()); // "interrupt signal received"
/// stop(); // from here on Ctrl-C ends the program
/// # Ok(())
/// # }
/// ```
///
/// Does not block, and has no goroutine.
///
/// # Errors
/// As [`notify`].
#[doc(alias = "NotifyContext")]
#[doc(alias = "signal.NotifyContext")]
pub fn notify_context(ctx: &Context, signals: &[Signal]) -> io::Result<(Context, CancelFunc)> {
    check("notify_context", signals)?;
    let (ctx, stop) = ctx.with_cancel();
    if let Some(node) = ctx.done().node() {
        relay::add(signals, &Target::Context(node.clone()))?;
    }
    Ok((ctx, stop))
}

/// Ignores `signals` from now on: nothing happens when they come. Programs that are started
/// from here ignore them too, unless they say otherwise.
///
/// It undoes every [`notify`] and [`notify_context`] for them: no more of them arrive, and a
/// receiver that has no other signals is closed. A later one of these, or
/// [`reset`], ends it. Unlike in Go naming none does not mean all. (Signals that do
/// nothing by default, such as SIGCHLD, are not made to be ignored, since the system
/// takes that for more than it says.)
///
/// # Errors
/// As [`notify`].
///
/// # Examples
///
/// ```
/// use goweft::signal::{self, Signal};
///
/// signal::ignore(&[Signal::SIGHUP])?; // outlive the terminal
/// # signal_hook::low_level::raise(1)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "Ignore")]
#[doc(alias = "signal.Ignore")]
pub fn ignore(signals: &[Signal]) -> io::Result<()> {
    check("ignore", signals)?;
    relay::ignore(signals)
}

/// Whether `signal` is ignored: by [`ignore`], or by the system, because that was so when the
/// program was started (`nohup` does it for SIGHUP) or something else in it has said so.
///
/// Does not block.
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for what [`notify`] does not accept, and what the
/// system says.
///
/// # Examples
///
/// ```
/// use goweft::signal::{self, Signal};
///
/// signal::ignore(&[Signal::SIGHUP])?;
/// assert!(signal::ignored(Signal::SIGHUP)?);
/// let _hangups = signal::notify(&[Signal::SIGHUP])?;
/// assert!(!signal::ignored(Signal::SIGHUP)?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "Ignored")]
#[doc(alias = "signal.Ignored")]
pub fn ignored(signal: Signal) -> io::Result<bool> {
    check("ignored", &[signal])?;
    relay::is_ignored(signal)
}

/// Undoes every [`notify`], [`notify_context`] and [`ignore`] for `signals`, or with an empty
/// list for all: their action is what it was before.
///
/// A receiver that has no other signals is closed; contexts are not done by a signal any
/// more.
///
/// # Errors
/// [`InvalidInput`](io::ErrorKind::InvalidInput) for what [`notify`] does not accept, and what the
/// system says.
///
/// # Examples
///
/// ```
/// use goweft::signal::{self, Signal};
///
/// let hangups = signal::notify(&[Signal::SIGHUP])?;
/// signal::reset(&[Signal::SIGHUP])?;
/// assert!(hangups.recv().is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "Reset")]
#[doc(alias = "signal.Reset")]
pub fn reset(signals: &[Signal]) -> io::Result<()> {
    // None at all means all, and leaves nothing to check.
    if !signals.is_empty() {
        check("reset", signals)?;
    }
    relay::reset(signals)
}

/// A signal came: the cause of a context of [`notify_context`].
///
/// Its source is [`ContextError::Canceled`].
///
/// ```
/// use goweft::signal::{Received, Signal};
///
/// let cause = Received { signal: Signal::SIGUSR1 };
/// assert_eq!(cause.to_string(), "user defined signal 1 signal received");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Which one.
    pub signal: Signal,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signal received", self.signal)
    }
}

impl Error for Received {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&ContextError::Canceled)
    }
}

fn check(what: &str, signals: &[Signal]) -> io::Result<()> {
    if signals.is_empty() {
        return Err(invalid(format!("signal: {what} needs at least one signal")));
    }
    for &signal in signals {
        if let Some(why) = signal.why_not() {
            return Err(invalid(format!("signal: {} {why}", signal.name())));
        }
    }
    Ok(())
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
