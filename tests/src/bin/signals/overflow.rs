//! Faults of goroutines that are preempted.

use super::load::Load;
use goweft::{Builder, spawn};
use goweft_tests::pressure::{self, wait_until};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Calls itself until `bytes` of stack are in use; the depth.
#[inline(never)]
fn descend(from: usize, bytes: usize) -> usize {
    let frame = black_box([1u8; 512]);
    let used = from - (&raw const frame).addr();
    let depth = if used >= bytes {
        1
    } else {
        1 + descend(from, bytes)
    };
    black_box(frame);
    depth
}

#[inline(never)]
fn address() -> usize {
    let here = 0u8;
    (&raw const *black_box(&here)).addr()
}

/// Size of a diver's stack. Its ends are multiples of it.
const STACK: usize = 64 << 10;

/// Goes down until less than 2 KiB are left, and computes there for a while: whoever is
/// stopped has no room for the kernel's frame on this stack. The depth.
#[inline(never)]
fn dive() -> usize {
    let frame = black_box([1u8; 256]);
    let left = (&raw const frame).addr() % STACK;
    let depth = if left < 2 << 10 {
        let mut n = 0u32;
        while n < 50_000 {
            n = black_box(n + 1);
        }
        1
    } else {
        1 + dive()
    };
    black_box(frame);
    depth
}

/// Goroutines that go down nearly to the guard again and again, until they were preempted
/// often; then `many` of them go beyond it at once.
pub(crate) fn overflow(many: usize) {
    let load = Load::start();
    let go = Arc::new(AtomicBool::new(false));
    let divers: Vec<_> = (0..many)
        .map(|_| {
            let go = go.clone();
            Builder::new()
                .name("diver")
                .stack_size(STACK)
                .spawn(move || {
                    while !go.load(Ordering::Relaxed) {
                        assert!(dive() > 10);
                    }
                    descend(address(), usize::MAX)
                })
                .unwrap()
        })
        .collect();
    load.until_preempted(200);
    go.store(true, Ordering::Relaxed);
    for d in divers {
        let _ = d.join();
    }
    println!("not reached");
}

/// Pages that the handler below opens.
static BASE: AtomicUsize = AtomicUsize::new(0);
const PAGE: usize = 64 << 10;
const PAGES: usize = 64;
static OPENED: AtomicU64 = AtomicU64::new(0);

/// Opens the page that was touched, and takes its time.
///
/// # Safety
/// Called by the kernel.
unsafe extern "C" fn open_page(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel's pointer, for a fault of memory.
    let address = unsafe { (*info).si_addr() }.addr();
    let base = BASE.load(Ordering::Relaxed);
    if !(base..base + PAGES * PAGE).contains(&address) {
        // SAFETY: none; the process ends here.
        unsafe { libc::abort() };
    }
    (0..20_000u64).for_each(|i| _ = black_box(i));
    let page = address & !(PAGE - 1);
    // SAFETY: a page of our own mapping.
    unsafe {
        let page = std::ptr::with_exposed_provenance_mut(page);
        libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_WRITE);
    }
    OPENED.fetch_add(1, Ordering::Relaxed);
}

/// A program that lives on faults which its own handler, there before goweft, mends (a garbage
/// collector, a WebAssembly engine): while the handler runs its thread loses its processor, and is
/// stopped when it is back.
pub(crate) fn faults() {
    // SAFETY: a fresh mapping, aligned by hand, and a valid action.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = open_page as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(
            libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()),
            0
        );
        let map = libc::mmap(
            std::ptr::null_mut(),
            (PAGES + 1) * PAGE,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(map, libc::MAP_FAILED);
        let base = map.expose_provenance().next_multiple_of(PAGE);
        BASE.store(base, Ordering::Relaxed);
    }
    pressure::start(1);
    let stop = Arc::new(AtomicBool::new(false));
    let touchers: Vec<_> = (0..4)
        .map(|part| {
            let stop = stop.clone();
            spawn(move || {
                let mut touched = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    for page in (part..PAGES).step_by(4) {
                        let at = BASE.load(Ordering::Relaxed) + page * PAGE;
                        let p = std::ptr::with_exposed_provenance_mut::<u64>(at);
                        // SAFETY: a page of our own mapping, and of this goroutine's part.
                        unsafe {
                            p.write_volatile(touched);
                            assert_eq!(p.read_volatile(), touched);
                            assert_eq!(libc::mprotect(p.cast(), PAGE, libc::PROT_NONE), 0);
                        }
                        touched += 1;
                    }
                }
                touched
            })
        })
        .collect();
    let before = pressure::preemptions();
    wait_until("goroutines that fault are stopped", || {
        pressure::preemptions() > before + 200 && OPENED.load(Ordering::Relaxed) > 2_000
    });
    stop.store(true, Ordering::Relaxed);
    let touched: u64 = touchers.into_iter().map(|t| t.join().unwrap()).sum();
    assert_eq!(touched, OPENED.load(Ordering::Relaxed));
    println!("all were mended");
}
