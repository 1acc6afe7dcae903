//! Bounding how many goroutines do something at the same time: with a channel that has as many
//! places, and with `Semaphore`, where one may take several permits.

use goweft::sync::Semaphore;
use goweft::{channel, task};
use std::sync::atomic::{AtomicUsize, Ordering};

const JOBS: usize = 50;
const AT_ONCE: usize = 3;

#[goweft::main]
fn main() {
    let gauge = Gauge::default();
    let (enter, leave) = channel::bounded(AT_ONCE);
    goweft::scope(|s| {
        for _ in 0..JOBS {
            s.spawn(|| {
                enter.send(()).unwrap(); // waits for a place
                gauge.work(1);
                leave.recv().unwrap();
            });
        }
    });
    gauge.check("a channel", JOBS);

    let gauge = Gauge::default();
    let permits = Semaphore::new(AT_ONCE);
    goweft::scope(|s| {
        for _ in 0..JOBS {
            s.spawn(|| {
                let _permit = permits.acquire(1); // given back when it is dropped
                gauge.work(1);
            });
        }
    });
    gauge.check("a semaphore", JOBS);

    // Some jobs weigh two. They are not passed over for the light ones: first come, first served.
    let gauge = Gauge::default();
    goweft::scope(|s| {
        for job in 0..JOBS {
            let (gauge, permits) = (&gauge, &permits);
            s.spawn(move || {
                let weight = 1 + job % 2;
                let _permit = permits.acquire(weight);
                gauge.work(weight);
            });
        }
    });
    gauge.check("weights", JOBS + JOBS / 2);
    println!("semaphore: never more than 3 at once");
}

/// How much goes on.
#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
    done: AtomicUsize,
}

impl Gauge {
    fn work(&self, weight: usize) {
        let now = self.now.fetch_add(weight, Ordering::SeqCst) + weight;
        self.most.fetch_max(now, Ordering::SeqCst);
        for _ in 0..3 {
            task::yield_now(); // here the others would come in, if they could
        }
        self.now.fetch_sub(weight, Ordering::SeqCst);
        self.done.fetch_add(weight, Ordering::SeqCst);
    }

    fn check(&self, what: &str, expected: usize) {
        let most = self.most.load(Ordering::SeqCst);
        let done = self.done.load(Ordering::SeqCst);
        println!("{what}: {done} done, at most {most} at once");
        assert_eq!(done, expected);
        assert!(most <= AT_ONCE);
    }
}
