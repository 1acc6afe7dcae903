//! `Sender` and `Receiver`: the handles in front of the flavours.
//!
//! A flavour works inside the runtime and moves bytes between places; here those
//! bytes become values. Every operation is: enter, one call of the flavour,
//! leave, and then the value is the caller's or in the error.

use super::counter::{Receiving, Sending};
use super::errors::*;
use super::flavor::{Flavor, Outcome, Side, TRY, Token};
use super::{bounded, counter, rendezvous, timer, unbounded};
use crate::clock::{self, NEVER, Nanos};
use crate::context::NodeRef;
use crate::sched::Inside;
use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The sending side of a channel; see [`bounded`](super::bounded()) and
/// [`unbounded`](super::unbounded()).
///
/// Handles can be cloned and shared. When the last one is dropped the channel is
/// closed.
///
/// # Examples
///
/// ```
/// use goweft::channel;
///
/// let (tx, rx) = channel::unbounded();
/// let tx2 = tx.clone();
/// goweft::go!(move || tx.send(1).unwrap());
/// goweft::go!(move || tx2.send(2).unwrap());
/// assert_eq!(rx.iter().sum::<i32>(), 3);
/// ```
pub struct Sender<T> {
    flavor: SenderFlavor<T>,
}

enum SenderFlavor<T> {
    Rendezvous(Sending<rendezvous::Channel<T>>),
    Bounded(Sending<bounded::Channel<T>>),
    Unbounded(Sending<unbounded::Channel<T>>),
}

/// The receiving side of a channel; see [`bounded`](super::bounded()) and
/// [`unbounded`](super::unbounded()).
///
/// Handles can be cloned and shared; each value goes to one of them. When the
/// last one is dropped, sends fail and the values that nobody has received are
/// dropped.
///
/// # Examples
///
/// ```
/// use goweft::channel;
///
/// let (tx, rx) = channel::bounded(2);
/// tx.send("one")?;
/// tx.send("two")?;
/// drop(tx);
/// assert_eq!(rx.recv(), Ok("one"));
/// assert_eq!(rx.recv(), Ok("two"));
/// assert_eq!(rx.recv(), Err(channel::RecvError));
/// # Ok::<(), channel::SendError<&str>>(())
/// ```
pub struct Receiver<T> {
    flavor: ReceiverFlavor<T>,
}

enum ReceiverFlavor<T> {
    Rendezvous(Receiving<rendezvous::Channel<T>>),
    Bounded(Receiving<bounded::Channel<T>>),
    Unbounded(Receiving<unbounded::Channel<T>>),
    /// Only in a `Receiver<Instant>`.
    Timer(Arc<timer::Channel>),
    /// Only in a `Receiver<()>`.
    Done(NodeRef),
    Never,
}

// SAFETY: a channel only moves values, from one thread to another.
unsafe impl<T: Send> Send for Sender<T> {}
// SAFETY: as above; handles give no references to values.
unsafe impl<T: Send> Sync for Sender<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Receiver<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Receiver<T> {}

// No user code runs inside a channel, so no panic leaves one half done.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

pub(super) fn new_rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    let (s, r) = counter::share(rendezvous::Channel::new());
    (
        Sender {
            flavor: SenderFlavor::Rendezvous(s),
        },
        Receiver {
            flavor: ReceiverFlavor::Rendezvous(r),
        },
    )
}

pub(super) fn new_bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let (s, r) = counter::share(bounded::Channel::new(capacity));
    (
        Sender {
            flavor: SenderFlavor::Bounded(s),
        },
        Receiver {
            flavor: ReceiverFlavor::Bounded(r),
        },
    )
}

pub(super) fn new_unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let (s, r) = counter::share(unbounded::Channel::new());
    (
        Sender {
            flavor: SenderFlavor::Unbounded(s),
        },
        Receiver {
            flavor: ReceiverFlavor::Unbounded(r),
        },
    )
}

pub(super) fn new_never<T>() -> Receiver<T> {
    Receiver {
        flavor: ReceiverFlavor::Never,
    }
}

