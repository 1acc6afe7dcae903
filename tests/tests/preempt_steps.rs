//! Whoever holds a lock may be stopped at any instruction: here at one after the other, and
//! whoever wants the lock gets it (`src/bin/steps.rs` does it).

// Elsewhere no program can have itself run step by step.
#![cfg(target_arch = "x86_64")]

use goweft_tests::scenario;

/// With one processor and with two.
#[track_caller]
fn is_stopped_step_by_step(lock: &str) {
    for procs in ["1", "2"] {
        let r = scenario::run_with(env!("CARGO_BIN_EXE_steps"), &[lock, procs], &[]);
        assert!(r.status.success(), "{lock} on {procs}: {r:?}");
        print!("{lock} on {procs}: {}", r.out);
    }
}

#[test]
fn who_holds_a_spin_lock_of_its_own() {
    is_stopped_step_by_step("spin");
}

#[test]
fn who_holds_a_lock_of_std() {
    is_stopped_step_by_step("std");
}

#[test]
fn who_holds_a_lock_of_goweft() {
    is_stopped_step_by_step("goweft");
}

/// In the runtime it is not stopped.
#[test]
fn who_gives_up_a_lock_of_goweft_that_another_waits_for() {
    is_stopped_step_by_step("goweft_waited_for");
}
