//! Contexts: one signal to stop, a deadline, and values, for everything that is done
//! on behalf of a request. Go's package `context`.
//!
//! A [`Context`] is handed down from function to function and from goroutine to
//! goroutine. `with_` functions derive a new one; when a context is done, all that
//! were derived from it are done. Who waits for something waits for
//! [`done`](Context::done) too:
//!
//! ```
//! use goweft::context::Context;
//! use goweft::{channel, select, spawn};
//! use std::time::Duration;
//!
//! /// Sends squares until nobody wants any more.
//! fn squares(ctx: Context) -> channel::Receiver<u64> {
//!     let (tx, rx) = channel::bounded(0);
//!     spawn(move || {
//!         for n in 1.. {
//!             select! {
//!                 send(tx, n * n) -> sent => if sent.is_err() { return },
//!                 recv(ctx.done()) -> _ => return,
//!             }
//!         }
//!     });
//!     rx
//! }
//!
//! let (ctx, cancel) = Context::background().with_timeout(Duration::from_secs(5));
//! let squares = squares(ctx.clone());
//! assert_eq!(squares.iter().take(3).sum::<u64>(), 14);
//! cancel();
//! squares.iter().for_each(drop); // a few perhaps, then the goroutine has gone
//! assert!(ctx.err().is_some());
//! ```
//!
//! Where Go has an interface that others can implement, [`Context`] is one type. It
//! differs further in that values are known by their type instead of a key, and that
//! dropping a [`CancelFunc`] cancels.
//!
//! No context has a goroutine or a thread of its own: being done is passed on by
//! whoever cancels, and a deadline is a timer.

mod cancel;
mod error;
mod node;
mod show;
mod value;

pub use cancel::{CancelCauseFunc, CancelFunc, StopFunc};
pub use error::{Cause, ContextError};
pub(crate) use node::NodeRef;

use crate::channel::{self, Receiver};
use crate::time;
use error::cause_of;
use node::{Kind, Spec};
use std::any::Any;
use std::error::Error;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};
use value::{Value, WithoutCancel};

/// A signal to stop, a deadline, and values; see the [module](self).
///
/// Cloning is cheap, and a clone is the same context.
#[derive(Clone)]
pub struct Context {
    /// Has the node, if the context can be done.
    done: Receiver<()>,
    values: Option<Arc<Value>>,
    /// How many contexts it comes from.
    depth: u32,
    root: Root,
}

// A panic leaves nothing half done in it; what values do is their own affair, and they
// are reached by reference only.
impl UnwindSafe for Context {}
impl RefUnwindSafe for Context {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Root {
    Background,
    Todo,
}

impl Context {
    /// A context that is never done, without a deadline and without values: the one that
    /// all others come from.
    ///
    /// ```
    /// let ctx = goweft::context::Context::background();
    /// assert!(ctx.done().try_recv().is_err_and(|e| e.is_empty()));
    /// ```
    #[doc(alias = "Background")]
    pub fn background() -> Context {
        Context::root(Root::Background)
    }

    /// As [`background`](Self::background), for where it is not clear yet which context
    /// to use. It shows in `Debug`.
    #[doc(alias = "TODO")]
    pub fn todo() -> Context {
        Context::root(Root::Todo)
    }

    fn root(root: Root) -> Context {
        Context {
            done: channel::never(),
            values: None,
            depth: 0,
            root,
        }
    }

    /// A context that is done when the function beside it is called (or dropped), or when
    /// `self` is.
    ///
    /// ```
    /// use goweft::context::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let waiter = goweft::spawn({
    ///     let ctx = ctx.clone();
    ///     move || ctx.done().recv().is_err()
    /// });
    /// cancel();
    /// assert!(waiter.join().unwrap());
    /// ```
    #[doc(alias = "WithCancel")]
    pub fn with_cancel(&self) -> (Context, CancelFunc) {
        let node = self.node_below(self.deadline(), None);
        (self.with_node(node.clone()), CancelFunc::new(node))
    }

    /// As [`with_cancel`](Self::with_cancel), with a function that takes the reason: see
    /// [`cause`](Self::cause).
    #[doc(alias = "WithCancelCause")]
    pub fn with_cancel_cause(&self) -> (Context, CancelCauseFunc) {
        let node = self.node_below(self.deadline(), None);
        (self.with_node(node.clone()), CancelCauseFunc::new(node))
    }

