//! Home: goroutines that stay on one thread, and the M that they live on (PROTOCOL 19).
//!
//! A goroutine that is *pinned* (`Builder::pinned`, `Migration::Pinned`) is at home on the M on
//! which it first runs; one that is *locked* (`task::lock_os_thread`) is at home, for as long, on
//! the M on which it called. Away from home it never runs. Many may share a home.
//!
//! What always holds:
//! - `bound` of a goroutine names its home, from the moment it has one to its end (or to its
//!   unlocking). While it is runnable it is in that M's own queue and in no other;
//! - the own queue belongs to the M's thread, which touches it inside. Others put into the
//!   *inbox*, under the lock of the scheduler, and the thread takes all of it at its next
//!   schedule;
//! - under that lock `place` says where the M rests, if it does. So whoever puts something into
//!   the inbox knows whether the M comes by itself (it has a P, or is on its way to it, or is about
//!   to take the lock), or must be given a P, or stand in the bound queue;
//! - an M that rests (Spare, Poller, Home) has an empty inbox and an empty queue: it looks at both
//!   under the lock, in the step in which it takes its place.
//!
//! A *closed* M, on which a goroutine is locked, runs nothing but who is at home there: it never is
//! spare or the poller, and gives its P on when the others' turn comes. When a goroutine has ended
//! locked, it stays closed; when nobody lives there any more, its thread ends.

use super::g::{GList, GRef};
use super::inside::Inside;
use super::lists::{self, Lists};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where an M is, as far as giving it a P is concerned. Under the scheduler's lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Place {
    /// In no list: it has a P, or is being given one, or its thread is busy otherwise.
    Elsewhere = 0,
    /// On its futex in the list of the spare.
    Spare,
    /// In the netpoll, as the poller.
    Poller,
    /// In the bound queue: on its futex, or parked by the handler.
    Bound,
    /// As that, but before all others there.
    Urgent,
    /// On its futex in no list; it is closed, and nobody at home is runnable.
    Home,
}

/// See the module. All zero is one where nobody lives.
pub(crate) struct Home {
    /// Who is runnable here, oldest first. The thread's own, inside.
    own: UnsafeCell<GList>,
    /// Twice the length of `own`, and 1 when it is closed. Written by the thread; read
    /// by others as a hint.
    own_word: AtomicU32,
    /// Length of `inbox`: written under the lock, read by anybody as a hint.
    inbox_len: AtomicU32,
    /// Who was made runnable by others. Under the lock.
    inbox: UnsafeCell<GList>,
    /// Some of them by a thread without a P (PROTOCOL 17). Under the lock.
    urgent: Cell<bool>,
    /// Goroutines that live here. This and all below but `place` are the thread's own.
    settled: Cell<u32>,
    /// How many of them keep it closed, and those that have ended locked.
    locked: Cell<u32>,
    /// A goroutine has ended locked.
    tainted: Cell<bool>,
    /// Since it last ran something, somebody here let the others go first.
    gave_way: Cell<bool>,
    /// The M has just come by a P, and somebody here waits: perhaps it came for that.
    owed: Cell<bool>,
    /// Whose turn it is: the own queue's, or that of the P's.
    turn: Cell<bool>,
    /// Under the lock.
    pub(super) place: Cell<Place>,
}

const CLOSED: u32 = 1;
const ONE: u32 = 2;

impl Home {
    /// By the thread: nobody here is runnable, and it is not closed.
    #[inline(always)]
    pub(crate) fn is_quiet(&self) -> bool {
        (self.own_word.load(Ordering::Relaxed) | self.inbox_len.load(Ordering::Relaxed)) == 0
    }

