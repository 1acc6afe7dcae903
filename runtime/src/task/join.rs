//! The handle of a spawned goroutine.

use super::packet::Outcome;
use super::task::{Task, TaskId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

/// Waits for a goroutine and has its result; dropping it lets the goroutine run
/// on by itself.
///
/// It is also a future of that result, for `async` code: see
/// [`block_on`](crate::block_on). The result is dropped by whoever is last: the
/// goroutine, when the handle is gone. If that panics, it is told, and ends there.
///
/// ```
/// let h = goweft::spawn(|| 6 * 7);
/// assert_eq!(h.join().unwrap(), 42);
///
/// let h = goweft::spawn(|| panic!("oh no"));
/// let payload = h.join().unwrap_err();
/// assert_eq!(payload.downcast_ref::<&str>(), Some(&"oh no"));
/// ```
pub struct JoinHandle<T> {
    outcome: Outcome<T>,
    task: Task,
}

impl<T> JoinHandle<T> {
    #[inline]
    pub(super) fn new(outcome: Outcome<T>, task: Task) -> JoinHandle<T> {
        JoinHandle { outcome, task }
    }

    /// Parks the caller (a goroutine, or a plain thread) until the goroutine has
    /// ended; its goroutine-locals are gone then.
    ///
    /// # Errors
    /// The payload of the panic that ended it, or
    /// [`Exited`](crate::task::Exited) when it called [`task::exit`](crate::task::exit).
    ///
    /// # Panics
    /// When it was polled to completion before; and in [`no_park`](crate::no_park), when it has to
    /// wait: then the goroutine is detached.
    #[inline]
    pub fn join(self) -> thread::Result<T> {
        self.outcome.wait()
    }

    /// Whether the goroutine has ended, so that [`join`](Self::join) does not block.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.outcome.is_finished()
    }

    /// Its number: no two goroutines of a process have the same.
    #[inline]
    pub fn id(&self) -> TaskId {
        self.task.id()
    }

    /// The goroutine.
    #[inline]
    pub fn task(&self) -> &Task {
        &self.task
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = thread::Result<T>;

    /// # Panics
    /// When it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.outcome.poll(cx) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}
