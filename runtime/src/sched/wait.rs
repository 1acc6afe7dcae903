//! Park and ready: how anything waits (PROTOCOL 8 and 10).
//!
//! A wait has three steps. `prepare` begins it and gives a [`Waiter`], which the
//! caller publishes in a wait record of its own; `park` leaves the thread to
//! others; `ready`, by whoever finds the record, ends it. Ready may come at any
//! time after prepare, even before park; and it may come late, when the wait
//! is long over: then it does nothing (`protocol/gword.rs`).
//!
//! A goroutine parks by switching straight to the next one; that it waits is written down by a
//! deferred action, on the next stack, when its own context is complete. A goroutine under which
//! nobody else may run on its thread (because it is panicking: std counts panics in a thread-local)
//! parks together with its M, which first gives its P away. One that lives on its M (`home.rs`)
//! parks like any. A thread that is no M sleeps on a futex in its block.

use super::g::{self, GList, GRef, Kind};
use super::home::Home;
use super::inside::Inside;
use super::m::M;
use super::p::P;
use super::{entry, idle, lists, steal, wakeup};
use crate::clock::{self, NEVER, Nanos};
use crate::protocol::gword::{Parked, Ready, Ticket};
use crate::protocol::mword::Snapshot;
use crate::{prefetch, sys};
use goweft_stacks::context::{self, Context};
use std::cell::Cell;
use std::ptr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Names one wait of one goroutine or thread. Never dangles: waking it when
/// the wait is over does nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiter {
    g: GRef,
    ticket: Ticket,
}

impl Waiter {
    pub(crate) fn new(g: GRef, ticket: Ticket) -> Waiter {
        Waiter { g, ticket }
    }

    /// As two plain words, to be carried through the netpoll.
    pub(crate) fn to_words(self) -> (usize, u64) {
        (self.g.as_ptr() as usize, self.ticket.to_bits())
    }

    /// # Safety
    /// The words are from [`to_words`](Self::to_words).
    pub(crate) unsafe fn from_words(who: usize, ticket: u64) -> Waiter {
        // SAFETY: the caller's promise.
        let g = unsafe { GRef::from_ptr(who as *mut g::G) };
        Waiter {
            g,
            ticket: Ticket::from_bits(ticket),
        }
    }
}

/// Why a goroutine waits, in Go's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum WaitReason {
    ChanRecv = 1,
    ChanSend,
    Select,
    SelectNoCases,
    Sleep,
    Io,
    MutexLock,
    WaitGroup,
    Join,
    Park,
    BlockOn,
    RwLockRead,
    RwLockWrite,
    CondWait,
    Once,
    Barrier,
    Semaphore,
}

impl Inside {
    /// Begins a wait of the caller. To be followed by `park` or `cancel`.
    #[inline]
    pub(crate) fn prepare(&mut self, reason: WaitReason) -> Waiter {
        let g = match self.g() {
            Some(g) => g,
            None => thread_block(self),
        };
        g.reason.store(reason as u8, Ordering::Relaxed);
        Waiter {
            g,
            ticket: g.word.begin_park(),
        }
    }

    /// Whether the caller may not wait, because it is in `no_park`. What would wait then ends as if
    /// its deadline had passed, if it has to end; most callers want [`refuses`](Self::refuses).
    pub(crate) fn must_not_wait(&self) -> bool {
        let is_set = match self.g() {
            Some(g) => g.no_park.get(),
            None => NO_PARK.get(),
        };
        // One that panicked in `no_park` and waits in a drop keeps its thread to itself anyhow.
        is_set && !std::thread::panicking()
    }

    /// Asked before each wait. True: the caller may not wait. It takes back what it has done, as
    /// when its deadline has passed, and leaves the runtime; there it panics, when this
    /// `Inside` is dropped.
    #[inline]
    pub(crate) fn refuses(&mut self) -> bool {
        self.must_not_wait() && self.refuse()
    }

    #[cold]
    fn refuse(&mut self) -> bool {
        match (self.m(), self.g()) {
            (Some(m), Some(g)) => {
                g.refused.set(true);
                // Has `leave` look.
                m.rt.note_refusal();
            }
            _ => REFUSED.set(true),
        }
        true
    }

