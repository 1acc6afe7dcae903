//! A meeting point for a fixed number.
//!
//! One short lock around a count and a queue: who comes last takes everybody out of
//! the queue in one step, so those who come for the next round, even at once,
//! are not mixed up with this one.

use super::wait::{NOWHERE, release_all, wait};
use crate::channel::wait::{Queue, Verdict};
use crate::clock::NEVER;
use crate::lock::ShortLock;
use crate::sched::{Inside, WaitReason};
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Lets a number of goroutines or threads wait for each other, as `std::sync::Barrier`.
///
/// It can be used again and again.
///
/// # Examples
///
/// ```
/// use goweft::sync::Barrier;
///
/// let barrier = Barrier::new(4);
/// goweft::scope(|s| {
///     let handles: Vec<_> = (0..4).map(|_| s.spawn(|| barrier.wait().is_leader())).collect();
///     let leaders = handles.into_iter().map(|h| h.join().unwrap());
///     assert_eq!(leaders.filter(|leader| *leader).count(), 1);
/// });
/// ```
pub struct Barrier {
    size: usize,
    here: ShortLock<Here>,
}

struct Here {
    count: usize,
    queue: Queue,
}

impl Here {
    fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }
}

/// Tells whether one [`wait`](Barrier::wait) was the one that everybody had waited for.
pub struct BarrierWaitResult(bool);

impl UnwindSafe for Barrier {}
impl RefUnwindSafe for Barrier {}

impl Barrier {
    /// A barrier for `n`. With 0 or 1 nobody waits.
    pub const fn new(n: usize) -> Barrier {
        Barrier {
            size: n,
            here: ShortLock::new(Here {
                count: 0,
                queue: Queue::new(),
            }),
        }
    }

    /// Waits until all are here. One of them, the last to come, is the leader.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait. Then it is not
    /// counted as here.
    pub fn wait(&self) -> BarrierWaitResult {
        let mut inside = Inside::enter();
        let mut here = self.here.lock(&inside);
        if here.count + 1 < self.size && inside.refuses() {
            // Leaving panics; nobody has come.
            return BarrierWaitResult(false);
        }
        here.count += 1;
        if here.count < self.size {
            let reason = WaitReason::Barrier;
            wait(
                &mut inside,
                &self.here,
                here,
                Here::queue,
                NOWHERE,
                reason,
                NEVER,
            );
            return BarrierWaitResult(false);
        }
        here.count = 0;
        let woken = release_all(&mut inside, &mut here.queue, Verdict::Done);
        drop(here);
        woken.wake(&mut inside);
        BarrierWaitResult(true)
    }
}

impl BarrierWaitResult {
    /// Whether this is the leader: true for exactly one of those who met.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult")
            .field("is_leader", &self.0)
            .finish()
    }
}
