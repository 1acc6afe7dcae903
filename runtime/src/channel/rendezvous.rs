//! Channels of capacity 0: a send completes when a receiver takes the value.
//!
//! The two ends are mirror images: whoever comes second finds the other's
//! record in its queue, copies the value between the two stacks, gives the
//! verdict `Done` and goes on. All of it is one critical section and one wake.
//!
//! It is more when one of the two is *late*, which only a select is: a send arm
//! has no value before it is chosen, a receive of the dynamic select no place
//! for it. README.md has the steps; in short: the late side is handed the other's
//! record, which stays `Held` until the late side completes (value copied,
//! `Done`) or gives up (`Retry`).

use super::flavor::{Flavor, Outcome, Side, TRY, Token};
use super::wait::{Found, Queue, Record, Verdict, Woken, await_verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::lock::{ShortGuard, ShortLock};
use crate::protocol::choice::Choice;
use crate::sched::{Inside, Waiter};
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

/// See the module.
pub(crate) struct Channel<T> {
    state: ShortLock<State>,
    /// What `state` says, for those who only want to know that there is
    /// nothing to do: written under its lock, read without.
    hint: AtomicU8,
    /// Values are moved through it, in both directions.
    values: PhantomData<*mut T>,
}

struct State {
    senders: Queue,
    receivers: Queue,
    closed: bool,
}

const SENDERS: u8 = 1;
const RECEIVERS: u8 = 2;
const CLOSED: u8 = 4;

/// Records woken by one hold of the lock when the channel is closed.
const BATCH: usize = 64;

impl State {
    #[inline]
    fn of(&mut self, side: Side) -> &mut Queue {
        match side {
            Side::Send => &mut self.senders,
            Side::Receive => &mut self.receivers,
        }
    }

    /// Takes the first who wants to meet `side` out of its queue, claimed. Watchers stay: they are
    /// told of those who wait, and whoever looks here may not.
    #[inline]
    fn meet(&mut self, side: Side) -> Option<Found> {
        let queue = self.of(side.other());
        let mut next = queue.first();
        while let Some(found) = next {
            next = queue.after(found);
            if found.is_watch() {
                continue;
            }
            queue.remove(&found);
            if found.claim() {
                return Some(found);
            }
        }
        None
    }

    /// Somebody waits on `side` now: wakes those who watch for that.
    fn tell_watchers(&mut self, inside: &mut Inside, side: Side) -> Woken {
        let mut woken = Woken::default();
        let queue = self.of(side.other());
        let mut next = queue.first();
        while let Some(found) = next {
            next = queue.after(found);
            if !found.is_watch() {
                continue;
            }
            queue.remove(&found);
            if found.claim() {
                woken.add(inside, found.give(Verdict::Done));
            }
        }
        woken
    }
}

impl<T> Channel<T> {
    pub(crate) fn new() -> Channel<T> {
        Channel {
            state: ShortLock::new(State {
                senders: Queue::new(),
                receivers: Queue::new(),
                closed: false,
            }),
            hint: AtomicU8::new(0),
            values: PhantomData,
        }
    }

    /// Unlocks, after publishing the hint.
    #[inline]
    fn unlock(&self, state: ShortGuard<'_, State>) {
        self.publish(&state);
    }

    /// Writes the hint. Before a verdict is given to one who may be told of something that an older
    /// hint does not know: it may look again while the lock is still held.
    #[inline]
    fn publish(&self, state: &State) {
        let mut hint = 0;
        if !state.senders.is_empty() {
            hint |= SENDERS;
        }
        if !state.receivers.is_empty() {
            hint |= RECEIVERS;
        }
        if state.closed {
            hint |= CLOSED;
        }
        // Release: who learns from it that the channel is closed sees what came before.
        self.hint.store(hint, Ordering::Release);
    }

    /// Whether `side` may find something to do. Never wrong about what happened
    /// before: the hint is written under the lock that orders everything else.
    #[inline]
    fn may_meet(&self, side: Side) -> bool {
        let wanted = match side {
            Side::Send => RECEIVERS | CLOSED,
            Side::Receive => SENDERS | CLOSED,
        };
        self.hint.load(Ordering::Relaxed) & wanted != 0
    }

    /// Moves a value from the sender's place to the receiver's.
    ///
    /// # Safety
    /// `mine` is `side`'s place for a T and `theirs` the other's; one holds a
    /// value that its owner forgets, the other has room for it.
    #[inline]
    unsafe fn copy(side: Side, mine: *mut (), theirs: *mut ()) {
        let (from, to) = match side {
            Side::Send => (mine, theirs),
            Side::Receive => (theirs, mine),
        };
        // SAFETY: the caller's promise; two stacks do not overlap.
        unsafe { ptr::copy_nonoverlapping(from.cast::<T>(), to.cast::<T>(), 1) }
    }

    /// Waits for the verdict on `record`, which is linked or held.
    #[inline]
    fn wait(
        &self,
        inside: &mut Inside,
        side: Side,
        record: &Record,
        waiter: Waiter,
        deadline: Nanos,
    ) -> Option<Verdict> {
        await_verdict(
            inside,
            record,
            waiter,
            side.reason(),
            deadline,
            &self.state,
            |state, record| {
                state.of(side).remove(record);
            },
        )
    }

    /// Sends the value at `slot`, or receives one into it.
    ///
    /// Here are the two ways that matter: the partner waits already, or we park
    /// until it comes. All else is in `run_from`.
    ///
    /// # Safety
    /// `slot` holds a T (to send) or has room for one (to receive). After `Done`
    /// it is the other way round.
    // Always: two callers, each with a constant side.
    #[inline(always)]
    pub(crate) unsafe fn run(
        &self,
        inside: &mut Inside,
        side: Side,
        slot: *mut T,
        deadline: Nanos,
    ) -> Outcome {
        if deadline == TRY && !self.may_meet(side) {
            return Outcome::TimedOut;
        }
        let mut state = self.state.lock(inside);
        if !state.closed {
            if let Some(found) = state.of(side.other()).pop_plain() {
                // SAFETY: our slot is as the caller promised, theirs as the
                // owner of the record did; `Done` tells both.
                unsafe { Channel::<T>::copy(side, slot.cast(), found.slot()) };
                let partner = found.give_plain(Verdict::Done);
                self.unlock(state);
                inside.ready(partner);
                return Outcome::Done;
            }
            let nobody = state.of(side.other()).is_empty();
            if nobody && deadline == NEVER && !inside.must_not_wait() {
                let waiter = inside.prepare(side.reason());
                let record = Record::single(waiter, slot.cast());
                // SAFETY: it stays here until the verdict.
                unsafe { state.of(side).push_back(&record) };
                self.unlock(state);
                inside.park(waiter, NEVER);
                let mut verdict = record.verdict();
                if !verdict.is_final() {
                    verdict = self.wait_on(inside, side, &record);
                }
                match verdict {
                    Verdict::Done => return Outcome::Done,
                    Verdict::Closed => return Outcome::Closed,
                    // The select that had chosen us gave up.
                    // SAFETY: the caller's promise; nothing happened yet.
                    _ => return unsafe { self.run_from(inside, side, slot, deadline, true) },
                }
            }
        }
        drop(state);
        // SAFETY: the caller's promise.
        unsafe { self.run_from(inside, side, slot, deadline, false) }
    }

    /// The final verdict on a record without a deadline whose owner was woken
    /// for no reason.
    #[cold]
    #[inline(never)]
    fn wait_on(&self, inside: &mut Inside, side: Side, record: &Record) -> Verdict {
        let state = self.state.lock(inside);
        if record.verdict().is_final() {
            return record.verdict();
        }
        let waiter = inside.prepare(side.reason());
        record.renew(waiter);
        drop(state);
        // Without a deadline there is always a verdict.
        self.wait(inside, side, record, waiter, NEVER)
            .unwrap_or(Verdict::Retry)
    }

    /// `run`, with a place at the front of the queue for one who had it before.
    ///
    /// # Safety
    /// As `run`.
    #[inline(never)]
    unsafe fn run_from(
        &self,
        inside: &mut Inside,
        side: Side,
        slot: *mut T,
        deadline: Nanos,
        mut front: bool,
    ) -> Outcome {
        let slot = slot.cast::<()>();
        loop {
            let mut state = self.state.lock(inside);
            if state.closed {
                return Outcome::Closed;
            }
            let met = state.meet(side);
            if let Some(found) = met
                && !found.is_late()
            {
                // SAFETY: our slot is as the caller promised, theirs as the
                // owner of the record did; `Done` tells both.
                unsafe { Channel::<T>::copy(side, slot, found.slot()) };
                let partner = found.give(Verdict::Done);
                self.unlock(state);
                inside.ready(partner);
                return Outcome::Done;
            }
            if met.is_none() && (clock::has_passed(deadline) || inside.refuses()) {
                self.unlock(state);
                return Outcome::TimedOut;
            }
            if let Some(found) = met
                && inside.must_not_wait()
            {
                // Waiting for its partner's value is a wait too: it is let go.
                let partner = found.give(Verdict::Retry);
                self.unlock(state);
                inside.ready(partner);
                if !clock::has_passed(deadline) {
                    inside.refuses();
                }
                return Outcome::TimedOut;
            }
            let waiter = inside.prepare(side.reason());
            let record = Record::single(waiter, slot);
            let verdict = match met {
                // A select that completes with us, as soon as it can.
                Some(found) => {
                    record.hold();
                    found.set_partner(&record);
                    let partner = found.give(Verdict::Paired);
                    self.unlock(state);
                    inside.ready(partner);
                    self.wait(inside, side, &record, waiter, NEVER)
                }
                None => {
                    // SAFETY: it stays here until the verdict or the deadline,
                    // which unlinks it.
                    unsafe {
                        match front {
                            true => state.of(side).push_front(&record),
                            false => state.of(side).push_back(&record),
                        }
                    }
                    self.publish(&state);
                    let woken = state.tell_watchers(inside, side);
                    self.unlock(state);
                    woken.wake(inside);
                    self.wait(inside, side, &record, waiter, deadline)
                }
            };
            match verdict {
                Some(Verdict::Done) => return Outcome::Done,
                Some(Verdict::Closed) => return Outcome::Closed,
                None => return Outcome::TimedOut,
                // The select gave up.
                Some(_) => front = true,
            }
        }
    }

    /// Completes a send that was chosen with `partner`, with the value at
    /// `slot`.
    ///
    /// # Safety
    /// `partner` is from a token of this channel's sending side that was not
    /// used yet, and `slot` holds a T.
    pub(crate) unsafe fn commit_send(
        &self,
        inside: &mut Inside,
        partner: *const Record,
        slot: *mut T,
    ) -> Outcome {
        // SAFETY: a partner is held until we resolve it, here.
        let found = unsafe { Found::from_ptr(partner) };
        let state = self.state.lock(inside);
        if state.closed {
            let waiter = found.resolve(Verdict::Retry);
            self.unlock(state);
            inside.ready(waiter);
            return Outcome::Closed;
        }
        if !found.is_late() {
            // SAFETY: a held receiver's slot has room for a T, ours holds one.
            unsafe { Channel::<T>::copy(Side::Send, slot.cast(), found.slot()) };
            let waiter = found.resolve(Verdict::Done);
            self.unlock(state);
            inside.ready(waiter);
            return Outcome::Done;
        }
        if inside.refuses() {
            let waiter = found.resolve(Verdict::Retry);
            self.unlock(state);
            inside.ready(waiter);
            return Outcome::TimedOut;
        }
        // A receive of the dynamic select: it takes the value later, from here.
        let waiter = inside.prepare(Side::Send.reason());
        let record = Record::single(waiter, slot.cast());
        record.hold();
        found.set_partner(&record);
        let partner = found.resolve(Verdict::Paired);
        self.unlock(state);
        inside.ready(partner);
        match self.wait(inside, Side::Send, &record, waiter, NEVER) {
            Some(Verdict::Done) => Outcome::Done,
            // It gave up. The arm was chosen and the value is there: what is
            // left is to send it, as the first in the queue.
            // SAFETY: the slot still holds the value.
            _ => unsafe { self.run_from(inside, Side::Send, slot, NEVER, true) },
        }
    }

    /// Completes a receive that was chosen with `partner`, into `slot`.
    ///
    /// # Safety
    /// `partner` is from a token of this channel's receiving side that was not
    /// used yet, and `slot` has room for a T.
    pub(crate) unsafe fn commit_recv(
        &self,
        inside: &mut Inside,
        partner: *const Record,
        slot: *mut T,
    ) {
        let state = self.state.lock(inside);
        // SAFETY: a partner is held until we resolve it, here.
        let found = unsafe { Found::from_ptr(partner) };
        // SAFETY: a late receiver is paired only with one who has its value.
        unsafe { Channel::<T>::copy(Side::Receive, slot.cast(), found.slot()) };
        let waiter = found.resolve(Verdict::Done);
        self.unlock(state);
        inside.ready(waiter);
    }

    /// Closes; true the first time. Wakes all receivers, then all senders.
    pub(crate) fn close(&self, inside: &mut Inside) -> bool {
        let mut first = false;
        loop {
            let mut state = self.state.lock(inside);
            first |= !state.closed;
            state.closed = true;
            self.publish(&state);
            let mut woken = Woken::default();
            let mut count = 0;
            for side in [Side::Receive, Side::Send] {
                while count < BATCH
                    && let Some(found) = state.of(side).first()
                {
                    state.of(side).remove(&found);
                    if found.claim() {
                        count += 1;
                        woken.add(inside, found.give(Verdict::Closed));
                    }
                }
            }
            self.unlock(state);
            woken.wake(inside);
            if count < BATCH {
                return first;
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.hint.load(Ordering::Acquire) & CLOSED != 0
    }
}

impl<T> Flavor for Channel<T> {
    fn attempt(&self, inside: &mut Inside, side: Side, slot: *mut ()) -> Option<Token> {
        if !self.may_meet(side) {
            return None;
        }
        if !slot.is_null() {
            // SAFETY: a slot that a select gives is as `run_from` wants it.
            return match unsafe { self.run_from(inside, side, slot.cast(), TRY, false) } {
                Outcome::Done => Some(Token::Received),
                Outcome::Closed => Some(Token::Closed),
                Outcome::TimedOut => None,
            };
        }
        loop {
            let mut state = self.state.lock(inside);
            if state.closed {
                return Some(Token::Closed);
            }
            let Some(found) = state.meet(side) else {
                self.unlock(state);
                return None;
            };
            if found.is_late() && inside.must_not_wait() {
                let partner = found.give(Verdict::Retry);
                self.unlock(state);
                inside.ready(partner);
                return None;
            }
            if side == Side::Send || !found.is_late() {
                // It waits until we commit, or undo.
                let _: Waiter = found.give(Verdict::Held);
                self.unlock(state);
                return Some(Token::Partner(found.as_ptr()));
            }
            // Both are late. The sender evaluates its value first, and offers it.
            let waiter = inside.prepare(side.reason());
            let record = Record::single(waiter, ptr::null_mut());
            record.hold();
            found.set_partner(&record);
            let partner = found.give(Verdict::Paired);
            self.unlock(state);
            inside.ready(partner);
            match self.wait(inside, side, &record, waiter, NEVER) {
                Some(Verdict::Paired) => return Some(Token::Partner(record.partner())),
                _ => continue,
            }
        }
    }

    fn is_ready(&self, inside: &Inside, side: Side) -> bool {
        if !self.may_meet(side) {
            return false;
        }
        let mut state = self.state.lock(inside);
        state.closed || someone_waits(state.of(side.other()), ptr::null())
    }

    unsafe fn enroll(&self, inside: &mut Inside, side: Side, record: &Record) -> bool {
        let mut state = self.state.lock(inside);
        if state.closed || someone_waits(state.of(side.other()), record.choice()) {
            return false;
        }
        // SAFETY: the caller's promise.
        unsafe { state.of(side).push_back(record) };
        let woken = match record.is_watch() {
            true => Woken::default(),
            false => {
                self.publish(&state);
                state.tell_watchers(inside, side)
            }
        };
        self.unlock(state);
        woken.wake(inside);
        true
    }

    fn withdraw(&self, inside: &mut Inside, side: Side, record: &Record) {
        let mut state = self.state.lock(inside);
        state.of(side).remove(record);
        self.unlock(state);
    }

    fn renew(&self, inside: &mut Inside, _side: Side, record: &Record, waiter: Waiter) {
        let _state = self.state.lock(inside);
        record.renew(waiter);
    }

    unsafe fn undo(&self, inside: &mut Inside, _side: Side, token: Token) {
        let Token::Partner(partner) = token else {
            return;
        };
        let state = self.state.lock(inside);
        // SAFETY: a partner is held until we resolve it, here.
        let waiter = unsafe { Found::from_ptr(partner) }.resolve(Verdict::Retry);
        self.unlock(state);
        inside.ready(waiter);
    }
}

/// Whether anybody in `queue` could be met by the select that owns `choice`.
fn someone_waits(queue: &Queue, choice: *const Choice) -> bool {
    let mut next = queue.first();
    while let Some(found) = next {
        if !found.is_watch() && !found.is_of(choice) {
            return true;
        }
        next = queue.after(found);
    }
    false
}
