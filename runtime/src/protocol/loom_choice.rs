//! Loom models of a select's choice (L11): partners that claim, one that finds nothing to do and
//! takes its claim back, a close, and the owner's deadline.
//!
//! What is left out of `channel/wait.rs` is the parking, which the models of L7 have.

use super::atomic::{AtomicU32, Ordering};
use super::choice::Choice;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

const WAITING: u32 = 0;
const RECEIVED: u32 = 1;
const CLOSED: u32 = 2;

/// A channel's end, behind its lock: whether the select's record is linked in it, and a value.
struct End {
    linked: bool,
    value: Option<u32>,
}

/// A case's record.
struct Record {
    verdict: AtomicU32,
    slot: UnsafeCell<u32>,
}

struct Select {
    ends: [Mutex<End>; 2],
    choice: Choice,
    /// What lies on the owner's stack: whoever writes it has it alone.
    records: [Record; 2],
    frame: UnsafeCell<bool>,
}

impl Select {
    /// Enrolled with both channels.
    fn enrolled() -> Arc<Select> {
        let end = || {
            Mutex::new(End {
                linked: true,
                value: None,
            })
        };
        let record = || Record {
            verdict: AtomicU32::new(WAITING),
            slot: UnsafeCell::new(0),
        };
        Arc::new(Select {
            ends: [end(), end()],
            choice: Choice::new(),
            records: [record(), record()],
            frame: UnsafeCell::new(true),
        })
    }

    /// A linked record was found: the frame that it is in must be there.
    fn touch_frame(&self) {
        self.frame.with(|alive| {
            // SAFETY: that nobody writes it now is what the model checks.
            assert!(unsafe { *alive }, "the owner has left");
        });
    }

    /// A partner with a value (or the close, without): whether it was taken.
    fn give(&self, case: usize, value: Option<u32>) -> bool {
        let mut end = self.ends[case].lock().unwrap();
        if !end.linked {
            return false;
        }
        self.touch_frame();
        end.linked = false;
        if !self.choice.claim() {
            return false;
        }
        self.touch_frame();
        let verdict = match value {
            None => CLOSED,
            Some(value) => {
                self.records[case].slot.with_mut(|slot| {
                    // SAFETY: the claimer's alone is what the model checks.
                    unsafe { *slot = value };
                });
                RECEIVED
            }
        };
        self.records[case].verdict.store(verdict, Ordering::Release);
        self.choice.choose(case as u32);
        true
    }

    /// A partner that settles: claims first, then finds no value, and takes the claim back.
    fn settle_for_nothing(&self, case: usize) {
        let mut end = self.ends[case].lock().unwrap();
        if !end.linked {
            return;
        }
        self.touch_frame();
        if !self.choice.claim() {
            end.linked = false;
            return;
        }
        assert!(end.value.is_none());
        self.choice.revert();
    }

    /// The owner, when it may no longer be chosen: the case, and what came of it.
    fn leave(&self) -> Option<(usize, Option<u32>)> {
        let chosen = self.choice.chosen();
        for (i, end) in self.ends.iter().enumerate() {
            if Some(i) != chosen {
                end.lock().unwrap().linked = false;
            }
        }
        // The stack frame goes: nobody may be at it, now or later.
        self.frame.with_mut(|alive| {
            // SAFETY: that nobody else is at it is what the model checks.
            unsafe { *alive = false };
        });
        let case = chosen?;
        let value = self.records[case].slot.with(|slot| {
            // SAFETY: chosen: whoever wrote it is done.
            unsafe { *slot }
        });
        match self.records[case].verdict.load(Ordering::Acquire) {
            RECEIVED => Some((case, Some(value))),
            CLOSED => Some((case, None)),
            _ => panic!("chosen without a verdict"),
        }
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

// Two threads each: loom lets two that spin starve the one that they wait for.

#[test]
fn loom_choice_a_sender_and_a_deadline_have_one_winner() {
    check(4, || {
        let select = Select::enrolled();
        let sender = {
            let select = select.clone();
            thread::spawn(move || select.give(0, Some(7)))
        };
        let aborted = select.choice.abort();
        let outcome = select.leave();
        let sent = sender.join().unwrap();
        assert_ne!(sent, aborted);
        assert_eq!(outcome, sent.then_some((0, Some(7))));
    });
}

#[test]
fn loom_choice_a_close_and_a_deadline_have_one_winner() {
    check(4, || {
        let select = Select::enrolled();
        let closer = {
            let select = select.clone();
            thread::spawn(move || select.give(1, None))
        };
        let aborted = select.choice.abort();
        let outcome = select.leave();
        let closed = closer.join().unwrap();
        assert_ne!(closed, aborted);
        assert_eq!(outcome, closed.then_some((1, None)));
    });
}

#[test]
fn loom_choice_a_sender_and_a_close_have_one_winner() {
    check(4, || {
        let select = Select::enrolled();
        let closer = {
            let select = select.clone();
            thread::spawn(move || select.give(1, None))
        };
        let sent = select.give(0, Some(7));
        let closed = closer.join().unwrap();
        match select.leave() {
            Some((0, Some(7))) => assert!(sent && !closed),
            Some((1, None)) => assert!(closed && !sent),
            other => panic!("a case got what was not for it: {other:?}"),
        }
    });
}

#[test]
fn loom_choice_a_claim_that_is_taken_back_sends_nobody_away() {
    check(4, || {
        let select = Select::enrolled();
        let settler = {
            let select = select.clone();
            thread::spawn(move || select.settle_for_nothing(1))
        };
        assert!(select.give(0, Some(7)));
        assert_eq!(select.leave(), Some((0, Some(7))));
        settler.join().unwrap();
    });
}

#[test]
fn loom_choice_a_deadline_meets_a_claim_that_is_taken_back() {
    check(3, || {
        let select = Select::enrolled();
        let settler = {
            let select = select.clone();
            thread::spawn(move || select.settle_for_nothing(1))
        };
        assert!(select.choice.abort(), "nothing was ever chosen");
        assert_eq!(select.leave(), None);
        settler.join().unwrap();
    });
}

#[test]
fn loom_choice_two_rounds_of_one_select() {
    check(3, || {
        let select = Select::enrolled();
        let sender = {
            let select = select.clone();
            thread::spawn(move || select.give(0, Some(7)))
        };
        // The owner saw that a case had become ready, and begins again.
        if select.choice.abort() {
            for end in &select.ends {
                end.lock().unwrap().linked = false;
            }
            select.choice.reset();
            select.ends[0].lock().unwrap().linked = true;
            // It calls that off too, unless it is chosen.
            let _ = select.choice.abort();
        }
        let outcome = select.leave();
        assert_eq!(outcome.is_some(), sender.join().unwrap());
    });
}
