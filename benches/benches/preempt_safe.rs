//! What `PreemptSafe` adds to an allocation: a pair of `alloc` and `dealloc` of the
//! system's allocator, with and without it.

use criterion::{Criterion, criterion_group, criterion_main};
use goweft::PreemptSafe;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

/// As a program calls its global allocator: through a function that is not inlined.
#[inline(never)]
fn pair(allocator: &impl GlobalAlloc, layout: Layout) {
    // SAFETY: the layout is not empty, and the block is freed once.
    unsafe { allocator.dealloc(black_box(allocator.alloc(layout)), layout) }
}

/// Nothing but the call, so that what is around it shows.
struct Fixed;

// SAFETY: for this bench only: the block is never used.
unsafe impl GlobalAlloc for Fixed {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        black_box(std::ptr::without_provenance_mut(layout.align()))
    }
    #[inline(never)]
    unsafe fn dealloc(&self, p: *mut u8, _layout: Layout) {
        black_box(p);
    }
}

fn allocations(c: &mut Criterion) {
    let layout = Layout::new::<[u64; 8]>();
    let mut bench = |name: &str, f: &mut dyn FnMut()| {
        c.bench_function(name, |b| b.iter(&mut *f));
    };
    bench("alloc/system", &mut || pair(&System, layout));
    bench("alloc/system, preempt safe", &mut || {
        pair(&PreemptSafe(System), layout);
    });
    bench("alloc/nothing", &mut || pair(&Fixed, layout));
    bench("alloc/nothing, preempt safe", &mut || {
        pair(&PreemptSafe(Fixed), layout);
    });
}

criterion_group!(benches, allocations);
criterion_main!(benches);
