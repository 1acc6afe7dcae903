//! A value that is made at its first use.
//!
//! The content goes from the closure to the value, or to what is left of a
//! panic. The one that the gate lets through changes it, before DONE; after
//! that it stands still. The closure is gone then, with all that it owned.

use super::gate::Gate;
use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind};

/// A value that is made at its first use, as `std::sync::LazyLock`.
///
/// If making it panics, every use panics with the same text, as Go's `OnceValue` does: where the
/// payload is no text, or was [`task::exit`](crate::task::exit), later ones with a text that says so.
/// A closure that uses the value it makes waits for itself, for ever.
///
/// # Examples
///
/// ```
/// use goweft::sync::LazyLock;
///
/// static PRIMES: LazyLock<Vec<u32>> = LazyLock::new(|| {
///     (2..50u32).filter(|n| (2..*n).all(|d| n % d != 0)).collect()
/// });
/// assert_eq!(PRIMES.len(), 15);
/// ```
#[doc(alias = "OnceFunc")]
#[doc(alias = "OnceValue")]
#[doc(alias = "OnceValues")]
pub struct LazyLock<T, F = fn() -> T> {
    gate: Gate,
    content: UnsafeCell<Content<T, F>>,
}

enum Content<T, F> {
    Closure(F),
    Value(T),
    Panicked(Panicked),
}

/// What can be told again of a panic.
enum Panicked {
    Str(&'static str),
    String(String),
    Exited,
    Other,
}

// SAFETY: one thread, any, calls the closure, and all may read the value.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe + RefUnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// To be made by `f`.
    pub const fn new(f: F) -> LazyLock<T, F> {
        LazyLock {
            gate: Gate::new(),
            content: UnsafeCell::new(Content::Closure(f)),
        }
    }

    /// The value; makes it if this is the first use. Waits while somebody else makes it.
    ///
    /// # Panics
    /// With the panic of the closure; later again, with its text. And in
    /// [`no_park`](crate::no_park), when it has to wait.
    #[inline]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        if !this.gate.is_done() {
            this.make();
        }
        // SAFETY: done: nobody writes any more.
        match unsafe { &*this.content.get() } {
            Content::Value(value) => value,
            Content::Panicked(how) => how.again(),
            Content::Closure(_) => unreachable!("done means that the closure is gone"),
        }
    }

    /// As [`force`](Self::force). Does not wait: nobody else has it.
    ///
    /// # Panics
    /// With the panic of the closure, as [`force`](Self::force).
    pub fn force_mut(this: &mut LazyLock<T, F>) -> &mut T {
        LazyLock::force(this);
        match this.content.get_mut() {
            Content::Value(value) => value,
            _ => unreachable!("forced"),
        }
    }

    #[cold]
    #[inline(never)]
    fn make(&self) {
        if !self.gate.begin() {
            return;
        }
        // SAFETY: the gate lets one through, and nobody else looks before DONE.
        let content = unsafe { &mut *self.content.get() };
        let closure = std::mem::replace(content, Content::Panicked(Panicked::Other));
        let Content::Closure(f) = closure else {
            unreachable!("only who is let through takes it, once")
        };
        let (made, panicked) = match catch_unwind(AssertUnwindSafe(f)) {
            Ok(value) => (Content::Value(value), None),
            Err(payload) => (Content::Panicked(Panicked::of(&*payload)), Some(payload)),
        };
        *content = made;
        self.gate.finish(true);
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value, if it was made. Does not wait.
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        if !this.gate.is_done() {
            return None;
        }
        // SAFETY: done: nobody writes any more.
        match unsafe { &*this.content.get() } {
            Content::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The value, if it was made.
    pub fn get_mut(this: &mut LazyLock<T, F>) -> Option<&mut T> {
        match this.content.get_mut() {
            Content::Value(value) => Some(value),
            _ => None,
        }
    }
}

impl Panicked {
    fn of(payload: &(dyn Any + Send)) -> Panicked {
        if payload.is::<crate::task::Exited>() {
            Panicked::Exited
        } else if let Some(text) = payload.downcast_ref::<&'static str>() {
            Panicked::Str(text)
        } else if let Some(text) = payload.downcast_ref::<String>() {
            Panicked::String(text.clone())
        } else {
            Panicked::Other
        }
    }

    #[cold]
    fn again(&self) -> ! {
        match self {
            Panicked::Str(text) => std::panic::panic_any(*text),
            Panicked::String(text) => std::panic::panic_any(text.clone()),
            Panicked::Exited => panic!("sync: the closure of a LazyLock called task::exit"),
            Panicked::Other => panic!("sync: the closure of a LazyLock panicked"),
        }
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    fn deref_mut(&mut self) -> &mut T {
        LazyLock::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cell = f.debug_tuple("LazyLock");
        match LazyLock::get(self) {
            Some(value) => cell.field(value),
            None => cell.field(&format_args!("<uninit>")),
        };
        cell.finish()
    }
}
