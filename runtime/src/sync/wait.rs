//! One wait in a queue: what most things here do when they have to.
//!
//! The record lies on the waiter's stack (the rules are in `channel/wait.rs`).
//! Whoever takes it out of the queue, under the queue's lock, gives a verdict;
//! the deadline takes it out itself. So a wait ends for exactly one reason,
//! and both sides know which: what was handed over is never lost to a timeout.

use crate::channel::flavor::{Flavor, Side};
use crate::channel::wait::{Queue, Record, Verdict, Woken, await_verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::lock::{ShortGuard, ShortLock};
use crate::sched::{Inside, WaitReason};

/// Waits at the end of a queue behind `lock`, which the caller holds as `guard`, until
/// somebody gives a verdict. None: `deadline` came first, or the wait was refused, and leaving
/// panics. `slot` is for whoever takes the record out.
pub(super) fn wait<Q>(
    inside: &mut Inside,
    lock: &ShortLock<Q>,
    mut guard: ShortGuard<'_, Q>,
    queue: fn(&mut Q) -> &mut Queue,
    slot: *mut (),
    reason: WaitReason,
    deadline: Nanos,
) -> Option<Verdict> {
    if clock::has_passed(deadline) || inside.refuses() {
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

/// As [`wait`], until `done` is closed instead of until a deadline. When both come at once it
/// is a verdict.
pub(super) fn wait_with<Q>(
    inside: &mut Inside,
    lock: &ShortLock<Q>,
    mut guard: ShortGuard<'_, Q>,
    queue: fn(&mut Q) -> &mut Queue,
    slot: *mut (),
    reason: WaitReason,
    done: &dyn Flavor,
) -> Option<Verdict> {
    if inside.refuses() {
        return None;
    }
    let mut waiter = inside.prepare(reason);
    let record = Record::single(waiter, slot);
    // SAFETY: it stays here until the verdict, or until it is unlinked below.
    unsafe { queue(&mut guard).push_back(&record) };
    drop(guard);
    // A second record of the same wait: the first of the two to be answered wakes us.
    let watch = Record::single(waiter, NOWHERE);
    // SAFETY: it stays here until its verdict, or until it is withdrawn below.
    if !unsafe { done.enroll(inside, Side::Receive, &watch) } {
        inside.cancel(waiter);
        return give_up(inside, lock, queue, &record);
    }
    loop {
        inside.park(waiter, NEVER);
        if record.verdict().is_final() {
            done.withdraw(inside, Side::Receive, &watch);
            return Some(record.verdict());
        }
        if watch.verdict().is_final() {
            return give_up(inside, lock, queue, &record);
        }
        // For no reason: wait anew. Whoever answered before it saw the new waiter has woken
        // the old one, so look again afterwards.
        waiter = inside.prepare(reason);
        let guard = lock.lock(inside);
        record.renew(waiter);
        drop(guard);
        done.renew(inside, Side::Receive, &watch, waiter);
        if record.verdict().is_final() || watch.verdict().is_final() {
            // Then the park below comes back at once.
            inside.ready(waiter);
        }
    }
}

/// Unlinks `record`, unless there is a verdict.
fn give_up<Q>(
    inside: &Inside,
    lock: &ShortLock<Q>,
    queue: fn(&mut Q) -> &mut Queue,
    record: &Record,
) -> Option<Verdict> {
    let mut guard = lock.lock(inside);
    match record.verdict() {
        Verdict::Waiting => {
            queue(&mut guard).remove(record);
            None
        }
        verdict => Some(verdict),
    }
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