/// A receiver of the ticks of `channel`.
pub(crate) fn ticks(channel: Arc<timer::Channel>) -> Receiver<Instant> {
    Receiver {
        flavor: ReceiverFlavor::Timer(channel),
    }
}

/// A receiver of the end of `node`'s context.
pub(crate) fn done(node: NodeRef) -> Receiver<()> {
    Receiver {
        flavor: ReceiverFlavor::Done(node),
    }
}

impl Receiver<()> {
    /// The node whose end it receives.
    #[inline]
    pub(crate) fn node(&self) -> Option<&NodeRef> {
        match &self.flavor {
            ReceiverFlavor::Done(node) => Some(node),
            _ => None,
        }
    }
}

impl<T> Sender<T> {
    /// Sends `value`, and waits for room. With capacity 0 it waits until a
    /// receiver has taken the value.
    ///
    /// # Errors
    /// The channel is closed or has no receivers, perhaps since this call waits.
    /// The value is in the error.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait. The value is dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = goweft::channel::bounded(0);
    /// goweft::go!(move || assert_eq!(rx.recv(), Ok("hello")));
    /// tx.send("hello").unwrap(); // waits for the receiver
    /// assert_eq!(tx.send("anybody?").unwrap_err().into_inner(), "anybody?");
    /// ```
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.offer(value, NEVER)
            .map_err(|(_, value)| SendError(value))
    }

    /// Sends `value` if that is possible at once: there is room, or a receiver
    /// waits.
    ///
    /// A receiver that waits in a dynamic [`Select`](super::Select) has to
    /// wake up and complete first; then this call parks that long.
    ///
    /// # Errors
    /// There is no room, or the channel is closed. The value is in the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, TrySendError};
    ///
    /// let (tx, _rx) = channel::bounded(1);
    /// assert_eq!(tx.try_send(1), Ok(()));
    /// assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
    /// ```
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.offer(value, TRY)
            .map_err(|(outcome, value)| match outcome {
                Outcome::Closed => TrySendError::Disconnected(value),
                _ => TrySendError::Full(value),
            })
    }

    /// Sends `value`, and waits for room for at most `timeout`.
    ///
    /// When a [`Select`](super::Select) has chosen to receive it and has not done so yet, this
    /// waits for that, even past the deadline.
    ///
    /// # Errors
    /// No room in time, or the channel is closed. The value is in the error.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, SendTimeoutError};
    /// use std::time::Duration;
    ///
    /// let (tx, _rx) = channel::bounded(0);
    /// let sent = tx.send_timeout(1, Duration::from_millis(1));
    /// assert_eq!(sent, Err(SendTimeoutError::Timeout(1)));
    /// ```
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, clock::after(timeout))
    }

    /// As [`send_timeout`](Self::send_timeout), until `deadline`.
    ///
    /// # Errors
    /// As `send_timeout`.
    ///
    /// # Panics
    /// As [`send`](Self::send).
    pub fn send_deadline(&self, value: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.send_until(value, clock::from_instant(deadline))
    }

    fn send_until(&self, value: T, deadline: Nanos) -> Result<(), SendTimeoutError<T>> {
        self.offer(value, deadline)
            .map_err(|(outcome, value)| match outcome {
                Outcome::Closed => SendTimeoutError::Disconnected(value),
                _ => SendTimeoutError::Timeout(value),
            })
    }

    #[inline]
    fn offer(&self, value: T, deadline: Nanos) -> Result<(), (Outcome, T)> {
        let mut value = ManuallyDrop::new(value);
        let slot: *mut T = &mut *value;
        match &self.flavor {
            // SAFETY (all three): the slot holds a T, which is forgotten when it
            // was sent.
            SenderFlavor::Rendezvous(c) => {
                let mut inside = Inside::enter();
                // SAFETY: above.
                let outcome = unsafe { c.run(&mut inside, Side::Send, slot, deadline) };
                sent(inside, outcome, value)
            }
            SenderFlavor::Bounded(c) => {
                let mut inside = Inside::enter();
                // SAFETY: above.
                let outcome = unsafe { c.run(&mut inside, Side::Send, slot, deadline) };
                sent(inside, outcome, value)
            }
            // SAFETY: above.
            SenderFlavor::Unbounded(c) => match unsafe { c.send(slot) } {
                Outcome::Done => Ok(()),
                outcome => Err((outcome, ManuallyDrop::into_inner(value))),
            },
        }
    }

    /// Sends the value of a select's send arm, which was chosen with `token`.
    ///
    /// # Safety
    /// `token` was given for this channel's sending side and was not used yet.
    pub(crate) unsafe fn complete(&self, value: T, token: Token) -> Result<(), SendError<T>> {
        let mut value = ManuallyDrop::new(value);
        let slot: *mut T = &mut *value;
        let outcome = match (&self.flavor, token) {
            (SenderFlavor::Rendezvous(c), Token::Partner(partner)) => {
                let mut inside = Inside::enter();
                // SAFETY: the caller's promise; the slot holds a T.
                let outcome = unsafe { c.commit_send(&mut inside, partner, slot) };
                return sent(inside, outcome, value).map_err(|(_, value)| SendError(value));
            }
            (SenderFlavor::Bounded(c), Token::Credit) => {
                let mut inside = Inside::enter();
                // SAFETY: as above.
                unsafe { c.commit_send(&mut inside, slot) }
            }
            // SAFETY: as above.
            (SenderFlavor::Unbounded(c), Token::Credit) => unsafe { c.send(slot) },
            _ => Outcome::Closed,
        };
        match outcome {
            Outcome::Done => Ok(()),
            _ => Err(SendError(ManuallyDrop::into_inner(value))),
        }
    }

    pub(crate) fn as_flavor(&self) -> &dyn Flavor {
        match &self.flavor {
            SenderFlavor::Rendezvous(c) => &**c,
            SenderFlavor::Bounded(c) => &**c,
            SenderFlavor::Unbounded(c) => &**c,
        }
    }

    /// Closes the channel: sends fail from now on, and receives when the queued
    /// values are gone. Wakes everybody who waits on it. True the first time.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, RecvError, SendError};
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// tx.send(1).unwrap();
    /// assert!(tx.close());
    /// assert!(!rx.close()); // it is closed already
    /// assert_eq!(tx.send(2), Err(SendError(2)));
    /// assert_eq!(rx.recv(), Ok(1));
    /// assert_eq!(rx.recv(), Err(RecvError));
    /// ```
    pub fn close(&self) -> bool {
        match &self.flavor {
            SenderFlavor::Rendezvous(c) => c.close(&mut Inside::enter()),
            SenderFlavor::Bounded(c) => c.close(&mut Inside::enter()),
            SenderFlavor::Unbounded(c) => c.close(),
        }
    }

    /// Whether the channel was closed, by hand or because one side is gone.
    pub fn is_closed(&self) -> bool {
        match &self.flavor {
            SenderFlavor::Rendezvous(c) => c.is_closed(),
            SenderFlavor::Bounded(c) => c.is_closed(),
            SenderFlavor::Unbounded(c) => c.is_closed(),
        }
    }

    /// The values that are queued now; always 0 for a rendezvous channel.
    pub fn len(&self) -> usize {
        match &self.flavor {
            SenderFlavor::Rendezvous(_) => 0,
            SenderFlavor::Bounded(c) => c.len(),
            SenderFlavor::Unbounded(c) => c.len(),
        }
    }

    /// The values that can be queued; None: as many as memory holds.
    pub fn capacity(&self) -> Option<usize> {
        match &self.flavor {
            SenderFlavor::Rendezvous(_) => Some(0),
            SenderFlavor::Bounded(c) => Some(c.capacity()),
            SenderFlavor::Unbounded(_) => None,
        }
    }

    /// Whether no value is queued now; always true for a rendezvous channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more values can be queued now; always true for a rendezvous
    /// channel.
    pub fn is_full(&self) -> bool {
        self.capacity()
            .is_some_and(|capacity| self.len() >= capacity)
    }

    /// Whether `other` is a sender of the same channel.
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        match (&self.flavor, &other.flavor) {
            (SenderFlavor::Rendezvous(a), SenderFlavor::Rendezvous(b)) => a.same(b),
            (SenderFlavor::Bounded(a), SenderFlavor::Bounded(b)) => a.same(b),
            (SenderFlavor::Unbounded(a), SenderFlavor::Unbounded(b)) => a.same(b),
            _ => false,
        }
    }
}

