//! The lock of the runtime's own data: held for a few instructions, never
//! across user code, allocation or a park.
//!
//! A holder is always inside the runtime (or is a thread that is no M), so no
//! preemption parks it, and the wait is a handful of nanoseconds unless the OS
//! deschedules the holder. So: spin a little, then give the CPU up to it.
//! Unlocking is a plain store, which is half the price of a lock that can put
//! its waiters to sleep.

use crate::fork;
use crate::protocol::delay;
use crate::sched::Inside;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
pub(crate) struct ShortLock<T> {
    locked: AtomicBool,
    data: UnsafeCell<T>,
}

// SAFETY: the lock gives out one exclusive reference at a time.
unsafe impl<T: Send> Send for ShortLock<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for ShortLock<T> {}

impl<T> ShortLock<T> {
    pub(crate) const fn new(data: T) -> ShortLock<T> {
        ShortLock {
            locked: AtomicBool::new(false),
            data: UnsafeCell::new(data),
        }
    }

    /// Takes the lock. `Inside` shows that no preemption can stop the holder.
    #[inline]
    pub(crate) fn lock<'a>(&'a self, _inside: &Inside) -> ShortGuard<'a, T> {
        if self
            .locked
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_contended();
        }
        delay::here();
        ShortGuard { lock: self }
    }

    #[cold]
    #[inline(never)]
    fn lock_contended(&self) {
        let mut rounds = 0u32;
        loop {
            if !self.locked.load(Ordering::Relaxed)
                && self
                    .locked
                    .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
            if rounds < 64 {
                rounds += 1;
                std::hint::spin_loop();
            } else {
                // A fork may have come while another thread held it.
                fork::refuse();
                std::thread::yield_now();
            }
        }
    }

    /// The data, when the caller has the only reference.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }
}

/// Unlocks when dropped.
pub(crate) struct ShortGuard<'a, T> {
    lock: &'a ShortLock<T>,
}

impl<T> Deref for ShortGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while this thread holds the lock.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for ShortGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `&mut self` makes this the only reference.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for ShortGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        delay::here();
        self.lock.locked.store(false, Ordering::Release);
    }
}
