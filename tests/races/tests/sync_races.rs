//! Races in `sync`: being woken against giving up, on 1, 2 and 8 processors. No wake-up may be
//! lost, no notification used up by one that gave up, and nothing of a wait stays behind.
//!
//! Everybody yields at random, so that each run is another schedule. The number of processors
//! belongs to the process, so one test runs at a time.

use goweft::context::Context;
use goweft::sync::{Barrier, Condvar, Mutex, MutexGuard, RwLock, Semaphore, WaitGroup};
use goweft::task::yield_now;
use goweft_races::{Dice, Pair, rounds, until, watched, with_1_2_and_8_processors};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What goes on under the mutex of the condition variable.
#[derive(Default)]
struct Tokens {
    /// Notifications that nobody has got yet.
    out: u64,
    /// Who waits without a deadline: they leave for a notification only.
    patient: u64,
    made: u64,
    over: bool,
}

// Go's sync.Cond has no timeouts; this is the race that they bring.
#[test]
fn a_notification_goes_to_one_that_takes_it() {
    with_1_2_and_8_processors(|| {
        let (state, changed) = (Mutex::new(Tokens::default()), Condvar::new());
        watched("condvar", || {
            let notify = || {
                goweft::scope(|s| {
                    for seed in 0..3 {
                        // Some of each.
                        let (state, changed) = (&state, &changed);
                        s.spawn(move || patient_waiter(state, changed, Dice::new(seed)));
                        s.spawn(move || hasty_waiter(state, changed, Dice::new(100 + seed)));
                    }
                    let mut dice = Dice::new(7);
                    loop {
                        let mut tokens = state.lock();
                        if tokens.made == rounds() {
                            tokens.over = tokens.out == 0;
                            if tokens.over {
                                changed.notify_all();
                                break;
                            }
                        } else if tokens.patient > tokens.out {
                            // At least one of those in the queue cannot have given up.
                            tokens.out += 1;
                            tokens.made += 1;
                            changed.notify_one();
                        }
                        drop(tokens);
                        dice.yield_in(2);
                    }
                })
            };
            goweft::run(notify);
        });
    });
}

fn patient_waiter(state: &Mutex<Tokens>, changed: &Condvar, mut dice: Dice) {
    let mut tokens = state.lock();
    loop {
        tokens.patient += 1;
        tokens = changed.wait(tokens);
        tokens.patient -= 1;
        if tokens.over {
            return;
        }
        tokens.out = tokens.out.checked_sub(1).expect("woken for no reason");
        drop(tokens);
        dice.yield_in(4);
        tokens = state.lock();
        if tokens.over {
            return;
        }
    }
}

/// Takes a token only when it was notified. If one that gave up used a notification up, its
/// token would stay, and the race would not end.
fn hasty_waiter(state: &Mutex<Tokens>, changed: &Condvar, mut dice: Dice) {
    let mut tokens = state.lock();
    while !tokens.over {
        let timeout = dice.timeout();
        let (guard, result) = changed.wait_timeout(tokens, timeout);
        tokens = guard;
        if !result.timed_out() && !tokens.over {
            tokens.out = tokens.out.checked_sub(1).expect("woken for no reason");
        }
        drop(tokens);
        dice.yield_in(4);
        tokens = state.lock();
    }
}

/// What is known, under a mutex, of those of a [`Crowd`] who wait with it.
#[derive(Default)]
struct Ledger {
    /// Waits that have begun. A wait has the number of those before it.
    begun: u64,
    /// All waits with lower numbers were notified, but for those that had given up.
    called: u64,
    /// Those of them who are not back.
    late: u64,
    /// Who waits besides: without a deadline, and with one.
    patient: u64,
    hasty: u64,
    /// Who began to wait after that and is back, notified: alone.
    taken: u64,
    /// A notification to all is on its way, and may or may not find those who begin to wait now.
    open: bool,
    over: bool,
}

impl Ledger {
    fn who_waits(&mut self, patient: bool) -> &mut u64 {
        match patient {
            true => &mut self.patient,
            false => &mut self.hasty,
        }
    }

    /// The number of the wait.
    fn begin(&mut self, patient: bool) -> u64 {
        *self.who_waits(patient) += 1;
        self.begun += 1;
        self.begun - 1
    }

