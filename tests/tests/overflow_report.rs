//! A goroutine that runs out of stack, one that comes close, and one that faults
//! for another reason.

use goweft::{Builder, spawn};
use goweft_tests::scenario::{self, Ran};
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;

fn ran(role: &str) -> Ran {
    scenario::run(env!("CARGO_BIN_EXE_scenario"), role, &[])
}

#[test]
fn an_overflow_names_the_goroutine_its_origin_its_size_and_the_remedy() {
    let r = ran("overflow");
    assert_eq!(r.status.signal(), Some(6), "{r:?}");
    assert!(r.err.contains("goroutine 'deep' ("), "{r:?}");
    assert!(
        r.err.contains("has overflowed its stack of 64 KiB"),
        "{r:?}"
    );
    assert!(
        r.err.contains("it was spawned at ") && r.err.contains("scenario.rs:"),
        "{r:?}"
    );
    assert!(
        r.err.contains("Builder::stack_size") && r.err.contains("GOWEFT_STACK=128K"),
        "{r:?}"
    );
    // There is half a minute for the symbols.
    let symbols = ["descend", "(gave up)"].iter().any(|s| r.err.contains(s));
    assert!(symbols, "it has a backtrace: {r:?}");
}

#[test]
fn an_overflow_of_a_goroutine_without_a_name_gives_its_id() {
    let r = ran("overflow_unnamed");
    assert_eq!(r.status.signal(), Some(6), "{r:?}");
    let (_, after) = r.err.split_once("goroutine ").unwrap();
    let id: String = after.chars().take_while(char::is_ascii_digit).collect();
    assert!(
        after[id.len()..].starts_with(" has overflowed its stack of 256 KiB"),
        "{r:?}"
    );
    assert!(id.parse::<u64>().unwrap() > 0);
}

#[test]
fn a_null_dereference_is_not_called_an_overflow() {
    let r = ran("null_dereference");
    assert_eq!(r.status.signal(), Some(11), "{r:?}");
    assert!(!r.err.contains("overflow"), "{r:?}");
}

#[inline(never)]
fn address() -> usize {
    let here = 0u8;
    (&raw const *black_box(&here)).addr()
}

/// Calls itself until `bytes` of stack are in use; the depth.
#[inline(never)]
fn descend<const FRAME: usize>(from: usize, bytes: usize) -> usize {
    let frame = black_box([1u8; FRAME]);
    let used = from - (&raw const frame).addr();
    let depth = if used >= bytes {
        1
    } else {
        1 + descend::<FRAME>(from, bytes)
    };
    black_box(frame);
    depth
}

#[test]
fn a_goroutine_recurses_through_all_of_its_stack() {
    // 256 KiB of which 64 are guard; the rest is for the entry and one frame.
    let depth = spawn(|| descend::<64>(address(), (192 - 4) << 10))
        .join()
        .unwrap();
    assert!(depth > 500, "{depth}");
    let small = Builder::new().stack_size(16 << 10);
    let depth = small
        .spawn(|| descend::<64>(address(), (16 - 4) << 10))
        .unwrap()
        .join()
        .unwrap();
    assert!(depth > 30, "{depth}");
}

#[test]
fn a_goroutine_recurses_through_a_stack_of_a_gibibyte() {
    let huge = Builder::new().stack_size(1 << 30);
    let bytes = (1 << 30) - (1 << 20);
    let depth = huge
        .spawn(move || descend::<16384>(address(), bytes))
        .unwrap()
        .join()
        .unwrap();
    assert!(depth > 10_000, "{depth}");
}
