//! Parking a thread by signal: the handler of SIGURG (PROTOCOL 7).
//!
//! It parks a thread that has lost its P and computes on, wherever it is: in the
//! allocator, with a lock held, in a C library. To the code on that thread it is as if
//! the OS had taken the CPU away for a while. The thread keeps its goroutine, and
//! goes on when it is given a P.
//!
//! What always holds: the handler touches the words of its own M, the stack of the preempted, the
//! monitor's bell and, once it has slept, the P that it was given, and nothing else; so it may run
//! between any two instructions outside the runtime. Inside it does nothing. It changes `errno` and
//! gives it back; all other state is in the kernel's frame.

use super::g::GRef;
use super::lists::{self, SLEEP};
use super::m::{self, M};
use super::{deferral, idle, monitor, sys, tls};
use crate::clock;
use crate::protocol::delay;
use crate::protocol::mword::{Snapshot, State};
use std::ffi::{c_int, c_void};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, compiler_fence};

/// Whether threads are parked by signal. Written once, at start.
static ON: AtomicBool = AtomicBool::new(false);
static BEFORE: OnceLock<sys::Before> = OnceLock::new();
/// Threads parked so far.
pub(crate) static PARKED: AtomicU64 = AtomicU64::new(0);
/// Threads that are parked.
static PARKED_NOW: AtomicUsize = AtomicUsize::new(0);
/// For each processor: with more of them parked fewer goroutines are begun.
const MANY: usize = 32;

/// How many threads are parked in their handler.
pub(crate) fn parked_now() -> usize {
    PARKED_NOW.load(Ordering::Relaxed)
}

/// Whether so many are parked that it is time to get on with those (PROTOCOL 18).
pub(super) fn are_many_parked() -> bool {
    parked_now() > MANY * lists::procs()
}

/// Whether threads are parked by signal.
pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Installs the handler. Once, at start.
///
/// It has to stay on top: a handler that calls it would have it run on the stack of the goroutine,
/// and sleep in the middle of that handler. So that of `signal-hook`, which `signal::notify` uses,
/// comes before it.
///
/// # Errors
/// What `sigaction` says.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: it does nothing.
    unsafe { signal_hook::low_level::register(sys::SIGNAL, || ()) }?;
    let before = sys::install(on_signal)?;
    BEFORE.get_or_init(|| before);
    ON.store(true, Ordering::Relaxed);
    Ok(())
}

/// The handler.
///
/// # Safety
/// Called by the kernel.
unsafe extern "C" fn on_signal(signal: c_int, info: *mut sys::SigInfo, context: *mut c_void) {
    let errno = sys::errno();
    delay::here();
    let here = m::of_tid(crate::sys::gettid());
    // SAFETY: the kernel's own.
    let ours = here.filter(|m| unsafe { sys::is_from_here(info) } && is_expected(m));
    match ours {
        Some(m) if is_requested(m) => park(m),
        // It came too late for what it was sent for.
        Some(_) => {}
        None => {
            if let Some(before) = BEFORE.get() {
                // SAFETY: the kernel's own arguments.
                unsafe { before.call(signal, info, context) };
            }
        }
    }
    sys::set_errno(errno);
}

/// By the monitor: has the thread of `m` run the handler, to be parked for its word `stolen`.
/// False: its goroutine is not to be parked, and gets no signal.
pub(super) fn request(m: &'static M, stolen: Snapshot) -> bool {
    if !m
        .sending
        .begin(|| m.running().is_some_and(|g| g.quiet.is_wanted()))
    {
        return false;
    }
    m.req.store(stolen.bits(), Ordering::Release);
    delay::here();
    send(m);
    m.sending.end();
    true
}

/// From here to the end of the value its goroutine's thread gets no signal and is not parked
/// (PROTOCOL 7). Nests.
#[must_use]
pub(crate) struct NoPreempt {
    g: GRef,
    before: bool,
}