    fn come_back(&mut self, number: u64, patient: bool, notified: bool) {
        if number < self.called {
            self.late -= 1;
        } else {
            *self.who_waits(patient) -= 1;
            self.taken += u64::from(notified && !self.open);
        }
    }

    /// All who wait are notified.
    fn call(&mut self) {
        self.called = self.begun;
        self.late += self.patient + self.hasty;
        (self.patient, self.hasty, self.taken) = (0, 0, 0);
    }
}

/// Some who wait for notifications again and again, and one who notifies.
struct Crowd {
    ledgers: [Mutex<Ledger>; 2],
    changed: Condvar,
    /// How many wait: the waiting side of the race, which is a thread at times, and goroutines.
    waiters: u64,
    /// Whether they wait with the second mutex, too, now and then.
    two: bool,
    /// Waits that have begun, counted where no mutex is needed.
    waits: AtomicU64,
}

impl Crowd {
    fn new(dice: &mut Dice) -> Crowd {
        Crowd {
            ledgers: Default::default(),
            changed: Condvar::new(),
            waiters: 4 + dice.roll(5),
            two: dice.roll(4) == 0,
            waits: AtomicU64::new(0),
        }
    }

    fn wait(&self, dice: &mut Dice) {
        goweft::scope(|s| {
            for _ in 1..self.waiters {
                let mut dice = Dice::new(dice.roll(u64::MAX));
                s.spawn(move || self.waiter(&mut dice));
            }
            self.waiter(dice);
        });
    }

    fn waiter(&self, dice: &mut Dice) {
        loop {
            dice.dawdle();
            let second = self.two && dice.roll(8) == 0;
            let mut ledger = self.ledgers[usize::from(second)].lock();
            if ledger.over {
                return;
            }
            self.waits.fetch_add(1, Ordering::Relaxed);
            let how = dice.roll(4);
            let patient = how < 2;
            let number = ledger.begin(patient);
            let mut notified = true;
            match how {
                0 => ledger = self.changed.wait(ledger),
                1 => {
                    let mut looks = 0;
                    ledger = self.changed.wait_while(ledger, |_| {
                        looks += 1;
                        looks == 1
                    });
                }
                _ => {
                    let (began, timeout) = (Instant::now(), dice.moment());
                    let (guard, result) = self.changed.wait_timeout(ledger, timeout);
                    ledger = guard;
                    notified = !result.timed_out();
                    assert!(notified || began.elapsed() >= timeout, "too early");
                }
            }
            ledger.come_back(number, patient, notified);
            // At times whose turn is next finds the mutex locked.
            dice.yield_in(16);
        }
    }

    /// Of both ledgers, one after the other.
    fn sum(&self, of: fn(&Ledger) -> u64) -> u64 {
        self.ledgers.iter().map(|ledger| of(&ledger.lock())).sum()
    }

    /// Until all are back who were notified: `given` of them alone, since all were. If one that
    /// gave up used a notification up, or one was not woken, this would not end.
    fn until_back(&self, given: u64) {
        until(|| self.sum(|ledger| ledger.late) == 0 && self.sum(|ledger| ledger.taken) >= given);
        let taken = self.sum(|ledger| ledger.taken);
        assert_eq!(taken, given, "woken for no reason");
    }

    fn lock(&self) -> [MutexGuard<'_, Ledger>; 2] {
        self.ledgers.each_ref().map(Mutex::lock)
    }

    /// All who wait are to be notified now.
    fn call(&self, given: u64) -> [MutexGuard<'_, Ledger>; 2] {
        let mut both = self.lock();
        let taken: u64 = both.iter().map(|ledger| ledger.taken).sum();
        assert!(taken <= given, "woken for no reason");
        both.iter_mut().for_each(|ledger| ledger.call());
        both
    }

    fn notify_all(&self, given: u64, dice: &mut Dice) {
        let mut both = self.call(given);
        if dice.roll(2) == 0 {
            both.iter_mut().for_each(|ledger| ledger.open = true);
            drop(both);
            self.changed.notify_all();
            if dice.roll(2) == 0 {
                self.until_back(0);
            }
            both = self.lock();
            both.iter_mut().for_each(|ledger| ledger.open = false);
            if both.iter().all(|ledger| ledger.begun == ledger.called) {
                return;
            }
            // Nobody knows who of those that came meanwhile was found: once more, with the mutex.
            both.iter_mut().for_each(|ledger| ledger.call());
        }
        self.changed.notify_all();
    }

