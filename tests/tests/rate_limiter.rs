//! `rate`: golang.org/x/time/rate's rate_test.go and sometimes_test.go, written anew.
//!
//! Most of them tell the limiter what time it is: moments are tenths of a second after some
//! start, and the limiters give ten tokens a second, one each tenth.

use goweft::context::{Context, ContextError};
use goweft::rate::{Limit, Limiter, Reservation, Sometimes, WaitError};
use goweft::sync::WaitGroup;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TENTH: Duration = Duration::from_millis(100);
const TEN: Limit = Limit::per_second(10.0);

/// The moment `n` tenths after the start.
fn t(n: i32) -> Instant {
    static START: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_secs(1));
    match u32::try_from(n) {
        Ok(n) => *START + TENTH * n,
        Err(_) => *START - TENTH * n.unsigned_abs(),
    }
}

/// `n` events at each of these moments, and what is to be said to them.
fn run(limiter: &Limiter, steps: &[(i32, usize, bool)]) {
    for (i, &(at, n, ok)) in steps.iter().enumerate() {
        assert_eq!(limiter.allow_n(t(at), n), ok, "step {i}: {n} at {at}");
    }
}

/// Reserves, and says by how many tenths it is delayed (to the nearest).
#[track_caller]
fn reserve<'a>(limiter: &'a Limiter, at: i32, n: usize, delay: u128) -> Reservation<'a> {
    let r = limiter.reserve_n(t(at), n);
    assert!(r.ok());
    let micros = r.delay_from(t(at)).as_micros();
    assert_eq!((micros + 50_000) / 100_000, delay, "{micros} us");
    assert!(micros.abs_diff(delay * 100_000) < 1_000, "{micros} us");
    r
}

#[goweft::test]
fn smoke() {
    let limiter = Limiter::new(Limit::per_second(1000.0), 2);
    let start = Instant::now();
    assert!(limiter.allow() && limiter.allow());
    limiter.wait_n(&Context::background(), 2).unwrap();
    assert!(start.elapsed() >= Duration::from_micros(1990));
    assert_eq!((limiter.limit(), limiter.burst()), (Limit(1000.0), 2));
}

// TestLimit, TestEvery.
#[test]
fn limits_come_from_intervals_and_compare() {
    assert_eq!(Limit::every(TENTH), Limit(10.0));
    assert_eq!(Limit::every(Duration::from_millis(2)), Limit(500.0));
    assert_eq!(Limit::every(Duration::from_secs(10)), Limit(0.1));
    assert_eq!(Limit::every(Duration::ZERO), Limit::INF);
    assert_eq!(Limit::from(2.5), Limit::per_second(2.5));
    assert!(Limit(1e9) < Limit::INF && Limit::default() == Limit(0.0));
}

// TestLimiterBurst1, TestLimiterBurst3.
#[test]
fn a_bucket_empties_and_fills_up_to_its_burst() {
    run(
        &Limiter::new(TEN, 1),
        &[
            (0, 1, true),
            (0, 1, false),
            (0, 1, false),
            (1, 1, true),
            (1, 1, false),
            (1, 1, false),
            (2, 2, false), // the burst is 1
            (2, 1, true),
            (2, 1, false),
        ],
    );
    run(
        &Limiter::new(TEN, 3),
        &[
            (0, 2, true),
            (0, 2, false),
            (0, 1, true),
            (0, 1, false),
            (1, 4, false),
            (2, 1, true),
            (3, 1, true),
            (4, 1, true),
            (4, 1, true),
            (4, 1, false),
            (4, 1, false),
            (9, 3, true),
            (9, 1, false),
        ],
    );
}

