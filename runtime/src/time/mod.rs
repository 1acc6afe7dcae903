//! Time: sleeping, timeouts, timers and tickers, as Go's package `time`.
//!
//! All of it works from goroutines, which park, and from plain threads, which
//! block. Timers are channels ([`Timer::channel`]) that can be received from and
//! selected on; they cost nothing while nobody waits on them. [`after_func`] calls a
//! function instead.
//!
//! A `Duration` is never negative, so what Go says of negative ones holds here for
//! zero. What lies beyond what the clock can tell (584 years) never comes.

mod timer;

pub use crate::channel::{after, tick};
pub use crate::task::sleep;
pub use timer::{Ticker, Timer, after_func};

use crate::clock;
use crate::sched::{Inside, WaitReason};
use std::time::{Duration, Instant};

/// The time now.
///
/// How long it is until `t`: `t.saturating_duration_since(time::now())`.
#[doc(alias = "Now")]
#[doc(alias = "Until")]
#[doc(alias = "time.Until")]
pub fn now() -> Instant {
    Instant::now()
}

/// The time since `earlier`; zero if that is later than now.
///
/// # Examples
///
/// ```
/// use goweft::time;
/// use std::time::Duration;
///
/// let start = time::now();
/// time::sleep(Duration::from_millis(2));
/// assert!(time::since(start) >= Duration::from_millis(2));
/// ```
#[doc(alias = "Since")]
pub fn since(earlier: Instant) -> Duration {
    now().saturating_duration_since(earlier)
}

/// Waits until `deadline`; returns at once when it has passed.
///
/// # Panics
/// In [`no_park`](crate::no_park), when it has to wait.
///
/// # Examples
///
/// ```
/// use goweft::time;
/// use std::time::Duration;
///
/// let deadline = time::now() + Duration::from_millis(2);
/// time::sleep_until(deadline);
/// assert!(time::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) {
    let deadline = clock::from_instant(deadline);
    if clock::now() >= deadline {
        return;
    }
    let mut inside = Inside::enter();
    loop {
        if inside.refuses() {
            return;
        }
        let waiter = inside.prepare(WaitReason::Sleep);
        inside.park(waiter, deadline);
        if clock::now() >= deadline {
            return;
        }
    }
}
