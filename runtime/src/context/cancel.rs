//! The functions that come with a context: to cancel it, and to stop what
//! `after_func` has set up.
//!
//! They can be called like functions, `cancel()`, because they dereference to one. That
//! function is a box that is made at the first such call; `cancel.cancel()` needs
//! none.

use super::error::cause_of;
use super::node::NodeRef;
use super::{Cause, ContextError};
use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

// The boxes in them are functions of this file, which leave nothing half done.
impl UnwindSafe for CancelFunc {}
impl RefUnwindSafe for CancelFunc {}
impl UnwindSafe for CancelCauseFunc {}
impl RefUnwindSafe for CancelCauseFunc {}
impl UnwindSafe for StopFunc {}
impl RefUnwindSafe for StopFunc {}

/// One of the rights to cancel a node; the last one to go cancels it.
struct Canceller(NodeRef);

impl Clone for Canceller {
    fn clone(&self) -> Canceller {
        self.0.cancellers.fetch_add(1, Ordering::Relaxed);
        Canceller(self.0.clone())
    }
}

impl Canceller {
    fn cancel(node: &NodeRef, cause: Option<Cause>) {
        node.release();
        node.cancel(ContextError::Canceled, cause);
    }

    /// From now on there is always one more, so that none is the last.
    fn detach(&self) {
        self.0.cancellers.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Canceller {
    fn drop(&mut self) {
        if self.0.cancellers.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        self.0.release();
        // Also when the node is done: somebody else may still be on the way to those below.
        self.0.cancel(ContextError::Canceled, None);
    }
}

/// Cancels its [`Context`](super::Context), and all contexts that come from that.
///
/// Called like a function, `cancel()`, or by method, `cancel.cancel()`. It may be called any
/// number of times, from any goroutine or thread; only the first call does something.
/// When it returns all contexts below are done. It does not block, and waits
/// neither for those who wait on the contexts nor for what
/// [`after_func`](super::Context::after_func) starts.
///
/// **Dropping the last clone cancels too**, where Go only has a lint for forgotten cancel
/// functions. So bind it to a name: `let (ctx, _) = …` is done at once. For a context that is
/// to outlive its cancel function there is [`detach`](Self::detach).
///
/// ```
/// use goweft::context::{Context, ContextError};
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// let (below, _cancel_below) = ctx.with_cancel();
/// assert_eq!(below.err(), None);
/// cancel();
/// assert_eq!(below.err(), Some(ContextError::Canceled));
/// ```
#[must_use = "a context is cancelled when its cancel function is dropped"]
pub struct CancelFunc {
    canceller: Canceller,
    function: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl CancelFunc {
    pub(super) fn new(node: NodeRef) -> CancelFunc {
        CancelFunc {
            canceller: Canceller(node),
            function: OnceLock::new(),
        }
    }

    /// Cancels, as calling it does.
    ///
    /// ```
    /// use goweft::context::{Context, ContextError};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel.cancel();
    /// cancel.cancel(); // does nothing
    /// assert_eq!(ctx.err(), Some(ContextError::Canceled));
    /// ```
    pub fn cancel(&self) {
        Canceller::cancel(&self.canceller.0, None);
    }

    /// Drops it without cancelling: the context lives until its deadline, or until one that
    /// it comes from is cancelled. Other clones can still be called.
    ///
    /// ```
    /// use goweft::context::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// cancel.detach();
    /// assert_eq!(ctx.err(), None);
    /// ```
    pub fn detach(self) {
        self.canceller.detach();
    }
}

impl Clone for CancelFunc {
    fn clone(&self) -> CancelFunc {
        CancelFunc {
            canceller: self.canceller.clone(),
            function: OnceLock::new(),
        }
    }
}

impl Deref for CancelFunc {
    type Target = dyn Fn() + Send + Sync;

    /// The function that cancels, for `cancel()`.
    fn deref(&self) -> &Self::Target {
        &**self.function.get_or_init(|| {
            let node = self.canceller.0.clone();
            Box::new(move || Canceller::cancel(&node, None))
        })
    }
}

impl fmt::Debug for CancelFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelFunc { .. }")
    }
}

/// Cancels its [`Context`](super::Context) with a cause, and all contexts that come from
/// that.
///
/// As [`CancelFunc`], of which it differs in that [`cancel`](Self::cancel) takes the
/// [cause](super::Context::cause). **Dropping the last clone cancels too**, without a cause.
#[must_use = "a context is cancelled when its cancel function is dropped"]
#[derive(Clone)]
pub struct CancelCauseFunc {
    canceller: Canceller,
}

impl CancelCauseFunc {
    pub(super) fn new(node: NodeRef) -> CancelCauseFunc {
        CancelCauseFunc {
            canceller: Canceller(node),
        }
    }

    /// Cancels, because of `cause`, which may be a [`Cause`] from elsewhere. The first
    /// call decides.
    ///
    /// ```
    /// use goweft::context::{Context, ContextError};
    ///
    /// let (ctx, cancel) = Context::background().with_cancel_cause();
    /// cancel.cancel(std::io::Error::other("disk full"));
    /// assert_eq!(ctx.err(), Some(ContextError::Canceled));
    /// assert_eq!(ctx.cause().unwrap().to_string(), "disk full");
    /// ```
    pub fn cancel<E: Error + Send + Sync + 'static>(&self, cause: E) {
        Canceller::cancel(&self.canceller.0, Some(cause_of(cause)));
    }

    /// As dropping the last clone does.
    pub(crate) fn cancel_without_cause(&self) {
        Canceller::cancel(&self.canceller.0, None);
    }

    /// As [`CancelFunc::detach`].
    pub fn detach(self) {
        self.canceller.detach();
    }
}

impl fmt::Debug for CancelCauseFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelCauseFunc { .. }")
    }
}

/// Takes back what [`after_func`](super::Context::after_func) has set up.
///
/// Called like a function, `stop()`, or by method, `stop.stop()`. Dropping it takes nothing
/// back.
///
/// ```
/// use goweft::context::Context;
///
/// let (ctx, cancel) = Context::background().with_cancel();
/// let stop = ctx.after_func(|| unreachable!());
/// assert!(stop());
/// assert!(!stop());
/// cancel();
/// ```
pub struct StopFunc {
    node: NodeRef,
    function: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl StopFunc {
    pub(super) fn new(node: NodeRef) -> StopFunc {
        StopFunc {
            node,
            function: OnceLock::new(),
        }
    }

    /// Takes back the function: true if this prevented it from running, false if it has
    /// been started, or was taken back before. Does not wait for one that runs.
    pub fn stop(&self) -> bool {
        self.node.stop()
    }
}

impl Clone for StopFunc {
    fn clone(&self) -> StopFunc {
        StopFunc::new(self.node.clone())
    }
}

impl Deref for StopFunc {
    type Target = dyn Fn() -> bool + Send + Sync;

    /// The function that stops, for `stop()`.
    fn deref(&self) -> &Self::Target {
        &**self.function.get_or_init(|| {
            let node = self.node.clone();
            Box::new(move || node.stop())
        })
    }
}

impl fmt::Debug for StopFunc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopFunc { .. }")
    }
}
