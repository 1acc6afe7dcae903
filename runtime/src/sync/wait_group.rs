//! Waiting until a number of things are done.
//!
//! One word: twice the counter, and 1 when somebody waits. With that bit set the
//! step to zero is taken under the lock, and wakes all; a waiter sets the bit under
//! the same lock, and only while the counter is not zero, so one of the two
//! sees the other.

use super::wait::{NOWHERE, release_all, wait, whole};
use crate::channel::wait::{Queue, Verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::config;
use crate::lock::ShortLock;
use crate::sched::{Inside, WaitReason};
use crate::task::Exited;
use std::fmt;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WAITED_FOR: u64 = 1;
const ONE: u64 = 2;

/// The largest counter: far beyond any use, so that more is a mistake.
const MAX: u64 = u64::MAX / 4;

/// Waits until all of a number of goroutines, or of anything else, are done.
///
/// Clones share one counter. It may be used again after a wait, also while others have not yet
/// returned from theirs: Go's panics for such a reuse do not exist here.
///
/// # Examples
///
/// ```
/// use goweft::sync::WaitGroup;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// let sum = Arc::new(AtomicU32::new(0));
/// let wg = WaitGroup::new();
/// for n in 1..=10 {
///     let sum = sum.clone();
///     wg.go(move || sum.fetch_add(n, Ordering::Relaxed));
/// }
/// wg.wait();
/// assert_eq!(sum.load(Ordering::Relaxed), 55);
/// ```
#[derive(Clone, Default)]
pub struct WaitGroup {
    shared: Arc<Shared>,
}

struct Shared {
    word: AtomicU64,
    waiters: ShortLock<Queue>,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            word: AtomicU64::new(0),
            waiters: ShortLock::new(Queue::new()),
        }
    }
}

impl UnwindSafe for WaitGroup {}
impl RefUnwindSafe for WaitGroup {}

impl WaitGroup {
    /// With a counter of zero.
    pub fn new() -> WaitGroup {
        WaitGroup::default()
    }

    /// Counts `n` up: before what they stand for begins, so that a wait cannot
    /// miss it. For Go's negative delta there is [`done`](Self::done).
    ///
    /// # Panics
    /// When the counter overflows: `sync: WaitGroup counter overflow`.
    #[track_caller]
    pub fn add(&self, n: usize) {
        let more = |word: u64| {
            let count = (word / ONE).checked_add(u64::try_from(n).ok()?)?;
            (count <= MAX).then_some((count * ONE) | (word & WAITED_FOR))
        };
        let added = self
            .shared
            .word
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        assert!(added.is_ok(), "sync: WaitGroup counter overflow");
    }

    /// Counts one down. At zero all who wait go on.
    ///
    /// # Panics
    /// When the counter is zero: `sync: negative WaitGroup counter`.
    #[track_caller]
    pub fn done(&self) {
        let word = &self.shared.word;
        let mut now = word.load(Ordering::Relaxed);
        loop {
            assert!(now >= ONE, "sync: negative WaitGroup counter");
            if now == ONE | WAITED_FOR {
                if self.shared.done_and_release() {
                    return;
                }
                now = word.load(Ordering::Relaxed);
                continue;
            }
            // Release: what was done before is seen after the wait. Acquire: by
            // all who wait, from all who were done.
            match word.compare_exchange_weak(now, now - ONE, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => now = changed,
            }
        }
    }

    /// Waits until the counter is zero.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    pub fn wait(&self) {
        self.shared.wait(NEVER);
    }

    /// Waits until the counter is zero, for at most `timeout`. False: it was not.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::sync::WaitGroup;
    /// use std::time::Duration;
    ///
    /// let wg = WaitGroup::new();
    /// wg.add(1);
    /// assert!(!wg.wait_timeout(Duration::from_millis(2)));
    /// wg.done();
    /// assert!(wg.wait_timeout(Duration::from_millis(2)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.shared.wait(clock::after(timeout))
    }

    /// Counts one up, runs `f` as a goroutine, and counts down when it has ended:
    /// returned, panicked or exited. What `f` returns is dropped by the goroutine.
    ///
    /// In Go a panic of `f` ends the process. Here it ends the goroutine, and who waits does not
    /// hear of it; [`scope`](crate::scope()) and [`ErrGroup`](super::ErrGroup) tell. Under
    /// [`PanicPolicy::Abort`](crate::PanicPolicy::Abort) the process ends, before a wait returns
    /// that this would have let go on.
    ///
    /// # Panics
    /// As [`spawn`](crate::spawn) does.
    #[track_caller]
    pub fn go<F, T>(&self, f: F)
    where
        F: FnOnce() -> T + Send + 'static,
    {
        struct Done(WaitGroup);
        impl Drop for Done {
            fn drop(&mut self) {
                self.0.done();
            }
        }
        self.add(1);
        // If it cannot be spawned, the closure and this with it are dropped.
        let done = Done(self.clone());
        crate::private::go(move || {
            // A drop of the closure's or of its value counts as part of it.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(f()))) {
                if config::panics_end_the_process() && !payload.is::<Exited>() {
                    // Who waits must not run on beside the end of the process.
                    std::mem::forget(done);
                }
                resume_unwind(payload);
            }
        });
    }
}

impl Shared {
    fn wait(&self, deadline: Nanos) -> bool {
        if self.word.load(Ordering::Acquire) < ONE {
            return true;
        }
        let mut inside = Inside::enter();
        let waiters = self.waiters.lock(&inside);
        let mut now = self.word.load(Ordering::Acquire);
        while now & WAITED_FOR == 0 || now < ONE {
            if now < ONE {
                return true;
            }
            match self.word.compare_exchange_weak(
                now,
                now | WAITED_FOR,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => break,
                Err(changed) => now = changed,
            }
        }
        let reason = WaitReason::WaitGroup;
        let lock = &self.waiters;
        wait(&mut inside, lock, waiters, whole, NOWHERE, reason, deadline).is_some()
    }

    /// Counts down to zero and wakes all who wait; false when the counter is not
    /// one any more. Under the lock, so that nobody who comes later, for the
    /// next use of the counter, is woken with them.
    #[cold]
    fn done_and_release(&self) -> bool {
        let mut inside = Inside::enter();
        let mut waiters = self.waiters.lock(&inside);
        let last = ONE | WAITED_FOR;
        if self
            .word
            .compare_exchange(last, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            return false;
        }
        let woken = release_all(&mut inside, &mut waiters, Verdict::Done);
        drop(waiters);
        woken.wake(&mut inside);
        true
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.shared.word.load(Ordering::Relaxed) / ONE;
        f.debug_struct("WaitGroup").field("count", &count).finish()
    }
}
