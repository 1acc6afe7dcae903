//! One that waits at a channel, beside a hog that comes again at once: it gets its turn.
//!
//! How long it waits is counted in values, by the numbers that they bear; so a machine that has
//! other things to do makes nobody wait longer. It may still stop one side just before it waits, so
//! it is the middle one of many turns that counts. Who never gets one waits for the watchdog.

use goweft::channel::{self, Receiver, Sender};
use goweft::task::yield_now;
use goweft_races::{watched, with_1_2_and_8_processors};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of the one that waits.
const TURNS: usize = 200;
/// Values that come first: those that the hog had on their way, and some that it slips in while the
/// other one goes to its place.
const FEW: u64 = 8;

/// In the middle one of the turns at most [`FEW`] others came first. `waits`: for each.
fn is_served(capacity: Option<usize>, mut waits: Vec<u64>) {
    assert_eq!(waits.len(), TURNS);
    waits.sort_unstable();
    let middle = waits[TURNS / 2];
    assert!(middle <= FEW, "{capacity:?}: {waits:?}");
}

/// A value of the hog's, or the other one's with the number of those received as it was sent.
type Sent = Option<u64>;

#[test]
fn a_sender_is_not_starved_by_a_hog() {
    for capacity in [0, 1] {
        with_1_2_and_8_processors(|| {
            watched("a sender beside a hog", || {
                let (tx, rx): (Sender<Sent>, Receiver<Sent>) = channel::bounded(capacity);
                let received = Arc::new(AtomicU64::new(0));
                let hog = tx.clone();
                let hog = goweft::spawn(move || while hog.send(None).is_ok() {});
                let count = received.clone();
                let other = goweft::spawn(move || {
                    for _ in 0..TURNS {
                        tx.send(Some(count.load(Ordering::Relaxed))).unwrap();
                    }
                });
                let mut waits = vec![];
                while waits.len() < TURNS {
                    // Time for the hog to be back, before or behind the other one.
                    yield_now();
                    let all = received.load(Ordering::Relaxed);
                    if let Some(at) = rx.recv().unwrap() {
                        waits.push(all - at);
                    }
                    received.store(all + 1, Ordering::Relaxed);
                }
                drop(rx);
                other.join().unwrap();
                hog.join().unwrap();
                is_served(Some(capacity), waits);
            });
        });
    }
}

#[test]
fn a_receiver_is_not_starved_by_a_hog() {
    for capacity in [Some(0), Some(1), None] {
        with_1_2_and_8_processors(|| {
            watched("a receiver beside a hog", || {
                let (tx, rx): (Sender<u64>, Receiver<u64>) =
                    capacity.map_or_else(channel::unbounded, channel::bounded);
                let sent = Arc::new(AtomicU64::new(0));
                let hog = rx.clone();
                let hog = goweft::spawn(move || while hog.recv().is_ok() {});
                let count = sent.clone();
                let other = goweft::spawn(move || {
                    let turn = |_| {
                        let at = count.load(Ordering::Relaxed);
                        // One that was on its way already counts as none.
                        rx.recv().unwrap().saturating_sub(at)
                    };
                    (0..TURNS).map(turn).collect()
                });
                let mut all = 0;
                while !other.is_finished() {
                    yield_now();
                    // Not before somebody wants it: nobody waits where there is plenty.
                    while capacity != Some(0) && !tx.is_empty() {
                        yield_now();
                    }
                    all += 1;
                    sent.store(all, Ordering::Relaxed);
                    tx.send(all).unwrap();
                }
                drop(tx);
                hog.join().unwrap();
                is_served(capacity, other.join().unwrap());
            });
        });
    }
}
