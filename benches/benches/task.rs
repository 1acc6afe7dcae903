//! Micro benches of goroutines: what one operation costs while a change is
//! being made. Claims against peers are `benches/run`'s, not these.

use criterion::{Criterion, criterion_group, criterion_main};
use goweft::task;
use std::hint::black_box;
use std::time::Instant;

fn yield_to_another(c: &mut Criterion) {
    c.bench_function("task/yield to another", |b| {
        b.iter_custom(|n| {
            goweft::run(move || {
                let t = Instant::now();
                let other = goweft::spawn(move || (0..n).for_each(|_| task::yield_now()));
                (0..n).for_each(|_| task::yield_now());
                other.join().expect("yielding does not panic");
                t.elapsed() / 2
            })
        });
    });
}

fn spawn_and_join(c: &mut Criterion) {
    c.bench_function("task/spawn and join", |b| {
        b.iter_custom(|n| {
            goweft::run(move || {
                let t = Instant::now();
                (0..n).for_each(|i| assert_eq!(goweft::spawn(move || i).join().ok(), Some(i)));
                t.elapsed()
            })
        });
    });
}

fn current(c: &mut Criterion) {
    c.bench_function("task/id", |b| {
        b.iter_custom(|n| {
            goweft::run(move || {
                let t = Instant::now();
                (0..n).for_each(|_| {
                    black_box(task::id());
                });
                t.elapsed()
            })
        });
    });
}

criterion_group!(benches, yield_to_another, spawn_and_join, current);
criterion_main!(benches);