// TestLimiterJumpBackwards, TestReserveJumpBack.
#[test]
fn a_moment_in_the_past_brings_nothing_and_costs_nothing() {
    run(
        &Limiter::new(TEN, 3),
        &[
            (1, 1, true),
            (0, 1, true),
            (0, 1, true),
            (0, 1, false),
            (0, 1, false),
            (1, 1, true), // it got back from 0 to 1
            (1, 1, false),
            (1, 1, false),
            (2, 1, true),
            (2, 1, false),
            (2, 1, false),
        ],
    );
    let limiter = Limiter::new(TEN, 2);
    let _ = reserve(&limiter, 1, 2, 0);
    let _ = reserve(&limiter, 0, 1, 1);
    let _ = reserve(&limiter, 3, 2, 0);
}

// TestLimiter_noTruncationErrors.
#[test]
fn tiny_rates_lose_no_token_to_rounding() {
    assert!(Limiter::new(Limit(0.7692307692307693), 1).allow());
    // TestTokensBeforeFirstEvent, in spirit: full, however early one asks.
    assert_eq!(Limiter::new(TEN, 3).tokens_at(t(-10)), 3.0);
}

// TestSimultaneousRequests.
#[test]
fn the_burst_is_given_out_once_to_many_at_once() {
    const BURST: usize = 5;
    let limiter = Limiter::new(Limit(0.0001), BURST);
    let given = AtomicUsize::new(0);
    goweft::scope(|s| {
        for _ in 0..15 {
            s.spawn(|| given.fetch_add(usize::from(limiter.allow()), Ordering::Relaxed));
        }
    });
    assert_eq!(given.into_inner(), BURST);
}

// TestLongRunningQPS, with a clock of its own.
#[test]
fn over_a_long_time_the_rate_is_kept() {
    let limiter = Limiter::new(Limit(100.0), 100);
    let mut allowed = 0;
    // Five seconds at 20,000 requests a second.
    for i in 0..100_000 {
        allowed += usize::from(limiter.allow_n(t(0) + Duration::from_micros(50) * i, 1));
    }
    let ideal = 100 + 5 * 100;
    assert!((ideal - 1..=ideal).contains(&allowed), "{allowed}");
}

// TestSimpleReserve, TestMix.
#[test]
fn reservations_queue_up_behind_each_other() {
    let limiter = Limiter::new(TEN, 2);
    let _ = reserve(&limiter, 0, 2, 0);
    let _ = reserve(&limiter, 0, 2, 2);
    let _ = reserve(&limiter, 3, 2, 1);

    let limiter = Limiter::new(TEN, 2);
    let refused = limiter.reserve_n(t(0), 3); // more than the burst
    assert!(!refused.ok());
    assert_eq!(refused.delay_from(t(0)), Duration::MAX);
    let _ = reserve(&limiter, 0, 2, 0);
    run(&limiter, &[(1, 2, false)]);
    let _ = reserve(&limiter, 1, 2, 1);
    run(&limiter, &[(1, 1, false), (2, 1, false), (3, 1, true)]);
}

// TestCancelInvalid, TestCancelLast, TestCancelTooLate, TestCancel0Tokens, TestCancel1Token,
// TestCancelMulti.
#[test]
fn a_cancelled_reservation_gives_back_what_others_do_not_rely_on() {
    let fresh = || {
        let limiter = Limiter::new(TEN, 2);
        let _ = reserve(&limiter, 0, 2, 0);
        limiter
    };

    // It was refused.
    let limiter = fresh();
    limiter.reserve_n(t(0), 3).cancel_at(t(0));
    let _ = reserve(&limiter, 0, 2, 2);

    // It was the last: everything.
    let limiter = fresh();
    reserve(&limiter, 0, 2, 2).cancel_at(t(1));
    let _ = reserve(&limiter, 1, 2, 1);

    // Its time has come: nothing.
    let limiter = fresh();
    reserve(&limiter, 0, 2, 2).cancel_at(t(3));
    let _ = reserve(&limiter, 3, 2, 1);

    // It has nothing that others do not rely on.
    let limiter = fresh();
    let first = reserve(&limiter, 0, 1, 1);
    let _ = reserve(&limiter, 0, 1, 2);
    first.cancel_at(t(1));
    let _ = reserve(&limiter, 1, 1, 2);

    // One of its two.
    let limiter = fresh();
    let first = reserve(&limiter, 0, 2, 2);
    let _ = reserve(&limiter, 0, 1, 3);
    first.cancel_at(t(2));
    let _ = reserve(&limiter, 2, 2, 2);

    // Two, the last one first.
    let limiter = Limiter::new(TEN, 4);
    let _ = reserve(&limiter, 0, 4, 0);
    let first = reserve(&limiter, 0, 3, 3);
    let second = reserve(&limiter, 0, 1, 4);
    first.cancel_at(t(1)); // gives back 2 of its 3
    second.cancel_at(t(1)); // gives back 1
    let _ = reserve(&limiter, 1, 3, 3);
}

