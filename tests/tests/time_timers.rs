//! `time`: what Go's time/tick_test.go and sleep_test.go prove of timers.

use goweft::channel::{self, Receiver, TryRecvError};
use goweft::select;
use goweft::time::{self, Ticker, Timer};
use goweft_tests::{in_time, scenario};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const CENTURIES: Duration = Duration::from_secs(400 * 365 * 24 * 3600);
/// Only a failure waits for it.
const WATCHDOG: Duration = Duration::from_secs(60);

#[test]
fn smoke() {
    let start = time::now();
    let timer = Timer::new(5 * MS);
    let due = timer.channel().recv().unwrap();
    assert!(due >= start + 5 * MS && time::since(start) >= 5 * MS);
    assert_eq!(timer.channel().try_recv(), Err(TryRecvError::Empty));
    time::sleep_until(start + 7 * MS);
    assert!(time::since(start) >= 7 * MS);
    assert_eq!(time::since(start + HOUR), Duration::ZERO);
}

// TestSleep, TestAfter.
#[goweft::test]
fn sleeping_is_never_short() {
    for d in [Duration::ZERO, Duration::from_nanos(1), MS, 7 * MS] {
        let start = Instant::now();
        time::sleep(d);
        assert!(start.elapsed() >= d);
        let start = Instant::now();
        channel::after(d).recv().unwrap();
        assert!(start.elapsed() >= d);
    }
    time::sleep_until(Instant::now() - MS);
}

// TestAfterQueuing: they fire in the order of their deadlines. (A machine that stalls for longer
// than the slots are apart may mix them: as Go's, it may try again, and they are twice as far apart
// then.)
#[goweft::test]
fn timers_fire_in_order() {
    let in_order = |apart: Duration| {
        let (tx, rx) = channel::unbounded();
        for slot in [5u32, 3, 6, 2, 4, 1, 8, 7, 0] {
            let tx = tx.clone();
            let timer = channel::after(apart * (1 + slot));
            goweft::go!(move || {
                timer.recv().unwrap();
                tx.send(slot).unwrap();
            });
        }
        drop(tx);
        let fired: Vec<_> = rx.iter().collect();
        assert_eq!(fired.len(), 9);
        fired.is_sorted()
    };
    assert!((0..7).any(|n| in_order(10 * MS * 2_u32.pow(n))));
}

// TestAfterTimes: a late receive sees the time at which it was due.
#[test]
fn a_tick_carries_the_time_it_was_due() {
    let before = Instant::now();
    let timer = channel::after(2 * MS);
    let after = Instant::now();
    thread::sleep(20 * MS);
    let due = timer.recv().unwrap();
    assert!(due >= before + 2 * MS && due <= after + 2 * MS);
}

// TestStopResult, TestResetResult, and Go 1.23's rule that nothing stale arrives.
#[test]
fn stop_and_reset_leave_nothing_stale() {
    let timer = Timer::new(Duration::ZERO);
    thread::sleep(MS);
    // Due, but not received: stopping it in time.
    assert!(timer.stop());
    assert!(!timer.stop());
    assert_eq!(timer.channel().try_recv(), Err(TryRecvError::Empty));
    assert!(!timer.reset(Duration::ZERO));
    assert!(timer.reset(HOUR), "it was due and not received");
    assert_eq!(timer.channel().try_recv(), Err(TryRecvError::Empty));
    assert!(timer.reset(MS));
    assert!(timer.channel().recv().is_ok());
    assert!(!timer.reset(MS), "it was received");
    assert!(timer.channel().recv().is_ok());
    assert!(!timer.stop());
}

