//! `RwLock`, `Semaphore` and `Condvar` against simple references, and the order in which
//! they let waiters go on.
//!
//! A few goroutines are told, one command at a time, what to do. After each command everybody runs
//! until they are done or parked; then what each has said must be what the reference
//! says. The references are Go's: lists of waiters, first in first out.
//!
//! One P, so that "until they are parked" is some yields away: the tests of this file have a
//! process of their own.

use goweft::channel::{self, Sender};
use goweft::sync::singleflight::Group;
use goweft::sync::{Barrier, Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};
use goweft::{Config, go};
use goweft_tests::{in_time, settle};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

const ACTORS: usize = 5;
/// After which somebody gives up.
const SHORT: Duration = Duration::from_millis(20);

/// `f` as a goroutine on the only P, with no other test beside it.
fn alone<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    // The first one starts the runtime; for the others it is there already.
    let _ = Config::new().maxprocs(1).install();
    goweft::run(f)
}

/// Those who are told what to do, and what they said.
struct Actors<C, R> {
    commands: Vec<Sender<C>>,
    said: Arc<std::sync::Mutex<VecDeque<(usize, R)>>>,
}

impl<C: Send + 'static, R: Send + 'static> Actors<C, R> {
    /// Each makes a body that is called with each command.
    fn new<B>(make: impl Fn(usize) -> B) -> Actors<C, R>
    where
        B: FnOnce(channel::Receiver<C>, Box<dyn Fn(R) + Send>) + Send + 'static,
    {
        let said = Arc::new(std::sync::Mutex::new(VecDeque::new()));
        let commands = (0..ACTORS).map(|who| {
            let (commands, todo) = channel::unbounded();
            let (body, log) = (make(who), said.clone());
            let say = Box::new(move |reply| log.lock().unwrap().push_back((who, reply)));
            go!(move || body(todo, say));
            commands
        });
        Actors {
            commands: commands.collect(),
            said,
        }
    }

    /// What everybody says when `who` does `command`.
    fn tell(&self, who: usize, command: C) -> Vec<(usize, R)> {
        self.commands[who].send(command).unwrap();
        self.said()
    }

    fn said(&self) -> Vec<(usize, R)> {
        settle();
        self.said.lock().unwrap().drain(..).collect()
    }
}

fn past() -> Instant {
    Instant::now()
}

// ---- RwLock ----

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rw {
    Read,
    TryRead,
    /// With a deadline that has passed: tries as those who wait do.
    ReadLate,
    Write,
    TryWrite,
    WriteLate,
    Downgrade,
    Unlock,
}

/// Go's: one writer at a time announces itself, and keeps new readers out.
#[derive(Default, Debug)]
struct RwModel {
    readers: Vec<usize>,
    waiting_readers: VecDeque<usize>,
    /// Has the writers' mutex, and is in or waits for the readers to leave.
    writer: Option<usize>,
    waiting_writers: VecDeque<usize>,
}

impl RwModel {
    fn writes(&self, who: usize) -> bool {
        self.writer == Some(who) && self.readers.is_empty()
    }

    fn holds(&self, who: usize) -> bool {
        self.readers.contains(&who) || self.writes(who)
    }

    /// Who has got what they wanted, and who was refused, by this step.
    fn step(&mut self, who: usize, what: Rw) -> Vec<(usize, bool)> {
        let mut told = Vec::new();
        match what {
            Rw::Read | Rw::TryRead | Rw::ReadLate => {
                if self.writer.is_none() {
                    self.readers.push(who);
                    told.push((who, true));
                } else if what == Rw::Read {
                    self.waiting_readers.push_back(who);
                } else {
                    told.push((who, false));
                }
            }
            Rw::Write if self.writer.is_some() => self.waiting_writers.push_back(who),
            Rw::Write => {
                self.writer = Some(who);
                if self.readers.is_empty() {
                    told.push((who, true));
                }
            }
            Rw::TryWrite | Rw::WriteLate => {
                let free = self.writer.is_none() && self.readers.is_empty();
                if free {
                    self.writer = Some(who);
                }
                told.push((who, free));
            }
            Rw::Downgrade | Rw::Unlock => {
                told.push((who, true));
                if let Some(i) = self.readers.iter().position(|r| *r == who) {
                    self.readers.remove(i);
                    if self.readers.is_empty() {
                        told.extend(self.writer.map(|w| (w, true)));
                    }
                } else {
                    if what == Rw::Downgrade {
                        self.readers.push(who);
                    }
                    told.extend(self.waiting_readers.iter().map(|r| (*r, true)));
                    self.readers.extend(self.waiting_readers.drain(..));
                    self.writer = self.waiting_writers.pop_front();
                    if self.readers.is_empty() {
                        told.extend(self.writer.map(|w| (w, true)));
                    }
                }
            }
        }
        told
    }
}

