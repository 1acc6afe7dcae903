//! How the runtime comes up, at the first use from any thread, and how the
//! number of Ps changes.

use super::inside::Inside;
use super::lists::{self, SLEEP};
use super::m::{self, M};
use super::{idle, monitor, p, poll, run, tls};
use crate::clock::Nanos;
use crate::config;
use crate::sys;
use goweft_stacks::{Class, context, overflow};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::thread;

static STARTED: AtomicBool = AtomicBool::new(false);
static START: Once = Once::new();
static CLASS: AtomicU8 = AtomicU8::new(0);
static SLICE: AtomicU64 = AtomicU64::new(10_000_000);
static THREADS: Mutex<usize> = Mutex::new(0);

/// Starts the runtime unless it runs; the class of stacks by default.
///
/// # Panics
/// `goweft: ...` when the system refuses what the runtime needs: threads, epoll,
/// memory.
#[inline]
pub(crate) fn ensure() -> Class {
    if !STARTED.load(Ordering::Acquire) {
        start();
    }
    Class::from_index(usize::from(CLASS.load(Ordering::Relaxed))).unwrap_or(Class::DEFAULT)
}

/// A goroutine's time on a P while others wait, in ns.
pub(crate) fn time_slice() -> Nanos {
    SLICE.load(Ordering::Relaxed)
}

#[cold]
fn start() {
    START.call_once(|| {
        if let Err(e) = try_start() {
            panic!("goweft: can't start: {e}");
        }
        STARTED.store(true, Ordering::Release);
    });
}

fn try_start() -> io::Result<()> {
    let settings = config::settle();
    CLASS.store(settings.class.index() as u8, Ordering::Relaxed);
    SLICE.store(
        u64::try_from(settings.time_slice.as_nanos()).unwrap_or(u64::MAX),
        Ordering::Relaxed,
    );
    crate::clock::now();
    m::make_table()?;
    crate::report::install_panic_hook();
    overflow::install(crate::report::describe)?;
    poll::start()?;
    p::make_up_to(settings.maxprocs);
    lists::set_procs(settings.maxprocs);
    for p in p::all() {
        lists::lock(&Inside::foreign()).admit(p);
    }
    crate::sync::prepare();
    thread::Builder::new()
        .name("goweft-monitor".into())
        .spawn(|| monitor::run())?;
    // The first M is made here, so that a system without threads says so at
    // once; the others when there is work for them. It looks for work, finds none
    // and becomes the poller: a plain thread may wait for a descriptor, or set a
    // timer, before there is any goroutine.
    SLEEP.search();
    make_machine(true)
}

/// A thread for the work that waits beside an idle P, which has a searcher's
/// place in its favour. By the monitor.
pub(crate) fn add_machine() {
    if let Err(e) = make_machine(true) {
        // The work stays queued: the Ms there are will come to it.
        SLEEP.stop_searching();
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            eprintln!(
                "goweft: the system refuses another thread ({e}); going on with {}",
                m::count()
            )
        });
    }
}

/// Makes an M. With `for_work` it starts with an idle P, if one is left.
fn make_machine(for_work: bool) -> io::Result<()> {
    let mut threads = THREADS.lock().unwrap_or_else(|e| e.into_inner());
    if *threads >= config::max_threads() {
        return Err(io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "max_threads is reached",
        ));
    }
    let Some(slot) = m::new_slot() else {
        return Err(io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "the table of threads is full",
        ));
    };
    let name = format!("goweft-{}", slot.index.get());
    thread::Builder::new()
        .name(name)
        .stack_size(256 * 1024)
        .spawn(move || machine(slot))?;
    *threads += 1;
    // From here on it can be given a P; it sees that when it is up.
    idle::enlist(&Inside::foreign(), slot, for_work);
    Ok(())
}

/// The body of an M's thread.
fn machine(m: &'static M) {
    context::enter_thread();
    // For as long as the thread lives. Without one an overflow kills the process
    // without a word; all else works.
    let _handlers_run_on = overflow::AltStack::install()
        .inspect_err(|e| eprintln!("goweft: no alternate stack for signal handlers: {e}"));
    if let Some(cpus) = config::affinity()
        && let Some(&cpu) = cpus.get(m.index.get() as usize % cpus.len().max(1))
        && let Err(e) = sys::pin_to_cpu(cpu)
    {
        eprintln!("goweft: can't pin a thread to CPU {cpu}: {e}");
    }
    tls::set_current(m);
    m.tid.set(sys::gettid());
    m.rt.store(1, Ordering::Release);
    run::run_machine(m)
}

/// Changes the number of Ps; the previous one. New Ps are idle at once; one that is
/// too many stops when its M next schedules.
pub(crate) fn resize(n: usize) -> usize {
    ensure();
    static RESIZING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = RESIZING.lock().unwrap_or_else(|e| e.into_inner());
    let n = n.clamp(1, p::MAX_PROCS);
    p::make_up_to(n);
    let mut inside = Inside::enter();
    let mut lists = lists::lock(&inside);
    let before = lists::procs();
    lists::set_procs(n);
    lists.dismiss(|p| p.index >= n);
    for p in p::all().skip(before).take(n.saturating_sub(before)) {
        lists.admit(p);
    }
    drop(lists);
    for p in p::all() {
        p.shared.attention.store(true, Ordering::Relaxed);
    }
    idle::wake_for_work(&mut inside);
    before
}
