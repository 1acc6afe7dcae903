//! A vector and a queue that grow where nothing may be allocated: inside the runtime.

use crate::{abort, sys};

/// A vector in pages of its own, for data that grows where nothing may be
/// allocated. Elements are `Copy`: nothing is dropped.
pub(crate) struct MappedVec<T: Copy> {
    base: *mut T,
    bytes: usize,
    len: usize,
}

// SAFETY: it owns its elements like a Vec.
unsafe impl<T: Copy + Send> Send for MappedVec<T> {}

impl<T: Copy> MappedVec<T> {
    const PAGE: usize = 4096;

    pub(crate) const fn new() -> Self {
        MappedVec {
            base: std::ptr::null_mut(),
            bytes: 0,
            len: 0,
        }
    }

    /// Appends; aborts the process when there is no memory.
    pub(crate) fn push(&mut self, value: T) {
        if (self.len + 1) * size_of::<T>() > self.bytes {
            self.grow();
        }
        // SAFETY: `grow` made room for element `len`.
        unsafe { self.base.add(self.len).write(value) };
        self.len += 1;
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    #[cold]
    fn grow(&mut self) {
        let bytes = (2 * self.bytes).max(Self::PAGE);
        let base = if self.base.is_null() {
            sys::map_pages(bytes, false)
        } else {
            // SAFETY: `base` and `bytes` are a mapping of ours, and no
            // reference into it is alive (`&mut self`).
            unsafe { sys::remap_pages(self.base.cast(), self.bytes, bytes) }
        };
        let Ok(base) = base else {
            abort::fatal("out of memory for timers")
        };
        self.base = base.cast();
        self.bytes = bytes;
    }
}

impl<T: Copy> std::ops::Deref for MappedVec<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        if self.base.is_null() {
            return &[];
        }
        // SAFETY: `len` elements have been written.
        unsafe { std::slice::from_raw_parts(self.base, self.len) }
    }
}

impl<T: Copy> std::ops::DerefMut for MappedVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if self.base.is_null() {
            return &mut [];
        }
        // SAFETY: as above, and `&mut self` makes the slice the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.len) }
    }
}

impl<T: Copy> Drop for MappedVec<T> {
    fn drop(&mut self) {
        if !self.base.is_null() {
            // SAFETY: the mapping is ours and nothing refers to it any more.
            unsafe { sys::unmap_pages(self.base.cast(), self.bytes) };
        }
    }
}

/// First in, first out, in pages of its own.
pub(crate) struct MappedQueue<T: Copy> {
    items: MappedVec<T>,
    /// Those before it have been taken.
    head: usize,
}

impl<T: Copy> MappedQueue<T> {
    pub(crate) const fn new() -> Self {
        MappedQueue {
            items: MappedVec::new(),
            head: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len() - self.head
    }

    /// Appends; aborts the process when there is no memory.
    pub(crate) fn push(&mut self, value: T) {
        self.items.push(value);
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let first = self.items.get(self.head).copied()?;
        self.head += 1;
        // Moving what is left costs no more than taking what is gone did.
        if 2 * self.head >= self.items.len() {
            let left = self.len();
            self.items.copy_within(self.head.., 0);
            self.items.truncate(left);
            self.head = 0;
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_gives_back_in_order_what_was_put_in_at_any_length() {
        let mut queue = MappedQueue::new();
        let (mut put, mut taken) = (0u32, 0u32);
        for round in 0..100 {
            for _ in 0..round % 37 {
                queue.push(put);
                put += 1;
            }
            for _ in 0..round % 31 {
                let Some(first) = queue.pop() else { break };
                assert_eq!(first, taken);
                taken += 1;
            }
            assert_eq!(queue.len(), (put - taken) as usize);
        }
        while let Some(first) = queue.pop() {
            assert_eq!(first, taken);
            taken += 1;
        }
        assert_eq!((taken, queue.len()), (put, 0));
    }
}
