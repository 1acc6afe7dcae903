//! Making a poll that waits return: an eventfd, written at most once a wait.
//!
//! What always holds: a kick that happens before a waiting poll returns makes that poll or
//! the next waiting one return at once, and the poll that returns because of it sees
//! everything that the kicker did before.
//!
//! How it works:
//! 1. [`Flag::set`]: swap to true; only who changed it writes the eventfd.
//! 2. A waiting poll calls [`Flag::take`] first: if it was set, it does not wait.
//! 3. It calls `take` again when it has waited, whatever ended the wait.
//!
//! A poll that does not wait may harvest the eventfd's event but leaves the flag, so a kick
//! meant for a thread that is about to wait is not lost to it (step 2 finds it). The write
//! comes after the swap: a poll that cleared the flag in between is ended once more for
//! nothing, which does no harm.

use crate::sync::{AtomicBool, Ordering};

/// Whether a kick is on its way. Set by kickers, taken by waiting polls.
#[derive(Debug)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// True if the caller has to write the eventfd.
    #[must_use]
    pub(crate) fn set(&self) -> bool {
        // Not a load first: the swap is what makes the kicker's earlier stores visible to
        // the poll that takes the flag, also for a kicker that need not write. AcqRel.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// True if there was a kick; it is used up.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}
