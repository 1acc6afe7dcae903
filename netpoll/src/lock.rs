//! The lock of a record: a spin lock, for sections of some twenty instructions.
//!
//! What always holds: in a section there is no system call, no allocation, no foreign code and
//! no second lock, so only the OS can hold its owner up. Who waits for it spins a little and
//! then gives the CPU away, in case the OS has done that.
//!
//! Why not std's mutex: waiting must not sleep in the kernel, since a runtime delivers events
//! and parks goroutines with it; and the lock has to fit in four bytes of the record's line.

use crate::sync::{AtomicBool, Ordering};

/// The lock that records use: under loom its mutex, since spinning has no end in a model.
#[cfg(loom)]
pub(crate) type Lock = modelled::Lock;
/// The lock that records use.
#[cfg(not(loom))]
pub(crate) type Lock = Spin;

/// What [`Lock::hold`] returns.
#[cfg(loom)]
pub(crate) type Held<'l> = modelled::Held<'l>;
/// What [`Lock::hold`] returns.
#[cfg(not(loom))]
pub(crate) type Held<'l> = SpinHeld<'l>;

/// Tries before the CPU is given away.
const SPINS: u32 = 128;

#[derive(Debug)]
pub(crate) struct Spin {
    held: AtomicBool,
}

/// Proof that the lock is held, until it is dropped.
#[must_use]
pub(crate) struct SpinHeld<'l>(&'l Spin);

#[cfg_attr(loom, allow(dead_code, reason = "records use loom's mutex"))]
impl Spin {
    pub(crate) fn new() -> Self {
        Self {
            held: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn hold(&self) -> SpinHeld<'_> {
        let mut tries = 0;
        // Acquire pairs with the Release in `drop`.
        while self
            .held
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            relax(&mut tries);
        }
        SpinHeld(self)
    }
}

impl Drop for SpinHeld<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}

#[cold]
fn relax(tries: &mut u32) {
    #[cfg(loom)]
    use loom::{hint::spin_loop, thread::yield_now};
    #[cfg(not(loom))]
    use std::{hint::spin_loop, thread::yield_now};
    *tries += 1;
    if *tries < SPINS {
        spin_loop();
    } else {
        yield_now();
    }
}

#[cfg(loom)]
mod modelled {
    use loom::sync::{Mutex, MutexGuard};

    #[derive(Debug)]
    pub(crate) struct Lock(Mutex<()>);

    #[must_use]
    pub(crate) struct Held<'l>(#[allow(dead_code, reason = "held, not read")] MutexGuard<'l, ()>);

    impl Lock {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(()))
        }

        pub(crate) fn hold(&self) -> Held<'_> {
            Held(self.0.lock().expect("no section panics"))
        }
    }
}
