//! Loom models of who owns a P: L1 to L4 and L12.
//!
//! The handler is not a thread: it runs between any two steps of its own M. So it
//! is a call that each step of the M makes or not, as the model chooses: a model
//! has one run for each place, and loom explores each.
//!
//! The barriers of `barrier.rs` are full fences here. That is sound for pairs with
//! one heavy side; so each model has one thief.

use super::atomic::{AtomicU32, Ordering};
use super::barrier;
use super::mword::{MWord, State};
use super::preempted::Preempted;
use super::rt::Rt;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A model with at most `preemptions` involuntary switches.
pub(super) fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// One M and what a P has: data that only its owner may touch.
pub(super) struct World {
    pub(super) word: MWord,
    pub(super) rt: Rt,
    /// The P the M is given + 1.
    next_p: AtomicU32,
    wake: AtomicU32,
    ps: [UnsafeCell<u32>; 2],
    preempted: Preempted,
    link: AtomicU32,
}

/// SAFETY: the cells are what the models check: loom reports a second user.
unsafe impl Sync for World {}
/// SAFETY: as above.
unsafe impl Send for World {}

impl World {
    /// The M owns P 0 and is outside.
    fn new() -> Arc<World> {
        World::owning(0)
    }

    /// The M owns P `p` and is outside.
    pub(super) fn owning(p: usize) -> Arc<World> {
        let world = World {
            word: MWord::new(),
            rt: Rt::new(),
            next_p: AtomicU32::new(0),
            wake: AtomicU32::new(0),
            ps: [UnsafeCell::new(0), UnsafeCell::new(0)],
            preempted: Preempted::new(),
            link: AtomicU32::new(0),
        };
        world.word.own(p);
        Arc::new(world)
    }

    /// Uses the P as only its owner may: a second one at the same time is a data race.
    pub(super) fn use_p(&self, p: usize) {
        self.ps[p].with_mut(|n| {
            // SAFETY: one owner at a time is what the models check.
            unsafe { *n += 1 };
        });
    }

    /// Step 1: enters, and the P that it has then. None: it was stolen.
    pub(super) fn enter(&self) -> Option<usize> {
        assert!(self.rt.enter(), "it was outside");
        loop {
            let seen = self.word.load();
            match seen.state() {
                State::Owns => return seen.owned_p(),
                State::Pending => {
                    self.word.keep(seen);
                }
                State::Stolen => {
                    if self.word.forget(seen) {
                        return None;
                    }
                }
                state => panic!("a running thread is {state:?}"),
            }
        }
    }

    /// Steps 4: the monitor, once. The P it has then.
    pub(super) fn steal(&self) -> Option<usize> {
        let seen = self.word.load();
        self.rt.look();
        let pending = self.word.pend(seen)?;
        assert!(barrier::heavy());
        if !self.rt.is_still_outside() || self.word.rob(pending).is_none() {
            self.word.keep(pending);
            return None;
        }
        pending.owned_p()
    }

    /// Step 7, up to the sleep. True: it is parked.
    pub(super) fn handler(&self) -> bool {
        if self.rt.is_inside() {
            return false;
        }
        self.rt.enter();
        let seen = self.word.load();
        if seen.state() != State::Stolen || !self.word.wait(seen) {
            self.rt.leave();
            return false;
        }
        self.preempted.push(0, &self.link);
        true
    }

    /// The rest of step 7: the P that it woke with.
    pub(super) fn woken(&self) -> Option<usize> {
        while self.wake.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        self.wake.store(0, Ordering::Relaxed);
        let p = (self.next_p.swap(0, Ordering::Acquire) as usize).checked_sub(1);
        match p {
            Some(p) => _ = self.word.own(p),
            None => self.word.release(),
        }
        self.rt.leave();
        p
    }

    /// Step 6: gives `p`, or (rescue) nothing, to the M if it is in the stack.
    pub(super) fn give(&self, p: Option<usize>) -> bool {
        let mut found = false;
        self.preempted.take_all(|_| &self.link, |_| found = true);
        if !found {
            return false;
        }
        assert!(
            self.word.claim(),
            "whoever took it from the stack has it alone"
        );
        if let Some(p) = p {
            assert_eq!(self.next_p.swap(p as u32 + 1, Ordering::Release), 0);
        }
        self.wake.store(1, Ordering::Release);
        true
    }
}

/// The M's part of L1: in and out twice, with the handler at one of the places between.
fn in_and_out(world: &World, handler_at: usize) -> bool {
    for round in 0..2 {
        if handler_at == 2 * round && world.handler() {
            return true;
        }
        let p = world.enter();
        if handler_at == 2 * round + 1 {
            assert!(!world.handler(), "never parked inside");
        }
        let Some(p) = p else { return false };
        world.use_p(p);
        world.rt.leave();
    }
    handler_at == 4 && world.handler()
}

#[test]
fn loom_l1_a_p_is_used_by_the_one_who_enters_or_by_the_thief() {
    for handler_at in 0..5 {
        check(3, move || {
            let world = World::new();
            let monitor = {
                let world = world.clone();
                thread::spawn(move || {
                    let Some(p) = world.steal() else { return };
                    world.use_p(p);
                    // One that is parked is woken with it, if it is by now.
                    if !world.give(Some(p)) {
                        world.use_p(p);
                        world.give(None);
                    }
                })
            };
            let parked = in_and_out(&world, handler_at);
            monitor.join().unwrap();
            if parked
                && !world.give(None)
                && let Some(p) = world.woken()
            {
                world.use_p(p);
            }
        });
    }
}

