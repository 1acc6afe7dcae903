//! The timers of a P: who is to be woken when (ARCHITECTURE 8).
//!
//! One kind of entry serves sleeps, timeouts and deadlines: a time and a
//! `(block, ticket)`. Whoever is woken earlier leaves its entry behind; it is
//! recognised by its ticket and dropped when it comes to the top, or in the
//! sweep that runs whenever the heap has doubled. So arming costs a push,
//! disarming nothing, and a sleeping goroutine allocates nothing.
//!
//! The heap is 4-ary (shallower than a binary one, and four children of 24 bytes
//! share two cache lines). It lives in pages of its own, because it grows
//! inside the runtime, where nothing is allocated.
//!
//! What was to begin and found no stack (`later.rs`) waits in a line beside the heap until the
//! time of the next attempt: a million of them would otherwise go through the heap again and
//! again, and nobody else would run.
//!
//! `earliest` mirrors the top, or the next attempt, for everybody who must not take the lock.

use super::g::{GRef, Kind};
use super::inside::Inside;
use crate::clock::{NEVER, Nanos};
use crate::lock::ShortLock;
use crate::mapped_vec::{MappedQueue, MappedVec};
use crate::prefetch;
use crate::protocol::gword::Ticket;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy)]
struct Entry {
    when: Nanos,
    g: GRef,
    ticket: Ticket,
}

impl Entry {
    fn is_stale(&self) -> bool {
        !self.g.word.is_current(self.ticket)
    }
}

/// See the module.
pub(crate) struct Timers {
    heap: ShortLock<Heap>,
    earliest: AtomicU64,
}

struct Heap {
    items: MappedVec<Entry>,
    sweep_at: usize,
    /// Due, and without a stack.
    starved: MappedQueue<Entry>,
    /// When the first of these is tried again.
    retry_at: Nanos,
}

/// Until the next attempt when there was no stack, in ns.
const RETRY: Nanos = 1_000_000;

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers {
            heap: ShortLock::new(Heap {
                items: MappedVec::new(),
                sweep_at: 64,
                starved: MappedQueue::new(),
                retry_at: 0,
            }),
            earliest: AtomicU64::new(NEVER),
        }
    }

    /// When the first one is due; [`NEVER`] without any.
    #[inline]
    pub(crate) fn earliest(&self) -> Nanos {
        self.earliest.load(Ordering::Relaxed)
    }

    /// Entries, stale ones included.
    pub(crate) fn len(&self, inside: &Inside) -> usize {
        let heap = self.heap.lock(inside);
        heap.items.len() + heap.starved.len()
    }

    /// Adds one. The caller then asks the poll gate whether to kick.
    pub(crate) fn add(&self, inside: &Inside, when: Nanos, g: GRef, ticket: Ticket) {
        let mut heap = self.heap.lock(inside);
        if heap.items.len() >= heap.sweep_at {
            heap.sweep();
        }
        heap.push(Entry { when, g, ticket });
        self.publish(&heap);
    }

    /// Takes one that is due at `now` and not stale; what it finds stale is gone.
    pub(crate) fn pop_due(&self, inside: &Inside, now: Nanos) -> Option<(GRef, Ticket)> {
        if self.earliest() > now {
            return None;
        }
        let mut heap = self.heap.lock(inside);
        let due = heap.pop_starved(now).or_else(|| heap.pop_due(now));
        self.publish(&heap);
        due.map(|e| (e.g, e.ticket))
    }

    /// One that was due at `now` found no stack. It is tried again a little later.
    pub(crate) fn starve(&self, inside: &Inside, now: Nanos, g: GRef, ticket: Ticket) {
        let mut heap = self.heap.lock(inside);
        heap.starved.push(Entry {
            when: now,
            g,
            ticket,
        });
        heap.retry_at = now + RETRY;
        self.publish(&heap);
    }

    fn publish(&self, heap: &Heap) {
        let when = heap.items.first().map_or(NEVER, |e| e.when);
        let when = match heap.starved.len() {
            0 => when,
            _ => when.min(heap.retry_at),
        };
        self.earliest.store(when, Ordering::Relaxed);
    }
}

const ARITY: usize = 4;

impl Heap {
    fn pop_starved(&mut self, now: Nanos) -> Option<Entry> {
        if self.retry_at > now {
            return None;
        }
        while let Some(first) = self.starved.pop() {
            if !first.is_stale() {
                return Some(first);
            }
        }
        None
    }

    fn pop_due(&mut self, now: Nanos) -> Option<Entry> {
        loop {
            let top = self.items.first().copied()?;
            if top.is_stale() {
                self.pop();
            } else if top.when > now {
                return None;
            } else {
                self.pop();
                self.prefetch_first();
                // Behind those that have found none. (Stale by now, perhaps; then that is seen
                // there.)
                if self.starved.len() == 0 || top.g.kind() != Kind::Later {
                    return Some(top);
                }
                self.starved.push(top);
            }
        }
    }

    /// Whoever comes next is looked at while the one before is woken: of many that sleep, no block
    /// is in a cache.
    fn prefetch_first(&self) {
        if let Some(first) = self.items.first() {
            prefetch::line(first.g.as_ptr());
        }
    }

    fn push(&mut self, e: Entry) {
        self.items.push(e);
        self.sift_up(self.items.len() - 1);
    }

    fn pop(&mut self) {
        let last = self.items.len() - 1;
        self.items.swap(0, last);
        self.items.truncate(last);
        if last > 0 {
            self.sift_down(0);
        }
    }

    fn sift_up(&mut self, mut i: usize) {
        while i > 0 {
            let parent = (i - 1) / ARITY;
            if self.items[parent].when <= self.items[i].when {
                break;
            }
            self.items.swap(parent, i);
            i = parent;
        }
    }

    fn sift_down(&mut self, mut i: usize) {
        let len = self.items.len();
        loop {
            let first = ARITY * i + 1;
            let last = (first + ARITY).min(len);
            let Some(least) = (first..last).min_by_key(|&c| self.items[c].when) else {
                return;
            };
            if self.items[i].when <= self.items[least].when {
                return;
            }
            self.items.swap(i, least);
            i = least;
        }
    }

    /// Drops what is stale and makes a heap of the rest (Floyd's method).
    fn sweep(&mut self) {
        let mut kept = 0;
        for i in 0..self.items.len() {
            if !self.items[i].is_stale() {
                self.items.swap(kept, i);
                kept += 1;
            }
        }
        self.items.truncate(kept);
        for i in (0..kept.div_ceil(ARITY)).rev() {
            self.sift_down(i);
        }
        self.sweep_at = (2 * kept).max(64);
    }
}
