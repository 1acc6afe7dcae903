//! Readiness of descriptors for code that is written as if it blocked.
//!
//! A [`Poller`] watches descriptors, edge-triggered, in both directions. Whoever finds that an
//! operation would block queues a [`Waiter`] with the [`Descriptor`] and parks, in whatever way
//! it parks: the crate knows nothing of threads or goroutines. Whoever polls is given the
//! waiters whose descriptors became ready, and wakes them, in whatever way it wakes.
//!
//! What makes it fit for a scheduler of green threads:
//!
//! - A waiter is two words of the caller's choice. Queueing, waking and giving up take some tens
//!   of nanoseconds, allocate nothing and take no lock but a spin lock around a few instructions.
//! - Any number may wait in one direction, first come, first served, and an event wakes one.
//! - Waits can end for other reasons (timers, [`notify`](Descriptor::notify),
//!   [`close`](Descriptor::close)); events that come too late never wake a stranger.
//! - One thread polls at a time; others can [`kick`](Poller::kick) it out. Timeouts are as
//!   precise as the kernel's timers.
//!
//! The protocol, with its argument, is in the crate's README; loom models of it are part of the
//! tests. 64-bit Linux only.
//!
//! # Examples
//!
//! A thread that parks with std's means plays the green thread:
//!
//! ```
//! use goweft_netpoll::{Direction, Finished, Poller, Waiter};
//! use std::{
//!     io::{self, ErrorKind, Read, Write},
//!     os::{fd::AsFd, unix::net::UnixStream},
//!     thread::{self, Thread},
//! };
//!
//! /// The runtime's part: who a waiter is, and how it is woken. Here `who` is an index.
//! struct Threads(Vec<Thread>);
//! impl Threads {
//!     fn wake(&self, waiter: Waiter) {
//!         self.0[waiter.who].unpark(); // a stray unpark does no harm
//!     }
//! }
//!
//! let poller = Poller::new()?;
//! let threads = Threads(vec![thread::current()]);
//! let (mut near, far) = UnixStream::pair()?;
//! near.set_nonblocking(true)?;
//! let descriptor = poller.add(near.as_fd())?;
//!
//! let n = thread::scope(|s| {
//!     // Somebody polls until this thread is done,
//!     let polls = s.spawn(|| {
//!         let mut events = 0;
//!         while !descriptor.is_closed() {
//!             let polled = poller.try_poll(None, 64, &mut |waiter| threads.wake(waiter));
//!             events += polled.expect("nobody else polls")?;
//!         }
//!         io::Result::Ok(events)
//!     });
//!     // somebody writes,
//!     s.spawn(move || (&far).write_all(b"weft"));
//!     // and this thread reads: seen, try, wait.
//!     let mut buf = [0; 16];
//!     let n = loop {
//!         let seen = descriptor.seen(Direction::Read);
//!         match near.read(&mut buf) {
//!             Err(e) if e.kind() == ErrorKind::WouldBlock => {}
//!             done => {
//!                 descriptor.pass_on(Direction::Read, &mut |w| threads.wake(w));
//!                 break done;
//!             }
//!         }
//!         let me = Waiter { who: 0, ticket: 0 };
//!         match descriptor.wait(Direction::Read, seen, me, thread::park) {
//!             Finished::Closed => return Err(ErrorKind::NotConnected.into()),
//!             Finished::Event | Finished::Nothing => {} // again
//!         }
//!     };
//!     descriptor.close(&mut |w| threads.wake(w));
//!     poller.kick();
//!     assert!(polls.join().expect("it does not panic")? > 0);
//!     n
//! })?;
//! assert_eq!(n, 4);
//! descriptor.remove(near.as_fd())?;
//! # io::Result::Ok(())
//! ```
#![deny(missing_docs)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("goweft-netpoll runs on 64-bit Linux only");

mod descriptor;
mod kick;
mod lock;
#[cfg(all(test, loom))]
mod loom_models;
mod poller;
mod record;
mod slab;
mod sync;
mod sys;
mod waiter;

pub use descriptor::{Descriptor, Direction};
pub use poller::{Poller, Polling};
pub use record::{Finished, Prepared, Seen};
pub use waiter::{Wait, Waiter};
