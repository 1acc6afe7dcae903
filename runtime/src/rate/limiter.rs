//! [`Limiter`]: the bucket.
//!
//! Nothing fills it in the background: `tokens` is how many there were at `last`, and
//! what has come since is added when somebody looks. It may be negative: those that
//! reserve take tokens that are still to come, and know when they will have.

use super::limit::Limit;
use super::reservation::Reservation;
use crate::channel::RecvTimeoutError;
use crate::context::{Context, ContextError};
use crate::lock::ShortLock;
use crate::sched::Inside;
use crate::time;
use std::error::Error;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

/// Limits how often something happens: a bucket of tokens. See the [module](super).
///
/// It can be shared: all methods take `&self`.
///
/// Methods with `_at` or `_n` take the moment for which they answer, for those that
/// keep a time of their own; the others use [`now`](crate::time::now). A moment
/// before one that was used earlier brings no tokens back and costs none.
///
/// The default limiter has neither a rate nor a burst and refuses everything.
///
/// ```
/// use goweft::rate::{Limit, Limiter};
///
/// let limiter = Limiter::new(Limit::per_second(0.001), 2);
/// let allowed = (0..5).filter(|_| limiter.allow()).count();
/// assert_eq!(allowed, 2);
/// ```
pub struct Limiter {
    bucket: ShortLock<Bucket>,
}

impl UnwindSafe for Limiter {}
impl RefUnwindSafe for Limiter {}

/// Under the lock.
pub(super) struct Bucket {
    pub(super) limit: Limit,
    pub(super) burst: usize,
    pub(super) tokens: f64,
    /// When there were so many tokens; None: no tokens have been taken yet.
    pub(super) last: Option<Instant>,
    /// The latest moment at which a reservation may act.
    pub(super) last_event: Option<Instant>,
}

/// How long somebody is ready to wait.
enum Patience {
    AtMost(Duration),
    Endless,
}

impl Limiter {
    /// A limiter that allows `limit` events a second, and up to `burst` at once: the
    /// bucket is full.
    #[doc(alias = "NewLimiter")]
    pub const fn new(limit: Limit, burst: usize) -> Limiter {
        Limiter {
            bucket: ShortLock::new(Bucket {
                limit,
                burst,
                tokens: burst as f64,
                last: None,
                last_event: None,
            }),
        }
    }

    /// Whether an event may happen now; if so it takes a token. Does not block.
    #[doc(alias = "Allow")]
    pub fn allow(&self) -> bool {
        self.allow_n(time::now(), 1)
    }

    /// Whether `n` events may happen at `t`; if so they take their tokens, if not they
    /// take none. Does not block.
    ///
    /// ```
    /// use goweft::rate::{Limit, Limiter};
    /// use std::time::{Duration, Instant};
    ///
    /// let limiter = Limiter::new(Limit::per_second(10.0), 5);
    /// let t = Instant::now();
    /// assert!(limiter.allow_n(t, 5));
    /// assert!(!limiter.allow_n(t, 1));
    /// assert!(limiter.allow_n(t + Duration::from_millis(200), 2));
    /// assert!(!limiter.allow_n(t + Duration::from_secs(9), 6), "more than the burst");
    /// ```
    #[doc(alias = "AllowN")]
    pub fn allow_n(&self, t: Instant, n: usize) -> bool {
        self.take(t, n, Patience::AtMost(Duration::ZERO)).ok()
    }

