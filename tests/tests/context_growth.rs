//! What contexts leave behind: nothing. One test, because it looks at the memory and the
//! goroutines of the whole process.

use goweft::context::Context;
use goweft::runtime;
use goweft_tests::counting::Counting;
use std::fs;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// Resident memory in KiB.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn churn(n: u64) {
    let (parent, _cancel) = Context::background()
        .with_value("of a server")
        .with_cancel();
    for i in 0..n {
        let (child, cancel) = parent.with_timeout(Duration::from_secs(3600 + i % 60));
        let (grandchild, cancel_below) = child.with_value(i).with_cancel_cause();
        let stop = grandchild.after_func(|| {});
        match i % 5 {
            0 => cancel(),
            1 => cancel_below.cancel(std::io::Error::other("done")),
            2 => assert!(stop()),
            // Nothing is cancelled, only dropped.
            3 => cancel_below.detach(),
            // Nobody cancels it, but its parent does.
            _ => drop(cancel),
        }
    }
}

// Go's context TestCancelRemoves, TestAllocs: what was cancelled is not in its parent any more.
#[test]
fn a_million_short_lived_children_leave_nothing_behind() {
    goweft::run(|| {
        // A thread that the machine keeps waiting leaves what is started to pile up, so not many at
        // a time.
        let churn_and_wait = || {
            churn(1_000);
            while runtime::num_goroutines() > 1 {
                goweft::task::yield_now();
            }
        };
        (0..10).for_each(|_| churn_and_wait());
        let allocated = || ALLOCATOR.bytes();
        let before = (allocated(), resident());
        (0..500).for_each(|_| churn_and_wait()); // two contexts each
        let grown = allocated() - before.0;
        assert!(grown < 10_000, "{grown} bytes were not freed");
        // The same for blocks of goroutines, which are not allocated. (AddressSanitizer
        // keeps what is freed.)
        let grown = resident() - before.1;
        assert!(
            grown < 4096 || cfg!(sanitize_address),
            "grown by {grown} KiB"
        );
        // What has not begun does not count, and what was started ends.
        let (ctx, cancel) = Context::background().with_cancel();
        let stops: Vec<_> = (0..1000).map(|_| ctx.after_func(|| {})).collect();
        while runtime::num_goroutines() > 1 {
            goweft::task::yield_now();
        }
        drop(stops);
        cancel();
    });
}