#[test]
fn loom_l2_theft_against_giving_the_p_away_first_hand() {
    // Release (idle, netpoll) and `blocking()`: the P is the thief's or the M's own.
    for lends in [false, true] {
        check(4, move || {
            let world = World::new();
            let monitor = {
                let world = world.clone();
                thread::spawn(move || {
                    let stolen = world.steal();
                    if let Some(p) = stolen {
                        world.use_p(p);
                    }
                    stolen.is_some()
                })
            };
            let kept = world.enter();
            if let Some(p) = kept {
                world.use_p(p);
                if lends {
                    world.word.lend();
                } else {
                    world.word.disown();
                }
                // It is in nobody's word, and so in this hand.
                world.use_p(p);
            }
            world.rt.leave();
            let stolen = monitor.join().unwrap();
            assert_ne!(kept.is_some(), stolen, "one of the two has it");
        });
    }
}

#[test]
fn loom_l3_a_parked_m_is_claimed_once_and_finds_its_p() {
    check(3, || {
        let world = World::new();
        let p = world.steal().expect("it is outside");
        // Two who have a P for it; one of them takes it from the stack.
        let givers: Vec<_> = [p, 1]
            .into_iter()
            .map(|p| {
                let world = world.clone();
                thread::spawn(move || {
                    world.use_p(p);
                    world.give(Some(p))
                })
            })
            .collect();
        assert!(world.handler());
        let given = givers.into_iter().map(|g| g.join().unwrap());
        match given.filter(|&given| given).count() {
            0 => assert!(world.give(Some(p))),
            n => assert_eq!(n, 1, "claimed twice"),
        }
        let p = world.woken().expect("it was given a P");
        world.use_p(p);
    });
}

#[test]
fn loom_l4_rescue_against_theft_and_giving() {
    check(3, || {
        let world = World::new();
        // Whether the P that it took was given back; None: it got none.
        let thief = {
            let world = world.clone();
            thread::spawn(move || {
                let p = world.steal()?;
                world.use_p(p);
                Some(world.give(Some(p)))
            })
        };
        let rescue = {
            let world = world.clone();
            thread::spawn(move || world.give(None))
        };
        let parked = world.handler();
        let given = thief.join().unwrap();
        let rescued = rescue.join().unwrap();
        assert!(u32::from(given == Some(true)) + u32::from(rescued) <= u32::from(parked));
        if parked {
            if given == Some(false) && !rescued {
                assert!(world.give(None));
            }
            assert_eq!(world.woken().is_some(), given == Some(true));
        }
        // Released without a P, or robbed and not parked: it enters like any that lost its own.
        let entered = world.enter();
        assert_eq!(entered.is_none(), given == Some(false));
        if let Some(p) = entered {
            world.use_p(p);
        }
    });
}

#[test]
fn loom_give_back_in_place_against_entering_and_the_handler() {
    for handler in [false, true] {
        check(4, move || {
            let world = World::new();
            let p = world.steal().expect("it is outside");
            let monitor = {
                let world = world.clone();
                thread::spawn(move || {
                    world.use_p(p);
                    let seen = world.word.load();
                    let back = seen.state() == State::Stolen && world.word.give_back(seen, p);
                    if !back {
                        // Still in this hand.
                        world.use_p(p);
                    }
                    back
                })
            };
            let parked = handler && world.handler();
            let entered = if parked { None } else { world.enter() };
            if let Some(p) = entered {
                world.use_p(p);
            }
            let back = monitor.join().unwrap();
            assert_eq!(entered.is_some(), back);
        });
    }
}

// ---- L12: the stack of the preempted ----

#[test]
fn loom_l12_each_that_was_pushed_is_taken_once_also_when_it_comes_again() {
    check(3, || {
        struct Two {
            stack: Preempted,
            links: [AtomicU32; 2],
            taken: [AtomicU32; 2],
        }
        let two = Arc::new(Two {
            stack: Preempted::new(),
            links: [AtomicU32::new(0), AtomicU32::new(0)],
            taken: [AtomicU32::new(0), AtomicU32::new(0)],
        });
        let take = |two: &Two| {
            two.stack.take_all(
                |i| &two.links[i as usize],
                |i| _ = two.taken[i as usize].fetch_add(1, Ordering::AcqRel),
            );
        };
        let again = {
            let two = two.clone();
            thread::spawn(move || {
                two.stack.push(0, &two.links[0]);
                // Only when it was claimed, which comes after it was taken.
                if two.taken[0].load(Ordering::Acquire) == 1 {
                    two.stack.push(0, &two.links[0]);
                    return 2;
                }
                1
            })
        };
        let once = {
            let two = two.clone();
            thread::spawn(move || two.stack.push(1, &two.links[1]))
        };
        take(&two);
        take(&two);
        once.join().unwrap();
        let pushed = again.join().unwrap();
        take(&two);
        assert!(two.stack.is_empty());
        assert_eq!(two.taken[0].load(Ordering::Acquire), pushed);
        assert_eq!(two.taken[1].load(Ordering::Acquire), 1);
    });
}
