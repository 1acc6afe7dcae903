//! A rate, and what it makes of durations and tokens.

use std::time::Duration;

/// How often something may happen, in events a second. Zero is never; see also
/// [`Limit::INF`].
///
/// ```
/// use goweft::rate::Limit;
/// use std::time::Duration;
///
/// assert_eq!(Limit::every(Duration::from_millis(100)), Limit::per_second(10.0));
/// assert_eq!(Limit(10.0), Limit::per_second(10.0));
/// ```
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Limit(
    /// Events a second.
    pub f64,
);

impl Limit {
    /// No limit: everything is allowed, whatever the burst is.
    #[doc(alias = "Inf")]
    pub const INF: Limit = Limit(f64::INFINITY);

    /// So many events a second.
    pub const fn per_second(events: f64) -> Limit {
        Limit(events)
    }

    /// One event each `interval`; for zero, [`Limit::INF`].
    #[doc(alias = "Every")]
    pub fn every(interval: Duration) -> Limit {
        match interval.is_zero() {
            true => Limit::INF,
            false => Limit(1.0 / interval.as_secs_f64()),
        }
    }

    pub(super) fn is_infinite(self) -> bool {
        self.0 == f64::INFINITY
    }

    /// The tokens that come in so many seconds: in none, none, also without a limit.
    pub(super) fn tokens_in(self, seconds: f64) -> f64 {
        if self.0 > 0.0 && seconds > 0.0 {
            seconds * self.0
        } else {
            0.0
        }
    }

    /// How long so many tokens take; None: for ever.
    pub(super) fn time_for(self, tokens: f64) -> Option<Duration> {
        if self.0 <= 0.0 {
            return None;
        }
        let nanos = tokens / self.0 * 1e9;
        // As much as Go's durations hold, 292 years. Not a number: no time.
        (nanos <= i64::MAX as f64).then(|| Duration::from_nanos(nanos as u64))
    }
}

impl From<f64> for Limit {
    /// Events a second.
    fn from(events: f64) -> Limit {
        Limit(events)
    }
}
