//! Goroutines for Rust.
#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("goweft runs on Linux only: it needs its memory advice, futexes and epoll");

mod protocol;

#[cfg(not(loom))]
mod abort;
#[cfg(not(loom))]
pub mod channel;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod defer;
#[cfg(not(loom))]
mod env;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
pub mod net;
#[cfg(not(loom))]
mod private;
#[cfg(not(loom))]
mod report;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
mod sched;
#[cfg(not(loom))]
pub mod signal;
#[cfg(not(loom))]
pub mod sync;
#[cfg(not(loom))]
mod sys;
#[cfg(not(loom))]
pub mod task;
#[cfg(not(loom))]
pub mod time;

#[cfg(not(loom))]
pub use config::{Config, ConfigError, Migration, PanicPolicy};
#[cfg(not(loom))]
pub use goweft_macros::{go, main, select, test};
#[cfg(not(loom))]
pub use task::{
    Builder, JoinHandle, Scope, ScopedJoinHandle, block_on, blocking, run, scope, spawn,
};

/// What the macros expand to.
#[cfg(not(loom))]
#[doc(hidden)]
pub mod __private {
    pub use crate::defer::Deferred;
    pub use crate::channel::select::{
        RecvOperand, SendArm, SendOperand, choose, choose_by, choose_now, receives, select_nothing, sends, slot_for,
    };
    pub use crate::private::{go, go_with, main, test};
}
