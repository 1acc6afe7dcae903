//! Goroutine-locals: values that each goroutine has its own of.
//!
//! Every [`LocalKey`] gets an index at its first use. A goroutine's values are boxed
//! and stand in a vector by that index, in the rare part of its control block, which
//! only the goroutine itself touches. So a reference stays good while other
//! keys are made, and while the goroutine changes threads. A plain OS thread has
//! such a vector too, found by a thread-local.
//!
//! Values are dropped at the goroutine's end, on the goroutine, before a `join`
//! returns. A destructor may use other keys: those that are made anew are
//! dropped in the next round. A key is out of reach while its own value is
//! dropped.

use super::unwind;
use crate::sched::current_g;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rounds of destructors. What the last one makes anew is leaked.
const ROUNDS: u32 = 5;

/// A value and how to drop it.
enum Entry {
    Absent,
    Present(NonNull<()>, unsafe fn(NonNull<()>)),
    /// Being dropped.
    Leaving,
}

/// The values of one goroutine or thread.
#[derive(Default)]
pub(crate) struct Locals {
    entries: Vec<Entry>,
}

/// A value that each goroutine has its own of, made by
/// [`goroutine_local!`](crate::goroutine_local).
///
/// A plain OS thread that uses it has its own too. Values are `Send`, because a
/// goroutine changes threads, and takes them along.
pub struct LocalKey<T: 'static> {
    /// The index + 1; 0 before the first use.
    index: AtomicUsize,
    init: fn() -> T,
}

/// The value cannot be had any more: its destructor is running, or the
/// thread's locals are gone. See [`LocalKey::try_with`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a goroutine-local was used while or after it was dropped")
    }
}

impl std::error::Error for AccessError {}

impl<T: Send + 'static> LocalKey<T> {
    /// For `goroutine_local!`.
    #[doc(hidden)]
    pub const fn __new(init: fn() -> T) -> LocalKey<T> {
        LocalKey {
            index: AtomicUsize::new(0),
            init,
        }
    }

    /// Calls `f` with the value, which is made at the first use. `f` may park.
    ///
    /// # Panics
    /// When the value's own destructor, which is running, calls this.
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        match self.try_with(f) {
            Ok(result) => result,
            Err(e) => no_access(e),
        }
    }

    /// As [`with`](Self::with), but does not panic.
    ///
    /// # Errors
    /// [`AccessError`] when the value's own destructor, which is running, calls this, or
    /// the destructor of a thread-local after the thread's values are gone.
    pub fn try_with<F, R>(&'static self, f: F) -> Result<R, AccessError>
    where
        F: FnOnce(&T) -> R,
    {
        let value = match self.find()? {
            Some(value) => value,
            None => self.store((self.init)())?,
        };
        // SAFETY: boxed, and dropped at the end of the goroutine (or thread)
        // that calls, which cannot come before `f` returns.
        Ok(f(unsafe { value.as_ref() }))
    }

    /// The value, if it was made.
    fn find(&self) -> Result<Option<NonNull<T>>, AccessError> {
        let locals = here()?;
        // SAFETY: the caller's own, and the reference ends with the statement.
        match unsafe { &(*locals).entries }.get(self.index()) {
            Some(Entry::Present(value, _)) => Ok(Some(value.cast())),
            Some(Entry::Leaving) => Err(AccessError),
            Some(Entry::Absent) | None => Ok(None),
        }
    }

    /// Makes `value` the value. If there is one by now (the initializer used its own
    /// key), that one stays, for there may be references to it.
    fn store(&self, value: T) -> Result<NonNull<T>, AccessError> {
        let value = Box::new(value);
        if let Some(present) = self.find()? {
            return Ok(present);
        }
        let locals = here()?;
        // SAFETY: the caller's own; nothing below runs user code.
        let entries = unsafe { &mut (*locals).entries };
        let index = self.index();
        if entries.len() <= index {
            entries.resize_with(index + 1, || Entry::Absent);
        }
        let value = NonNull::from(Box::leak(value));
        entries[index] = Entry::Present(value.cast(), drop_value::<T>);
        Ok(value)
    }

    fn index(&self) -> usize {
        match self.index.load(Ordering::Relaxed) {
            0 => self.new_index(),
            n => n - 1,
        }
    }

    #[cold]
    fn new_index(&self) -> usize {
        static KEYS: AtomicUsize = AtomicUsize::new(1);
        let new = KEYS.fetch_add(1, Ordering::Relaxed);
        // Another thread may be here as well; one index is wasted then.
        match self
            .index
            .compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => new - 1,
            Err(theirs) => theirs - 1,
        }
    }

    /// Calls `f` with `value` if there is none yet, which it then became; else
    /// with what is there and `value`.
    fn with_or_store<R>(&'static self, value: T, f: impl FnOnce(&T, Option<T>) -> R) -> R {
        let access = self.find().and_then(|found| match found {
            Some(present) => Ok((present, Some(value))),
            None => Ok((self.store(value)?, None)),
        });
        match access {
            // SAFETY: as in `try_with`.
            Ok((there, value)) => f(unsafe { there.as_ref() }, value),
            Err(e) => no_access(e),
        }
    }
}

#[cold]
fn no_access(e: AccessError) -> ! {
    panic!("goweft: {e}")
}