    /// The wait that `prepare` began is not needed after all.
    #[inline]
    pub(crate) fn cancel(&mut self, waiter: Waiter) {
        waiter.g.word.cancel_park();
    }

    /// Waits until somebody readies `waiter` or `deadline` passes; may return
    /// for no reason. No lock may be held.
    #[inline]
    pub(crate) fn park(&mut self, waiter: Waiter, deadline: Nanos) {
        let g = waiter.g;
        match self.m() {
            Some(m) if g.kind() == Kind::Goroutine => {
                if deadline != NEVER {
                    self.arm(m, waiter, deadline);
                }
                if g.word.is_notified() {
                    g.word.cancel_park();
                } else if stays(g) {
                    self.park_with_thread(m, g);
                } else {
                    let p = owned(m);
                    p.counters().parks.add(1);
                    self.leave_for_next(m, p, commit_park, g);
                }
            }
            _ => park_thread(g, deadline),
        }
    }

    /// Ends the wait that `waiter` names, if it is still on.
    #[inline]
    pub(crate) fn ready(&mut self, waiter: Waiter) {
        let kind = waiter.g.kind();
        if waiter.g.word.ready(waiter.ticket) == Ready::Enqueue {
            self.enqueue_woken(waiter.g, kind);
        }
    }

    /// Ends the wait that `g` is in now: for one who knows of an earlier wait only, and that it was
    /// `g`'s own. By now the block may be another's, and a wait of that one's ends for no reason,
    /// which every wait allows for. One that is to begin later does not: it would begin.
    pub(crate) fn ready_now(&mut self, g: GRef) {
        let (_, ticket) = g.word.load();
        // What the block stands for was written before the ticket. If it is something else by now
        // that wait is over.
        if g.kind() != Kind::Later {
            self.ready(Waiter::new(g, ticket));
        }
    }

    /// As `ready`, into a list of the caller's, which it hands to
    /// [`enqueue_all`](Self::enqueue_all). True: it was a goroutine that goes on in one place only,
    /// and is there already.
    pub(crate) fn ready_into(&mut self, waiter: Waiter, list: &mut GList) -> bool {
        let kind = waiter.g.kind();
        if waiter.g.word.ready(waiter.ticket) != Ready::Enqueue {
            return false;
        }
        if kind == Kind::Goroutine && waiter.g.bound.load(Ordering::Relaxed).is_null() {
            // It runs soon, and of many that wait no stack is in a cache: what is saved there, and
            // a frame.
            let saved = waiter.g.context.get().as_ptr();
            prefetch::line(saved);
            prefetch::line(saved.wrapping_add(64));
            list.push(waiter.g);
            return false;
        }
        self.enqueue_woken(waiter.g, kind);
        kind == Kind::Goroutine
    }

    /// Puts goroutines that became runnable from outside on a queue, in order.
    pub(crate) fn enqueue_all(&mut self, list: &mut GList) {
        if list.len() == 0 {
            return;
        }
        match self.p() {
            Some(p) => {
                while let Some(g) = list.pop() {
                    self.push_local(p, g);
                }
            }
            None => {
                lists::lock(self).append_woken(list);
                wakeup::woken_outside();
            }
        }
        idle::wake_for_work(self);
    }

    /// Whether the caller is a goroutine that any P may go on with after a wait.
    pub(crate) fn runs_anywhere(&self) -> bool {
        self.g()
            .is_some_and(|g| g.bound.load(Ordering::Relaxed).is_null() && !stays(g))
    }

    /// What was made runnable may be work for more than this P. (From outside somebody was woken
    /// for it.)
    #[inline]
    pub(crate) fn wake_another(&mut self) {
        if self.p().is_some() {
            idle::wake_for_work(self);
        }
    }

