//! How the runtime comes up, at the first use from any thread, and how the
//! number of Ps changes.

use super::inside::Inside;
use super::lists::{self, SLEEP};
use super::m::{self, M};
use super::{deferral, idle, monitor, p, poll, run, tls};
use crate::abort::OnUnwind;
use crate::clock::{self, Nanos};
use crate::config;
use crate::fork;
use crate::limits;
use crate::sys;
use crate::tell::tell;
use goweft_stacks::{Class, context, overflow};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::thread;

static STARTED: AtomicBool = AtomicBool::new(false);
static START: Once = Once::new();
static CLASS: AtomicU8 = AtomicU8::new(0);
static SLICE: AtomicU64 = AtomicU64::new(10_000_000);
static THREADS: Mutex<Threads> = Mutex::new(Threads {
    made: 0,
    slot: None,
});
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
    SLICE.store(
        u64::try_from(settings.time_slice.as_nanos()).unwrap_or(u64::MAX),
        Ordering::Relaxed,
    );
    crate::clock::now();
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
        refuse_until(clock::now() + REFUSED_FOR);
        // The work stays queued: the Ms there are will come to it, and the monitor
        // tries again.
        SLEEP.stop_searching();
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            tell(format_args!(
                "the system refuses another thread ({e}); going on with {}",
                m::count()
            ))
        });
    }
}

/// How long no thread is asked for after the system refused one, in ns.
const REFUSED_FOR: Nanos = 20_000_000;
/// Until when; written by the monitor.
static REFUSED_UNTIL: AtomicU64 = AtomicU64::new(0);

fn refuse_until(when: Nanos) {
    REFUSED_UNTIL.store(when, Ordering::Relaxed);
}

/// Whether threads are refused these days: it is of no use to ask for one.
pub(crate) fn threads_are_refused() -> bool {
    let until = REFUSED_UNTIL.load(Ordering::Relaxed);
    until != 0 && clock::now() < until
}

/// The threads of Ms.
struct Threads {
    made: usize,
    /// A slot of the table whose thread the system refused: for the next one.
    slot: Option<&'static M>,
}

/// Makes an M. With `for_work` it starts with an idle P, if one is left.
fn make_machine(for_work: bool) -> io::Result<()> {
    let full = |what| Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
    let mut threads = THREADS.lock().unwrap_or_else(|e| e.into_inner());
    if threads.made >= config::max_threads() {
        return full("max_threads is reached");
    }
    let Some(slot) = threads.slot.take().or_else(m::new_slot) else {
        return full("the table of threads is full");
    };
    let spawned = thread::Builder::new()
        .name(format!("goweft-{}", slot.index.get()))
        .stack_size(256 * 1024)
        .spawn(move || machine(slot));
    if let Err(e) = spawned {
        threads.slot = Some(slot);
        return Err(e);
    }
    threads.made += 1;
    // From here on it can be given a P; it sees that when it is up.
    idle::enlist(&Inside::foreign(), slot, for_work);
    Ok(())
}

/// The body of an M's thread.
fn machine(m: &'static M) {
    let _never_ends = OnUnwind("a panic in one of the runtime's threads");
    context::enter_thread();
    // For as long as the thread lives. Without one an overflow kills the process
    // without a word; all else works.
    let _handlers_run_on = overflow::AltStack::install()
        .inspect_err(|e| tell(format_args!("no alternate stack for signal handlers: {e}")));
    deferral::prepare_thread();
    tls::set_current(m);
    m.tid.set(sys::gettid());
    m.rt.store(1, Ordering::Release);
    run::run_machine(m)
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
    lists.dismiss(|p| p.index >= n);
    for p in p::all().skip(before).take(n.saturating_sub(before)) {
        lists.admit(p);
    }
    drop(lists);
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
