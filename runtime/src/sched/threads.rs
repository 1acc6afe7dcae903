//! The threads of the Ms: made ahead of need, by a thread of their own.
//!
//! Making a thread allocates, and a goroutine may be parked with the allocator's lock
//! held; whoever must go on then (the monitor, an M inside) only asks. The
//! maker may wait for that lock, and nobody waits for the maker.
//!
//! An M begins to take part when its thread is up and has done all that allocates.
//!
//! A thread that the system refuses counts as the cap (`Config::max_threads`): that is
//! said once, and tried again after a while. What is queued goes on with the
//! threads there are.

use super::inside::Inside;
use super::m::{self, M};
use super::{deferral, lists, run, sys, theft, tls};
use crate::abort::OnUnwind;
use crate::clock::{self, Nanos};
use crate::config;
use crate::sys::{futex_wait, futex_wake};
use crate::tell::tell;
use goweft_stacks::{context, overflow};
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::thread;

/// Futex: 1 when one more is wanted.
static WANTED: AtomicU32 = AtomicU32::new(0);
/// Threads there are, or that are being made.
static THREADS: Mutex<usize> = Mutex::new(0);
/// The same without those that are being made: for who may not wait. Each counts itself, before it
/// rests for the first time: never do more rest than there are.
static UP: AtomicUsize = AtomicUsize::new(0);
/// Being made, and not yet among those that can be given a P.
static STARTING: AtomicUsize = AtomicUsize::new(0);

/// How long no thread is asked for after the system refused one, in ns.
const REFUSED_FOR: Nanos = 20_000_000;
/// Until when; written by the maker.
static REFUSED_UNTIL: AtomicU64 = AtomicU64::new(0);

/// Whether threads are refused these days: it is of no use to ask for one.
pub(super) fn are_refused() -> bool {
    let until = REFUSED_UNTIL.load(Ordering::Relaxed);
    until != 0 && clock::now() < until
}

/// How many threads there are.
pub(crate) fn count() -> usize {
    UP.load(Ordering::Relaxed)
}

/// Asks for one more M, unless one has been asked for or would be refused: then the
/// monitor looks after the work.
fn want() {
    if !are_refused() && WANTED.swap(1, Ordering::AcqRel) == 0 {
        futex_wake(&WANTED);
    }
}

/// There is work, an idle P and no M for it: asks for one, unless as many are coming.
pub(super) fn want_for_idle() {
    if STARTING.load(Ordering::Relaxed) < lists::SLEEP.idle_now() {
        want();
    }
}

/// Starts the maker and the first M, so that a system without threads says so
/// at once.
///
/// # Errors
/// What the system says.
pub(super) fn start() -> io::Result<()> {
    thread::Builder::new()
        .name("goweft-threads".into())
        .spawn(make_when_wanted)?;
    make_machine()
}

fn make_when_wanted() {
    let _never_ends = OnUnwind("a panic in the thread that makes threads");
    loop {
        futex_wait(&WANTED, 0, None);
        // Before the making: whoever asks meanwhile may come too late for this one,
        // which may be busy already.
        while WANTED.swap(0, Ordering::AcqRel) != 0 {
            if let Err(e) = make_machine() {
                // What is still wanted then the monitor asks for.
                REFUSED_UNTIL.store(clock::now() + REFUSED_FOR, Ordering::Relaxed);
                complain(&e);
            }
        }
    }
}

#[cold]
fn complain(e: &io::Error) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        tell(format_args!(
            "the system refuses another thread ({e}); going on with {}",
            *THREADS.lock().unwrap_or_else(|e| e.into_inner())
        ));
    });
}

/// Makes an M.
fn make_machine() -> io::Result<()> {
    let mut threads = THREADS.lock().unwrap_or_else(|e| e.into_inner());
    if *threads >= config::max_threads() {
        return Err(io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "max_threads is reached",
        ));
    }
    // First: as soon as there is a slot, the monitor looks whether an M is on its way.
    STARTING.fetch_add(1, Ordering::AcqRel);
    let Some(slot) = m::new_slot() else {
        STARTING.fetch_sub(1, Ordering::AcqRel);
        return Err(io::Error::new(
            io::ErrorKind::QuotaExceeded,
            "the table of threads is full",
        ));
    };
    let made = thread::Builder::new()
        .name(format!("goweft-{}", slot.index.get()))
        .stack_size(256 * 1024)
        .spawn(move || machine(slot));
    match made {
        Ok(_) => {
            *threads += 1;
            Ok(())
        }
        Err(e) => {
            STARTING.fetch_sub(1, Ordering::AcqRel);
            m::give_slot_back(slot);
            Err(e)
        }
    }
}

/// The body of an M's thread.
fn machine(m: &'static M) {
    let never_unwinds = OnUnwind("a panic in one of the runtime's threads");
    context::enter_thread();
    // For as long as the thread lives. Without one an overflow kills the process
    // without a word, and this thread is not stopped when it computes; all else works.
    let handlers_run_on = overflow::AltStack::install()
        .inspect_err(|e| tell(format_args!("no alternate stack for signal handlers: {e}")));
    deferral::prepare_thread();
    tls::set_current(m);
    m::enroll(m);
    UP.fetch_add(1, Ordering::Relaxed);
    if handlers_run_on.is_ok() {
        sys::unblock_signal();
    } else {
        // Its frame may be larger than what is left of a goroutine's stack.
        sys::block_signal();
    }
    m.rt.init_inside();
    run::run_machine(m);
    // A goroutine has ended locked. This is a plain thread now, and stays one for the
    // destructors of its thread-locals.
    std::mem::forget(never_unwinds);
    context::leave_thread();
    UP.fetch_sub(1, Ordering::Relaxed);
    let mut threads = THREADS.lock().unwrap_or_else(|e| e.into_inner());
    *threads -= 1;
    m::give_slot_back(m);
}

/// An M has taken its place among those that rest, and looks for work next.
pub(super) fn one_is_up() {
    STARTING.fetch_sub(1, Ordering::AcqRel);
}

/// By the monitor: sees to it that there is an M for the next P that has to be taken
/// from its thread, and for timers and netpoll when all Ps are idle and an M was
/// refused when they became so.
pub(super) fn see_to_a_spare(inside: &Inside) {
    // In this order: one that is up has taken its place before it stopped counting.
    if m::count() != 0 && STARTING.load(Ordering::Acquire) == 0 && theft::rested(inside) == 0 {
        want();
    }
}
