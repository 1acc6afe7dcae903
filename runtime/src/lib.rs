//! Goroutines for Rust.
#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("goweft runs on Linux only: it needs its memory advice, futexes and epoll");

mod protocol;

#[cfg(not(loom))]
mod abort;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
mod report;
#[cfg(not(loom))]
mod sched;
#[cfg(not(loom))]
mod sys;
#[cfg(not(loom))]
pub mod task;
