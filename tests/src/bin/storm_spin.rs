//! `storm LOOP PROCESSORS`: see `goweft_tests::storm`. With an allocator behind a spin lock.

use goweft_tests::storm::{self, SpinLocked, Switch};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Switch<SpinLocked<System>> = Switch::new(SpinLocked::new(System));

fn main() {
    storm::main();
}
