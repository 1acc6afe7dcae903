//! What contexts leave behind: nothing. One test, because it looks at the memory and the
//! goroutines of the whole process.

use goweft::context::Context;
use goweft::runtime;
use std::fs;
use std::time::Duration;

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

#[test]
fn a_million_short_lived_children_leave_nothing_behind() {
    goweft::run(|| {
        churn(10_000);
        let before = resident();
        churn(500_000); // two contexts each
        let grown = resident() - before;
        assert!(grown < 4096, "grown by {grown} KiB");
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
