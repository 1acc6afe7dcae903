//! Loom models of the protocols (L5, L7, L8, L9): every interleaving of a few
//! threads, every value that the memory model lets a load return.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p goweft --lib --release loom_`.

use super::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use super::gword::{GWord, Parked, Ready, State};
use super::local_queue::{Deque, LocalQueue};
use super::poll_gate::PollGate;
use super::sleep::Sleep;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::collections::VecDeque;

/// A model with at most `preemptions` involuntary switches: exhaustive up to
/// that bound, which finds what real schedules find.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

// ---- L7: park and ready ----

/// A goroutine as L7 needs it: its word, its "context", and how often it was
/// put on a queue.
struct Parker {
    word: GWord,
    /// Written before the park is committed, read by whoever resumes it.
    context: UnsafeCell<u64>,
    enqueued: AtomicUsize,
}

impl Parker {
    fn running() -> Parker {
        let word = GWord::new();
        word.spawn();
        word.start();
        Parker {
            word,
            context: UnsafeCell::new(0),
            enqueued: AtomicUsize::new(0),
        }
    }

    /// Runnable: whoever enqueues it may resume it at once, so it must see the
    /// context whole.
    fn enqueue(&self) {
        // Exclusive access: a second resumer at the same time is a data race
        // that loom reports.
        self.context.with_mut(|c| {
            // SAFETY: one resumer at a time is what the model checks.
            assert_eq!(unsafe { *c }, 1, "resumed before its context was complete");
        });
        self.enqueued.fetch_add(1, Ordering::AcqRel);
    }

    fn commit(&self) {
        self.context.with_mut(|c| {
            // SAFETY: nobody resumes it before the commit below.
            unsafe { *c = 1 };
        });
        if self.word.commit_park() == Parked::Notified {
            self.enqueue();
        }
    }
}

#[test]
fn loom_l7_two_wakers_resume_it_once_and_a_stale_one_never() {
    check(3, || {
        let g = Arc::new(Parker::running());
        let stale = g.word.begin_park();
        g.word.cancel_park();
        let ticket = g.word.begin_park();
        let wakers: Vec<_> = [ticket, ticket, stale]
            .into_iter()
            .map(|t| {
                let g = g.clone();
                thread::spawn(move || {
                    let verdict = g.word.ready(t);
                    if verdict == Ready::Enqueue {
                        g.enqueue();
                    }
                    assert!(t != stale || verdict == Ready::Stale);
                })
            })
            .collect();
        g.commit();
        for w in wakers {
            w.join().unwrap();
        }
        assert_eq!(g.enqueued.load(Ordering::Acquire), 1);
    });
}

/// A thread sees by itself that its wait is over; then its block is the next one's. So the
/// waker reads what the block stands for before it ends the wait (`Inside::ready`).
#[test]
fn loom_l7_a_thread_that_ends_while_it_is_woken_is_still_known_as_a_thread() {
    const GOROUTINE: usize = 0;
    const THREAD: usize = 1;
    check(3, || {
        let block = Arc::new((Parker::running(), AtomicUsize::new(THREAD)));
        let ticket = block.0.word.begin_park();
        let waker = {
            let block = block.clone();
            thread::spawn(move || {
                let kind = block.1.load(Ordering::Relaxed);
                if block.0.word.ready(ticket) == Ready::Enqueue {
                    assert_eq!(kind, THREAD, "a dead block would be enqueued");
                }
            })
        };
        if block.0.word.commit_park() == Parked::Waiting {
            while block.0.word.load().0 == State::Waiting {
                thread::yield_now();
            }
        }
        block.0.word.end();
        block.1.store(GOROUTINE, Ordering::Relaxed);
        waker.join().unwrap();
    });
}

/// An `unpark` that comes late takes its ticket from a block that may be another's by now: one that
/// waits (a thread's), or one that is to begin later (`Inside::ready_now`).
#[test]
fn loom_l7_a_late_unpark_knows_what_the_block_stands_for() {
    const GOROUTINE: usize = 0;
    const THREAD: usize = 1;
    const LATER: usize = 2;
    for next in [THREAD, LATER] {
        check(3, move || {
            let block = Arc::new((Parker::running(), AtomicUsize::new(GOROUTINE)));
            let waker = {
                let block = block.clone();
                thread::spawn(move || {
                    let (_, ticket) = block.0.word.load();
                    let kind = block.1.load(Ordering::Relaxed);
                    if kind != LATER && block.0.word.ready(ticket) == Ready::Enqueue {
                        assert_eq!(kind, THREAD, "what is no goroutine would be enqueued");
                    }
                })
            };
            block.0.word.end();
            block.1.store(next, Ordering::Relaxed);
            if next == LATER {
                let ticket = block.0.word.begin_later();
                assert_eq!(block.0.word.ready(ticket), Ready::Enqueue, "it has begun");
                block.1.store(GOROUTINE, Ordering::Relaxed);
            } else {
                block.0.word.begin_park();
                let _ = block.0.word.commit_park();
            }
            waker.join().unwrap();
        });
    }
}

