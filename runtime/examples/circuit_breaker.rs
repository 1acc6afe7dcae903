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
        assert!(matches!(breaker.state(), State::HalfOpen { .. }));
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
    /// Somebody tries. If that call never comes back, another may try then.
    HalfOpen {
        until: Instant,
    },
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
        let Some(admitted) = self.admit(now) else {
            return Err(Refused::Open);
        };
        let result = f();
        let mut state = self.state.lock();
        let open = State::Open {
            until: now + self.pause,
        };
        *state = match (*state, &result) {
            (State::Closed { .. }, Ok(_)) => State::Closed { failures: 0 },
            (State::Closed { failures }, Err(_)) if failures + 1 < self.allowed => State::Closed {
                failures: failures + 1,
            },
            (State::Closed { .. }, Err(_)) => open,
            // Our own try, and not one that began when it was still closed.
            (tried, Ok(_)) if tried == admitted => State::Closed { failures: 0 },
            (tried, Err(_)) if tried == admitted => open,
            (changed_meanwhile, _) => changed_meanwhile,
        };
        result.map_err(Refused::Failed)
    }

    /// In which state the call begins; None when it may not.
    fn admit(&self, now: Instant) -> Option<State> {
        let mut state = self.state.lock();
        match *state {
            State::Closed { .. } => {}
            State::Open { until } | State::HalfOpen { until } if now >= until => {
                *state = State::HalfOpen {
                    until: now + self.pause,
                };
            }
            State::Open { .. } | State::HalfOpen { .. } => return None,
        }
        Some(*state)
    }
}