    /// Where a woken one goes: `runnext` of this P, its own M, or the global
    /// queue.
    ///
    /// `kind` was read before its wait was ended. A goroutine does not run before it is
    /// enqueued here, but a thread may see by itself that its wait is over, and end: then
    /// the block is nobody's by now, or another's, and only its futex may be touched.
    #[inline]
    fn enqueue_woken(&mut self, g: GRef, kind: Kind) {
        if kind == Kind::Thread {
            sys::futex_wake(g.word.futex());
            return;
        }
        // Written before the wait was committed, which `ready` acquired.
        // SAFETY: null or an M of the table.
        if let Some(m) = unsafe { g.bound.load(Ordering::Relaxed).as_ref() } {
            return if g.with_thread.get() {
                idle::ready_bound(self, m)
            } else {
                idle::ready_at_home(self, m, g)
            };
        }
        match self.p() {
            Some(p) => self.push_next(p, g),
            None => {
                lists::lock(self).push_woken(g);
                wakeup::woken_outside();
                idle::wake_for_work(self);
            }
        }
    }

    /// Puts `g` into `runnext`. What it displaces goes to the queue, and then
    /// there is work for two: somebody is woken.
    #[inline]
    fn push_next(&mut self, p: &'static P, g: GRef) {
        if lists::SLEEP.idle_now() != 0 && steal::is_patient() {
            self.push_local(p, g);
            return idle::wake_for_work(self);
        }
        if let Some(old) = self.put_next(p, g) {
            self.push_local(p, old);
            idle::wake_for_work(self);
        }
    }

    /// Puts `g` into `runnext` of our P, and returns what it displaces.
    #[inline]
    fn put_next(&self, p: &'static P, g: GRef) -> Option<GRef> {
        p.runnext_is_new.set(true);
        if let Some(m) = self.m() {
            m.may_have_next.set(1);
        }
        p.queue.put_next(g)
    }

    /// A new goroutine: `runnext`, and somebody is woken always.
    #[inline]
    pub(crate) fn enqueue_new(&mut self, g: GRef) {
        match self.p() {
            Some(p) => {
                if let Some(old) = self.put_next(p, g) {
                    self.push_local(p, old);
                }
            }
            None => {
                lists::lock(self).push_global(g);
                wakeup::begun_outside();
            }
        }
        idle::wake_for_work(self);
    }

    #[inline]
    pub(crate) fn push_local(&mut self, p: &'static P, g: GRef) {
        if let Some(mut half) = p.queue.push(g) {
            p.counters().overflows.add(1);
            lists::lock(self).append_global(&mut half);
        }
    }

    /// Lets the others on this P go first. Returns at once when there are none.
    #[inline]
    pub(crate) fn yield_now(&mut self) {
        let Some(m) = self.m() else { return };
        let Some(g) = self.g() else { return };
        let p = owned(m);
        if stays(g) {
            return self.yield_with_thread(m, p);
        }
        p.counters().yields.add(1);
        self.leave_for_next(m, p, commit_yield, g);
    }

    /// Lets everybody go first: the time slice is over.
    pub(crate) fn yield_to_global(&mut self) {
        let Some(m) = self.m() else { return };
        let Some(g) = self.g() else { return };
        let p = owned(m);
        if stays(g) {
            return self.yield_with_thread(m, p);
        }
        p.counters().yields.add(1);
        // The monitor sees by this that another goroutine has a slice of its own.
        p.counters().switches.add(1);
        // SAFETY: as in `leave_for_next`; the host is suspended while `g` runs.
        unsafe { switch_to_host(m, commit_global, g) };
        self.refresh();
    }

    /// PROTOCOL 5 (b) and (c): the thread has no P and none is idle. True: the
    /// goroutine has a P again, perhaps on another thread. False: look again.
    #[cold]
    pub(crate) fn regain_p(&mut self, seen: Snapshot) -> bool {
        let m = self.m().expect("only an M loses its P");
        let g = self.g().expect("only a goroutine runs without a P");
        if stays(g) || !g.bound.load(Ordering::Relaxed).is_null() {
            if !m.word.wait(seen) {
                return false;
            }
            // What it names is another's by now, and step 9 must not take it for ours.
            m.p.set(ptr::null());
            self.queue_for_p(m);
            wakeup::notice();
            idle::wait_for_p(m);
            return true;
        }
        if !m.word.forget(seen) {
            return false;
        }
        m.p.set(ptr::null());
        // SAFETY: as in `leave_for_next`.
        unsafe { switch_to_host(m, commit_global, g) };
        self.refresh();
        true
    }

