//! What a program under preemption does: it computes, allocates, locks, passes messages
//! and sleeps, and knows whether it did that right.

use goweft::{JoinHandle, channel, spawn, task};
use goweft_tests::pressure::{self, Hogs, wait_until};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Goroutines of every kind on two processors, until it is ended.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    workers: Vec<JoinHandle<()>>,
    hogs: Hogs,
}

impl Load {
    pub(crate) fn start() -> Load {
        pressure::start(2);
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicU64::new(0));
        let mut workers = Vec::new();
        let mut go = |mut turn: Box<dyn FnMut(u64) + Send>| {
            let (stop, turns) = (stop.clone(), turns.clone());
            workers.push(spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    turn(n);
                    n += 1;
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            }));
        };
        let count = Arc::new(Mutex::new((0, 0)));
        for _ in 0..2 {
            go(Box::new(|n| {
                let text = (0..20).map(|i| format!("{n}:{i} ")).collect::<String>();
                assert_eq!(text.split_whitespace().count(), 20);
            }));
            go(Box::new(|n| {
                task::sleep(Duration::from_micros(100 + n % 400));
            }));
            go(Box::new(|_| std::thread::sleep(Duration::from_micros(300))));
            let count = count.clone();
            go(Box::new(move |_| {
                let mut both = count.lock().unwrap();
                both.0 += 1;
                (0..300u64).for_each(|i| _ = black_box(i));
                both.1 += 1;
                assert_eq!(both.0, both.1);
            }));
        }
        // The player's channel is closed when the other one ends, so neither waits for ever.
        let (to, there) = channel::bounded::<u64>(0);
        let (back, here) = channel::bounded::<u64>(0);
        go(Box::new(move |n| {
            to.send(n).unwrap();
            assert_eq!(here.recv(), Ok(n));
        }));
        spawn(move || {
            for n in there {
                back.send(n).unwrap();
            }
        });
        let hogs = Hogs::start(2);
        Load {
            stop,
            turns,
            workers,
            hogs,
        }
    }

    /// Until so many more threads have been stopped, and somebody has got on.
    pub(crate) fn until_preempted(&self, times: u64) {
        let before = pressure::preemptions();
        let turns = self.turns.load(Ordering::Relaxed);
        wait_until("threads are stopped", || {
            pressure::preemptions() >= before + times
                && self.turns.load(Ordering::Relaxed) >= turns + times
        });
        self.hogs.wait_for_turns();
    }

    /// All end, and nothing was wrong.
    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for w in self.workers {
            w.join().unwrap();
        }
    }
}
