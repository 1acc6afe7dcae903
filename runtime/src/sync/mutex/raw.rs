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
use std::sync::atomic::{AtomicU32, Ordering};

const LOCKED: u32 = 1;
const WOKEN: u32 = 2;
const STARVING: u32 = 4;
const QUEUED: u32 = 8;

/// A waiter that has waited longer makes the mutex starving.
const PATIENCE: Nanos = 1_000_000;

/// Rounds of spinning before parking, and pauses in each.
const SPINS: u32 = 4;
const PAUSES: u32 = 30;

/// The lock without the value.
pub(in crate::sync) struct Raw {
    word: AtomicU32,
    queue: ShortLock<Queue>,
}

impl Raw {
    pub(in crate::sync) const fn new() -> Raw {
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

    /// Locks if that is possible at once. Never ahead of a mutex's starving waiters.
    #[inline]
    pub(in crate::sync) fn try_lock(&self) -> bool {
        self.word
            .compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            || self.take(0)
    }

    /// Locks, and waits until it can.
    #[inline]
    pub(in crate::sync) fn lock(&self) {
        if !self.try_lock() {
            self.lock_slow(NEVER);
        }
    }

    /// Whether it was locked before `deadline`.
    #[inline]
    pub(in crate::sync) fn lock_until(&self, deadline: Nanos) -> bool {
        self.try_lock() || self.lock_slow(deadline)
    }

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

    /// By who has it. May let the waiter that it was handed to go first.
    #[inline]
    pub(in crate::sync) fn unlock(&self) {
        if !self.unlock_alone() {
            self.unlock_waited_for();
        }
    }

    /// As `unlock`, by who is inside already and is about to park.
    pub(in crate::sync) fn unlock_and_stay(&self, inside: &mut Inside) {
        if !self.unlock_alone() {
            self.unlock_slow(inside);
        }
    }

    /// Nobody waits.
    #[inline]
    fn unlock_alone(&self) -> bool {
        self.word
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    #[inline(never)]
    fn unlock_waited_for(&self) {
        let mut inside = Inside::enter();
        if self.unlock_slow(&mut inside) {
            // It has starved, and everybody else waits for it now.
            inside.yield_now();
        }
    }

    /// Whether the lock was handed to a waiter.
    fn unlock_slow(&self, inside: &mut Inside) -> bool {
        let mut queue = self.queue.lock(inside);
        let first = queue.first();
        let (next, handed) = match first {
            Some(first) if self.word.load(Ordering::Relaxed) & STARVING != 0 => {
                // It stays locked, for the first in the queue; what we wrote is
                // released to it by the verdict.
                queue.remove(&first);
                self.forget_empty(&queue);
                (Some(first.give(Verdict::Done)), true)
            }
            _ => {
                let word = self.word.fetch_and(!(LOCKED | STARVING), Ordering::Release);
                let next = match word & WOKEN {
                    0 => self.wake_next(&mut queue),
                    _ => None,
                };
                (next, false)
            }
        };
        drop(queue);
        if let Some(next) = next {
            inside.ready(next);
        }
        handed
    }
}