    /// Leaves `g`, which is the caller, for the next goroutine of this P, or for
    /// the scheduler's loop. Returns when somebody runs `g` again.
    #[inline]
    fn leave_for_next(&mut self, m: &'static M, p: &'static P, action: context::Action, g: GRef) {
        p.counters().switches.add(1);
        match next_here(self, m, p) {
            Some(next) if !next.is_fresh() => {
                p.counters().direct.add(1);
                m.set_running(Some(next));
                next.word.start();
                // SAFETY: `next` was runnable and is ours alone since it left
                // the queue, so its context is complete and nobody else
                // resumes it. `g` is the running goroutine, and the action,
                // which alone publishes it, runs after its context is complete.
                unsafe { context::switch(resume_point(next), action, g.as_ptr().cast()) };
            }
            Some(next) => {
                p.counters().direct.add(1);
                let inside = &*self;
                let to = entry::bind(inside, m, next);
                // SAFETY: as above; a fresh context was just made on a stack
                // that is `next`'s alone.
                unsafe { context::switch(to, action, g.as_ptr().cast()) };
            }
            // SAFETY: as above; the host is suspended while a goroutine runs.
            None => unsafe { switch_to_host(m, action, g) },
        }
        self.refresh();
    }

    /// A yield of a goroutine that stays: its thread gives its P away and waits for
    /// one behind others.
    #[cold]
    #[inline(never)]
    fn yield_with_thread(&mut self, m: &'static M, p: &'static P) {
        let others = lists::any_queued_for(p) || lists::bound_waits();
        let retires = p.index >= lists::procs();
        if !(others || retires) {
            return;
        }
        p.counters().yields.add(1);
        self.stay_without_p(m);
        self.queue_for_p(m);
        idle::wait_for_p(m);
    }

    /// A bound park: the goroutine sleeps with its thread.
    #[cold]
    #[inline(never)]
    fn park_with_thread(&mut self, m: &'static M, g: GRef) {
        owned(m).counters().parks.add(1);
        let was_bound = g.bound.swap(ptr::from_ref(m).cast_mut(), Ordering::Relaxed);
        g.with_thread.set(true);
        self.stay_without_p(m);
        if g.word.commit_park() == Parked::Notified {
            self.queue_for_p(m);
        }
        idle::wait_for_p(m);
        g.word.start();
        g.with_thread.set(false);
        g.bound.store(was_bound, Ordering::Relaxed);
    }

    /// The thread keeps its goroutine and gives its P away: whoever finds it in the bound queue may
    /// claim it.
    fn stay_without_p(&mut self, m: &'static M) {
        idle::give_p_away(self, m);
        let seen = m.word.load();
        assert!(
            m.word.wait(seen),
            "nobody else writes the word of an M without a P"
        );
    }

    /// `m`, which is Waiting, wants a P.
    fn queue_for_p(&mut self, m: &'static M) {
        lists::lock(self).push_bound(m);
        idle::wake_for_work(self);
    }

    /// Puts the wait into the timers of this P.
    fn arm(&mut self, m: &'static M, waiter: Waiter, deadline: Nanos) {
        owned(m)
            .timers()
            .add(self, deadline, waiter.g, waiter.ticket);
        super::poll::timer_was_set(deadline);
    }
}

/// Whether nobody else may run on the thread of `g`, which runs here, before `g` goes on.
#[inline]
pub(super) fn stays(g: GRef) -> bool {
    g.no_park.get() || std::thread::panicking()
}

