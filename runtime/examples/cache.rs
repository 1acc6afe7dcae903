//! A configuration that is loaded when it is first asked for, and a cache that many read at the
//! same time.

use goweft::sync::singleflight::Group;
use goweft::sync::{Barrier, OnceLock, RwLock};
use goweft::task;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often it was loaded.
static LOADS: AtomicU32 = AtomicU32::new(0);

struct Settings {
    greeting: &'static str,
}

/// Who comes while it is loaded waits for it.
fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        LOADS.fetch_add(1, Ordering::Relaxed);
        task::yield_now(); // a slow disk: the others come in, and wait
        Settings { greeting: "hello" }
    })
}

#[goweft::main]
fn main() {
    goweft::scope(|s| {
        for _ in 0..100 {
            s.spawn(|| assert_eq!(settings().greeting, "hello"));
        }
    });
    let loads = LOADS.load(Ordering::Relaxed);
    println!("config: 100 goroutines asked, it was loaded {loads} time");
    assert_eq!(loads, 1);

    let cache = Cache::default();
    goweft::scope(|s| {
        for i in 0..200 {
            let cache = &cache;
            s.spawn(move || assert_eq!(cache.square(i % 20), (i % 20) * (i % 20)));
        }
    });
    let computed = cache.computed.load(Ordering::Relaxed);
    println!("cache: 200 lookups of 20 numbers, {computed} computed");
    assert_eq!(computed, 20);

    // Readers hold the lock together: each of the eight waits, with it, for the other seven.
    let all_in = Barrier::new(8);
    goweft::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                let squares = cache.squares.read();
                all_in.wait();
                assert_eq!(squares[&12], 144);
            });
        }
    });
    println!("cache: 1 load, 20 squares, 8 readers at once");
}

#[derive(Default)]
struct Cache {
    squares: RwLock<HashMap<u64, u64>>,
    /// Those that are being computed: who comes meanwhile waits for the same result.
    under_way: Group<u64, u64>,
    computed: AtomicU32,
}

impl Cache {
    fn square(&self, n: u64) -> u64 {
        if let Some(square) = self.lookup(n) {
            return square;
        }
        let (square, _shared) = self.under_way.call(n, || {
            // It may have been stored between the look above and this call.
            self.lookup(n).unwrap_or_else(|| {
                let square = self.compute(n);
                self.squares.write().insert(n, square);
                square
            })
        });
        square
    }

    fn lookup(&self, n: u64) -> Option<u64> {
        self.squares.read().get(&n).copied()
    }

    fn compute(&self, n: u64) -> u64 {
        self.computed.fetch_add(1, Ordering::Relaxed);
        task::yield_now(); // as if it took long
        n * n
    }
}
