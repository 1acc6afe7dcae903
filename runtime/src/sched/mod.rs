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
//! | `turns/` | whose turn it is, in the loop and when a P changes hands; with a model of it |
//! | `home.rs` | goroutines that stay on one thread, and the M that they live on |
//! | `steal.rs`, `idle.rs` | looking for work elsewhere; sleeping and waking |
//! | `affinity.rs` | workers on CPUs of their own |
//! | `spawn.rs`, `entry.rs` | a goroutine's begin, and what runs at the bottom of its stack |
//! | `later.rs` | goroutines that begin when a timer or somebody says so |
//! | `timers.rs`, `poll.rs` | what wakes goroutines from outside |
//! | `monitor.rs`, `watch.rs`, `thread_state.rs` | the thread that watches: its ticks; what it sees of Ps, of threads |
//! | `theft.rs`, `stolen.rs`, `preempt.rs` | Ps are taken from threads; what becomes of these; parking by signal |
//! | `pauses.rs` | whom the signal would not hurt |
//! | `wakeup.rs` | what was just woken displaces what has computed for long |
//! | `start.rs`, `threads.rs` | how it all comes up; the threads of the Ms |
//! | `token.rs` | in builds for tests: whether a P has a second user |
//! | `sys.rs` | the system calls of preemption |
//!
//! `README.md` here has the protocol: states, steps, invariants.

mod affinity;
pub(crate) mod deferral;
pub(crate) mod entry;
pub(crate) mod g;
mod home;
mod idle;
mod inside;
pub(crate) mod later;
pub(crate) mod lists;
mod local_queue;
pub(crate) mod m;
pub(crate) mod monitor;
pub(crate) mod p;
mod pauses;
pub(crate) mod poll;
pub(crate) mod preempt;
mod run;
pub(crate) mod spawn;
pub(crate) mod start;
mod steal;
mod stolen;
mod sys;
#[cfg(test)]
mod test;
pub(crate) mod theft;
mod thread_state;
pub(crate) mod threads;
mod timers;
pub(crate) mod tls;
mod token;
mod turns;
pub(crate) mod wait;
mod wakeup;
mod watch;

pub(crate) use g::GRef;
pub(crate) use inside::{Inside, current_g, is_inside, pass_by};
pub(crate) use lists::{others_look_for_work, procs};
pub(crate) use m::count as machines;
pub(crate) use preempt::NoPreempt;
pub(crate) use tls::machine_index;
pub(crate) use wait::{WaitReason, Waiter};
