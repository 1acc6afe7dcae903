//! Channel operations allocate nothing, static selects included: a count of all allocations of
//! this process, so there is one test.

use goweft::channel;
use goweft::select;
use goweft::sync::{Mutex, WaitGroup};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting {
    allocations: AtomicU64,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting {
    allocations: AtomicU64::new(0),
};

// SAFETY: it is the system's allocator, with a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.allocations.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[test]
fn operations_of_channels_and_locks_allocate_nothing() {
    const N: usize = 5_000;
    goweft::run(|| {
        let rendezvous = channel::bounded::<usize>(0);
        let bounded = channel::bounded::<usize>(4);
        let unbounded = channel::unbounded::<usize>();
        let mutex = Arc::new(Mutex::new(0));
        let (start_tx, start) = channel::bounded::<()>(0);
        let wg = WaitGroup::new();
        for _ in 0..2 {
            let (a, b, c) = (rendezvous.0.clone(), bounded.0.clone(), unbounded.0.clone());
            let (start, mutex) = (start.clone(), mutex.clone());
            wg.go(move || {
                start.recv().unwrap();
                for i in 0..N {
                    a.send(i).unwrap();
                    b.send(i).unwrap();
                    c.send(i).unwrap();
                    select! {
                        send(a, i) -> res => res.unwrap(),
                        send(b, i) -> res => res.unwrap(),
                    }
                    *mutex.lock() += 1;
                }
            });
        }
        let receive = |n: usize| {
            let never = channel::never::<u8>();
            for _ in 0..n {
                select! {
                    recv(rendezvous.1) -> v => _ = v.unwrap(),
                    recv(bounded.1) -> v => _ = v.unwrap(),
                    recv(unbounded.1) -> v => _ = v.unwrap(),
                    recv(never) -> _ => unreachable!(),
                }
            }
        };
        (0..2).for_each(|_| start_tx.send(()).unwrap());
        // A warm-up: stacks, blocks of the list, this thread's own things.
        receive(2 * N);
        let before = ALLOCATOR.allocations.load(Ordering::Relaxed);
        receive(4 * N);
        let after = ALLOCATOR.allocations.load(Ordering::Relaxed);
        receive(2 * N);
        wg.wait();
        // 20,000 operations on each side. The list of the unbounded channel may
        // grow a little when its receiver falls behind.
        assert!(after - before < 100, "{} allocations", after - before);
    });
}
