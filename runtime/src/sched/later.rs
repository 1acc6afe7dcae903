//! Goroutines that begin later: when a time has come, or when somebody says so.
//!
//! `time::after_func`, the deadline of a context and `Context::after_func` are
//! goroutines that are made now and begin then. Until then such a goroutine is its
//! block: the closure is in it (a larger one in a box), it has no stack, no number,
//! and does not count as a goroutine.
//!
//! What always holds:
//! - Its word is Waiting, with a ticket of its own. Whoever ends that wait has the
//!   block: a timer or [`Later::begin`], which make it a goroutine, or
//!   [`Later::revoke`], which takes the closure back. There is one winner, and an entry
//!   in a heap that comes late is stale like any other.
//! - A stack is promised when it begins, not before: a million armed timers take no
//!   address space. When there can be none at that moment it is tried again a
//!   little later.

use super::g::{self, Entry, GList, GRef, Kind};
use super::inside::Inside;
use super::p::{self, P};
use super::spawn::{Unspawned, drop_of, entry_of};
use super::{lists, poll, start};
use crate::clock::{self, Nanos};
use crate::protocol::gword::{Ready, Ticket};
use goweft_stacks::{Class, Exhausted};
use std::panic::Location;
use std::sync::atomic::Ordering;

/// A goroutine that has not begun. Copies are of the same one. Dropping them changes
/// nothing: it begins when its timer says so, and if it has none stays as it is
/// for ever.
#[derive(Clone, Copy)]
pub(crate) struct Later {
    g: GRef,
    ticket: Ticket,
    /// Drops the closure in the block.
    undo: unsafe fn(*mut ()),
}

/// A closure that was taken back, to be dropped outside the runtime.
#[must_use]
pub(crate) struct Revoked {
    _closure: Unspawned,
}

impl Later {
    /// Makes one of `f`, which must not unwind: if it does, the process aborts. Called
    /// outside the runtime, which it starts if need be.
    pub(crate) fn new<F: FnOnce() + Send + 'static>(f: F, at: &'static Location<'static>) -> Later {
        let class = start::ensure();
        let entry = entry_of(f);
        let inside = Inside::enter();
        let g = match inside.p() {
            Some(p) => p.take_block(&inside),
            None => g::take_block(&inside),
        };
        g.set_class(class);
        g.set_kind(Kind::Later);
        g.pinned.set(start::pins_all());
        g.spawned_at.set(Some(at));
        // SAFETY: a dead block is its taker's alone.
        unsafe { (*g.entry.get()).write(entry) };
        Later {
            g,
            ticket: g.word.begin_later(),
            undo: drop_of::<F>(),
        }
    }

    /// Lets it begin at `when`. To be called once.
    pub(crate) fn arm(&self, inside: &mut Inside, when: Nanos) {
        arm(inside, when, self.g, self.ticket);
    }

    /// Lets it begin now. False: it has begun, or was revoked.
    pub(crate) fn begin(&self, inside: &mut Inside) -> bool {
        match promise_and_take(inside, self.g, self.ticket) {
            Taken::Ours => {
                inside.enqueue_new(self.g);
                true
            }
            Taken::NoStack => {
                starve(inside, clock::now(), self.g, self.ticket);
                true
            }
            Taken::Stale => false,
        }
    }

    /// Takes the closure back. None: it has begun, or was revoked.
    pub(crate) fn revoke(&self, inside: &mut Inside) -> Option<Revoked> {
        let g = self.g;
        if g.word.ready(self.ticket) != Ready::Enqueue {
            return None;
        }
        // SAFETY: `new` wrote the entry, and we are the one who ended the wait:
        // nobody else reads it.
        let entry: Entry = unsafe { (*g.entry.get()).assume_init_read() };
        g.set_kind(Kind::Goroutine);
        g.pinned.set(false);
        g.spawned_at.set(None);
        g.word.end();
        match inside.p() {
            Some(p) => p.give_block(inside, g),
            None => g::give_block(inside, g),
        }
        Some(Revoked {
            _closure: Unspawned(Some(entry), self.undo),
        })
    }
}

/// A timer of one is due: into `out`, unless it is stale.
pub(super) fn begin_due(inside: &mut Inside, g: GRef, ticket: Ticket, now: Nanos, out: &mut GList) {
    match promise_and_take(inside, g, ticket) {
        Taken::Ours => out.push(g),
        Taken::NoStack => starve(inside, now, g, ticket),
        Taken::Stale => {}
    }
}

enum Taken {
    /// It is a goroutine, fresh and runnable, and the caller's to enqueue.
    Ours,
    /// There can be no stack for it now; it was not touched.
    NoStack,
    Stale,
}

/// Ends the wait: what `spawn` does for a goroutine that begins at once.
fn promise_and_take(inside: &mut Inside, g: GRef, ticket: Ticket) -> Taken {
    // Not the block's, which may be another's by now.
    let class = start::ensure();
    if promise(inside, class).is_err() {
        return Taken::NoStack;
    }
    if g.word.ready(ticket) != Ready::Enqueue {
        match inside.p() {
            Some(p) => p.magazine(inside).unreserve(class),
            None => goweft_stacks::unreserve(class, 1),
        }
        return Taken::Stale;
    }
    let id = match inside.p() {
        Some(p) => {
            p.counters().spawned.add(1);
            p.new_id(lists::new_ids)
        }
        None => {
            lists::FOREIGN_SPAWNED.fetch_add(1, Ordering::Relaxed);
            lists::new_ids(1)
        }
    };
    g.set_kind(Kind::Goroutine);
    g.id.store(id, Ordering::Relaxed);
    g.permit
        .store(crate::task::first_permit(id), Ordering::Relaxed);
    Taken::Ours
}

fn promise(inside: &Inside, class: Class) -> Result<(), Exhausted> {
    match inside.p() {
        Some(p) => p.magazine(inside).reserve(class),
        None => goweft_stacks::reserve(class),
    }
}

/// Puts it into the heap of this P, or, without one, of any.
fn arm(inside: &mut Inside, when: Nanos, g: GRef, ticket: Ticket) {
    some_p(inside).timers().add(inside, when, g, ticket);
    poll::timer_was_set(when);
}

/// Puts it beside that heap.
fn starve(inside: &mut Inside, now: Nanos, g: GRef, ticket: Ticket) {
    let timers = some_p(inside).timers();
    timers.starve(inside, now, g, ticket);
    poll::timer_was_set(timers.earliest());
}

fn some_p(inside: &Inside) -> &'static P {
    let n = lists::procs().max(1);
    let p = inside
        .p()
        .or_else(|| p::get(lists::foreign_random() as usize % n))
        // One that was just made may not be seen yet.
        .or_else(|| p::get(0));
    match p {
        Some(p) => p,
        None => crate::abort::fatal("a timer was set before there was a P"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its block may be that of a goroutine which has ended, and which somebody still wakes.
    #[test]
    fn who_wakes_the_block_s_former_goroutine_does_not_begin_it() {
        let later = Later::new(|| (), Location::caller());
        Inside::enter().ready_now(later.g);
        let revoked = later.revoke(&mut Inside::enter());
        assert!(revoked.is_some(), "it has begun");
    }
}