/// The P of an M that is inside with a goroutine.
#[inline]
pub(crate) fn owned(m: &'static M) -> &'static P {
    // SAFETY: inside, a goroutine's M has a P (`Inside::enter`), which lives for ever.
    unsafe { &*m.p.get() }
}

/// Schedules between two visits of the scheduler's loop.
pub(crate) const LOOP_EVERY: u32 = 61;

/// The goroutine to switch to directly, unless the loop is due.
#[inline]
pub(crate) fn next_here(inside: &Inside, m: &'static M, p: &'static P) -> Option<GRef> {
    let n = p.schedules.get().wrapping_add(1);
    p.schedules.set(n);
    if n.is_multiple_of(LOOP_EVERY) || p.shared.attention.load(Ordering::Relaxed) {
        return None;
    }
    if m.home.is_quiet() {
        return next_queued(m, p);
    }
    next_beside_home(inside, m, p)
}

/// Of those in the queue of `p`, which is that of `m`.
#[inline]
fn next_queued(m: &'static M, p: &'static P) -> Option<GRef> {
    m.may_have_next.set(0);
    p.queue.take_next().or_else(|| p.queue.pop())
}

#[inline(never)]
fn next_beside_home(inside: &Inside, m: &'static M, p: &'static P) -> Option<GRef> {
    if !m.home.is_closed() {
        return next_by_turns(inside, m, p);
    }
    if m.home.gave_way() {
        // Whether others go first is for the loop to find out.
        return None;
    }
    m.home.take(inside)
}

/// Of those who live on `m` and those in the queue of `p`, in turns.
#[inline]
pub(super) fn next_by_turns(inside: &Inside, m: &'static M, p: &'static P) -> Option<GRef> {
    let queued = || next_queued(m, p);
    if m.home.is_quiet() {
        queued()
    } else if m.home.is_first() {
        m.home.take(inside).or_else(queued)
    } else {
        queued().or_else(|| m.home.take(inside))
    }
}

/// The context of a suspended goroutine, taken to resume it.
#[inline]
pub(crate) fn resume_point(g: GRef) -> Context {
    let context = g.context.get();
    debug_assert!(
        !context.is_null(),
        "a goroutine without a context was to be resumed"
    );
    context
}

/// Leaves for the scheduler's loop on the thread's own stack.
///
/// # Safety
/// Inside, on the stack of a goroutine of `m`; `action` publishes it.
#[inline]
unsafe fn switch_to_host(m: &'static M, action: context::Action, g: GRef) {
    m.set_running(None);
    let Some(host) = m.host.get() else {
        crate::abort::fatal("an M without a loop")
    };
    // SAFETY: the host is suspended while a goroutine of `m` runs; the rest is
    // the caller's promise.
    unsafe { context::switch(host, action, g.as_ptr().cast()) };
}

/// Deferred action: the context of a parking goroutine is complete.
///
/// # Safety
/// `data` is the block of the goroutine that left.
unsafe extern "C" fn commit_park(left: Context, data: *mut ()) {
    // SAFETY: the caller's promise.
    let g = unsafe { GRef::from_ptr(data.cast()) };
    g.context.set(left);
    if g.word.commit_park() == Parked::Notified {
        requeue(g);
    }
}

/// Deferred action of a yield: runnable at the end of this P's queue.
///
/// # Safety
/// As `commit_park`.
unsafe extern "C" fn commit_yield(left: Context, data: *mut ()) {
    // SAFETY: the caller's promise.
    let g = unsafe { GRef::from_ptr(data.cast()) };
    g.context.set(left);
    g.word.yielded();
    // SAFETY: deferred actions run inside, on the context that goes on inside.
    let mut inside = std::mem::ManuallyDrop::new(unsafe { Inside::resume() });
    if let Some(home) = home_of(g) {
        return home.push_who_yields(g);
    }
    let Some(p) = inside.p() else {
        return requeue(g);
    };
    inside.push_local(p, g);
    // Without the fence that a submitter owes: whoever yields in a loop would
    // pay it each time. What this misses the monitor finds at its next tick.
    if lists::SLEEP.idle_now() != 0 {
        idle::wake_for_work(&mut inside);
    }
}

/// Deferred action: runnable at the end of the global queue.
///
/// # Safety
/// As `commit_park`.
unsafe extern "C" fn commit_global(left: Context, data: *mut ()) {
    // SAFETY: the caller's promise.
    let g = unsafe { GRef::from_ptr(data.cast()) };
    g.context.set(left);
    g.word.yielded();
    if let Some(home) = home_of(g) {
        return home.push_who_yields(g);
    }
    // SAFETY: the context that was switched to is inside.
    let mut inside = std::mem::ManuallyDrop::new(unsafe { Inside::resume() });
    lists::lock(&inside).push_global(g);
    if inside.p().is_none() {
        wakeup::notice();
    }
    idle::wake_for_work(&mut inside);
}

/// Where `g`, which has just left this thread, lives, if it does: then that is here.
#[inline]
fn home_of(g: GRef) -> Option<&'static Home> {
    // SAFETY: null or an M of the table.
    let m: &'static M = unsafe { g.bound.load(Ordering::Relaxed).as_ref() }?;
    debug_assert!(ptr::eq(m, super::tls::current()), "it ran away from home");
    Some(&m.home)
}

