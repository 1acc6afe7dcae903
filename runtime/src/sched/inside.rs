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
use super::{idle, lists, tls, wakeup};
use crate::protocol::barrier;
use crate::protocol::delay;
use crate::protocol::mword::State;
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
        if !here.rt.step_in() {
            return Inside::foreign();
        }
        if here.surely_owns_as_before() {
            bump(here);
            return Inside {
                m,
                not_send: PhantomData,
            };
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
    /// The thread is inside, and nobody else has an `Inside` of this M.
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
                    m.adopt_owned(seen);
                    return Inside {
                        m,
                        not_send: PhantomData,
                    };
                }
                State::Pending => {
                    m.word.keep(seen);
                }
                State::Stolen => {
                    if idle::acquire_stolen(m, seen) {
                        return Inside {
                            m,
                            not_send: PhantomData,
                        };
                    }
                    let mut inside = Inside {
                        m,
                        not_send: PhantomData,
                    };
                    if inside.regain_p(seen) {
                        return inside;
                    }
                    std::mem::forget(inside);
                }
                State::Absent => crate::fork::fatal(),
                state => crate::abort::fatal(format_args!("a running thread is {state:?}")),
            }
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
        // SAFETY: null or an address of a block.
        self.m()
            .and_then(|m| unsafe { GRef::from_nullable(m.g.get()) })
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
    /// Step 15: `ready` puts the goroutine it wakes into `runnext` and wakes no
    /// M, because most wakers park at once and the P runs it next. One that
    /// leaves a *second* operation with `runnext` still full did not; then, if a
    /// P is idle, it goes to the queue and an M is woken. (At the second leave,
    /// not at the next enter: a rendezvous partner sends and then receives, and
    /// parks in the receive.)
    #[inline]
    fn leave(&mut self) {
        let Some(m) = self.m() else {
            return leave_as_thread();
        };
        let p = owned(m);
        if p.queue.peek_next().is_some() {
            if p.runnext_is_new.get() {
                p.runnext_is_new.set(false);
                if wakeup::may_keep_waiting() {
                    wakeup::watch_runnext();
                }
            } else if lists::SLEEP.idle_now() != 0 {
                spill_runnext(p);
            }
        }
        self.leave_quietly();
        delay::here();
        if m.rt.has_notes() {
            heed(m);
        }
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
            bump(m);
            m.rt.leave();
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

/// What `leave` seldom does, without a reference to its `Inside`, which stays in a register so.
#[cold]
#[inline(never)]
fn spill_runnext(p: &'static P) {
    // SAFETY: the caller is inside, and does nothing with its own before this returns.
    let mut inside = ManuallyDrop::new(unsafe { Inside::resume() });
    idle::spill_runnext(&mut inside, p);
}

/// There are notes: the monitor looked, or asked to let others run, or a wait was refused.
#[cold]
#[inline(never)]
fn heed(m: &'static M) {
    let asked = m.rt.take_notes();
    // SAFETY: null or an address of a block.
    let Some(g) = (unsafe { GRef::from_nullable(m.g.get()) }) else {
        return;
    };
    if g.refused.replace(false) {
        panic_in_no_park();
    }
    if !asked {
        return;
    }
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
/// operations that need not enter, and others wait for. They enter when there are notes: once a tick.
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
    let m = unsafe { tls::current().as_ref() }?;
    // SAFETY: null or an address of a block.
    unsafe { GRef::from_nullable(m.g.get()) }
}

/// Whether the thread is inside: for reports, which must say it.
pub(crate) fn is_inside() -> bool {
    // SAFETY: the thread's own M, or null.
    unsafe { tls::current().as_ref() }.is_some_and(|m| m.rt.is_inside())
}
