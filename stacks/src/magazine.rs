//! A cache of free stacks for one owner: a processor of a scheduler, a thread.
//!
//! What always holds, for each class: `held >= cached.len()`. The magazine owns
//! `held` reservations, one for each stack it caches and some to spare. Taking a
//! stack brings the caller's reservation in and sends one out with the stack;
//! putting one back brings its reservation in. So the cycle reserve, take, put
//! touches nothing shared.

use crate::class::{self, Class};
use crate::depot;
use crate::exhausted::Exhausted;
use crate::list::List;
use crate::stack::Stack;
use std::fmt;
use std::io;

/// Most stacks of a class that a magazine caches, and half of which it moves at a
/// time.
const CACHED: usize = 32;
/// Most reservations beyond that.
const SPARE: usize = 32;
/// Most bytes of usable stack that it caches of a class.
const CACHED_BYTES: usize = 8 << 20;

/// A cache of free stacks: last in, first out, resident.
///
/// At most 32 of a class, and 8 MiB. Dropping it gives everything back to the
/// shared depot.
pub struct Magazine {
    shelves: [Shelf; class::COUNT],
}

struct Shelf {
    cached: List,
    held: usize,
}

fn room(class: Class) -> usize {
    (CACHED_BYTES / class.size()).min(CACHED)
}

impl Magazine {
    /// An empty magazine. Allocates nothing.
    pub const fn new() -> Self {
        Magazine {
            shelves: [const {
                Shelf {
                    cached: List::EMPTY,
                    held: 0,
                }
            }; class::COUNT],
        }
    }

    /// Promises one stack of `class`, from what the magazine has to spare if it
    /// can. As [`reserve`](crate::reserve).
    ///
    /// # Errors
    /// As [`reserve`](crate::reserve).
    #[inline]
    pub fn reserve(&mut self, class: Class) -> Result<(), Exhausted> {
        let shelf = &mut self.shelves[class.index()];
        if shelf.held > shelf.cached.len() {
            shelf.held -= 1;
            return Ok(());
        }
        Self::reserve_some(shelf, class)
    }

    #[cold]
    fn reserve_some(shelf: &mut Shelf, class: Class) -> Result<(), Exhausted> {
        let batch = room(class) / 2;
        if batch > 0 && depot::of(class).try_reserve(batch + 1) {
            shelf.held += batch;
            return Ok(());
        }
        depot::reserve(class)
    }

    /// Takes back a promise that was not used. As
    /// [`unreserve`](crate::unreserve), but keeps it for the next.
    #[inline]
    pub fn unreserve(&mut self, class: Class) {
        let shelf = &mut self.shelves[class.index()];
        shelf.held += 1;
        shelf.return_spares(class);
    }

    /// Takes a stack of `class`. The caller holds a reservation, which the stack
    /// keeps until it is put back.
    ///
    /// Allocates nothing and takes no lock that other code can hold. A few
    /// nanoseconds if one is cached; the shared depot's lock if not; a system
    /// call if the stack is new.
    ///
    /// # Errors
    /// The kernel had no memory for the guard of a new stack. The reservation is
    /// still the caller's.
    #[inline]
    pub fn take(&mut self, class: Class) -> io::Result<Stack> {
        let shelf = &mut self.shelves[class.index()];
        match shelf.cached.pop() {
            Some(slot) => {
                // The caller's reservation came in and the stack's went out.
                shelf.return_spares(class);
                Ok(Stack::from_slot(slot))
            }
            None => shelf.refill(class),
        }
    }

    /// Puts a stack back, and its reservation with it.
    #[inline]
    pub fn put(&mut self, stack: Stack) {
        let class = stack.class();
        let shelf = &mut self.shelves[class.index()];
        shelf.cached.push(stack.into_slot());
        shelf.held += 1;
        if shelf.cached.len() > room(class) {
            shelf.spill(class);
        }
    }

    /// How many stacks are cached here, of all classes.
    pub fn cached(&self) -> usize {
        self.shelves.iter().map(|s| s.cached.len()).sum()
    }

    /// Gives everything back to the shared depot.
    pub fn drain(&mut self) {
        for class in Class::all() {
            let shelf = &mut self.shelves[class.index()];
            depot::of(class).put_list(shelf.cached.take());
            if shelf.held > 0 {
                depot::unreserve(class, std::mem::take(&mut shelf.held));
            }
        }
    }
}

impl Shelf {
    /// Takes one stack from the depot, and some more to cache.
    #[cold]
    fn refill(&mut self, class: Class) -> io::Result<Stack> {
        let depot = depot::of(class);
        let spare = self.held; // nothing is cached
        let wanted = room(class) / 2;
        // Each of the others needs a reservation of its own.
        let more = if spare < wanted && depot.try_reserve(wanted - spare) {
            self.held = wanted;
            wanted
        } else {
            spare.min(wanted)
        };
        depot.take(more, &mut self.cached).map(Stack::from_slot)
    }

    /// Gives the stacks that were put first to the depot, all but half the room.
    #[cold]
    fn spill(&mut self, class: Class) {
        let depot = depot::of(class);
        let rest = self.cached.split_off(room(class) / 2);
        let returned = self.held - self.cached.len();
        depot.put_list(rest);
        // After the stacks: a reservation must find its stack.
        self.held -= returned;
        depot.unreserve(returned);
    }

    #[inline]
    fn return_spares(&mut self, class: Class) {
        if self.held > self.cached.len() + SPARE {
            let n = SPARE / 2;
            self.held -= n;
            depot::unreserve(class, n);
        }
    }
}

impl Default for Magazine {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Magazine {
    fn drop(&mut self) {
        self.drain();
    }
}

impl fmt::Debug for Magazine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Magazine")
            .field("cached", &self.cached())
            .finish()
    }
}
