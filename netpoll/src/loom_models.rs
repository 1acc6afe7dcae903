//! Loom models of the record and the kick: every interleaving of small scenes.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p goweft-netpoll --lib --release`.
//!
//! The kernel is modelled by a number of units that can be taken (bytes, connections): who
//! adds one delivers an event afterwards, as the poller does after it has fetched the edge.
//! A waiter that is never woken is a deadlock, which loom reports. The record's lock is loom's
//! mutex, because spinning has no end in a model; the spin lock has a model of its own.

use crate::{
    Direction::{Read, Write},
    kick::Flag,
    lock::Spin,
    record::{Finished, Prepared, Record},
    waiter::{Wait, Waiter},
};
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Notify,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// One socket and those who may wait for it; a waiter's `who` is its place in `parkers`.
struct Scene {
    record: Record,
    units: AtomicUsize,
    parkers: Vec<Notify>,
}

impl Scene {
    fn new(parkers: usize) -> (Arc<Self>, u32) {
        let record = Record::new();
        let generation = record.open();
        let scene = Self {
            record,
            units: AtomicUsize::new(0),
            parkers: (0..parkers).map(|_| Notify::new()).collect(),
        };
        (Arc::new(scene), generation)
    }

    fn wake(&self, waiter: Waiter) {
        self.parkers[waiter.who].notify();
    }

    /// The kernel and the poller: `n` units become available, and one edge tells so.
    fn arrive(&self, generation: u32, n: usize) {
        // Relaxed: only the record orders this before the attempts that must see it.
        self.units.fetch_add(n, Ordering::Relaxed);
        self.record
            .event(generation, true, false, &mut |w| self.wake(w));
    }

    /// Takes a unit if there is one.
    fn attempt(&self) -> bool {
        let mut units = self.units.load(Ordering::Relaxed);
        while units > 0 {
            match self.units.compare_exchange(
                units,
                units - 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => units = now,
            }
        }
        false
    }

    /// Waits until it has taken a unit (true) or the record is closed (false).
    fn take(&self, who: usize) -> bool {
        let wait = Wait::new();
        loop {
            let seen = self.record.seen(Read);
            if self.attempt() {
                self.record.pass_on(Read, &mut |w| self.wake(w));
                return true;
            }
            let waiter = Waiter { who, ticket: 0 };
            // SAFETY: `wait` stays in this frame, and `finish` follows in this iteration.
            match unsafe { self.record.prepare(Read, seen, &wait, waiter) } {
                Prepared::Ready => continue,
                Prepared::Closed => return false,
                Prepared::Waiting => self.parkers[who].wait(),
            }
            // SAFETY: prepared above.
            let finished = unsafe { self.record.finish(Read, &wait) };
            wait.reuse();
            if finished == Finished::Closed {
                return false;
            }
        }
    }

    /// Waits once, without parking: the timer runs off at once. True if it took a unit.
    fn take_or_give_up(&self, who: usize) -> bool {
        let wait = Wait::new();
        let seen = self.record.seen(Read);
        if self.attempt() {
            return true;
        }
        let waiter = Waiter { who, ticket: 0 };
        // SAFETY: `wait` stays in this frame, and `finish` follows.
        match unsafe { self.record.prepare(Read, seen, &wait, waiter) } {
            Prepared::Waiting => {}
            Prepared::Ready | Prepared::Closed => return false,
        }
        // SAFETY: prepared above.
        let finished = unsafe { self.record.finish(Read, &wait) };
        wait.reuse();
        if finished == Finished::Event {
            // It gives up, and passes on the turn that it was given.
            self.record.pass_on(Read, &mut |w| self.wake(w));
        }
        false
    }
}

fn bounded(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(f);
}

#[test]
fn an_event_between_attempt_and_wait_is_not_lost() {
    loom::model(|| {
        let (scene, generation) = Scene::new(1);
        let waiter = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || assert!(scene.take(0)))
        };
        scene.arrive(generation, 1);
        waiter.join().unwrap();
    });
}

