//! A value that is set once.
//!
//! The cell is written by the one that the gate lets through, before DONE, and
//! read by all others after it; with `&mut` the gate is not needed.

use super::gate::Gate;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A cell that is written once, as `std::sync::OnceLock`.
///
/// An initialiser that panics leaves it empty, and the next one is tried. One that uses
/// the same cell waits for itself, for ever.
///
/// # Examples
///
/// ```
/// use goweft::sync::OnceLock;
///
/// fn config() -> &'static String {
///     static CONFIG: OnceLock<String> = OnceLock::new();
///     CONFIG.get_or_init(|| "loaded once".to_string())
/// }
/// goweft::scope(|s| {
///     let a = s.spawn(|| config().as_ptr() as usize);
///     let b = s.spawn(|| config().as_ptr() as usize);
///     assert_eq!(a.join().unwrap(), b.join().unwrap());
/// });
/// ```
#[doc(alias = "OnceValue")]
#[doc(alias = "OnceValues")]
pub struct OnceLock<T> {
    gate: Gate,
    /// Initialised in DONE.
    value: UnsafeCell<MaybeUninit<T>>,
    owns: PhantomData<T>,
}

// SAFETY: after DONE it gives out shared references from any thread, and the value
// may be dropped on another thread than the one that made it.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}
// SAFETY: it owns the value.
unsafe impl<T: Send> Send for OnceLock<T> {}

impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe + RefUnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// Empty.
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            gate: Gate::new(),
            value: UnsafeCell::new(MaybeUninit::uninit()),
            owns: PhantomData,
        }
    }

    /// The value, if there is one. Does not wait.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: done.
        self.gate.is_done().then(|| unsafe { self.value() })
    }

    /// The value, if there is one.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if !self.gate.is_done_mut() {
            return None;
        }
        // SAFETY: done, and borrowed exclusively.
        Some(unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// Waits until there is a value.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    pub fn wait(&self) -> &T {
        self.gate.wait();
        // SAFETY: done.
        unsafe { self.value() }
    }

    /// Makes `value` the value. Waits for an initialiser that runs.
    ///
    /// # Errors
    /// With `value`, when there is one already.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("an initialiser is called once"));
        match value {
            None => Ok(()),
            Some(value) => Err(value),
        }
    }

    /// The value; `f` makes it if there is none. While one initialiser runs the others
    /// wait, and one is tried after another until one returns.
    ///
    /// # Panics
    /// With the panic of `f`, in the caller that runs it; the cell stays empty. And in
    /// [`no_park`](crate::no_park), when it has to wait for another one.
    #[inline]
    pub fn get_or_init<F: FnOnce() -> T>(&self, f: F) -> &T {
        if !self.gate.is_done() {
            self.init(f);
        }
        // SAFETY: done.
        unsafe { self.value() }
    }

    #[cold]
    #[inline(never)]
    fn init<F: FnOnce() -> T>(&self, f: F) {
        struct Finish<'a> {
            gate: &'a Gate,
            done: bool,
        }
        impl Drop for Finish<'_> {
            fn drop(&mut self) {
                self.gate.finish(self.done);
            }
        }
        if self.gate.begin() {
            let mut finish = Finish {
                gate: &self.gate,
                done: false,
            };
            let value = f();
            // SAFETY: the gate lets one through, and nobody reads before DONE.
            unsafe { (*self.value.get()).write(value) };
            finish.done = true;
        }
    }

    /// The value, if there is one; the cell is empty again.
    pub fn take(&mut self) -> Option<T> {
        if !self.gate.is_done_mut() {
            return None;
        }
        self.gate.reset();
        // SAFETY: it was done, so there is a value; after the reset nobody else
        // takes it to be there.
        Some(unsafe { self.value.get_mut().assume_init_read() })
    }

    /// The value, if there is one.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// # Safety
    /// Done.
    #[inline]
    unsafe fn value(&self) -> &T {
        // SAFETY: the caller's promise: written, and never again while shared.
        unsafe { (*self.value.get()).assume_init_ref() }
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        OnceLock {
            gate: Gate::done(),
            value: UnsafeCell::new(MaybeUninit::new(value)),
            owns: PhantomData,
        }
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> OnceLock<T> {
        self.get().cloned().map_or_else(OnceLock::new, From::from)
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cell = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => cell.field(value),
            None => cell.field(&format_args!("<uninit>")),
        };
        cell.finish()
    }
}
