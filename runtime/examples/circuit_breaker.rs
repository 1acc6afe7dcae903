//! A circuit breaker: after a few failures in a row, calls fail at once instead of burdening a
//! service that is down. After a while one call is let through, to try.
//!
//! ```text
//!           failures              time is over
//! closed ─────────────▶ open ─────────────────────▶ half-open
//!    ▲                    ▲                          │    │
//!    │                    └────── it fails ──────────┘    │
//!    └─────────────────────── it succeeds ────────────────┘
//! ```
//!
//! The breaker is told the time instead of looking at the clock, so nobody has to wait to see it
//! work.

use goweft::spawn;
use goweft::sync::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(30);

#[goweft::main]
fn main() {
    let breaker = Arc::new(Breaker::new(3, PAUSE));
    let start = Instant::now();
    let fails = || Err::<&str, &str>("connection refused");
    let works = || Ok::<&str, &str>("200 OK");

    // Closed: failures go through, until there are too many in a row.
    assert_eq!(
        breaker.call(start, fails),
        Err(Refused::Failed("connection refused"))
    );
    assert_eq!(breaker.call(start, works), Ok("200 OK")); // counts from zero again
    for _ in 0..3 {
        assert_eq!(
            breaker.call(start, fails),
            Err(Refused::Failed("connection refused"))
        );
    }
    assert_eq!(
        breaker.state(),
        State::Open {
            until: start + PAUSE
        }
    );
    println!("closed:    3 failures in a row opened it");

    // Open: nobody is called.
    let callers: Vec<_> = (0..100)
        .map(|_| breaker.clone())
        .map(|breaker| spawn(move || breaker.call(start, || -> Result<(), ()> { unreachable!() })))
        .collect();
    for caller in callers {
        assert_eq!(caller.join().unwrap(), Err(Refused::Open));
    }
    println!("open:      100 callers were refused at once");

    // Half-open: one may try, and meanwhile the others may not.
    let later = start + PAUSE;
    let tried = breaker.call(later, || {
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(breaker.call(later, works), Err(Refused::Open));
        fails()
    });
    assert_eq!(tried, Err(Refused::Failed("connection refused")));
    assert_eq!(
        breaker.state(),
        State::Open {
            until: later + PAUSE
        }
    );
    println!("half-open: the one that tried failed, and it is open again");

    assert_eq!(breaker.call(later + PAUSE, works), Ok("200 OK"));
    assert_eq!(breaker.state(), State::Closed { failures: 0 });
    println!("circuit_breaker: closed, open, half-open, open, half-open, closed");
}

struct Breaker {
    state: Mutex<State>,
    allowed: u32,
    pause: Duration,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum State {
    /// With so many failures in a row.
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// Somebody tries.
    HalfOpen,
}

#[derive(PartialEq, Debug)]
enum Refused<E> {
    /// Nothing was called.
    Open,
    /// The call's own error.
    Failed(E),
}

impl Breaker {
    /// Opens after `allowed` failures in a row, for `pause`.
    fn new(allowed: u32, pause: Duration) -> Breaker {
        Breaker {
            state: Mutex::new(State::Closed { failures: 0 }),
            allowed,
            pause,
        }
    }

    fn state(&self) -> State {
        *self.state.lock()
    }

    /// The lock is not held while `f` runs.
    fn call<T, E>(&self, now: Instant, f: impl FnOnce() -> Result<T, E>) -> Result<T, Refused<E>> {
        if !self.admits(now) {
            return Err(Refused::Open);
        }
        let result = f();
        let mut state = self.state.lock();
        *state = match (&result, *state) {
            (Ok(_), _) => State::Closed { failures: 0 },
            (Err(_), State::Closed { failures }) if failures + 1 < self.allowed => State::Closed {
                failures: failures + 1,
            },
            (Err(_), _) => State::Open {
                until: now + self.pause,
            },
        };
        result.map_err(Refused::Failed)
    }

    fn admits(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        match *state {
            State::Closed { .. } => true,
            State::Open { until } if now >= until => {
                *state = State::HalfOpen;
                true
            }
            State::Open { .. } | State::HalfOpen => false,
        }
    }
}
