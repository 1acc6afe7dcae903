//! `lock_os_thread`: one goroutine and one OS thread for each other alone.
//!
//! The goroutine is at home on the thread for as long (`sched/home.rs`), and the thread is
//! closed to all who are not at home there.

use crate::sched::{GRef, Inside, current_g};
use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::Ordering;

/// Keeps the calling goroutine on its OS thread, and all others away from that thread, until
/// the guard is dropped.
///
/// For what belongs to a thread in the operating system's eyes: namespaces, credentials, a signal
/// mask, the main loop of a graphics library. Nests: the lock holds until the last guard is gone.
/// On a plain thread, which nobody shares, it does nothing.
///
/// A goroutine that ends locked (its guard was forgotten) takes its thread with it: the thread
/// ends, with the destructors of its thread-locals, so that nothing that was changed in
/// it meets another goroutine.
///
/// While it waits, its thread sleeps, and its processor serves others. Waking it takes a
/// switch of OS threads, some microseconds, where other goroutines take nanoseconds. Each
/// locked goroutine needs a thread of [`Config::max_threads`](crate::Config::max_threads).
///
/// Goroutines that were *pinned* to this thread before
/// ([`Builder::pinned`](crate::Builder::pinned), [`Migration::Pinned`](crate::Migration::Pinned))
/// can run nowhere else, and go on running here while the locked one waits; new ones do not begin
/// here. Threads that the goroutine starts by itself inherit from its thread what threads inherit;
/// those that goweft makes do not.
///
/// # Examples
///
/// ```
/// use goweft::task;
/// use std::time::Duration;
///
/// goweft::run(|| {
///     let _locked = task::lock_os_thread();
///     let thread = std::thread::current().id();
///     task::sleep(Duration::from_millis(1));
///     assert_eq!(std::thread::current().id(), thread);
/// });
/// ```
///
/// # Panics
/// `task: lock_os_thread: ...` when four billion guards of this goroutine exist.
#[doc(alias = "LockOSThread")]
#[must_use = "the goroutine is unlocked when the guard is dropped"]
pub fn lock_os_thread() -> OsThreadGuard {
    let Some(g) = current_g() else {
        return OsThreadGuard::of(None);
    };
    let Some(locks) = g.locks.get().checked_add(1) else {
        panic!("task: lock_os_thread: nested too deep");
    };
    let inside = Inside::enter();
    if locks == 1
        && let Some(m) = inside.m()
    {
        m.home.close();
        if !g.pinned.get() {
            m.home.settle();
            g.bound
                .store(ptr::from_ref(m).cast_mut(), Ordering::Relaxed);
        }
    }
    g.locks.set(locks);
    OsThreadGuard::of(Some(g))
}

/// Made by [`lock_os_thread`]: as long as it exists the goroutine has its OS thread for
/// itself.
#[doc(alias = "UnlockOSThread")]
#[must_use = "the goroutine is unlocked when the guard is dropped"]
pub struct OsThreadGuard {
    /// The goroutine and its number; None on a plain thread.
    owner: Option<(GRef, u64)>,
    /// It belongs to one goroutine.
    not_send: PhantomData<*const ()>,
}

impl OsThreadGuard {
    fn of(g: Option<GRef>) -> OsThreadGuard {
        OsThreadGuard {
            owner: g.map(|g| (g, g.id.load(Ordering::Relaxed))),
            not_send: PhantomData,
        }
    }
}

impl Drop for OsThreadGuard {
    fn drop(&mut self) {
        let Some((g, id)) = self.owner else { return };
        // It may have been left in a thread-local, and be dropped by a neighbour or at the thread's
        // end: nobody but its goroutine unlocks.
        if current_g() != Some(g) || g.id.load(Ordering::Relaxed) != id {
            return;
        }
        let inside = Inside::enter();
        let locks = g.locks.get() - 1;
        g.locks.set(locks);
        if locks == 0
            && let Some(m) = inside.m()
        {
            m.home.open();
            if !g.pinned.get() {
                m.home.leave();
                g.bound.store(ptr::null_mut(), Ordering::Relaxed);
            }
        }
    }
}

impl fmt::Debug for OsThreadGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OsThreadGuard").finish_non_exhaustive()
    }
}
