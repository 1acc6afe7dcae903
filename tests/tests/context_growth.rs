//! What contexts leave behind: nothing. One test, because it looks at the memory and the
//! goroutines of the whole process.

use goweft::context::Context;
use goweft::runtime;
use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Counts the bytes that are allocated.
struct Counting(AtomicI64);

#[global_allocator]
static ALLOCATOR: Counting = Counting(AtomicI64::new(0));

// SAFETY: it is the system's allocator, with a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        self.0.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

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
        let allocated = || ALLOCATOR.0.load(Ordering::Relaxed);
        let before = (allocated(), resident());
        churn(500_000); // two contexts each
        // What was started on the way ends first.
        while runtime::num_goroutines() > 1 {
            goweft::task::yield_now();
        }
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