#[test]
fn a_parked_receiver_follows_a_reset() {
    // Earlier: it is woken. Later: it waits on.
    let timer = Arc::new(Timer::new(HOUR));
    let receiver = {
        let timer = timer.clone();
        goweft::spawn(move || {
            let plain = timer.channel().recv().unwrap();
            let selected = select! { recv(timer.channel()) -> due => due.unwrap() };
            (plain, selected)
        })
    };
    // However far it is, each of these is for the receive that it waits in.
    for _ in 0..2 {
        thread::sleep(2 * MS);
        assert!(timer.reset(7_200_000 * MS));
        assert!(timer.reset(Duration::ZERO));
        let start = Instant::now();
        while timer.reset(HOUR) {
            // It was not received yet.
            timer.reset(Duration::ZERO);
            thread::sleep(MS);
            assert!(start.elapsed() < Duration::from_secs(60));
        }
    }
    let (plain, selected) = receiver.join().unwrap();
    assert!(selected >= plain);
}

/// As in Go, where setting a timer wakes nobody who waits.
#[goweft::test]
fn whoever_waits_in_a_select_can_be_met_when_its_timer_was_set() {
    let idle = Arc::new(Timer::new(HOUR));
    let (tx, rx) = channel::bounded(0);
    let timer = idle.clone();
    let receiver = goweft::spawn(move || {
        loop {
            select! {
                recv(rx) -> got => match got {
                    Ok(n) => assert!(n < 100),
                    Err(_) => return,
                },
                recv(timer.channel()) -> _ => unreachable!("it is far away"),
            }
        }
    });
    for n in 0..100 {
        // It waits in the select.
        let mut select = channel::Select::new();
        select.send(&tx);
        select.ready();
        match n % 4 {
            0 => assert!(idle.reset(2 * HOUR)),
            1 => assert!(idle.reset(HOUR)),
            2 => assert!(idle.stop()),
            _ => assert!(!idle.reset(HOUR)),
        }
        assert_eq!(tx.try_send(n), Ok(()));
    }
    drop(tx);
    receiver.join().unwrap();
}

#[test]
fn whoever_waits_in_a_select_keeps_its_place_when_its_timer_was_set() {
    let ran = scenario::run(env!("CARGO_BIN_EXE_scenario"), "keeps_its_place", &[]);
    assert!(ran.status.success(), "{ran:?}");
}