    /// Takes a token, perhaps one that is still to come, and says how long the event has
    /// to wait for it. Does not block.
    ///
    /// For those that wait by themselves. Use [`wait`](Self::wait) to wait here, and
    /// [`allow`](Self::allow) to drop what comes too often.
    ///
    /// ```
    /// use goweft::rate::{Limit, Limiter};
    /// use std::time::Duration;
    ///
    /// let limiter = Limiter::new(Limit::per_second(10.0), 1);
    /// assert_eq!(limiter.reserve().delay(), Duration::ZERO);
    /// let second = limiter.reserve();
    /// assert!(second.ok() && second.delay() > Duration::from_millis(50));
    /// ```
    #[doc(alias = "Reserve")]
    pub fn reserve(&self) -> Reservation<'_> {
        self.reserve_n(time::now(), 1)
    }

    /// As [`reserve`](Self::reserve), for `n` events at `t`. More than the burst can never be had:
    /// then the reservation is not [`ok`](Reservation::ok).
    #[doc(alias = "ReserveN")]
    pub fn reserve_n(&self, t: Instant, n: usize) -> Reservation<'_> {
        self.take(t, n, Patience::Endless)
    }

    /// Waits until an event may happen, which takes a token.
    ///
    /// # Errors
    /// As [`wait_n`](Self::wait_n).
    ///
    /// # Panics
    /// As [`wait_n`](Self::wait_n).
    #[doc(alias = "Wait")]
    pub fn wait(&self, ctx: &Context) -> Result<(), WaitError> {
        self.wait_n(ctx, 1)
    }

    /// Waits until `n` events may happen, which take their tokens. Those who wait go in
    /// the order in which they came.
    ///
    /// ```
    /// use goweft::context::Context;
    /// use goweft::rate::{Limit, Limiter, WaitError};
    /// use std::time::Duration;
    ///
    /// let limiter = Limiter::new(Limit::per_second(1.0), 3);
    /// let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(100));
    /// limiter.wait_n(&ctx, 3)?;
    /// // The next token comes in a second: too late, so this returns at once.
    /// assert_eq!(limiter.wait(&ctx), Err(WaitError::ExceedsDeadline { n: 1 }));
    /// # Ok::<(), WaitError>(())
    /// ```
    ///
    /// # Errors
    /// At once, when `n` is more than the burst, or the context would be done before the
    /// tokens are there; and when the context is done, then or while this
    /// waits. No tokens are taken then.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait. No tokens are
    /// taken then.
    #[doc(alias = "WaitN")]
    pub fn wait_n(&self, ctx: &Context, n: usize) -> Result<(), WaitError> {
        let t = time::now();
        let (limit, burst) = self.with_bucket(|bucket| (bucket.limit, bucket.burst));
        if n > burst && !limit.is_infinite() {
            return Err(WaitError::ExceedsBurst { n, burst });
        }
        ctx.check().map_err(WaitError::Done)?;
        let patience = match ctx.deadline() {
            Some(deadline) => Patience::AtMost(deadline.saturating_duration_since(t)),
            None => Patience::Endless,
        };
        let reservation = self.take(t, n, patience);
        if !reservation.ok() {
            return Err(WaitError::ExceedsDeadline { n });
        }
        let delay = reservation.delay_from(t);
        if delay.is_zero() {
            return Ok(());
        }
        if Inside::enter().must_not_wait() {
            // In `no_park`: no tokens are taken, and leaving panics.
            reservation.cancel();
            Inside::enter().refuses();
            return Ok(());
        }
        match ctx.done().recv_timeout(delay) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => {
                reservation.cancel();
                Err(WaitError::Done(ctx.err().unwrap_or(ContextError::Canceled)))
            }
        }
    }

    /// The tokens that are there now; negative, when some that are still to come have been
    /// reserved.
    #[doc(alias = "Tokens")]
    pub fn tokens(&self) -> f64 {
        self.tokens_at(time::now())
    }

    /// The tokens that are there at `t`.
    #[doc(alias = "TokensAt")]
    pub fn tokens_at(&self, t: Instant) -> f64 {
        self.with_bucket(|bucket| bucket.tokens_at(t))
    }

    /// Events a second.
    #[doc(alias = "Limit")]
    pub fn limit(&self) -> Limit {
        self.with_bucket(|bucket| bucket.limit)
    }

    /// Events at once.
    #[doc(alias = "Burst")]
    pub fn burst(&self) -> usize {
        self.with_bucket(|bucket| bucket.burst)
    }

    /// Changes the events a second from now on. Whoever waits already, or has
    /// reserved, is not affected.
    #[doc(alias = "SetLimit")]
    pub fn set_limit(&self, limit: Limit) {
        self.set_limit_at(time::now(), limit);
    }

    /// As [`set_limit`](Self::set_limit), from `t` on.
    #[doc(alias = "SetLimitAt")]
    pub fn set_limit_at(&self, t: Instant, limit: Limit) {
        self.with_bucket(|bucket| {
            bucket.tokens = bucket.tokens_at(t);
            bucket.last = Some(t);
            bucket.limit = limit;
        });
    }

    /// Changes the events at once from now on.
    #[doc(alias = "SetBurst")]
    pub fn set_burst(&self, burst: usize) {
        self.set_burst_at(time::now(), burst);
    }

    /// As [`set_burst`](Self::set_burst), from `t` on.
    #[doc(alias = "SetBurstAt")]
    pub fn set_burst_at(&self, t: Instant, burst: usize) {
        self.with_bucket(|bucket| {
            bucket.tokens = bucket.tokens_at(t);
            bucket.last = Some(t);
            bucket.burst = burst;
        });
    }

    pub(super) fn with_bucket<T>(&self, f: impl FnOnce(&mut Bucket) -> T) -> T {
        let inside = Inside::enter();
        f(&mut self.bucket.lock(&inside))
    }

    fn take(&self, t: Instant, n: usize, patience: Patience) -> Reservation<'_> {
        self.with_bucket(|bucket| {
            let limit = bucket.limit;
            if limit.is_infinite() {
                // It takes no tokens, and has none to give back.
                return Reservation::new(self, 0, Some(t), limit);
            }
            let tokens = bucket.tokens_at(t) - n as f64;
            let wait = match tokens < 0.0 {
                true => limit.time_for(-tokens),
                false => Some(Duration::ZERO),
            };
            let in_time = match patience {
                Patience::Endless => true,
                Patience::AtMost(d) => wait.is_some_and(|wait| wait <= d),
            };
            if n > bucket.burst || !in_time {
                return Reservation::refused(self);
            }
            let act_at = wait.and_then(|wait| t.checked_add(wait));
            bucket.last = Some(t);
            bucket.tokens = tokens;
            bucket.last_event = act_at;
            Reservation::new(self, n, act_at, limit)
        })
    }
}

