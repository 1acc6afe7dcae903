//! Records that never move and are never freed before the poller is.
//!
//! What always holds:
//! - `get` takes no lock: a chunk, once published in `chunks`, stays.
//! - An index is in `free`, or handed out, or was never handed out (from `fresh` on).
//!
//! How it works: chunk k holds 64 << k records, so 26 pointers cover 2^32 indices and the
//! table never moves. Handing out and taking back use a mutex, because they may allocate;
//! they are called with the descriptor's registration, a system call, and never on the paths
//! that deliver events or park.

use crate::record::Record;
use std::{
    ptr::{self, NonNull},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

/// Records in the first chunk.
const FIRST: usize = 64;
/// 64 * (2^26 - 1) records, the most whose index fits in 32 bits.
const CHUNKS: usize = 26;

#[derive(Debug)]
pub(crate) struct Slab {
    /// Null until needed; written once, under the mutex, with Release.
    chunks: [AtomicPtr<Record>; CHUNKS],
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    /// Indices given back, the last first: its cache line is warm.
    indices: Vec<u32>,
    /// The lowest index never handed out.
    fresh: u32,
}

/// The chunk of an index, and its place there.
fn place(index: u32) -> (usize, usize) {
    let from_first = index as usize + FIRST;
    let chunk = (from_first.ilog2() - FIRST.ilog2()) as usize;
    (chunk, from_first - (FIRST << chunk))
}

impl Slab {
    pub(crate) fn new() -> Self {
        Self {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            free: Mutex::new(Free {
                indices: Vec::new(),
                fresh: 0,
            }),
        }
    }

    /// A record that nobody uses; `None` when there are 2^32 of them.
    pub(crate) fn take(&self) -> Option<(u32, NonNull<Record>)> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match free.indices.pop() {
            Some(index) => index,
            None => {
                let index = free.fresh;
                let (chunk, _) = place(index);
                if chunk == CHUNKS {
                    return None;
                }
                if self.chunks[chunk].load(Ordering::Relaxed).is_null() {
                    self.grow(chunk, &mut free);
                }
                free.fresh += 1;
                index
            }
        };
        drop(free);
        let record = self.get(index)?;
        Some((index, NonNull::from(record)))
    }

    /// Gives a record back. The caller was its only user.
    pub(crate) fn give_back(&self, index: u32) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.indices.push(index);
    }

    /// The record of an index that has been handed out at some time.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Record> {
        let (chunk, at) = place(index);
        // Acquire pairs with the Release in `grow`: the records are initialised.
        let records = self.chunks.get(chunk)?.load(Ordering::Acquire);
        if records.is_null() {
            return None;
        }
        // SAFETY: a published chunk k has FIRST << k records, `place` keeps `at` below that,
        // and chunks are freed only by `drop`, which has `&mut self`.
        Some(unsafe { &*records.add(at) })
    }

    #[cold]
    fn grow(&self, chunk: usize, free: &mut Free) {
        let len = FIRST << chunk;
        let records: Box<[Record]> = (0..len).map(|_| Record::new()).collect();
        // So that giving back never allocates.
        let all = (FIRST << (chunk + 1)) - FIRST;
        let missing = all - free.indices.len();
        free.indices.reserve_exact(missing);
        let records = Box::into_raw(records).cast::<Record>();
        self.chunks[chunk].store(records, Ordering::Release);
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for (chunk, records) in self.chunks.iter_mut().enumerate() {
            let records = *records.get_mut();
            if !records.is_null() {
                let slice = ptr::slice_from_raw_parts_mut(records, FIRST << chunk);
                // SAFETY: `grow` made it from a box of this length, and nobody can reach the
                // slab any more.
                drop(unsafe { Box::from_raw(slice) });
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn indices_fill_the_chunks_without_gaps() {
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(63), (0, 63));
        assert_eq!(place(64), (1, 0));
        assert_eq!(place(191), (1, 127));
        assert_eq!(place(192), (2, 0));
        let last = u32::MAX - 64;
        assert_eq!(place(last), (CHUNKS - 1, (FIRST << (CHUNKS - 1)) - 1));
        assert_eq!(place(last + 1), (CHUNKS, 0));
    }

    #[test]
    fn a_record_given_back_is_the_next_to_be_taken() {
        let slab = Slab::new();
        let taken: Vec<_> = (0..1000).map(|_| slab.take().unwrap()).collect();
        let mut indices: Vec<_> = taken.iter().map(|t| t.0).collect();
        indices.dedup();
        assert_eq!(indices, (0..1000).collect::<Vec<_>>());
        slab.give_back(500);
        let (index, record) = slab.take().unwrap();
        assert_eq!(index, 500);
        assert_eq!(record, taken[500].1, "a record stays where it is");
    }

    #[test]
    fn an_index_never_handed_out_has_no_record() {
        let slab = Slab::new();
        assert!(slab.get(0).is_none());
        assert!(slab.get(u32::MAX).is_none());
    }
}
