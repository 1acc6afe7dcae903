//! `storm LOOP PROCESSORS`: see `goweft_tests::storm`. With mimalloc.

use goweft_tests::storm::{self, Switch};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Switch<MiMalloc> = Switch::new(MiMalloc);

fn main() {
    storm::main();
}
