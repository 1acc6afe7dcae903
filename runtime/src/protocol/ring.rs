//! The words of a bounded channel: who may use which slot, who has reserved
//! one, who waits.
//!
//! A ring after Vyukov: each slot has a stamp that says whose turn it is, and
//! the two ends are positions that grow. Here a position is a lap in the high
//! bits and an index in the low ones, so that a ring of any capacity needs no
//! division.
//!
//! ```text
//!        63      62       48 47                    0
//!      +--------+-----------+----------------------+
//! tail | CLOSED | reserved  | position             |
//!      +--------+-----------+----------------------+
//! head |    0   | reserved  | position             |
//!      +--------+-----------+----------------------+
//! ```
//!
//! A *reservation* is a credit, not a place: `reserved` in `tail` counts free
//! slots that somebody will fill later (a select arm whose value is still being
//! evaluated), `reserved` in `head` counts values that somebody will take
//! later. A commit takes the position that is next at that moment, so nobody
//! ever sees a slot that is half reserved. Because the count stands in the word
//! that the fast path swaps, taking a place validates it for nothing.
//!
//! What always holds, with `used` = tail - head:
//! - `used + tail.reserved <= capacity` and `used >= head.reserved`;
//! - after CLOSED is set `tail.position` never moves again;
//! - a slot's stamp is `p` when it is free for the push at position `p`, `p + 1`
//!   when it holds that value, `p + one_lap` after the value was taken.
//!
//! # The handshake with those who wait
//!
//! `waiting` counts the records in the channel's two queues. It is changed
//! under the channel's lock only.
//!
//! 1. Who takes a step that may let others go on (push, pop, commit, undo,
//!    close) changes `tail` or `head` first and reads `waiting` afterwards. If it
//!    sees the other side waiting it takes the lock and settles.
//! 2. Who is about to wait takes the lock, adds itself to `waiting` first, and
//!    tries `tail` and `head` again afterwards. Only then it is queued.
//!
//! All four accesses are SeqCst, so one of the two sees the other: if (1) reads
//! a `waiting` without (2), its read comes before (2)'s addition in the single
//! order, hence its change of the word comes before (2)'s second try, which
//! sees it. That the stamp may arrive later than the word does not matter: (2)
//! finds the word changed and waits the few instructions until the stamp is
//! there. (Loom knows SeqCst only of fences; there a fence stands between.)

use super::atomic::{AtomicU64, Ordering};
use super::spin::Spin;
use crossbeam_utils::CachePadded;

const CLOSED: u64 = 1 << 63;
const RESERVE: u64 = 1 << 48;
const RESERVED: u64 = CLOSED - RESERVE;
const POSITION: u64 = RESERVE - 1;

const RECEIVER: u64 = 1;
const SENDER: u64 = 1 << 32;

/// See the module. The slots are the caller's: `stamp_of(i)` finds their stamps.
pub(crate) struct Ring {
    head: CachePadded<AtomicU64>,
    tail: CachePadded<AtomicU64>,
    /// Senders in the high half, receivers in the low half.
    waiting: CachePadded<AtomicU64>,
    capacity: u64,
    one_lap: u64,
}

/// A slot that belongs to the caller until it [`release`](Place::release)s it.
#[must_use]
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) index: usize,
    after: u64,
}

impl Place {
    /// Lets the other end have the slot: publishes what was done with it.
    #[inline]
    pub(crate) fn release(self, stamp: &AtomicU64) {
        stamp.store(self.after, Ordering::Release);
    }
}

/// What a push, or a reservation of one, found.
#[must_use]
#[derive(Debug)]
pub(crate) enum Push<P = Place> {
    Ok(P),
    Full,
    Closed,
}

/// What a pop, or a reservation of one, found.
#[must_use]
#[derive(Debug)]
pub(crate) enum Pop<P = Place> {
    Ok(P),
    Empty,
    /// Empty for ever: closed, and nothing is reserved either.
    Drained,
}

