//! Loom models of the monitor's sleep: L6.
//!
//! The bell counts, as the kernel's does: here it is a number under a lock. A monitor that lies
//! down without it having been rung does not come back, and what is true then is judged at the
//! end: that it slept is no fault when there was nothing for it to see.

use super::alarm::Alarm;
use super::atomic::{AtomicU32, AtomicU64, Ordering};
use super::poll_gate::PollGate;
use super::preempted::Preempted;
use super::runnext::RunNext;
use super::sleep::Sleep;
use loom::sync::{Arc, Mutex};
use loom::thread;

/// A model with at most `preemptions` involuntary switches.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

const PROCS: usize = 2;
const GOROUTINE: usize = 8;

/// What the monitor looks at, and what wakes it.
struct World {
    alarm: Alarm,
    bell: Mutex<u32>,
    sleep: Sleep,
    idle: Mutex<usize>,
    runnext: RunNext,
    taken: AtomicU32,
    preempted: Preempted,
    link: AtomicU32,
    served: AtomicU32,
}

/// How the monitor's sleep ended.
#[derive(PartialEq, Debug)]
enum Slept {
    /// It was rung, or did not sleep.
    No,
    /// It sleeps without a timeout.
    Deep,
    /// It naps, and ticks again.
    Nap,
}

impl World {
    /// All Ps are idle.
    fn new() -> Arc<World> {
        let world = World {
            alarm: Alarm::new(),
            bell: Mutex::new(0),
            sleep: Sleep::new(),
            idle: Mutex::new(0),
            runnext: RunNext::new(),
            taken: AtomicU32::new(0),
            preempted: Preempted::new(),
            link: AtomicU32::new(0),
            served: AtomicU32::new(0),
        };
        for _ in 0..PROCS {
            world.rest();
        }
        Arc::new(world)
    }

    fn kick(&self) {
        if self.alarm.must_ring() {
            *self.bell.lock().unwrap() += 1;
        }
    }

    /// `monitor::wake_if_asleep`.
    fn wake_if_asleep(&self) {
        if self.alarm.is_asleep() {
            self.kick();
        }
    }

    /// Takes a P from the idle set.
    fn pop_idle(&self) -> bool {
        let mut idle = self.idle.lock().unwrap();
        if *idle == 0 {
            return false;
        }
        *idle -= 1;
        self.sleep.busy();
        true
    }

    /// Puts one there.
    fn rest(&self) {
        let mut idle = self.idle.lock().unwrap();
        *idle += 1;
        self.sleep.idle();
    }

    fn all_idle(&self) -> bool {
        self.sleep.idle_now() >= PROCS
    }

    /// `bell.wait`: false, nobody has rung so far.
    fn is_rung(&self) -> bool {
        std::mem::take(&mut *self.bell.lock().unwrap()) != 0
    }

    /// The monitor's sleep, as `Monitor::sleep` chooses it.
    fn sleep(&self, all_were_idle: bool) -> Slept {
        let mut slept = Slept::No;
        if all_were_idle {
            self.alarm.lie_down();
            if self.all_idle() && !self.is_rung() {
                slept = Slept::Deep;
            }
        } else if !self.is_rung() {
            slept = Slept::Nap;
        }
        if slept != Slept::Deep {
            self.wake();
        }
        slept
    }

    fn wake(&self) {
        self.alarm.get_up();
        self.alarm.heard();
    }

