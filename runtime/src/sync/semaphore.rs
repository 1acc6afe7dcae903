//! A weighted semaphore, first come, first served.
//!
//! The word is twice the number of free permits, and 1 when somebody waits. Without that
//! bit permits are taken and given back in one step. With it everything happens under the
//! lock, so that nobody overtakes: permits that are free while the first in the queue
//! wants more stay free for it.
//!
//! The bit is set and taken away under the lock, and is set when a waiter has seen, in the
//! same step, that there is not enough for it. So whoever gives permits back after
//! that sees the bit, takes the lock, finds the waiter linked, and serves the queue.
//! A waiter that gives up serves it as well: the next one may want less.

use super::wait::{wait, wait_with};
use crate::channel::wait::{Queue, Verdict, Woken};
use crate::clock::{self, NEVER, Nanos};
use crate::context::{Context, ContextError};
use crate::lock::{ShortGuard, ShortLock};
use crate::sched::{Inside, WaitReason};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const QUEUED: usize = 1;
const ONE: usize = 2;

/// Bounds how much of something is in use at the same time: Go's `semaphore.Weighted`.
///
/// Permits go back when their guard is dropped. Waiters are served strictly in order, so
/// one that wants many is not starved by those that want few.
///
/// # Examples
///
/// At most two at a time:
///
/// ```
/// use goweft::sync::Semaphore;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let (limit, running) = (Semaphore::new(2), AtomicUsize::new(0));
/// goweft::scope(|s| {
///     for _ in 0..8 {
///         s.spawn(|| {
///             let _permit = limit.acquire(1);
///             assert!(running.fetch_add(1, Ordering::SeqCst) < 2);
///             running.fetch_sub(1, Ordering::SeqCst);
///         });
///     }
/// });
/// ```
#[doc(alias = "Weighted")]
pub struct Semaphore {
    size: usize,
    word: AtomicUsize,
    waiting: ShortLock<Waiting>,
}

struct Waiting {
    /// The slot of a record is the address of the number that it wants.
    queue: Queue,
    /// Who wants more than there are; they are never served.
    hopeless: Queue,
}

impl Waiting {
    fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    fn hopeless(&mut self) -> &mut Queue {
        &mut self.hopeless
    }
}

/// Some permits of a [`Semaphore`], given back when dropped.
#[must_use = "permits are given back when their guard is dropped"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

/// Some permits of a [`Semaphore`] in an `Arc`, given back when dropped.
#[must_use = "permits are given back when their guard is dropped"]
pub struct OwnedPermit {
    semaphore: Arc<Semaphore>,
    permits: usize,
}

impl UnwindSafe for Semaphore {}
impl RefUnwindSafe for Semaphore {}

impl Semaphore {
    /// With `permits`, all of them free.
    ///
    /// # Panics
    /// With more than half of what a `usize` can hold: `sync: Semaphore is too large`.
    #[doc(alias = "NewWeighted")]
    #[track_caller]
    pub const fn new(permits: usize) -> Semaphore {
        assert!(permits <= usize::MAX / ONE, "sync: Semaphore is too large");
        Semaphore {
            size: permits,
            word: AtomicUsize::new(permits * ONE),
            waiting: ShortLock::new(Waiting {
                queue: Queue::new(),
                hopeless: Queue::new(),
            }),
        }
    }

