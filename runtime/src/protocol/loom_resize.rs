//! Loom models of a change of `maxprocs` against theft and handler: L10.
//!
//! One M, which owns the second of two Ps, the first of which is idle. The second is taken out,
//! and let in again, while the monitor takes it, the M puts it down, and the handler parks the M.
//! In the end each P is in one place, and in the right one, and its work is where somebody comes.

use super::atomic::{AtomicUsize, Ordering};
use super::idle_set::{IdleSet, Link, Place};
use super::loom_owner::{World, check};
use super::mword::State;
use super::sleep::Sleep;
use loom::sync::{Arc, Mutex};
use loom::thread;

/// What the set keeps of a P; its data is in [`World`].
struct Proc {
    index: usize,
    link: Link<Proc>,
    /// How much is in its queue.
    work: AtomicUsize,
}

// SAFETY: the link is touched under the lock of the set only.
unsafe impl Sync for Proc {}

impl Place for Proc {
    fn index(&self) -> usize {
        self.index
    }

    fn link(&self) -> &Link<Proc> {
        &self.link
    }
}

struct Machine {
    world: Arc<World>,
    /// For ever, as the real ones; a model's run is short.
    procs: [&'static Proc; 2],
    maxprocs: AtomicUsize,
    sleep: Sleep,
    idle: Mutex<IdleSet<Proc>>,
    /// How much is in the global queue.
    global: AtomicUsize,
}

impl Machine {
    fn new() -> Arc<Machine> {
        let procs = [0, 1].map(|index| -> &'static Proc {
            Box::leak(Box::new(Proc {
                index,
                link: Link::new(),
                work: AtomicUsize::new(1),
            }))
        });
        let machine = Machine {
            world: World::owning(1),
            procs,
            maxprocs: AtomicUsize::new(2),
            sleep: Sleep::new(),
            idle: Mutex::new(IdleSet::new()),
            global: AtomicUsize::new(0),
        };
        {
            let mut idle = machine.idle.lock().unwrap();
            procs.iter().for_each(|p| idle.admit(&machine.sleep, p));
            // The last to come is the first to go: the one that the M owns.
            assert_eq!(idle.pop(&machine.sleep).map(|p| p.index), Some(1));
        }
        Arc::new(machine)
    }

    /// `start::change_procs`.
    fn resize(&self, n: usize) {
        let mut idle = self.idle.lock().unwrap();
        let before = self.maxprocs.load(Ordering::Relaxed);
        self.maxprocs.store(n, Ordering::Relaxed);
        let dismissed = idle.dismiss(&self.sleep, n);
        for p in self
            .procs
            .iter()
            .skip(before)
            .take(n.saturating_sub(before))
        {
            idle.admit(&self.sleep, p);
        }
        drop(idle);
        dismissed.for_each(|p| self.stop(p.index));
    }

    fn is_retired(&self, p: usize) -> bool {
        p >= self.maxprocs.load(Ordering::Relaxed)
    }

    /// `idle::rest_p`: a P that the caller holds and its word does not name.
    fn put_down(&self, p: usize) {
        self.world.use_p(p);
        let mut idle = self.idle.lock().unwrap();
        if self.is_retired(p) {
            drop(idle);
            self.stop(p);
        } else {
            idle.push(&self.sleep, self.procs[p]);
        }
    }

    /// `idle::stop`.
    fn stop(&self, p: usize) {
        self.world.use_p(p);
        let work = self.procs[p].work.swap(0, Ordering::Relaxed);
        self.global.fetch_add(work, Ordering::Relaxed);
        let mut idle = self.idle.lock().unwrap();
        let maxprocs = self.maxprocs.load(Ordering::Relaxed);
        idle.push_or_stop(&self.sleep, maxprocs, self.procs[p]);
    }

    fn take_idle(&self) -> Option<usize> {
        let p = self.idle.lock().unwrap().pop(&self.sleep)?.index;
        self.world.use_p(p);
        Some(p)
    }

    /// A theft, as far as `hand_over`: to the M, parked by then, or to where it belongs.
    fn rob(&self) {
        let Some(p) = self.world.steal() else { return };
        self.world.use_p(p);
        if self.is_retired(p) || !self.world.give(Some(p)) {
            self.put_down(p);
        }
    }

    /// Enters, schedules once, and leaves. True: its handler parked it.
    fn turn(&self, handler_at: usize) -> bool {
        if handler_at == 0 && self.world.handler() {
            return true;
        }
        let mine = self.world.enter().or_else(|| {
            let p = self.take_idle()?;
            self.world.word.own(p);
            Some(p)
        });
        if let Some(p) = mine {
            self.world.use_p(p);
            if self.is_retired(p) {
                self.world.word.disown();
                self.put_down(p);
            }
        }
        self.world.rt.leave();
        handler_at == 1 && self.world.handler()
    }

    /// Nobody moves any more: each P is in its place, and in no other.
    fn everything_is_in_its_place(&self) {
        let mut found = [0; 2];
        let mut idle = self.idle.lock().unwrap();
        assert!(!matches!(self.world.word.load().state(), State::Pending));
        if let Some(p) = self.world.word.load().owned_p() {
            found[p] += 1;
        }
        for p in self.procs.iter().filter(|p| p.link.is_stopped()) {
            assert!(self.is_retired(p.index), "it takes part, and stands still");
            let work = p.work.load(Ordering::Relaxed);
            assert_eq!(work, 0, "it waits where nobody comes");
            found[p.index] += 1;
        }
        let mut counted = self.sleep.idle_now();
        while let Some(p) = idle.pop(&self.sleep) {
            assert!(!self.is_retired(p.index), "it is idle, and takes no part");
            found[p.index] += 1;
            counted -= 1;
        }
        assert_eq!(counted, 0);
        assert_eq!(found, [1, 1], "each is in one place");
        let queued = |p: &&Proc| p.work.load(Ordering::Relaxed);
        let queued: usize = self.procs.iter().map(|p| queued(&p)).sum();
        let global = self.global.load(Ordering::Relaxed);
        assert_eq!(global + queued, 2, "nothing is lost");
    }
}

#[test]
fn loom_l10_a_p_that_is_taken_out_and_let_in_again_is_in_one_place() {
    for (sizes, handler_at) in [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)] {
        check(3, move || {
            let machine = Machine::new();
            let monitor = {
                let machine = machine.clone();
                thread::spawn(move || machine.rob())
            };
            let resizer = {
                let machine = machine.clone();
                thread::spawn(move || {
                    machine.resize(1);
                    if sizes == 2 {
                        machine.resize(2);
                    }
                })
            };
            let parked = machine.turn(handler_at);
            monitor.join().unwrap();
            resizer.join().unwrap();
            if parked {
                // As the next tick would do it: an idle P for the one that is parked.
                if let Some(p) = machine.take_idle()
                    && !machine.world.give(Some(p))
                {
                    machine.put_down(p);
                }
                let p = machine.world.woken().expect("there is a P for it");
                machine.world.use_p(p);
            }
            machine.everything_is_in_its_place();
        });
    }
}
