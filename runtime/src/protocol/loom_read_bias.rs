//! Loom models of visible readers: one writes alone, and is woken when the last reader
//! has left.

use super::atomic::{AtomicUsize, Ordering, fence};
use super::read_bias::{Bias, Enter, Slot};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

const LOCK: usize = 64;

struct Lock {
    bias: Bias,
    slots: [Slot; 2],
    /// Whether the writer waits.
    waiting: Mutex<bool>,
    granted: AtomicUsize,
    value: UnsafeCell<u32>,
}

impl Lock {
    fn new() -> Lock {
        let lock = Lock {
            bias: Bias::new(),
            slots: [Slot::new(), Slot::new()],
            waiting: Mutex::new(false),
            granted: AtomicUsize::new(0),
            value: UnsafeCell::new(0),
        };
        lock.bias.turn_on();
        lock
    }

    fn read(&self, who: usize) {
        if !self.bias.is_on() {
            return;
        }
        match self.bias.enter(&self.slots[who], LOCK) {
            Enter::Taken => {}
            Enter::Visible => {
                self.value.with(|v| {
                    // SAFETY: no writer at the same time is what the model checks.
                    let _ = unsafe { *v };
                });
                if self.bias.leave(&self.slots[who]) {
                    self.look_after_writer();
                }
            }
            Enter::Revoked => self.look_after_writer(),
        }
    }

    fn is_clear(&self) -> bool {
        if self.bias.is_off() {
            return true;
        }
        if self.slots.iter().any(|slot| slot.has(LOCK)) {
            return false;
        }
        self.bias.drained();
        true
    }

    fn look_after_writer(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        if *waiting && self.is_clear() {
            *waiting = false;
            self.granted.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether it got in at once; else it waits.
    fn write(&self) -> bool {
        self.bias.revoke(|| fence(Ordering::SeqCst));
        let mut waiting = self.waiting.lock().unwrap();
        if self.is_clear() {
            drop(waiting);
            self.change();
            return true;
        }
        *waiting = true;
        false
    }

    fn change(&self) {
        self.value.with_mut(|v| {
            // SAFETY: nobody else is in, which is what the model checks.
            unsafe { *v += 1 };
        });
    }
}

fn run(preemptions: usize, reads: [usize; 2], again: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let lock = Arc::new(Lock::new());
        let readers: Vec<_> = (0..2)
            .map(|who| {
                let lock = lock.clone();
                thread::spawn(move || (0..reads[who]).for_each(|_| lock.read(who)))
            })
            .collect();
        let wrote = lock.write();
        if wrote && again {
            // It unlocks; readers may be visible once more.
            lock.bias.turn_on();
        }
        readers.into_iter().for_each(|r| r.join().unwrap());
        if !wrote {
            assert_eq!(
                lock.granted.load(Ordering::Acquire),
                1,
                "all have left, and the writer waits"
            );
            lock.change();
        }
    });
}

#[test]
fn loom_read_bias_a_writer_is_alone_and_is_not_forgotten() {
    run(4, [1, 0], false);
}

#[test]
fn loom_read_bias_the_last_of_two_readers_looks_after_the_writer() {
    run(3, [1, 1], false);
}

#[test]
fn loom_read_bias_a_reader_comes_again_after_the_writer() {
    run(3, [2, 0], true);
}
