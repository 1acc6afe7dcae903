//! Spawning: what a goroutine is to be, and the call that makes it.

use super::join::JoinHandle;
use super::packet::{Job, packet};
use super::task::Task;
use crate::sched::later::Later;
use crate::sched::spawn::{Spec, spawn as start};
use goweft_stacks::Class;
use std::io;
use std::panic::Location;
use std::sync::Arc;

/// The least [`Builder::stack_size`], in bytes.
pub(crate) const MIN_STACK: usize = goweft_stacks::MIN_SIZE;
/// The largest [`Builder::stack_size`], in bytes.
pub(crate) const MAX_STACK: usize = goweft_stacks::MAX_SIZE;

/// The class of stacks of `bytes`, rounded up to a power of two; None when that
/// is less than 16 KiB or more than 1 GiB.
pub(crate) fn class_of(bytes: usize) -> Option<Class> {
    let rounded = bytes.checked_next_power_of_two()?;
    if rounded < MIN_STACK {
        None
    } else {
        Class::for_size(rounded)
    }
}

/// Spawns a goroutine; its result is the handle's.
///
/// It does not block. The goroutine runs as soon as a processor is free for
/// it; dropping the handle lets it run on by itself.
///
/// ```
/// let words = vec!["to", "be"];
/// let h = goweft::spawn(move || words.len());
/// assert_eq!(h.join().unwrap(), 2);
/// ```
///
/// # Panics
/// Where [`Builder::spawn`] returns an error.
#[doc(alias = "go")]
#[track_caller]
#[inline]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let spec = Spec {
        class: None,
        name: None,
        pinned: false,
        at: Location::caller(),
    };
    match launch(f, spec) {
        Ok(handle) => handle,
        Err(e) => refused(&e),
    }
}

/// The panic of calls that cannot return an error.
#[cold]
#[track_caller]
pub(crate) fn refused(e: &io::Error) -> ! {
    panic!("goweft: can't spawn a goroutine: {e}")
}

/// Makes the goroutine and its handle.
#[inline]
fn launch<F: FnOnce() -> T, T>(f: F, spec: Spec) -> io::Result<JoinHandle<T>> {
    let name = spec.name.clone();
    let (job, outcome) = packet(f);
    let (g, id) = start(move || _ = job.run(), spec)?;
    Ok(JoinHandle::new(outcome, Task::goroutine(g, id, name)))
}

/// What a goroutine is to be: a name, a stack size.
///
/// ```
/// let h = goweft::Builder::new().name("parser").stack_size(1 << 20).spawn(|| {
///     goweft::task::current().name().map(str::to_owned)
/// })?;
/// assert_eq!(h.join().unwrap().as_deref(), Some("parser"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it spawns"]
pub struct Builder {
    name: Option<String>,
    stack_size: usize,
    pinned: bool,
}

impl Builder {
    /// No name, the default size of stack, free to change threads.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A name, which reports of panics and overflows show.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Address space for the stack, in bytes: rounded up to a power of two, 16 KiB to 1 GiB. 0 is
    /// the default, which is [`Config::stack_size`](crate::Config::stack_size). Memory is used as
    /// the stack grows into it.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = bytes;
        self
    }

    /// Whether the goroutine stays on the OS thread on which it first runs: then what
    /// belongs to a thread (thread-locals, values that are not `Send`, what a C library
    /// notes for its caller) may be held over calls that park.
    ///
    /// It shares that thread with others, pinned or not, and switches to them as fast as any. When
    /// it is to run and its thread computes or blocks for another one, it waits for that thread,
    /// though processors be idle; see [`Migration::Pinned`](crate::Migration::Pinned). For a thread
    /// of its own: [`lock_os_thread`](crate::task::lock_os_thread).
    ///
    /// With `false`, which is the default, [`Config::migration`](crate::Config::migration) says
    /// whether it stays.
    ///
    /// ```
    /// let h = goweft::Builder::new().pinned(true).spawn(|| {
    ///     let thread = std::thread::current().id();
    ///     goweft::task::sleep(std::time::Duration::from_millis(1));
    ///     assert_eq!(std::thread::current().id(), thread);
    /// })?;
    /// h.join().unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pinned(mut self, pinned: bool) -> Builder {
        self.pinned = pinned;
        self
    }

    /// Spawns the goroutine. Does not block.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when the stack size is not allowed, and what
    /// the system says when there is no room for another stack: out of memory, or out of mappings
    /// (the text names `vm.max_map_count`). What the closure captured is dropped then.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        launch(f, self.spec(Location::caller())?)
    }

    /// Checks the settings.
    pub(crate) fn spec(self, at: &'static Location<'static>) -> io::Result<Spec> {
        let class = match self.stack_size {
            0 => None,
            bytes => Some(class_of(bytes).ok_or_else(|| no_such_size(bytes))?),
        };
        Ok(Spec {
            class,
            name: self.name.map(Arc::from),
            pinned: self.pinned,
            at,
        })
    }
}

#[cold]
fn no_such_size(bytes: usize) -> io::Error {
    let text = format!(
        "a stack of {bytes} bytes is not allowed: rounded up to a power of two it must be \
         16 KiB to 1 GiB ({MIN_STACK} to {MAX_STACK}); 0 is the default"
    );
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// A goroutine whose result nobody wants. A small closure is stored in the control
/// block: nothing is allocated.
#[inline]
pub(crate) fn detached<F: FnOnce() -> T, T>(f: F, spec: Spec) -> io::Result<()> {
    start(
        move || {
            let result = super::unwind::call(super::unwind::Fate::Own, || drop(f()));
            if let Err(payload) = result {
                super::unwind::discard(payload);
            }
            super::local::end_current();
        },
        spec,
    )
    .map(|_| ())
}

/// A goroutine that begins later; its result is nobody's.
pub(crate) fn later<F: FnOnce() + Send + 'static>(f: F, at: &'static Location<'static>) -> Later {
    Later::new(
        move || {
            if let Err(payload) = super::unwind::call(super::unwind::Fate::Own, f) {
                super::unwind::discard(payload);
            }
            super::local::end_current();
        },
        at,
    )
}

/// Spawns a job of a scope.
pub(crate) fn launch_job<F: FnOnce() -> T, T>(
    job: Job<F, T>,
    after: impl FnOnce(bool),
    spec: Spec,
) -> io::Result<Task> {
    let name = spec.name.clone();
    let (g, id) = start(move || after(job.run()), spec)?;
    Ok(Task::goroutine(g, id, name))
}