/// # Safety
/// `value` is a leaked box of a `T` that nobody uses any more.
unsafe fn drop_value<T>(value: NonNull<()>) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(value.cast::<T>().as_ptr()) });
}

impl<T: Send + 'static> LocalKey<Cell<T>> {
    /// Sets the value. If it is the first use, the initializer does not run.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn set(&'static self, value: T) {
        self.with_or_store(Cell::new(value), |cell, value| {
            if let Some(value) = value {
                cell.set(value.into_inner());
            }
        });
    }

    /// A copy of the value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// The value; the default is left in its place.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// The value; `value` takes its place.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: Send + 'static> LocalKey<RefCell<T>> {
    /// Calls `f` with a shared borrow of the value.
    ///
    /// # Panics
    /// When it is mutably borrowed, and as [`with`](Self::with).
    pub fn with_borrow<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Calls `f` with a mutable borrow of the value.
    ///
    /// # Panics
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn with_borrow_mut<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&mut T) -> R,
    {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value. If it is the first use, the initializer does not run.
    ///
    /// # Panics
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn set(&'static self, value: T) {
        self.with_or_store(RefCell::new(value), |cell, value| {
            if let Some(value) = value {
                cell.replace(value.into_inner());
            }
        });
    }

    /// The value; the default is left in its place.
    ///
    /// # Panics
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// The value; `value` takes its place.
    ///
    /// # Panics
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

/// The values of who calls.
fn here() -> Result<*mut Locals, AccessError> {
    match current_g() {
        // SAFETY: the running goroutine's own rare part, which lives until it ends.
        Some(g) => Ok(unsafe { &raw mut (*g.cold_mut()).locals }),
        None => of_thread(),
    }
}

/// Drops the values of the goroutine that calls, which is about to end.
#[inline]
pub(super) fn end_current() {
    if let Some(g) = current_g()
        && !g.cold.get().is_null()
    {
        // SAFETY: as in `here`.
        drop_all(unsafe { &raw mut (*g.cold.get()).locals });
    }
}

/// The rare part of a goroutine that has ended. Its values are gone, save those
/// that destructors of the last round made.
pub(crate) fn drop_cold(cold: Box<crate::sched::g::Cold>) {
    drop(cold);
}

/// Runs the destructors. `locals` are the caller's own.
fn drop_all(locals: *mut Locals) {
    for _ in 0..ROUNDS {
        let mut found = false;
        let mut index = 0;
        // Each reference ends before a destructor runs, which may look in here.
        // SAFETY: the caller's own.
        while index < unsafe { (*locals).entries.len() } {
            // SAFETY: as above.
            let entry = unsafe { &mut (&mut (*locals).entries)[index] };
            if let Entry::Present(value, drop_it) = *entry {
                found = true;
                *entry = Entry::Leaving;
                // SAFETY: stored with this function, and out of reach now.
                unwind::contain(|| unsafe { drop_it(value) });
                // SAFETY: as above; the vector never gets shorter.
                unsafe { (&mut (*locals).entries)[index] = Entry::Absent };
            }
            index += 1;
        }
        if !found {
            return;
        }
    }
}

thread_local! {
    /// A plain thread's values. Without a destructor, so that it can be read
    /// while the owner's runs.
    static OF_THREAD: Cell<*mut Locals> = const { Cell::new(ptr::null_mut()) };
    static OWNER: ThreadOwner = const { ThreadOwner };
}

/// Drops a plain thread's values at its end.
struct ThreadOwner;

impl Drop for ThreadOwner {
    fn drop(&mut self) {
        let locals = OF_THREAD.get();
        if !locals.is_null() {
            drop_all(locals);
            OF_THREAD.set(ptr::null_mut());
            // SAFETY: from `Box::into_raw`, and nobody finds it any more.
            drop(unsafe { Box::from_raw(locals) });
        }
    }
}

#[cold]
fn of_thread() -> Result<*mut Locals, AccessError> {
    let locals = OF_THREAD.get();
    if !locals.is_null() {
        return Ok(locals);
    }
    // Registers the destructor; when it has run, nothing would drop new values.
    OWNER.try_with(|_| ()).map_err(|_| AccessError)?;
    let locals = Box::into_raw(Box::default());
    OF_THREAD.set(locals);
    Ok(locals)
}

/// Declares values that each goroutine has its own of, as `thread_local!` does
/// for threads. The types are `Send`.
///
/// ```
/// use std::cell::Cell;
/// goweft::goroutine_local! {
///     static DEPTH: Cell<u32> = Cell::new(0);
///     pub static NAME: std::cell::RefCell<String> = Default::default();
/// }
/// DEPTH.set(7);
/// let theirs = goweft::spawn(|| DEPTH.get()).join().unwrap();
/// assert_eq!((DEPTH.get(), theirs), (7, 0));
/// ```
#[macro_export]
macro_rules! goroutine_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr; $($rest:tt)*) => {
        $crate::goroutine_local!($(#[$attr])* $vis static $name: $t = $init);
        $crate::goroutine_local!($($rest)*);
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr) => {
        $(#[$attr])*
        $vis static $name: $crate::task::LocalKey<$t> = $crate::task::LocalKey::__new({
            fn init() -> $t {
                $init
            }
            init
        });
    };
}
