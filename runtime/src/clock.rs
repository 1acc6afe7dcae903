//! Time inside the runtime: nanoseconds since the first look at the clock.
//!
//! Timers and deadlines compare and store `u64`s; `Instant` stands only at the
//! public surface. [`NEVER`] is later than every deadline.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds since [`base`].
pub(crate) type Nanos = u64;

/// A deadline that does not come: 584 years after the start.
pub(crate) const NEVER: Nanos = u64::MAX;

fn base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    // One second before the first look, so that an instant shortly before it
    // still has a place.
    *BASE.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(Duration::from_secs(1)).unwrap_or(now)
    })
}

/// Now.
#[inline]
pub(crate) fn now() -> Nanos {
    from_instant(Instant::now())
}

/// The place of `t`; what lies before the base is 0.
#[inline]
pub(crate) fn from_instant(t: Instant) -> Nanos {
    t.checked_duration_since(base()).map_or(0, nanos)
}

/// The instant of `n`, or the latest that can be told.
pub(crate) fn to_instant(n: Nanos) -> Instant {
    base() + Duration::from_nanos(n)
}

/// Whether `deadline` has passed. ([`NEVER`] never has and 0 always, without a look at the clock.)
#[inline]
pub(crate) fn has_passed(deadline: Nanos) -> bool {
    deadline != NEVER && (deadline == 0 || now() >= deadline)
}

/// Now + `d`; what overflows is [`NEVER`].
#[inline]
pub(crate) fn after(d: Duration) -> Nanos {
    now().saturating_add(nanos(d))
}

/// `d` in nanoseconds, or [`NEVER`].
#[inline]
pub(crate) fn nanos(d: Duration) -> Nanos {
    u64::try_from(d.as_nanos()).unwrap_or(NEVER)
}

/// Now + `d` for something that is on even if it will not come to pass in our
/// days: never [`NEVER`], which stands for "off".
#[inline]
pub(crate) fn due(d: Duration) -> Nanos {
    after(d).min(NEVER - 1)
}