impl<T> Receiver<T> {
    /// Receives a value, and waits for one.
    ///
    /// # Errors
    /// The channel is closed and empty.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// let (tx, rx) = goweft::channel::bounded(0);
    /// goweft::go!(move || tx.send("hello"));
    /// assert_eq!(rx.recv(), Ok("hello"));
    /// ```
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.accept(NEVER).map_err(|_| RecvError)
    }

    /// Receives a value if one is there, or a sender waits with one.
    ///
    /// A sender that waits in a `select!` has its value evaluated first; then this
    /// call parks that long.
    ///
    /// # Errors
    /// Nothing is there, or the channel is closed and empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, TryRecvError};
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    /// tx.send(1).unwrap();
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// drop(tx);
    /// assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    /// ```
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.accept(TRY).map_err(|outcome| match outcome {
            Outcome::Closed => TryRecvError::Disconnected,
            _ => TryRecvError::Empty,
        })
    }

    /// Receives a value, and waits for one for at most `timeout`.
    ///
    /// When the value comes from a `select!` that is evaluating it, this waits for
    /// that, even past the deadline.
    ///
    /// # Errors
    /// Nothing came in time, or the channel is closed and empty.
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, RecvTimeoutError};
    /// use std::time::Duration;
    ///
    /// let (_tx, rx) = channel::unbounded::<u8>();
    /// let received = rx.recv_timeout(Duration::from_millis(1));
    /// assert_eq!(received, Err(RecvTimeoutError::Timeout));
    /// ```
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_until(clock::after(timeout))
    }

    /// As [`recv_timeout`](Self::recv_timeout), until `deadline`.
    ///
    /// # Errors
    /// As `recv_timeout`.
    ///
    /// # Panics
    /// As [`recv`](Self::recv).
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_until(clock::from_instant(deadline))
    }

    fn recv_until(&self, deadline: Nanos) -> Result<T, RecvTimeoutError> {
        self.accept(deadline).map_err(|outcome| match outcome {
            Outcome::Closed => RecvTimeoutError::Disconnected,
            _ => RecvTimeoutError::Timeout,
        })
    }

    #[inline]
    fn accept(&self, deadline: Nanos) -> Result<T, Outcome> {
        let mut value = MaybeUninit::<T>::uninit();
        let slot = value.as_mut_ptr();
        let outcome = match &self.flavor {
            // SAFETY (all three): the slot has room for a T.
            ReceiverFlavor::Rendezvous(c) => {
                let mut inside = Inside::enter();
                // SAFETY: above.
                unsafe { c.run(&mut inside, Side::Receive, slot, deadline) }
            }
            ReceiverFlavor::Bounded(c) => {
                let mut inside = Inside::enter();
                // SAFETY: above.
                unsafe { c.run(&mut inside, Side::Receive, slot, deadline) }
            }
            // SAFETY: above.
            ReceiverFlavor::Unbounded(c) => unsafe { c.recv(slot, deadline) },
            ReceiverFlavor::Timer(c) => {
                // SAFETY: in a receiver with a timer T is Instant, and the slot
                // is used for nothing else here.
                let slot = unsafe { &mut *slot.cast::<MaybeUninit<Instant>>() };
                c.recv(&mut Inside::enter(), slot, deadline)
            }
            ReceiverFlavor::Done(node) => node.wait(deadline),
            ReceiverFlavor::Never => wait_in_vain(deadline),
        };
        match outcome {
            // SAFETY: `Done`: the slot holds a value, which is ours.
            Outcome::Done => Ok(unsafe { value.assume_init() }),
            _ => Err(outcome),
        }
    }

    /// Receives the value of a dynamic select's operation, chosen with `token`.
    ///
    /// # Safety
    /// `token` was given for this channel's receiving side and was not used yet.
    pub(crate) unsafe fn complete(&self, token: Token) -> Result<T, RecvError> {
        let mut value = MaybeUninit::<T>::uninit();
        let slot = value.as_mut_ptr();
        match (&self.flavor, token) {
            (ReceiverFlavor::Rendezvous(c), Token::Partner(partner)) => {
                // SAFETY: the caller's promise; the slot has room for a T.
                unsafe { c.commit_recv(&mut Inside::enter(), partner, slot) };
            }
            (ReceiverFlavor::Bounded(c), Token::Credit) => {
                // SAFETY: as above.
                unsafe { c.commit_recv(&mut Inside::enter(), slot) };
            }
            (ReceiverFlavor::Unbounded(c), Token::Credit) => {
                // SAFETY: as above.
                unsafe { c.commit_recv(slot) };
            }
            (ReceiverFlavor::Timer(_), Token::Tick { when, .. }) => {
                // SAFETY: in a receiver with a timer T is Instant.
                unsafe { slot.cast::<Instant>().write(clock::to_instant(when)) };
            }
            _ => return Err(RecvError),
        }
        // SAFETY: each of the above has put a value into the slot.
        Ok(unsafe { value.assume_init() })
    }

    /// None: never ready.
    pub(crate) fn as_flavor(&self) -> Option<&dyn Flavor> {
        match &self.flavor {
            ReceiverFlavor::Rendezvous(c) => Some(&**c),
            ReceiverFlavor::Bounded(c) => Some(&**c),
            ReceiverFlavor::Unbounded(c) => Some(&**c),
            ReceiverFlavor::Timer(c) => Some(&**c),
            ReceiverFlavor::Done(node) => Some(&**node),
            ReceiverFlavor::Never => None,
        }
    }

    /// Closes the channel, as [`Sender::close`] does. A channel of [`never`](super::never) has
    /// nobody to tell, and that of a [context](crate::context::Context::done) only cancelling
    /// closes: false. From a closed timer or ticker comes a tick that was due, and then none, also
    /// when it is set again.
    pub fn close(&self) -> bool {
        match &self.flavor {
            ReceiverFlavor::Rendezvous(c) => c.close(&mut Inside::enter()),
            ReceiverFlavor::Bounded(c) => c.close(&mut Inside::enter()),
            ReceiverFlavor::Unbounded(c) => c.close(),
            ReceiverFlavor::Timer(c) => c.close(),
            ReceiverFlavor::Done(_) | ReceiverFlavor::Never => false,
        }
    }

    /// Whether the channel was closed, by hand or because one side is gone.
    /// Values may still be queued.
    pub fn is_closed(&self) -> bool {
        match &self.flavor {
            ReceiverFlavor::Rendezvous(c) => c.is_closed(),
            ReceiverFlavor::Bounded(c) => c.is_closed(),
            ReceiverFlavor::Unbounded(c) => c.is_closed(),
            ReceiverFlavor::Timer(c) => c.is_closed(),
            ReceiverFlavor::Done(node) => node.is_done(),
            ReceiverFlavor::Never => false,
        }
    }

    /// The values that are queued now; always 0 for a rendezvous channel and for
    /// timers, as in Go.
    pub fn len(&self) -> usize {
        match &self.flavor {
            ReceiverFlavor::Bounded(c) => c.len(),
            ReceiverFlavor::Unbounded(c) => c.len(),
            _ => 0,
        }
    }

    /// The values that can be queued; None: as many as memory holds.
    pub fn capacity(&self) -> Option<usize> {
        match &self.flavor {
            ReceiverFlavor::Bounded(c) => Some(c.capacity()),
            ReceiverFlavor::Unbounded(_) => None,
            _ => Some(0),
        }
    }

    /// Whether no value is queued now; always true for a rendezvous channel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no more values can be queued now; always true for a rendezvous
    /// channel.
    pub fn is_full(&self) -> bool {
        self.capacity()
            .is_some_and(|capacity| self.len() >= capacity)
    }

    /// Whether `other` is a receiver of the same channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        match (&self.flavor, &other.flavor) {
            (ReceiverFlavor::Rendezvous(a), ReceiverFlavor::Rendezvous(b)) => a.same(b),
            (ReceiverFlavor::Bounded(a), ReceiverFlavor::Bounded(b)) => a.same(b),
            (ReceiverFlavor::Unbounded(a), ReceiverFlavor::Unbounded(b)) => a.same(b),
            (ReceiverFlavor::Timer(a), ReceiverFlavor::Timer(b)) => Arc::ptr_eq(a, b),
            (ReceiverFlavor::Done(a), ReceiverFlavor::Done(b)) => a.is(b),
            (ReceiverFlavor::Never, ReceiverFlavor::Never) => true,
            _ => false,
        }
    }
}

