//! One wait in a queue: what most things here do when they have to.
//!
//! The record lies on the waiter's stack (the rules are in `channel/wait.rs`).
//! Whoever takes it out of the queue, under the queue's lock, gives a verdict;
//! the deadline takes it out itself. So a wait ends for exactly one reason,
//! and both sides know which: what was handed over is never lost to a timeout.

use crate::channel::wait::{Queue, Record, Verdict, Woken, await_verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::lock::{ShortGuard, ShortLock};
use crate::sched::{Inside, WaitReason};

/// Waits at the end of a queue behind `lock`, which the caller holds as `guard`, until
/// somebody gives a verdict. None: `deadline` came first. `slot` is for whoever takes the
/// record out.
pub(super) fn wait<Q>(
    inside: &mut Inside,
    lock: &ShortLock<Q>,
    mut guard: ShortGuard<'_, Q>,
    queue: fn(&mut Q) -> &mut Queue,
    slot: *mut (),
    reason: WaitReason,
    deadline: Nanos,
) -> Option<Verdict> {
    if deadline != NEVER && clock::now() >= deadline {
        return None;
    }
    let waiter = inside.prepare(reason);
    let record = Record::single(waiter, slot);
    // SAFETY: it stays here until the verdict or the deadline, which unlinks it.
    unsafe { queue(&mut guard).push_back(&record) };
    drop(guard);
    let unlink = |state: &mut Q, record: &Record| _ = queue(state).remove(record);
    await_verdict(inside, &record, waiter, reason, deadline, lock, unlink)
}

/// The queue itself, where that is all there is behind the lock.
pub(super) fn whole(queue: &mut Queue) -> &mut Queue {
    queue
}

/// For who has nothing to put into its record.
pub(super) const NOWHERE: *mut () = std::ptr::null_mut();

/// Gives `verdict` to all who wait in `queue`. They are to be woken when its lock is free.
pub(super) fn release_all(inside: &mut Inside, queue: &mut Queue, verdict: Verdict) -> Woken {
    let mut woken = Woken::default();
    while let Some(first) = queue.first() {
        queue.remove(&first);
        woken.add(inside, first.give(verdict));
    }
    woken
}
