//! A goroutine's first and last instructions.
//!
//! A stack is bound when a goroutine first runs. What then stands at the bottom
//! of the stack is [`goroutine_main`]: it runs the goroutine, ends it, and if
//! the next one in the queue is fresh and wants the same size of stack, runs
//! that one on the same stack, without a switch. Otherwise it switches away
//! for good, and the deferred action gives the stack and the block back.

use super::g::{GRef, Kind};
use super::inside::Inside;
use super::m::M;
use super::wait::{next_here, owned, resume_point};
use super::{lists, tls};
use goweft_stacks::context::{self, Context};
use std::ptr;
use std::sync::atomic::{Ordering, fence};

/// Gives `g`, which is fresh, a stack and a context, and makes it the one that
/// runs on `m`.
pub(crate) fn bind(inside: &Inside, m: &'static M, g: GRef) -> Context {
    let stack = match owned(m).magazine(inside).take(g.class()) {
        Ok(stack) => stack,
        Err(e) => no_stack(&e),
    };
    debug_assert!(g.kind() == Kind::Goroutine, "whoever is enqueued is one");
    begin(m, g);
    // SAFETY: the stack is g's alone, and `goroutine_main` never returns.
    let context =
        unsafe { context::prepare(stack.top(), stack.limit(), goroutine_main, ptr::null_mut()) };
    g.give_stack(stack);
    context
}

/// `g`, which is fresh, is the one that runs on `m`, and lives there if it is to stay.
#[inline]
fn begin(m: &'static M, g: GRef) {
    if g.pinned.get() {
        m.home.settle();
        g.bound
            .store(ptr::from_ref(m).cast_mut(), Ordering::Relaxed);
    }
    m.set_running(Some(g));
    g.word.start();
}

/// Reservations make this the end of the machine's memory, not of a limit.
#[cold]
fn no_stack(e: &std::io::Error) -> ! {
    crate::abort::fatal(format_args!(
        "no stack for a goroutine that was promised one: {e}"
    ))
}

/// The bottom of every goroutine's stack. Comes in inside.
unsafe extern "C" fn goroutine_main(_arg: *mut ()) -> ! {
    loop {
        run_one();
        let m = here();
        // SAFETY: `end` left us inside.
        let mut inside = std::mem::ManuallyDrop::new(unsafe { Inside::resume() });
        // SAFETY: the running goroutine's block.
        let dead = unsafe { GRef::from_ptr(m.g.load(Ordering::Relaxed)) };
        let p = owned(m);
        p.counters().switches.add(1);
        p.counters().ended.add(1);
        if dead.locks.get() != 0 {
            m.home.taint();
        }
        match next_here(&inside, m, p) {
            Some(next) if next.is_fresh() && next.class() == dead.class() => {
                let stack = dead.take_stack().expect("it ran on one");
                next.give_stack(stack);
                retire(&mut inside, dead);
                // One stack for two: the promise that `next` had is free.
                p.magazine(&inside).unreserve(next.class());
                begin(m, next);
            }
            Some(next) => {
                let to = if next.is_fresh() {
                    bind(&inside, m, next)
                } else {
                    m.set_running(Some(next));
                    next.word.start();
                    resume_point(next)
                };
                // SAFETY: `next` is ours alone and its context complete;
                // nobody resumes `dead` again.
                unsafe { context::switch_final(to, commit_end, dead.as_ptr().cast()) }
            }
            None => {
                m.set_running(None);
                let Some(host) = m.host.get() else {
                    crate::abort::fatal("an M without a loop")
                };
                // SAFETY: the host is suspended while a goroutine of m runs.
                unsafe { context::switch_final(host, commit_end, dead.as_ptr().cast()) }
            }
        }
    }
}

/// Runs the goroutine that `m.g` names, from inside to inside.
#[inline(never)]
fn run_one() {
    // SAFETY: `m.g` is the goroutine that was switched to.
    let g = unsafe { GRef::from_ptr(here().g.load(Ordering::Relaxed)) };
    // SAFETY: the spawner wrote the entry; we take it, once.
    let entry = unsafe { (*g.entry.get()).assume_init_read() };
    let mut storage = entry.storage;
    // SAFETY: whoever switched here is inside and left it to us to leave.
    unsafe { Inside::resume() }.leave_to_begin();
    // SAFETY: `call` belongs to this storage, and runs once. It does not unwind.
    unsafe { (entry.call)(storage.as_mut_ptr().cast()) };
    let cold = g.cold.replace(ptr::null_mut());
    if !cold.is_null() {
        // SAFETY: from `Box::into_raw`, and taken out of the block.
        crate::task::local::drop_cold(unsafe { Box::from_raw(cold) });
    }
    std::mem::forget(Inside::enter());
}

/// Deferred action of the last switch: stack and block go back.
///
/// # Safety
/// `data` is the block of the goroutine that left for good.
unsafe extern "C" fn commit_end(_left: Context, data: *mut ()) {
    // SAFETY: the caller's promise.
    let g = unsafe { GRef::from_ptr(data.cast()) };
    // SAFETY: deferred actions run inside.
    let mut inside = std::mem::ManuallyDrop::new(unsafe { Inside::resume() });
    if let Some(stack) = g.take_stack() {
        owned(here()).magazine(&inside).put(stack);
    }
    retire(&mut inside, g);
}

/// The block is nobody's any more.
fn retire(inside: &mut Inside, g: GRef) {
    g.id.store(0, Ordering::Relaxed);
    g.permit.store(0, Ordering::Relaxed);
    g.context.set(Context::NULL);
    if !g.bound.load(Ordering::Relaxed).is_null() {
        g.bound.store(ptr::null_mut(), Ordering::Relaxed);
        g.pinned.set(false);
        g.locks.set(0);
        here().home.leave();
    }
    g.word.end();
    owned(here()).give_block(inside, g);
}

#[inline]
fn here() -> &'static M {
    // SAFETY: goroutines run on Ms only; the table is never freed.
    unsafe { &*tls::current() }
}

/// How many goroutines have begun and not ended.
pub(crate) fn live() -> u64 {
    // The ended ones first: one that begins and ends meanwhile must not hide one
    // that lives.
    let ended: u64 = super::p::all().map(|p| p.counters().ended.get()).sum();
    fence(Ordering::Acquire);
    let mut spawned = lists::FOREIGN_SPAWNED.load(Ordering::Relaxed);
    for p in super::p::all() {
        spawned += p.counters().spawned.get();
    }
    spawned.saturating_sub(ended)
}
