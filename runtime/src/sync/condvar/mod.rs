//! A condition variable.
//!
//! Who waits, and who is woken when, is in `raw.rs`.

mod raw;

use super::mutex::MutexGuard;
use crate::clock::{self, NEVER};
use raw::Raw;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

/// Waits for something to become true, as `std::sync::Condvar`, for goroutines and
/// threads.
///
/// First in, first out, as Go's, and without spurious wake-ups. Another goroutine may
/// still come between the notification and the waiter's getting the mutex back, so
/// conditions are looked at in a loop, or with [`wait_while`](Self::wait_while). Unlike Go's
/// it is not tied to one mutex.
///
/// # Examples
///
/// ```
/// use goweft::sync::{Condvar, Mutex};
///
/// let (ready, changed) = (Mutex::new(false), Condvar::new());
/// goweft::scope(|s| {
///     s.spawn(|| {
///         *ready.lock() = true;
///         changed.notify_one();
///     });
///     let ready = changed.wait_while(ready.lock(), |ready| !*ready);
///     assert!(*ready);
/// });
/// ```
#[doc(alias = "Cond")]
pub struct Condvar {
    raw: Raw,
}

/// Tells whether a wait with a timeout ended by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was over before a notification came.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl UnwindSafe for Condvar {}
impl RefUnwindSafe for Condvar {}

impl Condvar {
    /// With nobody waiting.
    #[doc(alias = "NewCond")]
    pub const fn new() -> Condvar {
        Condvar { raw: Raw::new() }
    }

    /// Unlocks the mutex, waits for a notification, and locks the mutex again.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), always: it has to wait. The mutex is unlocked by its guard.
    #[doc(alias = "Wait")]
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.raw.wait_until(guard.raw(), NEVER);
        guard
    }

    /// [Waits](Self::wait) as long as `condition` is true. It is called with the mutex locked.
    ///
    /// # Panics
    /// When `condition` does; and in [`no_park`](crate::no_park), when it is true.
    pub fn wait_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> MutexGuard<'a, T>
    where
        T: ?Sized,
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait`](Self::wait), for at most `timeout`. Locking the mutex again, for which others
    /// may have their turn before, may take longer.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), always, also with a timeout of zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    ///
    /// let (mutex, never) = (Mutex::new(()), Condvar::new());
    /// let (_guard, result) = never.wait_timeout(mutex.lock(), Duration::from_millis(2));
    /// assert!(result.timed_out());
    /// ```
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let notified = self.raw.wait_until(guard.raw(), clock::after(timeout));
        (guard, WaitTimeoutResult(!notified))
    }

    /// As [`wait_while`](Self::wait_while), for at most `timeout` in all. The result says timed
    /// out only when the condition is still true.
    ///
    /// # Panics
    /// When `condition` does; and in [`no_park`](crate::no_park), when it is true and the time is
    /// not up.
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: F,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult)
    where
        T: ?Sized,
        F: FnMut(&mut T) -> bool,
    {
        let deadline = clock::after(timeout);
        loop {
            if !condition(&mut *guard) {
                return (guard, WaitTimeoutResult(false));
            }
            if deadline <= clock::now() {
                return (guard, WaitTimeoutResult(true));
            }
            self.raw.wait_until(guard.raw(), deadline);
        }
    }

    /// Wakes the one that has waited longest, if there is one. With or without the mutex.
    #[doc(alias = "Signal")]
    #[inline]
    pub fn notify_one(&self) {
        self.raw.notify_one();
    }

    /// Wakes all who wait; goroutines that wait with one mutex in turns, in the order of waiting,
    /// each when the one before it has the mutex. With or without the mutex.
    #[doc(alias = "Broadcast")]
    #[inline]
    pub fn notify_all(&self) {
        self.raw.notify_all();
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
