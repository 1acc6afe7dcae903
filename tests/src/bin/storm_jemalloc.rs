//! `storm LOOP PROCESSORS`: see `goweft_tests::storm`. With jemalloc.

use goweft_tests::storm::{self, Switch};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Switch<Jemalloc> = Switch::new(Jemalloc);

fn main() {
    storm::main();
}