enum Held<'a> {
    Nothing,
    Shared(#[expect(dead_code, reason = "it is held")] RwLockReadGuard<'a, u32>),
    Exclusive(RwLockWriteGuard<'a, u32>),
}

fn rw_actor(lock: &RwLock<u32>, todo: channel::Receiver<Rw>, say: Box<dyn Fn(bool) + Send>) {
    let shared = |guard: Option<_>| guard.map_or(Held::Nothing, Held::Shared);
    let exclusive = |guard: Option<_>| guard.map_or(Held::Nothing, Held::Exclusive);
    let mut held = Held::Nothing;
    for command in todo {
        held = match (command, held) {
            (Rw::Unlock, had) => {
                drop(had);
                say(true);
                Held::Nothing
            }
            (Rw::Downgrade, Held::Exclusive(guard)) => {
                let guard = RwLockWriteGuard::downgrade(guard);
                say(true);
                Held::Shared(guard)
            }
            (what, Held::Nothing) => {
                let got = match what {
                    Rw::Read => Held::Shared(lock.read()),
                    Rw::TryRead => shared(lock.try_read()),
                    Rw::ReadLate => shared(lock.try_read_until(past())),
                    Rw::Write => Held::Exclusive(lock.write()),
                    Rw::TryWrite => exclusive(lock.try_write()),
                    _ => exclusive(lock.try_write_until(past())),
                };
                say(!matches!(got, Held::Nothing));
                got
            }
            _ => unreachable!("only what makes sense is asked for"),
        };
    }
}

fn run_rwlock(commands: Vec<(usize, Rw)>, many_readers_before: bool) {
    let lock = Arc::new(RwLock::new(0));
    if many_readers_before {
        // The next ones do not count where they all would.
        (0..5_000).for_each(|_| drop(lock.read()));
    }
    let actors = Actors::new(|_| {
        let lock = lock.clone();
        move |todo, say| rw_actor(&lock, todo, say)
    });
    let mut model = RwModel::default();
    let busy: [Cell<bool>; ACTORS] = Default::default();
    let step = |model: &mut RwModel, who: usize, what: Rw| {
        if busy[who].get() {
            return;
        }
        let sensible = match what {
            Rw::Unlock => model.holds(who),
            Rw::Downgrade => model.writes(who),
            _ => !model.holds(who),
        };
        if !sensible {
            return;
        }
        busy[who].set(true);
        let (mut told, mut said) = (model.step(who, what), actors.tell(who, what));
        told.sort_unstable();
        said.sort_unstable();
        assert_eq!(told, said, "{who} {what:?}, {model:?}");
        told.iter().for_each(|(who, _)| busy[*who].set(false));
    };
    for (who, what) in commands {
        step(&mut model, who, what);
    }
    // All of them get out again.
    for _ in 0..2 * ACTORS {
        (0..ACTORS).for_each(|who| step(&mut model, who, Rw::Unlock));
    }
    assert!(busy.iter().all(|busy| !busy.get()), "{model:?}");
    assert!(lock.try_write().is_some());
}

// ---- Semaphore ----

#[derive(Clone, Copy, Debug)]
enum Sem {
    Acquire(usize),
    TryAcquire(usize),
    AcquireLate(usize),
    /// Gives back the oldest that it has.
    Release,
}

struct SemModel {
    free: usize,
    queue: VecDeque<(usize, usize)>,
    held: Vec<VecDeque<usize>>,
}

impl SemModel {
    fn take(&mut self, who: usize, n: usize) {
        self.free -= n;
        self.held[who].push_back(n);
    }

    fn step(&mut self, who: usize, what: Sem) -> Vec<(usize, bool)> {
        let mut told = Vec::new();
        match what {
            Sem::Acquire(n) | Sem::TryAcquire(n) | Sem::AcquireLate(n) => {
                if self.queue.is_empty() && n <= self.free {
                    self.take(who, n);
                    told.push((who, true));
                } else if let Sem::Acquire(_) = what {
                    self.queue.push_back((who, n));
                } else {
                    told.push((who, false));
                }
            }
            Sem::Release => {
                self.free += self.held[who].pop_front().unwrap();
                told.push((who, true));
                while let Some((first, n)) = self.queue.front().copied()
                    && n <= self.free
                {
                    self.queue.pop_front();
                    self.take(first, n);
                    told.push((first, true));
                }
            }
        }
        told
    }
}

fn sem_actor(sem: &Semaphore, todo: channel::Receiver<Sem>, say: Box<dyn Fn(bool) + Send>) {
    let mut held = VecDeque::new();
    for command in todo {
        let got = match command {
            Sem::Acquire(n) => Some(sem.acquire(n)),
            Sem::TryAcquire(n) => sem.try_acquire(n),
            Sem::AcquireLate(n) => sem.acquire_timeout(n, Duration::ZERO),
            Sem::Release => {
                held.pop_front();
                say(true);
                continue;
            }
        };
        say(got.is_some());
        held.extend(got);
    }
}

fn run_semaphore(size: usize, commands: Vec<(usize, Sem)>) {
    let sem = Arc::new(Semaphore::new(size));
    let actors = Actors::new(|_| {
        let sem = sem.clone();
        move |todo, say| sem_actor(&sem, todo, say)
    });
    let mut model = SemModel {
        free: size,
        queue: VecDeque::new(),
        held: vec![VecDeque::new(); ACTORS],
    };
    let busy: [Cell<bool>; ACTORS] = Default::default();
    let step = |model: &mut SemModel, who: usize, what: Sem| {
        let sensible = match what {
            Sem::Release => !model.held[who].is_empty(),
            // It would wait for ever.
            Sem::Acquire(n) => n <= size,
            _ => true,
        };
        if busy[who].get() || !sensible {
            return;
        }
        busy[who].set(true);
        let (mut told, mut said) = (model.step(who, what), actors.tell(who, what));
        // Who is served together runs in any order.
        told.sort_unstable();
        said.sort_unstable();
        assert_eq!(told, said, "{who} {what:?}");
        told.iter().for_each(|(who, _)| busy[*who].set(false));
        if model.queue.is_empty() {
            assert_eq!(model.free, sem.available_permits());
        }
    };
    for (who, what) in commands {
        step(&mut model, who, what);
    }
    // Those that hold some and wait for more may wait for each other, for ever.
    while let Some(who) = (0..ACTORS).find(|who| !busy[*who].get() && !model.held[*who].is_empty())
    {
        step(&mut model, who, Sem::Release);
    }
    let waiting = busy.iter().filter(|busy| busy.get()).count();
    assert_eq!(waiting, model.queue.len());
}

// ---- Condvar ----

#[derive(Clone, Copy, Debug)]
enum Cond {
    Wait,
    /// With a timeout of zero.
    WaitLate,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Actor(Cond),
    NotifyOne { locked: bool },
    NotifyAll { locked: bool },
}

fn cond_actor(
    (mutex, condvar): &(Mutex<()>, Condvar),
    todo: channel::Receiver<Cond>,
    say: Box<dyn Fn(bool) + Send>,
) {
    for command in todo {
        let guard = mutex.lock();
        let notified = match command {
            Cond::Wait => {
                drop(condvar.wait(guard));
                true
            }
            Cond::WaitLate => !condvar.wait_timeout(guard, Duration::ZERO).1.timed_out(),
        };
        say(notified);
    }
}

fn run_condvar(commands: Vec<(usize, Call)>) {
    let pair = Arc::new((Mutex::new(()), Condvar::new()));
    let actors = Actors::new(|_| {
        let pair = pair.clone();
        move |todo, say| cond_actor(&pair, todo, say)
    });
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let notify = |all: bool, locked: bool| {
        let _guard = locked.then(|| pair.0.lock());
        match all {
            true => pair.1.notify_all(),
            false => pair.1.notify_one(),
        }
    };
    for (who, what) in commands {
        let (mut told, mut said) = match what {
            Call::Actor(_) if waiting.contains(&who) => continue,
            Call::Actor(Cond::Wait) => {
                waiting.push_back(who);
                (vec![], actors.tell(who, Cond::Wait))
            }
            Call::Actor(late) => (vec![(who, false)], actors.tell(who, late)),
            Call::NotifyOne { locked } => {
                notify(false, locked);
                let first = waiting.pop_front().map(|who| (who, true));
                (first.into_iter().collect(), actors.said())
            }
            Call::NotifyAll { locked } => {
                notify(true, locked);
                let all = waiting.drain(..).map(|who| (who, true));
                (all.collect::<Vec<_>>(), actors.said())
            }
        };
        told.sort_unstable();
        said.sort_unstable();
        assert_eq!(told, said, "{who} {what:?}");
    }
    notify(true, true);
    assert_eq!(actors.said().len(), waiting.len());
    assert!(pair.0.try_lock().is_some());
}

fn rw_command() -> impl Strategy<Value = (usize, Rw)> {
    let what = prop_oneof![
        3 => Just(Rw::Read), 1 => Just(Rw::TryRead), 1 => Just(Rw::ReadLate),
        2 => Just(Rw::Write), 1 => Just(Rw::TryWrite), 1 => Just(Rw::WriteLate),
        1 => Just(Rw::Downgrade), 4 => Just(Rw::Unlock),
    ];
    (0..ACTORS, what)
}

fn sem_command() -> impl Strategy<Value = (usize, Sem)> {
    let what = prop_oneof![
        3 => (0..6usize).prop_map(Sem::Acquire),
        1 => (0..6usize).prop_map(Sem::TryAcquire),
        1 => (0..6usize).prop_map(Sem::AcquireLate),
        4 => Just(Sem::Release),
    ];
    (0..ACTORS, what)
}

fn cond_command() -> impl Strategy<Value = (usize, Call)> {
    let what = prop_oneof![
        4 => Just(Call::Actor(Cond::Wait)), 1 => Just(Call::Actor(Cond::WaitLate)),
        2 => any::<bool>().prop_map(|locked| Call::NotifyOne { locked }),
        1 => any::<bool>().prop_map(|locked| Call::NotifyAll { locked }),
    ];
    (0..ACTORS, what)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_rwlock_does_what_the_reference_does(
        commands in prop::collection::vec(rw_command(), 1..80),
        many_readers_before: bool,
    ) {
        alone(|| run_rwlock(commands, many_readers_before));
    }

    #[test]
    fn a_semaphore_does_what_the_reference_does(
        size in 1..6usize,
        commands in prop::collection::vec(sem_command(), 1..80),
    ) {
        alone(|| run_semaphore(size, commands));
    }

    #[test]
    fn a_condvar_does_what_the_reference_does(
        commands in prop::collection::vec(cond_command(), 1..80),
    ) {
        alone(|| run_condvar(commands));
    }
}

// ---- the order of waiters ----

/// Starts `n` goroutines one after the other, each parked before the next one comes; in which
/// order they get through when `go` has run. Each calls the function that it is given while it has
/// what it waited for: afterwards another may be ahead.
fn order(
    n: usize,
    wait: impl Fn(usize, &dyn Fn()) + Clone + Send + 'static,
    go: impl FnOnce(),
) -> Vec<usize> {
    let (through, came) = channel::unbounded();
    for i in 0..n {
        let (wait, through) = (wait.clone(), through.clone());
        go! {
            wait(i, &|| through.send(i).unwrap());
        }
        settle();
    }
    assert!(came.is_empty(), "nobody is through yet");
    go();
    settle();
    drop(through);
    came.iter().collect()
}

#[test]
fn mutex_waiters_get_it_in_order() {
    alone(|| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock();
        let m = mutex.clone();
        let wait = move |_, tell: &dyn Fn()| {
            let _it = m.lock();
            tell();
        };
        let came = order(6, wait, || drop(guard));
        assert_eq!(came, [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn semaphore_waiters_are_served_in_order() {
    alone(|| {
        let sem = Arc::new(Semaphore::new(2));
        let both = sem.acquire(2);
        let s = sem.clone();
        // Never two at once.
        let wait = move |i, tell: &dyn Fn()| {
            let _some = s.acquire(i % 2 + 1);
            tell();
        };
        let came = order(6, wait, || drop(both));
        assert_eq!(came, [0, 1, 2, 3, 4, 5]);
    });
}

// Go's runtime notifyList, which sync.Cond is made of: tickets.
#[test]
fn notify_one_wakes_the_oldest() {
    alone(|| {
        let pair = Arc::new((Mutex::new(()), Condvar::new()));
        let p = pair.clone();
        let wait = move |_, tell: &dyn Fn()| {
            let _it = p.1.wait(p.0.lock());
            tell();
        };
        let notify = || {
            for _ in 0..6 {
                pair.1.notify_one();
                settle();
            }
        };
        let came = order(6, wait, notify);
        assert_eq!(came, [0, 1, 2, 3, 4, 5]);
    });
}

// Go's x/sync semaphore_test.go TestLargeAcquireDoesntStarve: nobody overtakes.
#[test]
fn one_that_wants_much_is_not_overtaken_by_those_that_want_little() {
    alone(|| {
        let sem = Arc::new(Semaphore::new(3));
        let one = sem.acquire(1);
        let s = sem.clone();
        let big = goweft::spawn(move || drop(s.acquire(3)));
        settle();
        // Two are free, but somebody waits.
        assert!(sem.try_acquire(1).is_none());
        assert!(sem.acquire_timeout(1, Duration::ZERO).is_none());
        let s = sem.clone();
        let small = goweft::spawn(move || drop(s.acquire(1)));
        settle();
        assert!(!small.is_finished());
        drop(one);
        big.join().unwrap();
        small.join().unwrap();
        assert_eq!(sem.available_permits(), 3);
    });
}

#[test]
fn a_waiter_that_gives_up_lets_those_behind_it_go() {
    alone(|| {
        in_time(SHORT, |patience| {
            let sem = Arc::new(Semaphore::new(3));
            let _two = sem.acquire(2);
            let s = sem.clone();
            let begin = Instant::now();
            let big = goweft::spawn(move || s.acquire_timeout(3, patience).is_none());
            settle();
            let s = sem.clone();
            let small = goweft::spawn(move || drop(s.acquire(1)));
            settle();
            let waits = !small.is_finished();
            let in_time = begin.elapsed() < patience;
            assert!(waits || !in_time, "somebody waits before it");
            assert!(big.join().unwrap());
            small.join().unwrap();
            in_time
        });
    });
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_go_that_it_kept_out() {
    alone(|| {
        in_time(SHORT, |patience| {
            let lock = Arc::new(RwLock::new(()));
            let reader = lock.read();
            let l = lock.clone();
            let begin = Instant::now();
            let writer = goweft::spawn(move || l.try_write_for(patience).is_none());
            settle();
            let kept_out = lock.try_read().is_none();
            let l = lock.clone();
            let second = goweft::spawn(move || drop(l.read()));
            settle();
            let waits = !second.is_finished();
            let in_time = begin.elapsed() < patience;
            assert!(kept_out && waits || !in_time, "a writer waits");
            assert!(writer.join().unwrap());
            second.join().unwrap();
            drop(reader);
            assert!(lock.try_write().is_some());
            in_time
        });
    });
}

#[test]
fn readers_that_wait_go_before_the_next_writer() {
    alone(|| {
        let lock = Arc::new(RwLock::new(()));
        let (log, order) = channel::unbounded();
        let guard = lock.write();
        for (i, writes) in [true, false, true, false].into_iter().enumerate() {
            let (lock, log) = (lock.clone(), log.clone());
            go! {
                let _guard = match writes {
                    true => (Some(lock.write()), None),
                    false => (None, Some(lock.read())),
                };
                log.send(i).unwrap();
                goweft::task::yield_now();
            }
            settle();
        }
        drop((guard, log));
        let mut order: Vec<usize> = order.iter().collect();
        // Those who are let in together run in any order.
        order[..2].sort_unstable();
        assert_eq!(order, [1, 3, 0, 2]);
    });
}

#[test]
fn a_barrier_keeps_its_rounds_apart() {
    alone(|| {
        let barrier = Arc::new(Barrier::new(3));
        let (log, came) = channel::unbounded();
        for _ in 0..3 {
            let (barrier, log) = (barrier.clone(), log.clone());
            go! {
                for round in 0..50 {
                    let leads = barrier.wait().is_leader();
                    log.send((round, leads)).unwrap();
                }
            }
        }
        drop(log);
        let came: Vec<(u32, bool)> = came.iter().collect();
        for round in 0..50 {
            let mine = came.iter().filter(|c| c.0 == round);
            assert_eq!(mine.clone().count(), 3);
            assert_eq!(mine.filter(|c| c.1).count(), 1, "one leads");
        }
    });
}

// Go's x/sync singleflight_test.go TestDoDupSuppress.
#[test]
fn callers_of_one_key_share_one_call() {
    const N: usize = 10;
    alone(|| {
        let group = Arc::new(Group::new());
        let (result_tx, result) = channel::bounded::<&str>(0);
        let (came_tx, came) = channel::unbounded();
        let calls = Arc::new(Mutex::new(0));
        for _ in 0..N {
            let (group, calls, result) = (group.clone(), calls.clone(), result.clone());
            let came_tx = came_tx.clone();
            go! {
                let got = group.call("key", || {
                    *calls.lock() += 1;
                    result.recv().unwrap()
                });
                came_tx.send(got).unwrap();
            }
        }
        settle();
        let by_channel = group.call_chan("key", || unreachable!("a call is on its way"));
        assert!(came.is_empty());
        result_tx.send("bar").unwrap();
        drop(came_tx);
        assert!(came.iter().eq([("bar", true); N]));
        assert_eq!((by_channel.recv(), *calls.lock()), (Ok(("bar", true)), 1));
    });
}
