//! `time`: what Go's time/tick_test.go and sleep_test.go prove of timers, where no
//! `after_func` is needed.

use goweft::channel::{self, TryRecvError};
use goweft::select;
use goweft::time::{self, Ticker, Timer};
use std::panic::catch_unwind;
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

#[test]
fn smoke() {
    let start = time::now();
    let timer = Timer::new(5 * MS);
    let due = timer.channel().recv().unwrap();
    assert!(due >= start + 5 * MS && time::since(start) >= 5 * MS);
    assert_eq!(timer.channel().try_recv(), Err(TryRecvError::Empty));
    time::sleep_until(start + 7 * MS);
    assert!(time::since(start) >= 7 * MS);
    assert_eq!(time::since(start + 3_600_000 * MS), Duration::ZERO);
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

// TestAfterQueuing: they fire in the order of their deadlines. (A machine that stalls for
// longer than the slots are apart may mix them: as Go's, it may try again.)
#[goweft::test]
fn timers_fire_in_order() {
    let in_order = || {
        let (tx, rx) = channel::unbounded();
        for slot in [5u32, 3, 6, 2, 4, 1, 8, 7, 0] {
            let tx = tx.clone();
            let timer = channel::after(10 * MS + 10 * MS * slot);
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
    assert!((0..10).any(|_| in_order()));
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
    assert!(timer.reset(3_600_000 * MS), "it was due and not received");
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
    let timer = std::sync::Arc::new(Timer::new(3_600_000 * MS));
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
        while timer.reset(3_600_000 * MS) {
            // It was not received yet.
            timer.reset(Duration::ZERO);
            thread::sleep(MS);
            assert!(start.elapsed() < Duration::from_secs(60));
        }
    }
    let (plain, selected) = receiver.join().unwrap();
    assert!(selected >= plain);
}

#[test]
fn a_stopped_timer_never_fires_for_a_parked_receiver() {
    let timer = std::sync::Arc::new(Timer::new(10 * MS));
    let receiver = {
        let timer = timer.clone();
        thread::spawn(move || timer.channel().recv_timeout(60 * MS).is_err())
    };
    thread::sleep(MS);
    let stopped = timer.stop();
    assert_eq!(receiver.join().unwrap(), stopped);
}

// TestTicker: the period is kept.
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
            let timer = std::sync::Arc::new(Timer::new(Duration::from_micros(i * 10)));
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
