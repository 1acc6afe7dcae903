//! The scheduler: goroutines (G) run on OS threads (M) that hold a P.
//!
//! | file | what |
//! |---|---|
//! | `inside.rs` | entering and leaving the runtime: the ground rule of all code below |
//! | `deferral.rs` | putting preemption off for a few instructions |
//! | `wait.rs` | park and ready: how anything waits |
//! | `g.rs`, `m.rs`, `p.rs` | goroutines, machines, processors: their data |
//! | `local_queue.rs`, `lists.rs` | run queues: a P's own; what is shared under one lock |
//! | `run.rs` | the loop of an M: find work, run it |
//! | `steal.rs`, `idle.rs` | looking for work elsewhere; sleeping and waking |
//! | `affinity.rs` | workers on CPUs of their own |
//! | `spawn.rs`, `entry.rs` | a goroutine's begin, and what runs at the bottom of its stack |
//! | `later.rs` | goroutines that begin when a timer or somebody says so |
//! | `timers.rs`, `poll.rs` | what wakes goroutines from outside |
//! | `monitor.rs`, `start.rs` | the thread that watches; how it all comes up |
//!
//! `README.md` here has the protocol: states, steps, invariants.

mod affinity;
pub(crate) mod deferral;
pub(crate) mod entry;
pub(crate) mod g;
mod idle;
mod inside;
pub(crate) mod later;
pub(crate) mod lists;
mod local_queue;
pub(crate) mod m;
pub(crate) mod monitor;
pub(crate) mod p;
pub(crate) mod poll;
mod run;
pub(crate) mod spawn;
pub(crate) mod start;
mod steal;
#[cfg(test)]
mod test;
mod timers;
pub(crate) mod tls;
pub(crate) mod wait;

pub(crate) use inside::{Inside, current_g, is_inside};
pub(crate) use lists::procs;
pub(crate) use m::count as machines;
pub(crate) use tls::machine_index;
pub(crate) use wait::{WaitReason, Waiter};