    fn notify(&self, dice: &mut Dice) {
        // Notifications to one since the last to all. Nobody else gives any.
        let mut given = 0;
        for _ in 0..=dice.roll(8) {
            if dice.roll(3) == 0 {
                if dice.roll(4) == 0 {
                    // Until none of them does anything: then the other processors look for work.
                    self.until_back(given);
                    until(|| self.sum(|ledger| ledger.patient) == self.waiters);
                }
                self.notify_all(given, dice);
                given = 0;
            } else {
                // At least one of those in the queue cannot give up. (The sum never falls.)
                until(|| self.sum(|ledger| ledger.patient + ledger.taken) > given);
                given += 1;
                let both = (dice.roll(2) == 0).then(|| self.lock());
                self.changed.notify_one();
                drop(both);
            }
            // Otherwise the next notification comes while these are on their way.
            if dice.roll(2) == 0 {
                self.until_back(given);
            }
            dice.dawdle();
        }
        self.until_back(given);
        let mut both = self.call(given);
        both.iter_mut().for_each(|ledger| ledger.over = true);
        self.changed.notify_all();
    }

    fn check(&self) {
        let mut begun = 0;
        for ledger in &self.ledgers {
            let ledger = ledger.try_lock().expect("nobody has it");
            let waiting = (ledger.late, ledger.patient, ledger.hasty);
            assert_eq!(waiting, (0, 0, 0), "all are back");
            begun += ledger.begun;
        }
        assert_eq!(begun, self.waits.load(Ordering::Relaxed));
    }
}

// To notify all gives turns where other processors look for work: against those that give up, come
// again, wait with another mutex or are threads, and against more notifications meanwhile.
#[test]
fn a_crowd_is_notified_one_by_one_and_all_together() {
    let race = Pair {
        make: Crowd::new,
        wait: Crowd::wait,
        end: Crowd::notify,
        check: Crowd::check,
    };
    race.race_one_in(5, "crowd");
}

#[test]
fn a_rwlock_is_neither_lost_nor_shared_wrongly_when_some_give_up() {
    const WRITER: i64 = 1 << 32;
    with_1_2_and_8_processors(|| {
        let (lock, inside) = (RwLock::new(0u64), AtomicI64::new(0));
        let (left, writes) = (AtomicU64::new(rounds()), AtomicU64::new(0));
        let actor = |seed: u64| {
            let mut dice = Dice::new(seed);
            while left.fetch_sub(1, Ordering::Relaxed) as i64 > 0 {
                match dice.roll(6) {
                    0..4 => {
                        let guard = match dice.roll(3) {
                            0 => lock.try_read_for(dice.timeout()),
                            1 => lock.try_read(),
                            _ => Some(lock.read()),
                        };
                        if let Some(guard) = guard {
                            let n = inside.fetch_add(1, Ordering::SeqCst);
                            assert!((0..WRITER / 2).contains(&n), "a reader beside a writer");
                            dice.yield_in(8);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(guard);
                        }
                    }
                    _ => {
                        let guard = match dice.roll(3) {
                            0 => lock.try_write_for(dice.timeout()),
                            1 => lock.try_write(),
                            _ => Some(lock.write()),
                        };
                        if let Some(mut guard) = guard {
                            assert_eq!(inside.fetch_add(WRITER, Ordering::SeqCst), 0);
                            *guard += 1;
                            dice.yield_in(8);
                            inside.fetch_sub(WRITER, Ordering::SeqCst);
                            writes.fetch_add(1, Ordering::Relaxed);
                            drop(guard);
                        }
                    }
                }
                dice.yield_in(8);
            }
        };
        watched("rwlock", || {
            thread::scope(|threads| {
                threads.spawn(|| actor(99));
                goweft::scope(|s| {
                    for seed in 0..6 {
                        s.spawn(move || actor(seed));
                    }
                });
            });
        });
        // Nobody is counted who is not there.
        let guard = lock.try_write().expect("all have left");
        assert_eq!(*guard, writes.into_inner());
    });
}

