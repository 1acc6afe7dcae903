//! In hard circumstances nothing hangs, spins or dies without a word.

use goweft_tests::scenario::{self, Ran};

fn ran(role: &str) -> Ran {
    let r = scenario::run(env!("CARGO_BIN_EXE_hard_times"), role, &[]);
    assert!(r.status.success(), "{r:?}");
    r
}

#[test]
fn a_forked_child_that_needs_the_runtime_is_told_and_ends() {
    let r = ran("forked");
    assert_eq!(r.out, "signal 6\nsignal 6\n", "{r:?}");
    assert_eq!(
        r.err.matches("a forked child can use exec only").count(),
        2,
        "{r:?}"
    );
}

#[test]
fn the_monitor_does_not_spin_while_threads_are_refused() {
    let r = ran("refused");
    assert!(r.err.contains("the system refuses another thread"), "{r:?}");
    let ms: u32 = r.out.trim().parse().unwrap();
    assert!(ms < 200, "{ms} ms of CPU in a second in which nobody ran");
}

#[test]
fn a_closed_stderr_ends_nobody() {
    let r = ran("stderr_gone");
    assert!(r.out.ends_with("goes on\n"), "{r:?}");
}

#[test]
fn stacks_of_a_burst_are_given_back_while_all_are_idle() {
    let r = ran("burst");
    let warm: u32 = r.out.trim().strip_prefix("warm ").unwrap().parse().unwrap();
    assert!(warm <= 256, "{r:?}");
}

#[test]
fn with_all_threads_in_use_whoever_makes_calls_gives_way() {
    assert_eq!(ran("capped").out, "has run\n");
}

// A limit on address space, of which AddressSanitizer needs terabytes.
#[cfg(not(sanitize_address))]
#[test]
fn a_thread_that_was_refused_is_asked_for_again_though_nothing_is_queued() {
    assert_eq!(ran("refused_for_a_while").out, "has fired\n");
}
