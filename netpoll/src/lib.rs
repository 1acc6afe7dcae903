//! Readiness of descriptors for code that is written as if it blocked.
//!
//! Placeholder
#![deny(missing_docs)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("goweft-netpoll runs on 64-bit Linux only");

mod descriptor;
mod kick;
mod lock;
#[cfg(all(test, loom))]
mod models;
mod poller;
mod record;
mod slab;
mod sync;
mod sys;
mod waiter;

pub use descriptor::{Descriptor, Direction};
pub use poller::{Poller, Polling};
pub use record::{Finished, Prepared, Seen};
pub use waiter::{Wait, Waiter};
