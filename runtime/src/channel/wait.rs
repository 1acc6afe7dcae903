//! Wait records: what somebody who waits on a channel leaves in its queue.
//!
//! A [`Record`] lives on the waiter's stack and is linked into the queue of one
//! channel end. The rules:
//!
//! - Links, `waiter` and `partner` belong to the channel's lock.
//! - Whoever takes a record out of its queue gives a [`Verdict`]. A final one is
//!   the last thing it does with the record: the owner that sees it (acquire)
//!   may leave without the lock, and all that was written for it is there.
//! - A `Held` record is out of the queue but not done: somebody else will give
//!   the final verdict, under the lock, and the owner waits for it whatever
//!   its deadline says.
//! - The records of one select share a [`Choice`], which decides between the
//!   channels (`protocol/choice.rs`).

use crate::clock::{self, NEVER, Nanos};
use crate::lock::ShortLock;
use crate::protocol::choice::Choice;
use crate::sched::g::GList;
use crate::sched::{Inside, WaitReason, Waiter};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

/// How a record stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Verdict {
    /// Linked, or about to be.
    Waiting = 0,
    /// Out of the queue; a final verdict will come from whoever holds it.
    Held = 1,
    /// Final: the operation is done (the value was copied, or a slot of the
    /// buffer is reserved for the owner).
    Done = 2,
    /// Final: `partner` is held for the owner, who completes with it.
    Paired = 3,
    /// Final: the channel is closed.
    Closed = 4,
    /// Final: nothing happened; the owner runs its operation again.
    Retry = 5,
}

impl Verdict {
    pub(crate) fn is_final(self) -> bool {
        !matches!(self, Verdict::Waiting | Verdict::Held)
    }
}

/// See the module.
pub(crate) struct Record {
    next: Cell<*const Record>,
    prev: Cell<*const Record>,
    /// Where the value is, or is wanted; null when it comes later (a send arm
    /// before its value is evaluated, a receive of the dynamic select).
    slot: *mut (),
    /// Null: a single operation, which only this channel decides.
    choice: *const Choice,
    partner: Cell<*const Record>,
    waiter: Cell<Waiter>,
    case: u32,
    verdict: AtomicU8,
    linked: Cell<bool>,
    watch: bool,
}

impl Record {
    /// The record of a single operation.
    #[inline]
    pub(crate) fn single(waiter: Waiter, slot: *mut ()) -> Record {
        Record::new(waiter, slot, ptr::null(), 0, false)
    }

    /// The record of case `case` of a select. With `watch` its owner wants to
    /// know of readiness only.
    pub(crate) fn of_case(
        waiter: Waiter,
        slot: *mut (),
        choice: &Choice,
        case: usize,
        watch: bool,
    ) -> Record {
        Record::new(waiter, slot, choice, case as u32, watch)
    }

    #[inline]
    fn new(waiter: Waiter, slot: *mut (), choice: *const Choice, case: u32, watch: bool) -> Record {
        Record {
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
            slot,
            choice,
            partner: Cell::new(ptr::null()),
            waiter: Cell::new(waiter),
            case,
            verdict: AtomicU8::new(Verdict::Waiting as u8),
            linked: Cell::new(false),
            watch,
        }
    }

    #[inline]
    pub(crate) fn slot(&self) -> *mut () {
        self.slot
    }

