//! How the runtime comes up, at the first use from any thread, and how the
//! number of Ps changes.

use super::inside::Inside;
use super::lists;
use super::{idle, m, monitor, p, poll, preempt, threads, tls};
use crate::clock::Nanos;
use crate::config::{self, Migration};
use crate::fork;
use crate::limits;
use crate::protocol::barrier;
use crate::sys;
use goweft_stacks::context::is_thread_sanitized;
use goweft_stacks::{Class, overflow};
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;

static STARTED: AtomicBool = AtomicBool::new(false);
static START: Once = Once::new();
static CLASS: AtomicU8 = AtomicU8::new(0);
/// `Migration::Pinned`. Written at start.
static PINS_ALL: AtomicBool = AtomicBool::new(false);
static SLICE: AtomicU64 = AtomicU64::new(10_000_000);
/// Ten seconds: somebody may wait who is not seen to be urgent, as one whose time came while it was
/// about to park.
const LONGEST_SLICE: Nanos = 10_000_000_000;
/// The number of Ps follows the limits: nobody has set it. Written at start and under
/// the scheduler's lock.
static FOLLOWS: AtomicBool = AtomicBool::new(false);

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

/// Whether every goroutine is pinned.
#[inline]
pub(crate) fn pins_all() -> bool {
    PINS_ALL.load(Ordering::Relaxed)
}

#[cold]
fn start() {
    fork::refuse();
    START.call_once(|| {
        if let Err(e) = try_start() {
            panic!("goweft: can't start: {e}");
        }
        STARTED.store(true, Ordering::Release);
    });
}

extern "C" fn in_forked_child() {
    fork::mark();
    STARTED.store(false, Ordering::Relaxed);
}

fn try_start() -> io::Result<()> {
    let settings = config::settle();
    CLASS.store(settings.class.index() as u8, Ordering::Relaxed);
    let slice = u64::try_from(settings.time_slice.as_nanos()).unwrap_or(u64::MAX);
    SLICE.store(slice.min(LONGEST_SLICE), Ordering::Relaxed);
    PINS_ALL.store(settings.migration == Migration::Pinned, Ordering::Relaxed);
    crate::clock::now();
    #[cfg(goweft_delays)]
    crate::protocol::delay::begin();
    tls::learn();
    m::make_table()?;
    sys::in_forked_children(in_forked_child)?;
    crate::report::install_panic_hook();
    overflow::install(crate::report::describe)?;
    poll::start()?;
    let n = settings.maxprocs.unwrap_or_else(|| prepare_to_follow(0));
    p::reserve(n);
    p::use_up_to(n);
    lists::set_procs(n);
    FOLLOWS.store(settings.maxprocs.is_none(), Ordering::Relaxed);
    for p in p::all() {
        lists::lock(&Inside::foreign()).admit(p);
    }
    crate::sync::prepare();
    barrier::choose();
    // ThreadSanitizer puts signals off until the thread calls something that it knows.
    if config::preempts_by_signal() && !is_thread_sanitized() {
        preempt::install()?;
    }
    monitor::prepare()?;
    thread::Builder::new()
        .name("goweft-monitor".into())
        .spawn(|| monitor::run())?;
    threads::start()
}

/// Changes the number of Ps by hand; the previous one. It does not follow the limits
/// any more.
pub(crate) fn resize(n: usize) -> usize {
    ensure();
    let n = n.clamp(1, p::MAX_PROCS);
    p::reserve(n);
    change_procs(&mut Inside::enter(), n, Because::SetByHand)
}

/// The number of Ps follows the limits from now on; the previous one.
pub(crate) fn follow_limits_again() -> usize {
    ensure();
    let n = prepare_to_follow(monitor::tid());
    change_procs(&mut Inside::enter(), n, Because::ToFollow)
}

/// Finds out what the limits are and makes as many Ps as there can ever be work for,
/// so that the monitor can change their number without allocating. What the number
/// is to be now, by the CPUs of the thread `tid`.
fn prepare_to_follow(tid: i32) -> usize {
    if config::container_limits() {
        limits::find_quota();
    }
    p::reserve(limits::configured_cpus());
    limits::default_maxprocs(tid, config::affinity()).min(p::reserved())
}

/// Changes the number of Ps if the limits have changed. By the monitor, now
/// and then: allocates nothing, and waits for nobody.
pub(crate) fn follow_limits(inside: &mut Inside) {
    if FOLLOWS.load(Ordering::Relaxed) {
        let n = limits::default_maxprocs(0, config::affinity()).min(p::reserved());
        if n != lists::procs() {
            change_procs(inside, n, Because::LimitsChanged);
        }
    }
}

/// Why the number of Ps changes.
#[derive(PartialEq, Eq)]
enum Because {
    SetByHand,
    ToFollow,
    LimitsChanged,
}

/// Changes the number of Ps to `n`, as many of which are there; the previous one. New
/// Ps are idle at once; one that is too many stops when its M next schedules.
fn change_procs(inside: &mut Inside, n: usize, because: Because) -> usize {
    let mut lists = lists::lock(inside);
    let before = lists::procs();
    // Under the lock, so that what was set by hand meanwhile stays.
    if because != Because::LimitsChanged {
        FOLLOWS.store(because == Because::ToFollow, Ordering::Relaxed);
    } else if !FOLLOWS.load(Ordering::Relaxed) {
        return before;
    }
    p::use_up_to(n);
    lists::set_procs(n);
    let dismissed = lists.dismiss();
    for p in p::all().skip(before).take(n.saturating_sub(before)) {
        lists.admit(p);
    }
    drop(lists);
    dismissed.for_each(|p| idle::stop(inside, p));
    for p in p::all() {
        p.call_attention();
        if p.index >= n {
            monitor::ask(p);
        }
    }
    // Whether all Ps are idle depends on their number too.
    monitor::wake_if_asleep();
    idle::wake_for_work(inside);
    before
}
