//! Entering and leaving the runtime (PROTOCOL 1 to 3).
//!
//! Between enter and leave a thread works on the runtime's own data, and the
//! rules are: no user code (drops, wakers, closures), no allocation, no lock
//! that user code can hold. [`Inside`] is the proof that one has entered;
//! everything that touches a queue, a wait record or a P takes it.
//!
//! An M that enters has a P afterwards, or is suspended until it has: nothing
//! about the P may be read before `enter` returned or kept after leaving. A
//! thread that is no M may enter too; it has no P and uses the global queue.
//! A thread that enters while it is inside already (a hook that the runtime's
//! own work ran into) counts as such a thread.
//!
//! Leaving is where a goroutine gives way: when the monitor asked it to, and
//! when the goroutine that it made runnable has been kept waiting (see
//! [`Inside::leave`]).

use super::g::GRef;
use super::m::M;
use super::p::P;
use super::wait::{self, owned};
use super::{idle, lists, start, tls, wakeup};
use crate::clock;
use crate::protocol::barrier;
use crate::protocol::delay;
use crate::protocol::mword::State;
use std::hint::cold_path;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr;

/// Proof that the thread is in the runtime; leaves when dropped.
pub(crate) struct Inside {
    /// Null: a thread that is no M.
    m: *const M,
    /// An `Inside` is the thread's own.
    not_send: PhantomData<*const ()>,
}

impl Inside {
    /// Enters. May suspend the goroutine when its thread has lost its P.
    #[inline]
    pub(crate) fn enter() -> Inside {
        let m = tls::current();
        // SAFETY: the thread's own M, or null; the table is never freed.
        let Some(here) = (unsafe { m.as_ref() }) else {
            return Inside::foreign();
        };
        // One branch for all that is rare.
        let was_inside = here.rt.step_in();
        if u64::from(was_inside) | here.differs() == 0 {
            bump(here);
            return Inside {
                m,
                not_send: PhantomData,
            };
        }
        if was_inside != 0 {
            return Inside::foreign();
        }
        Inside::enter_with_care(here)
    }

    /// As a thread that is no M: for such threads, and for the monitor.
    pub(crate) fn foreign() -> Inside {
        Inside {
            m: ptr::null(),
            not_send: PhantomData,
        }
    }

    /// For code that was entered by somebody else and goes on in its place:
    /// the scheduler's loop, and a goroutine's first instructions.
    ///
    /// # Safety
    /// The thread is inside, and nobody uses another `Inside` of this M meanwhile.
    pub(crate) unsafe fn resume() -> Inside {
        Inside {
            m: tls::current(),
            not_send: PhantomData,
        }
    }

    /// PROTOCOL 1b and 5. The thread has stepped in, and its word is not what it believed.
    #[cold]
    #[inline(never)]
    fn enter_with_care(m: &'static M) -> Inside {
        barrier::light();
        loop {
            let seen = m.word.load();
            match seen.state() {
                State::Owns => {
                    let is_another = m.adopt_owned(seen);
                    let inside = Inside {
                        m,
                        not_send: PhantomData,
                    };
                    if is_another {
                        inside.goes_on();
                    }
                    return inside;
                }
                State::Pending => {
                    m.word.keep(seen);
                }
                State::Stolen => {
                    let has_one = idle::acquire_stolen(m, seen);
                    let mut inside = Inside {
                        m,
                        not_send: PhantomData,
                    };
                    if has_one || inside.regain_p(seen) {
                        inside.goes_on();
                        return inside;
                    }
                    std::mem::forget(inside);
                }
                State::Absent => crate::fork::fatal(),
                state => crate::abort::fatal(format_args!("a running thread is {state:?}")),
            }
        }
    }

    /// The goroutine goes on with another P, perhaps not for the first time. To the monitor that is
    /// a slice of its own, so it would never be asked: nor would those have a turn who live here,
    /// or are queued where no M rests. When it has gone on so for a slice beside them it asks
    /// itself, each time until it has heeded that: an ask is lost where a leave lends the P. (One
    /// that cannot leave its thread just now, at the first entry where it can.)
    #[cold]
    fn goes_on(&self) {
        let (Some(m), Some(g)) = (self.m(), self.g()) else {
            return;
        };
        if wait::stays(g) {
            return m.look_again();
        }
        let p = owned(m);
        let by_others = || lists::any_queued_for(p) && lists::lock(self).resting() == 0;
        if !(m.home.waits() || by_others()) {
            return;
        }
        let now = clock::now();
        if !ptr::eq(m.goes_on.replace(g.as_ptr()), g.as_ptr()) {
            m.goes_on_since.set(now);
        } else if now - m.goes_on_since.get() >= start::time_slice() {
            m.rt.ask(p.slice());
        }
    }

