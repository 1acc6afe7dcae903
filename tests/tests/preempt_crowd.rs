//! Goroutines that compute, and hold a thread each: thousands, and more than there may be.

use goweft_tests::group::Group;
use goweft_tests::pressure::is_soak;
use goweft_tests::scenario::{self, Ran};
use goweft_tests::sys::{is_emulated, is_instrumented};
use std::sync::{Mutex, MutexGuard, PoisonError};

const PROGRAM: &str = env!("CARGO_BIN_EXE_crowd");

/// One of these programs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ran(role: &str) -> Ran {
    let _alone = alone();
    let r = scenario::run(PROGRAM, role, &[]);
    assert!(r.status.success(), "{r:?}");
    r
}

fn number(r: &Ran, name: &str) -> u64 {
    let value = r.out.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap().trim().parse().unwrap()
}

/// 4,000 of them in `.ci/soak`: the OS takes a minute to give each of these a turn or two on a
/// small machine.
#[test]
fn hundreds_of_threads_that_begin_to_compute_at_once_are_stopped() {
    let _alone = alone();
    let n = match (is_emulated(), is_soak()) {
        (true, _) => 100,
        (false, true) => 4_000,
        (false, false) => 200,
    };
    let crowd = n.to_string();
    // It may wait for almost two minutes.
    let env = [("CROWD", &*crowd), ("GOWEFT_SOAK_SECONDS", "110")];
    let r = scenario::run(PROGRAM, "begin_at_once", &env);
    if r.err.contains("the system refuses another thread") {
        return println!("left out: so many threads cannot be had here: {}", r.err);
    }
    assert!(r.status.success(), "{r:?}");
    print!("{}", r.err);
    let threads = number(&r, "threads");
    assert!((n..=n + 100).contains(&threads), "{threads}");
    let (memory, tables) = (number(&r, "KiB"), number(&r, "page tables"));
    println!(
        "a stopped thread takes {} KiB, and {} KiB of page tables",
        memory / n,
        tables / n
    );
    assert!(memory / n <= 48 || is_instrumented(), "{memory} KiB");
}

/// One line on stderr, whatever happens.
fn says_so_once(r: &Ran) {
    assert_eq!(r.err.lines().count(), 1, "{r:?}");
    assert!(r.err.contains("the system refuses another thread"), "{r:?}");
}

#[test]
fn those_that_have_begun_take_turns_when_the_cap_is_reached() {
    let r = ran("capped");
    says_so_once(&r);
    assert!(r.out.contains("had begun"), "{r:?}");
}

#[test]
fn a_refusal_by_the_system_counts_as_the_cap_until_it_is_over() {
    let r = ran("refused");
    says_so_once(&r);
    assert!(r.out.ends_with("then all\n"), "{r:?}");
}

#[test]
fn so_does_that_of_a_group_of_processes() {
    let Some(group) = Group::with_threads_counted() else {
        return println!("left out: this process may not make a cgroup that counts threads");
    };
    let _alone = alone();
    let path = group.path().to_str().unwrap();
    let r = scenario::run(PROGRAM, "refused_by_group", &[("CROWD_GROUP", path)]);
    assert!(r.status.success(), "{r:?}");
    if r.out.starts_with("left out") {
        return print!("{}", r.out);
    }
    says_so_once(&r);
    assert!(r.out.ends_with("then all\n"), "{r:?}");
}
