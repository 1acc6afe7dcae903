//! One user of each P (S1), and changes of their number (S10).

use crate::{Stress, compute, random};
use goweft::{blocking, channel, runtime, spawn, task};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Goroutines that enter and leave at once, compute, lend their P and meet.
fn mixture(stress: &Stress) {
    let (tx, rx) = channel::bounded::<u64>(2);
    let received = spawn(move || rx.into_iter().sum::<u64>());
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    stress.turns(2 * stress.procs + 2, move |i, n| {
        let random = random(i, n);
        match random % 8 {
            0 | 1 => compute(random >> 8 & 0x1ff),
            2 => blocking(|| compute(random >> 8 & 0x7f)),
            3 => task::yield_now(),
            4 => drop(spawn(move || compute(random >> 8 & 0x7f))),
            5 => {
                tx.send(n).unwrap();
                counted.fetch_add(n, Ordering::Relaxed);
            }
            _ => (0..100).for_each(|_| _ = tx.len() + runtime::num_goroutines()),
        }
    });
    assert_eq!(received.join().unwrap(), sent.load(Ordering::Relaxed));
}

#[test]
fn a_p_has_one_user_while_it_is_taken_again_and_again() {
    Stress::on_each("mixture", mixture);
}

#[test]
fn goroutines_go_on_while_the_number_of_processors_changes() {
    Stress::on(&[4], "resize", |stress| {
        let resizer = stress.go(0, |_, n| {
            runtime::set_maxprocs(1 + (n % 8) as usize);
            if n % 3 == 0 {
                task::sleep(Duration::from_micros(random(0, n) % 3_000));
            }
        });
        mixture(stress);
        resizer.join().unwrap();
    });
}
