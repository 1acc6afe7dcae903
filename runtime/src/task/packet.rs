//! What a goroutine and its join handle share: one allocation.
//!
//! The packet holds the closure until the goroutine starts, then the result, and
//! the word that says who owns it ([`Completion`]). It has two owners and no
//! count: the goroutine completes, the handle lets go, and whichever comes second
//! finds in the word that the rest is its to drop.

use super::completion::Completion;
use super::local;
use super::unwind::{self, Fate};
use crate::sched::WaitReason;
use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::task::Context;
use std::thread;

/// The part that does not depend on the closure.
#[repr(C)]
struct Packet<T> {
    completion: Completion,
    /// Frees the memory; the closure and the result are gone.
    free: unsafe fn(NonNull<Packet<T>>),
    /// Written by the goroutine before it completes; then the last owner's.
    result: UnsafeCell<Option<thread::Result<T>>>,
}

/// The packet with the closure.
#[repr(C)]
struct Whole<F, T> {
    packet: Packet<T>,
    f: ManuallyDrop<F>,
}

/// The goroutine's end: to be run by it, once.
pub(super) struct Job<F, T> {
    whole: NonNull<Whole<F, T>>,
}

/// The waiting end. Dropping it drops a result that is there, or leaves it to
/// the goroutine.
pub(super) struct Outcome<T> {
    packet: NonNull<Packet<T>>,
}

// SAFETY: an Outcome is the right to the result, from any one thread at a time
// for what takes `&mut self` or `self`; what takes `&self` looks at atomics.
unsafe impl<T: Send> Send for Outcome<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Outcome<T> {}

/// A packet with `f` in it.
#[inline]
pub(super) fn packet<F: FnOnce() -> T, T>(f: F) -> (Job<F, T>, Outcome<T>) {
    let whole = Box::new(Whole {
        packet: Packet {
            completion: Completion::new(),
            free: free::<F, T>,
            result: UnsafeCell::new(None),
        },
        f: ManuallyDrop::new(f),
    });
    let whole = NonNull::from(Box::leak(whole));
    (
        Job { whole },
        Outcome {
            packet: whole.cast(),
        },
    )
}

/// # Safety
/// `packet` is the head of a `Whole<F, T>` that nobody uses any more.
unsafe fn free<F, T>(packet: NonNull<Packet<T>>) {
    // SAFETY: the caller's promise; it came from a Box. The closure is not
    // dropped: it was moved out.
    drop(unsafe { Box::from_raw(packet.cast::<Whole<F, T>>().as_ptr()) });
}

impl<F: FnOnce() -> T, T> Job<F, T> {
    /// Calls the closure and hands its result on. False: nobody was there to
    /// have it, and it was a panic.
    #[inline]
    pub(super) fn run(self) -> bool {
        let whole = ManuallyDrop::new(self).whole.as_ptr();
        // SAFETY: the closure was written by `packet`, and we are the only one
        // who takes it, once.
        let f = unsafe { ManuallyDrop::take(&mut (*whole).f) };
        let result = unwind::call(Fate::Own, f);
        local::end_current();
        // SAFETY: until it completes the result is the goroutine's to write.
        unsafe { *(*whole).packet.result.get() = Some(result) };
        // SAFETY: the packet lives until Done, and a job runs once.
        if unsafe { Completion::complete(&raw const (*whole).packet.completion) } {
            return true;
        }
        // SAFETY: detached: the packet is ours alone.
        let result = unsafe { take_and_free(NonNull::new_unchecked(whole).cast::<Packet<T>>()) };
        discard(result)
    }
}

/// Drops a result that nobody took, on the goroutine or on whoever lets go of the handle later:
/// which of the two is chance, so what a drop that panics does is the same. False: it was a panic.
fn discard<T>(result: Option<thread::Result<T>>) -> bool {
    match result {
        Some(Ok(value)) => unwind::contain(|| drop(value)),
        Some(Err(payload)) => {
            let panicked = unwind::is_panic(&*payload);
            unwind::discard(payload);
            return !panicked;
        }
        None => {}
    }
    true
}

impl<F, T> Drop for Job<F, T> {
    /// It could not be spawned. The outcome goes first, and leaves it to us.
    fn drop(&mut self) {
        let whole = self.whole.as_ptr();
        // SAFETY: it never ran, so the closure is there and the completing side's
        // rights are ours.
        let f = unsafe { ManuallyDrop::take(&mut (*whole).f) };
        // SAFETY: as above.
        if !unsafe { Completion::complete(&raw const (*whole).packet.completion) } {
            // SAFETY: detached: the packet is ours alone.
            drop(unsafe { take_and_free(self.whole.cast::<Packet<T>>()) });
        }
        drop(f);
    }
}

/// # Safety
/// The packet is the caller's alone, and is not used again.
unsafe fn take_and_free<T>(packet: NonNull<Packet<T>>) -> Option<thread::Result<T>> {
    // SAFETY: the caller's promise.
    unsafe {
        let result = (*packet.as_ref().result.get()).take();
        (packet.as_ref().free)(packet);
        result
    }
}

impl<T> Outcome<T> {
    #[inline]
    pub(super) fn is_finished(&self) -> bool {
        self.completion().is_done()
    }

    /// Parks until the goroutine has ended; its result.
    #[inline]
    pub(super) fn wait(self) -> thread::Result<T> {
        self.completion().wait(WaitReason::Join);
        let packet = ManuallyDrop::new(self).packet;
        // SAFETY: done: the packet is ours alone.
        match unsafe { take_and_free(packet) } {
            Some(result) => result,
            None => {
                panic!("goweft: a JoinHandle was joined after it had been polled to completion")
            }
        }
    }

    /// The result, when it is there; else `cx` is woken when it is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<thread::Result<T>> {
        if !self.completion().poll(cx) {
            return None;
        }
        // SAFETY: done: the result is the waiting side's, which is `&mut self`.
        match unsafe { (*self.packet.as_ref().result.get()).take() } {
            None => panic!("goweft: a JoinHandle was polled after completion"),
            result => result,
        }
    }

    /// Lets go. False: there was a panic, and nobody took it.
    pub(super) fn abandon(self) -> bool {
        ManuallyDrop::new(self).let_go()
    }

    /// Drops the result if it is there. False: it was a panic. At the end only.
    fn let_go(&mut self) -> bool {
        if !self.completion().detach() {
            return true;
        }
        // SAFETY: done: the packet is ours alone, and this is the last use.
        discard(unsafe { take_and_free(self.packet) })
    }

    #[inline]
    fn completion(&self) -> &Completion {
        // SAFETY: the packet lives at least as long as its outcome.
        unsafe { &self.packet.as_ref().completion }
    }
}

impl<T> Drop for Outcome<T> {
    fn drop(&mut self) {
        self.let_go();
    }
}