#[test]
fn a_semaphore_keeps_its_permits_when_some_give_up() {
    const SIZE: usize = 5;
    with_1_2_and_8_processors(|| {
        let (sem, out) = (Semaphore::new(SIZE), AtomicUsize::new(0));
        let left = AtomicU64::new(rounds());
        let actor = |seed: u64| {
            let mut dice = Dice::new(seed);
            while left.fetch_sub(1, Ordering::Relaxed) as i64 > 0 {
                let n = dice.roll(SIZE as u64 + 1) as usize;
                let permit = match dice.roll(3) {
                    0 => sem.acquire_timeout(n, dice.timeout()),
                    1 => sem.try_acquire(n),
                    _ => Some(sem.acquire(n)),
                };
                if let Some(permit) = permit {
                    assert!(out.fetch_add(n, Ordering::SeqCst) + n <= SIZE);
                    dice.yield_in(8);
                    out.fetch_sub(n, Ordering::SeqCst);
                    drop(permit);
                }
                dice.yield_in(8);
            }
        };
        watched("semaphore", || {
            thread::scope(|threads| {
                threads.spawn(|| actor(99));
                goweft::scope(|s| {
                    for seed in 0..6 {
                        s.spawn(move || actor(seed));
                    }
                });
            });
        });
        assert_eq!(sem.available_permits(), SIZE);
        drop(sem.try_acquire(SIZE).expect("nobody waits"));
    });
}

#[test]
fn a_mutex_is_not_lost_when_some_give_up() {
    with_1_2_and_8_processors(|| {
        let (mutex, left) = (Mutex::new(0u64), AtomicU64::new(rounds()));
        let locked = AtomicU64::new(0);
        let actor = |seed: u64| {
            let mut dice = Dice::new(seed);
            while left.fetch_sub(1, Ordering::Relaxed) as i64 > 0 {
                let guard = match dice.roll(3) {
                    0 => mutex.try_lock_for(dice.timeout()),
                    1 => mutex.try_lock(),
                    _ => Some(mutex.lock()),
                };
                if let Some(mut guard) = guard {
                    let seen = *guard;
                    dice.yield_in(8);
                    *guard = seen + 1;
                    locked.fetch_add(1, Ordering::Relaxed);
                }
                dice.yield_in(8);
            }
        };
        watched("mutex", || {
            thread::scope(|threads| {
                threads.spawn(|| actor(99));
                goweft::scope(|s| {
                    for seed in 0..6 {
                        s.spawn(move || actor(seed));
                    }
                });
            });
        });
        let count = *mutex.try_lock().expect("nobody has it");
        assert_eq!(count, locked.into_inner());
    });
}

// After some thousand quiet unlocks a mutex is unlocked by a store, until somebody waits.
#[test]
fn a_mutex_that_was_quiet_for_long_wakes_its_first_waiter() {
    const QUIET: u64 = 2_200;
    const VISITS: u64 = 100;
    with_1_2_and_8_processors(|| {
        let (mutex, ops) = (Mutex::new(0u64), AtomicU64::new(0));
        let stop = AtomicBool::new(false);
        let owner = || {
            while !stop.load(Ordering::Relaxed) {
                let mut guard = mutex.lock();
                *guard += 1;
                if *guard % 256 == 0 {
                    // Long enough to be waited for.
                    (0..400).for_each(|_| std::hint::spin_loop());
                    yield_now();
                }
                drop(guard);
                ops.fetch_add(1, Ordering::Relaxed);
            }
        };
        let mut dice = Dice::new(3);
        let mut got = 0;
        let mut visit = || {
            for _ in 0..VISITS {
                let quiet = ops.load(Ordering::Relaxed) + QUIET + dice.roll(300);
                while ops.load(Ordering::Relaxed) < quiet {
                    yield_now();
                }
                let guard = match dice.roll(3) {
                    0 => mutex.try_lock_for(dice.timeout()),
                    _ => Some(mutex.lock()),
                };
                if let Some(mut guard) = guard {
                    *guard += 1;
                    got += 1;
                }
            }
            stop.store(true, Ordering::Relaxed);
        };
        watched("quiet mutex", || {
            thread::scope(|threads| {
                threads.spawn(owner);
                goweft::scope(|s| _ = s.spawn(&mut visit));
            });
            stop.store(false, Ordering::Relaxed);
            goweft::scope(|s| {
                s.spawn(owner);
                s.spawn(&mut visit);
            });
        });
        let count = *mutex.try_lock().expect("nobody has it");
        assert_eq!(count, ops.into_inner() + got);
    });
}

