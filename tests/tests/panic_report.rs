//! Panics in goroutines: what is printed, what goes on, how the process ends.

use goweft_tests::scenario::{self, Ran};

fn ran(role: &str, env: &[(&str, &str)]) -> Ran {
    scenario::run(env!("CARGO_BIN_EXE_scenario"), role, env)
}

#[test]
fn a_panic_is_printed_with_name_and_id_and_the_rest_goes_on() {
    let r = ran("panic_named", &[]);
    assert!(r.status.success(), "{r:?}");
    let id: u64 = r.out.split(' ').next().unwrap().parse().unwrap();
    assert!(
        r.out.contains("left boom 1") && r.out.contains("main goes on after 1"),
        "{r:?}"
    );
    let first = format!("\ngoroutine 'worker' ({id}) panicked at ");
    assert!(r.err.starts_with(&first), "{r:?}");
    assert!(
        r.err.contains("scenario.rs:")
            && r.err
                .contains(":\nboom 1\nnote: run with `RUST_BACKTRACE=1`"),
        "{r:?}"
    );
    assert_eq!(r.err.matches("note: run with").count(), 1, "{r:?}");
    assert!(r.err.contains(":\nsecond\n"), "{r:?}");
}

#[test]
fn a_detached_goroutine_unwinds_and_its_payload_is_dropped() {
    let r = ran("panic_detached", &[]);
    assert!(r.status.success(), "{r:?}");
    assert!(
        r.out.contains("dropped in the goroutine\n") && r.out.contains("main goes on"),
        "{r:?}"
    );
    assert!(r.err.contains("Box<dyn Any>"), "{r:?}");
    let id: String = r
        .err
        .trim_start()
        .strip_prefix("goroutine ")
        .unwrap()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    assert!(!id.is_empty(), "{r:?}");
}

#[test]
fn a_panic_in_main_ends_the_process_as_std_does() {
    let r = ran("panic_main", &[]);
    assert_eq!(r.status.code(), Some(101), "{r:?}");
    assert!(
        r.err.contains("goroutine 'main' (") && r.err.contains("main is done for"),
        "{r:?}"
    );
    assert_eq!(r.err.matches("panicked").count(), 1, "{r:?}");
    assert_eq!(r.out, "dropped by main\n");
}

#[test]
fn an_error_from_main_is_printed_as_std_does() {
    let r = ran("result_main", &[]);
    assert!(r.status.success(), "{r:?}");
    assert_eq!(
        (r.out.as_str(), r.err.as_str()),
        ("true\n", "Error: \"no luck\"\n")
    );
}

#[test]
fn a_plain_thread_panics_as_before() {
    let r = ran("thread_panics", &[]);
    assert!(
        r.err.contains("thread 'plain' (") && r.err.contains("std's own"),
        "{r:?}"
    );
    assert!(!r.err.contains("goroutine"), "{r:?}");
}

#[test]
fn under_the_abort_policy_a_panic_that_reaches_the_end_ends_the_process() {
    let r = ran("policy_abort", &[]);
    assert_eq!(r.status.code(), Some(2), "{r:?}");
    assert!(
        r.out.contains("recovered true") && r.out.contains("all went on"),
        "{r:?}"
    );
    assert!(r.out.ends_with("dropped while unwinding\n"), "{r:?}");
    assert!(r.err.contains(":\nfatal\n"), "{r:?}");
}

#[test]
fn under_the_abort_policy_nobody_waits_for_the_one_that_panics() {
    let r = ran("policy_abort_wait_group", &[]);
    assert_eq!(r.status.code(), Some(2), "{r:?}");
    assert_eq!(r.out, "", "the wait has ended");
    assert!(r.err.contains(":\nfatal\n"), "{r:?}");
}

#[test]
fn under_the_abort_policy_a_panic_in_main_ends_the_process() {
    let r = ran("policy_abort_main", &[]);
    assert_eq!(r.status.code(), Some(2), "{r:?}");
    assert!(r.err.contains("main, fatal"), "{r:?}");
}

#[test]
fn a_hook_that_was_there_before_stays_in_charge() {
    let r = ran("hook_before", &[]);
    assert!(r.status.success(), "{r:?}");
    assert_eq!(r.err, "custom: seen by the program's hook\n");
}

#[test]
fn a_hook_that_is_set_later_can_call_ours() {
    let r = ran("hook_after", &[]);
    assert!(r.status.success(), "{r:?}");
    assert!(
        r.err.contains("panicked at") && r.err.contains(":\nseen by ours\n"),
        "{r:?}"
    );
    let (_, later) = r.err.split_once("custom: seen by both\n").unwrap();
    assert!(
        later.starts_with("\ngoroutine ") && later.contains(":\nseen by both\n"),
        "{r:?}"
    );
}

#[test]
fn the_runtime_can_start_while_a_thread_unwinds() {
    let r = ran("started_while_panicking", &[]);
    assert!(r.status.success(), "{r:?}");
    assert_eq!(r.out, "result 3\ncaught true\n");
}

#[test]
fn payloads_and_results_whose_drop_panics_are_told_and_harm_nobody() {
    let r = ran("bad_payload", &[]);
    assert!(r.status.success(), "{r:?}");
    assert_eq!(r.out, "still here\n");
    // All five tell of the drop, and three have panicked before.
    assert!(r.err.matches("panicked at").count() >= 8, "{r:?}");
}

#[test]
fn a_goroutine_local_whose_drop_panics_harms_nobody() {
    let r = ran("bad_local", &[]);
    assert!(r.status.success(), "{r:?}");
    assert!(
        r.out.contains("dropped good\n") && r.out.contains("joined 7\n"),
        "{r:?}"
    );
    assert!(
        r.err.contains("goroutine 'owner' (") && r.err.contains("a goroutine-local's drop"),
        "{r:?}"
    );
}

fn assert_frames_in_order(r: &Ran) {
    let at = |name: &str| {
        r.err
            .find(name)
            .unwrap_or_else(|| panic!("{name} in {r:?}"))
    };
    let order = [
        at("stack backtrace:"),
        at("innermost"),
        at("middle"),
        at("outermost"),
    ];
    assert!(order.is_sorted(), "{r:?}");
    assert!(r.err.contains("scenario.rs:"), "{r:?}");
}

#[test]
fn a_short_backtrace_ends_at_the_goroutines_closure() {
    let r = ran("backtrace", &[("RUST_BACKTRACE", "1")]);
    assert_frames_in_order(&r);
    assert!(r.err.contains("RUST_BACKTRACE=full"), "{r:?}");
    assert!(
        !r.err.contains("goroutine_main") && !r.err.contains("short_backtrace"),
        "{r:?}"
    );
    assert!(!r.err.contains("on_panic"), "{r:?}");
}

#[test]
fn a_full_backtrace_ends_at_the_goroutines_entry() {
    let r = ran("backtrace", &[("RUST_BACKTRACE", "full")]);
    assert_frames_in_order(&r);
    assert!(r.err.contains("goroutine_main"), "{r:?}");
    // corosensei links a coroutine's first frame to whoever resumed it.
    if !cfg!(feature = "corosensei") {
        assert!(
            !r.err.contains("run_machine"),
            "the thread's own stack is another: {r:?}"
        );
    }
}

#[test]
fn a_backtrace_fits_on_the_smallest_stack() {
    let r = ran("backtrace_small", &[("RUST_BACKTRACE", "1")]);
    assert!(r.status.success(), "{r:?}");
    assert_frames_in_order(&r);
}
