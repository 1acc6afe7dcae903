//! [`Reservation`]: tokens that were taken ahead of their time.

use super::limit::Limit;
use super::limiter::{Bucket, Limiter};
use crate::time;
use std::fmt;
use std::time::{Duration, Instant};

/// What a [`Limiter`] has promised: that events may happen after a delay.
///
/// Dropping it keeps the promise; [`cancel`](Self::cancel) gives it back.
///
/// ```
/// use goweft::rate::{Limit, Limiter};
/// use goweft::time;
///
/// let limiter = Limiter::new(Limit::per_second(500.0), 1);
/// for _ in 0..3 {
///     let turn = limiter.reserve();
///     time::sleep(turn.delay());
///     // the event
/// }
/// ```
#[must_use = "it says how long to wait"]
pub struct Reservation<'a> {
    limiter: &'a Limiter,
    /// None: it was refused.
    promise: Option<Promise>,
}

struct Promise {
    tokens: usize,
    /// None: never.
    act_at: Option<Instant>,
    /// The rate when it was made; that of the limiter may change.
    limit: Limit,
}

impl<'a> Reservation<'a> {
    pub(super) fn new(
        limiter: &'a Limiter,
        tokens: usize,
        act_at: Option<Instant>,
        limit: Limit,
    ) -> Reservation<'a> {
        Reservation {
            limiter,
            promise: Some(Promise {
                tokens,
                act_at,
                limit,
            }),
        }
    }

    pub(super) fn refused(limiter: &'a Limiter) -> Reservation<'a> {
        Reservation {
            limiter,
            promise: None,
        }
    }

    /// Whether the events can happen at all: they are not more than the burst.
    #[doc(alias = "OK")]
    pub fn ok(&self) -> bool {
        self.promise.is_some()
    }

    /// How long the events have to wait from now on. [`Duration::MAX`]: they cannot happen, or
    /// only in centuries.
    #[doc(alias = "Delay")]
    #[doc(alias = "InfDuration")]
    pub fn delay(&self) -> Duration {
        self.delay_from(time::now())
    }

    /// How long the events have to wait from `t` on.
    #[doc(alias = "DelayFrom")]
    pub fn delay_from(&self, t: Instant) -> Duration {
        match self.promise.as_ref().and_then(|promise| promise.act_at) {
            Some(act_at) => act_at.saturating_duration_since(t),
            None => Duration::MAX,
        }
    }

    /// The events will not happen: gives back what tokens can still be given back. Those that
    /// others have reserved since depend on their order, and stay taken. What was reserved
    /// while there was no limit took none.
    ///
    /// ```
    /// use goweft::rate::{Limit, Limiter};
    ///
    /// let limiter = Limiter::new(Limit::per_second(0.001), 1);
    /// assert!(limiter.allow());
    /// let later = limiter.reserve();
    /// later.cancel();
    /// assert!(limiter.tokens() >= 0.0);
    /// ```
    #[doc(alias = "Cancel")]
    pub fn cancel(self) {
        self.cancel_at(time::now());
    }

    /// As [`cancel`](Self::cancel), at `t`. When the events may have happened by
    /// then, nothing is given back.
    #[doc(alias = "CancelAt")]
    pub fn cancel_at(self, t: Instant) {
        if let Some(promise) = self.promise {
            self.limiter.with_bucket(|bucket| promise.undo(bucket, t));
        }
    }
}

impl Promise {
    fn undo(&self, bucket: &mut Bucket, t: Instant) {
        let Some(act_at) = self.act_at else {
            // For ever is not taken from anybody: only what is negative is given back.
            bucket.tokens = (bucket.tokens_at(t) + self.tokens as f64).min(bucket.burst as f64);
            bucket.last = Some(t);
            return;
        };
        if bucket.limit.is_infinite() || self.tokens == 0 || act_at < t {
            return;
        }
        // What was reserved after this one, by the time it takes.
        let after = match bucket.last_event {
            Some(last) => self
                .limit
                .tokens_in(last.saturating_duration_since(act_at).as_secs_f64()),
            None => 0.0,
        };
        let restored = self.tokens as f64 - after;
        if restored <= 0.0 {
            return;
        }
        bucket.tokens = (bucket.tokens_at(t) + restored).min(bucket.burst as f64);
        bucket.last = Some(t);
        if bucket.last_event == Some(act_at) {
            // It was the last one: the one before is, if that is still to come.
            let before = self
                .limit
                .time_for(self.tokens as f64)
                .and_then(|took| act_at.checked_sub(took));
            if let Some(before) = before
                && before >= t
            {
                bucket.last_event = Some(before);
            }
        }
    }
}

impl fmt::Debug for Reservation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("ok", &self.ok())
            .field("delay", &self.delay())
            .finish()
    }
}