/// Between the two halves of the handshake; see the module.
#[inline]
fn handshake() {
    #[cfg(loom)]
    super::atomic::fence(Ordering::SeqCst);
}

#[cfg_attr(loom, allow(dead_code, reason = "the models need some of it"))]
impl Ring {
    /// `capacity` is 1 to 2^32; slot `i`'s stamp starts as `i`.
    pub(crate) fn new(capacity: usize) -> Ring {
        let capacity = capacity as u64;
        debug_assert!((1..=1 << 32).contains(&capacity));
        Ring {
            head: CachePadded::new(AtomicU64::new(0)),
            tail: CachePadded::new(AtomicU64::new(0)),
            waiting: CachePadded::new(AtomicU64::new(0)),
            capacity,
            one_lap: (capacity + 1).next_power_of_two(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    #[inline]
    fn index(&self, word: u64) -> usize {
        (word & (self.one_lap - 1)) as usize
    }

    /// `word` with its position one further, all else as it is.
    #[inline]
    fn advanced(&self, word: u64) -> u64 {
        let position = word & POSITION;
        let next = if (position & (self.one_lap - 1)) + 1 < self.capacity {
            position + 1
        } else {
            (position & !(self.one_lap - 1)) + self.one_lap
        };
        (word & !POSITION) | (next & POSITION)
    }

    #[inline]
    fn next_lap(&self, word: u64) -> u64 {
        ((word & POSITION) + self.one_lap) & POSITION
    }

    /// Values between two words that were current at one moment.
    #[inline]
    fn used(&self, head: u64, tail: u64) -> u64 {
        let (h, t) = (head & (self.one_lap - 1), tail & (self.one_lap - 1));
        if (head ^ tail) & POSITION == 0 {
            0
        } else if h < t {
            t - h
        } else {
            self.capacity - h + t
        }
    }

    #[inline]
    fn reserved(word: u64) -> u64 {
        (word & RESERVED) / RESERVE
    }

    /// The free slots that nobody has reserved, or None when `tail` is no longer
    /// current. With `tail` current, the head cannot have passed it.
    #[inline]
    fn room(&self, tail: u64) -> Option<u64> {
        let head = self.head.load(Ordering::SeqCst);
        (self.tail.load(Ordering::SeqCst) == tail)
            .then(|| (self.capacity - self.used(head, tail)).saturating_sub(Ring::reserved(tail)))
    }

    /// The values that nobody has reserved, or None when `head` is no longer
    /// current.
    #[inline]
    fn available(&self, head: u64) -> Option<u64> {
        let tail = self.tail.load(Ordering::SeqCst);
        (self.head.load(Ordering::SeqCst) == head)
            .then(|| self.used(head, tail).saturating_sub(Ring::reserved(head)))
    }

    /// Takes the next free slot.
    #[inline]
    pub(crate) fn push<'a>(&self, stamp_of: impl Fn(usize) -> &'a AtomicU64) -> Push {
        let mut spin = Spin::new();
        loop {
            let tail = self.tail.load(Ordering::SeqCst);
            if tail & CLOSED != 0 {
                return Push::Closed;
            }
            let position = tail & POSITION;
            let index = self.index(tail);
            let stamp = stamp_of(index).load(Ordering::Acquire);
            if stamp == position {
                if tail & RESERVED != 0 {
                    match self.room(tail) {
                        Some(0) => return Push::Full,
                        Some(_) => {}
                        None => continue,
                    }
                }
                if self.tail_cas(tail, self.advanced(tail)) {
                    return Push::Ok(Place {
                        index,
                        after: position + 1,
                    });
                }
            } else {
                // The value of the lap before is there, or being taken. With
                // the head a lap behind it was full at the moment the head was
                // read: the tail is never further ahead.
                let head = self.head.load(Ordering::SeqCst);
                if self.next_lap(head) == position {
                    return Push::Full;
                }
                spin.wait();
            }
        }
    }

    /// Takes the next value's slot.
    #[inline]
    pub(crate) fn pop<'a>(&self, stamp_of: impl Fn(usize) -> &'a AtomicU64) -> Pop {
        let mut spin = Spin::new();
        loop {
            let head = self.head.load(Ordering::SeqCst);
            let position = head & POSITION;
            let index = self.index(head);
            let stamp = stamp_of(index).load(Ordering::Acquire);
            if stamp == position + 1 {
                if head & RESERVED != 0 {
                    match self.available(head) {
                        Some(0) => return Pop::Empty,
                        Some(_) => {}
                        None => continue,
                    }
                }
                if self.head_cas(head, self.advanced(head)) {
                    return Pop::Ok(Place {
                        index,
                        after: self.next_lap(position),
                    });
                }
            } else {
                // Nothing is there. With the two positions equal, it was empty
                // at the moment `tail` was read: the head never passes the tail.
                let tail = self.tail.load(Ordering::SeqCst);
                if (tail ^ head) & POSITION == 0 {
                    return if tail & CLOSED != 0 {
                        Pop::Drained
                    } else {
                        Pop::Empty
                    };
                }
                spin.wait();
            }
        }
    }

    /// Reserves a free slot, for one [`commit_push`](Self::commit_push) or
    /// [`undo_push`](Self::undo_push).
    pub(crate) fn reserve_push(&self) -> Push<()> {
        loop {
            let tail = self.tail.load(Ordering::SeqCst);
            if tail & CLOSED != 0 {
                return Push::Closed;
            }
            if tail & RESERVED == RESERVED {
                return Push::Full;
            }
            match self.room(tail) {
                Some(0) => return Push::Full,
                Some(_) if self.tail_cas(tail, tail + RESERVE) => return Push::Ok(()),
                _ => {}
            }
        }
    }

    /// Turns a reservation into a slot; None, and the reservation is gone, when
    /// the channel was closed since. Either way the caller settles.
    pub(crate) fn commit_push<'a>(
        &self,
        stamp_of: impl Fn(usize) -> &'a AtomicU64,
    ) -> Option<Place> {
        loop {
            let tail = self.tail.load(Ordering::SeqCst);
            debug_assert!(tail & RESERVED != 0);
            if tail & CLOSED != 0 {
                if self.tail_cas(tail, tail - RESERVE) {
                    return None;
                }
            } else if self.tail_cas(tail, self.advanced(tail) - RESERVE) {
                // The credit says that the head has passed this slot; who took
                // its value may still be copying.
                let place = Place {
                    index: self.index(tail),
                    after: (tail & POSITION) + 1,
                };
                let stamp = stamp_of(place.index);
                let mut spin = Spin::new();
                while stamp.load(Ordering::Acquire) != tail & POSITION {
                    spin.wait();
                }
                return Some(place);
            }
        }
    }

