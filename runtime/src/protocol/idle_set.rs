//! The idle Ps, and those that take no part: what becomes of a P that nobody owns (PROTOCOL 9
//! and 20).
//!
//! All of it under the scheduler's lock, under which `maxprocs` changes too. So whoever puts a P
//! down, whatever it saw of `maxprocs` before, puts it where it belongs; and a P that is neither
//! here nor stopped is owned, or in one hand, which will put it down here.
//! [`admit`](IdleSet::admit) leaves such a one alone.
//!
//! A P is put down with an empty queue, and its holder empties it: to one that takes no part nobody
//! comes, and to one that is idle only searchers do.
//!
//! The counter of idle Ps (`sleep.rs`) changes with the set.

use super::sleep::Sleep;
use std::cell::Cell;

/// A P, as far as it can be idle.
pub(crate) trait Place: Sized + 'static {
    /// `maxprocs` is compared with this.
    fn index(&self) -> usize;
    /// Where this file keeps what it knows of it.
    fn link(&self) -> &Link<Self>;
}

/// Under the scheduler's lock, or by who has the P in hand, in a chain of those that were
/// dismissed.
pub(crate) struct Link<P: 'static> {
    next: Cell<Option<&'static P>>,
    /// It takes no part: not yet, or not any more.
    stopped: Cell<bool>,
}

impl<P> Link<P> {
    /// Of a P that takes no part yet.
    pub(crate) const fn new() -> Link<P> {
        Link {
            next: Cell::new(None),
            stopped: Cell::new(true),
        }
    }

    #[cfg(loom)]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get()
    }
}

/// See the module. The last that came is the first to go: its caches are warm.
pub(crate) struct IdleSet<P: 'static> {
    first: Option<&'static P>,
}

impl<P: Place> IdleSet<P> {
    pub(crate) const fn new() -> IdleSet<P> {
        IdleSet { first: None }
    }

    /// Puts a P that nobody owns, and that takes part, here.
    pub(crate) fn push(&mut self, sleep: &Sleep, p: &'static P) {
        p.link().next.set(self.first);
        self.first = Some(p);
        sleep.idle();
    }

    /// Takes one; it is the caller's.
    pub(crate) fn pop(&mut self, sleep: &Sleep) -> Option<&'static P> {
        let p = self.first?;
        self.first = p.link().next.get();
        sleep.busy();
        Some(p)
    }

    /// `p` takes part from now on, unless it does already (it was to stop, and its M
    /// has not noticed).
    pub(crate) fn admit(&mut self, sleep: &Sleep, p: &'static P) {
        if p.link().stopped.replace(false) {
            self.push(sleep, p);
        }
    }

    /// Puts a P that nobody owns here. False: it is beyond `procs`, and to be emptied first.
    #[must_use]
    pub(crate) fn try_push(&mut self, sleep: &Sleep, procs: usize, p: &'static P) -> bool {
        let takes_part = p.index() < procs;
        if takes_part {
            self.push(sleep, p);
        }
        takes_part
    }

    /// A P that nobody owns, and in whose queue nothing is, comes here, or stops when it is beyond
    /// `procs`.
    pub(crate) fn push_or_stop(&mut self, sleep: &Sleep, procs: usize, p: &'static P) {
        if !self.try_push(sleep, procs, p) {
            p.link().stopped.set(true);
        }
    }

    /// Takes out those beyond `procs`: they are the caller's, who empties them and puts them down.
    pub(crate) fn dismiss(&mut self, sleep: &Sleep, procs: usize) -> Dismissed<P> {
        let (mut rest, mut dismissed) = (self.first.take(), None);
        while let Some(p) = rest {
            rest = p.link().next.get();
            if p.index() < procs {
                p.link().next.set(self.first);
                self.first = Some(p);
            } else {
                p.link().next.set(dismissed);
                dismissed = Some(p);
                sleep.busy();
            }
        }
        Dismissed(dismissed)
    }
}

/// Ps that are in the caller's hand.
#[must_use = "they are nowhere else"]
pub(crate) struct Dismissed<P: 'static>(Option<&'static P>);

impl<P: Place> Iterator for Dismissed<P> {
    type Item = &'static P;

    fn next(&mut self) -> Option<&'static P> {
        let p = self.0?;
        self.0 = p.link().next.get();
        Some(p)
    }
}