#[test]
fn one_edge_with_units_for_two_serves_both_waiters() {
    bounded(3, || {
        let (scene, generation) = Scene::new(2);
        let waiters: Vec<_> = (0..2)
            .map(|who| {
                let scene = Arc::clone(&scene);
                thread::spawn(move || assert!(scene.take(who)))
            })
            .collect();
        scene.arrive(generation, 2);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn two_edges_with_a_unit_each_serve_both_waiters() {
    bounded(2, || {
        let (scene, generation) = Scene::new(2);
        let waiters: Vec<_> = (0..2)
            .map(|who| {
                let scene = Arc::clone(&scene);
                thread::spawn(move || assert!(scene.take(who)))
            })
            .collect();
        scene.arrive(generation, 1);
        scene.arrive(generation, 1);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn a_waiter_that_gives_up_passes_its_turn_on() {
    bounded(3, || {
        let (scene, generation) = Scene::new(2);
        let impatient = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.take_or_give_up(0))
        };
        let patient = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || assert!(scene.take(1)))
        };
        // Two, since the impatient one may get one.
        scene.arrive(generation, 2);
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

#[test]
fn closing_ends_every_wait() {
    bounded(3, || {
        let (scene, _) = Scene::new(2);
        let waiters: Vec<_> = (0..2)
            .map(|who| {
                let scene = Arc::clone(&scene);
                thread::spawn(move || assert!(!scene.take(who)))
            })
            .collect();
        assert!(scene.record.close(&mut |w| scene.wake(w)));
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(scene.record.seen(Write).is_closed());
    });
}

#[test]
fn an_event_and_a_close_at_once_wake_a_waiter_and_leave_nobody() {
    bounded(3, || {
        let (scene, generation) = Scene::new(1);
        let waiter = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.take(0))
        };
        let closer = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.record.close(&mut |w| scene.wake(w)))
        };
        scene.arrive(generation, 1);
        waiter.join().unwrap();
        assert!(closer.join().unwrap());
    });
}

#[test]
fn notify_wakes_who_waited_and_leaves_the_wait_to_go_on() {
    bounded(3, || {
        let (scene, _) = Scene::new(1);
        let moved = Arc::new(AtomicBool::new(false));
        let waiter = {
            let (scene, moved) = (Arc::clone(&scene), Arc::clone(&moved));
            thread::spawn(move || {
                let wait = Wait::new();
                // What a caller with deadlines does: queue, then look at the deadline, then park.
                let seen = scene.record.seen(Read);
                let waiter = Waiter { who: 0, ticket: 0 };
                // SAFETY: `wait` stays in this frame, and `finish` follows.
                let prepared = unsafe { scene.record.prepare(Read, seen, &wait, waiter) };
                assert_eq!(prepared, Prepared::Waiting);
                if !moved.load(Ordering::Acquire) {
                    scene.parkers[0].wait();
                }
                // SAFETY: prepared above.
                let finished = unsafe { scene.record.finish(Read, &wait) };
                assert_eq!(finished, Finished::Nothing);
                assert!(moved.load(Ordering::Acquire));
            })
        };
        moved.store(true, Ordering::Release);
        scene.record.notify(Read, &mut |w| scene.wake(w));
        waiter.join().unwrap();
    });
}

#[test]
fn a_late_event_does_not_wake_the_next_user_of_the_record() {
    bounded(3, || {
        let (scene, old) = Scene::new(1);
        let late = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || {
                scene.record.event(old, true, true, &mut |w| {
                    panic!("a stranger was woken: {w:?}");
                })
            })
        };
        scene.record.close(&mut |_| ());
        let new = scene.record.open();
        assert_ne!(new, old);
        let seen = scene.record.seen(Read);
        let wait = Wait::new();
        let waiter = Waiter { who: 0, ticket: 1 };
        // SAFETY: `wait` stays in this frame, and `finish` follows.
        let prepared = unsafe { scene.record.prepare(Read, seen, &wait, waiter) };
        assert_eq!(prepared, Prepared::Waiting);
        late.join().unwrap();
        // SAFETY: prepared above.
        assert_eq!(
            unsafe { scene.record.finish(Read, &wait) },
            Finished::Nothing
        );
    });
}

