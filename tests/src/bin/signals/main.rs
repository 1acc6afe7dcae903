//! Programs to which the system does everything it can while they are preempted:
//! `signals ROLE`, run by `preempt_signals.rs` among the tests. Each prints what the test
//! wants to see, and has used the last resort not once.

mod handlers;
mod load;
mod overflow;

use load::Load;

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

fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "work" => work(),
        "work_until_told" => work_until_told(),
        "profiler" => handlers::profiler(),
        "out_of_band" => handlers::out_of_band(),
        "out_of_band_unhandled" => handlers::out_of_band_unhandled(),
        "other_signals" => handlers::other_signals(),
        "taken_over" => handlers::taken_over(),
        "blocked_signals" => handlers::blocked_signals(),
        "set_ids" => handlers::set_ids(),
        "faults" => overflow::faults(),
        "overflow" => overflow::overflow(1),
        "overflows" => overflow::overflow(6),
        role => panic!("no role {role:?}"),
    }
    assert_eq!(goweft::runtime::metrics().rescues, 0);
}
