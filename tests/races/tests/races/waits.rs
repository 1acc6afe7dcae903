//! Waits for others: groups, barriers, what happens once, shared calls, joins, parks.

use goweft::sync::singleflight::Group;
use goweft::sync::{Barrier, Once, OnceLock, WaitGroup};
use goweft::task::{self, Task, yield_now};
use goweft::{JoinHandle, block_on, channel};
use goweft_races::{Dice, Pair, until};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

/// Until nobody else has a clone of `token`: one that is lost keeps this waiting.
fn until_alone(token: &Arc<()>) {
    until(|| Arc::strong_count(token) == 1);
}

#[test]
fn waiting_for_a_group_against_its_deadline() {
    let race = Pair {
        make: |_| {
            let group = WaitGroup::new();
            group.add(2);
            (group, AtomicUsize::new(0))
        },
        wait: |(group, done): &(WaitGroup, AtomicUsize), dice| {
            let over = match dice.roll(2) {
                0 => {
                    group.wait();
                    true
                }
                _ => group.wait_timeout(dice.moment()),
            };
            assert!(!over || done.load(Ordering::Relaxed) == 2);
        },
        end: |(group, done), dice| {
            for _ in 0..2 {
                done.fetch_add(1, Ordering::Relaxed);
                group.done();
                dice.dawdle();
            }
        },
        check: |(group, _)| assert!(group.wait_timeout(Duration::ZERO)),
    };
    race.race("wait group");
}

#[test]
fn both_come_through_a_barrier() {
    fn pass((barrier, leaders): &(Barrier, AtomicUsize), dice: &mut Dice) {
        for _ in 0..2 {
            let leads = barrier.wait().is_leader();
            leaders.fetch_add(usize::from(leads), Ordering::Relaxed);
            dice.dawdle();
        }
    }
    let race = Pair {
        make: |_| (Barrier::new(2), AtomicUsize::new(0)),
        wait: pass,
        end: pass,
        check: |(_, leaders)| assert_eq!(leaders.load(Ordering::Relaxed), 2),
    };
    race.race("barrier");
}

/// What happens once, three times over.
struct Firsts {
    once: Once,
    cell: OnceLock<usize>,
    runs: AtomicUsize,
    made: AtomicUsize,
}

impl Firsts {
    fn run(&self, dice: &mut Dice) {
        self.once.call_once(|| {
            dice.dawdle();
            self.runs.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(self.runs.load(Ordering::Relaxed), 1);
    }

    /// Now and then the first that tries comes to nothing: then another has to.
    fn make(&self, dice: &mut Dice) {
        let fails = dice.roll(8) == 0;
        let make = || {
            dice.dawdle();
            if fails {
                resume_unwind(Box::new(()));
            }
            self.made.fetch_add(1, Ordering::Relaxed)
        };
        if let Ok(value) = catch_unwind(AssertUnwindSafe(|| *self.cell.get_or_init(make))) {
            assert_eq!(value, 0);
        }
    }
}

#[test]
fn what_happens_once_is_waited_for_by_all() {
    let race = Pair {
        make: |_| Firsts {
            once: Once::new(),
            cell: OnceLock::new(),
            runs: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
        },
        wait: |firsts: &Firsts, dice| match dice.roll(3) {
            0 => {
                firsts.once.wait();
                assert_eq!(*firsts.cell.wait(), 0);
            }
            1 => {
                firsts.make(dice);
                firsts.run(dice);
            }
            _ => {
                firsts.run(dice);
                firsts.make(dice);
            }
        },
        end: |firsts, dice| {
            firsts.run(dice);
            firsts.make(dice);
            // One whose attempts all came to nothing.
            let value = *firsts
                .cell
                .get_or_init(|| firsts.made.fetch_add(1, Ordering::Relaxed));
            assert_eq!(value, 0);
        },
        check: |firsts| assert_eq!(firsts.made.load(Ordering::Relaxed), 1),
    };
    race.race("once");
}

#[test]
fn callers_of_one_key_come_and_go() {
    fn call((group, token): &(Group<u8, Arc<()>>, Arc<()>), dice: &mut Dice) {
        let make = |dawdles| {
            let token = token.clone();
            move || {
                if dawdles {
                    yield_now();
                }
                token
            }
        };
        let dawdles = dice.roll(2) == 0;
        match dice.roll(4) {
            0 => drop(group.call_chan(1, make(dawdles))),
            1 => {
                let answer = group.call_chan(1, make(dawdles));
                group.forget(&1);
                drop(answer.recv().unwrap());
            }
            _ => drop(group.call(1, make(dawdles))),
        }
    }
    let race = Pair {
        make: |_| (Group::new(), Arc::new(())),
        wait: call,
        end: call,
        check: |(_, token)| until_alone(token),
    };
    race.race("singleflight");
}

/// A goroutine that ends when its channel is closed.
struct Child {
    go_on: channel::Sender<()>,
    handle: Mutex<Option<JoinHandle<Arc<()>>>>,
    token: Arc<()>,
}

#[test]
fn joining_against_the_end() {
    let race = Pair {
        make: |_| {
            let (go_on, wait) = channel::bounded(0);
            let token = Arc::new(());
            let result = token.clone();
            let handle = goweft::spawn(move || {
                wait.recv().unwrap_err();
                result
            });
            Child {
                go_on,
                handle: Mutex::new(Some(handle)),
                token,
            }
        },
        wait: |child: &Child, dice| {
            let mut handle = child.handle.lock().unwrap().take().expect("it is there");
            if dice.roll(2) == 0 {
                // It leaves a waker behind that nobody wants to be woken by.
                let polled = block_on(poll_fn(|cx| Poll::Ready(Pin::new(&mut handle).poll(cx))));
                if polled.is_ready() {
                    return;
                }
            }
            match dice.roll(4) {
                0 => drop(handle),
                1 => assert!(block_on(handle).is_ok()),
                2 => {
                    until(|| handle.is_finished());
                    assert!(handle.join().is_ok());
                }
                _ => assert!(handle.join().is_ok()),
            }
        },
        end: |child, _| assert!(child.go_on.close()),
        check: |child| until_alone(&child.token),
    };
    race.race("join");
}

#[derive(Default)]
struct Sleeper {
    who: std::sync::OnceLock<Task>,
    up: AtomicBool,
}

#[test]
fn parking_against_being_unparked() {
    let race = Pair {
        make: |_| Sleeper::default(),
        wait: |sleeper: &Sleeper, dice| {
            assert!(sleeper.who.set(task::current()).is_ok());
            // Against the other side: it sees who waits, or this sees that it need not.
            fence(Ordering::SeqCst);
            while !sleeper.up.load(Ordering::Relaxed) {
                match dice.roll(4) {
                    0 => task::park_timeout(dice.moment()),
                    _ => task::park(),
                }
            }
        },
        end: |sleeper, _| {
            sleeper.up.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if let Some(who) = sleeper.who.get() {
                who.unpark();
            }
        },
        check: |_| (),
    };
    race.race("park");
}
