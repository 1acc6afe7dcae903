//! Hot loops in the allocator, in std and in a C library, preempted every 200 us on one
//! processor and on two (`src/storm.rs` has them): nobody crashes, nobody waits for ever, and the
//! last resort is not used.
//!
//! What allocates also with an allocator behind a spin lock, whose holder is stopped like any other
//! (TUNING, "Allocators"). And all of it with mimalloc and jemalloc when the feature `allocators`
//! is on: they have to be compiled by a C compiler.

use goweft_tests::scenario;
use goweft_tests::storm::LOOPS;

const STORM: &str = env!("CARGO_BIN_EXE_storm");

#[track_caller]
fn rages(program: &str, name: &str, procs: usize, env: &[(&str, &str)]) {
    let r = scenario::run_with(program, &[name, &procs.to_string()], env);
    assert!(r.status.success(), "{name} on {procs}: {r:?}");
    print!("{name} on {procs}: {}", r.out);
}

/// A test for each loop, which is named after it.
macro_rules! storms {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                for procs in [1, 2] {
                    rages(STORM, stringify!($name), procs, &[]);
                }
            }
        )*

        #[test]
        fn each_has_a_test() {
            assert_eq!(LOOPS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}

storms! {
    allocations
    blocks_that_others_free
    format
    hash_maps
    thread_locals
    panics
    backtraces
    streams_of_stdio
    environment
    local_time
    random_numbers
    names
    fair_spin_lock
    locks
}

/// What allocates.
const ALLOCATING: [&str; 5] = [
    "allocations",
    "blocks_that_others_free",
    "format",
    "hash_maps",
    "panics",
];

/// For a shorter time each.
const SHORT: (&str, &str) = ("STORM_MILLISECONDS", "100");

#[test]
fn an_allocator_behind_a_spin_lock() {
    for name in ALLOCATING {
        for procs in [1, 2] {
            rages(env!("CARGO_BIN_EXE_storm_spin"), name, procs, &[SHORT]);
        }
    }
}

/// Everything with another allocator.
#[cfg(feature = "allocators")]
fn all_with(program: &str) {
    for (name, _) in LOOPS {
        for procs in [1, 2] {
            rages(program, name, procs, &[SHORT]);
        }
        if ALLOCATING.contains(&name) {
            rages(program, name, 2, &[SHORT, ("STORM_SAFE", "1")]);
        }
    }
    rages(program, "allocations", 1, &[SHORT, ("STORM_SAFE", "1")]);
}

#[test]
fn allocations_that_are_not_preempted_half_way() {
    for name in ALLOCATING {
        rages(STORM, name, 2, &[("STORM_SAFE", "1")]);
    }
    rages(STORM, "allocations", 1, &[("STORM_SAFE", "1")]);
}

#[test]
#[cfg(feature = "allocators")]
fn mimalloc() {
    all_with(env!("CARGO_BIN_EXE_storm_mimalloc"));
}

#[test]
#[cfg(feature = "allocators")]
fn jemalloc() {
    all_with(env!("CARGO_BIN_EXE_storm_jemalloc"));
}
