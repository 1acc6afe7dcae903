//! A goroutine's making: block, closure, promise of a stack, queue.
//!
//! A spawned goroutine costs its block until it first runs: a small closure is
//! stored in the block, a larger one in a box. Its stack is only promised (a
//! counter), so that spawning is what fails when there can't be one.

use super::g::{Cold, Entry, GRef, INLINE_WORDS};
use super::inside::Inside;
use super::{g, lists, start};
use goweft_stacks::Class;
use std::io;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a goroutine is to be, beside its closure.
pub(crate) struct Spec {
    pub(crate) class: Option<Class>,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) pinned: bool,
    pub(crate) at: &'static Location<'static>,
}

/// Whether an `F` fits into the block.
const fn is_inline<F>() -> bool {
    size_of::<F>() <= INLINE_WORDS * size_of::<usize>() && align_of::<F>() <= align_of::<usize>()
}

/// What drops an `F` that [`entry_of`] has stored and nobody will call.
pub(super) fn drop_of<F>() -> unsafe fn(*mut ()) {
    if is_inline::<F>() {
        drop_inline::<F>
    } else {
        drop_boxed::<F>
    }
}

/// `f` as an entry. `f` must not unwind; if it does, the process aborts.
///
/// The caller promises what `'static` would: that what `f` borrows lives until
/// it has run.
pub(crate) fn entry_of<F: FnOnce()>(f: F) -> Entry {
    let mut storage = [MaybeUninit::<usize>::uninit(); INLINE_WORDS];
    if is_inline::<F>() {
        // SAFETY: it fits, and the storage is aligned for it.
        unsafe { storage.as_mut_ptr().cast::<F>().write(f) };
        return Entry {
            call: call_inline::<F>,
            storage,
        };
    }
    storage[0] = MaybeUninit::new(Box::into_raw(Box::new(f)) as usize);
    Entry {
        call: call_boxed::<F>,
        storage,
    }
}

/// # Safety
/// `storage` holds an `F` that nobody takes again.
unsafe fn call_inline<F: FnOnce()>(storage: *mut ()) {
    // SAFETY: the caller's promise.
    let f = unsafe { storage.cast::<F>().read() };
    f();
}

/// # Safety
/// `storage` holds the address of a boxed `F` that nobody takes again.
unsafe fn call_boxed<F: FnOnce()>(storage: *mut ()) {
    // SAFETY: the caller's promise.
    let f = unsafe { Box::from_raw(storage.cast::<*mut F>().read()) };
    f();
}

/// Drops an entry that will not run, with what it captured. Outside the runtime.
pub(super) struct Unspawned(pub(super) Option<Entry>, pub(super) unsafe fn(*mut ()));

impl Drop for Unspawned {
    fn drop(&mut self) {
        if let Some(mut entry) = self.0.take() {
            // SAFETY: the closure was written to the storage and never ran.
            unsafe { (self.1)(entry.storage.as_mut_ptr().cast()) };
        }
    }
}

/// # Safety
/// As `call_inline`.
unsafe fn drop_inline<F>(storage: *mut ()) {
    // SAFETY: the caller's promise.
    drop(unsafe { storage.cast::<F>().read() });
}

/// # Safety
/// As `call_boxed`.
unsafe fn drop_boxed<F>(storage: *mut ()) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(storage.cast::<*mut F>().read()) });
}

/// Makes a goroutine of `f` and makes it runnable. Returns its block and id: the
/// block may be another's as soon as the goroutine has ended.
///
/// The caller promises what `'static` would (see [`entry_of`]).
///
/// # Errors
/// When there can be no stack: out of memory, or out of mappings.
#[inline]
pub(crate) fn spawn<F: FnOnce()>(f: F, spec: Spec) -> io::Result<(GRef, u64)> {
    let class = match spec.class {
        Some(class) => class,
        None => start::ensure(),
    };
    if spec.class.is_some() {
        start::ensure();
    }
    let cold = match spec.name {
        None => ptr::null_mut(),
        name => Box::into_raw(Box::new(Cold {
            name,
            ..Cold::default()
        })),
    };
    let mut entry = Unspawned(Some(entry_of(f)), drop_of::<F>());
    let mut inside = Inside::enter();
    let promised = match inside.p() {
        Some(p) => p.magazine(&inside).reserve(class),
        None => goweft_stacks::reserve(class),
    };
    if let Err(e) = promised {
        drop(inside);
        if !cold.is_null() {
            // SAFETY: from `Box::into_raw` above.
            drop(unsafe { Box::from_raw(cold) });
        }
        // Its words are made here, outside.
        return Err(e.into());
    }
    let (g, id) = match inside.p() {
        Some(p) => {
            p.counters().spawned.add(1);
            (p.take_block(&inside), p.new_id(lists::new_ids))
        }
        None => {
            lists::FOREIGN_SPAWNED.fetch_add(1, Ordering::Relaxed);
            (g::take_block(&inside), lists::new_ids(1))
        }
    };
    g.id.store(id, Ordering::Relaxed);
    g.permit
        .store(crate::task::first_permit(id), Ordering::Relaxed);
    g.set_class(class);
    g.pinned.set(spec.pinned || start::pins_all());
    g.cold.set(cold);
    g.spawned_at.set(Some(spec.at));
    if let Some(entry) = entry.0.take() {
        // SAFETY: a dead block is its taker's alone.
        unsafe { (*g.entry.get()).write(entry) };
    }
    g.word.spawn();
    inside.enqueue_new(g);
    drop(inside);
    Ok((g, id))
}