#[test]
fn the_spin_lock_excludes() {
    bounded(2, || {
        let locked = Arc::new((Spin::new(), UnsafeCell::new(0)));
        let add = |locked: &(Spin, UnsafeCell<i32>)| {
            let held = locked.0.hold();
            // SAFETY: under the lock; loom reports it if another thread is here.
            locked.1.with_mut(|value| unsafe { *value += 1 });
            drop(held);
        };
        let other = {
            let locked = Arc::clone(&locked);
            thread::spawn(move || add(&locked))
        };
        add(&locked);
        other.join().unwrap();
        let held = locked.0.hold();
        // SAFETY: under the lock.
        assert_eq!(locked.1.with(|value| unsafe { *value }), 2);
        drop(held);
    });
}

/// The eventfd of a [`Flag`]: written at most once a kick, its edge fetched by one poll.
struct Kicked {
    flag: Flag,
    written: AtomicBool,
    edge: Notify,
}

impl Kicked {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flag: Flag::new(),
            written: AtomicBool::new(false),
            edge: Notify::new(),
        })
    }

    fn kick(&self) {
        if self.flag.set() {
            // A swap, as a write adds to an eventfd's counter: loom orders a plain store that
            // races with swaps more loosely than C11 does.
            self.written.swap(true, Ordering::AcqRel);
            self.edge.notify();
        }
    }

    /// A poll without a timeout: only a kick ends it.
    fn wait(&self) {
        if !self.flag.take() {
            while !self.written.swap(false, Ordering::AcqRel) {
                self.edge.wait();
            }
            self.flag.take();
        }
    }

    /// A poll that does not wait.
    fn look(&self) {
        self.written.swap(false, Ordering::AcqRel);
    }
}

#[test]
fn a_timer_set_while_the_poller_decides_to_wait_is_seen() {
    // PROTOCOL 16 in short: the poller stores that it waits, fences, looks at the timers,
    // polls; the setter stores the timer, fences, and kicks if somebody waits.
    loom::model(|| {
        let kicked = Kicked::new();
        let waits = Arc::new(AtomicBool::new(false));
        let timer = Arc::new(AtomicBool::new(false));
        let setter = {
            let (kicked, waits, timer) =
                (Arc::clone(&kicked), Arc::clone(&waits), Arc::clone(&timer));
            thread::spawn(move || {
                timer.store(true, Ordering::Relaxed);
                loom::sync::atomic::fence(Ordering::SeqCst);
                if waits.load(Ordering::Relaxed) {
                    kicked.kick();
                }
            })
        };
        waits.store(true, Ordering::Relaxed);
        loom::sync::atomic::fence(Ordering::SeqCst);
        if !timer.load(Ordering::Relaxed) {
            kicked.wait();
        }
        assert!(timer.load(Ordering::Relaxed));
        setter.join().unwrap();
    });
}

#[test]
fn every_kicker_is_seen_by_a_poll_that_returns() {
    bounded(3, || {
        let kicked = Kicked::new();
        let done = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let kickers: Vec<_> = (0..2)
            .map(|i| {
                let (kicked, done) = (Arc::clone(&kicked), Arc::clone(&done));
                thread::spawn(move || {
                    done[i].store(true, Ordering::Relaxed);
                    kicked.kick();
                })
            })
            .collect();
        // Polls until it has seen both: if a kick were lost, this would wait for ever.
        while !done.iter().all(|d| d.load(Ordering::Relaxed)) {
            kicked.wait();
        }
        for kicker in kickers {
            kicker.join().unwrap();
        }
    });
}

#[test]
fn a_poll_that_does_not_wait_leaves_the_kick_to_one_that_does() {
    loom::model(|| {
        let kicked = Kicked::new();
        let kicker = {
            let kicked = Arc::clone(&kicked);
            thread::spawn(move || kicked.kick())
        };
        // Polls take turns: the looker has finished before the waiter begins.
        kicked.look();
        kicked.wait();
        kicker.join().unwrap();
    });
}