    /// Whether it is a single operation with a place: nobody else can claim it, and
    /// it needs nothing but a copy and a verdict.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.choice.is_null()
    }

    /// `give` for a record that [is plain](Self::is_plain).
    #[inline]
    pub(crate) fn give_plain(&self, verdict: Verdict) -> Waiter {
        self.resolve(verdict)
    }

    /// Whether there is no place for the value yet.
    #[inline]
    pub(crate) fn is_late(&self) -> bool {
        self.slot.is_null()
    }

    #[inline]
    pub(crate) fn is_watch(&self) -> bool {
        self.watch
    }

    /// Its select's choice, or null.
    pub(crate) fn choice(&self) -> *const Choice {
        self.choice
    }

    /// Whether it is a case of the select that owns `choice`.
    #[inline]
    pub(crate) fn is_of(&self, choice: *const Choice) -> bool {
        !choice.is_null() && ptr::eq(self.choice, choice)
    }

    #[inline]
    pub(crate) fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Acquire) {
            0 => Verdict::Waiting,
            1 => Verdict::Held,
            2 => Verdict::Done,
            3 => Verdict::Paired,
            4 => Verdict::Closed,
            _ => Verdict::Retry,
        }
    }

    /// Under the lock: whom to wake without a verdict, to look again and wait anew.
    pub(crate) fn owner(&self) -> Waiter {
        self.waiter.get()
    }

    /// Under the lock: the owner waits anew.
    pub(crate) fn renew(&self, waiter: Waiter) {
        self.waiter.set(waiter);
    }

    /// By the owner, before anybody can see the record, or under the lock by who took it out of its
    /// queue: somebody else will complete it.
    pub(crate) fn hold(&self) {
        self.verdict.store(Verdict::Held as u8, Ordering::Relaxed);
    }

    pub(crate) fn partner(&self) -> *const Record {
        self.partner.get()
    }

    /// Under the lock: whom the owner completes with.
    pub(crate) fn set_partner(&self, partner: *const Record) {
        self.partner.set(partner);
    }

    /// Under the lock: begins to take the record. False: its select chose
    /// otherwise. True is followed by `give` or `revert`, without parking.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        // SAFETY: null, or the choice beside the records of its select, whose
        // owner unlinks each of them, under its lock, before it leaves.
        match unsafe { self.choice.as_ref() } {
            None => true,
            Some(choice) => choice.claim(),
        }
    }

    /// Takes a claim back.
    #[inline]
    pub(crate) fn revert(&self) {
        // SAFETY: as in `claim`.
        if let Some(choice) = unsafe { self.choice.as_ref() } {
            choice.revert();
        }
    }

    /// Under the lock: the verdict on a record that was claimed and unlinked. If it
    /// is final the record must not be touched afterwards.
    #[inline]
    pub(crate) fn give(&self, verdict: Verdict) -> Waiter {
        let waiter = self.waiter.get();
        match self.choice.is_null() {
            true => self.verdict.store(verdict as u8, Ordering::Release),
            false => {
                let (choice, case) = (self.choice, self.case);
                self.verdict.store(verdict as u8, Ordering::Release);
                // The owner looks at the choice first, so this comes last.
                // SAFETY: as in `claim`; the owner cannot leave before it
                // knows what was chosen.
                unsafe { &*choice }.choose(case);
            }
        }
        waiter
    }

    /// Under the lock: the final verdict on a held record, which must not be
    /// touched afterwards.
    #[inline]
    pub(crate) fn resolve(&self, verdict: Verdict) -> Waiter {
        let waiter = self.waiter.get();
        self.verdict.store(verdict as u8, Ordering::Release);
        waiter
    }
}

/// A record found in a queue. Valid until the queue's lock is given up or a
/// final verdict is given, whichever is first; longer while it is held.
#[derive(Clone, Copy)]
pub(crate) struct Found(NonNull<Record>);

impl Found {
    /// # Safety
    /// `record` is linked or held, and stays so while the result is used.
    pub(crate) unsafe fn from_ptr(record: *const Record) -> Found {
        // SAFETY: the caller's promise; records are never at null.
        Found(unsafe { NonNull::new_unchecked(record.cast_mut()) })
    }

    pub(crate) fn as_ptr(self) -> *const Record {
        self.0.as_ptr()
    }
}

impl std::ops::Deref for Found {
    type Target = Record;
    #[inline]
    fn deref(&self) -> &Record {
        // SAFETY: a linked or held record is alive: its owner takes the
        // queue's lock to unlink it, or waits for the verdict.
        unsafe { self.0.as_ref() }
    }
}

/// The records that wait on one end of a channel, first in first out.
pub(crate) struct Queue {
    head: *const Record,
    tail: *const Record,
}

// SAFETY: the links are touched under the lock that the queue is behind, and
// records may be looked at from any thread under it.
unsafe impl Send for Queue {}

