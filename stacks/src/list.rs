//! A list of free slots, linked through their records. No allocation, no touch of
//! the stacks themselves.

use crate::slab::Slot;
use std::ptr::NonNull;

/// Last in, first out. Whoever owns the list owns its slots.
#[derive(Default)]
pub(crate) struct List {
    head: Option<NonNull<Slot>>,
    len: usize,
}

// SAFETY: slots live for ever and are owned by their list; owning moves between
// threads with the list.
unsafe impl Send for List {}

impl List {
    pub(crate) const EMPTY: List = List { head: None, len: 0 };

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn push(&mut self, slot: NonNull<Slot>) {
        // SAFETY: records are never unmapped, and the caller owned this one.
        unsafe { slot.as_ref() }.next.set(self.head);
        self.head = Some(slot);
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<NonNull<Slot>> {
        let slot = self.head?;
        // SAFETY: as in `push`; the list owns it until here.
        self.head = unsafe { slot.as_ref() }.next.take();
        self.len -= 1;
        Some(slot)
    }

    /// Takes everything.
    pub(crate) fn take(&mut self) -> List {
        std::mem::take(self)
    }

    /// Keeps the first `keep` and returns the rest, walking over what it keeps.
    pub(crate) fn split_off(&mut self, keep: usize) -> List {
        if keep >= self.len {
            return List::EMPTY;
        }
        if keep == 0 {
            return self.take();
        }
        let mut last = self
            .head
            .expect("stacks: a list has as many slots as it counts");
        for _ in 1..keep {
            // SAFETY: as in `push`.
            last = unsafe { last.as_ref() }
                .next
                .get()
                .expect("stacks: list is short");
        }
        // SAFETY: as in `push`.
        let head = unsafe { last.as_ref() }.next.take();
        let rest = List {
            head,
            len: self.len - keep,
        };
        self.len = keep;
        rest
    }

    /// Puts `other` in front, walking over it.
    pub(crate) fn prepend(&mut self, mut other: List) {
        let Some(mut last) = other.head else { return };
        // SAFETY: as in `push`.
        while let Some(next) = unsafe { last.as_ref() }.next.get() {
            last = next;
        }
        // SAFETY: as in `push`.
        unsafe { last.as_ref() }.next.set(self.head);
        self.head = other.head.take();
        self.len += other.len;
    }

    /// Sorts by address of the records, which is the order of the stacks within
    /// a slab. Merges runs bottom up: no recursion, no allocation.
    pub(crate) fn sort(&mut self) {
        // bins[i] is sorted and has 2^i slots, or is empty.
        let mut bins = [const { List::EMPTY }; usize::BITS as usize];
        while let Some(slot) = self.pop() {
            let mut run = List::EMPTY;
            run.push(slot);
            let mut i = 0;
            while bins[i].len != 0 {
                run = merge(bins[i].take(), run);
                i += 1;
            }
            bins[i] = run;
        }
        for bin in bins {
            *self = merge(self.take(), bin);
        }
    }
}

/// Merges two sorted lists.
fn merge(mut a: List, mut b: List) -> List {
    let len = a.len + b.len;
    let mut head = None;
    let mut last: Option<NonNull<Slot>> = None;
    loop {
        let slot = match (a.head, b.head) {
            (None, None) => return List { head, len },
            (Some(x), Some(y)) if x <= y => a.pop(),
            (Some(_), None) => a.pop(),
            _ => b.pop(),
        };
        match last {
            // SAFETY: as in `List::push`; both lists are ours.
            Some(l) => unsafe { l.as_ref() }.next.set(slot),
            None => head = slot,
        }
        last = slot;
    }
}
