//! Hot loops that take locks that are not goweft's, while they are preempted every 200 us: the
//! programs `storm` and, with other allocators, `storm_spin`, `storm_mimalloc` and
//! `storm_jemalloc`, which are called `storm LOOP PROCESSORS` and go on for `GOWEFT_SOAK_SECONDS`,
//! or less than one: for `STORM_MILLISECONDS` if that is set.

use crate::pressure::{self, how_long, wait_until};
use goweft::{JoinHandle, PreemptSafe, runtime, spawn, sync};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_char;
use std::hint::{black_box, spin_loop};
use std::panic::catch_unwind;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// How long a storm goes on by itself.
fn short() -> Duration {
    let time = std::env::var("STORM_MILLISECONDS").ok();
    Duration::from_millis(time.and_then(|t| t.parse().ok()).unwrap_or(400))
}

/// Goroutines.
const MANY: usize = 8;

/// What is done again and again, and what it is called.
type Turn = fn(u64);

/// All of them. None calls goweft, but for the lock of its own.
pub const LOOPS: [(&str, Turn); 14] = [
    ("allocations", allocations),
    ("blocks_that_others_free", blocks_that_others_free),
    ("format", format),
    ("hash_maps", hash_maps),
    ("thread_locals", thread_locals),
    ("panics", panics),
    ("backtraces", backtraces),
    ("streams_of_stdio", streams),
    ("environment", environment),
    ("local_time", local_time),
    ("random_numbers", random_numbers),
    ("names", names),
    ("fair_spin_lock", fair_spin_lock),
    ("locks", locks),
];

/// The program.
pub fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_default();
    let procs = args.next().and_then(|n| n.parse().ok()).unwrap_or(2);
    SAFE.store(std::env::var_os("STORM_SAFE").is_some(), Ordering::Relaxed);
    let (_, turn) = LOOPS
        .into_iter()
        .find(|(n, _)| *n == name)
        .expect("the name of a loop");
    if name == "panics" {
        std::panic::set_hook(Box::new(|_| ()));
    }
    let turns = storm(procs, &name, turn);
    let m = runtime::metrics();
    println!("{turns} turns, {} preemptions", m.preemptions);
    assert_eq!(m.rescues, 0);
}

/// In which each waits for the others so often that hardly any thread computes for long enough
/// to be stopped: their processors are taken while they wait.
const CONTENDED: [&str; 4] = [
    "streams_of_stdio",
    "environment",
    "local_time",
    "random_numbers",
];

/// How often somebody was stopped, or, where all wait for one lock, lost its processor.
fn interruptions(name: &str) -> u64 {
    let m = runtime::metrics();
    if CONTENDED.contains(&name) {
        m.preemptions + m.taken_from_blocked
    } else {
        m.preemptions
    }
}

