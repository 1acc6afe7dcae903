//! Goroutines that work on one thing, the first error of which counts: Go's `errgroup`.
//!
//! A wait group counts them, a semaphore bounds them, the first error (or panic) is kept, and
//! cancels the context. The context's cancel function is in a slot: whoever cancels uses a clone,
//! and empties the slot afterwards. So it is done for all who find nothing there.

use super::{Mutex, OnceLock, Semaphore, WaitGroup};
use crate::context::{CancelCauseFunc, Cause, Context};
use crate::task::Exited;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs goroutines that are parts of one piece of work, and waits for all of them.
///
/// The first error cancels the [context](Self::with_context) of the others, and is what
/// [`wait`](Self::wait) returns. Clones are the same group.
///
/// # Examples
///
/// ```
/// use goweft::context::Context;
/// use goweft::sync::ErrGroup;
/// use std::fmt::Error;
///
/// let (group, ctx) = ErrGroup::with_context(&Context::background());
/// for n in 0..3 {
///     let ctx = ctx.clone();
///     group.go(move || {
///         if n == 1 {
///             return Err(Error);
///         }
///         ctx.done().recv().unwrap_err(); // closed by the error
///         Ok(())
///     });
/// }
/// assert_eq!(group.wait(), Err(Error));
/// assert_eq!(ctx.cause().unwrap().to_string(), Error.to_string());
/// ```
#[doc(alias = "errgroup")]
pub struct ErrGroup<E = Cause> {
    shared: Arc<Shared<E>>,
}

impl<E> UnwindSafe for ErrGroup<E> {}
impl<E> RefUnwindSafe for ErrGroup<E> {}

struct Shared<E> {
    running: WaitGroup,
    limit: Mutex<Option<Limit>>,
    first: OnceLock<E>,
    panicked: AtomicBool,
    cancel: Mutex<Option<CancelCauseFunc>>,
}

#[derive(Clone)]
struct Limit {
    size: usize,
    permits: Arc<Semaphore>,
}

