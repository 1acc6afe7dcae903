//! Who waits for a condition, and who is woken.
//!
//! A waiter links itself while it still has the mutex, and unlocks after that. So
//! whoever changes the condition under the mutex, and notifies afterwards, finds it
//! in the queue: no wake-up is lost. A notification takes exactly one record out, the
//! oldest; a deadline takes its own out; the queue's lock decides which came
//! first, so a notification is never used up by one that had timed out.
//!
//! `waiting` is the length of the queue, to notify nobody for the price of a load. It is
//! written under the lock. Who reads it without: a waiter that is to be seen was linked before the
//! mutex was unlocked, and the notifier locked the mutex after that.
//!
//! *Turns.* All who wait with one mutex can only go on one after the other. So to notify all of
//! them wakes the first, and moves the others to `called`; each that has the mutex again wakes the
//! next of these. (All at once would stand in each other's way at the mutex, on all Ps.) `called`
//! records are held: they wait for their turn whatever their deadline says, as they would for the
//! mutex.
//!
//! - While somebody is in `called`, somebody is awake who has yet to look there: the one that was
//!   woken when it was filled, or for the last turn. It waits for nothing on its way. The count is
//!   stored before the verdict that wakes the one who looks.
//! - Turns begin only where other Ps have nothing to do, because only these would come to stand in
//!   the way, and end when one does not find the mutex free: then all had better be in its queue.
//! - All in `called` unlocked one mutex (its address is enough: each of them borrows a guard), and
//!   are goroutines that any P may run: one that has to wait for a certain thread would have the
//!   others wait too. Of that kind, who is notified while turns go on is called behind the others;
//!   any other is woken at once.

use crate::channel::wait::{Found, Queue, Record, Verdict, await_verdict};
use crate::clock::{self, Nanos};
use crate::lock::ShortLock;
use crate::sched::{self, Inside, WaitReason};
use crate::sync::mutex::Raw as Mutex;
use crate::sync::wait::{NOWHERE, release_all};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The condition variable, without guards.
pub(super) struct Raw {
    waiting: AtomicUsize,
    /// The length of `called`, to pass no turn on for the price of a load. Written under the lock.
    called: AtomicUsize,
    waiters: ShortLock<Waiters>,
}

struct Waiters {
    queue: Queue,
    /// Notified, and woken one after the other.
    called: Queue,
    /// Which mutex the first of all in the two unlocked: its address.
    mutex: usize,
    /// All in the two unlocked that one, and run anywhere.
    alike: bool,
}

impl Waiters {
    /// Whether those in the queue may be called behind those that are.
    fn turns_go_on(&self) -> bool {
        self.alike && !self.called.is_empty()
    }
}

impl Raw {
    pub(super) const fn new() -> Raw {
        Raw {
            waiting: AtomicUsize::new(0),
            called: AtomicUsize::new(0),
            waiters: ShortLock::new(Waiters {
                queue: Queue::new(),
                called: Queue::new(),
                mutex: 0,
                alike: false,
            }),
        }
    }

    #[inline]
    pub(super) fn notify_one(&self) {
        if self.waiting.load(Ordering::Acquire) != 0 {
            self.notify_first();
        }
    }

    #[inline]
    pub(super) fn notify_all(&self) {
        if self.waiting.load(Ordering::Acquire) != 0 {
            self.notify_everybody();
        }
    }

    #[inline(never)]
    fn notify_first(&self) {
        let mut inside = Inside::enter();
        let mut waiters = self.waiters.lock(&inside);
        let Some(first) = waiters.queue.pop_plain() else {
            return;
        };
        self.count_down();
        if waiters.turns_go_on() {
            return self.call(&mut waiters, first);
        }
        let waiter = first.give(Verdict::Done);
        drop(waiters);
        inside.ready(waiter);
    }

