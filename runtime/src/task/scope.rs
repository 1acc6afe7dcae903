//! `scope`: goroutines that borrow from the caller.
//!
//! What makes the borrows sound is that `scope` does not return, nor unwind,
//! before every goroutine of it has ended: the closure's panic is caught, the
//! goroutines are waited for, and only then it goes on.
//!
//! `running` counts the goroutines and the scope itself. Whoever brings it to zero
//! completes; so that is done once, and when it is a goroutine the scope waits
//! already. A goroutine takes itself off as its last act, with its closure and its
//! result (if it is the one to drop that) gone.

use super::builder::{Builder, launch_job, refused};
use super::completion::Completion;
use super::packet::{Outcome, packet};
use super::task::{Task, TaskId, refuse_in_no_park};
use crate::sched::WaitReason;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, RefUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// What spawns goroutines that borrow; see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    shared: Shared,
    // Both invariant: 'scope must neither grow nor shrink, or a goroutine could
    // borrow what does not live until the end of the scope.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

struct Shared {
    running: AtomicUsize,
    panicked: AtomicBool,
    all_ended: Completion,
}

impl RefUnwindSafe for Shared {}

impl Shared {
    /// One more runs: by one that is counted itself.
    fn begin(&self) {
        // Relaxed: the count is not zero and cannot become zero meanwhile.
        self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// One less runs.
    ///
    /// # Safety
    /// Counted, and lives until then. Nothing of the scope is touched after.
    unsafe fn end(this: *const Shared) {
        // SAFETY: the scope waits for us.
        if unsafe { (*this).running.fetch_sub(1, Ordering::AcqRel) } == 1 {
            // SAFETY: it waits until this says Done. Nobody detaches.
            unsafe { Completion::complete(&raw const (*this).all_ended) };
        }
    }
}

/// A scope's address in a goroutine's closure, taken whole.
#[derive(Clone, Copy)]
struct Home(*const Shared);

impl Home {
    /// The goroutine has ended; `handled` says that no panic got lost.
    fn end(self, handled: bool) {
        if !handled {
            // SAFETY: the scope waits until `end` below.
            unsafe { (*self.0).panicked.store(true, Ordering::Relaxed) };
        }
        // SAFETY: this goroutine was counted by `begin`, and this is its last act.
        unsafe { Shared::end(self.0) };
    }
}

/// Dropped, the goroutine that was counted has ended without having begun.
struct NotBegun(Home);

impl Drop for NotBegun {
    fn drop(&mut self) {
        self.0.end(true);
    }
}

/// Calls `f` with a [`Scope`], whose goroutines may borrow what outlives this
/// call; parks until all of them have ended.
///
/// As `std::thread::scope`, and it also works on a plain thread.
///
/// ```
/// let mut a = vec![1, 2, 3];
/// let mut x = 0;
/// goweft::scope(|s| {
///     s.spawn(|| println!("hello from a goroutine that borrows {a:?}"));
///     s.spawn(|| x += a[0] + a[2]);
/// });
/// a.push(4);
/// assert_eq!(x, a.len());
/// ```
///
/// # Panics
/// With the panic of `f`; else, when a goroutine panicked that was not joined by hand. In
/// [`no_park`](crate::no_park) always, before `f` is called: it would have to wait in the end.
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    refuse_in_no_park();
    let scope = Scope {
        shared: Shared {
            running: AtomicUsize::new(1),
            panicked: AtomicBool::new(false),
            all_ended: Completion::new(),
        },
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    // Nothing between here and the end of the wait unwinds.
    if scope.shared.running.fetch_sub(1, Ordering::AcqRel) != 1 {
        scope.shared.all_ended.wait(WaitReason::Join);
    }
    match result {
        Err(payload) => resume_unwind(payload),
        Ok(_) if scope.shared.panicked.load(Ordering::Relaxed) => {
            panic!("a scoped goroutine panicked")
        }
        Ok(value) => value,
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Spawns a goroutine that may borrow for `'scope`. Does not block.
    ///
    /// # Panics
    /// Where [`Builder::spawn_scoped`] returns an error.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match self.launch(Builder::new(), f, Location::caller()) {
            Ok(handle) => handle,
            Err(e) => refused(&e),
        }
    }

    fn launch<F, T>(
        &'scope self,
        builder: Builder,
        f: F,
        at: &'static Location<'static>,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let spec = builder.spec(at)?;
        let (job, outcome) = packet(f);
        let home = Home(&raw const self.shared);
        self.shared.begin();
        // Also where it cannot be spawned and dropping its closure panics.
        let not_begun = NotBegun(home);
        let task = launch_job(job, move |handled| home.end(handled), spec)?;
        std::mem::forget(not_begun);
        Ok(ScopedJoinHandle {
            outcome: Some(outcome),
            task,
            scope: &self.shared,
        })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field(
                "running",
                &self
                    .shared
                    .running
                    .load(Ordering::Relaxed)
                    .saturating_sub(1),
            )
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// As [`spawn`](Self::spawn), for a goroutine of a scope.
    ///
    /// ```
    /// let name = String::from("borrowed");
    /// let n = goweft::scope(|s| {
    ///     let h = goweft::Builder::new().name("counter").spawn_scoped(s, || name.len())?;
    ///     Ok::<_, std::io::Error>(h.join().unwrap())
    /// })?;
    /// assert_eq!(n, 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        scope.launch(self, f, Location::caller())
    }
}

/// Waits for a goroutine of a scope and has its result.
pub struct ScopedJoinHandle<'scope, T> {
    /// None once joined.
    outcome: Option<Outcome<T>>,
    task: Task,
    scope: &'scope Shared,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Parks the caller until the goroutine has ended.
    ///
    /// # Errors
    /// The payload of the panic that ended it, or
    /// [`Exited`](crate::task::Exited) when it called [`task::exit`](crate::task::exit).
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait. The scope waits for the goroutine all
    /// the same.
    pub fn join(mut self) -> thread::Result<T> {
        match self.outcome.take() {
            Some(outcome) => outcome.wait(),
            None => unreachable!("only join takes it, and takes the handle with it"),
        }
    }

    /// Whether the goroutine has ended, so that [`join`](Self::join) does not block.
    pub fn is_finished(&self) -> bool {
        self.outcome.as_ref().is_some_and(Outcome::is_finished)
    }

    /// Its number.
    pub fn id(&self) -> TaskId {
        self.task.id()
    }

    /// The goroutine.
    pub fn task(&self) -> &Task {
        &self.task
    }
}

impl<T> Drop for ScopedJoinHandle<'_, T> {
    fn drop(&mut self) {
        // A panic that comes later is the goroutine's to tell.
        if self
            .outcome
            .take()
            .is_some_and(|outcome| !outcome.abandon())
        {
            self.scope.panicked.store(true, Ordering::Relaxed);
        }
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}