// TestReserveJumpBackCancel.
#[test]
fn cancelling_in_the_past_gives_back_as_well() {
    let limiter = Limiter::new(TEN, 2);
    let _ = reserve(&limiter, 1, 2, 0); // the start is 1
    let first = reserve(&limiter, 1, 2, 2);
    let _ = reserve(&limiter, 1, 1, 3);
    first.cancel_at(t(0)); // jumps back, gives back 1
    let _ = reserve(&limiter, 1, 2, 3);
}

// TestReserveSetLimit, TestReserveSetBurst, TestReserveSetLimitCancel.
#[test]
fn limit_and_burst_may_change_under_reservations() {
    let limiter = Limiter::new(Limit(5.0), 2);
    let _ = reserve(&limiter, 0, 2, 0);
    let _ = reserve(&limiter, 0, 2, 4);
    limiter.set_limit_at(t(2), TEN);
    let _ = reserve(&limiter, 2, 1, 2); // violates the limit for those before

    let limiter = Limiter::new(Limit(5.0), 2);
    let _ = reserve(&limiter, 0, 2, 0);
    let _ = reserve(&limiter, 0, 2, 4);
    limiter.set_burst_at(t(3), 4);
    let _ = reserve(&limiter, 0, 4, 9);

    let limiter = Limiter::new(Limit(5.0), 2);
    let _ = reserve(&limiter, 0, 2, 0);
    let first = reserve(&limiter, 0, 2, 4);
    limiter.set_limit_at(t(2), TEN);
    first.cancel_at(t(2)); // by the rate it was made at: 2 tokens
    let _ = reserve(&limiter, 2, 2, 1);
}

// TestTinyLimit: how long the next token takes is more than a duration holds.
#[test]
fn a_tiny_limit_allows_its_burst_and_nothing_after_it() {
    let limiter = Limiter::new(Limit(1e-10), 1);
    run(&limiter, &[(0, 1, true), (0, 1, false), (1, 1, false)]);
    assert_eq!(limiter.reserve_n(t(1), 1).delay_from(t(1)), Duration::MAX);
}

// TestWaitTimeout, and TestReserveMax, the part of it that reserve_n has: a context's deadline.
#[goweft::test]
fn waiting_gives_up_at_once_when_the_deadline_is_too_early() {
    let limiter = Limiter::new(Limit(0.0001), 3);
    let background = Context::background();
    limiter.wait_n(&background, 3).unwrap();
    // The next token comes in hours.
    let (ctx, _cancel) = background.with_timeout(Duration::from_secs(3600));
    let late = limiter.wait_n(&ctx, 1).unwrap_err();
    assert_eq!(late, WaitError::ExceedsDeadline { n: 1 });
    assert_eq!(
        late.to_string(),
        "rate: wait(n=1) would exceed context deadline"
    );
    let much = limiter.wait_n(&background, 4).unwrap_err();
    assert_eq!(much, WaitError::ExceedsBurst { n: 4, burst: 3 });
    assert_eq!(
        much.to_string(),
        "rate: wait(n=4) exceeds limiter's burst 3"
    );
    assert!(limiter.tokens() >= 0.0, "nothing was taken");
}

