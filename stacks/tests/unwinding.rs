//! Panics and backtraces on our stacks.

mod fiber;

use fiber::Fiber;
use goweft_stacks::Class;
use goweft_stacks::context::{Context, prepare, run_on_top, switch, switch_final};
use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[inline(never)]
fn fall(depth: usize, drops: &Arc<AtomicUsize>) {
    let _counts = Counts(drops.clone());
    assert!(depth > 0, "the bottom");
    fall(depth - 1, drops);
}

#[test]
fn a_panic_unwinds_the_context_and_runs_drops() {
    let drops = Arc::new(AtomicUsize::new(0));
    let theirs = drops.clone();
    let mut fiber = Fiber::new(Class::DEFAULT, move |s| {
        s.suspend();
        fall(30, &theirs);
    });
    assert!(fiber.resume());
    let panic = catch_unwind(AssertUnwindSafe(|| fiber.resume())).unwrap_err();
    assert_eq!(*panic.downcast::<&str>().unwrap(), "the bottom");
    assert_eq!(drops.load(Ordering::Relaxed), 31);
}

/// The frames of a context are there, and those of the thread below are not:
/// the walk ends at the entry. corosensei goes on into the thread, by design.
fn assert_ends_at_entry(trace: &str, frames: &[&str]) {
    for frame in frames {
        assert!(trace.contains(frame), "no {frame} in\n{trace}");
    }
    if cfg!(not(feature = "corosensei")) {
        assert!(!trace.contains("__rust_begin_short_backtrace"), "{trace}");
        assert!(trace.lines().count() < 200, "{trace}");
    }
}

#[test]
fn a_backtrace_ends_at_the_entry_of_the_context() {
    let mut fiber = Fiber::new(Class::DEFAULT, |s| {
        s.suspend();
        let trace = Backtrace::force_capture().to_string();
        assert_ends_at_entry(&trace, &["fiber::entry"]);
    });
    assert!(fiber.resume());
    assert!(!fiber.resume());
}

#[inline(never)]
fn parked_deep_inside(s: &fiber::Suspend, depth: usize) {
    if depth > 0 {
        parked_deep_inside(s, depth - 1);
    } else {
        s.suspend();
    }
    std::hint::black_box(depth);
}

#[test]
fn a_parked_context_shows_its_frames_and_stays_parked() {
    let mut fiber = Fiber::new(Class::DEFAULT, |s| parked_deep_inside(s, 3));
    assert!(fiber.resume());
    let parked = fiber.context();
    for _ in 0..3 {
        let mut trace = String::new();
        let (low, high) = (fiber.stack().limit().addr(), fiber.stack().top().addr());
        // SAFETY: the fiber is parked and ours.
        unsafe {
            run_on_top(parked, &mut || {
                let here = (&raw const trace).addr();
                assert!(!(low..high).contains(&here), "captured by reference");
                let local = 0u8;
                assert!((low..high).contains(&(&raw const local).addr()));
                trace = Backtrace::force_capture().to_string();
            });
        }
        assert_ends_at_entry(&trace, &["parked_deep_inside", "fiber::entry"]);
        assert_eq!(fiber.context(), parked);
    }
    assert!(!fiber.resume());
}

#[test]
fn a_fresh_context_can_be_run_on_top_of() {
    let mut fiber = Fiber::new(Class::DEFAULT, |s| s.suspend());
    let mut trace = String::new();
    // SAFETY: the fiber is fresh and ours.
    unsafe {
        run_on_top(fiber.context(), &mut || {
            trace = Backtrace::force_capture().to_string()
        })
    };
    assert_ends_at_entry(&trace, &[]);
    assert!(fiber.resume());
    assert!(!fiber.resume());
}

/// One context, and the trace that the action takes on the way into it.
struct Traced {
    host: Context,
    guest: Context,
    traces: Vec<String>,
}

unsafe extern "C" fn trace_and_store_host(left: Context, traced: *mut ()) {
    // SAFETY: the test's record, used by one context at a time.
    let traced = unsafe { &mut *traced.cast::<Traced>() };
    traced.host = left;
    traced.traces.push(Backtrace::force_capture().to_string());
}

unsafe extern "C" fn store_guest(left: Context, traced: *mut ()) {
    // SAFETY: as above.
    unsafe { (*traced.cast::<Traced>()).guest = left };
}

#[inline(never)]
unsafe extern "C" fn guest_of_traces(traced: *mut ()) -> ! {
    let t = traced.cast::<Traced>();
    // SAFETY: the host is suspended whenever we run.
    unsafe {
        let to = (*t).host;
        switch(to, store_guest, traced);
        let to = (*t).host;
        switch_final(to, store_guest, traced)
    }
}

#[test]
fn a_backtrace_inside_an_action_walks_the_destination_to_its_end() {
    let stack = goweft_stacks::Stack::new(Class::DEFAULT).unwrap();
    let mut t = Traced {
        host: Context::NULL,
        guest: Context::NULL,
        traces: Vec::new(),
    };
    let t = &raw mut t;
    // SAFETY: the guest follows the protocol of `Traced`.
    let traces = unsafe {
        (*t).guest = prepare(stack.top(), stack.limit(), guest_of_traces, t.cast());
        for _ in 0..2 {
            let to = (*t).guest;
            switch(to, trace_and_store_host, t.cast());
        }
        std::mem::take(&mut (*t).traces)
    };
    // The first arrival was in front of the entry, the second inside it.
    assert_ends_at_entry(&traces[0], &["trace_and_store_host"]);
    assert_ends_at_entry(&traces[1], &["trace_and_store_host", "guest_of_traces"]);
}
