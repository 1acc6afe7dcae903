//! The words and handshakes that goroutines, machines and processors meet on.
//!
//! Every file here is one protocol: a packed word or a pair of flags, its
//! named transitions, and the argument for its orderings. Nothing here knows
//! of threads, stacks or queues of the real scheduler, so the same code runs
//! under loom (`RUSTFLAGS="--cfg loom"`), where the rest of the crate is not
//! compiled. `README.md` beside this file has the states and numbered steps.

#![cfg_attr(
    loom,
    allow(dead_code, reason = "under loom only the models use these")
)]

pub(crate) mod alarm;
pub(crate) mod atomic;
pub(crate) mod barrier;
pub(crate) mod choice;
pub(crate) mod completion_word;
pub(crate) mod delay;
pub(crate) mod gword;
pub(crate) mod idle_set;
pub(crate) mod local_queue;
pub(crate) mod mutex_word;
pub(crate) mod mword;
pub(crate) mod poll_gate;
pub(crate) mod preempted;
pub(crate) mod quiet;
pub(crate) mod read_bias;
pub(crate) mod ring;
pub(crate) mod rt;
pub(crate) mod runnext;
pub(crate) mod sleep;
pub(crate) mod spin;

#[cfg(all(test, loom))]
mod loom_alarm;
#[cfg(all(test, loom))]
mod loom_choice;
#[cfg(all(test, loom))]
mod loom_completion;
#[cfg(all(test, loom))]
mod loom_models;
#[cfg(all(test, loom))]
mod loom_mutex;
#[cfg(all(test, loom))]
mod loom_owner;
#[cfg(all(test, loom))]
mod loom_read_bias;
#[cfg(all(test, loom))]
mod loom_resize;
#[cfg(all(test, loom))]
mod loom_ring;
