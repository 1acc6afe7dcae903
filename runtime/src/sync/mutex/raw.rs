//! The lock of a mutex, with Go's two modes.
//!
//! *Normal*: who unlocks wakes the first waiter, which competes with whoever
//! comes along. That is fast, because the running one usually gets the lock again
//! without a switch, and unfair. *Starving*: a waiter that has lost for more than
//! a millisecond switches the mutex over; then unlocking hands the lock to the
//! first waiter and newcomers queue, until a waiter gets it that has waited less
//! than that, or the last one.
//!
//! The words, and why no wake-up is lost between them, are in
//! `protocol/mutex_word.rs`. Here are the queue and those who wait in it. WOKEN is
//! taken back under the queue's lock (or in the step that takes the mutex), and whoever takes it
//! back looks again whether the mutex is free.
//!
//! The queue's lock is held over one system call: the heavy barrier, when somebody has to wait
//! for the first time in a long while.

use super::sys;
use crate::channel::wait::{Queue, Record, Verdict, await_verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::lock::ShortLock;
use crate::protocol::mutex_word::{MutexWord, Unlock};
use crate::sched::{self, Inside, WaitReason, Waiter};
use crate::sync::wait::NOWHERE;

/// A waiter that has waited longer makes the mutex starving.
const PATIENCE: Nanos = 1_000_000;

/// Rounds of spinning before parking, and pauses in each.
const SPINS: u32 = 4;
const PAUSES: u32 = 30;

/// The lock without the value.
pub(in crate::sync) struct Raw {
    word: MutexWord,
    queue: ShortLock<Queue>,
}

impl Raw {
    pub(in crate::sync) const fn new() -> Raw {
        Raw {
            word: MutexWord::new(),
            queue: ShortLock::new(Queue::new()),
        }
    }

    /// Locks if that is possible at once. Never ahead of starving waiters.
    #[inline]
    pub(in crate::sync) fn try_lock(&self) -> bool {
        self.word.try_lock_alone() || self.word.try_lock()
    }

    /// Locks, and waits until it can.
    #[inline]
    pub(in crate::sync) fn lock(&self) {
        if !self.word.try_lock_alone() {
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
            let taken = match woken {
                true => self.word.try_lock_woken(),
                false => self.word.try_lock(),
            };
            if taken {
                return true;
            }
            let now = clock::now();
            if deadline <= now || inside.refuses() {
                // A wake-up that we do not use belongs to the next one.
                let next = match woken && self.word.woken_gives_up() {
                    true => self.wake_next(&mut queue),
                    false => None,
                };
                drop(queue);
                if let Some(next) = next {
                    inside.ready(next);
                }
                return false;
            }
            let starving = woken && now - since > PATIENCE;
            if self.word.share(sys::fence_everywhere) || !self.word.announce(woken, starving) {
                continue;
            }
            let reason = WaitReason::MutexLock;
            let waiter = inside.prepare(reason);
            let record = Record::single(waiter, NOWHERE);
            // SAFETY: it stays here until the verdict or the deadline, which
            // unlinks it.
            unsafe {
                match woken {
                    true => queue.push_front(&record),
                    false => queue.push_back(&record),
                }
            }
            drop(queue);
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
                        self.word.calm_down();
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
        if self.word.try_lock() {
            return true;
        }
        if sched::procs() == 1 {
            return false;
        }
        for _ in 0..SPINS {
            if self.word.is_waited_for() {
                return false;
            }
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
            if self.word.try_lock() {
                return true;
            }
        }
        false
    }

    /// Under the queue's lock: when it is empty nobody waits, or starves.
    fn forget_empty(&self, queue: &Queue) {
        if queue.is_empty() {
            self.word.queue_is_empty();
        }
    }

    /// Under the queue's lock, in normal mode: the first waiter, to be woken.
    fn wake_next(&self, queue: &mut Queue) -> Option<Waiter> {
        let first = queue.first()?;
        queue.remove(&first);
        self.word.waiter_is_woken();
        self.forget_empty(queue);
        Some(first.give(Verdict::Retry))
    }

    /// By who has it. May let the waiter that it was handed to go first.
    #[inline]
    pub(in crate::sync) fn unlock(&self) {
        let unlock = self.word.unlock();
        if unlock != Unlock::Done {
            self.unlock_waited_for(unlock);
        }
    }

    /// As `unlock`, by who is inside already and is about to park.
    pub(in crate::sync) fn unlock_and_stay(&self, inside: &mut Inside) {
        let unlock = self.word.unlock();
        if !unlock.is_over() {
            self.unlock_slow(inside, unlock);
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_waited_for(&self, unlock: Unlock) {
        if unlock == Unlock::Left {
            // Who waits may need this P, or this thread: here the monitor is heard.
            return sched::pass_by();
        }
        let mut inside = Inside::enter();
        if self.unlock_slow(&mut inside, unlock) {
            // It has starved, and everybody else waits for it now.
            inside.yield_now();
        }
    }

    /// Whether the lock was handed to a waiter.
    fn unlock_slow(&self, inside: &mut Inside, unlock: Unlock) -> bool {
        let mut queue = self.queue.lock(inside);
        let (next, handed) = match unlock {
            Unlock::Done | Unlock::Left => (None, false),
            Unlock::Quiet => {
                let plain = queue.is_empty() && sys::has_barrier();
                self.word.make_plain(plain);
                drop(queue);
                let unlock = self.word.unlock();
                return !unlock.is_over() && self.unlock_slow(inside, unlock);
            }
            Unlock::Waited if queue.is_empty() => (None, false),
            Unlock::Waited => match self.word.unlocked_beside_waiter() {
                true => (self.wake_next(&mut queue), false),
                false => (None, false),
            },
            Unlock::Queued => match queue.first() {
                Some(first) if self.word.hands_over() => {
                    // It stays locked, for the first in the queue; what we wrote is
                    // released to it by the verdict.
                    queue.remove(&first);
                    self.forget_empty(&queue);
                    (Some(first.give(Verdict::Done)), true)
                }
                _ => match self.word.give_up() {
                    true => (self.wake_next(&mut queue), false),
                    false => (None, false),
                },
            },
        };
        drop(queue);
        if let Some(next) = next {
            inside.ready(next);
        }
        handed
    }
}