impl<E> ErrGroup<E>
where
    E: Error + Clone + Send + Sync + 'static,
{
    /// A group without a context and without a limit.
    pub fn new() -> ErrGroup<E> {
        ErrGroup::cancelling(None)
    }

    /// A group, and a context that is done when the first of its goroutines returns an error, which
    /// is its [cause](Context::cause), or panics; or when a [`wait`](Self::wait) returns; or when
    /// `ctx` is done. Also without a `wait`, other than in Go: when the last clone of the group is
    /// dropped and its last goroutine has ended.
    #[doc(alias = "WithContext")]
    #[must_use = "the context is done when the group is dropped"]
    pub fn with_context(ctx: &Context) -> (ErrGroup<E>, Context) {
        let (ctx, cancel) = ctx.with_cancel_cause();
        (ErrGroup::cancelling(Some(cancel)), ctx)
    }

    fn cancelling(cancel: Option<CancelCauseFunc>) -> ErrGroup<E> {
        ErrGroup {
            shared: Arc::new(Shared {
                running: WaitGroup::new(),
                limit: Mutex::new(None),
                first: OnceLock::new(),
                panicked: AtomicBool::new(false),
                cancel: Mutex::new(cancel),
            }),
        }
    }

    /// Runs `f` as a goroutine. Waits for room first when there is a
    /// [limit](Self::set_limit).
    ///
    /// # Panics
    /// As [`spawn`](crate::spawn) does; and in [`no_park`](crate::no_park), when it has to wait for
    /// room.
    #[doc(alias = "Go")]
    #[track_caller]
    pub fn go<F>(&self, f: F)
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
    {
        let permit = self.limit().map(|limit| limit.permits.acquire_owned(1));
        self.start(permit, f);
    }

    /// As [`go`](Self::go), unless it would have to wait: then false, and `f` is dropped.
    ///
    /// # Panics
    /// As [`spawn`](crate::spawn) does.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::{channel, sync::ErrGroup};
    ///
    /// let group = ErrGroup::<std::fmt::Error>::new();
    /// let (tx, rx) = channel::bounded::<()>(0);
    /// group.set_limit(1);
    /// assert!(group.try_go(move || Ok(rx.recv().unwrap())));
    /// assert!(!group.try_go(|| Ok(())));
    /// tx.send(()).unwrap();
    /// assert_eq!(group.wait(), Ok(()));
    /// ```
    #[doc(alias = "TryGo")]
    #[track_caller]
    pub fn try_go<F>(&self, f: F) -> bool
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
    {
        let permit = match self.limit() {
            None => None,
            Some(limit) => match limit.permits.try_acquire_owned(1) {
                None => return false,
                permit => permit,
            },
        };
        self.start(permit, f);
        true
    }

    /// At most `n` at the same time from now on; with 0, none. More than half of what a
    /// `usize` can hold is no limit: `usize::MAX` is Go's -1.
    ///
    /// # Panics
    /// While goroutines run that an earlier limit counts:
    /// `sync: ErrGroup limit changed while … goroutines are active`.
    #[doc(alias = "SetLimit")]
    pub fn set_limit(&self, n: usize) {
        let mut limit = self.shared.limit.lock();
        if let Some(old) = &*limit {
            let active = old.size - old.permits.available_permits();
            assert!(
                active == 0,
                "sync: ErrGroup limit changed while {active} goroutines are active"
            );
        }
        *limit = (n <= usize::MAX / 2).then(|| Limit {
            size: n,
            permits: Arc::new(Semaphore::new(n)),
        });
    }

    /// Waits until all goroutines of the group have ended; then its context is done.
    ///
    /// # Errors
    /// The first error that one of them returned.
    ///
    /// # Panics
    /// When one of them panicked, as [`scope`](crate::scope()) does (in Go that ends the process):
    /// `sync: a goroutine of an ErrGroup panicked`. And in [`no_park`](crate::no_park), when it has
    /// to wait.
    #[doc(alias = "Wait")]
    pub fn wait(&self) -> Result<(), E> {
        self.shared.running.wait();
        self.shared.cancel(None);
        assert!(
            !self.shared.panicked.load(Ordering::Relaxed),
            "sync: a goroutine of an ErrGroup panicked"
        );
        self.shared.first.get().cloned().map_or(Ok(()), Err)
    }

    fn limit(&self) -> Option<Limit> {
        self.shared.limit.lock().clone()
    }

    #[track_caller]
    fn start<P, F>(&self, permit: P, f: F)
    where
        P: Send + 'static,
        F: FnOnce() -> Result<(), E> + Send + 'static,
    {
        let shared = self.shared.clone();
        self.shared.running.go(move || {
            let _permit = permit;
            // Copying and dropping the error is the user's code too.
            let work = || {
                if let Err(error) = f() {
                    shared.fail(error);
                }
            };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(work)) {
                if !payload.is::<Exited>() {
                    shared.panicked.store(true, Ordering::Relaxed);
                    shared.cancel(None);
                }
                resume_unwind(payload)
            }
        });
    }
}

impl<E: Error + Clone + Send + Sync + 'static> Shared<E> {
    fn fail(&self, error: E) {
        if self.first.set(error.clone()).is_ok() {
            self.cancel(Some(error));
        }
    }

    /// The first one counts; the context is done when it returns. Cancelling wakes others, so it is
    /// done without the lock.
    fn cancel(&self, cause: Option<E>) {
        let Some(cancel) = self.cancel.lock().clone() else {
            return;
        };
        match cause {
            Some(cause) => cancel.cancel(cause),
            None => cancel.cancel_without_cause(),
        }
        // Dropped without the lock, too.
        let _last = self.cancel.lock().take();
    }
}

impl<E> Clone for ErrGroup<E> {
    fn clone(&self) -> ErrGroup<E> {
        ErrGroup {
            shared: self.shared.clone(),
        }
    }
}

impl<E> Default for ErrGroup<E>
where
    E: Error + Clone + Send + Sync + 'static,
{
    fn default() -> ErrGroup<E> {
        ErrGroup::new()
    }
}

impl<E> fmt::Debug for ErrGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrGroup").finish_non_exhaustive()
    }
}