// After some thousand readers without a writer the next ones count nowhere, until a writer comes.
#[test]
fn a_writer_is_alone_after_many_readers() {
    const MANY: u64 = 4_500;
    const VISITS: u64 = 60;
    const WRITER: i64 = 1 << 32;
    with_1_2_and_8_processors(|| {
        let (lock, inside) = (RwLock::new(0u64), AtomicI64::new(0));
        let (reads, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let reader = |seed: u64| {
            let mut dice = Dice::new(seed);
            while !stop.load(Ordering::Relaxed) {
                let guard = match dice.roll(64) {
                    0 => lock.try_read_for(dice.timeout()),
                    1 => lock.try_read(),
                    _ => Some(lock.read()),
                };
                if let Some(guard) = guard {
                    let n = inside.fetch_add(1, Ordering::SeqCst);
                    assert!((0..WRITER / 2).contains(&n), "a reader beside a writer");
                    // Held over a switch, and so often dropped on another thread.
                    dice.yield_in(64);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(guard);
                }
                reads.fetch_add(1, Ordering::Relaxed);
                dice.yield_in(128);
            }
        };
        let mut written = 0;
        let mut writer = || {
            let mut dice = Dice::new(5);
            for _ in 0..VISITS {
                let many = reads.load(Ordering::Relaxed) + MANY + dice.roll(500);
                while reads.load(Ordering::Relaxed) < many {
                    yield_now();
                }
                let guard = match dice.roll(4) {
                    0 => lock.try_write_for(dice.timeout()),
                    1 => lock.try_write(),
                    _ => Some(lock.write()),
                };
                if let Some(mut guard) = guard {
                    assert_eq!(inside.fetch_add(WRITER, Ordering::SeqCst), 0);
                    *guard += 1;
                    written += 1;
                    dice.yield_in(4);
                    inside.fetch_sub(WRITER, Ordering::SeqCst);
                    match dice.roll(3) {
                        0 => drop(goweft::sync::RwLockWriteGuard::downgrade(guard)),
                        _ => drop(guard),
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
        };
        watched("many readers", || {
            goweft::scope(|s| {
                for seed in 0..4 {
                    let reader = &reader;
                    s.spawn(move || reader(seed));
                }
                s.spawn(&mut writer);
            });
        });
        assert_eq!(*lock.try_write().expect("all have left"), written);
    });
}

#[test]
fn a_wait_group_wakes_all_who_have_not_given_up() {
    with_1_2_and_8_processors(|| {
        let (group, meet) = (WaitGroup::new(), Barrier::new(3));
        watched("wait group", || {
            let count = || {
                goweft::scope(|s| {
                    s.spawn(|| {
                        for _ in 0..rounds() {
                            meet.wait();
                            group.wait();
                            meet.wait();
                        }
                    });
                    s.spawn(|| {
                        let mut dice = Dice::new(1);
                        for _ in 0..rounds() {
                            meet.wait();
                            group.wait_timeout(dice.timeout());
                            meet.wait();
                        }
                    });
                    let mut dice = Dice::new(2);
                    for _ in 0..rounds() {
                        group.add(2);
                        meet.wait();
                        dice.yield_in(2);
                        group.done();
                        dice.yield_in(2);
                        group.done();
                        meet.wait();
                        assert!(group.wait_timeout(Duration::ZERO));
                    }
                })
            };
            goweft::run(count);
        });
    });
}

// Go's x/sync semaphore_test.go TestAllocCancelDoesntStarve, many times over: permits that come
// against a context that ends.
#[test]
fn permits_are_not_lost_to_contexts_that_end() {
    let each = rounds() / 3;
    with_1_2_and_8_processors(|| {
        let (sem, got) = (Semaphore::new(2), AtomicU64::new(0));
        let actor = |who: u64| {
            let mut dice = Dice::new(who);
            for round in 0..each {
                let (ctx, cancel) = Context::background().with_cancel();
                if (round + who).is_multiple_of(3) {
                    cancel.detach();
                } else {
                    goweft::go!(cancel.cancel());
                }
                match sem.acquire_ctx(&ctx, 1 + dice.roll(2) as usize) {
                    Ok(permit) => {
                        got.fetch_add(1, Ordering::Relaxed);
                        dice.yield_in(4);
                        drop(permit);
                    }
                    Err(e) => assert_eq!(ctx.err(), Some(e)),
                }
            }
        };
        watched("contexts", || {
            goweft::run(|| {
                goweft::scope(|s| {
                    for who in 0..3 {
                        let actor = &actor;
                        s.spawn(move || actor(who));
                    }
                });
            });
        });
        assert_eq!(sem.available_permits(), 2);
        let got = got.into_inner();
        assert!(got >= each, "all that nobody cancelled, and {got} in all");
    });
}

#[test]
fn a_waiter_is_not_starved_by_a_hog_of_any_lock() {
    with_1_2_and_8_processors(|| {
        let (mutex, sem) = (Mutex::new(()), Semaphore::new(2));
        let (lock, stop) = (RwLock::new(()), AtomicBool::new(false));
        watched("hog", || {
            goweft::scope(|s| {
                // Each takes it again at once, and lets others run only while it has it.
                s.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let _guard = mutex.lock();
                        yield_now();
                    }
                });
                for _ in 0..2 {
                    s.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            let _permit = sem.acquire(1);
                            yield_now();
                        }
                    });
                    s.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            let _guard = lock.write();
                            yield_now();
                        }
                    });
                }
                for _ in 0..20 {
                    drop(mutex.lock());
                    drop(sem.acquire(2));
                    drop(lock.read());
                    drop(lock.write());
                }
                stop.store(true, Ordering::Relaxed);
            });
        });
    });
}

