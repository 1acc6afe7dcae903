//! The poller: asks the kernel for events and hands each to its record.
//!
//! What always holds:
//! - One thread polls at a time: whoever has `polled`, which is only ever tried.
//! - Events that were fetched but not handled (there was a limit) are handled first by the
//!   next poll, before the kernel is asked again: they were edges and do not come twice.
//! - A token is generation << 32 | index; `KICK` is no index that is handed out.
//!
//! How waiting works: `epoll_wait` counts in milliseconds, so whole milliseconds of a longer
//! wait are spent in it and the rest, or a short wait, in `ppoll` on the epoll descriptor.
//! That costs a system call more on short waits, and a 100 us timer is not 1 ms late.

use crate::{descriptor::Descriptor, kick, slab::Slab, sys, waiter::Waiter};
use mio::{Events, Interest, Poll, Registry, Token, Waker, event::Event, unix::SourceFd};
use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::{
        Arc, Mutex, MutexGuard, TryLockError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The token of the kick's eventfd.
const KICK: Token = Token(u32::MAX as usize);
/// Events fetched by one system call at most.
const CAPACITY: usize = 256;
/// Waits of at least this many are begun in `epoll_wait`, where an event costs one system
/// call instead of two.
const LONG: Duration = Duration::from_millis(5);

/// Watches descriptors, and tells who waited for one when it becomes ready.
///
/// All of it may be used from any thread. See the [crate's page](crate) for an example.
pub struct Poller {
    shared: Arc<Shared>,
    kick: kick::Flag,
    waker: Waker,
    /// The epoll descriptor, which `polled` owns.
    epoll: RawFd,
    /// Held by the thread that polls. Tried, never waited for.
    polled: Mutex<Polled>,
}

/// What descriptors keep alive.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) slab: Slab,
    pub(crate) registry: Registry,
    /// Descriptors that are registered now.
    pub(crate) registered: AtomicUsize,
}

struct Polled {
    poll: Poll,
    events: Events,
    /// Events of `events` that have been handled.
    handled: usize,
    /// Events in `events`.
    fetched: usize,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("registered", &self.registered())
            .finish_non_exhaustive()
    }
}

impl Poller {
    /// Makes a poller with no descriptors.
    ///
    /// # Errors
    /// Those of `epoll_create1(2)` and `eventfd(2)`: no descriptors left, mostly. It takes
    /// three.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), KICK)?;
        Ok(Self {
            shared: Arc::new(Shared {
                slab: Slab::new(),
                registry: poll.registry().try_clone()?,
                registered: AtomicUsize::new(0),
            }),
            kick: kick::Flag::new(),
            waker,
            epoll: poll.as_raw_fd(),
            polled: Mutex::new(Polled {
                poll,
                events: Events::with_capacity(CAPACITY),
                handled: 0,
                fetched: 0,
            }),
        })
    }

    /// Registers a descriptor for both directions, edge-triggered.
    ///
    /// The open file must be non-blocking, or attempts block. Not for use inside code that
    /// must not allocate: it makes a system call and may allocate. If it is ready already,
    /// an event for it comes at once.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`: [`PermissionDenied`](io::ErrorKind::PermissionDenied) (EPERM)
    /// for regular files and directories, which are always ready,
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) for one that is registered already,
    /// ENOSPC at the limit of `fs.epoll.max_user_watches`.
    pub fn add(&self, fd: BorrowedFd<'_>) -> io::Result<Descriptor> {
        let (index, record) = self.shared.slab.take().ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the slab lives as long as `shared`, and records never move.
        let generation = unsafe { record.as_ref() }.open();
        // From here on dropping the descriptor gives the record back.
        let descriptor = Descriptor::new(Arc::clone(&self.shared), index, record);
        self.shared.registry.register(
            &mut SourceFd(&fd.as_raw_fd()),
            token(index, generation),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(descriptor)
    }

    /// Fetches events and wakes who waited for them, if no other thread is doing so.
    ///
    /// `timeout` says how long to wait for the first event: `Some(ZERO)` not at all, `None`
    /// until there is one; resolution is that of the kernel's timers, not milliseconds. A
    /// [`kick`](Poller::kick) ends the wait, and so does a signal that is handled on this
    /// thread. At most `limit` events are handled (but at least one, if there are any);
    /// what is left over is handled first by the next call, which then does not wait.
    /// `wake` is called with no lock held except the right to poll, once for each waiter.
    ///
    /// Returns the number of events handled, which may be 0 after any wait; `None` at once
    /// if another thread polls.
    ///
    /// `wake` should not panic: the waiter of the other direction, which the same event took
    /// out of its queue, would not be woken.
    ///
    /// # Errors
    /// Those of `epoll_wait(2)` and `ppoll(2)` but EINTR, which counts as no events. There is
    /// none that can be expected.
    pub fn try_poll(
        &self,
        timeout: Option<Duration>,
        limit: usize,
        wake: &mut dyn FnMut(Waiter),
    ) -> Option<io::Result<usize>> {
        Some(self.try_acquire()?.poll(timeout, limit, wake))
    }

    /// The right to poll, or `None` if another thread has it. Never blocks.
    ///
    /// For a thread that must announce how long it is going to wait, after it knows that it
    /// is the one to do so and before it does.
    pub fn try_acquire(&self) -> Option<Polling<'_>> {
        let polled = match self.polled.try_lock() {
            Ok(polled) => polled,
            // A `wake` panicked: the count of handled events was right before it was called.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Polling {
            poller: self,
            polled,
        })
    }

    /// Makes the poll that waits, or else the next one that would wait, return at once.
    ///
    /// Callable from any thread and, as it is a swap and at most a `write(2)`, from signal
    /// handlers (which save errno). Kicks before the return of one waiting poll are one
    /// kick. The poll that returns for it sees all that the kicker did before.
    pub fn kick(&self) {
        if self.kick.set() {
            // Fails only if the eventfd is not one, in a process that closed descriptors
            // that it does not own.
            let written = self.waker.wake();
            debug_assert!(written.is_ok(), "netpoll: kick: {written:?}");
        }
    }

    /// How many descriptors are registered. While there are none, only a kick can end a
    /// wait, and there is no need to poll.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.shared.registered.load(Ordering::Relaxed)
    }
}

