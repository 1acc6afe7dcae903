//! Whatever ends a wait races with whatever it waits for: no wake-up is lost, no record of a
//! wait stays behind, no value is dropped that somebody was to have.
//!
//! | what waits | against | where |
//! |---|---|---|
//! | a receive, a send, a select, one over a list° | closing, its deadline, a context | `channels` |
//! | a semaphore, a rate limiter, an error group | a context | `contexts` |
//! | a context, and what is to run after it | cancelling from all sides, its time | `contexts`, and `context_races` |
//! | a mutex, readers and writers, a condition, a semaphore | their deadlines | `sync_races` |
//! | a crowd at a condition° | being notified one by one and all together, deadlines | `sync_races` |
//! | a context that waits for a signal° | the signal, stopping, its parent | `contexts` |
//! | a wait group | its deadline | `waits`, `sync_races` |
//! | a barrier, something that happens once, a shared call | each other, a panic | `waits` |
//! | a join | the end; a handle that is dropped, or was polled before | `waits` |
//! | a park | unparking, its deadline | `waits` |
//! | a timer, its receiver, its function | stopping and resetting | `timers`, `time_million` |
//! | a ticker's receiver° | stopping and resetting | `timers`, `time_million` |
//! | a read°, a write°, both of a pipe°, an accept° | closing, deadlines, data | `sockets` |
//! | a copy from pipe to pipe° | closing and deadlines of either | `sockets` |
//!
//! Beside these, one that waits at a channel gets its turn whatever a hog does (`hogs`; for locks
//! `sync_races`).
//!
//! Each goes 100,000 rounds, a third of them with 1, with 2 and with 8 processors, some between
//! goroutines, some with plain threads, some against timers; and all of that once more where
//! goroutines stay on their threads. In a soak (`.ci/soak`) it is 100,000 of each of those. Those
//! with a ° go a part of it otherwise: they are dear, or go the ways of others. How a round goes is
//! told in `goweft_races`.

mod channels;
mod contexts;
mod hogs;
mod sockets;
mod timers;
mod waits;

#[test]
fn all_of_it_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("all_of_it_where_everybody_is_pinned");
}