    /// The M, on one of the runtime's threads.
    #[inline]
    pub(crate) fn m(&self) -> Option<&'static M> {
        // SAFETY: null or a slot of the table, which is never freed.
        unsafe { self.m.as_ref() }
    }

    /// The P, on one of the runtime's threads that has one.
    #[inline]
    pub(crate) fn p(&self) -> Option<&'static P> {
        // SAFETY: null or a P, which is never freed.
        self.m().and_then(|m| unsafe { m.p.get().as_ref() })
    }

    /// The goroutine that called, if one did.
    #[inline]
    pub(crate) fn g(&self) -> Option<GRef> {
        self.m().and_then(M::running)
    }

    /// We may be on another thread now: after every switch.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        self.m = tls::current();
    }

    /// A number to choose fairly by.
    #[inline]
    pub(crate) fn random(&mut self) -> u32 {
        match self.p() {
            Some(p) => p.random(),
            None => lists::foreign_random(),
        }
    }

    /// Leaves (PROTOCOL 2). The goroutine may be suspended here, and go on on
    /// another thread.
    ///
    /// Most leave nobody in `runnext` and find no notes: one branch asks for both. It is not taken
    /// then: beside another thread on the same core each jump costs (2.4 ns for entering and leaving,
    /// and 1.95 so; on a core of its own 1.4 both).
    ///
    /// Step 15: `ready` puts the goroutine it wakes into `runnext` and wakes no
    /// M, because most wakers park at once and the P runs it next. One that
    /// leaves a *second* operation with `runnext` still full did not; then, if a
    /// P is idle, it goes to the queue and an M is woken. (At the second leave,
    /// not at the next enter: a rendezvous partner sends and then receives, and
    /// parks in the receive.)
    #[inline]
    fn leave(&mut self) {
        let Some(m) = self.m() else {
            cold_path();
            return leave_as_thread();
        };
        if m.may_have_next.get() | m.rt.notes() != 0 {
            cold_path();
            // SAFETY: inside, and nothing uses this one any more.
            return unsafe { leave_with_care(m) };
        }
        step_out(m);
    }

    /// Leaves for a goroutine's first instruction. Notes are for the next leave: to give way now
    /// would gain nothing, and one that is pinned would have its home where the next is at home
    /// then too, and may wait for it there in a call that blocks.
    pub(crate) fn leave_to_begin(self) {
        let inside = ManuallyDrop::new(self);
        let m = inside.m().expect("goroutines run on Ms");
        // SAFETY: inside, and nothing uses this one any more.
        unsafe { leave_beside_next(m) };
    }

    /// Leaves, and gives the P of the goroutine that called to whoever needs it
    /// (PROTOCOL 6): its next enter gets one again.
    pub(crate) fn lend(mut self) {
        if let Some(m) = self.m()
            && self.g().is_some()
        {
            idle::lend_p(&mut self, m);
        }
        self.leave_quietly();
    }

    /// Leaves without giving way or heeding notes.
    #[inline]
    pub(crate) fn leave_quietly(&mut self) {
        if let Some(m) = self.m() {
            step_out(m);
        }
        self.m = ptr::null();
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

/// The M, inside, uses its P, if it has one.
#[inline(always)]
fn bump(m: &M) {
    if cfg!(goweft_delays) {
        // SAFETY: null or a P, which lives for ever.
        let p = unsafe { m.p.get().as_ref() };
        p.inspect(|p| p.token.bump(m));
    }
}

/// The M is inside, and is not any more.
#[inline(always)]
fn step_out(m: &M) {
    bump(m);
    m.rt.leave();
    delay::here();
}

/// `leave`, where `runnext` is full or there are notes. Without a reference to its `Inside`, which
/// stays in a register so.
///
/// # Safety
/// The thread is inside, as `m`, and nothing uses its `Inside` any more.
#[inline(never)]
unsafe fn leave_with_care(m: &'static M) {
    // SAFETY: the caller's promise.
    unsafe { leave_beside_next(m) };
    if m.rt.has_notes() {
        heed(m);
    }
}

/// Leaves, and sees to `runnext` before that (step 15, as [`Inside::leave`] says).
///
/// # Safety
/// As above.
#[inline]
unsafe fn leave_beside_next(m: &'static M) {
    let p = owned(m);
    if p.queue.peek_next().is_some() {
        if p.runnext_is_new.get() {
            p.runnext_is_new.set(false);
            if wakeup::may_keep_waiting() {
                wakeup::watch_runnext();
            }
        } else if lists::SLEEP.idle_now() != 0 {
            // SAFETY: the caller's promise.
            let mut inside = ManuallyDrop::new(unsafe { Inside::resume() });
            idle::spill_runnext(&mut inside, p);
        }
    } else {
        m.may_have_next.set(0);
    }
    step_out(m);
}

/// There are notes: the monitor looked, or asked to let others run, or a wait was refused.
#[cold]
#[inline(never)]
fn heed(m: &'static M) {
    let asked = m.rt.take_notes(owned(m).slice());
    let Some(g) = m.running() else {
        return;
    };
    if g.refused.replace(false) {
        panic_in_no_park();
    }
    if !asked {
        return;
    }
    m.goes_on.set(ptr::null_mut());
    let mut inside = Inside::enter();
    inside.yield_to_global();
}

/// Of a thread that is no M.
#[inline(never)]
fn leave_as_thread() {
    if wait::take_refused() {
        panic_in_no_park();
    }
}

/// A call that has to wait was made in `no_park`, and has undone what it began. The thread is
/// outside.
#[cold]
fn panic_in_no_park() -> ! {
    panic!("goweft: no_park: this call has to wait")
}

/// Gives way if the monitor asks for it, and lets it know that the goroutine makes calls: for
/// operations that need not enter, and others wait for. They enter when there are notes: once a
/// tick.
pub(crate) fn pass_by() {
    // SAFETY: the thread's own M, or null.
    if unsafe { tls::current().as_ref() }.is_some_and(|m| m.rt.has_notes()) {
        drop(Inside::enter());
    }
}

/// The goroutine that runs on this thread, without entering: its block is its
/// own, so this is for what only it may look at.
pub(crate) fn current_g() -> Option<GRef> {
    // SAFETY: the thread's own M, or null.
    unsafe { tls::current().as_ref() }?.running()
}

/// Whether the thread is inside: for reports, which must say it.
pub(crate) fn is_inside() -> bool {
    // SAFETY: the thread's own M, or null.
    unsafe { tls::current().as_ref() }.is_some_and(|m| m.rt.is_inside())
}
