//! When there can be no stack: said without allocating, because whoever reserves may be
//! where nothing may be allocated. Alone in its process, whose address space it limits.
#![cfg(not(sanitize_address))] // which needs terabytes

use goweft_stacks::{Class, Exhausted, Magazine, reserve_many};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;
static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn limit_address_space(soft: Option<u64>) {
    // SAFETY: an rlimit is valid when zeroed, and the calls write and read one.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_AS, &mut limit), 0);
        limit.rlim_cur = soft.unwrap_or(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_AS, &limit), 0);
    }
}

#[test]
fn a_refusal_allocates_nothing_until_it_is_shown() {
    let class = Class::for_size(1 << 30).unwrap();
    // Whatever is found out at the first use.
    reserve_many(class, 1).unwrap();
    limit_address_space(Some(8 << 30));
    let mut magazine = Magazine::new();
    let before = CALLS.load(Ordering::Relaxed);
    let many: Result<(), Exhausted> = reserve_many(class, 64);
    let one = (0..64).find_map(|_| magazine.reserve(class).err());
    let after = CALLS.load(Ordering::Relaxed);
    limit_address_space(None);
    if many.is_ok() && one.is_none() {
        return; // An emulator does not enforce the limit.
    }
    let why = many.unwrap_err().to_string();
    assert!(why.contains("1048576 KiB stack"), "{why}");
    let why = std::io::Error::from(one.expect("8 GiB do not hold 64 GiB"));
    assert_eq!(why.kind(), std::io::ErrorKind::OutOfMemory);
    assert_eq!(after - before, 0, "it allocated");
}
