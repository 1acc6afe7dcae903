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
//! All zero (`Absent`) means that there is no runtime here: the table of Ms is
//! wiped in a forked child. `seq` grows by one at each acquisition, so that a
//! compare-and-swap that began with an older ownership fails.
//!
//! | transition | by | when |
//! |---|---|---|
//! | None -> Owns(p) | self | it holds p: from the idle set, or `next_p` |
//! | Owns/Pending -> None | self | inside: idle, hand-off, netpoll wait |
//! | Owns/Pending -> Stolen | self | `blocking()`: P is given away first-hand |
//! | Pending -> Owns | self, at enter | a theft is called off |
//! | Stolen -> None | self | enters, finds an idle P or leaves its goroutine |
//! | Stolen/None -> Waiting | self | a bound goroutine without a P |
//! | Waiting -> Claimed | whoever will wake it, exactly one | it holds a P for it |
//! | Claimed -> Owns(p) | self | woken with `next_p` |
//!
//! Owns -> Pending -> Stolen by the monitor (theft) needs nothing of the rest
//! of the runtime that is not here: every transition by self tolerates
//! Pending, and enter resolves it.
//!
//! Orderings: the CAS to Owns acquires, and every CAS away from Owns releases,
//! the data of the P; the claim is AcqRel so that `next_p`, written after it, is
//! the claimer's alone.

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

    #[inline]
    pub(crate) fn owns(self) -> bool {
        self.0 & STATE == State::Owns as u64
    }

    /// The P, when the machine owns one.
    pub(crate) fn owned_p(self) -> Option<usize> {
        matches!(self.state(), State::Owns | State::Pending)
            .then_some(((self.0 & P) >> P_SHIFT) as usize)
    }

    fn with(self, state: State) -> u64 {
        (self.0 & !STATE) | state as u64
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

    /// Absent -> None: a thread becomes this M.
    pub(crate) fn init(&self) {
        self.0.store(State::None as u64, Ordering::Release);
    }

    /// None or Claimed -> Owns(p). Nobody else writes in None; in Claimed the
    /// claimer is done with the word.
    pub(crate) fn own(&self, p: usize) {
        let w = self.0.load(Ordering::Relaxed);
        let next = ((w >> SEQ_SHIFT) + 1) << SEQ_SHIFT | (p as u64) << P_SHIFT | State::Owns as u64;
        let won = self
            .0
            .compare_exchange(w, next, Ordering::AcqRel, Ordering::Relaxed);
        assert!(
            won.is_ok() && matches!(Snapshot(w).state(), State::None | State::Claimed),
            "an M took a P while its word was somebody else's"
        );
    }

    /// Pending -> Owns at enter. False: the monitor was first, look again.
    #[cold]
    pub(crate) fn keep(&self, seen: Snapshot) -> bool {
        self.0
            .compare_exchange(
                seen.0,
                seen.with(State::Owns),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
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
        self.0
            .compare_exchange(
                seen.0,
                seen.with(State::None),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Stolen or None -> Waiting. False: look again.
    pub(crate) fn wait(&self, seen: Snapshot) -> bool {
        debug_assert!(matches!(seen.state(), State::Stolen | State::None));
        self.0
            .compare_exchange(
                seen.0,
                seen.with(State::Waiting),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Waiting -> Claimed: the caller, and nobody else, will wake this M.
    pub(crate) fn claim(&self) -> bool {
        let seen = self.load();
        seen.state() == State::Waiting
            && self
                .0
                .compare_exchange(
                    seen.0,
                    seen.with(State::Claimed),
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}
