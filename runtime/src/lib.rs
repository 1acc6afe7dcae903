//! Goroutines for Rust: stackful green threads, many on few OS threads, in plain
//! blocking code.
//!
//! A goroutine is a thread that costs little: its stack is memory that it has touched,
//! a few KiB, and switching to another takes nanoseconds. What would block a
//! thread (a channel, a lock, a socket, a sleep) parks the goroutine, and its thread
//! runs another one. So there is no `async`: any function can wait.
//!
//! # Spawning
//!
//! [`go!`] starts a goroutine and forgets it; [`spawn`] gives a handle. Both take
//! what `std::thread::spawn` takes:
//!
//! ```
//! use goweft::{go, spawn};
//!
//! #[goweft::main]
//! fn main() {
//!     let sum = spawn(|| (1..=100).sum::<u32>());
//!     go!(println!("arguments are evaluated now, the call runs {}", "later"));
//!     assert_eq!(sum.join().unwrap(), 5050);
//! }
//! ```
//!
//! Under [`#[goweft::main]`](macro@main) `main` is a goroutine itself. Without it nothing
//! is missing: the runtime starts at its first use, and [`spawn`], channels and
//! locks work from any thread. [`run`] makes a goroutine of a closure and waits for
//! it, and [`scope`] lets goroutines borrow:
//!
//! ```
//! let text = String::from("to be or not to be");
//! let (mut words, mut letters) = (0, 0);
//! goweft::scope(|s| {
//!     s.spawn(|| words = text.split(' ').count());
//!     s.spawn(|| letters = text.chars().filter(|c| c.is_alphabetic()).count());
//! });
//! assert_eq!((words, letters), (6, 13));
//! ```
//!
//! # Talking
//!
//! Channels have Go's semantics, with a `Result` where Go panics or gives a second
//! value. A rendezvous hands a value over; `for` ends when the channel is closed and
//! empty, and dropping the last sender closes it.
//!
//! ```
//! use goweft::{channel, go};
//!
//! let (jobs, todo) = channel::bounded(0);
//! let (done, results) = channel::unbounded();
//! for _ in 0..4 {
//!     let (todo, done) = (todo.clone(), done.clone());
//!     go! {
//!         for n in todo {
//!             done.send(n * n).unwrap();
//!         }
//!     }
//! }
//! drop(done);
//! for n in 0..10u32 {
//!     jobs.send(n).unwrap();
//! }
//! drop(jobs);
//! assert_eq!(results.iter().sum::<u32>(), 285);
//! ```
//!
//! [`select!`] waits for several at once. Its arms are inline: `break`, `return` and `?`
//! work in them.
//!
//! ```
//! use goweft::{channel, go, select};
//! use std::time::Duration;
//!
//! let (tx, rx) = channel::bounded(0);
//! go!(tx.send("hello"));
//! let timeout = channel::after(Duration::from_secs(60));
//! select! {
//!     recv(rx) -> word => assert_eq!(word, Ok("hello")),
//!     recv(timeout) -> _ => panic!("too late"),
//! }
//! ```
//!
//! What is done for somebody ends with it: a [`context`] is handed down, and is done when
//! its time is over, when it is cancelled, or when the one it comes from is.
//!
//! ```
//! use goweft::{context::Context, channel, select};
//! use std::time::Duration;
//!
//! fn answer(ctx: &Context, from: channel::Receiver<u32>) -> Option<u32> {
//!     select! {
//!         recv(from) -> answer => answer.ok(),
//!         recv(ctx.done()) -> _ => None,
//!     }
//! }
//!
//! let (_tx, rx) = channel::bounded(0);
//! let (ctx, _cancel) = Context::background().with_timeout(Duration::from_millis(1));
//! assert_eq!(answer(&ctx, rx), None);
//! ```
//!
//! [`sync`] has the locks, under std's names; they park goroutines and block
//! threads.
//!
//! # Failing
//!
//! A panic ends its goroutine only. It is printed as std prints it, with the
//! goroutine's name or number; `join` returns the payload. With
//! [`PanicPolicy::Abort`] it ends the process, as in Go. [`task::exit`] ends a goroutine
//! without a panic, and [`defer!`] runs code at the end of a scope whichever way it
//! is left.
//!
//! A goroutine that runs out of its stack (256 KiB of address space, unless
//! [`Builder::stack_size`] or [`Config::stack_size`] says otherwise) ends the process with a
//! report that names it.
//!
//! # Blocking and computing
//!
//! At most [`runtime::maxprocs`] goroutines run at the same time, and none keeps a processor
//! from the others. One that computes for longer than a time slice
//! ([`Config::time_slice`]) while others wait gives way, wherever it is: at its next call into
//! goweft, or else its thread is stopped for a while and another one goes on. One that
//! blocks in the kernel or in code that waits in its own way (a file, a lock of std, a C
//! library) loses its processor after a millisecond; [`blocking`] gives it away at once.
//!
//! # Threads
//!
//! A goroutine goes on on another OS thread after it parked. Values that are not `Send`
//! and references to thread-locals must not be held over a call that may
//! park; the compiler does not see this. [`goroutine_local!`] has values
//! that stay with the goroutine. The repository's `docs/SOUNDNESS.md` says
//! what this means, and names the known offenders.
#![deny(missing_docs)]

#[cfg(not(target_os = "linux"))]
compile_error!("goweft runs on Linux only: it needs its memory advice, futexes and epoll");

mod protocol;

#[cfg(not(loom))]
mod abort;
#[cfg(not(loom))]
pub mod channel;
#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod config;
#[cfg(not(loom))]
pub mod context;
#[cfg(not(loom))]
mod defer;
#[cfg(not(loom))]
mod env;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
pub mod io;
#[cfg(not(loom))]
mod limits;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
mod mapped_vec;
#[cfg(not(loom))]
pub mod net;
#[cfg(not(loom))]
mod preempt_safe;
#[cfg(not(loom))]
mod prefetch;
#[cfg(not(loom))]
mod private;
#[cfg(not(loom))]
pub mod rate;
#[cfg(not(loom))]
mod report;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
mod sched;
#[cfg(not(loom))]
pub mod signal;
#[cfg(not(loom))]
pub mod sync;
#[cfg(not(loom))]
mod sys;
#[cfg(not(loom))]
pub mod task;
#[cfg(not(loom))]
mod tell;
#[cfg(not(loom))]
pub mod time;

#[cfg(not(loom))]
pub use config::{Config, ConfigError, Migration, PanicPolicy};
#[cfg(not(loom))]
pub use goweft_macros::{go, main, select, test};
#[cfg(not(loom))]
pub use preempt_safe::PreemptSafe;
#[cfg(not(loom))]
pub use task::{
    Builder, JoinHandle, Scope, ScopedJoinHandle, block_on, blocking, no_park, no_preempt, run,
    scope, spawn,
};

/// What the macros expand to.
#[cfg(not(loom))]
#[doc(hidden)]
pub mod __private {
    pub use crate::channel::select::{
        RecvOperand, SendArm, SendOperand, choose, choose_by, choose_now, receives, select_nothing,
        sends, slot_for,
    };
    pub use crate::defer::Deferred;
    pub use crate::private::{empty_operations, go, go_with, main, test};
}
