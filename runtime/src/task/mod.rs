//! Goroutines, seen from inside one and from their handles.
//!
//! `current` and `id` tell who runs; `park` and [`Task::unpark`] are std's, for
//! goroutines; [`yield_now`], [`sleep`] and [`exit()`] are what they are called.
//! All of them also work on a plain OS thread, for that thread.
//!
//! To spawn and to wait for goroutines, see the [crate's root](crate).

mod block_on;
mod blocking;
mod builder;
mod completion;
mod exit;
mod join;
pub(crate) mod local;
mod lock_os_thread;
mod no_park;
mod no_preempt;
mod packet;
mod run;
mod scope;
#[allow(clippy::module_inception, reason = "the file of the type Task")]
mod task;
mod unwind;

pub use exit::{Exited, exit};
pub use local::{AccessError, LocalKey};
pub use task::{Task, TaskId, current, id, is_goroutine, park, park_timeout, sleep, yield_now};

pub use block_on::block_on;
pub use blocking::blocking;
pub use builder::{Builder, spawn};
pub(crate) use builder::{class_of, detached, later, refused};
pub(crate) use exit::of_main;
pub use join::JoinHandle;
pub use lock_os_thread::{OsThreadGuard, lock_os_thread};
pub use no_park::no_park;
pub use no_preempt::no_preempt;
pub(crate) use run::outcome;
pub use run::run;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub(crate) use task::{first_permit, name_of};
