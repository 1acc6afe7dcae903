//! One lock around one value.
//!
//! The lock itself, and how it is fair, is in `raw.rs`. A guard exists only while
//! its mutex is locked for it; dropping it unlocks, whichever way the scope is left.

mod raw;
mod sys;

use crate::clock;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

pub(super) use raw::Raw;
pub(crate) use sys::prepare;
pub(super) use sys::{fence_everywhere, has_barrier};

/// One lock around one value, as `std::sync::Mutex`, for goroutines and threads.
///
/// It is never poisoned: when its holder panics it is unlocked, and the next one sees
/// what the holder left behind. Locking it twice waits for ever.
///
/// There is no `unlock`, as Go has one: a guard stands for it, and unlocks when it is dropped, at
/// the end of its scope or by hand. A goroutine may hold the guard while it parks, and go on on
/// another thread.
///
/// # Examples
///
/// ```
/// use goweft::sync::{Mutex, WaitGroup};
/// use std::sync::Arc;
///
/// let count = Arc::new(Mutex::new(0));
/// let wg = WaitGroup::new();
/// for _ in 0..10 {
///     let count = count.clone();
///     wg.go(move || *count.lock() += 1);
/// }
/// wg.wait();
/// assert_eq!(*count.lock(), 10);
/// ```
pub struct Mutex<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

// SAFETY: the mutex gives out one exclusive reference at a time, to any thread.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// As a mutex without poisoning says: what a panic leaves behind is visible.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

/// Unlocks its [`Mutex`] when dropped.
#[doc(alias = "Unlock")]
#[must_use = "the mutex is unlocked when its guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// It is an exclusive reference.
    value: PhantomData<&'a mut T>,
}

impl<T: ?Sized> UnwindSafe for MutexGuard<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for MutexGuard<'_, T> {}

impl<T> Mutex<T> {
    /// An unlocked mutex.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::sync::Mutex;
    ///
    /// static NAMES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    /// NAMES.lock().push("gopher".into());
    /// assert_eq!(NAMES.lock().len(), 1);
    /// ```
    pub const fn new(value: T) -> Mutex<T> {
        Mutex {
            raw: Raw::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, and waits until it can.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.raw.lock();
        self.guard()
    }

    /// Locks if that is possible at once.
    ///
    /// # Examples
    ///
    /// ```
    /// let mutex = goweft::sync::Mutex::new(1);
    /// let guard = mutex.lock();
    /// assert!(mutex.try_lock().is_none());
    /// drop(guard);
    /// assert!(mutex.try_lock().is_some());
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock().then(|| self.guard())
    }

    /// Locks, and waits for at most `timeout` until it can.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mutex = goweft::sync::Mutex::new(1);
    /// let guard = mutex.lock();
    /// assert!(mutex.try_lock_for(Duration::from_millis(2)).is_none());
    /// ```
    pub fn try_lock_for(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        (self.raw.try_lock() || self.raw.lock_until(clock::after(timeout))).then(|| self.guard())
    }

    /// As [`try_lock_for`](Self::try_lock_for), until `deadline`.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn try_lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        self.raw
            .lock_until(clock::from_instant(deadline))
            .then(|| self.guard())
    }

    /// The value, without locking: the caller has the only reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// For one who has just locked.
    #[inline]
    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            value: PhantomData,
        }
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The lock: for a condition variable, which unlocks while it waits.
    pub(super) fn raw(&self) -> &'a Raw {
        &self.mutex.raw
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a guard exists only while its mutex is locked for it.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut mutex = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => mutex.field("data", &&*guard),
            None => mutex.field("data", &format_args!("<locked>")),
        };
        mutex.finish()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}