    /// Whether somebody here is runnable; by others a hint. Under the lock it is so that
    /// nothing is put into the inbox meanwhile.
    pub(crate) fn waits(&self) -> bool {
        self.own_word.load(Ordering::Relaxed) >= ONE || self.inbox_len.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.own_word.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// One more lives here.
    pub(crate) fn settle(&self) {
        self.settled.set(self.settled.get() + 1);
    }

    /// One fewer.
    pub(crate) fn leave(&self) {
        self.settled.set(self.settled.get() - 1);
    }

    /// One who lives here is locked from now on.
    pub(crate) fn close(&self) {
        self.locked.set(self.locked.get() + 1);
        let word = self.own_word.load(Ordering::Relaxed);
        self.own_word.store(word | CLOSED, Ordering::Relaxed);
    }

    /// It is not any more.
    pub(crate) fn open(&self) {
        self.locked.set(self.locked.get() - 1);
        if self.locked.get() == 0 {
            let word = self.own_word.load(Ordering::Relaxed);
            self.own_word.store(word & !CLOSED, Ordering::Relaxed);
        }
    }

    /// A goroutine ends locked: nobody unlocks it any more.
    pub(crate) fn taint(&self) {
        self.tainted.set(true);
    }

    /// A goroutine has ended locked here, and nobody lives here any more.
    pub(crate) fn is_over(&self) -> bool {
        self.tainted.get() && self.settled.get() == 0
    }

    /// Nobody has ever lived here: for a new thread in the slot of one that has ended.
    pub(crate) fn reset(&self) {
        debug_assert!(!self.waits() && self.settled.get() == 0);
        self.own_word.store(0, Ordering::Relaxed);
        self.locked.set(0);
        self.tainted.set(false);
        self.gave_way.set(false);
    }

    /// By the thread, inside: `g`, who lives here, is runnable.
    pub(crate) fn push_own(&self, g: GRef) {
        // SAFETY: by the thread, inside: there is no other reference.
        unsafe { &mut *self.own.get() }.push(g);
        let word = self.own_word.load(Ordering::Relaxed);
        self.own_word.store(word + ONE, Ordering::Relaxed);
    }

    /// As [`push_own`](Self::push_own); others are to go first.
    pub(crate) fn push_who_yields(&self, g: GRef) {
        self.push_own(g);
        self.gave_way.set(true);
    }

    /// By others: `g`, who lives here, is runnable.
    pub(super) fn put_into_inbox(&self, _lists: &mut Lists, g: GRef, urgent: bool) {
        self.urgent.set(self.urgent.get() || urgent);
        // SAFETY: the lock is held: there is no other reference.
        let inbox = unsafe { &mut *self.inbox.get() };
        inbox.push(g);
        self.inbox_len.store(inbox.len() as u32, Ordering::Relaxed);
    }

    /// By the thread: whether somebody in the inbox was woken by a thread without a P, and nobody
    /// goes before those.
    pub(super) fn is_urgent(&self, _lists: &Lists) -> bool {
        self.urgent.get() && self.own_word.load(Ordering::Relaxed) < ONE
    }

    /// By the thread: who goes next here. Those from the inbox stand behind those that are
    /// here already, and before those that come later.
    pub(crate) fn take(&self, inside: &Inside) -> Option<GRef> {
        if self.inbox_len.load(Ordering::Relaxed) != 0 {
            self.empty_inbox(inside);
        }
        // SAFETY: as in `push_own`.
        let g = unsafe { &mut *self.own.get() }.pop()?;
        let word = self.own_word.load(Ordering::Relaxed);
        self.own_word.store(word - ONE, Ordering::Relaxed);
        Some(g)
    }

    #[cold]
    #[inline(never)]
    fn empty_inbox(&self, inside: &Inside) {
        let _lists = lists::lock(inside);
        // SAFETY: the lock is held.
        let inbox = unsafe { &mut *self.inbox.get() };
        self.inbox_len.store(0, Ordering::Relaxed);
        self.urgent.set(false);
        let word = self.own_word.load(Ordering::Relaxed);
        let more = ONE * inbox.len() as u32;
        // SAFETY: as in `push_own`.
        unsafe { &mut *self.own.get() }.append(inbox);
        self.own_word.store(word + more, Ordering::Relaxed);
    }

    /// By the thread, which has a P again.
    pub(crate) fn has_rested(&self) {
        self.owed.set(self.waits());
    }

    /// Whether somebody here goes before all others, once.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed.replace(false)
    }

    /// Whether the own queue comes before that of the P this time.
    pub(crate) fn is_first(&self) -> bool {
        self.turn.set(!self.turn.get());
        self.turn.get()
    }

    /// Whether somebody let others go first since this was last asked.
    pub(crate) fn take_gave_way(&self) -> bool {
        self.gave_way.replace(false)
    }

    pub(crate) fn gave_way(&self) -> bool {
        self.gave_way.get()
    }
}