    /// A context that is done after `timeout`, when the function beside it is called (or
    /// dropped), or when `self` is, whichever is first.
    ///
    /// A timeout beyond what the clock can tell is none.
    ///
    /// ```
    /// use goweft::context::{Context, ContextError};
    /// use std::time::Duration;
    ///
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(5));
    /// ctx.done().recv().unwrap_err(); // waits for it
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// ```
    #[doc(alias = "WithTimeout")]
    #[track_caller]
    pub fn with_timeout(&self, timeout: Duration) -> (Context, CancelFunc) {
        self.until(time::now().checked_add(timeout), None)
    }

    /// As [`with_timeout`](Self::with_timeout); when the time is over, the cause is
    /// `cause`. (The function beside it does not set it.)
    ///
    /// ```
    /// use goweft::context::{Context, ContextError};
    /// use std::time::Duration;
    ///
    /// let slow = std::io::Error::other("the backend is slow");
    /// let (ctx, _cancel) = Context::background().with_timeout_cause(Duration::ZERO, slow);
    /// assert_eq!(ctx.err(), Some(ContextError::DeadlineExceeded));
    /// assert_eq!(ctx.cause().unwrap().to_string(), "the backend is slow");
    /// ```
    #[doc(alias = "WithTimeoutCause")]
    #[track_caller]
    pub fn with_timeout_cause<E>(&self, timeout: Duration, cause: E) -> (Context, CancelFunc)
    where
        E: Error + Send + Sync + 'static,
    {
        let deadline = time::now().checked_add(timeout);
        self.until(deadline, Some(cause_of(cause)))
    }

    /// As [`with_timeout`](Self::with_timeout), at `deadline`. When that has passed
    /// already, the context is done from the start. When `self` has an earlier deadline,
    /// that holds.
    ///
    /// ```
    /// use goweft::context::Context;
    /// use std::time::{Duration, Instant};
    ///
    /// let soon = Instant::now() + Duration::from_secs(1);
    /// let (ctx, _cancel) = Context::background().with_deadline(soon);
    /// let (below, _cancel_below) = ctx.with_deadline(soon + Duration::from_secs(1));
    /// assert_eq!(below.deadline(), Some(soon));
    /// ```
    #[doc(alias = "WithDeadline")]
    #[track_caller]
    pub fn with_deadline(&self, deadline: Instant) -> (Context, CancelFunc) {
        self.until(Some(deadline), None)
    }

    /// As [`with_timeout_cause`](Self::with_timeout_cause), at `deadline`.
    #[doc(alias = "WithDeadlineCause")]
    #[track_caller]
    pub fn with_deadline_cause<E>(&self, deadline: Instant, cause: E) -> (Context, CancelFunc)
    where
        E: Error + Send + Sync + 'static,
    {
        self.until(Some(deadline), Some(cause_of(cause)))
    }

    #[track_caller]
    fn until(&self, deadline: Option<Instant>, cause: Option<Cause>) -> (Context, CancelFunc) {
        let inherited = self.deadline();
        let own = deadline.filter(|own| inherited.is_none_or(|theirs| *own < theirs));
        let node = match own {
            None => self.node_below(inherited, None),
            Some(own) => {
                let node = self.node_below(Some(own), cause);
                node.arm(own, Location::caller());
                node
            }
        };
        (self.with_node(node.clone()), CancelFunc::new(node))
    }

    /// A context that has `value`, to be asked for by its type: see
    /// [`value`](Self::value). It is done when `self` is.
    ///
    /// Go has a key beside the value; here the type is the key, so a value that
    /// could be confused gets a type of its own.
    ///
    /// ```
    /// use goweft::context::Context;
    ///
    /// struct RequestId(u64);
    ///
    /// let ctx = Context::background().with_value(RequestId(7));
    /// assert_eq!(ctx.value::<RequestId>().unwrap().0, 7);
    /// assert!(ctx.value::<u64>().is_none());
    /// ```
    #[doc(alias = "WithValue")]
    pub fn with_value<V: Any + Send + Sync>(&self, value: V) -> Context {
        Context {
            done: self.done.clone(),
            values: Some(Value::add(&self.values, self.depth + 1, value)),
            depth: self.depth + 1,
            root: self.root,
        }
    }

    /// A context with the values of `self` and nothing else: it is never done and has no
    /// deadline. For what has to be finished when the request is over.
    ///
    /// ```
    /// use goweft::context::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_value(7).with_cancel();
    /// let audit = ctx.without_cancel();
    /// cancel();
    /// assert_eq!((audit.err(), audit.value::<i32>()), (None, Some(&7)));
    /// ```
    #[doc(alias = "WithoutCancel")]
    pub fn without_cancel(&self) -> Context {
        Context {
            done: channel::never(),
            values: Some(Value::add(&self.values, self.depth + 1, WithoutCancel)),
            depth: self.depth + 1,
            root: self.root,
        }
    }