    /// Takes `n` permits, and waits until there are so many and all who came before are served.
    /// More than the semaphore has are waited for for ever, in nobody's way.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    #[doc(alias = "Acquire")]
    #[inline]
    pub fn acquire(&self, n: usize) -> Permit<'_> {
        self.acquire_until(n, || NEVER);
        self.permit(n)
    }

    /// Takes `n` permits if they are free and nobody waits. Does not wait.
    #[doc(alias = "TryAcquire")]
    #[inline]
    pub fn try_acquire(&self, n: usize) -> Option<Permit<'_>> {
        self.take(n).then(|| self.permit(n))
    }

    /// As [`acquire`](Self::acquire), for at most `timeout`.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::sync::Semaphore;
    /// use std::time::Duration;
    ///
    /// let limit = Semaphore::new(3);
    /// let two = limit.acquire(2);
    /// assert!(limit.acquire_timeout(2, Duration::from_millis(2)).is_none());
    /// drop(two);
    /// assert!(limit.acquire_timeout(2, Duration::from_millis(2)).is_some());
    /// ```
    pub fn acquire_timeout(&self, n: usize, timeout: Duration) -> Option<Permit<'_>> {
        self.acquire_until(n, || clock::after(timeout))
            .then(|| self.permit(n))
    }

    /// As [`acquire`](Self::acquire), until `ctx` is done. When it is done already, or just when
    /// the permits come, they stay where they are.
    ///
    /// # Errors
    /// Why `ctx` is done.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::context::{Context, ContextError};
    /// use goweft::sync::Semaphore;
    ///
    /// let limit = Semaphore::new(1);
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let permit = limit.acquire_ctx(&ctx, 1)?;
    /// goweft::go!(move || cancel());
    /// assert_eq!(limit.acquire_ctx(&ctx, 1).err(), Some(ContextError::Canceled));
    /// # drop(permit);
    /// # Ok::<(), ContextError>(())
    /// ```
    pub fn acquire_ctx(&self, ctx: &Context, n: usize) -> Result<Permit<'_>, ContextError> {
        self.acquire_with(n, ctx)?;
        Ok(self.permit(n))
    }

    /// As [`acquire`](Self::acquire); the guard keeps the semaphore alive, and may go anywhere.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::sync::Semaphore;
    /// use std::sync::Arc;
    ///
    /// let limit = Arc::new(Semaphore::new(1));
    /// let permit = limit.acquire_owned(1);
    /// goweft::go!(move || drop(permit));
    /// limit.acquire(1).forget();
    /// limit.release(1);
    /// ```
    pub fn acquire_owned(self: &Arc<Self>, n: usize) -> OwnedPermit {
        self.acquire_until(n, || NEVER);
        self.owned_permit(n)
    }

    /// As [`try_acquire`](Self::try_acquire); the guard keeps the semaphore alive.
    pub fn try_acquire_owned(self: &Arc<Self>, n: usize) -> Option<OwnedPermit> {
        self.take(n).then(|| self.owned_permit(n))
    }

    /// As [`acquire_timeout`](Self::acquire_timeout); the guard keeps the semaphore alive.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    pub fn acquire_owned_timeout(
        self: &Arc<Self>,
        n: usize,
        timeout: Duration,
    ) -> Option<OwnedPermit> {
        self.acquire_until(n, || clock::after(timeout))
            .then(|| self.owned_permit(n))
    }

    /// As [`acquire_ctx`](Self::acquire_ctx); the guard keeps the semaphore alive.
    ///
    /// # Errors
    /// Why `ctx` is done.
    ///
    /// # Panics
    /// As [`acquire`](Self::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::context::{Context, ContextError};
    /// use goweft::sync::{Semaphore, WaitGroup};
    /// use std::sync::Arc;
    ///
    /// let (limit, all) = (Arc::new(Semaphore::new(2)), WaitGroup::new());
    /// let ctx = Context::background();
    /// for _ in 0..8 {
    ///     let permit = limit.acquire_owned_ctx(&ctx, 1)?;
    ///     all.go(move || drop(permit));
    /// }
    /// all.wait();
    /// # Ok::<(), ContextError>(())
    /// ```
    pub fn acquire_owned_ctx(
        self: &Arc<Self>,
        ctx: &Context,
        n: usize,
    ) -> Result<OwnedPermit, ContextError> {
        self.acquire_with(n, ctx)?;
        Ok(self.owned_permit(n))
    }

    /// Gives `n` permits back whose guards were [forgotten](Permit::forget).
    ///
    /// # Panics
    /// When fewer are taken: `sync: Semaphore released more than held`.
    #[doc(alias = "Release")]
    #[track_caller]
    pub fn release(&self, n: usize) {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & QUEUED == 0 {
            let next = word + self.checked(word, n) * ONE;
            let done =
                self.word
                    .compare_exchange_weak(word, next, Ordering::Release, Ordering::Relaxed);
            match done {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.release_to_waiters(n);
    }

    /// How many permits are free now.
    pub fn available_permits(&self) -> usize {
        self.word.load(Ordering::Relaxed) / ONE
    }

    /// `n`, if so many are taken.
    #[inline]
    #[track_caller]
    fn checked(&self, word: usize, n: usize) -> usize {
        let held = self.size - word / ONE;
        assert!(n <= held, "sync: Semaphore released more than held");
        n
    }

    /// For one who has just taken them.
    #[inline]
    fn permit(&self, n: usize) -> Permit<'_> {
        Permit {
            semaphore: self,
            permits: n,
        }
    }

    /// For one who has just taken them.
    fn owned_permit(self: &Arc<Self>, n: usize) -> OwnedPermit {
        OwnedPermit {
            semaphore: self.clone(),
            permits: n,
        }
    }

    /// Takes `n` if they are free and nobody waits.
    #[inline]
    fn take(&self, n: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & QUEUED == 0 && word / ONE >= n {
            let done = self.word.compare_exchange_weak(
                word,
                word - n * ONE,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match done {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    #[inline]
    fn acquire_until(&self, n: usize, deadline: impl FnOnce() -> Nanos) -> bool {
        self.take(n) || self.acquire_slow(n, deadline())
    }

    fn acquire_with(&self, n: usize, ctx: &Context) -> Result<(), ContextError> {
        ctx.check()?;
        match self.take(n) {
            true => Ok(()),
            false => self.acquire_slow_with(n, ctx),
        }
    }

    #[cold]
    #[inline(never)]
    fn acquire_slow(&self, n: usize, deadline: Nanos) -> bool {
        let mut inside = Inside::enter();
        let waiting = self.waiting.lock(&inside);
        let lock = &self.waiting;
        let reason = WaitReason::Semaphore;
        let Some(queue) = self.queue_for(n) else {
            return true;
        };
        let wants = (&raw const n).cast_mut().cast();
        let granted = wait(&mut inside, lock, waiting, queue, wants, reason, deadline);
        if granted.is_none() {
            let waiting = self.waiting.lock(&inside);
            self.serve(&mut inside, waiting);
        }
        granted.is_some()
    }

    #[cold]
    #[inline(never)]
    fn acquire_slow_with(&self, n: usize, ctx: &Context) -> Result<(), ContextError> {
        let Some(done) = ctx.done().as_flavor() else {
            self.acquire_slow(n, NEVER);
            return Ok(());
        };
        let mut inside = Inside::enter();
        let waiting = self.waiting.lock(&inside);
        let lock = &self.waiting;
        let reason = WaitReason::Semaphore;
        let Some(queue) = self.queue_for(n) else {
            return Ok(());
        };
        let wants = (&raw const n).cast_mut().cast();
        let granted = wait_with(&mut inside, lock, waiting, queue, wants, reason, done);
        if granted.is_none() {
            let waiting = self.waiting.lock(&inside);
            self.serve(&mut inside, waiting);
        }
        drop(inside);
        match ctx.check() {
            Err(e) if granted.is_some() => {
                self.release(n);
                Err(e)
            }
            result => result,
        }
    }

    /// Under the lock: where one who wants `n` has to wait. None: they are taken.
    fn queue_for(&self, n: usize) -> Option<fn(&mut Waiting) -> &mut Queue> {
        if n > self.size {
            return Some(Waiting::hopeless);
        }
        (!self.take_or_announce(n)).then_some(Waiting::queue)
    }

    /// Under the lock: takes `n`, or says that somebody waits.
    fn take_or_announce(&self, n: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (next, taken) = match word & QUEUED == 0 && word / ONE >= n {
                true => (word - n * ONE, true),
                false => (word | QUEUED, false),
            };
            let done =
                self.word
                    .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed);
            match done {
                Ok(_) => return taken,
                Err(now) => word = now,
            }
        }
    }

    #[cold]
    #[inline(never)]
    #[track_caller]
    fn release_to_waiters(&self, n: usize) {
        let mut inside = Inside::enter();
        let waiting = self.waiting.lock(&inside);
        // Perhaps nobody waits any more, and others take and give back without the lock.
        let more = |word: usize| (n <= self.size - word / ONE).then(|| word + n * ONE);
        let added = self
            .word
            .fetch_update(Ordering::Release, Ordering::Relaxed, more);
        match added {
            Ok(_) => self.serve(&mut inside, waiting),
            Err(word) => {
                drop(waiting);
                drop(inside);
                self.checked(word, n);
            }
        }
    }

    /// Under the lock, which it gives up: the first in the queue, as long as there is
    /// enough for them.
    fn serve(&self, inside: &mut Inside, mut waiting: ShortGuard<'_, Waiting>) {
        let mut woken = Woken::default();
        while let Some(first) = waiting.queue.first() {
            // SAFETY: a linked record is alive, and with it the frame that it and
            // the number are in.
            let n = unsafe { *first.slot().cast::<usize>() };
            // While somebody is linked the bit is set, and we have the lock: nobody else
            // changes the word. Acquire: what those did who gave them back.
            if self.word.load(Ordering::Acquire) / ONE < n {
                break;
            }
            self.word.fetch_sub(n * ONE, Ordering::Relaxed);
            waiting.queue.remove(&first);
            // Before the verdict: who has it may try for more at once.
            self.mark_empty(&waiting);
            woken.add(inside, first.give(Verdict::Done));
        }
        self.mark_empty(&waiting);
        drop(waiting);
        woken.wake(inside);
    }

    /// Under the lock: says so when nobody waits any more.
    fn mark_empty(&self, waiting: &Waiting) {
        if waiting.queue.is_empty() {
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }
}

impl Permit<'_> {
    /// Keeps the permits taken: [`Semaphore::release`] gives them back.
    pub fn forget(self) {
        std::mem::forget(self);
    }

    /// How many they are.
    pub fn permits(&self) -> usize {
        self.permits
    }
}

impl OwnedPermit {
    /// Keeps the permits taken: [`Semaphore::release`] gives them back.
    pub fn forget(mut self) {
        // What is dropped now gives nothing back, but the semaphore itself.
        self.permits = 0;
    }

    /// How many they are.
    pub fn permits(&self) -> usize {
        self.permits
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.permits);
    }
}

impl Drop for OwnedPermit {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.permits);
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("size", &self.size)
            .field("available_permits", &self.available_permits())
            .finish()
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("permits", &self.permits)
            .finish()
    }
}

impl fmt::Debug for OwnedPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedPermit")
            .field("permits", &self.permits)
            .finish()
    }
}
