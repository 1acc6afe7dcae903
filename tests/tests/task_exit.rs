//! `task::exit`, Go's Goexit.

use goweft::{Builder, go, scope, spawn, task};
use goweft_tests::scenario::{self, Ran};
use std::sync::mpsc;

fn ran(role: &str) -> Ran {
    scenario::run(env!("CARGO_BIN_EXE_scenario"), role, &[])
}

const DEADLOCK: &str = "goweft: no goroutines (main called task::exit) - deadlock!\n";

/// Go's TestGoexitDefer: what is deferred runs.
#[test]
fn exit_unwinds_and_join_tells() {
    let (tx, rx) = mpsc::channel();
    let h = Builder::new()
        .name("quitter")
        .spawn(move || {
            goweft::defer! { tx.send(std::thread::panicking()).unwrap() }
            task::exit();
        })
        .unwrap();
    assert_eq!(h.join().unwrap_err().downcast_ref(), Some(&task::Exited));
    assert!(rx.recv().unwrap());
}

#[test]
fn exit_of_a_detached_goroutine_drops_what_it_holds() {
    let (tx, rx) = mpsc::channel::<()>();
    go!(move || {
        let _tx = tx;
        task::exit()
    });
    assert!(rx.recv().is_err());
}

#[test]
fn exit_can_be_caught_and_exits_again_when_resumed() {
    let h = spawn(|| {
        let payload = std::panic::catch_unwind(|| task::exit()).unwrap_err();
        std::panic::resume_unwind(payload)
    });
    assert!(h.join().unwrap_err().is::<task::Exited>());
}

#[test]
fn a_panic_in_a_drop_during_exit_that_is_caught_leaves_the_exit_going() {
    struct Recovers;
    impl Drop for Recovers {
        fn drop(&mut self) {
            let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(1u8)));
            assert!(caught.is_err());
        }
    }
    let h = spawn(|| {
        let _recovers = Recovers;
        task::exit();
    });
    assert!(h.join().unwrap_err().is::<task::Exited>());
}

#[test]
fn exit_in_a_scope_waits_for_the_others_and_goes_on() {
    let h = spawn(|| {
        let mut n = 0;
        let out = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scope(|s| {
                s.spawn(|| {
                    task::yield_now();
                    n = 1;
                });
                // Not a panic: the scope does not complain of it.
                s.spawn(|| task::exit());
                task::exit()
            })
        }));
        (n, out.unwrap_err().is::<task::Exited>())
    });
    assert_eq!(h.join().unwrap(), (1, true));
}

/// Go's TestGoexitDeadlock.
#[test]
fn exit_in_main_lets_the_others_go_on_and_then_says_deadlock() {
    let r = ran("exit_main");
    assert_eq!(r.status.code(), Some(2), "{r:?}");
    assert!(r.out.contains("dropped by main\n"), "{r:?}");
    assert!(
        (0..3).all(|i| r.out.contains(&format!("goroutine {i} went on"))),
        "{r:?}"
    );
    assert_eq!(r.err, DEADLOCK);
}

#[test]
fn exit_under_run_on_the_main_thread_is_as_in_main() {
    let r = ran("exit_run");
    assert_eq!(r.status.code(), Some(2), "{r:?}");
    assert_eq!(
        (r.out.as_str(), r.err.as_str()),
        ("the other went on\n", DEADLOCK)
    );
}

#[test]
fn exit_under_run_elsewhere_goes_on_in_the_caller() {
    let r = ran("exit_run_on_a_thread");
    assert!(r.status.success(), "{r:?}");
    assert_eq!(
        r.out,
        "goweft: run: the closure called task::exit, and there is nothing to return\ntrue\n"
    );
}
