//! What timers leave behind that nobody stopped and nobody has any more: nothing. One test,
//! because it looks at the memory and the timers of the whole process.

use goweft::time::{Ticker, Timer};
use goweft::{channel, runtime, select};
use goweft_tests::counting::Counting;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const HOUR: Duration = Duration::from_secs(3600);

/// `n` of each kind, of which none is ever due and none is stopped. All are waited on, for a moment
/// or beside something that is ready first, but those of which one in four is not.
fn churn(n: u32) {
    let (tx, rx) = channel::bounded(1);
    for i in 0..n {
        let (timer, ticker) = (Timer::new(HOUR), Ticker::new(HOUR));
        let (after, tick) = (channel::after(HOUR), channel::tick(HOUR));
        let far = HOUR * (1 + i % 60);
        timer.reset(far);
        ticker.reset(far);
        for ticks in [timer.channel(), ticker.channel(), &after, &tick] {
            match i % 4 {
                0 => {}
                1 => assert!(ticks.recv_timeout(Duration::from_nanos(100)).is_err()),
                2 => select! {
                    recv(ticks) -> _ => unreachable!(),
                    default(Duration::from_nanos(100)) => {}
                },
                _ => {
                    // Parked, until the other one sends.
                    let tx = tx.clone();
                    goweft::go!(move || tx.send(i).unwrap());
                    select! {
                        recv(ticks) -> _ => unreachable!(),
                        recv(rx) -> got => assert_eq!(got, Ok(i)),
                    }
                }
            }
        }
    }
}

// TestTimerGC.
#[test]
fn timers_that_nobody_stopped_go_with_their_last_handle() {
    goweft::run(|| {
        churn(2_000);
        let settled = || {
            while runtime::num_goroutines() > 1 {
                goweft::task::yield_now();
            }
            ALLOCATOR.bytes()
        };
        let before = settled();
        churn(20_000);
        let grown = settled() - before;
        assert!(grown < 10_000, "{grown} bytes were not freed");
        // Waits that are over are swept when a processor has 64 more than are left.
        let (set, procs) = (runtime::metrics().timers, runtime::metrics().maxprocs);
        assert!(set <= 64 * procs, "{set} timers are set");

        // Many at once, all there, and nobody waits: no timer is set.
        let many: Vec<_> = (0..10_000)
            .map(|_| (Timer::new(HOUR), channel::tick(HOUR)))
            .collect();
        let all = runtime::metrics().timers;
        assert!(all <= set, "{all} timers are set, {set} were");
        drop(many);
        let grown = settled() - before;
        assert!(grown < 10_000, "{grown} bytes were not freed");
    });
}
