//! The word of a machine: whether it owns a P, which, and for the how manieth
//! time.
//!
//! ```text
//! 63                        24 23        8  7..0
//! +---------------------------+------------+-------+
//! | seq                       | P          | state |
//! +---------------------------+------------+-------+
//! ```
//!
//! State 0 (`Absent`) means that there is no runtime here: the table of Ms is
//! wiped in a forked child. `seq` grows by one at each acquisition, so that a
//! compare-and-swap that began with an older ownership fails.
//!
//! | transition | by | when |
//! |---|---|---|
//! | Absent -> None; None -> Absent | the maker of threads; self | a thread begins; it ends |
//! | None -> Owns(p) | self | it holds p: from the idle set, or `next_p` |
//! | Owns/Pending -> None | self | inside: idle, hand-off, netpoll wait |
//! | Owns/Pending -> Stolen | self | `blocking()`: P is given away first-hand |
//! | Pending -> Owns | self, at enter | a theft is called off |
//! | Stolen -> None | self | enters, finds an idle P or leaves its goroutine |
//! | Owns -> Pending | monitor | a theft begins |
//! | Pending -> Owns | monitor | it is called off: the thread is inside |
//! | Pending -> Stolen | monitor | after the heavy barrier the thread is outside |
//! | Stolen -> Owns(p) | monitor | a P is given back in place |
//! | Stolen/None -> Waiting | self | a bound goroutine without a P; the handler |
//! | Waiting -> Claimed | whoever will wake it, exactly one | it holds a P for it, or rescue |
//! | Claimed -> Owns(p) | self | woken with `next_p` |
//! | Claimed -> Stolen | self | woken without: rescue |
//!
//! A CAS that fails means that somebody else was first: reload, never wait for
//! the other side. Every transition by self tolerates Pending, and enter
//! resolves it.
//!
//! Orderings: the CAS to Owns acquires, and every CAS away from Owns releases,
//! the data of the P; the claim is AcqRel so that `next_p`, written after it, is
//! the claimer's alone. A theft acquires the data through `rt` (`rt.rs`): the thread
//! that is robbed does not take part in the CAS.

use super::atomic::{AtomicU64, Ordering};

/// What a machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Absent = 0,
    None = 1,
    Owns = 2,
    Pending = 3,
    Stolen = 4,
    Waiting = 5,
    Claimed = 6,
}

const P_SHIFT: u32 = 8;
const SEQ_SHIFT: u32 = 24;
const STATE: u64 = 0xff;
const P: u64 = 0xffff << P_SHIFT;

/// One look at the word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

impl Snapshot {
    /// All of it: no two ownerships of an M have the same bits, and Stolen has
    /// the same again only when rescue released it without a P.
    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Absent,
            1 => State::None,
            2 => State::Owns,
            3 => State::Pending,
            4 => State::Stolen,
            5 => State::Waiting,
            _ => State::Claimed,
        }
    }

    /// The P, when the machine owns one.
    pub(crate) fn owned_p(self) -> Option<usize> {
        matches!(self.state(), State::Owns | State::Pending)
            .then_some(((self.0 & P) >> P_SHIFT) as usize)
    }

    fn with(self, state: State) -> u64 {
        (self.0 & !STATE) | state as u64
    }

    /// The next ownership.
    fn owning(self, p: usize) -> Snapshot {
        let seq = ((self.0 >> SEQ_SHIFT) + 1) << SEQ_SHIFT;
        Snapshot(seq | (p as u64) << P_SHIFT | State::Owns as u64)
    }
}

/// See the module.
pub(crate) struct MWord(AtomicU64);

impl MWord {
    #[cfg(loom)]
    pub(crate) fn new() -> MWord {
        MWord(AtomicU64::new(State::None as u64))
    }

