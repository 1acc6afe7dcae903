//! Loom models of the completion word: the side that completes against one that joins, polls
//! with one waker after another, or lets go. The slot and the result are plain memory, so that
//! loom reports whoever touches them without the right to.

use super::atomic::{AtomicU32, Ordering};
use super::completion_word::{Complete, CompletionWord};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

const NOBODY: u32 = 0;

struct Packet {
    word: CompletionWord,
    /// The number of the waker that is to be woken.
    slot: UnsafeCell<u32>,
    result: UnsafeCell<u32>,
    /// Which waker was woken; last, as it does not lie in the packet.
    woken: AtomicU32,
}

impl Packet {
    fn new() -> Arc<Packet> {
        Arc::new(Packet {
            word: CompletionWord::new(),
            slot: UnsafeCell::new(NOBODY),
            result: UnsafeCell::new(0),
            woken: AtomicU32::new(NOBODY),
        })
    }

    fn set_slot(&self, waker: u32) -> u32 {
        self.slot.with_mut(|slot| {
            // SAFETY: whose the slot is, is what the model checks.
            unsafe { std::mem::replace(&mut *slot, waker) }
        })
    }

    /// Takes the result and "frees" the packet: by one side only, after all that the other does.
    fn take_all(&self) -> u32 {
        let _ = self.set_slot(NOBODY);
        self.result.with_mut(|result| {
            // SAFETY: as above.
            unsafe { std::mem::replace(&mut *result, u32::MAX) }
        })
    }

    /// As `Completion::complete`. True: the waiting side has it all.
    fn complete(&self) -> bool {
        self.result.with_mut(|result| {
            // SAFETY: the completing side's until it completes.
            unsafe { *result = 42 };
        });
        loop {
            match self.word.complete() {
                Complete::Done => return true,
                Complete::Detached => return false,
                Complete::Waited if self.word.take() => {
                    let waker = self.set_slot(NOBODY);
                    self.word.done();
                    self.woken.store(waker, Ordering::Release);
                    return true;
                }
                Complete::Waited => {}
            }
        }
    }

    /// As `Completion::poll`.
    fn poll(&self, waker: u32) -> bool {
        if self.word.is_done() {
            return true;
        }
        self.word.retract();
        let _ = self.set_slot(waker);
        if self.word.announce() {
            return false;
        }
        let _ = self.set_slot(NOBODY);
        true
    }

    /// As `Completion::detach`.
    fn detach(&self) -> bool {
        if self.word.is_done() {
            return true;
        }
        self.word.retract();
        let _ = self.set_slot(NOBODY);
        !self.word.detach()
    }
}

/// Completes on one thread while `wait` runs on another; `wait` says whether the rest is its own.
fn check(preemptions: usize, wait: impl Fn(&Packet) -> bool + Copy + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let packet = Packet::new();
        let completer = {
            let packet = packet.clone();
            thread::spawn(move || {
                let theirs = packet.complete();
                if !theirs {
                    assert_eq!(packet.take_all(), 42);
                }
                theirs
            })
        };
        let ours = wait(&packet);
        if ours {
            assert_eq!(packet.take_all(), 42);
        }
        let theirs = completer.join().unwrap();
        assert_eq!(ours, theirs, "one of the two has the packet");
    });
}

#[test]
fn loom_completion_who_joins_is_woken_and_has_the_result() {
    check(5, |packet| {
        if !packet.poll(1) {
            // Parked: nothing but the waking ends that.
            while packet.woken.load(Ordering::Acquire) != 1 {
                thread::yield_now();
            }
            assert!(packet.word.is_done(), "woken before it was done");
        }
        true
    });
}

#[test]
fn loom_completion_a_later_waker_replaces_an_earlier_one() {
    check(5, |packet| {
        if !packet.poll(1) && !packet.poll(2) {
            while packet.woken.load(Ordering::Acquire) != 2 {
                thread::yield_now();
            }
        }
        assert!(packet.poll(3), "done once is done for good");
        true
    });
}

#[test]
fn loom_completion_who_lets_go_leaves_all_to_one_side() {
    check(5, |packet| packet.detach());
}

#[test]
fn loom_completion_who_waited_lets_go() {
    check(5, |packet| packet.poll(1) || packet.detach());
}
