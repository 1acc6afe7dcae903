//! Locks and barriers that park goroutines instead of blocking threads.
//!
//! Names and shapes are std's, without poisoning: a panic while a lock is held
//! unlocks it. All of it works from goroutines and plain threads alike, waits in the order of
//! arrival where Go does, and keeps nothing of a wait that has timed out.
//!
//! | std or Go | here |
//! |---|---|
//! | `Mutex`, `RwLock`, `Condvar`, `Barrier` | the same, without the `unwrap` |
//! | `Once`, `OnceLock`, `LazyLock`; `sync.OnceFunc`, `OnceValue` | the same |
//! | `sync.WaitGroup`, `errgroup` | [`WaitGroup`], [`ErrGroup`] |
//! | `semaphore.Weighted` | [`Semaphore`] |
//! | `singleflight` | [`singleflight::Group`] |
//! | `sync.Pool` | [`Pool`] |

mod barrier;
mod condvar;
mod err_group;
mod mutex;
mod once;
mod pool;
mod rwlock;
mod semaphore;
pub mod singleflight;
mod wait;
mod wait_group;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use err_group::ErrGroup;
pub(crate) use mutex::prepare;
pub use mutex::{Mutex, MutexGuard};
pub use once::{LazyLock, Once, OnceLock, OnceState};
pub use pool::{Pool, Pooled};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{OwnedPermit, Permit, Semaphore};
pub use wait_group::WaitGroup;