    /// Gives a reservation back. The caller settles.
    pub(crate) fn undo_push(&self) {
        self.tail.fetch_sub(RESERVE, Ordering::SeqCst);
        handshake();
    }

    /// Reserves a value, for one [`commit_pop`](Self::commit_pop) or
    /// [`undo_pop`](Self::undo_pop).
    pub(crate) fn reserve_pop(&self) -> Pop<()> {
        loop {
            let head = self.head.load(Ordering::SeqCst);
            if head & RESERVED == RESERVED {
                return Pop::Empty;
            }
            let tail = self.tail.load(Ordering::SeqCst);
            if (tail ^ head) & POSITION == 0 {
                return if tail & CLOSED != 0 {
                    Pop::Drained
                } else {
                    Pop::Empty
                };
            }
            match self.available(head) {
                Some(0) => return Pop::Empty,
                Some(_) if self.head_cas(head, head + RESERVE) => return Pop::Ok(()),
                _ => {}
            }
        }
    }

    /// Turns a reservation into the next value's slot. The caller settles.
    pub(crate) fn commit_pop<'a>(&self, stamp_of: impl Fn(usize) -> &'a AtomicU64) -> Place {
        loop {
            let head = self.head.load(Ordering::SeqCst);
            debug_assert!(head & RESERVED != 0);
            if self.head_cas(head, self.advanced(head) - RESERVE) {
                let position = head & POSITION;
                let place = Place {
                    index: self.index(head),
                    after: self.next_lap(position),
                };
                let stamp = stamp_of(place.index);
                let mut spin = Spin::new();
                while stamp.load(Ordering::Acquire) != position + 1 {
                    spin.wait();
                }
                return place;
            }
        }
    }

    /// Gives a reservation back. The caller settles.
    pub(crate) fn undo_pop(&self) {
        self.head.fetch_sub(RESERVE, Ordering::SeqCst);
        handshake();
    }

    /// Closes; true the first time. The caller settles.
    pub(crate) fn close(&self) -> bool {
        let before = self.tail.fetch_or(CLOSED, Ordering::SeqCst);
        handshake();
        before & CLOSED == 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.tail.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Values now.
    pub(crate) fn len(&self) -> usize {
        loop {
            let tail = self.tail.load(Ordering::SeqCst);
            let head = self.head.load(Ordering::SeqCst);
            if self.tail.load(Ordering::SeqCst) == tail {
                return self.used(head, tail) as usize;
            }
        }
    }

    /// Whether there is room now, also for a reservation.
    pub(crate) fn can_push(&self) -> bool {
        loop {
            let tail = self.tail.load(Ordering::SeqCst);
            if let Some(room) = self.room(tail) {
                return room > 0 && tail & RESERVED != RESERVED;
            }
        }
    }

    /// Whether a value is there now, also for a reservation.
    pub(crate) fn can_pop(&self) -> bool {
        loop {
            let head = self.head.load(Ordering::SeqCst);
            if let Some(available) = self.available(head) {
                return available > 0 && head & RESERVED != RESERVED;
            }
        }
    }

    #[inline]
    fn tail_cas(&self, from: u64, to: u64) -> bool {
        let ok = self
            .tail
            .compare_exchange_weak(from, to, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok();
        handshake();
        ok
    }

    #[inline]
    fn head_cas(&self, from: u64, to: u64) -> bool {
        let ok = self
            .head
            .compare_exchange_weak(from, to, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok();
        handshake();
        ok
    }

    /// Handshake 1: whether a receiver waits.
    #[inline]
    pub(crate) fn receivers_wait(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) & (SENDER - 1) != 0
    }

    /// Handshake 1: whether a sender waits.
    #[inline]
    pub(crate) fn senders_wait(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) >= SENDER
    }

    /// Handshake 2, under the channel's lock: one more of them, before its last
    /// try.
    pub(crate) fn begin_wait(&self, side: Side) {
        self.waiting.fetch_add(side.unit(), Ordering::SeqCst);
        handshake();
    }

    /// Under the channel's lock: one less.
    pub(crate) fn end_wait(&self, side: Side) {
        self.waiting.fetch_sub(side.unit(), Ordering::SeqCst);
    }
}

