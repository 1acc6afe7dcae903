//! A channel that is shared by senders and receivers, and knows how many of each
//! there are.
//!
//! The last handle of a side disconnects the channel; whoever disconnects second
//! frees it. Counting is two atomics, not one `Arc`, because the two sides end
//! at different times.

use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

struct Counter<C> {
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// One side is gone.
    half: AtomicBool,
    channel: C,
}

/// One handle of one side: `SEND` or not.
pub(crate) struct Handle<C, const SEND: bool>(NonNull<Counter<C>>);

/// A sender's handle.
pub(crate) type Sending<C> = Handle<C, true>;
/// A receiver's handle.
pub(crate) type Receiving<C> = Handle<C, false>;

/// Shares `channel` between one sender and one receiver.
pub(crate) fn share<C>(channel: C) -> (Sending<C>, Receiving<C>) {
    let counter = NonNull::from(Box::leak(Box::new(Counter {
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(1),
        half: AtomicBool::new(false),
        channel,
    })));
    (Handle(counter), Handle(counter))
}

impl<C, const SEND: bool> Handle<C, SEND> {
    fn count(&self) -> &AtomicUsize {
        // SAFETY: the counter is freed by the last handle of the last side.
        let counter = unsafe { self.0.as_ref() };
        if SEND {
            &counter.senders
        } else {
            &counter.receivers
        }
    }

    /// One more.
    pub(crate) fn another(&self) -> Handle<C, SEND> {
        // As with Arc: forgetting handles must not wrap the count around.
        if self.count().fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
            std::process::abort();
        }
        Handle(self.0)
    }

    /// One less. `disconnect` runs when it was the last one of its side.
    ///
    /// # Safety
    /// The handle is not used afterwards.
    pub(crate) unsafe fn release(&self, disconnect: impl FnOnce(&C)) {
        if self.count().fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // A value that panics when it is dropped must not keep the memory.
        let free = Free(self.0);
        disconnect(self);
        drop(free);
    }

    pub(crate) fn same<const OTHER: bool>(&self, other: &Handle<C, OTHER>) -> bool {
        ptr::eq(self.0.as_ptr(), other.0.as_ptr())
    }
}

/// Frees the counter when the other side is gone already.
struct Free<C>(NonNull<Counter<C>>);

impl<C> Drop for Free<C> {
    fn drop(&mut self) {
        // SAFETY: one side's last handle makes one of these, so the counter is
        // there until both are dropped, and freed by the second.
        unsafe {
            if self.0.as_ref().half.swap(true, Ordering::AcqRel) {
                drop(Box::from_raw(self.0.as_ptr()));
            }
        }
    }
}

impl<C, const SEND: bool> Deref for Handle<C, SEND> {
    type Target = C;
    #[inline]
    fn deref(&self) -> &C {
        // SAFETY: as in `count`.
        unsafe { &self.0.as_ref().channel }
    }
}
