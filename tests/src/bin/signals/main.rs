//! Programs to which the system does everything it can while they are preempted:
//! `signals ROLE`, run by `preempt_signals.rs` among the tests. Each prints what the test
//! wants to see, and has used the last resort not once.

mod handlers;
mod load;
mod overflow;

use goweft::{runtime, spawn, task};
use goweft_tests::pressure::{self, Hogs};
use load::Load;
use std::time::Duration;

/// Computes, blocks and talks, for as long as a debugger or its parent's signals take.
fn work() {
    let load = Load::start();
    load.until_preempted(500);
    load.end();
    println!("all is done");
}

/// The same until a line comes on stdin.
fn work_until_told() {
    let load = Load::start();
    load.until_preempted(50);
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    // It still goes on as before.
    load.until_preempted(50);
    load.end();
    println!("all is done");
}

/// `GOWEFT_PREEMPT=off`: no handler, nobody is stopped, and processors are taken all the same.
fn without_signals() {
    pressure::start(1);
    let hogs = Hogs::start(3);
    let sleepers: Vec<_> = (0..3)
        .map(|_| spawn(|| std::thread::sleep(Duration::from_millis(100))))
        .collect();
    for _ in 0..10 {
        pressure::run_beside(|| task::sleep(Duration::from_millis(1)));
        hogs.wait_for_turns();
    }
    for s in sleepers {
        pressure::run_beside(move || s.join().unwrap());
    }
    // SAFETY: an action of our own, which the call fills in.
    let handler = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGURG, std::ptr::null(), &mut action);
        action.sa_sigaction
    };
    assert_eq!(handler, libc::SIG_DFL);
    let m = runtime::metrics();
    assert_eq!(m.preemptions, 0);
    assert!(
        m.taken_from_computing > 0 && m.taken_from_blocked > 0,
        "{m:?}"
    );
    drop(hogs);
    println!("all go on");
}

fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "work" => work(),
        "work_until_told" => work_until_told(),
        "without_signals" => without_signals(),
        "profiler" => handlers::profiler(),
        "out_of_band" => handlers::out_of_band(),
        "out_of_band_unhandled" => handlers::out_of_band_unhandled(),
        "other_signals" => handlers::other_signals(),
        "forking" => handlers::forking(),
        "taken_over" => handlers::taken_over(),
        "blocked_signals" => handlers::blocked_signals(),
        "set_ids" => handlers::set_ids(),
        "faults" => overflow::faults(),
        "relayed" => overflow::relayed(),
        "raised" => overflow::raised(),
        "overflow" => overflow::overflow(1),
        "overflows" => overflow::overflow(6),
        role => panic!("no role {role:?}"),
    }
    assert_eq!(goweft::runtime::metrics().rescues, 0);
}