/// An end of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Send,
    Receive,
}

impl Side {
    fn unit(self) -> u64 {
        match self {
            Side::Send => SENDER,
            Side::Receive => RECEIVER,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Slots {
        ring: Ring,
        stamps: Vec<AtomicU64>,
    }

    impl Slots {
        fn new(capacity: usize) -> Slots {
            Slots {
                ring: Ring::new(capacity),
                stamps: (0..capacity as u64).map(AtomicU64::new).collect(),
            }
        }

        fn push(&self) -> Option<usize> {
            match self.ring.push(|i| &self.stamps[i]) {
                Push::Ok(place) => Some(self.release(place)),
                _ => None,
            }
        }

        fn pop(&self) -> Option<usize> {
            match self.ring.pop(|i| &self.stamps[i]) {
                Pop::Ok(place) => Some(self.release(place)),
                _ => None,
            }
        }

        fn release(&self, place: Place) -> usize {
            let index = place.index;
            place.release(&self.stamps[index]);
            index
        }
    }

    #[test]
    fn places_go_round_at_every_capacity() {
        for capacity in 1..20 {
            let slots = Slots::new(capacity);
            let (mut pushed, mut popped) = (0, 0);
            for round in 0..10 * capacity {
                // Fill, then take a number that drifts.
                while let Some(index) = slots.push() {
                    assert_eq!(index, pushed % capacity);
                    pushed += 1;
                    assert_eq!(slots.ring.len(), pushed - popped);
                }
                assert_eq!(slots.ring.len(), capacity);
                for _ in 0..=round % capacity {
                    assert_eq!(slots.pop(), Some(popped % capacity));
                    popped += 1;
                    assert_eq!(slots.ring.len(), pushed - popped);
                }
            }
        }
    }

    #[test]
    fn positions_wrap_around() {
        let slots = Slots::new(3);
        // Just before the last lap that 48 bits can count.
        let last_lap = POSITION & !(slots.ring.one_lap - 1);
        slots.ring.head.store(last_lap, Ordering::Relaxed);
        slots.ring.tail.store(last_lap, Ordering::Relaxed);
        for (i, stamp) in slots.stamps.iter().enumerate() {
            stamp.store(last_lap + i as u64, Ordering::Relaxed);
        }
        for round in 0..20 {
            assert_eq!(slots.push(), Some(round % 3));
            assert!(slots.ring.can_pop());
            assert_eq!(slots.pop(), Some(round % 3));
            assert_eq!(slots.pop(), None);
        }
        (0..3).for_each(|_| assert!(slots.push().is_some()));
        assert_eq!(slots.push(), None);
    }

    #[test]
    fn reservations_count_as_used() {
        let slots = Slots::new(3);
        assert!(slots.push().is_some());
        assert!(matches!(slots.ring.reserve_push(), Push::Ok(())));
        assert!(matches!(slots.ring.reserve_push(), Push::Ok(())));
        assert!(matches!(slots.ring.reserve_push(), Push::Full));
        assert!(slots.push().is_none() && !slots.ring.can_push());
        slots.ring.undo_push();
        assert!(slots.push().is_some());
        assert!(
            slots
                .ring
                .commit_push(|i| &slots.stamps[i])
                .map(|p| slots.release(p))
                .is_some()
        );
        assert_eq!(slots.ring.len(), 3);
        // And the same for values.
        assert!(matches!(slots.ring.reserve_pop(), Pop::Ok(())));
        assert!(slots.pop().is_some() && slots.pop().is_some());
        assert!(slots.pop().is_none() && !slots.ring.can_pop());
        assert!(
            slots.push().is_some(),
            "what is reserved takes no room beyond its own"
        );
        assert!(slots.ring.close());
        assert!(slots.pop().is_some());
        // Closed, but not drained: what is reserved may come back.
        assert!(matches!(slots.ring.pop(|i| &slots.stamps[i]), Pop::Empty));
        slots.ring.undo_pop();
        assert!(slots.pop().is_some());
        assert!(matches!(slots.ring.pop(|i| &slots.stamps[i]), Pop::Drained));
    }

    #[test]
    fn there_is_an_end_to_reservations() {
        let most = (RESERVED / RESERVE) as usize;
        let slots = Slots::new(most + 10);
        for _ in 0..most {
            assert!(matches!(slots.ring.reserve_push(), Push::Ok(())));
        }
        assert!(matches!(slots.ring.reserve_push(), Push::Full));
        assert!(
            !slots.ring.can_push(),
            "or a select would try again and again"
        );
        assert!(slots.push().is_some(), "a plain push needs no reservation");
        slots.ring.undo_push();
        assert!(slots.ring.can_push());
    }

    #[test]
    fn after_close_commits_fail() {
        let slots = Slots::new(1);
        assert!(matches!(slots.ring.reserve_push(), Push::Ok(())));
        assert!(slots.ring.close() && !slots.ring.close());
        assert!(slots.ring.commit_push(|i| &slots.stamps[i]).is_none());
        assert!(matches!(
            slots.ring.push(|i| &slots.stamps[i]),
            Push::Closed
        ));
        assert!(matches!(slots.ring.pop(|i| &slots.stamps[i]), Pop::Drained));
    }
}
