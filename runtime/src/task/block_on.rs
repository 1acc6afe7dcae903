//! `block_on`: a future's way out of `async`, by parking.
//!
//! The waker that the future is given shares one word with the caller:
//!
//! | from | to | by |
//! |---|---|---|
//! | Idle | Woken | waker: the caller will poll again without parking |
//! | Idle | Parked | caller, after its waiter is in the words beside |
//! | Parked | Woken | waker, which readies the waiter that it finds |
//! | Woken or Parked | Idle | caller, before it polls |
//!
//! The waiter is read after the swap to Woken. If the caller has gone on meanwhile
//! the waiter is an older or a later one of this caller: an older one is stale, and
//! a later one ends a park for no reason, after which the caller looks again. The
//! two words of it may be of different waits of the same caller; so the block is
//! right, and the ticket is one of its tickets.

use crate::clock::NEVER;
use crate::sched::{Inside, WaitReason, Waiter};
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

const IDLE: u8 = 0;
const WOKEN: u8 = 1;
const PARKED: u8 = 2;

/// What a waker and the caller share.
struct Signal {
    state: AtomicU8,
    who: AtomicUsize,
    ticket: AtomicU64,
}

/// Runs a future to its end and parks the caller, a goroutine or a plain thread,
/// while it is not ready.
///
/// The future runs on the caller. One that needs an executor of its own (its timers,
/// its sockets) must be in reach of that executor.
///
/// ```
/// let answer = goweft::spawn(|| 42);
/// assert_eq!(goweft::block_on(async { answer.await.unwrap() + 1 }), 43);
/// ```
///
/// # Panics
/// When the future does; and in [`no_park`](crate::no_park), when it has to wait for it. The future
/// is dropped then.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    let signal = Arc::new(Signal {
        state: AtomicU8::new(IDLE),
        who: AtomicUsize::new(0),
        ticket: AtomicU64::new(0),
    });
    let waker = Waker::from(signal.clone());
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        signal.wait();
    }
}

impl Signal {
    /// Parks until it is woken; Idle afterwards.
    fn wait(&self) {
        while self.state.swap(IDLE, Ordering::Acquire) != WOKEN {
            let mut inside = Inside::enter();
            if inside.refuses() {
                return;
            }
            let waiter = inside.prepare(WaitReason::BlockOn);
            let (who, ticket) = waiter.to_words();
            self.who.store(who, Ordering::Relaxed);
            self.ticket.store(ticket, Ordering::Relaxed);
            let parked =
                self.state
                    .compare_exchange(IDLE, PARKED, Ordering::Release, Ordering::Relaxed);
            if parked.is_ok() {
                inside.park(waiter, NEVER);
            } else {
                inside.cancel(waiter);
            }
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // AcqRel: what we wrote before is seen by the poll that follows, and the
        // words below are those of the park that we ended.
        if self.state.swap(WOKEN, Ordering::AcqRel) == PARKED {
            let (who, ticket) = (
                self.who.load(Ordering::Relaxed),
                self.ticket.load(Ordering::Relaxed),
            );
            // SAFETY: stored by `wait`, from a waiter of this caller: the block
            // is the same each time, and any of its tickets will do.
            Inside::enter().ready(unsafe { Waiter::from_words(who, ticket) });
        }
    }
}
