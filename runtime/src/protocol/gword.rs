//! The word of a goroutine: its state and the ticket of its current wait.
//!
//! ```text
//! 63                                    4   3    2..0
//! +-------------------------------------+------+-------+
//! | ticket                              | HELD | state |
//! +-------------------------------------+------+-------+
//! ```
//!
//! A ticket names one wait of one control block. It grows by one at each
//! [`begin_park`](GWord::begin_park) and never returns to an earlier value, not
//! even when the block is recycled for another goroutine; so a waker that comes
//! late finds a ticket that is not its own and does nothing. That is why wait
//! records, timers and netpoll may hold `(block, ticket)` without owning
//! anything: blocks are type-stable and tickets are never reused.
//!
//! | transition | by | when |
//! |---|---|---|
//! | Dead -> Runnable | spawner | the closure is in the block |
//! | Dead -> Waiting, ticket + 1 | spawner | it is to begin later (`sched/later.rs`) |
//! | Runnable -> Running | the M that took it from a queue | before switching to it |
//! | Running -> Parking, ticket + 1 | itself | before it publishes a wait record |
//! | Parking -> Running | itself | it need not wait after all |
//! | Parking -> Notified | waker | the context is not complete yet |
//! | Parking -> Waiting | deferred action | the context is complete |
//! | Notified -> Runnable | deferred action, which enqueues it | |
//! | Waiting -> Runnable | waker, which enqueues it | |
//! | Waiting -> Waiting+Held | dumper | it walks the parked stack |
//! | Waiting+Held -> Notified+Held | waker | the dumper will enqueue it |
//! | Waiting+Held -> Waiting; Notified+Held -> Runnable | dumper | done |
//! | Running -> Dead | itself | it has ended |
//!
//! A thread that is no M waits with the same word; for it Runnable means "go
//! on", and enqueuing means waking its futex.
//!
//! Orderings: the deferred action publishes the saved context with Release in
//! Parking -> Waiting, and the waker acquires it with the CAS that makes the
//! goroutine runnable; queues carry it on to whoever runs it. Everything that
//! a waker wrote for the waiter (a value, a verdict) is released by the same CAS
//! and acquired by the waiter when it runs again.

use super::atomic::{AtomicU64, Ordering};

/// Names one wait of one control block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// The ticket as a plain number, to be carried through other crates.
    pub(crate) fn to_bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`to_bits`](Self::to_bits).
    pub(crate) fn from_bits(bits: u64) -> Ticket {
        Ticket(bits)
    }
}

const STATE: u64 = 0b0111;
const HELD: u64 = 0b1000;
const TICKET_SHIFT: u32 = 4;

/// What a goroutine is doing, as far as waking it is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum State {
    Dead = 0,
    Runnable = 1,
    Running = 2,
    Parking = 3,
    Notified = 4,
    Waiting = 5,
}

/// What [`GWord::ready`] found.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ready {
    /// It was waiting and is runnable now: the caller enqueues it.
    Enqueue,
    /// Somebody else will enqueue it (it is still leaving, or is held).
    Delivered,
    /// That wait is over: nothing happened.
    Stale,
}

/// What [`GWord::commit_park`] found.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Parked {
    Waiting,
    /// Woken while it was leaving; it is runnable now: the caller enqueues it.
    Notified,
}

/// See the module.
pub(crate) struct GWord(AtomicU64);

impl GWord {
    #[cfg(loom)]
    pub(crate) fn new() -> GWord {
        GWord(AtomicU64::new(State::Dead as u64))
    }

    /// State and ticket now; a snapshot for dumps and stale checks.
    pub(crate) fn load(&self) -> (State, Ticket) {
        let w = self.0.load(Ordering::Acquire);
        (state_of(w), Ticket(w >> TICKET_SHIFT))
    }

    /// Whether the wait that `ticket` names may still be woken.
    pub(crate) fn is_current(&self, ticket: Ticket) -> bool {
        let (state, now) = self.load();
        now == ticket && matches!(state, State::Parking | State::Waiting)
    }

    /// Sets a state that only the owner may set: nobody else writes in the
    /// state it leaves (Dead, Runnable once dequeued, Running), or what they
    /// write is void (Parking and Notified, by `cancel_park`).
    fn set(&self, state: State, order: Ordering) {
        let w = self.0.load(Ordering::Relaxed);
        self.0.store((w & !(STATE | HELD)) | state as u64, order);
    }

    /// Dead -> Runnable. The queue that the caller puts it on publishes it.
    pub(crate) fn spawn(&self) {
        self.set(State::Runnable, Ordering::Relaxed);
    }

    /// Dead -> Waiting with a new ticket, whose waker makes it begin. What is in
    /// the block is published with it.
    pub(crate) fn begin_later(&self) -> Ticket {
        let ticket = (self.0.load(Ordering::Relaxed) >> TICKET_SHIFT) + 1;
        self.0.store(
            (ticket << TICKET_SHIFT) | State::Waiting as u64,
            Ordering::Release,
        );
        Ticket(ticket)
    }

    /// Runnable -> Running, by whoever took it from a queue.
    pub(crate) fn start(&self) {
        self.set(State::Running, Ordering::Relaxed);
    }

    /// Running -> Runnable, by the deferred action of a yield, which enqueues it.
    pub(crate) fn yielded(&self) {
        self.set(State::Runnable, Ordering::Relaxed);
    }

