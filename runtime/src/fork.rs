//! What a forked child is told: it has one thread and none of the runtime's.
//!
//! An M finds that by its word, which is wiped on fork. Other threads would wait
//! for ever for Ms that are not there, or for a lock that one of them held; so they
//! look here before they wait.

use crate::abort;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set in a child that was forked while the runtime was up.
static FORKED: AtomicBool = AtomicBool::new(false);

/// By the forked child's only thread.
pub(crate) fn mark() {
    FORKED.store(true, Ordering::Relaxed);
}

/// Aborts in a forked child.
pub(crate) fn refuse() {
    if FORKED.load(Ordering::Relaxed) {
        fatal();
    }
}

/// Says so, and aborts.
#[cold]
pub(crate) fn fatal() -> ! {
    abort::fatal(
        "this process was forked from one in which goweft was running; \
         a forked child can use exec only",
    )
}
