//! A mutex with Go's two modes.
//!
//! *Normal*: who unlocks wakes the first waiter, which competes with whoever
//! comes along. That is fast, because the running one usually gets the lock again
//! without a switch, and unfair. *Starving*: a waiter that has lost for more than
//! a millisecond switches the mutex over; then unlocking hands the lock to the
//! first waiter and newcomers queue, until a waiter gets it that has waited less
//! than that, or the last one.
//!
//! The word:
//!
//! | bit | set by | means |
//! |---|---|---|
//! | LOCKED | who takes it | somebody has it |
//! | WOKEN | who unlocks, under the queue's lock | a waiter was woken and competes: wake no other |
//! | STARVING | a waiter, under the queue's lock | hand over; newcomers keep off |
//! | QUEUED | a waiter, under the queue's lock | the queue is not empty |
//!
//! No wake-up is lost: a waiter sets QUEUED and sees LOCKED in one step, so the
//! unlock comes after it, sees QUEUED, and takes the queue's lock, which the
//! waiter gives up only when it is linked. WOKEN is taken back under
//! the same lock (or in the step that takes the mutex), and whoever takes it
//! back looks again whether the mutex is free.

use crate::channel::wait::{Queue, Record, Verdict, await_verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::lock::ShortLock;
use crate::sched::{Inside, WaitReason, Waiter};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const LOCKED: u32 = 1;
const WOKEN: u32 = 2;
const STARVING: u32 = 4;
const QUEUED: u32 = 8;

/// A waiter that has waited longer makes the mutex starving.
const PATIENCE: Nanos = 1_000_000;

/// Rounds of spinning before parking, and pauses in each.
const SPINS: u32 = 4;
const PAUSES: u32 = 30;

/// One lock around one value, as `std::sync::Mutex`, for goroutines and threads.
///
/// It is never poisoned: when its holder panics it is unlocked, and the next one sees
/// what the holder left behind. Locking it twice waits for ever.
///
/// A goroutine may hold the guard while it parks, and go on on another thread.
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
#[must_use = "the mutex is unlocked when its guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// It is an exclusive reference.
    value: PhantomData<&'a mut T>,
}

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
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if !self.raw.try_lock() {
            self.raw.lock_slow(NEVER);
        }
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
        (self.raw.try_lock() || self.raw.lock_slow(clock::after(timeout))).then(|| self.guard())
    }

    /// As [`try_lock_for`](Self::try_lock_for), until `deadline`.
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn try_lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        (self.raw.try_lock() || self.raw.lock_slow(clock::from_instant(deadline)))
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

/// The lock without the value.
struct Raw {
    word: AtomicU32,
    queue: ShortLock<Queue>,
}

impl Raw {
    const fn new() -> Raw {
        Raw {
            word: AtomicU32::new(0),
            queue: ShortLock::new(Queue::new()),
        }
    }

    /// Takes it when nobody has it, clearing `also`.
    #[inline]
    fn take(&self, also: u32) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & (LOCKED | STARVING) == 0 {
            let next = (word | LOCKED) & !also;
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    #[inline]
    fn try_lock(&self) -> bool {
        self.word
            .compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            || self.take(0)
    }

    /// Whether it was locked before `deadline`.
    #[cold]
    #[inline(never)]
    fn lock_slow(&self, deadline: Nanos) -> bool {
        if self.spin() {
            return true;
        }
        let since = clock::now();
        let mut woken = false;
        let mut inside = Inside::enter();
        loop {
            let mut queue = self.queue.lock(&inside);
            let mine = if woken { WOKEN } else { 0 };
            if self.take(mine) {
                return true;
            }
            let now = clock::now();
            if deadline <= now {
                // A wake-up that we do not use belongs to the next one.
                let next = if woken {
                    self.pass_on(&mut queue)
                } else {
                    None
                };
                drop(queue);
                if let Some(next) = next {
                    inside.ready(next);
                }
                return false;
            }
            let starving = if woken && now - since > PATIENCE {
                STARVING
            } else {
                0
            };
            if !self.enqueue(mine, starving) {
                continue;
            }
            let waiter = inside.prepare(WaitReason::MutexLock);
            let record = Record::single(waiter, std::ptr::null_mut());
            // SAFETY: it stays here until the verdict or the deadline, which
            // unlinks it.
            unsafe {
                match woken {
                    true => queue.push_front(&record),
                    false => queue.push_back(&record),
                }
            }
            drop(queue);
            let reason = WaitReason::MutexLock;
            let unlink = |queue: &mut Queue, record: &Record| {
                queue.remove(record);
                self.forget_empty(queue);
            };
            match await_verdict(
                &mut inside,
                &record,
                waiter,
                reason,
                deadline,
                &self.queue,
                unlink,
            ) {
                Some(Verdict::Done) => {
                    // It was handed to us. Quick enough: back to normal.
                    if clock::now() - since <= PATIENCE {
                        self.word.fetch_and(!STARVING, Ordering::Relaxed);
                    }
                    return true;
                }
                None => return false,
                Some(_) => woken = true,
            }
        }
    }

    /// Tries for a while: whoever has it may be about to give it up.
    fn spin(&self) -> bool {
        if crate::sched::procs() == 1 {
            return false;
        }
        for _ in 0..SPINS {
            if self.word.load(Ordering::Relaxed) & (STARVING | QUEUED) != 0 {
                return false;
            }
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
            if self.take(0) {
                return true;
            }
        }
        false
    }

    /// Under the queue's lock: announces a waiter, unless there is no need to wait. Clears
    /// `mine`, sets `starving`.
    fn enqueue(&self, mine: u32, starving: u32) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & (LOCKED | STARVING) != 0 {
            let next = (word & !mine) | QUEUED | if word & LOCKED != 0 { starving } else { 0 };
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Under the queue's lock: when it is empty nobody waits, or starves.
    fn forget_empty(&self, queue: &Queue) {
        if queue.is_empty() {
            self.word.fetch_and(!(QUEUED | STARVING), Ordering::Relaxed);
        }
    }

    /// Under the queue's lock: the woken waiter gives up. If the mutex is free
    /// the next one is to be woken in its place.
    fn pass_on(&self, queue: &mut Queue) -> Option<Waiter> {
        let word = self.word.fetch_and(!WOKEN, Ordering::Relaxed);
        if word & LOCKED == 0 {
            self.wake_next(queue)
        } else {
            None
        }
    }

    /// Under the queue's lock, in normal mode: the first waiter, to be woken.
    fn wake_next(&self, queue: &mut Queue) -> Option<Waiter> {
        let first = queue.first()?;
        queue.remove(&first);
        self.word.fetch_or(WOKEN, Ordering::Relaxed);
        self.forget_empty(queue);
        Some(first.give(Verdict::Retry))
    }

    #[inline]
    fn unlock(&self) {
        if self
            .word
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            self.unlock_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self) {
        let mut inside = Inside::enter();
        let mut queue = self.queue.lock(&inside);
        let next = if self.word.load(Ordering::Relaxed) & STARVING != 0
            && let Some(first) = queue.first()
        {
            // It stays locked, for the first in the queue; what we wrote is
            // released to it by the verdict.
            queue.remove(&first);
            self.forget_empty(&queue);
            Some(first.give(Verdict::Done))
        } else {
            let word = self.word.fetch_and(!(LOCKED | STARVING), Ordering::Release);
            if word & WOKEN == 0 {
                self.wake_next(&mut queue)
            } else {
                None
            }
        };
        drop(queue);
        if let Some(next) = next {
            inside.ready(next);
        }
    }
}
