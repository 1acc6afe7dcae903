//! Which case of a select was chosen: the word that all its wait records share.
//!
//! | from | to | by | when |
//! |---|---|---|---|
//! | OPEN | BUSY | a partner, under its channel's lock | it claims a record |
//! | BUSY | a case | the same | it has given that record its verdict |
//! | BUSY | OPEN | the same | there was nothing to do: the claim is taken back |
//! | OPEN | ABORTED | the owner | its deadline, or it saw that a case had become ready |
//! | any but BUSY | OPEN | the owner | no record is linked: it waits anew |
//!
//! Whoever meets BUSY waits for what comes of it. So a claim that is taken back has sent nobody on
//! to the next record, and the owner leaves only when it knows the outcome.
//!
//! Orderings: a case is stored with Release, as the last touch of anything of the owner's, and
//! the owner acquires it: the verdict, the value, and all that was done before are there, and
//! nobody reads the owner's records any more except those that find them in a queue. These fail to
//! claim, and the owner unlinks each of them under its queue's lock before it leaves. OPEN is set
//! by the owner before it links, so the queues' locks publish that.

use super::atomic::{AtomicU32, Ordering};
use super::spin::Spin;

const OPEN: u32 = 0;
const BUSY: u32 = u32::MAX;
const ABORTED: u32 = u32::MAX - 1;

/// See the module.
pub(crate) struct Choice(AtomicU32);

impl Choice {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Choice {
        Choice(AtomicU32::new(OPEN))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Choice {
        Choice(AtomicU32::new(OPEN))
    }

    /// Open again; by the owner, while no record is linked.
    pub(crate) fn reset(&self) {
        self.0.store(OPEN, Ordering::Relaxed);
    }

    /// By the owner: the case that was chosen, if one was.
    pub(crate) fn chosen(&self) -> Option<usize> {
        match self.settled() {
            OPEN | ABORTED => None,
            n => Some(n as usize - 1),
        }
    }

    /// The owner calls the wait off. Fails when a case was chosen.
    pub(crate) fn abort(&self) -> bool {
        self.swap(ABORTED)
    }

    /// By a partner. True is followed by [`choose`](Self::choose) or [`revert`](Self::revert),
    /// without parking. False: the select has chosen otherwise, or was called off.
    pub(crate) fn claim(&self) -> bool {
        self.swap(BUSY)
    }

    /// By the claimer: takes the claim back. A plain store, since nobody else writes over BUSY.
    pub(crate) fn revert(&self) {
        self.0.store(OPEN, Ordering::Release);
    }

    /// By the claimer: case `case` it is. The owner may leave at once. A plain store, as in
    /// `revert`.
    pub(crate) fn choose(&self, case: u32) {
        self.0.store(case + 1, Ordering::Release);
    }

    fn swap(&self, to: u32) -> bool {
        loop {
            match self
                .0
                .compare_exchange(OPEN, to, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(BUSY) => _ = self.settled(),
                Err(_) => return false,
            }
        }
    }

    fn settled(&self) -> u32 {
        let mut spin = Spin::new();
        loop {
            match self.0.load(Ordering::Acquire) {
                BUSY => spin.wait(),
                n => return n,
            }
        }
    }
}
