//! Loom models of a change of `maxprocs` against theft and handler: L10.
//!
//! One M, which owns the second of two Ps, the first of which is idle. The second is taken out,
//! and let in again, while the monitor takes it, the M puts it down, and the handler parks the M.
//! In the end each P is in one place, and in the right one, and its work is where somebody comes.
//!
//! And of two who change it at once, of three Ps that are idle.

use super::atomic::{AtomicUsize, Ordering};
use super::idle_set::{IdleSet, Link, Place};
use super::loom_owner::{World, check};
use super::mword::State;
use super::sleep::Sleep;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

/// What the set keeps of a P, and its queue; its other data is in [`World`].
struct Proc {
    index: usize,
    link: Link<Proc>,
    /// How much is in its queue. Its holder's.
    work: UnsafeCell<usize>,
}

// SAFETY: the link is touched under the lock of the set, or by who took the P out of it; the work
// by its holder, which loom checks.
unsafe impl Sync for Proc {}

impl Place for Proc {
    fn index(&self) -> usize {
        self.index
    }

    fn link(&self) -> &Link<Self> {
        &self.link
    }
}

/// The Ps, each with a piece of work in its queue.
struct Procs {
    /// For ever, as the real ones; a model's run is short.
    all: Vec<&'static Proc>,
    maxprocs: AtomicUsize,
    sleep: Sleep,
    idle: Mutex<IdleSet<Proc>>,
    /// How much is in the global queue.
    global: AtomicUsize,
}

impl Procs {
    /// So many, and all idle.
    fn new(n: usize) -> Procs {
        let proc = |index| -> &'static Proc {
            Box::leak(Box::new(Proc {
                index,
                link: Link::new(),
                work: UnsafeCell::new(1),
            }))
        };
        let procs = Procs {
            all: (0..n).map(proc).collect(),
            maxprocs: AtomicUsize::new(n),
            sleep: Sleep::new(),
            idle: Mutex::new(IdleSet::new()),
            global: AtomicUsize::new(0),
        };
        {
            let mut idle = procs.idle.lock().unwrap();
            procs.all.iter().for_each(|p| idle.admit(&procs.sleep, p));
        }
        procs
    }

    /// `start::change_procs`.
    fn resize(&self, n: usize) {
        let mut idle = self.idle.lock().unwrap();
        let before = self.maxprocs.load(Ordering::Relaxed);
        self.maxprocs.store(n, Ordering::Relaxed);
        let dismissed = idle.dismiss(&self.sleep, n);
        for p in self.all.iter().skip(before).take(n.saturating_sub(before)) {
            idle.admit(&self.sleep, p);
        }
        drop(idle);
        dismissed.for_each(|p| self.stop(p.index));
    }

    fn is_retired(&self, p: usize) -> bool {
        p >= self.maxprocs.load(Ordering::Relaxed)
    }

    /// `idle::rest_p`: a P that the caller holds.
    fn put_down(&self, p: usize) {
        let mut idle = self.idle.lock().unwrap();
        let maxprocs = self.maxprocs.load(Ordering::Relaxed);
        let takes_part = idle.try_push(&self.sleep, maxprocs, self.all[p]);
        drop(idle);
        if !takes_part {
            self.stop(p);
        }
    }

    /// `idle::stop`.
    fn stop(&self, p: usize) {
        // SAFETY: the caller holds it, and loom checks that nobody else does.
        let work = self.all[p]
            .work
            .with_mut(|work| unsafe { std::mem::take(&mut *work) });
        self.global.fetch_add(work, Ordering::Relaxed);
        let mut idle = self.idle.lock().unwrap();
        let maxprocs = self.maxprocs.load(Ordering::Relaxed);
        idle.push_or_stop(&self.sleep, maxprocs, self.all[p]);
    }

    fn take_idle(&self) -> Option<usize> {
        Some(self.idle.lock().unwrap().pop(&self.sleep)?.index)
    }

    /// Nobody moves any more: each P is in its place, and in no other, but for the one that is
    /// `owned`.
    fn everything_is_in_its_place(&self, owned: Option<usize>) {
        let mut found = vec![0; self.all.len()];
        if let Some(p) = owned {
            found[p] += 1;
        }
        // SAFETY: nobody holds it any more.
        let queued = |p: &Proc| p.work.with(|work| unsafe { *work });
        for p in self.all.iter().filter(|p| p.link.is_stopped()) {
            assert!(self.is_retired(p.index), "it takes part, and stands still");
            assert_eq!(queued(p), 0, "it waits where nobody comes");
            found[p.index] += 1;
        }
        let mut idle = self.idle.lock().unwrap();
        let mut counted = self.sleep.idle_now();
        while let Some(p) = idle.pop(&self.sleep) {
            assert!(!self.is_retired(p.index), "it is idle, and takes no part");
            found[p.index] += 1;
            counted -= 1;
        }
        assert_eq!(counted, 0);
        assert!(
            found.iter().all(|places| *places == 1),
            "each is in one place: {found:?}"
        );
        let queued: usize = self.all.iter().map(|p| queued(p)).sum();
        let global = self.global.load(Ordering::Relaxed);
        assert_eq!(global + queued, self.all.len(), "nothing is lost");
    }
}

struct Machine {
    world: Arc<World>,
    procs: Procs,
}

impl Machine {
    fn new() -> Arc<Machine> {
        let machine = Machine {
            world: World::owning(1),
            procs: Procs::new(2),
        };
        // The last to come is the first to go: the one that the M owns.
        assert_eq!(machine.procs.take_idle(), Some(1));
        Arc::new(machine)
    }

    /// A P that the caller holds and its word does not name.
    fn put_down(&self, p: usize) {
        self.world.use_p(p);
        self.procs.put_down(p);
    }

    fn take_idle(&self) -> Option<usize> {
        let p = self.procs.take_idle()?;
        self.world.use_p(p);
        Some(p)
    }

    /// A theft, as far as `hand_over`: to the M, parked by then, or to where it belongs.
    fn rob(&self) {
        let Some(p) = self.world.steal() else { return };
        self.world.use_p(p);
        if self.procs.is_retired(p) || !self.world.give(Some(p)) {
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
            if self.procs.is_retired(p) {
                self.world.word.disown();
                self.put_down(p);
            }
        }
        self.world.rt.leave();
        handler_at == 1 && self.world.handler()
    }

    fn everything_is_in_its_place(&self) {
        let word = self.world.word.load();
        assert!(!matches!(word.state(), State::Pending));
        self.procs.everything_is_in_its_place(word.owned_p());
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
                    machine.procs.resize(1);
                    if sizes == 2 {
                        machine.procs.resize(2);
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

#[test]
fn loom_l10_two_who_change_their_number_leave_each_p_in_one_place() {
    for first in [1, 2] {
        check(3, move || {
            let procs = Arc::new(Procs::new(3));
            let other = {
                let procs = procs.clone();
                thread::spawn(move || {
                    procs.resize(first);
                    procs.resize(3);
                })
            };
            procs.resize(1);
            other.join().unwrap();
            procs.everything_is_in_its_place(None);
        });
    }
}
