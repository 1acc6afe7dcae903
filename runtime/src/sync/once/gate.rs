//! The word behind everything that happens once.
//!
//! | from | to | by |
//! |---|---|---|
//! | FRESH | RUNNING | whoever is to run it |
//! | RUNNING | DONE | the same, at the end (under the lock) |
//! | RUNNING | FRESH | the same, when it came to nothing (under the lock) |
//!
//! Who waits looks at the word under the lock and links itself there, so the end, which
//! is under the same lock, finds it. Every end wakes all: after one that came to nothing
//! they race for the next try.
//!
//! DONE releases what was done before it; [`is_done`](Gate::is_done) acquires it.

use crate::channel::wait::{Queue, Verdict};
use crate::clock::NEVER;
use crate::lock::ShortLock;
use crate::sched::{Inside, WaitReason};
use crate::sync::wait::{NOWHERE, release_all, wait, whole};
use std::sync::atomic::{AtomicU8, Ordering};

const FRESH: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;

/// See the module.
pub(super) struct Gate {
    state: AtomicU8,
    queue: ShortLock<Queue>,
}

impl Gate {
    pub(super) const fn new() -> Gate {
        Gate {
            state: AtomicU8::new(FRESH),
            queue: ShortLock::new(Queue::new()),
        }
    }

    /// For something that is there from the beginning.
    pub(super) const fn done() -> Gate {
        Gate {
            state: AtomicU8::new(DONE),
            queue: ShortLock::new(Queue::new()),
        }
    }

    #[inline]
    pub(super) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// True: the caller is to run it, and [finishes](Self::finish) afterwards. False: it is done.
    /// Waits for one who runs.
    pub(super) fn begin(&self) -> bool {
        loop {
            let begun =
                self.state
                    .compare_exchange(FRESH, RUNNING, Ordering::Acquire, Ordering::Acquire);
            match begun {
                Ok(_) => return true,
                Err(DONE) => return false,
                Err(_) => self.wait_unless(|state| state != RUNNING),
            }
        }
    }

    /// Waits until it is done, by whomever.
    pub(super) fn wait(&self) {
        while !self.is_done() {
            self.wait_unless(|state| state == DONE);
        }
    }

    /// Waits for the next end, unless the state is such already.
    fn wait_unless(&self, over: impl Fn(u8) -> bool) {
        let mut inside = Inside::enter();
        let queue = self.queue.lock(&inside);
        if !over(self.state.load(Ordering::Acquire)) {
            let reason = WaitReason::Once;
            wait(
                &mut inside,
                &self.queue,
                queue,
                whole,
                NOWHERE,
                reason,
                NEVER,
            );
        }
    }

    /// By who runs it.
    pub(super) fn finish(&self, done: bool) {
        let mut inside = Inside::enter();
        let mut queue = self.queue.lock(&inside);
        let state = if done { DONE } else { FRESH };
        self.state.store(state, Ordering::Release);
        let woken = release_all(&mut inside, &mut queue, Verdict::Done);
        drop(queue);
        woken.wake(&mut inside);
    }

    /// By the only one who has it: not run yet.
    pub(super) fn reset(&mut self) {
        *self.state.get_mut() = FRESH;
    }

    /// For the only one who has it.
    pub(super) fn is_done_mut(&mut self) -> bool {
        *self.state.get_mut() == DONE
    }
}
