//! Size classes: what a stack of a class occupies and what of it is usable.
//!
//! A class is a power of two from 16 KiB to 1 GiB. Every slot of a class is
//! `stride` bytes long, the guard at its low end:
//!
//! ```text
//!   class            stride         guard    usable
//!   16 .. 128 KiB    size + 64 KiB  64 KiB   size
//!   256 KiB .. 1 GiB size           64 KiB   size - 64 KiB
//! ```
//!
//! From 256 KiB on the guard lies inside the power of two, because page tables
//! are memory too: a 256 KiB stride costs half a KiB of them a stack, and the
//! guard's own entries share the page with those of the stack. Below, the guard
//! would eat the stack, so it is added. A goroutine may use all of `usable` but
//! for at most 960 bytes at the top, which colour the cache sets.

/// The smallest class, in bytes.
pub const MIN_SIZE: usize = 16 << 10;
/// The largest class, in bytes.
pub const MAX_SIZE: usize = 1 << 30;
/// Bytes below every stack that fault when touched. Frames of C code jump over
/// one page; they do not jump over this.
pub const GUARD_SIZE: usize = 64 << 10;

const MIN_SHIFT: u32 = MIN_SIZE.trailing_zeros();
/// How many classes there are.
pub(crate) const COUNT: usize = (MAX_SIZE.trailing_zeros() - MIN_SHIFT + 1) as usize;

/// A power-of-two size class of stacks, 16 KiB to 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(u8);

impl Class {
    /// The default: 256 KiB of address space, 192 KiB usable.
    pub const DEFAULT: Class = Class(((256usize << 10).trailing_zeros() - MIN_SHIFT) as u8);

    /// The smallest class of at least `bytes`; `None` if `bytes` is zero or more
    /// than [`MAX_SIZE`].
    ///
    /// # Examples
    /// ```
    /// use goweft_stacks::Class;
    /// assert_eq!(Class::for_size(200_000).unwrap().size(), 256 << 10);
    /// assert!(Class::for_size(0).is_none());
    /// assert!(Class::for_size((1 << 30) + 1).is_none());
    /// ```
    #[inline]
    pub const fn for_size(bytes: usize) -> Option<Class> {
        if bytes == 0 || bytes > MAX_SIZE {
            return None;
        }
        let shift = bytes.next_power_of_two().trailing_zeros();
        Some(Class(shift.saturating_sub(MIN_SHIFT) as u8))
    }

    /// The class with this number, counted from the smallest; `None` if there
    /// are not that many.
    #[inline]
    pub const fn from_index(index: usize) -> Option<Class> {
        if index < COUNT {
            Some(Class(index as u8))
        } else {
            None
        }
    }

    /// The number of this class, counted from the smallest (0).
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The nominal size in bytes, a power of two.
    #[inline]
    pub const fn size(self) -> usize {
        MIN_SIZE << self.0
    }

    /// Bytes a stack of this class may use, but for up to 960 that colour its
    /// top: the nominal size, less [`GUARD_SIZE`] from 256 KiB on.
    #[inline]
    pub const fn usable(self) -> usize {
        self.stride() - GUARD_SIZE
    }

    /// Bytes of address space a slot takes, guard included.
    #[inline]
    pub(crate) const fn stride(self) -> usize {
        if self.0 < Class::DEFAULT.0 {
            self.size() + GUARD_SIZE
        } else {
            self.size()
        }
    }

    /// All classes, smallest first.
    pub fn all() -> impl Iterator<Item = Class> {
        (0..COUNT as u8).map(Class)
    }
}
