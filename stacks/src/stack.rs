//! One stack, owned.

use crate::class::Class;
use crate::depot;
use crate::list::List;
use crate::slab::Slot;
use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// A stack with a guard below it. One pointer.
///
/// Dropping it gives it back to the shared depot;
/// [`Magazine::put`](crate::Magazine::put) is the faster way.
///
/// Its memory holds whatever the last user left there, or zeroes.
pub struct Stack(NonNull<Slot>);

// SAFETY: the stack owns its slot; records and slabs live for ever.
unsafe impl Send for Stack {}
// SAFETY: shared references only read what `carve` wrote.
unsafe impl Sync for Stack {}

impl Stack {
    /// Reserves and takes a stack of `class`, from the shared depot. For those
    /// who keep no magazine.
    ///
    /// # Errors
    /// As [`reserve`](crate::reserve).
    ///
    /// # Examples
    /// ```
    /// use goweft_stacks::{Class, Stack};
    /// let stack = Stack::new(Class::DEFAULT)?;
    /// let room = stack.top().addr() - stack.limit().addr();
    /// assert!(room > 190_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(class: Class) -> io::Result<Stack> {
        depot::reserve(class)?;
        let mut none = List::EMPTY;
        let slot = depot::of(class)
            .take(0, &mut none)
            .inspect_err(|_| depot::unreserve(class, 1))?;
        Ok(Stack(slot))
    }

    pub(crate) fn from_slot(slot: NonNull<Slot>) -> Stack {
        Stack(slot)
    }

    pub(crate) fn into_slot(self) -> NonNull<Slot> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    fn slot(&self) -> &Slot {
        // SAFETY: records are never unmapped, and this one is ours.
        unsafe { self.0.as_ref() }
    }

    /// Where the stack begins: one past its highest usable byte, aligned to 64.
    #[inline]
    pub fn top(&self) -> *mut u8 {
        self.slot().top()
    }

    /// Its lowest usable byte. Right below lies the guard.
    #[inline]
    pub fn limit(&self) -> *mut u8 {
        self.slot().limit()
    }

    /// The class it was taken from.
    #[inline]
    pub fn class(&self) -> Class {
        self.slot().class()
    }

    /// Gives up ownership for a pointer (not into the stack). [`Stack::from_raw`]
    /// takes it back.
    #[inline]
    pub fn into_raw(self) -> NonNull<u8> {
        self.into_slot().cast()
    }

    /// Takes ownership back.
    ///
    /// # Safety
    /// `raw` came from [`Stack::into_raw`], and was not taken back since.
    #[inline]
    pub unsafe fn from_raw(raw: NonNull<u8>) -> Stack {
        Stack(raw.cast())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let depot = depot::of(self.class());
        depot.put(self.0);
        depot.unreserve(1);
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("top", &self.top())
            .field("limit", &self.limit())
            .field("size", &self.class().size())
            .finish()
    }
}

/// Coroutines of the corosensei crate can run on our stacks.
#[cfg(any(
    feature = "corosensei",
    not(any(target_arch = "x86_64", target_arch = "aarch64"))
))]
// SAFETY: at least 16 KiB are usable and a guard lies below.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> corosensei::stack::StackPointer {
        corosensei::stack::StackPointer::new(self.top().expose_provenance())
            .expect("stacks: a stack is not at address zero")
    }

    #[inline]
    fn limit(&self) -> corosensei::stack::StackPointer {
        // The trait wants the guard included.
        corosensei::stack::StackPointer::new(self.slot().base())
            .expect("stacks: a stack is not at address zero")
    }
}