#[test]
fn loom_l7_a_held_goroutine_is_resumed_by_its_dumper_once() {
    check(3, || {
        let g = Arc::new(Parker::running());
        let ticket = g.word.begin_park();
        let waker = {
            let g = g.clone();
            thread::spawn(move || {
                if g.word.ready(ticket) == Ready::Enqueue {
                    g.enqueue();
                }
            })
        };
        let dumper = {
            let g = g.clone();
            thread::spawn(move || {
                if g.word.hold() {
                    // Walks the stack: nobody may resume it now.
                    g.context.with_mut(|c| {
                        // SAFETY: held.
                        assert_eq!(unsafe { *c }, 1);
                    });
                    if g.word.release() == Parked::Notified {
                        g.enqueue();
                    }
                }
            })
        };
        g.commit();
        waker.join().unwrap();
        dumper.join().unwrap();
        assert_eq!(g.enqueued.load(Ordering::Acquire), 1);
    });
}

#[test]
fn loom_l7_a_recycled_block_is_not_woken_by_its_former_life() {
    check(3, || {
        let g = Arc::new(Parker::running());
        let old = g.word.begin_park();
        let waker = {
            let g = g.clone();
            thread::spawn(move || g.word.ready(old))
        };
        // It did not have to wait, ended, and the block is another's now.
        g.word.cancel_park();
        g.word.end();
        g.word.spawn();
        g.word.start();
        let new = g.word.begin_park();
        g.commit();
        let verdict = waker.join().unwrap();
        assert_ne!(verdict, Ready::Enqueue);
        assert!(g.word.is_current(new), "the new wait is still on");
        assert_eq!(g.enqueued.load(Ordering::Acquire), 0);
    });
}

// ---- L5: sleep and wake ----

/// Where one M is, under the lock of the idle set.
type Place = AtomicUsize;
const ELSEWHERE: usize = 0;
const RESTS: usize = 1;
const CLAIMED: usize = 2;

/// Ms, Ps and one queue, as far as sleeping goes.
struct Machines {
    sleep: Sleep,
    queue: Mutex<usize>,
    idle: Mutex<usize>,
    /// Ms that were woken with a P and as searchers.
    woken: AtomicUsize,
    len: AtomicUsize,
    /// Somebody sleeps in the netpoll. Written under the lock of the idle set.
    polled: AtomicBool,
}

impl Machines {
    fn new() -> Machines {
        Machines {
            sleep: Sleep::new(),
            queue: Mutex::new(0),
            idle: Mutex::new(0),
            woken: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            polled: AtomicBool::new(true),
        }
    }

    fn submit(&self) {
        let mut q = self.queue.lock().unwrap();
        *q += 1;
        self.len.store(*q, Ordering::Relaxed);
        drop(q);
        self.wake_for_work();
    }

    fn wake_for_work(&self) {
        if !self.sleep.wake_wanted() {
            return;
        }
        let mut idle = self.idle.lock().unwrap();
        if *idle == 0 {
            self.sleep.stop_searching();
            drop(idle);
            return;
        }
        *idle -= 1;
        self.sleep.busy();
        drop(idle);
        self.woken.fetch_add(1, Ordering::AcqRel);
    }

    /// What a second look sees.
    fn needs_somebody(&self) -> bool {
        self.len.load(Ordering::Relaxed) != 0
            || (self.sleep.idle_now() != 0 && !self.polled.load(Ordering::Relaxed))
    }

    /// The poller goes from its place with an idle P.
    fn leave_the_netpoll(&self) {
        let mut idle = self.idle.lock().unwrap();
        *idle -= 1;
        self.sleep.busy();
        self.polled.store(false, Ordering::Relaxed);
    }

    /// A P becomes idle whose M does not rest: it blocks.
    fn rest_p(&self) {
        {
            let mut idle = self.idle.lock().unwrap();
            *idle += 1;
            self.sleep.idle();
        }
        self.sleep.before_second_look(false);
        if self.needs_somebody() {
            self.wake_for_work();
        }
    }

    fn take(&self) -> bool {
        let mut q = self.queue.lock().unwrap();
        if *q == 0 {
            return false;
        }
        *q -= 1;
        self.len.store(*q, Ordering::Relaxed);
        true
    }

    /// As `rest_at`, of an M that nobody claims for something else.
    fn rest(&self, searching: bool) {
        self.rest_at(searching, &Place::new(ELSEWHERE));
    }

