//! `Timer` and `Ticker`: a channel of ticks that can be stopped and set again.

use crate::channel::timer::Channel;
use crate::channel::{Receiver, ticks};
use crate::clock::{self, NEVER, Nanos};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Delivers the time once, on its [`channel`](Timer::channel).
///
/// What it delivers is the time at which it was due. As in Go since 1.23 nothing
/// stale is ever received: after [`stop`](Timer::stop) or [`reset`](Timer::reset) a
/// tick that was due, but not received, is gone.
///
/// # Examples
///
/// ```
/// use goweft::{select, time::Timer};
/// use std::time::Duration;
///
/// let idle = Timer::new(Duration::from_millis(10));
/// let (tx, rx) = goweft::channel::unbounded();
/// tx.send("request").unwrap();
/// let mut requests = 0;
/// loop {
///     select! {
///         recv(rx) -> _ => {
///             requests += 1;
///             idle.reset(Duration::from_millis(10));
///         }
///         recv(idle.channel()) -> _ => break,
///     }
/// }
/// assert_eq!(requests, 1);
/// ```
pub struct Timer {
    core: Arc<Channel>,
    channel: Receiver<Instant>,
}

impl Timer {
    /// A timer that is due in `duration`.
    #[doc(alias = "NewTimer")]
    pub fn new(duration: Duration) -> Timer {
        let core = Arc::new(Channel::new(clock::after(duration), 0));
        Timer {
            channel: ticks(core.clone()),
            core,
        }
    }

    /// Where the tick is received.
    #[doc(alias = "C")]
    pub fn channel(&self) -> &Receiver<Instant> {
        &self.channel
    }

    /// Stops it. True: this prevented the tick from being received; false: it
    /// was received already, or the timer is stopped.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::time::Timer;
    /// use std::time::Duration;
    ///
    /// let timer = Timer::new(Duration::ZERO); // due at once
    /// assert!(timer.stop()); // but nobody had received it
    /// assert!(timer.channel().try_recv().is_err());
    /// assert!(!timer.stop());
    /// ```
    pub fn stop(&self) -> bool {
        self.core.set(NEVER, 0)
    }

    /// Sets it to be due in `duration` from now. True: it was still to be
    /// received, which will not happen any more.
    pub fn reset(&self, duration: Duration) -> bool {
        self.core.set(clock::after(duration), 0)
    }
}

/// Delivers the time again and again, on its [`channel`](Ticker::channel).
///
/// A slow receiver misses ticks: at most one is kept, and the next one comes when
/// it would have come anyway.
///
/// # Examples
///
/// ```
/// use goweft::time::Ticker;
/// use std::time::Duration;
///
/// let ticker = Ticker::new(Duration::from_millis(1));
/// for _ in 0..3 {
///     ticker.channel().recv()?;
/// }
/// assert!(ticker.stop());
/// # Ok::<(), goweft::channel::RecvError>(())
/// ```
pub struct Ticker {
    core: Arc<Channel>,
    channel: Receiver<Instant>,
}

impl Ticker {
    /// A ticker that ticks each `period`, for the first time one `period` from
    /// now.
    ///
    /// # Panics
    /// When `period` is zero: `time: non-positive interval for Ticker::new`.
    #[doc(alias = "NewTicker")]
    pub fn new(period: Duration) -> Ticker {
        let period = positive(period, "new");
        let core = Arc::new(Channel::new(clock::now().saturating_add(period), period));
        Ticker {
            channel: ticks(core.clone()),
            core,
        }
    }

    /// Where the ticks are received.
    #[doc(alias = "C")]
    pub fn channel(&self) -> &Receiver<Instant> {
        &self.channel
    }

    /// Stops it; the channel stays open. True: it was ticking.
    pub fn stop(&self) -> bool {
        self.core.set(NEVER, 0)
    }

    /// Lets it tick each `period` from now on. True: it was ticking.
    ///
    /// # Panics
    /// When `period` is zero: `time: non-positive interval for Ticker::reset`.
    pub fn reset(&self, period: Duration) -> bool {
        let period = positive(period, "reset");
        self.core.set(clock::now().saturating_add(period), period)
    }
}

/// # Panics
/// When it is not.
#[track_caller]
fn positive(period: Duration, what: &str) -> Nanos {
    assert!(
        !period.is_zero(),
        "time: non-positive interval for Ticker::{what}"
    );
    clock::nanos(period)
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer { .. }")
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticker { .. }")
    }
}
