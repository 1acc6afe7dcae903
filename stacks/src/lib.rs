//! Stacks for stackful coroutines, and the switch between them.
//!
//! Under construction: see the modules.

#![deny(missing_docs)]

mod class;
pub mod context;
mod depot;
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
pub use magazine::Magazine;
pub use policy::GuardKind;
pub use stack::Stack;
pub use stats::{Stats, stats};
pub use trim::{decay, trim};