#[test]
fn nothing_comes_from_a_closed_timer_but_a_tick_that_was_due() {
    let ticker = Ticker::new(MS);
    thread::sleep(3 * MS);
    assert!(ticker.channel().close());
    assert!(ticker.channel().recv().is_ok());
    for _ in 0..3 {
        assert!(ticker.channel().recv().is_err());
        thread::sleep(2 * MS);
    }
    assert!(!ticker.reset(MS));
    thread::sleep(3 * MS);
    assert!(ticker.channel().recv().is_err());

    let timer = Timer::new(HOUR);
    assert!(timer.channel().close());
    assert!(!timer.reset(Duration::ZERO));
    assert_eq!(timer.channel().try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn a_stopped_timer_never_fires_for_a_parked_receiver() {
    let timer = Arc::new(Timer::new(10 * MS));
    let receiver = {
        let timer = timer.clone();
        thread::spawn(move || timer.channel().recv_timeout(60 * MS).is_err())
    };
    thread::sleep(MS);
    let stopped = timer.stop();
    assert_eq!(receiver.join().unwrap(), stopped);
}

// TestTicker, TestTick, TestAfterTick: the first tick is due when it should be, and none is missing.
// (Who is away for longer than a period misses some: one is kept.)
#[goweft::test]
fn one_who_is_in_time_receives_every_tick() {
    /// Whether the five that come after `set` are a period apart.
    fn all_come(period: Duration, set: impl FnOnce() -> Receiver<Instant>) -> bool {
        let before = Instant::now();
        let ticks = set();
        let after = Instant::now();
        let due: [Instant; 5] = std::array::from_fn(|_| ticks.recv().unwrap());
        assert!((before + period..=after + period).contains(&due[0]));
        due.windows(2).all(|two| two[1] - two[0] == period)
    }
    in_time(4 * MS, |period| {
        let ticker = Ticker::new(HOUR);
        all_come(period, || channel::tick(period))
            && all_come(period, || Ticker::new(period).channel().clone())
            && all_come(2 * period, || {
                assert!(ticker.reset(2 * period));
                ticker.channel().clone()
            })
    });
}

// The same three: the period is kept by one who is slow, and nothing comes after a stop.
#[test]
fn a_ticker_keeps_its_phase() {
    let ticker = Ticker::new(2 * MS);
    let first = ticker.channel().recv().unwrap();
    // Slow: the ticks in between are dropped, all but one.
    thread::sleep(11 * MS);
    let second = ticker.channel().recv().unwrap();
    let third = ticker.channel().recv().unwrap();
    assert_eq!((second - first).as_nanos() % (2 * MS).as_nanos(), 0);
    assert!(third >= first + 10 * MS, "{:?}", third - first);
    assert_eq!((third - first).as_nanos() % (2 * MS).as_nanos(), 0);
    assert!(ticker.reset(3 * MS));
    let next = ticker.channel().recv().unwrap();
    let after = ticker.channel().recv().unwrap();
    assert!(
        after > next
            && (after - next)
                .as_nanos()
                .is_multiple_of((3 * MS).as_nanos())
    );
    assert!(ticker.stop());
    assert!(!ticker.stop());
    assert_eq!(ticker.channel().try_recv(), Err(TryRecvError::Empty));
    let two_periods_later = ticker.channel().recv_timeout(6 * MS);
    assert_eq!(two_periods_later, Err(channel::RecvTimeoutError::Timeout));
}

// TestNewTickerLtZeroDuration, TestTickerResetLtZeroDuration; Tick(0) is nil.
#[test]
fn a_period_of_zero_is_refused() {
    let text = |r: Result<_, Box<dyn std::any::Any + Send>>| {
        *r.err().unwrap().downcast::<String>().unwrap()
    };
    let new = catch_unwind(|| Ticker::new(Duration::ZERO).stop());
    assert_eq!(text(new), "time: non-positive interval for Ticker::new");
    let reset = catch_unwind(|| Ticker::new(MS).reset(Duration::ZERO));
    assert_eq!(text(reset), "time: non-positive interval for Ticker::reset");
    assert_eq!(
        channel::tick(Duration::ZERO).try_recv(),
        Err(TryRecvError::Empty)
    );
}

#[test]
fn a_timer_presents_itself_as_unbuffered() {
    let timer = Timer::new(Duration::ZERO);
    assert_eq!(
        (timer.channel().len(), timer.channel().capacity()),
        (0, Some(0))
    );
    let clone = timer.channel().clone();
    assert!(clone.same_channel(timer.channel()));
    drop(timer);
    // A receiver keeps the tick alive.
    assert!(clone.recv().is_ok());
    assert!(clone.close());
    assert_eq!(clone.recv().ok(), None);
}

// TestTickerStress and TestTimerStopStress.
#[goweft::test]
fn many_timers_are_stopped_and_reset_while_they_fire() {
    let wg = goweft::sync::WaitGroup::new();
    for i in 0..50u64 {
        wg.go(move || {
            let timer = Arc::new(Timer::new(Duration::from_micros(i * 10)));
            let receiver = {
                let timer = timer.clone();
                goweft::spawn(move || {
                    (0..5)
                        .filter(|_| timer.channel().recv_timeout(MS).is_ok())
                        .count()
                })
            };
            let mut fired = 0;
            for _ in 0..20 {
                // Inactive means that a tick of it was received.
                if !timer.reset(Duration::from_micros(i * 7)) {
                    fired += 1;
                }
                goweft::task::yield_now();
            }
            let received = receiver.join().unwrap();
            if !timer.stop() {
                fired += 1;
            }
            assert_eq!(received, fired, "each tick was received or prevented");
        });
    }
    wg.wait();
}

#[goweft::test]
fn ten_thousand_timeouts_that_do_not_happen_cost_little() {
    let (tx, rx) = channel::bounded(0);
    goweft::go!(move || (0..10_000).for_each(|n| tx.send(n).unwrap()));
    for n in 0..10_000 {
        select! {
            recv(rx) -> v => assert_eq!(v, Ok(n)),
            recv(channel::after(Duration::from_secs(3600))) -> _ => unreachable!(),
        }
    }
}

// ---- after_func ------------------------------------------------------------

// TestAfterFunc: a function that sets up the next one.
#[goweft::test]
fn after_func_can_set_up_the_next() {
    fn next(left: usize, tx: channel::Sender<()>) {
        match left {
            0 => tx.send(()).unwrap(),
            _ => {
                let tx = tx.clone();
                time::after_func(Duration::ZERO, move || next(left - 1, tx.clone()));
            }
        }
    }
    let (tx, rx) = channel::bounded(1);
    next(1000, tx);
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok(()));
}

#[test]
fn after_func_from_a_plain_thread_calls_in_a_goroutine() {
    let (tx, rx) = channel::bounded(1);
    let start = Instant::now();
    let timer = time::after_func(5 * MS, move || {
        let who = (goweft::task::is_goroutine(), Instant::now());
        tx.send(who).unwrap();
    });
    let (goroutine, at) = rx.recv_timeout(WATCHDOG).unwrap();
    assert!(goroutine && at >= start + 5 * MS);
    assert!(!timer.stop());
    assert_eq!(timer.channel().try_recv(), Err(TryRecvError::Empty));
}

// TestAfterStop.
#[goweft::test]
fn after_func_that_was_stopped_is_not_called_and_is_dropped() {
    let token = Arc::new(());
    let kept = token.clone();
    let timer = time::after_func(HOUR, move || unreachable!("{kept:?}"));
    assert_eq!(Arc::strong_count(&token), 2);
    assert!(timer.stop());
    assert!(!timer.stop());
    assert!(!timer.reset(CENTURIES));
    assert!(timer.stop());
    drop(timer);
    assert_eq!(Arc::strong_count(&token), 1);
}

// TestReset, and Go's rule that Reset reschedules the function.
#[goweft::test]
fn after_func_is_called_once_for_each_setting_that_comes_to_pass() {
    let (tx, rx) = channel::bounded(1);
    let mut calls = 0;
    let timer = time::after_func(HOUR, move || {
        calls += 1;
        tx.send((calls, Instant::now())).unwrap();
    });
    for call in 1..=5 {
        let earliest = Instant::now() + MS;
        // It was set to an hour in the first round and has been called in the others.
        assert_eq!(timer.reset(2 * HOUR), call == 1);
        assert!(timer.reset(MS));
        let (n, at) = rx.recv_timeout(WATCHDOG).unwrap();
        assert_eq!(n, call);
        assert!(at >= earliest);
    }
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
}

#[goweft::test]
fn after_func_calls_never_overlap() {
    let (entered, running) = channel::bounded(0);
    let (go_on, wait) = channel::bounded::<()>(0);
    let inside = Arc::new(AtomicUsize::new(0));
    let timer = time::after_func(Duration::ZERO, move || {
        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two at once");
        entered.send(()).unwrap();
        wait.recv().unwrap();
        inside.fetch_sub(1, Ordering::Relaxed);
    });
    running.recv().unwrap();
    assert!(!timer.reset(Duration::ZERO), "it has been called");
    let second = running.recv_timeout(2 * MS);
    assert_eq!(second, Err(channel::RecvTimeoutError::Timeout));
    go_on.send(()).unwrap();
    running.recv().unwrap();
    go_on.send(()).unwrap();
}

#[goweft::test]
fn a_timer_of_after_func_that_is_dropped_still_fires() {
    let (tx, rx) = channel::bounded(1);
    drop(time::after_func(MS, move || tx.send(()).unwrap()));
    assert_eq!(rx.recv_timeout(WATCHDOG), Ok(()));
}

#[goweft::test]
fn a_panic_in_after_func_leaves_the_timer_usable() {
    let (tx, rx) = channel::bounded(1);
    let mut calls = 0;
    let timer = time::after_func(Duration::ZERO, move || {
        calls += 1;
        tx.send(calls).unwrap();
        match calls {
            1 => panic!("on purpose"),
            2 => goweft::task::exit(),
            _ => {}
        }
    });
    for call in 1..=3 {
        assert_eq!(rx.recv_timeout(WATCHDOG), Ok(call));
        timer.reset(Duration::ZERO);
    }
}

// TestTimerStopStress, TestTickerConcurrentStress: stop and reset race with the call.
#[test]
fn stopping_and_setting_race_with_the_call() {
    const ROUNDS: usize = 30_000;
    goweft::scope(|s| {
        for lane in 0..4 {
            s.spawn(move || {
                let calls = Arc::new(AtomicUsize::new(0));
                let (tx, rx) = channel::bounded::<()>(1);
                let mut prevented = 0;
                let counter = calls.clone();
                let micros = |n: usize| Duration::from_micros((n * 7 + lane) as u64 % 30);
                let timer = time::after_func(micros(0), move || {
                    counter.fetch_add(1, Ordering::Relaxed);
                    let _ = &tx;
                });
                for n in 0..ROUNDS {
                    if n % 3 == 0 {
                        goweft::task::yield_now();
                    }
                    prevented += usize::from(timer.reset(micros(n)));
                }
                prevented += usize::from(timer.stop());
                // The last call may still be on its way; the closure goes after it.
                drop(timer);
                assert!(rx.recv().is_err());
                assert_eq!(calls.load(Ordering::Relaxed) + prevented, ROUNDS + 1);
            });
        }
    });
}

// ---- limits ----------------------------------------------------------------------

// TestSleepZeroDeadlock, TestZeroTimer: zero is never lost.
#[test]
fn zero_is_due_at_once_however_often() {
    goweft::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for n in 0..5_000 {
                    time::sleep(Duration::ZERO);
                    time::sleep(Duration::from_nanos(1));
                    let (tx, rx) = channel::bounded(1);
                    let timer = time::after_func(Duration::ZERO, move || tx.send(()).unwrap());
                    select! {
                        recv(Timer::new(Duration::ZERO).channel()) -> due => assert!(due.is_ok()),
                        recv(time::after(HOUR)) -> _ => unreachable!(),
                    }
                    match n % 2 {
                        0 => assert_eq!(rx.recv_timeout(WATCHDOG), Ok(())),
                        _ => assert!(timer.stop() || rx.recv_timeout(WATCHDOG) == Ok(())),
                    }
                }
            });
        }
    });
}

