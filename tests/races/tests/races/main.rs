//! Whatever ends a wait races with whatever it waits for: no wake-up is lost, no record of a
//! wait stays behind, no value is dropped that somebody was to have.
//!
//! | what waits | against | where |
//! |---|---|---|
//! | a receive, a send, a select | closing, its deadline, a context | `channels` |
//! | a semaphore, a rate limiter, an error group | a context | `contexts` |
//! | a context, and what is to run after it | cancelling from all sides, its time | `contexts`, and `context_races` |
//! | a mutex, readers and writers, a condition, a semaphore | their deadlines | `sync_races` |
//! | a wait group | its deadline | `waits`, `sync_races` |
//! | a barrier, something that happens once, a shared call | each other, a panic | `waits` |
//! | a join | the end; a handle that is dropped, or was polled before | `waits` |
//! | a park | unparking, its deadline | `waits` |
//! | a timer, its receiver, its function | stopping and resetting | `timers` |
//! | a read, a write, an accept, a pipe | closing, deadlines, data | `sockets` |
//!
//! Each goes 100,000 rounds with 1, with 2 and with 8 processors, some of them between goroutines,
//! some with plain threads, some against timers; and all of that once more where goroutines
//! stay on their threads. How a round goes is told in `goweft_races`.

mod channels;
mod contexts;
mod sockets;
mod timers;
mod waits;

#[test]
fn all_of_it_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("all_of_it_where_everybody_is_pinned");
}