    /// Lets `f` run, in a goroutine of its own, when the context is done; at once if it
    /// is.
    ///
    /// What `f` returns is dropped there. The function that this returns takes `f` back. What is registered stays so when
    /// that is dropped, and when the context is; on a context that can't ever be done `f`
    /// is dropped with the last clone of the function.
    ///
    /// ```
    /// use goweft::{channel, context::Context};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let (tx, rx) = channel::bounded(1);
    /// ctx.after_func(move || tx.send("cleaned up").unwrap());
    /// cancel();
    /// assert_eq!(rx.recv(), Ok("cleaned up"));
    /// ```
    #[doc(alias = "AfterFunc")]
    #[track_caller]
    pub fn after_func<F, T>(&self, f: F) -> StopFunc
    where
        F: FnOnce() -> T + Send + 'static,
    {
        let later = crate::task::later(move || drop(f()), Location::caller());
        StopFunc::new(NodeRef::when_done(self.node(), later))
    }

    /// Is closed when the context is done: nothing is ever sent on it. For `select!`, and
    /// to wait: `ctx.done().recv()` returns an error then.
    ///
    /// It is the same channel for a context and those that can only be done together with
    /// it, and never closed for [`background`](Self::background). Closing it by hand does
    /// nothing.
    #[doc(alias = "Done")]
    #[inline]
    pub fn done(&self) -> &Receiver<()> {
        &self.done
    }

    /// Why the context is done; None while it is not.
    #[doc(alias = "Err")]
    #[inline]
    pub fn err(&self) -> Option<ContextError> {
        self.node().and_then(|node| node.err())
    }

    /// As [`err`](Self::err), for `?`.
    ///
    /// ```
    /// use goweft::context::{Context, ContextError};
    ///
    /// fn count(ctx: &Context) -> Result<u64, ContextError> {
    ///     for _ in 0..1000 {
    ///         ctx.check()?;
    ///     }
    ///     Ok(1000)
    /// }
    /// assert_eq!(count(&Context::background()), Ok(1000));
    /// ```
    ///
    /// # Errors
    /// The context is done.
    #[inline]
    pub fn check(&self) -> Result<(), ContextError> {
        self.err().map_or(Ok(()), Err)
    }

    /// The reason why the context is done; None while it is not.
    ///
    /// It is what the first cancellation came with, of this context or of the one
    /// from which it spread here; without one it is the [`ContextError`] itself. The error
    /// inside is found by downcasting:
    ///
    /// ```
    /// use goweft::context::{Context, ContextError};
    /// use std::io;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel_cause();
    /// let (below, _cancel_below) = ctx.with_cancel();
    /// cancel.cancel(io::Error::from(io::ErrorKind::StorageFull));
    /// let cause = below.cause().unwrap();
    /// let cause = cause.downcast_ref::<io::Error>().unwrap();
    /// assert_eq!(cause.kind(), io::ErrorKind::StorageFull);
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel();
    /// let cause = ctx.cause().unwrap();
    /// assert!(matches!(cause.downcast_ref(), Some(ContextError::Canceled)));
    /// ```
    #[doc(alias = "Cause")]
    pub fn cause(&self) -> Option<Cause> {
        let node = self.node()?;
        let err = node.err()?;
        Some(node.cause().cloned().unwrap_or_else(|| err.as_cause()))
    }

    /// When the context will be done at the latest, if there is such a time.
    #[doc(alias = "Deadline")]
    #[inline]
    pub fn deadline(&self) -> Option<Instant> {
        self.node().and_then(|node| node.deadline)
    }

    /// The value of type `T` that was [added](Self::with_value) last, to this context or
    /// to one that it comes from.
    #[doc(alias = "Value")]
    pub fn value<T: Any>(&self) -> Option<&T> {
        value::find(self.values.as_deref())
    }

    #[inline]
    fn node(&self) -> Option<&NodeRef> {
        self.done.node()
    }

    /// A node below the context's own.
    fn node_below(&self, deadline: Option<Instant>, late: Option<Cause>) -> NodeRef {
        let spec = Spec {
            kind: if deadline != self.deadline() {
                Kind::Deadline
            } else {
                Kind::Cancel
            },
            depth: self.depth + 1,
            deadline,
            late,
        };
        NodeRef::new(self.node(), spec)
    }

    /// The context of `node`, which is below the own one.
    fn with_node(&self, node: NodeRef) -> Context {
        Context {
            done: channel::done(node),
            values: self.values.clone(),
            depth: self.depth + 1,
            root: self.root,
        }
    }
}