    /// `watch_queue`: the monitor takes a `runnext` beside an idle P.
    fn watch_queue(&self) {
        if self.sleep.idle_now() != 0 && self.runnext.take().is_some() {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// `serve_bound`.
    fn serve_bound(&self) {
        if self.sleep.idle_now() != 0 && !self.preempted.is_empty() {
            self.serve();
        }
    }

    fn serve(&self) {
        if self.pop_idle() {
            self.preempted.take_all(
                |_| &self.link,
                |_| _ = self.served.fetch_add(1, Ordering::Relaxed),
            );
        }
    }
}

/// A P becomes busy, and its goroutine makes another runnable and computes, or takes it itself
/// and lets the P rest.
#[test]
fn loom_l6_the_monitor_ticks_while_a_runnext_waits_and_sleeps_when_none_does() {
    for comes_back in [false, true] {
        check(4, move || {
            let world = World::new();
            let owner = {
                let world = world.clone();
                thread::spawn(move || {
                    assert!(world.pop_idle());
                    world.wake_if_asleep();
                    assert!(world.runnext.put(GOROUTINE).is_none());
                    if comes_back {
                        if world.runnext.take().is_some() {
                            world.taken.fetch_add(1, Ordering::Relaxed);
                        }
                        world.rest();
                    }
                })
            };
            let mut slept = Slept::No;
            for _ in 0..2 {
                let all_were_idle = world.all_idle();
                world.watch_queue();
                slept = world.sleep(all_were_idle);
                if slept == Slept::Deep {
                    break;
                }
            }
            owner.join().unwrap();
            if slept == Slept::Deep && world.is_rung() {
                world.wake();
                slept = Slept::No;
            }
            if slept == Slept::Deep {
                assert!(world.all_idle(), "asleep beside a busy P");
            } else {
                // The next tick, which comes by itself.
                world.watch_queue();
            }
            assert_eq!(world.taken.load(Ordering::Relaxed), 1, "taken once");
        });
    }
}

/// Two with something for the monitor, one of whom does not ring because the other has.
#[test]
fn loom_l6_what_was_kicked_for_is_seen_before_the_monitor_sleeps_on() {
    check(4, || {
        let world = World::new();
        let published = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let kickers: Vec<_> = (0..2)
            .map(|i| {
                let (world, published) = (world.clone(), published.clone());
                thread::spawn(move || {
                    published[i].store(1, Ordering::Relaxed);
                    world.kick();
                })
            })
            .collect();
        let look = || {
            published
                .iter()
                .map(|p| p.load(Ordering::Relaxed))
                .sum::<u32>()
        };
        let mut seen = look();
        let mut slept = Slept::No;
        for _ in 0..3 {
            slept = world.sleep(true);
            if slept == Slept::Deep {
                break;
            }
            seen = look();
        }
        for k in kickers {
            k.join().unwrap();
        }
        if slept == Slept::Deep && !world.is_rung() {
            assert_eq!(seen, 2, "asleep, and nobody rings");
        }
    });
}

/// The pusher's half of step 9 in the handler: it rings, and does no more.
#[test]
fn loom_l6_one_that_its_handler_parks_is_served_by_whoever_goes_to_rest_or_by_the_monitor() {
    check(3, || {
        let world = World::new();
        // One P is busy: its M goes to rest.
        assert!(world.pop_idle());
        assert!(world.pop_idle());
        let goer = {
            let world = world.clone();
            thread::spawn(move || {
                world.rest();
                world.sleep.before_second_look(false);
                if !world.preempted.is_empty() {
                    world.serve();
                }
            })
        };
        let handler = {
            let world = world.clone();
            thread::spawn(move || {
                world.preempted.push(0, &world.link);
                if world.sleep.monitor_wanted() {
                    world.kick();
                }
            })
        };
        // The monitor, on the point of sleeping for ever: what only a kick ends.
        world.serve_bound();
        let rung = world.is_rung();
        if rung {
            world.wake();
            world.serve_bound();
        }
        goer.join().unwrap();
        handler.join().unwrap();
        if world.is_rung() {
            world.wake();
            world.serve_bound();
        }
        assert_eq!(
            world.served.load(Ordering::Relaxed),
            1,
            "parked beside an idle P, and nobody comes"
        );
    });
}

/// All Ps compute: what a plain thread wakes, what a thread without a P queues, and a timer
/// that is set, each end a long nap, or were seen before it.
#[test]
fn loom_l6_a_nap_is_not_slept_past_what_is_woken_queued_or_set_meanwhile() {
    const LATER: u64 = 100;
    for begins in [false, true] {
        check(4, move || {
            let world = World::new();
            let (queue, heap) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(LATER)));
            let (gates, heap_of_setter) =
                (Arc::new([PollGate::new(), PollGate::new()]), heap.clone());
            let waker = {
                let (world, queue) = (world.clone(), queue.clone());
                thread::spawn(move || {
                    queue.store(1, Ordering::Relaxed);
                    let told = if begins {
                        world.alarm.begun()
                    } else {
                        world.alarm.queued()
                    };
                    if told {
                        world.kick();
                    }
                })
            };
            let setter = {
                let (world, gates) = (world.clone(), gates.clone());
                thread::spawn(move || {
                    heap_of_setter.store(20, Ordering::Relaxed);
                    // The poller's gate, then the monitor's after its fence.
                    assert!(!gates[0].must_kick(20));
                    if gates[1].is_late(20) {
                        world.kick();
                    }
                })
            };
            let (mut seen, mut until) = (0, 0);
            for tick in 0..2 {
                // What is said before the look at the queue is seen by that look.
                let begun = world.alarm.take_begun();
                assert!(begins || !begun);
                seen = queue.load(Ordering::Relaxed);
                let nothing_said = world.alarm.listen();
                gates[1].close(LATER);
                until = heap.load(Ordering::Relaxed);
                let naps = nothing_said && !world.is_rung() && tick == 1;
                if naps {
                    break;
                }
                gates[1].open();
                world.alarm.stop_listening();
                world.alarm.heard();
                until = 0;
            }
            waker.join().unwrap();
            setter.join().unwrap();
            if until != 0 && !world.is_rung() {
                assert_eq!(seen, 1, "it naps on, and does not know of the queue");
                assert!(until <= 20, "it naps on, past the timer");
            }
        });
    }
}
