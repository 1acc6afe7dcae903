//! Stacks for stackful coroutines on Linux, and the switch between them.
//!
//! - **Memory.** [`Stack`]s come in power-of-two [`Class`]es, with a guard below
//!   each. One mapping holds many; a million fit the default limits of Linux 6.13
//!   and later. A [`Magazine`] hands them out in a few nanoseconds, [`reserve`]
//!   promises them, [`trim`] gives their pages back in bulk.
//! - **Switching.** [`context`] leaves one stack for another in about a
//!   nanosecond, symmetrically, and runs an action on arrival.
//! - **Overflow.** [`overflow`] turns a fault in a guard into a report.
//!
//! The crate knows nothing of schedulers. Its `README.md` has the protocols.
//!
//! # Examples
//! ```
//! use goweft_stacks::{Class, Magazine};
//!
//! let mut magazine = Magazine::new();
//! let class = Class::for_size(256 << 10).unwrap();
//! magazine.reserve(class)?; // may fail
//! let stack = magazine.take(class)?; // finds what was promised
//! assert!(stack.top() > stack.limit());
//! magazine.put(stack);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Features
//! - `corosensei`: switch contexts with the corosensei crate instead of our own
//!   assembly, and implement its `Stack` for ours. Always so where the
//!   architecture is neither x86_64 nor aarch64.
//! - `sanitizer`: tell AddressSanitizer, ThreadSanitizer and Valgrind of every
//!   stack and switch. Links and runs without them too.

#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("goweft-stacks runs on Linux only");
#[cfg(not(target_pointer_width = "64"))]
compile_error!("goweft-stacks needs 64-bit addresses: stacks are reserved by the gibibyte");

mod class;
pub mod context;
mod depot;
mod exhausted;
mod list;
mod magazine;
pub mod overflow;
mod policy;
mod slab;
mod spin;
mod stack;
mod stats;
mod sys;
mod trim;

pub use class::{Class, GUARD_SIZE, MAX_SIZE, MIN_SIZE};
pub use depot::{reserve, reserve_many, unreserve};
pub use exhausted::Exhausted;
pub use magazine::Magazine;
pub use policy::GuardKind;
pub use stack::Stack;
pub use stats::{Stats, stats};
pub use trim::{decay, trim};
