//! Things that happen once.
//!
//! | file | what |
//! |---|---|
//! | `gate.rs` | the word behind all of them: who runs, who waits |
//! | here | [`Once`]: run a closure |
//! | `lock.rs` | [`OnceLock`]: a value that is set once |
//! | `lazy.rs` | [`LazyLock`]: a value that is made at its first use |

mod gate;
mod lazy;
mod lock;

pub use lazy::LazyLock;
pub use lock::OnceLock;

use gate::Gate;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// Runs a closure once, whoever calls, as `std::sync::Once`.
///
/// There is no poison: as in Go, a closure that panicked has run, and is not run again. A
/// closure that calls the same `Once` waits for itself, for ever.
///
/// # Examples
///
/// ```
/// use goweft::sync::Once;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static START: Once = Once::new();
/// static STARTED: AtomicU32 = AtomicU32::new(0);
/// goweft::scope(|s| {
///     for _ in 0..8 {
///         s.spawn(|| START.call_once(|| _ = STARTED.fetch_add(1, Ordering::Relaxed)));
///     }
/// });
/// assert!(START.is_completed());
/// assert_eq!(STARTED.load(Ordering::Relaxed), 1);
/// ```
pub struct Once {
    gate: Gate,
}

/// What [`Once::call_once_force`] tells its closure.
#[derive(Debug)]
pub struct OnceState(());

impl OnceState {
    /// False always: there is no poison. So that programs that ask std's need no
    /// change.
    pub fn is_poisoned(&self) -> bool {
        false
    }
}

impl UnwindSafe for Once {}
impl RefUnwindSafe for Once {}

impl Once {
    /// Not run yet.
    pub const fn new() -> Once {
        Once { gate: Gate::new() }
    }

    /// Runs `f` if this is the first call. All others wait until it has returned or
    /// panicked; then what it did is visible to them.
    ///
    /// # Panics
    /// With the panic of `f`, in the caller that runs it; and in [`no_park`](crate::no_park), when
    /// it has to wait for another one.
    #[doc(alias = "Do")]
    #[inline]
    pub fn call_once<F: FnOnce()>(&self, f: F) {
        if !self.gate.is_done() {
            self.run(f);
        }
    }

    /// As [`call_once`](Self::call_once). In std it also runs when an earlier closure panicked;
    /// here that one has run.
    ///
    /// # Panics
    /// As [`call_once`](Self::call_once).
    #[inline]
    pub fn call_once_force<F: FnOnce(&OnceState)>(&self, f: F) {
        if !self.gate.is_done() {
            self.run(|| f(&OnceState(())));
        }
    }

    /// Whether a closure has run to its end.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.gate.is_done()
    }

    /// Waits until a closure has run, without bringing one.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    pub fn wait(&self) {
        self.gate.wait();
    }

    /// As [`wait`](Self::wait): there is no poison to ignore.
    ///
    /// # Panics
    /// As [`wait`](Self::wait).
    pub fn wait_force(&self) {
        self.gate.wait();
    }

    #[cold]
    #[inline(never)]
    fn run(&self, f: impl FnOnce()) {
        struct Finish<'a>(&'a Gate);
        impl Drop for Finish<'_> {
            fn drop(&mut self) {
                self.0.finish(true);
            }
        }
        if self.gate.begin() {
            let _finish = Finish(&self.gate);
            f();
        }
    }
}

impl Default for Once {
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").finish_non_exhaustive()
    }
}