/// To the end of the queue of the P here, or of the own one.
fn requeue(g: GRef) {
    if let Some(home) = home_of(g) {
        return home.push_own(g);
    }
    // SAFETY: deferred actions run inside, on the context that goes on inside.
    let mut inside = std::mem::ManuallyDrop::new(unsafe { Inside::resume() });
    match inside.p() {
        Some(p) => inside.push_local(p, g),
        None => lists::lock(&inside).push_global(g),
    }
    idle::wake_for_work(&mut inside);
}

/// The goroutine or plain thread that calls is in `no_park` from now on, or is not. What was
/// before.
#[inline(never)]
pub(crate) fn set_no_park(on: bool) -> bool {
    match super::current_g() {
        Some(g) => g.no_park.replace(on),
        None => NO_PARK.replace(on),
    }
}

/// Whether a wait was refused to this plain thread since it last asked.
#[inline(never)]
pub(super) fn take_refused() -> bool {
    REFUSED.replace(false)
}

thread_local! {
    /// This plain thread is in `no_park`.
    static NO_PARK: Cell<bool> = const { Cell::new(false) };
    /// A wait was refused to it: it panics when it leaves the runtime.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
    /// The block with which a plain thread waits. Without a destructor, so that
    /// destructors of other thread-locals may wait too.
    static THREAD_BLOCK: Cell<*mut g::G> = const { Cell::new(ptr::null_mut()) };
    static THREAD_BLOCK_OWNER: BlockOwner = const { BlockOwner };
}

/// Gives the block back at the thread's end.
struct BlockOwner;

impl Drop for BlockOwner {
    fn drop(&mut self) {
        let p = THREAD_BLOCK.replace(ptr::null_mut());
        // SAFETY: null or an address of a block.
        if let Some(g) = unsafe { GRef::from_nullable(p) } {
            g::unmake_thread(g);
            g::give_block(&Inside::foreign(), g);
        }
    }
}

/// The block of this thread, which is no M (or is inside twice).
#[cold]
#[inline(never)]
fn thread_block(inside: &Inside) -> GRef {
    // SAFETY: null or an address of a block.
    if let Some(g) = unsafe { GRef::from_nullable(THREAD_BLOCK.get()) } {
        return g;
    }
    let g = g::take_block(inside);
    g::make_thread(g);
    THREAD_BLOCK.set(g.as_ptr());
    // Registers the destructor. When the thread is past it, the block stays
    // with it for good: 128 bytes, once.
    let _ = THREAD_BLOCK_OWNER.try_with(|_| ());
    g
}

/// A plain thread's park: a futex on the word of its block.
fn park_thread(g: GRef, deadline: Nanos) {
    if super::inside::is_inside() {
        crate::abort::fatal(
            "a call that blocks was made from inside the runtime (an allocator or a hook)",
        );
    }
    if g.word.commit_park() == Parked::Waiting {
        while let Some(seen) = g.word.asleep_value() {
            let timeout = match deadline {
                NEVER => None,
                when => match when.checked_sub(clock::now()) {
                    None | Some(0) => break,
                    Some(left) => Some(Duration::from_nanos(left)),
                },
            };
            crate::fork::refuse();
            sys::futex_wait(g.word.futex(), seen, timeout);
        }
    }
    g.word.cancel_park();
}
