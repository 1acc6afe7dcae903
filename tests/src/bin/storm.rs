//! `storm LOOP PROCESSORS`: see `goweft_tests::storm`. With the system's allocator.

use goweft_tests::storm::{self, Switch};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: Switch<System> = Switch::new(System);

fn main() {
    storm::main();
}