/// Readable when there may be events: for a thread that waits for other things as well, and
/// then polls without waiting.
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open until `polled` is dropped, with `self`.
        unsafe { BorrowedFd::borrow_raw(self.epoll) }
    }
}

/// The right to poll, of one thread at a time. From [`Poller::try_acquire`].
pub struct Polling<'p> {
    poller: &'p Poller,
    polled: MutexGuard<'p, Polled>,
}

impl fmt::Debug for Polling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polling").finish_non_exhaustive()
    }
}

impl Polling<'_> {
    /// Fetches events and wakes who waited for them, as [`Poller::try_poll`] says.
    ///
    /// # Errors
    /// As there.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        limit: usize,
        wake: &mut dyn FnMut(Waiter),
    ) -> io::Result<usize> {
        let polled = &mut *self.polled;
        if polled.handled == polled.fetched {
            if timeout == Some(Duration::ZERO) {
                polled.fetch(timeout)?;
            } else {
                let kick = &self.poller.kick;
                let result = if kick.take() {
                    polled.fetch(Some(Duration::ZERO))
                } else {
                    polled.wait(timeout)
                };
                kick.take();
                result?;
            }
        }
        Ok(polled.deliver(&self.poller.shared.slab, limit.max(1), wake))
    }
}

impl Polled {
    /// Asks the kernel, with a timeout in whole milliseconds.
    fn fetch(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.handled = 0;
        self.fetched = 0;
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => self.fetched = self.events.iter().count(),
            // It left no events.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Asks the kernel, waiting as precisely as it can.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let Some(timeout) = timeout else {
            return self.fetch(None);
        };
        let mut rest = timeout;
        if timeout >= LONG {
            let start = Instant::now();
            let whole = Duration::from_millis(timeout.as_millis().try_into().unwrap_or(u64::MAX));
            self.fetch(Some(whole))?;
            rest = timeout.saturating_sub(start.elapsed());
            // If a signal ended it, the caller is told so by 0 events: it may have been
            // sent to have it look again.
            if self.fetched > 0 || rest > Duration::from_millis(1) {
                return Ok(());
            }
        }
        if !rest.is_zero() && sys::wait_readable(&self.poll, rest)? {
            self.fetch(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// Hands up to `limit` fetched events to their records.
    fn deliver(&mut self, slab: &Slab, limit: usize, wake: &mut dyn FnMut(Waiter)) -> usize {
        let mut delivered = 0;
        for event in self.events.iter().skip(self.handled) {
            if delivered == limit {
                break;
            }
            // First, so that a `wake` that panics does not have it handled twice.
            self.handled += 1;
            if event.token() == KICK {
                continue;
            }
            delivered += 1;
            let (index, generation) = index_and_generation(event.token());
            if let Some(record) = slab.get(index) {
                let (read, write) = directions(event);
                record.event(generation, read, write, wake);
            }
        }
        delivered
    }
}

/// Whom an event concerns: a hang-up or an error is for both to find out by trying.
fn directions(event: &Event) -> (bool, bool) {
    let broken = event.is_error();
    (
        event.is_readable() || event.is_read_closed() || broken,
        event.is_writable() || event.is_write_closed() || broken,
    )
}

fn token(index: u32, generation: u32) -> Token {
    Token((generation as usize) << 32 | index as usize)
}

fn index_and_generation(token: Token) -> (u32, u32) {
    // Truncation is the point: the halves of the token.
    (token.0 as u32, (token.0 >> 32) as u32)
}
