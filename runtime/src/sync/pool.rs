//! A pool of things that cost more to make than to keep.
//!
//! It is split into shards, so that processors do not meet: each thread begins at the shard of
//! its machine's number. A shard is a stack behind a flag that is only ever *tried*: who finds it
//! taken goes on to the next. So nobody waits for anybody, even when a thread is stopped
//! while it has a flag, and user code (making, dropping) runs outside of them.
//!
//! What is not needed goes: a shard notes the fewest it had at any time during the last so many
//! returns. So many it could have done without; half of them are dropped. Go's pool
//! forgets at each garbage collection instead.

use crate::sched;
use crossbeam_utils::CachePadded;
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};

/// Returns to a shard after which it looks at what it does not need.
const PERIOD: u32 = 1024;

/// The most shards: more processors share them.
const MAX_SHARDS: usize = 64;

/// Keeps things that were made once for those who need one next.
///
/// Which one is given is not said, and one that is not needed for long may be dropped.
/// What is given is as its last user left it.
///
/// # Examples
///
/// ```
/// use goweft::sync::Pool;
///
/// let buffers = Pool::new(|| Vec::<u8>::with_capacity(4096));
/// {
///     let mut buffer = buffers.get();
///     buffer.clear();
///     buffer.extend_from_slice(b"hello");
/// }
/// assert!(buffers.get().capacity() >= 4096);
/// ```
pub struct Pool<T> {
    init: Box<dyn Fn() -> T + Send + Sync>,
    shards: Box<[CachePadded<Shard<T>>]>,
}

/// Something out of a [`Pool`], which goes back when this is dropped.
#[doc(alias = "Put")]
#[must_use = "it goes back to the pool at once when it is not used"]
pub struct Pooled<'a, T> {
    pool: &'a Pool<T>,
    /// There until it is dropped.
    value: ManuallyDrop<T>,
}

struct Shard<T> {
    taken: AtomicBool,
    stack: UnsafeCell<Stack<T>>,
}

struct Stack<T> {
    items: Vec<T>,
    /// The fewest there were during this period.
    low: usize,
    returns: u32,
}

// SAFETY: the flag gives the stack to one thread at a time, any, and nothing is shared.
unsafe impl<T: Send> Sync for Shard<T> {}

// A user that panics returns what it had; the next one is to expect anything.
impl<T> UnwindSafe for Pool<T> {}
impl<T> RefUnwindSafe for Pool<T> {}

impl<T> Pool<T> {
    /// An empty pool; `init` makes what it cannot give. Not a constant: a static pool is a
    /// `LazyLock<Pool<T>>`.
    pub fn new<F>(init: F) -> Pool<T>
    where
        F: Fn() -> T + Send + Sync + 'static,
    {
        let shards = crate::runtime::num_cpu()
            .next_power_of_two()
            .min(MAX_SHARDS);
        Pool {
            init: Box::new(init),
            shards: (0..shards)
                .map(|_| CachePadded::new(Shard::new()))
                .collect(),
        }
    }

    /// One from the pool, or a new one. Does not wait.
    ///
    /// # Panics
    /// As the pool's `init` does.
    #[doc(alias = "Get")]
    pub fn get(&self) -> Pooled<'_, T> {
        let kept = self
            .nearest_first()
            .find_map(|shard| shard.with(Stack::pop).flatten());
        Pooled {
            pool: self,
            value: ManuallyDrop::new(kept.unwrap_or_else(|| (self.init)())),
        }
    }

    /// Keeps `value`, or drops it (outside the shards).
    fn put(&self, value: T) {
        let mut value = Some(value);
        let surplus = self.nearest_first().find_map(|shard| {
            shard.with(|stack| stack.push(value.take().expect("it goes to one shard")))
        });
        drop((surplus, value));
    }

    /// The shards, this thread's first.
    fn nearest_first(&self) -> impl Iterator<Item = &Shard<T>> {
        let first = sched::machine_index().unwrap_or(0);
        let mask = self.shards.len() - 1;
        (0..self.shards.len()).map(move |i| &*self.shards[(first + i) & mask])
    }
}

impl<T> Shard<T> {
    fn new() -> Shard<T> {
        Shard {
            taken: AtomicBool::new(false),
            stack: UnsafeCell::new(Stack {
                items: Vec::new(),
                low: 0,
                returns: 0,
            }),
        }
    }

    /// `f` of the stack, unless somebody is at it. `f` runs no user code.
    fn with<R>(&self, f: impl FnOnce(&mut Stack<T>) -> R) -> Option<R> {
        if self.taken.load(Ordering::Relaxed) || self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: we have the flag.
        let result = f(unsafe { &mut *self.stack.get() });
        self.taken.store(false, Ordering::Release);
        Some(result)
    }
}

impl<T> Stack<T> {
    fn pop(&mut self) -> Option<T> {
        let item = self.items.pop();
        self.low = self.low.min(self.items.len());
        item
    }

    /// What is not needed any more, to be dropped elsewhere.
    fn push(&mut self, item: T) -> Vec<T> {
        self.items.push(item);
        self.returns += 1;
        if self.returns < PERIOD {
            return Vec::new();
        }
        let surplus = self.low.div_ceil(2);
        self.returns = 0;
        self.low = self.items.len() - surplus;
        self.items.drain(..surplus).collect()
    }
}

impl<T> Pooled<'_, T> {
    /// Takes it out of the pool for good.
    pub fn into_inner(self) -> T {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: it is there, and `this` is not used or dropped any more.
        unsafe { ManuallyDrop::take(&mut this.value) }
    }
}

impl<T> Drop for Pooled<'_, T> {
    fn drop(&mut self) {
        // SAFETY: it is there until now, and not used after.
        self.pool
            .put(unsafe { ManuallyDrop::take(&mut self.value) });
    }
}

impl<T> Deref for Pooled<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Pooled<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Pooled<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