// TestWaitSimple.
#[goweft::test]
fn waiting_on_a_context_that_is_done_takes_nothing() {
    let limiter = Limiter::new(TEN, 3);
    let (ctx, cancel) = Context::background().with_cancel();
    cancel();
    let done = WaitError::Done(ContextError::Canceled);
    assert_eq!(limiter.wait(&ctx), Err(done));
    assert_eq!(done.to_string(), "context canceled");
    let (ctx, _cancel) = Context::background().with_timeout(Duration::ZERO);
    assert_eq!(
        limiter.wait(&ctx),
        Err(WaitError::Done(ContextError::DeadlineExceeded))
    );
    assert!(limiter.allow_n(Instant::now(), 3));
}

// TestWaitCancel.
#[goweft::test]
fn who_stops_waiting_gives_the_tokens_back() {
    let limiter = Limiter::new(Limit(0.01), 3);
    let (ctx, cancel) = Context::background().with_cancel();
    limiter.wait_n(&ctx, 2).unwrap();
    goweft::scope(|s| {
        let waits = s.spawn(|| limiter.wait_n(&ctx, 3));
        while limiter.tokens() >= 0.0 {
            goweft::task::yield_now();
        }
        // Behind the other one in the queue.
        let second = s.spawn(|| limiter.wait_n(&ctx, 1));
        while limiter.tokens() > -2.5 {
            goweft::task::yield_now();
        }
        cancel();
        let done = Err(WaitError::Done(ContextError::Canceled));
        assert_eq!(waits.join().unwrap(), done);
        assert_eq!(second.join().unwrap(), done);
    });
    // Whichever gave back first: at least what the later one did not rely on.
    assert!(limiter.tokens() >= 0.0, "{}", limiter.tokens());
}

// TestWaitInf, and Inf in general.
#[goweft::test]
fn without_a_limit_everything_is_allowed() {
    let limiter = Limiter::new(Limit::INF, 0);
    for _ in 0..100 {
        assert!(limiter.allow_n(Instant::now(), 1_000_000));
        limiter.wait_n(&Context::background(), 1_000_000).unwrap();
        let r = limiter.reserve_n(t(0), 1_000_000);
        assert_eq!(r.delay_from(t(0)), Duration::ZERO);
        r.cancel();
    }
}

// TestZeroLimit, TestSetAfterZeroLimit; the zero Limiter.
#[test]
fn no_limit_for_no_time_brings_nothing() {
    let limiter = Limiter::new(TEN, 5);
    run(&limiter, &[(0, 5, true)]);
    limiter.set_limit_at(t(0), Limit::INF);
    assert_eq!(limiter.tokens_at(t(0)), 0.0);
    let free = limiter.reserve_n(t(0), 3);
    limiter.set_limit_at(t(0), TEN);
    assert_eq!(limiter.tokens_at(t(0)), 0.0);
    free.cancel_at(t(0));
    assert_eq!(limiter.tokens_at(t(0)), 0.0, "it had taken none");
    run(&limiter, &[(0, 1, false), (1, 1, true), (1, 1, false)]);
    // A tenth of a second without a limit fills the bucket.
    limiter.set_limit_at(t(1), Limit::INF);
    limiter.set_limit_at(t(2), TEN);
    run(&limiter, &[(2, 5, true), (2, 1, false)]);
}

#[test]
fn what_is_not_a_number_brings_nothing() {
    let limiter = Limiter::new(Limit(f64::NAN), 2);
    run(&limiter, &[(0, 2, true), (0, 1, false), (9, 1, false)]);
    assert_eq!(limiter.reserve_n(t(9), 1).delay_from(t(9)), Duration::MAX);
}

#[test]
fn a_limit_of_zero_allows_the_burst_and_no_more() {
    let limiter = Limiter::new(Limit(0.0), 1);
    assert!(limiter.allow());
    assert!(!limiter.allow());
    let never = limiter.reserve();
    assert_eq!(never.delay(), Duration::MAX);
    never.cancel();
    assert_eq!(limiter.tokens(), 0.0);
    limiter.set_limit_at(t(0), TEN);
    assert!(limiter.allow_n(t(1), 1));

    let nothing = Limiter::default();
    assert!(!nothing.allow());
    assert!(!nothing.reserve().ok());
}