    /// An M that found nothing goes to sleep; for what it sees in its second look
    /// it takes an idle P, unless it is claimed.
    fn rest_at(&self, searching: bool, place: &Place) {
        {
            let mut idle = self.idle.lock().unwrap();
            *idle += 1;
            self.sleep.idle();
            place.store(RESTS, Ordering::Relaxed);
            self.polled.store(true, Ordering::Relaxed);
        }
        self.sleep.before_second_look(searching);
        if !self.needs_somebody() {
            return;
        }
        if !self.leave_place(place) {
            self.wake_for_work();
        }
    }

    fn leave_place(&self, place: &Place) -> bool {
        {
            let mut idle = self.idle.lock().unwrap();
            if place.load(Ordering::Relaxed) == CLAIMED || *idle == 0 {
                return false;
            }
            *idle -= 1;
            self.sleep.busy();
        }
        self.sleep.search();
        self.woken.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// Gives an idle P to the M in `place`, for something else than what is in the queue.
    fn claim(&self, place: &Place) {
        let mut idle = self.idle.lock().unwrap();
        if place.load(Ordering::Relaxed) == RESTS && *idle != 0 {
            *idle -= 1;
            self.sleep.busy();
            place.store(CLAIMED, Ordering::Relaxed);
        }
    }

    /// After everything: work that is left has somebody who is coming for it.
    fn nothing_is_forgotten(&self) {
        let left = *self.queue.lock().unwrap();
        assert!(
            left == 0 || self.woken.load(Ordering::Acquire) > 0,
            "work, and all asleep"
        );
    }
}

#[test]
fn loom_l5_work_pushed_beside_two_sleepers_wakes_one() {
    check(3, || {
        let m = Arc::new(Machines::new());
        let goers: Vec<_> = (0..2)
            .map(|_| {
                let m = m.clone();
                thread::spawn(move || m.rest(false))
            })
            .collect();
        m.submit();
        for g in goers {
            g.join().unwrap();
        }
        m.nothing_is_forgotten();
    });
}

#[test]
fn loom_l5_the_last_searcher_does_not_strand_what_came_while_it_searched() {
    check(3, || {
        let m = Arc::new(Machines::new());
        // One searcher, whose search found nothing so far.
        m.sleep.search();
        let goer = {
            let m = m.clone();
            thread::spawn(move || {
                if m.take() {
                    if m.sleep.found() {
                        m.wake_for_work();
                    }
                    // It runs the one it took: a P is busy with it.
                } else {
                    m.rest(true);
                }
            })
        };
        let pusher = {
            let m = m.clone();
            thread::spawn(move || m.submit())
        };
        // Another P is idle all the time.
        {
            let mut idle = m.idle.lock().unwrap();
            *idle += 1;
            m.sleep.idle();
        }
        m.sleep.before_second_look(false);
        if m.len.load(Ordering::Relaxed) != 0 {
            m.wake_for_work();
        }
        goer.join().unwrap();
        pusher.join().unwrap();
        m.nothing_is_forgotten();
    });
}

#[test]
fn loom_l5_a_goer_that_is_claimed_for_something_else_strands_nobody() {
    check(3, || {
        let m = Arc::new(Machines::new());
        let place = Arc::new(Place::new(ELSEWHERE));
        // Another P is idle all the time.
        *m.idle.lock().unwrap() = 1;
        m.sleep.idle();
        // The only searcher has found nothing.
        m.sleep.search();
        let goer = {
            let (m, place) = (m.clone(), place.clone());
            thread::spawn(move || m.rest_at(true, &place))
        };
        let claimer = {
            let m = m.clone();
            thread::spawn(move || m.claim(&place))
        };
        m.submit();
        goer.join().unwrap();
        claimer.join().unwrap();
        m.nothing_is_forgotten();
    });
}

/// Beside idle Ps somebody polls, or is coming, who finds the place free when it rests.
#[test]
fn loom_l5_a_poller_that_blocks_leaves_its_place_to_somebody() {
    check(3, || {
        let m = Arc::new(Machines::new());
        *m.idle.lock().unwrap() = 1;
        m.sleep.idle();
        // The only searcher has found nothing.
        m.sleep.search();
        let goer = {
            let m = m.clone();
            thread::spawn(move || m.rest(true))
        };
        m.leave_the_netpoll();
        m.rest_p();
        goer.join().unwrap();
        let woken = m.woken.load(Ordering::Relaxed);
        assert!(
            m.polled.load(Ordering::Relaxed) || woken != 0,
            "nobody polls"
        );
    });
}

#[test]
fn loom_l5_a_searchers_place_given_back_strands_nobody() {
    check(3, || {
        let m = Arc::new(Machines::new());
        *m.idle.lock().unwrap() = 1;
        m.sleep.idle();
        // Takes the idle P for itself (a poller that comes back, the end of `blocking`).
        let taker = {
            let m = m.clone();
            thread::spawn(move || {
                {
                    let mut idle = m.idle.lock().unwrap();
                    if *idle == 0 {
                        return;
                    }
                    *idle -= 1;
                    m.sleep.busy();
                }
                while m.take() {}
                m.rest(false);
            })
        };
        let first = {
            let m = m.clone();
            thread::spawn(move || m.submit())
        };
        m.submit();
        taker.join().unwrap();
        first.join().unwrap();
        m.nothing_is_forgotten();
    });
}

// ---- L8: the local queue ----

/// crossbeam-deque's contract, with a lock: what L8 checks is ours around it.
#[derive(Default)]
struct Model(Mutex<VecDeque<usize>>);

impl Deque for Arc<Model> {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
    fn push(&self, item: usize) {
        let mut q = self.0.lock().unwrap();
        assert!(q.len() < 4, "it would have grown");
        q.push_back(item);
    }
    fn pop(&self) -> Option<usize> {
        self.0.lock().unwrap().pop_front()
    }
}

/// What the owner wrote before it made an item runnable, and how often it was taken.
#[derive(Default)]
struct Item {
    block: UnsafeCell<usize>,
    taken: AtomicUsize,
}

// SAFETY: the cell is what the model checks: loom reports a second user.
unsafe impl Sync for Item {}
// SAFETY: as above.
unsafe impl Send for Item {}

#[test]
fn loom_l8_owner_thieves_and_monitor_get_each_item_once() {
    check(2, || {
        let deque = Arc::new(Model(Mutex::new(VecDeque::new())));
        let queue = Arc::new(LocalQueue::new(deque.clone(), 4));
        let seen = Arc::new((0..6).map(|_| Item::default()).collect::<Vec<_>>());
        let count = |seen: &Arc<Vec<Item>>, item: usize| {
            let it = &seen[item - 1];
            assert_eq!(it.taken.fetch_add(1, Ordering::Relaxed), 0, "twice");
            // SAFETY: whoever takes it has it alone, which is what the model checks.
            it.block
                .with_mut(|block| assert_eq!(unsafe { *block }, item));
        };
        let thief = {
            let (deque, seen) = (deque.clone(), seen.clone());
            thread::spawn(move || {
                if let Some(i) = deque.pop() {
                    count(&seen, i);
                }
            })
        };
        let monitor = {
            let (queue, seen) = (queue.clone(), seen.clone());
            thread::spawn(move || {
                if let Some(i) = queue.take_next() {
                    count(&seen, i);
                }
            })
        };
        let mut global = Vec::new();
        for i in 1..=6 {
            // SAFETY: nobody knows of it yet.
            seen[i - 1].block.with_mut(|block| unsafe { *block = i });
            if let Some(old) = queue.put_next(i) {
                queue.push(old, |i| global.push(i));
            }
        }
        if let Some(i) = queue.take_next() {
            count(&seen, i);
        }
        while let Some(i) = queue.pop() {
            count(&seen, i);
        }
        thief.join().unwrap();
        monitor.join().unwrap();
        for i in global {
            count(&seen, i);
        }
        assert!(
            seen.iter().all(|s| s.taken.load(Ordering::Relaxed) == 1),
            "lost"
        );
    });
}

// ---- L9: poller and timer setter ----

#[test]
fn loom_l9_the_poller_does_not_sleep_past_a_timer() {
    check(4, || {
        const NEVER: u64 = u64::MAX;
        let gate = Arc::new(PollGate::new());
        let heaps = Arc::new([AtomicU64::new(NEVER), AtomicU64::new(NEVER)]);
        let setters: Vec<_> = [(0, 50), (1, 20)]
            .into_iter()
            .map(|(heap, when)| {
                let (gate, heaps) = (gate.clone(), heaps.clone());
                thread::spawn(move || {
                    heaps[heap].store(when, Ordering::Relaxed);
                    gate.must_kick(when)
                })
            })
            .collect();
        let earliest = || {
            heaps
                .iter()
                .map(|h| h.load(Ordering::Relaxed))
                .min()
                .unwrap()
        };
        let until = earliest();
        gate.close(until);
        let sleeps_until = earliest().min(until);
        let kicked = setters
            .into_iter()
            .map(|s| s.join().unwrap())
            .fold(false, |a, k| a | k);
        assert!(
            kicked || sleeps_until <= 20,
            "asleep until {sleeps_until}, and nobody kicked"
        );
    });
}