#[test]
fn a_waiter_is_not_starved_by_one_that_computes_with_the_mutex() {
    // Once a waiter is on its way, neither locking nor unlocking enters the runtime; and there is
    // always one that gives up, so the mutex is never quiet for long.
    with_1_2_and_8_processors(|| {
        let (mutex, stop) = (Mutex::new(()), AtomicBool::new(false));
        let waits = AtomicBool::new(false);
        watched("computes", || {
            thread::scope(|threads| {
                threads.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        drop(mutex.try_lock_for(Duration::from_millis(1)));
                    }
                });
                goweft::scope(|s| {
                    s.spawn(|| {
                        while !stop.load(Ordering::Relaxed) {
                            let (_guard, began) = (mutex.lock(), Instant::now());
                            if !waits.load(Ordering::Relaxed) {
                                yield_now();
                            }
                            while began.elapsed() < Duration::from_millis(1) {}
                        }
                    });
                    s.spawn(|| {
                        let began = Instant::now();
                        for _ in 0..20 {
                            waits.store(true, Ordering::Relaxed);
                            let guard = mutex.lock();
                            waits.store(false, Ordering::Relaxed);
                            drop(guard);
                            yield_now();
                        }
                        stop.store(true, Ordering::Relaxed);
                        let took = began.elapsed();
                        // A slice or two each, on a machine that has other things to do.
                        assert!(took < Duration::from_secs(10), "{took:?}");
                    });
                });
            });
        });
    });
}

#[test]
fn threads_that_end_while_they_are_woken_leave_their_blocks_to_others() {
    // A thread whose time is over as it is woken goes on, and may be gone, before its waker is
    // done with it. The goroutines beside it want the blocks of those that are gone.
    with_1_2_and_8_processors(|| {
        watched("ends", || {
            for round in 0..200 {
                let sem = Semaphore::new(1);
                let permit = sem.acquire(1);
                thread::scope(|s| {
                    for i in 0..4 {
                        let (sem, micros) = (&sem, 100 + 20 * i + round % 50);
                        s.spawn(move || {
                            drop(sem.acquire_timeout(1, Duration::from_micros(micros)))
                        });
                    }
                    let wg = WaitGroup::new();
                    for _ in 0..20 {
                        wg.go(yield_now);
                    }
                    thread::sleep(Duration::from_micros(100));
                    drop(permit);
                    wg.wait();
                });
                assert_eq!(sem.available_permits(), 1);
            }
        });
    });
}

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
