//! In hard circumstances nothing hangs, spins or dies without a word.

use goweft_tests::scenario::{self, Ran};
use std::os::unix::process::ExitStatusExt;

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
    assert_eq!(ran("capped_and_queued").out, "has run\n");
    assert_eq!(ran("capped_and_queued_raw").out, "has run\n");
}

#[test]
fn on_the_only_thread_whoever_makes_blocking_calls_gives_way() {
    assert_eq!(ran("capped_to_one").out, "has run\n");
    assert_eq!(ran("capped_beside_a_chain").out, "has run\n");
}

#[test]
fn a_sandbox_that_comes_too_late_keeps_processors_where_they_are_and_that_is_told_once() {
    let r = ran("membarrier_is_refused");
    if r.out.starts_with("left out") {
        return println!("{}", r.out);
    }
    assert_eq!(r.out, "nothing was taken\n", "{r:?}");
    assert_eq!(
        r.err,
        "goweft: the system allows membarrier(2) no more, so goroutines that block or compute keep their \
         processor; put up the sandbox before the first use of goweft, or allow the call\n"
    );
}

#[test]
fn locks_that_need_what_such_a_sandbox_forbids_end_the_process_with_a_word() {
    for role in [
        "membarrier_is_refused_to_a_mutex",
        "membarrier_is_refused_to_a_rwlock",
    ] {
        let r = scenario::run(env!("CARGO_BIN_EXE_hard_times"), role, &[]);
        if r.out.starts_with("left out") {
            return println!("{}", r.out);
        }
        assert_eq!(r.status.signal(), Some(libc::SIGABRT), "{r:?}");
        let word = "goweft: fatal: membarrier, which worked at the start, is refused now\n";
        assert!(r.err.ends_with(word), "{r:?}");
    }
}

// A limit on address space, of which AddressSanitizer needs terabytes.
#[cfg(not(sanitize_address))]
#[test]
fn a_thread_that_was_refused_is_asked_for_again_though_nothing_is_queued() {
    assert_eq!(ran("refused_for_a_while").out, "has fired\n");
}