// TestOverflowSleep, TestIssue5745: a time beyond all clocks.
#[goweft::test]
fn centuries_never_come_and_can_be_stopped() {
    for far in [CENTURIES, Duration::MAX, Duration::from_nanos(u64::MAX)] {
        let timer = Timer::new(far);
        let ticker = Ticker::new(far);
        let call = time::after_func(far, || unreachable!());
        let after = time::after(far);
        select! {
            recv(timer.channel()) -> _ => unreachable!(),
            recv(ticker.channel()) -> _ => unreachable!(),
            recv(after) -> _ => unreachable!(),
            default(MS) => {}
        }
        assert!(timer.stop() && ticker.stop() && call.stop());
        assert!(!timer.reset(far) && timer.reset(MS));
        assert!(!ticker.reset(far) && ticker.reset(MS));
        assert!(!call.reset(far) && call.reset(far) && call.stop());
        assert!(timer.channel().recv().is_ok());
        assert!(ticker.channel().recv().is_ok());
    }
    let asleep = goweft::spawn(|| time::sleep(Duration::MAX));
    time::sleep(MS);
    assert!(!asleep.is_finished());
}

// TestTeardown: receivers of a timer come and go.
#[goweft::test]
fn waits_that_end_early_leave_nothing_in_the_timer() {
    for _ in 0..3 {
        let ticker = Arc::new(Ticker::new(Duration::from_micros(100)));
        let wg = goweft::sync::WaitGroup::new();
        for _ in 0..20 {
            let ticker = ticker.clone();
            wg.go(move || {
                for _ in 0..20 {
                    let _ = ticker.channel().recv_timeout(Duration::from_micros(50));
                    select! {
                        recv(ticker.channel()) -> tick => assert!(tick.is_ok()),
                        default(Duration::from_micros(50)) => {}
                    }
                }
            });
        }
        wg.wait();
        assert!(ticker.channel().recv().is_ok());
        assert!(ticker.stop());
        assert_eq!(ticker.channel().try_recv(), Err(TryRecvError::Empty));
    }
}