impl NoPreempt {
    /// None on a plain thread, which is never parked.
    pub(crate) fn begin() -> Option<NoPreempt> {
        // SAFETY: the thread's own M, or null.
        let m = unsafe { tls::current().as_ref() }?;
        let g = m.running()?;
        let before = g.quiet.ask();
        delay::here();
        while m.sending.is_sending() {
            std::thread::yield_now();
        }
        if m.sent.load(Ordering::Relaxed) != m.come.load(Ordering::Relaxed) {
            // It comes when a system call returns.
            crate::sys::gettid();
        }
        Some(NoPreempt { g, before })
    }
}

impl Drop for NoPreempt {
    fn drop(&mut self) {
        compiler_fence(Ordering::SeqCst);
        self.g.quiet.end(self.before);
    }
}

/// Has the thread of `m` run the handler. By anybody.
fn send(m: &M) {
    m.sent.fetch_add(1, Ordering::Release);
    sys::send(m.tid.load(Ordering::Relaxed));
}

/// As [`send`], by the thread itself. (One that is no M was never sent any.)
pub(super) fn send_again() {
    match m::of_tid(crate::sys::gettid()) {
        Some(m) => send(m),
        None => crate::sys::preempt_self(),
    }
}

/// By the handler: whether one of those that were sent to `m` has not come yet. This is it, then,
/// or another one of this process's that was sent just then.
fn is_expected(m: &M) -> bool {
    let (sent, come) = (
        m.sent.load(Ordering::Acquire),
        m.come.load(Ordering::Relaxed),
    );
    // The system makes one of those that come too close on each other, and at most one is on its
    // way while this one is being handled.
    let missing = sent.wrapping_sub(come);
    let come = sent.wrapping_sub(missing.saturating_sub(1).min(1));
    m.come.store(come, Ordering::Relaxed);
    missing != 0
}

/// Whether the monitor sent it for what the M has lost now.
fn is_requested(m: &M) -> bool {
    let req = m.req.load(Ordering::Acquire);
    req != 0 && req == m.word.load().bits()
}

/// Parks the thread, which is `m`, unless it is in the wrong place for that.
fn park(m: &'static M) {
    // In the middle of entering, where it finds that it has lost its P; on its own stack; or the
    // signal was sent before it was known that the goroutine wants none.
    if m.rt.is_inside() || m.running().is_none_or(|g| g.quiet.is_wanted()) {
        return m.req.store(0, Ordering::Relaxed);
    }
    if deferral::is_deferred() {
        // The request stays: the end of the deferral sends the signal again.
        return deferral::put_off();
    }
    m.rt.enter();
    delay::here();
    let seen = m.word.load();
    if seen.state() != State::Stolen || seen.bits() != m.req.load(Ordering::Relaxed) {
        // It was given a P in place meanwhile.
        return m.rt.leave();
    }
    m.req.store(0, Ordering::Relaxed);
    m.preempted.store(true, Ordering::Relaxed);
    m.waits_since.store(clock::now(), Ordering::Relaxed);
    if !m.word.wait(seen) {
        m.preempted.store(false, Ordering::Relaxed);
        return m.rt.leave();
    }
    PARKED.fetch_add(1, Ordering::Relaxed);
    PARKED_NOW.fetch_add(1, Ordering::Relaxed);
    lists::PREEMPTED.push(m.index.get(), &m.next_preempted);
    // The pusher's half of step 9. The monitor does the waking: it has the time.
    if SLEEP.monitor_wanted() {
        monitor::kick();
    }
    idle::wait_for_claim(m);
    PARKED_NOW.fetch_sub(1, Ordering::Relaxed);
    m.slept
        .store(sys::own_sleeps().wrapping_add(1), Ordering::Relaxed);
    // First: as soon as it owns a P, or is Stolen, others look at it again.
    m.preempted.store(false, Ordering::Relaxed);
    delay::here();
    if idle::take_given(m) {
        m.look_again();
    } else {
        m.word.release();
    }
    m.rt.leave();
}