/// Runs `turn`, of the loop `name`, in all goroutines for a while, and until they were
/// interrupted in it. All of them get on, and all end.
fn storm(procs: usize, name: &str, turn: Turn) -> u64 {
    pressure::start(procs);
    let end = Instant::now() + how_long(short());
    let before = interruptions(name);
    let stop = Arc::new(AtomicBool::new(false));
    let turns: Arc<Vec<AtomicU64>> = Arc::new((0..MANY).map(|_| AtomicU64::new(0)).collect());
    let hogs: Vec<JoinHandle<()>> = (0..MANY)
        .map(|i| {
            let (stop, turns) = (stop.clone(), turns.clone());
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let n = turns[i].load(Ordering::Relaxed);
                    turn(n);
                    turns[i].store(n + 1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    wait_until("all get on, and are interrupted", || {
        let on = |n: &AtomicU64| n.load(Ordering::Relaxed) > 0;
        let enough = turns.iter().all(on) && interruptions(name) > before + 20;
        Instant::now() >= end && enough || hogs.iter().any(JoinHandle::is_finished)
    });
    stop.store(true, Ordering::Relaxed);
    wait_until("all end", || hogs.iter().all(JoinHandle::is_finished));
    for h in hogs {
        h.join().expect("nothing was wrong");
    }
    turns.iter().map(|n| n.load(Ordering::Relaxed)).sum()
}

fn allocations(n: u64) {
    let mut kept = Vec::new();
    for i in 0..64 {
        kept.push(vec![n as u8; 1 + (n as usize * 37 + i * 131) % 9000]);
        if i % 3 == 0 {
            kept.swap_remove(i / 2);
        }
    }
    for (i, v) in kept.iter_mut().enumerate() {
        v.resize(1 + i * 97, n as u8);
        assert!(v.iter().all(|&b| b == n as u8));
    }
}

/// What one thread allocates another frees.
fn blocks_that_others_free(n: u64) {
    static SHELF: Mutex<Vec<Vec<u64>>> = Mutex::new(Vec::new());
    let fresh: Vec<u64> = (0..1 + n % 300).collect();
    let old = {
        let mut shelf = SHELF.lock().expect("nobody panics with it");
        shelf.push(fresh);
        let at = n as usize % shelf.len();
        (shelf.len() > 100).then(|| shelf.swap_remove(at))
    };
    for (i, v) in old.into_iter().flatten().enumerate() {
        assert_eq!(v, i as u64);
    }
}

fn format(n: u64) {
    let text = format!("{n:>20}|{:?}|{:.3}", Some(n), n as f64 / 3.0);
    assert_eq!(text.split('|').next().map(str::trim), Some(&*n.to_string()));
}

fn hash_maps(n: u64) {
    let map: HashMap<String, u64> = (n..n + 50).map(|i| (i.to_string(), i)).collect();
    for i in n..n + 50 {
        assert_eq!(map[&i.to_string()], i);
    }
}

fn thread_locals(n: u64) {
    thread_local! {
        static DEPTH: Cell<u64> = const { Cell::new(0) };
        static NAMES: RefCell<Vec<String>> = RefCell::new(vec!["first".into()]);
    }
    NAMES.with_borrow_mut(|names| {
        assert_eq!(DEPTH.replace(1), 0);
        names.truncate(1);
        names.extend((0..20).map(|i| (n + i).to_string()));
        assert_eq!(names.len(), 21);
        assert_eq!(DEPTH.replace(0), 1);
    });
}

fn panics(n: u64) {
    let caught = catch_unwind(|| {
        let kept = vec![n; 10 + n as usize % 2];
        assert!(black_box(kept.len()) < 10, "{n}");
    });
    let payload = caught.expect_err("it panics");
    assert_eq!(*payload.downcast::<String>().expect("text"), n.to_string());
    assert!(!std::thread::panicking());
}

/// The loader's lock, and std's own.
fn backtraces(_: u64) {
    let trace = std::backtrace::Backtrace::force_capture();
    assert_eq!(trace.status(), std::backtrace::BacktraceStatus::Captured);
}

/// A stream that all share, and one of one's own.
fn streams(n: u64) {
    static SHARED: AtomicPtr<libc::FILE> = AtomicPtr::new(ptr::null_mut());
    static OPENING: Mutex<()> = Mutex::new(());
    // SAFETY: strings that end; streams that are open; only the owner closes its own.
    unsafe {
        let open = || libc::fopen(c"/dev/null".as_ptr(), c"w".as_ptr());
        let mut shared = SHARED.load(Ordering::Acquire);
        if shared.is_null() {
            let _one = OPENING.lock().expect("nobody panics with it");
            shared = SHARED.load(Ordering::Acquire);
            if shared.is_null() {
                shared = open();
                SHARED.store(shared, Ordering::Release);
            }
        }
        for _ in 0..20 {
            assert!(libc::fputs(c"a line\n".as_ptr(), shared) >= 0);
        }
        if n.is_multiple_of(8) {
            let own = open();
            assert!(libc::fputs(c"another\n".as_ptr(), own) >= 0);
            assert_eq!(libc::fclose(own), 0);
        }
    }
}

/// glibc's lock of the environment. (Nobody else of this process looks at it meanwhile.)
fn environment(n: u64) {
    let value = match n % 3 {
        0 => c"short",
        1 => c"a value that is longer than the others",
        _ => c"",
    };
    // SAFETY: strings that end. They are changed under the C library's lock, and read by nobody.
    unsafe {
        assert_eq!(libc::setenv(c"STORM".as_ptr(), value.as_ptr(), 1), 0);
        if n.is_multiple_of(5) {
            assert_eq!(libc::unsetenv(c"STORM".as_ptr()), 0);
        }
    }
}

/// glibc's lock of time zones.
fn local_time(n: u64) {
    // From 1970 to the year 2099.
    let time = (n % 4_096 * 1_000_000) as libc::time_t;
    // SAFETY: all zero is a valid tm, which the call fills in.
    let year = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        assert!(!libc::localtime_r(&time, &mut tm).is_null());
        tm.tm_year
    };
    assert!((69..=200).contains(&year), "{year}");
}

unsafe extern "C" {
    /// glibc's, which has one state for all threads, and a lock.
    safe fn random() -> std::ffi::c_long;
}

fn random_numbers(_: u64) {
    for _ in 0..100 {
        assert!(random() >= 0);
    }
}

/// The C library's resolver, for addresses that need no server.
fn names(_: u64) {
    let mut list = ptr::null_mut();
    // SAFETY: strings that end; what the call allocates is freed once.
    unsafe {
        let mut hints: libc::addrinfo = std::mem::zeroed();
        hints.ai_flags = libc::AI_NUMERICHOST;
        let (host, port): (*const c_char, _) = (c"127.0.0.1".as_ptr(), c"80".as_ptr());
        assert_eq!(libc::getaddrinfo(host, port, &hints, &mut list), 0);
        assert!(!list.is_null());
        libc::freeaddrinfo(list);
    }
}

/// A lock of the user's own that is handed on in the order of arrival: the next owner is the one
/// that has to run, and all others spin.
fn fair_spin_lock(_: u64) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static SERVED: AtomicU64 = AtomicU64::new(0);
    static INSIDE: AtomicU64 = AtomicU64::new(0);
    let ticket = NEXT.fetch_add(1, Ordering::Relaxed);
    while SERVED.load(Ordering::Acquire) != ticket {
        spin_loop();
    }
    assert_eq!(INSIDE.swap(1, Ordering::Relaxed), 0);
    (0..100u64).for_each(|i| _ = black_box(i));
    INSIDE.store(0, Ordering::Relaxed);
    SERVED.store(ticket + 1, Ordering::Release);
}

/// Held while their owners are stopped: std's, and goweft's.
fn locks(n: u64) {
    static OF_STD: Mutex<[u64; 2]> = Mutex::new([0; 2]);
    static SHARED: RwLock<[u64; 2]> = RwLock::new([0; 2]);
    static OURS: sync::Mutex<[u64; 2]> = sync::Mutex::new([0; 2]);
    let change = |both: &mut [u64; 2]| {
        both[0] += 1;
        (0..100u64).for_each(|i| _ = black_box(i));
        both[1] += 1;
        assert_eq!(both[0], both[1]);
    };
    change(&mut OF_STD.lock().expect("nobody panics with it"));
    change(&mut OURS.lock());
    if n.is_multiple_of(16) {
        change(&mut SHARED.write().expect("nobody panics with it"));
    } else {
        let both = SHARED.read().expect("nobody panics with it");
        assert_eq!(both[0], both[1]);
    }
    // Who waits for a lock all the time is not stopped.
    (0..2_000u64).for_each(|i| _ = black_box(i));
}

/// Whether [`Switch`] defers preemption.
static SAFE: AtomicBool = AtomicBool::new(false);

/// An allocator, in goweft's wrapper or, without `STORM_SAFE` in the environment, without.
#[derive(Debug)]
pub struct Switch<A>(PreemptSafe<A>);

impl<A> Switch<A> {
    /// For `allocator`.
    pub const fn new(allocator: A) -> Switch<A> {
        Switch(PreemptSafe::new(allocator))
    }
}

// SAFETY: every call goes to the allocator as it came.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Switch<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on; so below.
        unsafe {
            if SAFE.load(Ordering::Relaxed) {
                self.0.alloc(layout)
            } else {
                self.0.0.alloc(layout)
            }
        }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe {
            if SAFE.load(Ordering::Relaxed) {
                self.0.dealloc(p, layout);
            } else {
                self.0.0.dealloc(p, layout);
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if SAFE.load(Ordering::Relaxed) {
                self.0.alloc_zeroed(layout)
            } else {
                self.0.0.alloc_zeroed(layout)
            }
        }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            if SAFE.load(Ordering::Relaxed) {
                self.0.realloc(p, layout, size)
            } else {
                self.0.0.realloc(p, layout, size)
            }
        }
    }
}

/// An allocator with one lock for everything, that of a program of the simplest kind: whoever wants
/// it spins, and does not ask who has it, nor whether that one runs.
#[derive(Debug)]
pub struct SpinLocked<A> {
    locked: AtomicBool,
    allocator: A,
}

impl<A> SpinLocked<A> {
    /// Around `allocator`.
    pub const fn new(allocator: A) -> SpinLocked<A> {
        SpinLocked {
            locked: AtomicBool::new(false),
            allocator,
        }
    }

    fn locked<T>(&self, f: impl FnOnce(&A) -> T) -> T {
        while self.locked.swap(true, Ordering::Acquire) {
            spin_loop();
        }
        let result = f(&self.allocator);
        self.locked.store(false, Ordering::Release);
        result
    }
}

// SAFETY: every call goes to the allocator as it came. (alloc_zeroed and realloc are the trait's
// own, made of these two.)
unsafe impl<A: GlobalAlloc> GlobalAlloc for SpinLocked<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on; so below.
        self.locked(|a| unsafe { a.alloc(layout) })
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as above.
        self.locked(|a| unsafe { a.dealloc(p, layout) });
    }
}
