//! How the runtime comes up, at the first use from any thread, and how the
//! number of Ps changes.

use super::inside::Inside;
use super::lists;
use super::{idle, m, monitor, p, poll, preempt, threads};
use crate::clock::Nanos;
use crate::config;
use crate::protocol::barrier;
use goweft_stacks::{Class, overflow};
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;

static STARTED: AtomicBool = AtomicBool::new(false);
static START: Once = Once::new();
static CLASS: AtomicU8 = AtomicU8::new(0);
static SLICE: AtomicU64 = AtomicU64::new(10_000_000);

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
    barrier::choose();
    if config::preempts_by_signal() {
        preempt::install()?;
    }
    monitor::prepare()?;
    thread::Builder::new()
        .name("goweft-monitor".into())
        .spawn(|| monitor::run())?;
    threads::start()
}

/// Changes the number of Ps; the previous one. New Ps are idle at once; one that is
/// too many stops when its M next schedules.
pub(crate) fn resize(n: usize) -> usize {
    ensure();
    let n = n.clamp(1, p::MAX_PROCS);
    p::make_up_to(n);
    // The lock of the lists alone orders two that resize at once: a lock of std's
    // must not be held over a leave, where the goroutine may give way.
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
    // Whether all Ps are idle depends on their number too.
    monitor::wake_if_asleep();
    idle::wake_for_work(&mut inside);
    before
}