    #[inline(never)]
    fn notify_everybody(&self) {
        let mut inside = Inside::enter();
        let mut waiters = self.waiters.lock(&inside);
        let count = self.waiting.swap(0, Ordering::Relaxed);
        if waiters.turns_go_on() {
            return self.call_all(&mut waiters);
        }
        let in_turns = waiters.alike && waiters.called.is_empty() && count > 1;
        if !in_turns || !sched::others_look_for_work() {
            let woken = release_all(&mut inside, &mut waiters.queue, Verdict::Done);
            drop(waiters);
            return woken.wake(&mut inside);
        }
        let Some(first) = waiters.queue.pop_plain() else {
            return;
        };
        self.call_all(&mut waiters);
        let waiter = first.give(Verdict::Done);
        drop(waiters);
        inside.ready(waiter);
        // There is work for more than one, if they do more than wait for the mutex.
        inside.wake_another();
    }

    /// Calls all in the queue.
    fn call_all(&self, waiters: &mut Waiters) {
        while let Some(next) = waiters.queue.pop_plain() {
            self.call(waiters, next);
        }
    }

    /// Puts `next`, which is in no queue, behind those whose turn will come.
    fn call(&self, waiters: &mut Waiters, next: Found) {
        next.hold();
        // SAFETY: its owner waits for the final verdict.
        unsafe { waiters.called.push_back(&next) };
        let called = self.called.load(Ordering::Relaxed);
        self.called.store(called + 1, Ordering::Relaxed);
    }

    /// The turn is the next one's: of who has the mutex again. If that was not `free` the turns
    /// end, for each of the others would have to wait for it as well.
    #[inline(never)]
    fn pass_the_turn_on(&self, inside: &mut Inside, free: bool) {
        let mut waiters = self.waiters.lock(inside);
        if !free {
            self.called.store(0, Ordering::Relaxed);
            let woken = release_all(inside, &mut waiters.called, Verdict::Done);
            drop(waiters);
            return woken.wake(inside);
        }
        let Some(next) = waiters.called.pop_plain() else {
            return;
        };
        let called = self.called.load(Ordering::Relaxed);
        self.called.store(called - 1, Ordering::Relaxed);
        let waiter = next.give(Verdict::Done);
        drop(waiters);
        inside.ready(waiter);
    }

    /// Whether a notification came before `deadline`. The caller has locked the mutex, and so it is
    /// afterwards.
    pub(super) fn wait_until(&self, mutex: &Mutex, deadline: Nanos) -> bool {
        // One stay from here to the park: a waker that leaves a second time counts as one that
        // computes on, and its wakee goes to another P.
        let mut inside = Inside::enter();
        if inside.refuses() {
            // Leaving panics: here, where the mutex is locked, because its guard unlocks it.
            return false;
        }
        if clock::has_passed(deadline) {
            drop(inside);
            // Whoever waits for the mutex gets a chance, as it would otherwise.
            mutex.unlock();
            mutex.lock();
            return false;
        }
        let reason = WaitReason::CondWait;
        let mut waiters = self.waiters.lock(&inside);
        let waiter = inside.prepare(reason);
        let record = Record::single(waiter, NOWHERE);
        let address = std::ptr::from_ref(mutex).addr();
        if waiters.queue.is_empty() && waiters.called.is_empty() {
            (waiters.mutex, waiters.alike) = (address, true);
        }
        waiters.alike &= waiters.mutex == address && inside.runs_anywhere();
        // SAFETY: it stays here until the verdict or the deadline, which
        // unlinks it.
        unsafe { waiters.queue.push_back(&record) };
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.waiting.store(waiting + 1, Ordering::Relaxed);
        drop(waiters);
        mutex.unlock_and_stay(&mut inside);
        let unlink = |waiters: &mut Waiters, record: &Record| {
            if waiters.queue.remove(record) {
                self.count_down();
            }
        };
        let verdict = await_verdict(
            &mut inside,
            &record,
            waiter,
            reason,
            deadline,
            &self.waiters,
            unlink,
        );
        // Before it leaves, where it may give way: others rely on its coming here.
        let free = mutex.try_lock();
        if self.called.load(Ordering::Relaxed) != 0 {
            self.pass_the_turn_on(&mut inside, free);
        }
        drop(inside);
        if !free {
            mutex.lock();
        }
        verdict.is_some()
    }

    /// Under the lock.
    fn count_down(&self) {
        let waiting = self.waiting.load(Ordering::Relaxed);
        self.waiting.store(waiting - 1, Ordering::Relaxed);
    }
}
