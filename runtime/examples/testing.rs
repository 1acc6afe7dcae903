//! How to test what is concurrent: `cargo test --example testing`.
//!
//! `#[goweft::test]` makes a goroutine of a test. Tests wait for what they want to see (a
//! handle, a channel, a wait group) instead of sleeping for as long as it may take. Where time
//! itself is what is tested, the code is told what time it is, and the test says so: it can
//! move by hours at once.

use goweft::channel::{Receiver, RecvTimeoutError};
use goweft::sync::Mutex;
use std::time::{Duration, Instant};

/// A counter for many goroutines.
#[derive(Default)]
pub struct Counter(Mutex<u64>);

impl Counter {
    pub fn add(&self, n: u64) {
        *self.0.lock() += n;
    }

    pub fn total(&self) -> u64 {
        *self.0.lock()
    }
}

/// What came, or what to say when nothing did in time.
pub fn answer_or_excuse(answers: &Receiver<String>, patience: Duration) -> String {
    match answers.recv_timeout(patience) {
        Ok(answer) => answer,
        Err(RecvTimeoutError::Timeout) => "no answer yet".into(),
        Err(RecvTimeoutError::Disconnected) => "nobody will answer".into(),
    }
}

/// Is over an hour after it was last used.
pub struct Session {
    last_used: Mutex<Instant>,
}

impl Session {
    pub const LASTS: Duration = Duration::from_secs(3600);

    pub fn begin(now: Instant) -> Session {
        Session {
            last_used: Mutex::new(now),
        }
    }

    /// Whether it is still open at `now`; if so it stays so for another hour.
    pub fn use_at(&self, now: Instant) -> bool {
        let mut last_used = self.last_used.lock();
        let open = now.duration_since(*last_used) < Session::LASTS;
        if open {
            *last_used = now;
        }
        open
    }
}

#[goweft::main]
fn main() {
    let counter = Counter::default();
    goweft::scope(|s| {
        for _ in 0..10 {
            s.spawn(|| counter.add(1));
        }
    });
    assert_eq!(counter.total(), 10);
    println!("testing: counted to 10; for the rest, cargo test --example testing");
}

#[cfg(test)]
mod tests {
    use super::*;
    use goweft::{channel, spawn};
    use std::sync::Arc;

    #[goweft::test]
    fn no_addition_is_lost() {
        let counter = Arc::new(Counter::default());
        let adders: Vec<_> = (0..100)
            .map(|_| counter.clone())
            .map(|counter| spawn(move || (0..100).for_each(|_| counter.add(1))))
            .collect();
        for adder in adders {
            adder.join().unwrap(); // and none of them panicked
        }
        assert_eq!(counter.total(), 10_000);
    }

    #[goweft::test]
    fn who_waits_in_vain_is_told_when_the_time_is_over() {
        let (answers, rx) = channel::bounded::<String>(0);
        let patience = Duration::from_millis(20);
        let begin = Instant::now();
        assert_eq!(answer_or_excuse(&rx, patience), "no answer yet");
        // Never sooner. How much later is the machine's business, not the test's.
        assert!(begin.elapsed() >= patience);

        drop(answers);
        assert_eq!(answer_or_excuse(&rx, patience), "nobody will answer");
    }

    #[goweft::test]
    fn an_answer_is_not_waited_for_longer_than_it_takes() {
        let (answers, rx) = channel::bounded(0);
        goweft::go!(move || answers.send("42".to_string()));
        assert_eq!(answer_or_excuse(&rx, Duration::from_secs(3600)), "42");
    }

    #[goweft::test]
    fn a_session_lasts_an_hour_after_its_last_use() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let nine = Instant::now();
        let session = Session::begin(nine);
        assert!(session.use_at(nine + minutes(59)));
        assert!(session.use_at(nine + minutes(118)));
        assert!(!session.use_at(nine + minutes(178)));
        assert!(!session.use_at(nine + minutes(179)));
    }
}
