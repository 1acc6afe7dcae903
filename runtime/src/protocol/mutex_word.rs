//! The words of a mutex, and how unlocking one that nobody waits for is a plain store.
//!
//! `word`:
//!
//! | bit | set by | means |
//! |---|---|---|
//! | LOCKED | who takes it | somebody has it |
//! | WOKEN | who unlocks, under the queue's lock | a waiter was woken and competes: wake no other |
//! | STARVING | a waiter, under the queue's lock | hand over; newcomers keep off |
//! | QUEUED | a waiter, under the queue's lock | the queue is not empty |
//!
//! *Shared*: locking and unlocking are one compare-and-swap each. A waiter sets QUEUED and sees
//! LOCKED in one step, so the unlock comes after it, sees QUEUED, and wakes: under the queue's
//! lock, unless WOKEN is set too. Who takes WOKEN back without taking the mutex sees in that step
//! whether it is still LOCKED; so the unlock that left the waking to it comes before, and is seen,
//! or comes after, fails, and wakes.
//!
//! *Plain*: unlocking is a store, which costs half as much as a lock and unlock do otherwise. The
//! word is LOCKED or 0 then. A store does not see whether somebody waits, so before the first
//! waiter sets a bit it makes the mutex shared, and that is the rare side, which pays for both:
//!
//! | who unlocks | who waits, under the queue's lock |
//! |---|---|
//! | 1. `plain`? else as shared | 1. `plain` = no |
//! | 2. `word` = 0 | 2. a heavy barrier |
//! | (a light barrier) | 3. look whether it is free; else set QUEUED |
//! | 3. `plain` still? else look after the queue | |
//!
//! The heavy barrier makes all running threads execute a full fence (`membarrier`), so it is
//! before or after step 2 of whoever unlocks. If after, the waiter finds the mutex free in its
//! step 3. If before, step 3 of the unlock finds that it is shared: its store may have wiped
//! QUEUED away, and it puts that right under the queue's lock. Whoever unlocks later finds
//! it shared in step 1; or, if that is not seen yet, in step 3.
//!
//! A mutex begins as shared. After [`QUIET`] unlocks without a waiter its holder makes it plain,
//! under the queue's lock, when the word is just LOCKED and the queue is empty: then
//! nobody is between its steps, for those of a waiter are all under that lock. Where the system has
//! no such barrier it stays shared.
//!
//! Orderings: locking acquires, unlocking releases. Bits are set under the queue's lock, so
//! they need no order of their own.

use super::atomic::{AtomicU32, Ordering};

const LOCKED: u32 = 1;
const WOKEN: u32 = 2;
const STARVING: u32 = 4;
const QUEUED: u32 = 8;

/// Unlocks in a row without a waiter before a mutex is plain. A heavy barrier takes about 10 us:
/// a mutex that is waited for just after each time pays 5 ns an unlock for it.
#[cfg(not(loom))]
const QUIET: u32 = 2048;
#[cfg(loom)]
const QUIET: u32 = 1;

/// `plain`, when it is.
const PLAIN: u32 = u32::MAX;

/// How an unlock went.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unlock {
    /// That is all.
    Done,
    /// So here, and whoever waits has been woken already, and is left to compete.
    Left,
    /// It is free, but somebody began to wait: `unlocked_beside_waiter`, under the queue's lock.
    Waited,
    /// It is still locked, and somebody waits: under the queue's lock, `hands_over` or
    /// `give_up`.
    Queued,
    /// It is still locked, and has been quiet for long: under the queue's lock, if that is empty,
    /// `make_plain`; then again.
    Quiet,
}

impl Unlock {
    /// Whether there is nothing to do under the queue's lock.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Unlock::Done | Unlock::Left)
    }
}

/// See the module.
pub(crate) struct MutexWord {
    word: AtomicU32,
    /// PLAIN, or the unlocks since the last waiter. Written by the holder, which counts, and by
    /// waiters, under the queue's lock. A count that is lost does no harm, a PLAIN is
    /// not written or lost but under that lock: the holder counts only what it knows
    /// to be shared, and only holders write PLAIN.
    plain: AtomicU32,
}

