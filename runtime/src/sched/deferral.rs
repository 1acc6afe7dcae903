//! Putting preemption off, for a few instructions, on the calling thread.
//!
//! A thread that lost its P and goes on computing is parked by SIGURG, wherever
//! it is (PROTOCOL 7). Some places are bad ones: a thread that is parked while
//! it holds the allocator's lock stops everybody who allocates until it is given
//! a P again. Between [`defer`] and [`allow`] the handler parks nobody; it leaves
//! word that it wanted to ([`put_off`]), and [`allow`] has the signal sent once
//! more, so that what was put off happens as if it had been asked for then.
//! Only parking is put off: a P can be stolen from the thread meanwhile (that is
//! free, and harms nobody), and the monitor's wish to yield stays in `ask`.
//!
//! What always holds:
//! - the two words are the thread's own: it writes them, and so does the handler
//!   that interrupts it, and nobody else ever looks. So no step needs more than
//!   a plain load and store; they are atomics for the handler's sake, and
//!   compiler fences keep them where they stand;
//! - `deferred` and `asked` are separate words: with both in one, a handler between the
//!   load and the store of a change would be undone;
//! - [`defer`] gives back what it found, and [`allow`] puts it there again. That nests,
//!   and takes one load less than a count would, of a word that was just
//!   stored: the processor has to wait for such loads, and there is little else
//!   to do beside them (around nothing 1.5 ns where a count took 3.2);
//! - they begin as zero without code that runs, and have no destructor: reading
//!   them is an offset from the thread pointer, sound in a handler, while a thread
//!   starts and after its other thread-locals are gone.
//!
//! In a program that loads goweft at run time (`dlopen`), a thread's first access
//! may allocate. Every M calls [`prepare_thread`] before it can be signalled.
//!
//! # The rule for callers
//! LLVM keeps the address of a thread-local for the length of a function
//! (llvm#98479), and these functions are inlined. So: between `defer` and `allow` the
//! goroutine must not park, and the function that calls them must not be
//! inlined into one that does. An allocation keeps to it by itself
//! (`PreemptSafe`'s methods are never inlined). Code that runs a caller's closure does not: what
//! the closure does may park. There the goroutine has to stay on its thread, as
//! one that is panicking does (step 8, bound), and the two calls have to be made
//! through functions that are never inlined (as the tests do).

use super::preempt;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

/// The words of one thread.
struct Deferral {
    /// 1: between a `defer` and its `allow`. Written by this thread.
    deferred: AtomicU32,
    /// 1: the handler would have parked the thread. Set by the handler, cleared
    /// by the thread.
    asked: AtomicU32,
}

thread_local! {
    static HERE: Deferral = const {
        Deferral { deferred: AtomicU32::new(0), asked: AtomicU32::new(0) }
    };
}

/// What held before a [`defer`].
#[derive(Clone, Copy)]
#[must_use = "the thread is never parked again without the matching `allow`"]
pub(crate) struct Before(u32);

/// From here to the matching [`allow`] this thread is not parked. Nests. See the
/// rule for callers.
#[inline(always)]
pub(crate) fn defer() -> Before {
    let before = HERE.with(|here| {
        let before = here.deferred.load(Ordering::Relaxed);
        here.deferred.store(1, Ordering::Relaxed);
        before
    });
    // What is protected comes after it, for a handler on this thread.
    compiler_fence(Ordering::SeqCst);
    Before(before)
}

/// Ends what [`defer`] began. The outermost one has done what was put off: the
/// thread may be parked in this call.
#[inline(always)]
pub(crate) fn allow(before: Before) {
    compiler_fence(Ordering::SeqCst);
    HERE.with(|here| {
        here.deferred.store(before.0, Ordering::Relaxed);
        // First the store, then the look: a handler before the store has set
        // `asked`, one after it parks.
        compiler_fence(Ordering::SeqCst);
        if here.asked.load(Ordering::Relaxed) != 0 && before.0 == 0 {
            ask_again();
        }
    });
}

/// [`defer`], for code that may be inlined anywhere.
#[inline(never)]
#[cfg(test)]
pub(crate) fn defer_here() -> Before {
    defer()
}

/// [`allow`], for code that may be inlined anywhere.
#[inline(never)]
#[cfg(test)]
pub(crate) fn allow_here(before: Before) {
    allow(before);
}

/// Whether this thread must not be parked now. For the handler, and for whoever
/// has to know that a goroutine must stay on its thread.
#[inline(never)]
pub(crate) fn is_deferred() -> bool {
    HERE.with(|here| here.deferred.load(Ordering::Relaxed) != 0)
}

/// By the handler, when [`is_deferred`]: it wanted to park the thread.
#[inline(never)]
pub(crate) fn put_off() {
    HERE.with(|here| here.asked.store(1, Ordering::Relaxed));
}

/// Whether the handler has wanted to since the deferral began.
#[cfg(test)]
#[inline(never)]
pub(super) fn is_put_off() -> bool {
    HERE.with(|here| here.asked.load(Ordering::Relaxed) != 0)
}

/// By every M before its word says that it owns a P: afterwards its handler can
/// look at the words without allocating.
#[inline(never)]
pub(crate) fn prepare_thread() {
    HERE.with(|here| here.asked.store(0, Ordering::Relaxed));
}

/// The signal once more, to this thread: it arrives before the call returns,
/// and the handler looks at everything anew (it may be out of date by now).
#[cold]
#[inline(never)]
fn ask_again() {
    HERE.with(|here| here.asked.store(0, Ordering::Relaxed));
    preempt::send_again();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_deferred_from_the_first_defer_to_its_allow() {
        assert!(!is_deferred());
        let outer = defer();
        let inner = defer();
        assert!(is_deferred());
        allow(inner);
        assert!(is_deferred());
        allow(outer);
        assert!(!is_deferred());
    }

    #[test]
    fn each_thread_has_its_own() {
        let before = defer();
        assert!(!std::thread::spawn(is_deferred).join().unwrap());
        allow(before);
    }

    #[test]
    fn what_was_put_off_is_asked_for_once_more_at_the_outermost_allow() {
        // Blocked, so that it stays pending where it can be seen.
        let signal = crate::sys::test::PreemptBlocked::new();
        let outer = defer();
        put_off();
        put_off();
        let inner = defer();
        allow(inner);
        assert!(!signal.take(), "it is still deferred");
        allow(outer);
        assert!(signal.take(), "nobody asked again");
        let before = defer();
        allow(before);
        assert!(!signal.take(), "it was asked for twice");
    }

    #[test]
    fn nothing_is_sent_when_nothing_was_put_off() {
        let signal = crate::sys::test::PreemptBlocked::new();
        for _ in 0..1_000 {
            let before = defer_here();
            allow_here(before);
        }
        assert!(!signal.take());
    }
}