    /// Running -> Dead.
    pub(crate) fn end(&self) {
        self.set(State::Dead, Ordering::Release);
    }

    /// Running -> Parking with a new ticket, which the caller publishes.
    pub(crate) fn begin_park(&self) -> Ticket {
        let ticket = (self.0.load(Ordering::Relaxed) >> TICKET_SHIFT) + 1;
        // Release for `Inside::ready_now`, which reads the ticket here.
        self.0.store(
            (ticket << TICKET_SHIFT) | State::Parking as u64,
            Ordering::Release,
        );
        Ticket(ticket)
    }

    /// Parking or Notified (or, for a thread, Waiting or Runnable) -> Running: the
    /// wait is over. A swap, because a waker may be at the word at this moment:
    /// if it was first, what it wrote for us is acquired here.
    pub(crate) fn cancel_park(&self) {
        let ticket = self.0.load(Ordering::Relaxed) >> TICKET_SHIFT;
        self.0.swap(
            (ticket << TICKET_SHIFT) | State::Running as u64,
            Ordering::AcqRel,
        );
    }

    /// Whether a waker came between `begin_park` and leaving.
    pub(crate) fn is_notified(&self) -> bool {
        state_of(self.0.load(Ordering::Acquire)) == State::Notified
    }

    /// Parking -> Waiting, or Notified -> Runnable. The deferred action of a
    /// park: the context is complete now.
    pub(crate) fn commit_park(&self) -> Parked {
        let mut w = self.0.load(Ordering::Relaxed);
        loop {
            let parking = (w & !STATE) | State::Parking as u64;
            let waiting = (w & !STATE) | State::Waiting as u64;
            // The compare-and-swap alone decides: it sees the latest value.
            match self
                .0
                .compare_exchange(parking, waiting, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Parked::Waiting,
                Err(now) if state_of(now) == State::Parking => w = now,
                // Only `ready` writes in Parking, and it leaves Notified.
                Err(_) => break,
            }
        }
        self.set(State::Runnable, Ordering::Relaxed);
        Parked::Notified
    }

    /// Ends the wait that `ticket` names, if it is still on.
    pub(crate) fn ready(&self, ticket: Ticket) -> Ready {
        let mut w = self.0.load(Ordering::Relaxed);
        loop {
            if w >> TICKET_SHIFT != ticket.0 {
                return Ready::Stale;
            }
            let (next, verdict) = match (state_of(w), w & HELD != 0) {
                (State::Waiting, false) => (State::Runnable as u64, Ready::Enqueue),
                (State::Waiting, true) => (State::Notified as u64 | HELD, Ready::Delivered),
                (State::Parking, _) => (State::Notified as u64, Ready::Delivered),
                _ => return Ready::Stale,
            };
            let next = (w & !(STATE | HELD)) | next;
            match self
                .0
                .compare_exchange_weak(w, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return verdict,
                Err(now) => w = now,
            }
        }
    }

    /// Waiting -> Waiting+Held: nobody resumes it while its stack is walked.
    #[allow(
        dead_code,
        reason = "the dump of goroutines, which takes it, comes later"
    )]
    pub(crate) fn hold(&self) -> bool {
        let w = self.0.load(Ordering::Relaxed);
        state_of(w) == State::Waiting
            && w & HELD == 0
            && self
                .0
                .compare_exchange(w, w | HELD, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Ends a [`hold`](Self::hold). Notified: the caller enqueues it.
    #[allow(
        dead_code,
        reason = "the dump of goroutines, which takes it, comes later"
    )]
    pub(crate) fn release(&self) -> Parked {
        let w = self.0.load(Ordering::Relaxed);
        if state_of(w) == State::Waiting
            && self
                .0
                .compare_exchange(w, w & !HELD, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        {
            return Parked::Waiting;
        }
        let _ = self.0.load(Ordering::Acquire);
        self.set(State::Runnable, Ordering::Relaxed);
        Parked::Notified
    }

    /// For a thread about to sleep: what its futex must hold, while it is to wait. It is read with
    /// the whole word, because accesses of two sizes to one place are not ordered by
    /// the memory model.
    pub(crate) fn asleep_value(&self) -> Option<u32> {
        let w = self.0.load(Ordering::Acquire);
        (state_of(w) == State::Waiting).then_some(w as u32)
    }

    /// The half of the word that a waiting thread's futex sleeps on: state and
    /// the low bits of the ticket. For the kernel only.
    #[cfg(not(loom))]
    pub(crate) fn futex(&self) -> &std::sync::atomic::AtomicU32 {
        let low = if cfg!(target_endian = "little") { 0 } else { 1 };
        // SAFETY: an AtomicU64 is eight readable bytes for as long as `self`
        // lives, both halves are aligned for an AtomicU32, and the futex only
        // compares the half that changes with every transition.
        unsafe {
            &*std::ptr::from_ref(&self.0)
                .cast::<std::sync::atomic::AtomicU32>()
                .add(low)
        }
    }
}

fn state_of(w: u64) -> State {
    match w & STATE {
        0 => State::Dead,
        1 => State::Runnable,
        2 => State::Running,
        3 => State::Parking,
        4 => State::Notified,
        _ => State::Waiting,
    }
}