impl MutexWord {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> MutexWord {
        MutexWord {
            word: AtomicU32::new(0),
            plain: AtomicU32::new(0),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> MutexWord {
        MutexWord {
            word: AtomicU32::new(0),
            plain: AtomicU32::new(0),
        }
    }

    /// Takes it, if it is free and nobody waits.
    #[inline]
    pub(crate) fn try_lock_alone(&self) -> bool {
        self.word
            .compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes it, if it is free and nobody starves.
    #[inline]
    pub(crate) fn try_lock(&self) -> bool {
        self.take(0)
    }

    /// `try_lock` of a waiter that was woken: no other is.
    pub(crate) fn try_lock_woken(&self) -> bool {
        self.check(WOKEN, true);
        self.take(WOKEN)
    }

    fn take(&self, also_clear: u32) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & (LOCKED | STARVING) == 0 {
            let next = (word | LOCKED) & !also_clear;
            match self
                .word
                .compare_exchange(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Whether newcomers had better queue.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.word.load(Ordering::Relaxed) & (STARVING | QUEUED) != 0
    }

    /// Unlocks.
    #[inline]
    pub(crate) fn unlock(&self) -> Unlock {
        if self.plain.load(Ordering::Relaxed) == PLAIN {
            self.store_unlocked();
            light();
            if self.plain.load(Ordering::Relaxed) == PLAIN {
                return Unlock::Done;
            }
            return Unlock::Waited;
        }
        self.unlock_shared()
    }

    #[cfg(not(loom))]
    #[inline]
    fn store_unlocked(&self) {
        self.word.store(0, Ordering::Release);
    }

    /// Loom lets a store fall between the two halves of somebody else's compare-and-swap. A swap
    /// that does not look at what it got wipes away the same, and is not affected.
    #[cfg(loom)]
    fn store_unlocked(&self) {
        self.word.swap(0, Ordering::Release);
    }

    fn unlock_shared(&self) -> Unlock {
        let quiet = self.plain.load(Ordering::Relaxed);
        if quiet >= QUIET {
            return Unlock::Quiet;
        }
        // Before it is given up: the next holder counts as well. A waiter that begins to wait
        // meanwhile, and whose zero we write over, is seen below.
        self.plain.store(quiet + 1, Ordering::Relaxed);
        let mut word = LOCKED;
        loop {
            let next = word & !LOCKED;
            match self
                .word
                .compare_exchange(word, next, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) if word == LOCKED => return Unlock::Done,
                Ok(_) => return Unlock::Left,
                // Nobody waits any more, or somebody is awake already and looks whether it is free.
                Err(now) if now == LOCKED || now & (WOKEN | STARVING) == WOKEN => word = now,
                Err(_) => return Unlock::Queued,
            }
        }
    }

    // ---- under the queue's lock ----

    /// Before a waiter announces itself: nobody unlocks by a store any more, or whoever
    /// does will look after the queue. True: look again whether it is free.
    pub(crate) fn share(&self, heavy: impl FnOnce()) -> bool {
        let was_plain = self.plain.load(Ordering::Relaxed) == PLAIN;
        self.plain.store(0, Ordering::Relaxed);
        if was_plain {
            heavy();
        }
        was_plain
    }

    /// By the holder, when the queue is empty and there is a heavy barrier: unlocking is a
    /// store from here on. Else it goes on counting.
    pub(crate) fn make_plain(&self, has_barrier: bool) {
        let alone = has_barrier && self.word.load(Ordering::Relaxed) == LOCKED;
        let plain = if alone { PLAIN } else { 0 };
        self.plain.store(plain, Ordering::Relaxed);
    }

    /// One at a time is woken: `bits` are `set`, or clear.
    fn check(&self, bits: u32, set: bool) {
        if cfg!(any(loom, debug_assertions)) {
            let expected = if set { bits } else { 0 };
            assert_eq!(self.word.load(Ordering::Relaxed) & bits, expected);
        }
    }

    /// Announces a waiter, unless there is no need to wait. It was woken before (`woken`), and
    /// has lost its patience (`starving`).
    pub(crate) fn announce(&self, woken: bool, starving: bool) -> bool {
        let mine = if woken { WOKEN } else { 0 };
        self.check(mine, true);
        let mut word = self.word.load(Ordering::Relaxed);
        while word & (LOCKED | STARVING) != 0 {
            let starves = starving && word & LOCKED != 0;
            let next = (word & !mine) | QUEUED | if starves { STARVING } else { 0 };
            match self
                .word
                .compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// The queue is empty: nobody waits, or starves.
    pub(crate) fn queue_is_empty(&self) {
        self.word.fetch_and(!(QUEUED | STARVING), Ordering::Relaxed);
    }

    /// It was handed to a waiter that had not waited for long.
    pub(crate) fn calm_down(&self) {
        self.word.fetch_and(!STARVING, Ordering::Relaxed);
    }

    /// A waiter is about to be woken, to compete.
    pub(crate) fn waiter_is_woken(&self) {
        self.check(WOKEN, false);
        self.word.fetch_or(WOKEN, Ordering::Relaxed);
    }

    /// A woken waiter gives up. True: the next one is to be woken in its place.
    pub(crate) fn woken_gives_up(&self) -> bool {
        self.check(WOKEN, true);
        self.word.fetch_and(!WOKEN, Ordering::Relaxed) & LOCKED == 0
    }

    /// By the holder: whether it is to hand it over instead of unlocking.
    pub(crate) fn hands_over(&self) -> bool {
        self.word.load(Ordering::Relaxed) & STARVING != 0
    }

    /// By the holder: unlocks. True: a waiter is to be woken, if there is one.
    pub(crate) fn give_up(&self) -> bool {
        let word = self.word.fetch_and(!(LOCKED | STARVING), Ordering::Release);
        word & WOKEN == 0
    }

    /// After [`Unlock::Waited`], with the queue not empty: puts right what the store may have
    /// wiped away. True: a waiter is to be woken.
    pub(crate) fn unlocked_beside_waiter(&self) -> bool {
        self.word.fetch_or(QUEUED, Ordering::Relaxed) & (LOCKED | WOKEN) == 0
    }
}

/// Between the store of a plain unlock and its second look; pairs with the heavy
/// barrier of [`MutexWord::share`].
#[inline(always)]
fn light() {
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    // The same, for a pair with one heavy side.
    #[cfg(loom)]
    super::atomic::fence(Ordering::SeqCst);
}
