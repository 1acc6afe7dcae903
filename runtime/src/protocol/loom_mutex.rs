//! Loom models of the mutex's words: a waiter is woken whatever its unlocker
//! sees, and one has the mutex at a time.
//!
//! The queue is a number behind a lock, and whoever "parks" leaves: what is checked at the
//! end is that those who are left in the queue were not forgotten.

use super::atomic::{AtomicUsize, Ordering, fence};
use super::mutex_word::{MutexWord, Unlock};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

struct Lock {
    word: MutexWord,
    queue: Mutex<usize>,
    woken: AtomicUsize,
    value: UnsafeCell<u32>,
}

impl Lock {
    fn new() -> Lock {
        Lock {
            word: MutexWord::new(),
            queue: Mutex::new(0),
            woken: AtomicUsize::new(0),
            value: UnsafeCell::new(0),
        }
    }

    /// Unlocked by a store from here on.
    fn plain() -> Lock {
        let lock = Lock::new();
        assert!(lock.word.try_lock_alone());
        lock.word.make_plain(true);
        assert_eq!(lock.word.unlock(), Unlock::Done);
        lock
    }

    /// As the holder: loom reports a second one as a race.
    fn work(&self) {
        self.value.with_mut(|v| {
            // SAFETY: one holder at a time is what the model checks.
            unsafe { *v += 1 };
        });
    }

    fn wake_one(&self, queue: &mut usize) {
        if *queue > 0 {
            *queue -= 1;
            self.word.waiter_is_woken();
            if *queue == 0 {
                self.word.queue_is_empty();
            }
            self.woken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As `sync/mutex/raw.rs` does it.
    fn unlock(&self) {
        loop {
            let unlock = self.word.unlock();
            if unlock.is_over() {
                return;
            }
            let mut queue = self.queue.lock().unwrap();
            match unlock {
                Unlock::Done | Unlock::Left => unreachable!(),
                Unlock::Quiet => {
                    self.word.make_plain(*queue == 0);
                    continue;
                }
                Unlock::Waited => {
                    if *queue > 0 && self.word.unlocked_beside_waiter() {
                        self.wake_one(&mut queue);
                    }
                }
                Unlock::Queued => {
                    if self.word.give_up() {
                        self.wake_one(&mut queue);
                    }
                }
            }
            return;
        }
    }

    /// True: has it. False: is in the queue.
    fn lock_or_wait(&self) -> bool {
        loop {
            let mut queue = self.queue.lock().unwrap();
            if self.word.try_lock() {
                return true;
            }
            if self.word.share(|| fence(Ordering::SeqCst)) || !self.word.announce(false, false) {
                continue;
            }
            *queue += 1;
            return false;
        }
    }

    fn lock_work_unlock(&self) -> bool {
        let locked = self.lock_or_wait();
        if locked {
            self.work();
            self.unlock();
        }
        locked
    }

    /// The deadline of one in the queue, if there is one. True: one less waits.
    fn time_out(&self) -> bool {
        let mut queue = self.queue.lock().unwrap();
        let there_is_one = *queue > 0;
        if there_is_one {
            *queue -= 1;
            if *queue == 0 {
                self.word.queue_is_empty();
            }
        }
        there_is_one
    }

    /// In the place of one that was woken, if one was: competes, and waits again (or gives up)
    /// when somebody else was first. True: one less waits.
    fn compete(&self, gives_up: bool) -> bool {
        let mut woken = self.woken.load(Ordering::Relaxed);
        while woken > 0 {
            match self.woken.compare_exchange(
                woken,
                woken - 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return self.compete_woken(gives_up),
                Err(now) => woken = now,
            }
        }
        false
    }

    /// As `sync/mutex/raw.rs` does it.
    fn compete_woken(&self, gives_up: bool) -> bool {
        loop {
            let mut queue = self.queue.lock().unwrap();
            if self.word.try_lock_woken() {
                drop(queue);
                self.work();
                self.unlock();
                return true;
            }
            if gives_up {
                if self.word.woken_gives_up() {
                    self.wake_one(&mut queue);
                }
                return true;
            }
            if self.word.share(|| fence(Ordering::SeqCst)) || !self.word.announce(true, false) {
                continue;
            }
            *queue += 1;
            return false;
        }
    }

    /// All who had it have unlocked: all who wait go on, one after the other.
    fn drain(&self, waiting: usize) {
        for n in 0..waiting {
            assert!(
                self.woken.load(Ordering::Relaxed) > n,
                "a waiter sleeps, and nobody has the mutex"
            );
            assert!(self.word.try_lock_woken(), "it is free");
            self.work();
            self.unlock();
        }
        assert!(self.word.try_lock_alone(), "nothing is left in the word");
    }
}

fn run(preemptions: usize, new: fn() -> Lock, threads: &'static [usize]) {
    check(preemptions, move || {
        let lock = Arc::new(new());
        let handles: Vec<_> = threads
            .iter()
            .map(|&rounds| {
                let lock = lock.clone();
                thread::spawn(move || {
                    // Whoever is in the queue does nothing else.
                    (0..rounds).all(|_| lock.lock_work_unlock())
                })
            })
            .collect();
        let waiting = handles
            .into_iter()
            .map(|h| usize::from(!h.join().unwrap()))
            .sum();
        lock.drain(waiting);
    });
}

#[test]
fn loom_mutex_a_waiter_is_seen_by_a_plain_unlock() {
    run(4, Lock::plain, &[1, 1]);
}

#[test]
fn loom_mutex_a_third_one_may_come_between_store_and_second_look() {
    run(3, Lock::plain, &[1, 1, 1]);
}

#[test]
fn loom_mutex_becomes_plain_beside_one_that_comes_to_wait() {
    run(3, Lock::new, &[3, 1]);
}

#[test]
fn loom_mutex_becomes_plain_again_beside_an_unlock_that_is_late() {
    run(3, Lock::plain, &[1, 3]);
}

#[test]
fn loom_mutex_shared_wakes_its_waiters() {
    run(3, Lock::new, &[1, 1, 1]);
}

/// One comes, and one that was woken competes with it or gives up, while another in the queue
/// may give up too: nobody is forgotten by an unlock that leaves the waking to the woken one.
fn run_with_a_woken_one(gives_up: bool, times_out: bool) {
    check(3, move || {
        let lock = Arc::new(Lock::new());
        // One has it, and two wait.
        assert!(lock.lock_or_wait());
        assert!(!lock.lock_or_wait() && !lock.lock_or_wait());
        lock.unlock();
        let spawn = |f: fn(&Lock, bool) -> bool, how: bool| {
            let lock = lock.clone();
            thread::spawn(move || usize::from(f(&lock, how)))
        };
        let comes = spawn(|lock, _| lock.lock_work_unlock(), false);
        let woken = spawn(Lock::compete, gives_up);
        let left = match times_out {
            true => spawn(|lock, _| lock.time_out(), false).join().unwrap(),
            false => 0,
        };
        let (came, done) = (comes.join().unwrap(), woken.join().unwrap());
        lock.drain(2 + (1 - came) - done - left);
    });
}

#[test]
fn loom_mutex_a_woken_one_competes() {
    run_with_a_woken_one(false, false);
}

#[test]
fn loom_mutex_a_woken_one_gives_up() {
    run_with_a_woken_one(true, false);
}

#[test]
fn loom_mutex_a_woken_one_competes_beside_one_that_gives_up() {
    run_with_a_woken_one(false, true);
}