// ---- ticks -------------------------------------------------------------------------

// TestMultiWakeupTicker: many receive from one ticker that is set again and again.
#[test]
fn tick_times_never_decrease() {
    let began = Instant::now();
    let ticker = Ticker::new(Duration::from_micros(20));
    let latest = goweft::sync::Mutex::new((began, 0));
    goweft::scope(|s| {
        for receiver in 0..4 {
            let (ticker, latest) = (&ticker, &latest);
            s.spawn(move || {
                loop {
                    // Receiving under the lock makes an order of all ticks.
                    let mut latest = latest.lock();
                    if latest.1 == 10_000 {
                        return;
                    }
                    let tick = if receiver % 2 == 0 {
                        ticker.channel().recv().unwrap()
                    } else {
                        let mut select = channel::Select::new();
                        select.recv(ticker.channel());
                        let op = select.select();
                        if latest.1 % 5 == 0 {
                            // Given back, for one of the others.
                            drop(op);
                            drop(latest);
                            goweft::task::yield_now();
                            continue;
                        }
                        op.recv(ticker.channel()).unwrap()
                    };
                    let (before, after) = (latest.0, Instant::now());
                    assert!(
                        (before..=after).contains(&tick),
                        "tick {}: {before:?}, {tick:?}, {after:?}",
                        latest.1
                    );
                    *latest = (tick, latest.1 + 1);
                }
            });
        }
        s.spawn(|| {
            for micros in (1..20).cycle() {
                if latest.lock().1 == 10_000 {
                    return;
                }
                ticker.reset(Duration::from_micros(micros));
                goweft::task::yield_now();
            }
        });
    });
}

