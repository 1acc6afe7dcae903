//! Litmus tests of the happens-before rules in docs/MEMORY_MODEL.md, one or more for each.
//!
//! All are message passing: one side writes with relaxed stores (two words, a different value
//! each round), both sides take the step that the rule names, and the other side reads with relaxed
//! loads. What it reads is not ordered by anything else, so a step that does not order is
//! caught by an old value. Each runs from goroutines and from plain threads, on two
//! processors.
//!
//! On x86_64 the hardware keeps these orders by itself, so that there the tests see what the
//! compiler does; on aarch64 they see all. What no run can show, the loom models show.

mod channels;
mod contexts;
mod goroutines;
mod groups;
mod letter;
mod locks;
mod once;
mod sides;