impl Queue {
    pub(crate) const fn new() -> Queue {
        Queue {
            head: ptr::null(),
            tail: ptr::null(),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    #[inline]
    pub(crate) fn first(&self) -> Option<Found> {
        NonNull::new(self.head.cast_mut()).map(Found)
    }

    /// Takes the first one out if it [is plain](Record::is_plain).
    #[inline]
    pub(crate) fn pop_plain(&mut self) -> Option<Found> {
        let first = self.first()?;
        if !first.is_plain() {
            return None;
        }
        self.head = first.next.get();
        first.linked.set(false);
        // SAFETY: a linked record is alive.
        match unsafe { self.head.as_ref() } {
            Some(next) => next.prev.set(ptr::null()),
            None => self.tail = ptr::null(),
        }
        Some(first)
    }

    /// The one behind `record`.
    pub(crate) fn after(&self, record: Found) -> Option<Found> {
        NonNull::new(record.next.get().cast_mut()).map(Found)
    }

    /// Links `record` behind all others.
    ///
    /// # Safety
    /// It is not linked, and stays where it is until it is unlinked.
    #[inline]
    pub(crate) unsafe fn push_back(&mut self, record: &Record) {
        record.linked.set(true);
        record.next.set(ptr::null());
        record.prev.set(self.tail);
        // SAFETY: a linked record is alive.
        match unsafe { self.tail.as_ref() } {
            Some(last) => last.next.set(record),
            None => self.head = record,
        }
        self.tail = record;
    }

    /// Links `record` before all others.
    ///
    /// # Safety
    /// As for `push_back`.
    pub(crate) unsafe fn push_front(&mut self, record: &Record) {
        record.linked.set(true);
        record.prev.set(ptr::null());
        record.next.set(self.head);
        // SAFETY: a linked record is alive.
        match unsafe { self.head.as_ref() } {
            Some(first) => first.prev.set(record),
            None => self.tail = record,
        }
        self.head = record;
    }

    /// Unlinks `record` if it is linked; true if it was. In constant time, so
    /// that a select's losers cost the same however many wait.
    #[inline]
    pub(crate) fn remove(&mut self, record: &Record) -> bool {
        if !record.linked.replace(false) {
            return false;
        }
        // SAFETY: linked records, and so the neighbours, are alive.
        match unsafe { record.prev.get().as_ref() } {
            Some(prev) => prev.next.set(record.next.get()),
            None => self.head = record.next.get(),
        }
        // SAFETY: as above.
        match unsafe { record.next.get().as_ref() } {
            Some(next) => next.prev.set(record.prev.get()),
            None => self.tail = record.prev.get(),
        }
        true
    }
}

/// Waiters that got their verdict under a lock and are woken after it.
#[must_use]
#[derive(Default)]
pub(crate) struct Woken {
    /// The first one runs next.
    first: Option<Waiter>,
    rest: GList,
}

impl Woken {
    pub(crate) fn add(&mut self, inside: &mut Inside, waiter: Waiter) {
        if self.first.is_none() {
            self.first = Some(waiter);
        } else {
            inside.ready_into(waiter, &mut self.rest);
        }
    }

    /// Makes them runnable. No lock is held.
    #[inline]
    pub(crate) fn wake(mut self, inside: &mut Inside) {
        if let Some(first) = self.first {
            if self.rest.len() > 0 {
                inside.enqueue_all(&mut self.rest);
            }
            inside.ready(first);
        }
    }
}

/// Parks the owner of `record` until there is a final verdict. None: the
/// deadline came first, and `unlink` has unlinked the record under the lock.
///
/// `record` is linked (or held) already, with `waiter` in it, and the lock is
/// free again.
#[inline]
pub(crate) fn await_verdict<Q>(
    inside: &mut Inside,
    record: &Record,
    mut waiter: Waiter,
    reason: WaitReason,
    mut deadline: Nanos,
    lock: &ShortLock<Q>,
    unlink: impl Fn(&mut Q, &Record),
) -> Option<Verdict> {
    loop {
        inside.park(waiter, deadline);
        let verdict = record.verdict();
        if verdict.is_final() {
            return Some(verdict);
        }
        // Nobody gave one: the deadline, or no reason at all.
        let late = clock::has_passed(deadline);
        let mut queues = lock.lock(inside);
        match record.verdict() {
            Verdict::Held => deadline = NEVER,
            Verdict::Waiting if late => {
                unlink(&mut queues, record);
                return None;
            }
            Verdict::Waiting => {}
            verdict => return Some(verdict),
        }
        waiter = inside.prepare(reason);
        record.renew(waiter);
    }
}
