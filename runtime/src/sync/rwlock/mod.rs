//! Many readers, or one writer, around one value.
//!
//! The lock itself is in `raw.rs`. A guard exists only while the lock is held for it.

mod raw;
mod visible;

use crate::clock::{self, NEVER, Nanos};
use raw::{Raw, Reader};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// A value that many may read or one may change, as `std::sync::RwLock`, for goroutines and
/// threads.
///
/// Fair as Go's: a writer that waits keeps new readers out, and when it unlocks, all
/// readers that came meanwhile go before the next writer. So one goroutine that reads
/// again while it reads already may wait for a writer that waits for it: for ever. There is no
/// poison: a panic unlocks.
///
/// # Examples
///
/// ```
/// use goweft::sync::RwLock;
///
/// let config = RwLock::new(vec!["a"]);
/// goweft::scope(|s| {
///     for _ in 0..4 {
///         s.spawn(|| assert!(config.read().contains(&"a")));
///     }
///     s.spawn(|| config.write().push("b"));
/// });
/// assert_eq!(config.into_inner(), ["a", "b"]);
/// ```
#[doc(alias = "RWMutex")]
pub struct RwLock<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

// SAFETY: it gives the value to any thread, exclusively, and it can be taken out.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: as above; readers share the value between threads.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

// Without poison: what a panic leaves behind is visible.
impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

/// Shared access to the value of a [`RwLock`], until it is dropped: what Go's `RUnlock` ends.
#[doc(alias = "RUnlock")]
#[doc(alias = "RLocker")]
#[must_use = "the lock is released when its guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    reader: Reader,
    value: PhantomData<&'a T>,
}

/// Exclusive access to the value of a [`RwLock`], until it is dropped: what Go's `Unlock` ends.
#[doc(alias = "Unlock")]
#[must_use = "the lock is released when its guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    value: PhantomData<&'a mut T>,
}

impl<T: ?Sized> UnwindSafe for RwLockWriteGuard<'_, T> {}
impl<T: ?Sized> RefUnwindSafe for RwLockWriteGuard<'_, T> {}

impl<T> RwLock<T> {
    /// An unlocked lock.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock {
            raw: Raw::new(),
            value: UnsafeCell::new(value),
        }
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading, beside other readers. Waits while a writer is in or waits.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait. After half a billion guards that were
    /// forgotten: `sync: too many readers of a RwLock`.
    #[doc(alias = "RLock")]
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        match self.raw.read_until(NEVER) {
            Some(reader) => self.read_guard(reader),
            None => unreachable!("there is no deadline"),
        }
    }

    /// Locks for reading if that is possible at once. It is not while a writer is in or waits, nor
    /// at the moment in which a [`try_write`](Self::try_write) finds that a reader came just
    /// before it.
    #[doc(alias = "TryRLock")]
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        Some(self.read_guard(self.raw.try_read()?))
    }

    /// Locks for reading, and waits for at most `timeout` until it can.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn try_read_for(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        self.read_by(|| clock::after(timeout))
    }

    /// As [`try_read_for`](Self::try_read_for), until `deadline`.
    ///
    /// # Panics
    /// As [`read`](Self::read).
    pub fn try_read_until(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        self.read_by(|| clock::from_instant(deadline))
    }

    /// Locks for writing: waits until it is alone.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    #[doc(alias = "Lock")]
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.raw.write_until(NEVER);
        self.write_guard()
    }

    /// Locks for writing if that is possible at once.
    #[doc(alias = "TryLock")]
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        self.raw.try_write().then(|| self.write_guard())
    }

    /// Locks for writing, and waits for at most `timeout` until it is alone. Readers that it has
    /// kept out meanwhile go on when it gives up.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::sync::RwLock;
    /// use std::time::Duration;
    ///
    /// let lock = RwLock::new(1);
    /// let reader = lock.read();
    /// assert!(lock.try_write_for(Duration::from_millis(2)).is_none());
    /// assert!(lock.try_read().is_some());
    /// # drop(reader);
    /// ```
    pub fn try_write_for(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.write_by(|| clock::after(timeout))
    }

    /// As [`try_write_for`](Self::try_write_for), until `deadline`.
    ///
    /// # Panics
    /// As [`write`](Self::write).
    pub fn try_write_until(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        self.write_by(|| clock::from_instant(deadline))
    }

    /// The value, without locking: the caller has the only reference.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    fn read_by(&self, deadline: impl FnOnce() -> Nanos) -> Option<RwLockReadGuard<'_, T>> {
        let reader = self.raw.try_read();
        let reader = reader.or_else(|| self.raw.read_until(deadline()))?;
        Some(self.read_guard(reader))
    }

    fn write_by(&self, deadline: impl FnOnce() -> Nanos) -> Option<RwLockWriteGuard<'_, T>> {
        (self.raw.try_write() || self.raw.write_until(deadline())).then(|| self.write_guard())
    }

    /// For one who has just locked.
    #[inline]
    fn read_guard(&self, reader: Reader) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard {
            lock: self,
            reader,
            value: PhantomData,
        }
    }

    /// For one who has just locked.
    #[inline]
    fn write_guard(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard {
            lock: self,
            value: PhantomData,
        }
    }
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Goes on as a reader, without a moment in which another writer could come in.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut guard = lock.write();
    /// *guard += 1;
    /// let guard = RwLockWriteGuard::downgrade(guard);
    /// assert_eq!((*guard, *lock.read()), (2, 2));
    /// ```
    pub fn downgrade(this: Self) -> RwLockReadGuard<'a, T> {
        let lock = ManuallyDrop::new(this).lock;
        lock.raw.downgrade();
        lock.read_guard(Reader::Counted)
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: while a read guard exists nobody writes.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a write guard is the only guard while it exists.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.unlock_read(self.reader);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.raw.unlock_write();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lock = f.debug_struct("RwLock");
        match self.try_read() {
            Some(guard) => lock.field("data", &&*guard),
            None => lock.field("data", &format_args!("<locked>")),
        };
        lock.finish()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}
