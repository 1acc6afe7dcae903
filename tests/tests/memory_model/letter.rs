//! What is passed: relaxed on both sides, so that only the step under test can order it.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one side writes and the other reads, in two cache lines, and nothing orders.
#[derive(Default)]
pub(super) struct Letter {
    first: AtomicU64,
    _between: [u64; 16],
    second: AtomicU64,
}

impl Letter {
    pub(super) fn write(&self, n: u64) {
        self.first.store(n, Ordering::Relaxed);
        self.second.store(!n, Ordering::Relaxed);
    }

    #[track_caller]
    pub(super) fn expect(&self, n: u64) {
        let second = self.second.load(Ordering::Relaxed);
        let first = self.first.load(Ordering::Relaxed);
        assert_eq!((first, second), (n, !n), "what was written before");
    }
}