    #[inline]
    pub(crate) fn load(&self) -> Snapshot {
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Absent -> None: a thread becomes this M. `seq` goes on where the slot's last
    /// thread left it.
    pub(crate) fn init(&self) {
        self.set_unowned(State::None);
    }

    /// None -> Absent: there will be no thread, or it has ended.
    pub(crate) fn uninit(&self) {
        self.set_unowned(State::Absent);
    }

    /// A store: nobody else writes in None or Absent.
    fn set_unowned(&self, state: State) {
        let seen = self.load();
        debug_assert!(matches!(seen.state(), State::None | State::Absent));
        self.0.store(seen.with(state) & !P, Ordering::Release);
    }

    /// None or Claimed -> Owns(p). Nobody else writes in None; in Claimed the
    /// claimer is done with the word. Returns the word now.
    pub(crate) fn own(&self, p: usize) -> Snapshot {
        let seen = self.load();
        let next = seen.owning(p);
        let won = self.cas(seen, next.0);
        assert!(
            won && matches!(seen.state(), State::None | State::Claimed),
            "an M took a P while its word was somebody else's"
        );
        next
    }

    fn cas(&self, seen: Snapshot, next: u64) -> bool {
        self.0
            .compare_exchange(seen.0, next, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Owns -> Pending, by the monitor. None: the thread was first. The heavy barrier
    /// and a look at `rt` come next, then [`rob`](Self::rob) or [`keep`](Self::keep).
    #[must_use]
    pub(crate) fn pend(&self, seen: Snapshot) -> Option<Snapshot> {
        let next = Snapshot(seen.with(State::Pending));
        (seen.state() == State::Owns && self.cas(seen, next.0)).then_some(next)
    }

    /// Pending -> Stolen, by the monitor, which saw the thread outside after the barrier: the
    /// P is the caller's. None: the thread has entered and kept it.
    #[must_use]
    pub(crate) fn rob(&self, pending: Snapshot) -> Option<Snapshot> {
        let next = Snapshot(pending.with(State::Stolen) & !P);
        self.cas(pending, next.0).then_some(next)
    }

    /// Stolen -> Owns(p), by the monitor, which holds p. False: the thread was first,
    /// and p is still the caller's.
    #[must_use]
    pub(crate) fn give_back(&self, stolen: Snapshot, p: usize) -> bool {
        debug_assert_eq!(stolen.state(), State::Stolen);
        self.cas(stolen, stolen.owning(p).0)
    }

    /// Claimed -> Stolen: woken without a P.
    pub(crate) fn release(&self) {
        let seen = self.load();
        debug_assert_eq!(seen.state(), State::Claimed);
        let won = self.cas(seen, seen.with(State::Stolen));
        debug_assert!(won);
    }

    /// Pending -> Owns: at enter, or by the monitor. False: the other side was first.
    #[cold]
    pub(crate) fn keep(&self, seen: Snapshot) -> bool {
        self.cas(seen, seen.with(State::Owns))
    }

    /// Owns or Pending -> None. The caller is inside, so no theft completes.
    pub(crate) fn disown(&self) {
        self.leave_to(State::None);
    }

    /// Owns or Pending -> Stolen: the caller gives its P away first-hand.
    pub(crate) fn lend(&self) {
        self.leave_to(State::Stolen);
    }

    fn leave_to(&self, state: State) {
        let mut w = self.load();
        loop {
            debug_assert!(matches!(w.state(), State::Owns | State::Pending));
            let next = (w.with(state)) & !P;
            match self
                .0
                .compare_exchange_weak(w.0, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return,
                Err(now) => w = Snapshot(now),
            }
        }
    }

    /// Stolen -> None. False: the P was given back in place, look again.
    pub(crate) fn forget(&self, seen: Snapshot) -> bool {
        self.cas(seen, seen.with(State::None))
    }

    /// Stolen or None -> Waiting. False: look again.
    pub(crate) fn wait(&self, seen: Snapshot) -> bool {
        debug_assert!(matches!(seen.state(), State::Stolen | State::None));
        self.cas(seen, seen.with(State::Waiting))
    }

    /// Waiting -> Claimed: the caller, and nobody else, will wake this M.
    pub(crate) fn claim(&self) -> bool {
        let seen = self.load();
        seen.state() == State::Waiting && self.cas(seen, seen.with(State::Claimed))
    }
}
