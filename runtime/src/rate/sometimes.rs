//! [`Sometimes`]: not each time.

use crate::sync::Mutex;
use crate::time;
use std::fmt;
use std::time::{Duration, Instant};

/// Does something sometimes: the first times, every so often, or when some time has
/// passed.
///
/// The conditions add up; the first call always does it. Without any condition that is the
/// only one.
///
/// ```
/// use goweft::rate::Sometimes;
/// use std::time::Duration;
///
/// static LOG: Sometimes = Sometimes::new().first(2).every(10);
///
/// let mut logged = vec![];
/// for n in 0..25 {
///     LOG.run(|| logged.push(n));
/// }
/// assert_eq!(logged, [0, 1, 10, 20]);
/// ```
pub struct Sometimes {
    first: u64,
    every: u64,
    interval: Duration,
    state: Mutex<State>,
}

struct State {
    calls: u64,
    /// When it was last done, if there is an interval.
    last: Option<Instant>,
}

impl Sometimes {
    /// The first time only.
    pub const fn new() -> Sometimes {
        Sometimes {
            first: 0,
            every: 0,
            interval: Duration::ZERO,
            state: Mutex::new(State {
                calls: 0,
                last: None,
            }),
        }
    }

    /// Also the first `n` times.
    #[doc(alias = "First")]
    #[must_use]
    pub const fn first(mut self, n: u64) -> Sometimes {
        self.first = n;
        self
    }

    /// Also every `n`-th time, counted from the first; 0 is not.
    #[doc(alias = "Every")]
    #[must_use]
    pub const fn every(mut self, n: u64) -> Sometimes {
        self.every = n;
        self
    }

    /// Also when it was not done for `interval`; zero is not.
    #[doc(alias = "Interval")]
    #[must_use]
    pub const fn interval(mut self, interval: Duration) -> Sometimes {
        self.interval = interval;
        self
    }

    /// Calls `f` if it is time to.
    ///
    /// Others that call this wait for `f` to return; `f` must not call it itself: it
    /// would wait for ever, as in Go.
    ///
    /// # Panics
    /// When `f` does; and in [`no_park`](crate::no_park), when it has to wait for others.
    #[doc(alias = "Do")]
    pub fn run<F: FnOnce()>(&self, f: F) {
        let mut state = self.state.lock();
        let calls = state.calls;
        let overdue = || match state.last {
            Some(last) => time::since(last) >= self.interval,
            None => true,
        };
        let now = calls == 0
            || calls < self.first
            || (self.every > 0 && calls.is_multiple_of(self.every))
            || (!self.interval.is_zero() && overdue());
        state.calls += 1;
        if now {
            f();
            if !self.interval.is_zero() {
                state.last = Some(time::now());
            }
        }
    }
}

impl Default for Sometimes {
    fn default() -> Sometimes {
        Sometimes::new()
    }
}

impl fmt::Debug for Sometimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sometimes")
            .field("first", &self.first)
            .field("every", &self.every)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}