/// Leaves, and says what became of `value`, which was sent if `outcome` is `Done`. When leaving
/// panics (a wait was refused), the value is dropped by the unwinding.
#[inline]
fn sent<T>(inside: Inside, outcome: Outcome, value: ManuallyDrop<T>) -> Result<(), (Outcome, T)> {
    let result = match outcome {
        Outcome::Done => Ok(()),
        _ => Err((outcome, ManuallyDrop::into_inner(value))),
    };
    drop(inside);
    result
}

/// Waits for nothing until `deadline`.
#[cold]
fn wait_in_vain(deadline: Nanos) -> Outcome {
    let mut inside = Inside::enter();
    while (deadline == NEVER || clock::now() < deadline) && !inside.refuses() {
        let waiter = inside.prepare(Side::Receive.reason());
        inside.park(waiter, deadline);
    }
    Outcome::TimedOut
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        let flavor = match &self.flavor {
            SenderFlavor::Rendezvous(c) => SenderFlavor::Rendezvous(c.another()),
            SenderFlavor::Bounded(c) => SenderFlavor::Bounded(c.another()),
            SenderFlavor::Unbounded(c) => SenderFlavor::Unbounded(c.another()),
        };
        Sender { flavor }
    }
}

impl<T> Clone for Receiver<T> {
    /// Another handle of the same channel: each value, and each tick of a
    /// timer, goes to one of them.
    fn clone(&self) -> Receiver<T> {
        let flavor = match &self.flavor {
            ReceiverFlavor::Rendezvous(c) => ReceiverFlavor::Rendezvous(c.another()),
            ReceiverFlavor::Bounded(c) => ReceiverFlavor::Bounded(c.another()),
            ReceiverFlavor::Unbounded(c) => ReceiverFlavor::Unbounded(c.another()),
            ReceiverFlavor::Timer(c) => ReceiverFlavor::Timer(c.clone()),
            ReceiverFlavor::Done(node) => ReceiverFlavor::Done(node.clone()),
            ReceiverFlavor::Never => ReceiverFlavor::Never,
        };
        Receiver { flavor }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // SAFETY (all three): the handle is being dropped.
        match &self.flavor {
            // SAFETY: above.
            SenderFlavor::Rendezvous(c) => unsafe {
                c.release(|c| _ = c.close(&mut Inside::enter()));
            },
            // SAFETY: above.
            SenderFlavor::Bounded(c) => unsafe { c.release(|c| _ = c.close(&mut Inside::enter())) },
            // SAFETY: above.
            SenderFlavor::Unbounded(c) => unsafe { c.release(|c| _ = c.close()) },
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // SAFETY (all three): the handle is being dropped.
        match &self.flavor {
            // SAFETY: above.
            ReceiverFlavor::Rendezvous(c) => unsafe {
                c.release(|c| _ = c.close(&mut Inside::enter()));
            },
            // SAFETY: above.
            ReceiverFlavor::Bounded(c) => unsafe {
                c.release(|c| {
                    c.close(&mut Inside::enter());
                    c.discard();
                });
            },
            // SAFETY: above.
            ReceiverFlavor::Unbounded(c) => unsafe {
                c.release(|c| {
                    c.close();
                    c.discard();
                });
            },
            ReceiverFlavor::Timer(_) | ReceiverFlavor::Done(_) | ReceiverFlavor::Never => {}
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}
