//! Who passes it: goroutines and plain threads, in all ways.

use goweft::runtime;
use goweft_tests::pressure::tell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, mpsc};
use std::thread;

pub(super) const ROUNDS: u64 = 20_000;
/// Where each round makes a goroutine, a context or a timer, or waits for the clock.
pub(super) const DEAR_ROUNDS: u64 = 2_000;

/// Who takes one side.
#[derive(Clone, Copy, Debug)]
enum Who {
    Goroutine,
    Thread,
}

use Who::{Goroutine, Thread};

/// Each side as each kind.
const PAIRS: [[Who; 2]; 4] = [
    [Goroutine, Goroutine],
    [Thread, Goroutine],
    [Goroutine, Thread],
    [Thread, Thread],
];

/// Begins `f`; the result is joined by a std thread, so that nothing but `f` orders anything
/// between the two sides. A side that fails ends the process: the other one would wait for it.
fn begin(who: Who, f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let f = move || {
        if catch_unwind(AssertUnwindSafe(f)).is_err() {
            tell(format_args!("a side of a litmus test failed, as {who:?}"));
            std::process::abort();
        }
    };
    match who {
        Thread => thread::spawn(f),
        Goroutine => {
            let (tx, rx) = mpsc::channel();
            goweft::go!(move || {
                f();
                tx.send(()).unwrap();
            });
            thread::spawn(move || rx.recv().unwrap())
        }
    }
}

fn on_two_processors() {
    static SET: Once = Once::new();
    SET.call_once(|| _ = runtime::set_maxprocs(2));
}

/// Runs both sides at once, as goroutines and threads in all ways. `sides` makes them anew each
/// time.
pub(super) fn both_ways<A, B>(sides: impl Fn() -> (A, B))
where
    A: FnOnce() + Send + 'static,
    B: FnOnce() + Send + 'static,
{
    on_two_processors();
    for [who_a, who_b] in PAIRS {
        let (a, b) = sides();
        let a = begin(who_a, a);
        let b = begin(who_b, b);
        a.join().unwrap();
        b.join().unwrap();
    }
}

/// Runs `f` as a goroutine and as a thread.
pub(super) fn alone(f: fn()) {
    on_two_processors();
    for who in [Goroutine, Thread] {
        begin(who, f).join().unwrap();
    }
}
