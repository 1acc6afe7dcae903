//! Faults of goroutines that are preempted.

use super::handlers::{send_urgent, urgent_connection};
use super::load::Load;
use goweft::signal::{self, Signal};
use goweft::{Builder, JoinHandle, spawn};
use goweft_tests::pressure::{self, WATCHDOG, wait_until};
use goweft_tests::sys;
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

/// Where there is no room for the kernel's frame of a signal. (AddressSanitizer's frames are larger
/// than that themselves.)
const LITTLE: usize = if cfg!(sanitize_address) {
    8 << 10
} else {
    2 << 10
};

/// Goes down until less than [`LITTLE`] is left, and calls `there`. The depth.
#[inline(never)]
fn dive(there: fn()) -> usize {
    let frame = black_box([1u8; 256]);
    let left = (&raw const frame).addr() % STACK;
    let depth = if left < LITTLE {
        there();
        1
    } else {
        1 + dive(there)
    };
    black_box(frame);
    depth
}

/// For a while, so that whoever does is stopped there.
fn compute() {
    let mut n = 0u32;
    while n < 50_000 {
        n = black_box(n + 1);
    }
}

/// A goroutine that goes down nearly to the guard again and again, and calls `there`, until it is
/// to stop; then it does the `last`.
fn diver<T: Send + 'static>(stop: &Arc<AtomicBool>, there: fn(), last: fn() -> T) -> JoinHandle<T> {
    let stop = stop.clone();
    let begin = Builder::new().name("diver").stack_size(STACK);
    let dives = move || {
        while !stop.load(Ordering::Relaxed) {
            assert!(dive(there) > 10);
        }
        last()
    };
    begin.spawn(dives).unwrap()
}

/// As [`diver`], stopped there, with goweft's signal relayed to a receiver as well: it gets none of
/// goweft's own.
pub(crate) fn relayed() {
    let load = Load::start();
    let urgent = signal::notify(&[Signal::SIGURG]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let divers = [(); 2].map(|()| diver(&stop, compute, || ()));
    load.until_preempted(200);
    // The handler of the first one is not kept by those that are stopped in it.
    drop(signal::notify(&[Signal::SIGUSR2]).unwrap());
    load.until_preempted(200);
    assert!(urgent.is_empty(), "what was goweft's came to the program");
    let pair = urgent_connection();
    for i in 0..100 {
        send_urgent(&pair, i);
        assert_eq!(urgent.recv_timeout(WATCHDOG), Ok(Signal::SIGURG));
    }
    assert!(urgent.is_empty());
    stop.store(true, Ordering::Relaxed);
    divers.into_iter().for_each(|d| d.join().unwrap());
    load.end();
    println!("relayed");
}

/// A signal that is relayed comes to a goroutine that has no room for the kernel's frame.
pub(crate) fn raised() {
    let signals = signal::notify(&[Signal::SIGUSR1]).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let raise = || {
        // SAFETY: no memory is involved.
        let rc = unsafe { libc::raise(libc::SIGUSR1) };
        assert_eq!(rc, 0);
    };
    let diver = diver(&stop, raise, || ());
    for _ in 0..100 {
        assert_eq!(signals.recv_timeout(WATCHDOG), Ok(Signal::SIGUSR1));
    }
    stop.store(true, Ordering::Relaxed);
    diver.join().unwrap();
    // The last may be on their way: where nobody listens any more they end the process.
    std::mem::forget(signals);
    println!("raised");
}

/// Goroutines that go down nearly to the guard again and again, until they were preempted
/// often; then `many` of them go beyond it at once.
pub(crate) fn overflow(many: usize) {
    let load = Load::start();
    let go = Arc::new(AtomicBool::new(false));
    let divers: Vec<_> = (0..many)
        .map(|_| diver(&go, compute, || descend(address(), usize::MAX)))
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
    // SAFETY: a fresh mapping, aligned by hand, and a handler that opens pages of it, or ends the
    // process.
    unsafe {
        sys::install_handler(libc::SIGSEGV, open_page, 0, &[]);
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
