//! Micro benches of channels: what one operation costs while a change is
//! being made. Claims against peers are `benches/run`'s, not these.

use criterion::{Criterion, criterion_group, criterion_main};
use goweft::channel::bounded;
use goweft::{go, select};
use std::time::{Duration, Instant};

/// Passes `n` values through a channel of the given capacity to another goroutine.
fn pass(n: u64, cap: usize) -> Duration {
    goweft::run(move || {
        let (tx, rx) = bounded::<u64>(cap);
        let t = Instant::now();
        go!(move || (0..n).for_each(|i| tx.send(i).expect("the receiver stays")));
        assert_eq!(rx.iter().sum::<u64>(), n * n.saturating_sub(1) / 2);
        t.elapsed()
    })
}

fn pass_a_value(c: &mut Criterion) {
    for (name, cap) in [("channel/rendezvous", 0), ("channel/bounded 128", 128)] {
        c.bench_function(name, |b| b.iter_custom(|n| pass(n, cap)));
    }
}

fn uncontended(c: &mut Criterion) {
    c.bench_function("channel/send and receive in one goroutine", |b| {
        b.iter_custom(|n| {
            goweft::run(move || {
                let (tx, rx) = bounded::<u64>(1);
                let t = Instant::now();
                for i in 0..n {
                    tx.send(i).expect("the receiver is here");
                    assert_eq!(rx.recv(), Ok(i));
                }
                t.elapsed()
            })
        });
    });
}

fn select_of_two(c: &mut Criterion) {
    c.bench_function("channel/select, one of two ready", |b| {
        b.iter_custom(|n| {
            goweft::run(move || {
                let (tx, rx) = bounded::<u64>(1);
                let (_never_tx, never) = bounded::<u64>(1);
                let t = Instant::now();
                for i in 0..n {
                    tx.send(i).expect("the receiver is here");
                    select! {
                        recv(rx) -> v => assert_eq!(v, Ok(i)),
                        recv(never) -> v => panic!("nothing was sent here: {v:?}"),
                    }
                }
                t.elapsed()
            })
        });
    });
}

criterion_group!(benches, pass_a_value, uncontended, select_of_two);
criterion_main!(benches);
