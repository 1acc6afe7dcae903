//! Readers of a lock that write to no word that other readers write to.
//!
//! A count of readers is a cache line that all of them fight for. So while nobody writes, a reader
//! only puts the lock's address into a slot of its own thread: it is *visible*. A writer
//! that comes looks through the slots of all threads, which is dear; then readers count
//! until there have been many again without a writer.
//!
//! | who reads | who writes, alone among writers |
//! |---|---|
//! | 1. ON? else count | 1. ON -> DRAINING |
//! | 2. slot = lock | 2. a heavy barrier |
//! | (a light barrier) | 3. is the lock in a slot? then wait until it is in none |
//! | 3. still ON? it is in; else leave, and count | 4. DRAINING -> OFF |
//!
//! The heavy barrier makes all running threads execute a full fence, so it is before or after step
//! 2 of a reader. If after, the writer sees the slot. If before, the reader finds in step 3 that it
//! is not ON any more. To leave, a reader clears the slot, and (after a light barrier) if it is
//! not ON then, it looks whether a writer waits: the same argument with "clears".
//! Whether the lock is in a slot is looked at, and a writer that waits is linked, under one lock,
//! which the reader that looks takes too.
//!
//! A writer that gives up leaves it DRAINING: the next one looks through the slots again, but
//! needs no barrier. It is turned ON only by somebody who keeps writers out meanwhile.
//!
//! Orderings: turning it ON releases what the writers before it did, step 3 of a reader acquires
//! that. Clearing the slot releases the reader's work, the look at the slots acquires it. A
//! thread fills a slot only when it has acquired its being empty, and releases that on: so what
//! overwrites the 0 of another one's leaving carries that on.

use super::atomic::{AtomicU32, AtomicUsize, Ordering};

const OFF: u32 = 0;
const ON: u32 = 1;
const DRAINING: u32 = 2;

/// Where a reader is visible: the address of the lock, or 0. Filled by one thread only, emptied by
/// any.
pub(crate) struct Slot(AtomicUsize);

/// How a reader fared.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Enter {
    /// It is in, and in the slot.
    Visible,
    /// Somebody is in the slot. Nothing happened.
    Taken,
    /// A writer came. It may have seen the reader, who has left again: look whether it waits.
    Revoked,
}

/// See the module.
pub(crate) struct Bias(AtomicU32);

impl Slot {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Slot {
        Slot(AtomicUsize::new(0))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Slot {
        Slot(AtomicUsize::new(0))
    }

    /// By a writer: whether a reader of `lock` is here. Before [`Bias::revoke`] it is a hint.
    pub(crate) fn has(&self, lock: usize) -> bool {
        self.0.load(Ordering::Acquire) == lock
    }

    /// The lock ends, with a guard that was forgotten.
    #[cfg(not(loom))]
    pub(crate) fn forget(&self, lock: usize) {
        let _ = self
            .0
            .compare_exchange(lock, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Bias {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Bias {
        Bias(AtomicU32::new(OFF))
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Bias {
        Bias(AtomicU32::new(OFF))
    }

    /// Whether it is worth while to look for a slot.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed) == ON
    }

    /// By a writer: whether no reader is visible, or may become so.
    #[inline]
    pub(crate) fn is_off(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OFF
    }

    /// By the thread whose slot it is.
    #[inline]
    pub(crate) fn enter(&self, slot: &Slot, lock: usize) -> Enter {
        if slot.0.load(Ordering::Acquire) != 0 {
            return Enter::Taken;
        }
        slot.0.store(lock, Ordering::Release);
        light();
        if self.0.load(Ordering::Acquire) == ON {
            return Enter::Visible;
        }
        slot.0.store(0, Ordering::Release);
        Enter::Revoked
    }

    /// By a visible reader, on any thread. True: look whether a writer waits.
    #[inline]
    pub(crate) fn leave(&self, slot: &Slot) -> bool {
        slot.0.store(0, Ordering::Release);
        light();
        self.0.load(Ordering::Relaxed) != ON
    }

    /// By who keeps writers out: readers may be visible from here on.
    pub(crate) fn turn_on(&self) {
        self.0.store(ON, Ordering::Release);
    }

    /// By a writer, alone among writers: no reader becomes visible any more.
    pub(crate) fn revoke(&self, heavy: impl FnOnce()) {
        if self.is_on() {
            self.0.store(DRAINING, Ordering::Relaxed);
            heavy();
        }
    }

    /// By a writer, or on behalf of one that waits: the lock is in no slot.
    pub(crate) fn drained(&self) {
        self.0.store(OFF, Ordering::Relaxed);
    }
}

/// Pairs with the heavy barrier of [`Bias::revoke`].
#[inline(always)]
fn light() {
    #[cfg(not(loom))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    // The same, for a pair with one heavy side.
    #[cfg(loom)]
    super::atomic::fence(Ordering::SeqCst);
}
