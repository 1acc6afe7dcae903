//! An allocator that counts, for tests that look for what grows.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator, and how many bytes are allocated.
#[derive(Default)]
pub struct Counting(AtomicI64);

impl Counting {
    /// None so far.
    pub const fn new() -> Counting {
        Counting(AtomicI64::new(0))
    }

    /// Bytes that are allocated now.
    pub fn bytes(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

// SAFETY: it is the system's allocator, with a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        self.0.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}