// TestSetBurst, TestSetLimit with the tokens that are there.
#[test]
fn tokens_tell_what_is_there() {
    let limiter = Limiter::new(TEN, 10);
    assert!(limiter.allow_n(t(0), 10));
    assert_eq!(limiter.tokens_at(t(0)), 0.0);
    let there = limiter.tokens_at(t(5));
    assert!((there - 5.0).abs() < 1e-6, "{there}");
    limiter.set_burst_at(t(5), 3);
    assert_eq!(limiter.tokens_at(t(5)), 3.0);
    limiter.set_burst(20);
    limiter.set_limit(Limit::per_second(1.0));
    assert_eq!((limiter.limit(), limiter.burst()), (Limit(1.0), 20));
    assert!(format!("{limiter:?}").starts_with("Limiter { limit: Limit(1.0), burst: 20, tokens: "));
}

// A fleet of waiters, goroutines and threads, shares the rate.
#[test]
fn waiters_share_the_rate() {
    static LIMITER: Limiter = Limiter::new(Limit(2000.0), 1);
    let start = Instant::now();
    let wg = WaitGroup::new();
    let ctx = Context::background();
    for _ in 0..10 {
        let ctx = ctx.clone();
        wg.go(move || (0..10).for_each(|_| LIMITER.wait(&ctx).unwrap()));
    }
    std::thread::scope(|s| {
        s.spawn(|| (0..20).for_each(|_| LIMITER.wait(&ctx).unwrap()));
    });
    wg.wait();
    // The first is free, the other 119 come at half a millisecond each.
    let took = start.elapsed();
    assert!(took >= Duration::from_micros(119 * 500 - 500), "{took:?}");
}

// ---- Sometimes ---------------------------------------------------------------

fn times(sometimes: &Sometimes, calls: usize) -> Vec<usize> {
    let mut done = vec![];
    for n in 0..calls {
        sometimes.run(|| done.push(n));
    }
    done
}

// TestSometimesZero, …First, …Every, …Mix and the examples.
#[test]
fn sometimes_is_the_first_times_and_every_so_often() {
    assert_eq!(times(&Sometimes::new(), 5), [0]);
    assert_eq!(times(&Sometimes::default(), 5), [0]);
    assert_eq!(times(&Sometimes::new().first(0), 5), [0]);
    assert_eq!(times(&Sometimes::new().first(3), 5), [0, 1, 2]);
    assert_eq!(times(&Sometimes::new().every(1), 3), [0, 1, 2]);
    assert_eq!(times(&Sometimes::new().every(2), 6), [0, 2, 4]);
    assert_eq!(times(&Sometimes::new().first(2).every(4), 10), [0, 1, 4, 8]);
}

// TestSometimesInterval.
#[test]
fn sometimes_is_when_some_time_has_passed() {
    let hourly = Sometimes::new().interval(Duration::from_secs(3600));
    assert_eq!(times(&hourly, 10), [0]);
    let often = Sometimes::new().interval(Duration::from_millis(1));
    let mut done = vec![];
    while done.len() < 5 {
        often.run(|| done.push(Instant::now()));
    }
    assert!(
        done.windows(2)
            .all(|w| w[1] - w[0] >= Duration::from_millis(1))
    );
}

// TestSometimesConcurrent.
#[test]
fn sometimes_counts_for_all_callers() {
    let sometimes = Sometimes::new().every(10);
    let done = AtomicUsize::new(0);
    goweft::scope(|s| {
        for _ in 0..10 {
            s.spawn(|| {
                for _ in 0..100 {
                    sometimes.run(|| _ = done.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
    });
    assert_eq!(done.into_inner(), 100);
}