#[goweft::test]
fn a_tick_that_is_given_back_can_be_received_unless_a_later_one_was() {
    let timer = Timer::new(Duration::ZERO);
    let give_back = |rx: &channel::Receiver<Instant>| {
        let mut select = channel::Select::new();
        select.recv(rx);
        drop(select.select());
    };
    give_back(timer.channel());
    assert!(timer.channel().try_recv().is_ok());

    let ticker = Ticker::new(MS);
    give_back(ticker.channel());
    let first = ticker.channel().recv().unwrap();
    let mut select = channel::Select::new();
    select.recv(ticker.channel());
    let second = select.select();
    let third = ticker.channel().recv().unwrap();
    drop(second);
    assert!(ticker.channel().recv().unwrap() > third && third >= first + 2 * MS);

    // One who has heard that there are no more is not given one.
    let mut select = channel::Select::new();
    select.recv(ticker.channel());
    let last = select.select();
    assert!(ticker.channel().close());
    while ticker.channel().recv().is_ok() {}
    drop(last);
    assert!(ticker.channel().recv().is_err());

    // Nor when it was taken after the close.
    let timer = Timer::new(Duration::ZERO);
    assert!(timer.channel().close());
    let mut select = channel::Select::new();
    select.recv(timer.channel());
    let last = select.select();
    assert!(timer.channel().recv().is_err());
    drop(last);
    assert!(timer.channel().recv().is_err());
}