impl Bucket {
    /// The tokens at `t`: what was there, and what has come since.
    pub(super) fn tokens_at(&self, t: Instant) -> f64 {
        let seconds = self
            .last
            .map_or(0.0, |last| t.saturating_duration_since(last).as_secs_f64());
        let tokens = self.tokens + self.limit.tokens_in(seconds);
        tokens.min(self.burst as f64)
    }
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter::new(Limit(0.0), 0)
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("limit", &self.limit())
            .field("burst", &self.burst())
            .field("tokens", &self.tokens())
            .finish()
    }
}

/// Why [`Limiter::wait`] did not wait, or not to the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// So many events are never allowed at once.
    ExceedsBurst {
        /// The events that were asked for.
        n: usize,
        /// The events that are allowed at once.
        burst: usize,
    },
    /// The tokens come after the context's deadline.
    ExceedsDeadline {
        /// The events that were asked for.
        n: usize,
    },
    /// The context is done.
    Done(ContextError),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::ExceedsBurst { n, burst } => {
                write!(f, "rate: wait(n={n}) exceeds limiter's burst {burst}")
            }
            WaitError::ExceedsDeadline { n } => {
                write!(f, "rate: wait(n={n}) would exceed context deadline")
            }
            WaitError::Done(e) => e.fmt(f),
        }
    }
}

impl Error for WaitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            WaitError::Done(e) => Some(e),
            _ => None,
        }
    }
}
