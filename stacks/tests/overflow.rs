//! The overflow report: what is called an overflow, and what is not.

mod child;
mod fiber;

use goweft_stacks::overflow::{self, AltStack, Fault};
use goweft_stacks::{Class, Stack};
use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// An allocator that can be made to hang, like one whose lock is taken.
struct Hanging;
static HANG: AtomicBool = AtomicBool::new(false);

// SAFETY: forwards to the system's allocator or does not return.
unsafe impl GlobalAlloc for Hanging {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        while HANG.load(Ordering::Relaxed) {
            // As who waits for a lock. (One that spun would be given ten times as long.)
            std::thread::sleep(Duration::from_secs(3600));
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Hanging = Hanging;

#[inline(never)]
fn eat_all_of_the_stack(depth: usize) -> usize {
    let frame = std::hint::black_box([depth; 32]);
    if frame[0] == usize::MAX {
        return 0;
    }
    let deeper = eat_all_of_the_stack(depth + 1);
    std::hint::black_box(frame)[0] + deeper
}

/// Runs test `name` as a child that must die by `signal`; returns its stderr.
fn dies(name: &str, signal: i32, env: &[(&str, &str)]) -> String {
    let output = child::run(name, env);
    let err = child::text(&output.stderr);
    assert_eq!(
        output.status.signal(),
        Some(signal),
        "{}\n{err}",
        output.status
    );
    err
}

fn overflow_in_child(describe: overflow::Describe) {
    let _alt = AltStack::install().unwrap();
    overflow::install(describe).unwrap();
    fiber::run(Class::DEFAULT, || {
        std::hint::black_box(eat_all_of_the_stack(0));
    });
    unreachable!("the stack is finite");
}

fn assert_report(err: &str) {
    assert!(
        err.contains("a coroutine has overflowed its stack"),
        "{err}"
    );
    assert!(err.contains("stack of 256 KiB"), "{err}");
    assert!(err.contains("addresses: 0x"), "{err}");
    assert!(err.contains("eat_all_of_the_stack"), "{err}");
    assert!(err.contains("more frames"), "{err}");
}

#[test]
fn an_overflow_is_reported_with_a_backtrace_and_aborts() {
    let name = "an_overflow_is_reported_with_a_backtrace_and_aborts";
    if child::is_child(name) {
        overflow_in_child(overflow::describe_coroutine);
    }
    assert_report(&dies(name, libc::SIGABRT, &[]));
}

#[test]
fn every_kind_of_guard_is_recognised() {
    let name = "every_kind_of_guard_is_recognised";
    if child::is_child(name) {
        overflow_in_child(overflow::describe_coroutine);
    }
    let (mprotect, strict) = (
        ("GOWEFT_STACKS_GUARD", "mprotect"),
        ("GOWEFT_STACKS_OVERCOMMIT", "strict"),
    );
    assert_report(&dies(name, libc::SIGABRT, &[mprotect]));
    assert_report(&dies(name, libc::SIGABRT, &[strict]));
    assert_report(&dies(name, libc::SIGABRT, &[mprotect, strict]));
}

#[test]
fn the_description_comes_first_and_knows_the_fault() {
    fn describe(fault: &Fault, to: &mut dyn Write) {
        let inside = fault.address < fault.stack.start && fault.stack.len() == 192 << 10;
        let _ = writeln!(
            to,
            "the seventh of nine, {} bytes, {inside}",
            fault.stack_size
        );
    }
    let name = "the_description_comes_first_and_knows_the_fault";
    if child::is_child(name) {
        overflow_in_child(describe);
    }
    let err = dies(name, libc::SIGABRT, &[]);
    let at = |text| {
        err.find(text)
            .unwrap_or_else(|| panic!("no {text} in\n{err}"))
    };
    assert!(at("the seventh of nine, 262144 bytes, true") < at("stack overflow:"));
}

#[test]
fn an_overflow_inside_the_allocator_still_reports_and_ends() {
    fn describe(_: &Fault, to: &mut dyn Write) {
        HANG.store(true, Ordering::Relaxed);
        let _ = writeln!(to, "described");
    }
    let name = "an_overflow_inside_the_allocator_still_reports_and_ends";
    if child::is_child(name) {
        overflow_in_child(describe);
    }
    let err = dies(name, libc::SIGABRT, &[]);
    assert!(
        err.contains("described") && err.contains("addresses: 0x"),
        "{err}"
    );
    assert!(err.contains("gave up"), "{err}");
}

/// Reads address 8, which the optimiser must not know.
fn dereference_null() {
    let null = std::hint::black_box(8usize) as *const u32;
    // SAFETY: none; the fault is the point, in a child that ends by it.
    std::hint::black_box(unsafe { null.read_volatile() });
}

#[test]
fn a_null_dereference_is_not_called_an_overflow() {
    let name = "a_null_dereference_is_not_called_an_overflow";
    if child::is_child(name) {
        let _alt = AltStack::install().unwrap();
        overflow::install(overflow::describe_coroutine).unwrap();
        fiber::run(Class::DEFAULT, dereference_null);
        unreachable!("the fault ends the process");
    }
    let err = dies(name, libc::SIGSEGV, &[]);
    assert!(!err.contains("overflow"), "{err}");
}

#[test]
fn a_wild_write_into_another_guard_is_not_called_an_overflow() {
    let name = "a_wild_write_into_another_guard_is_not_called_an_overflow";
    if child::is_child(name) {
        let _alt = AltStack::install().unwrap();
        overflow::install(overflow::describe_coroutine).unwrap();
        let other = Stack::new(Class::DEFAULT).unwrap();
        let guard = other.limit().addr() - 64;
        fiber::run(Class::DEFAULT, move || {
            let guard = std::ptr::with_exposed_provenance_mut::<u8>(guard);
            // SAFETY: none; the fault is the point.
            unsafe { guard.write_volatile(1) };
        });
        unreachable!("the fault ends the process");
    }
    let err = dies(name, libc::SIGSEGV, &[]);
    assert!(!err.contains("overflow"), "{err}");
}

unsafe extern "C" fn previous(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: async-signal-safe calls; the info is the kernel's.
    unsafe {
        let text: &[u8] = if (*info).si_addr().addr() == 8 {
            b"previous handler\n"
        } else {
            b"wrong address\n"
        };
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(7);
    }
}

#[test]
fn a_handler_installed_before_still_gets_other_faults() {
    let name = "a_handler_installed_before_still_gets_other_faults";
    if child::is_child(name) {
        // SAFETY: a complete action with a handler of its signature.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = previous as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut());
        }
        let _alt = AltStack::install().unwrap();
        overflow::install(overflow::describe_coroutine).unwrap();
        fiber::run(Class::DEFAULT, dereference_null);
        unreachable!("the fault ends the process");
    }
    let output = child::run(name, &[]);
    let err = child::text(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{}\n{err}", output.status);
    assert!(err.contains("previous handler"), "{err}");
}

#[test]
fn a_signal_that_was_sent_ends_the_process_as_before() {
    let name = "a_signal_that_was_sent_ends_the_process_as_before";
    if child::is_child(name) {
        // SAFETY: the default action. (std's own handler would take a signal that
        // was sent for a fault that comes again, and swallow it.)
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        let _alt = AltStack::install().unwrap();
        overflow::install(overflow::describe_coroutine).unwrap();
        // SAFETY: a signal to ourselves.
        unsafe { libc::raise(libc::SIGBUS) };
        unreachable!("the signal ends the process");
    }
    let err = dies(name, libc::SIGBUS, &[]);
    assert!(!err.contains("overflow"), "{err}");
}

#[test]
fn an_overflow_of_a_thread_is_still_std_s_to_report() {
    let name = "an_overflow_of_a_thread_is_still_std_s_to_report";
    if child::is_child(name) {
        overflow::install(overflow::describe_coroutine).unwrap();
        let thread = std::thread::Builder::new().name("plain".into());
        let _ = thread
            .spawn(|| std::hint::black_box(eat_all_of_the_stack(0)))
            .unwrap()
            .join();
    }
    let err = dies(name, libc::SIGABRT, &[]);
    assert!(
        err.contains("plain") && err.contains("has overflowed its stack"),
        "{err}"
    );
    assert!(!err.contains("coroutine"), "{err}");
}

#[test]
fn an_alternate_stack_replaces_the_thread_s_and_puts_it_back() {
    fn current() -> (usize, usize, i32) {
        // SAFETY: only reads.
        unsafe {
            let mut now: libc::stack_t = std::mem::zeroed();
            libc::sigaltstack(std::ptr::null(), &mut now);
            (now.ss_sp.addr(), now.ss_size, now.ss_flags)
        }
    }
    std::thread::spawn(|| {
        let before = current();
        let alt = AltStack::install().unwrap();
        let range = alt.range();
        assert!(range.len() >= 64 << 10);
        assert_eq!(current(), (range.start, range.len(), 0));
        drop(alt);
        assert_eq!(current(), before);
    })
    .join()
    .unwrap();
}
