//! Sleep and wake: nobody sleeps while there is work, and nobody is woken for
//! work that somebody already looks for (PROTOCOL 9).
//!
//! Two counters: idle Ps, and Ms that search for work.
//!
//! 1. A **submitter** publishes work in a queue, then [`wake_wanted`](Sleep::wake_wanted):
//!    SeqCst fence, and if a P is idle and nobody searches, it takes the only
//!    searcher's place (0 -> 1) and hands it to the M that it wakes.
//! 2. A **goer** that found nothing puts its P in the idle set, [`idle`](Sleep::idle), and drops
//!    searching: both before a SeqCst fence. Then it looks at every queue again, and whether
//!    anybody polls. When it sees work, or nobody who polls, it wakes itself; or another one, if it
//!    has been claimed by then, for it may have been for other work.
//! 3. A searcher that finds work leaves with [`found`](Sleep::found); the last one to leave
//!    wakes one more, because submitters relied on it.
//!
//! Argument: take one submission and one goer. Of their two fences one is
//! first in the total order of SeqCst fences. If the goer's is first, the
//! submitter's loads after its fence see the idle P and the dropped searcher:
//! it wakes somebody. If the submitter's is first, the goer's second look
//! comes after its own fence and sees the work. When the submitter is kept
//! from waking because somebody else searches, that searcher either finds
//! this work, or drops searching later than the submitter looked: then it is a
//! goer whose fence comes after the submitter's, and its second look sees it.

use super::atomic::{AtomicUsize, Ordering, fence};

/// See the module.
pub(crate) struct Sleep {
    idle: AtomicUsize,
    searching: AtomicUsize,
}

impl Sleep {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Sleep {
        Sleep {
            idle: AtomicUsize::new(0),
            searching: AtomicUsize::new(0),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Sleep {
        Sleep {
            idle: AtomicUsize::new(0),
            searching: AtomicUsize::new(0),
        }
    }

    /// How many Ps are idle; a hint without a fence.
    #[inline]
    pub(crate) fn idle_now(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// Whether anybody searches; a hint without a fence.
    #[inline]
    pub(crate) fn is_searched(&self) -> bool {
        self.searching.load(Ordering::Relaxed) != 0
    }

    /// Step 1. True: the caller must wake one M and make it a searcher, or call
    /// [`stop_searching`](Self::stop_searching) when it can't.
    #[inline]
    pub(crate) fn wake_wanted(&self) -> bool {
        fence(Ordering::SeqCst);
        self.idle.load(Ordering::Relaxed) != 0 && self.claim_search()
    }

    /// Step 1 in a signal handler, which wakes nobody itself. True: the caller must kick the
    /// monitor, which looks after it.
    #[must_use]
    pub(crate) fn monitor_wanted(&self) -> bool {
        fence(Ordering::SeqCst);
        self.idle.load(Ordering::Relaxed) != 0
    }

    #[inline]
    fn claim_search(&self) -> bool {
        self.searching.load(Ordering::Relaxed) == 0
            && self
                .searching
                .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// One more searcher, unless there are as many as half of the busy Ps.
    pub(crate) fn try_search(&self, procs: usize) -> bool {
        let idle = self.idle.load(Ordering::Relaxed);
        let searching = self.searching.load(Ordering::Relaxed);
        if 2 * searching >= procs.saturating_sub(idle) {
            return false;
        }
        self.searching.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// One more searcher, whatever their number.
    pub(crate) fn search(&self) {
        self.searching.fetch_add(1, Ordering::AcqRel);
    }

    /// Step 3. True: it was the last one, and wakes one more.
    pub(crate) fn found(&self) -> bool {
        self.searching.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// A wake that could not be carried out gives the searcher's place back.
    /// The caller looks again, or knows that somebody will.
    pub(crate) fn stop_searching(&self) {
        self.searching.fetch_sub(1, Ordering::AcqRel);
    }

    /// Step 2: the P is in the idle set (the caller holds the lock of the set).
    pub(crate) fn idle(&self) {
        self.idle.fetch_add(1, Ordering::AcqRel);
    }

    /// A P left the idle set (the caller holds the lock of the set).
    pub(crate) fn busy(&self) {
        self.idle.fetch_sub(1, Ordering::AcqRel);
    }

    /// Step 2, second half: drops searching and fences. The caller looks at
    /// every queue again after this.
    pub(crate) fn before_second_look(&self, searching: bool) {
        if searching {
            self.searching.fetch_sub(1, Ordering::AcqRel);
        }
        fence(Ordering::SeqCst);
    }
}
