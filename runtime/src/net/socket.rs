//! A socket that parks: what streams and listeners are made of, and pipes and any other
//! descriptor too.
//!
//! What always holds:
//! - The open file is non-blocking and registered with the netpoll, once, until
//!   the `Socket` is dropped or closed. Clones share the `Socket`.
//! - The descriptor's number is taken until the last clone is gone, also when the
//!   socket was closed: see [`sys::retire`].
//! - Waiting is done inside the runtime; attempts, and whatever allocates (an error
//!   with a message does), outside.
//!
//! How an operation goes ([`Socket::operate`]):
//! 1. Is the deadline over? Then nothing is attempted.
//! 2. Look at the netpoll's word for the direction (`seen`); closed: fail.
//! 3. The system call. Anything but `WouldBlock` is the answer; the turn, if an
//!    event gave it to us, is passed on.
//! 4. Queue, unless an event came since 2. *Then* look at the deadline: who changes
//!    it stores it first and wakes the queue after that, so either we see
//!    the new one here or we are woken.
//! 5. Park until an event, a change of the deadline, `close`, or the time. When that
//!    is over and there was no event, time out; else go to 2.
//!
//! An event that comes just before the deadline is used even when the goroutine runs
//! after it: data that came in time is not lost to a busy processor.

use super::{closed, sys};
use crate::clock::{self, NEVER, Nanos};
use crate::sched::{self, Inside, WaitReason, poll};
use goweft_netpoll::{Descriptor, Direction, Finished, Prepared, Seen, Wait};
use socket2::SockRef;
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A registered socket; `S` is std's type of it, for its system calls.
pub(crate) struct Socket<S> {
    /// Before `inner`: it is dropped while the descriptor is open.
    registration: Registration,
    inner: S,
    /// What the user set; the open file is non-blocking always.
    nonblocking: AtomicBool,
    /// Per direction: when operations fail; [`NEVER`] without one. Written by
    /// anybody, read by operations.
    deadlines: [AtomicU64; 2],
    /// Per direction: how long each operation waits; [`NEVER`] without limit.
    timeouts: [AtomicU64; 2],
}

/// The socket's place in the netpoll.
struct Registration {
    /// Or the error number of the attempt: conversions from a descriptor cannot
    /// fail, so the first operation says it.
    descriptor: Result<Registered, i32>,
    fd: RawFd,
}

/// A descriptor that is made and dropped with preemption deferred: both take the
/// lock of its record, for which the poller spins.
struct Registered(ManuallyDrop<Descriptor>);

impl Registered {
    /// Never inlined: the rule of `deferral.rs`.
    #[inline(never)]
    fn new(fd: BorrowedFd<'_>) -> Result<Registered, i32> {
        let before = sched::deferral::defer();
        let added = poll::poller().map(|poller| poller.add(fd));
        sched::deferral::allow(before);
        match added {
            Some(Ok(descriptor)) => Ok(Registered(ManuallyDrop::new(descriptor))),
            Some(Err(e)) => Err(e.raw_os_error().unwrap_or(libc::ENOMEM)),
            None => Err(libc::ENOSYS),
        }
    }
}

impl Drop for Registered {
    #[inline(never)]
    fn drop(&mut self) {
        let before = sched::deferral::defer();
        // SAFETY: once, by the drop of its owner, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.0) };
        sched::deferral::allow(before);
    }
}

impl Deref for Registered {
    type Target = Descriptor;
    #[inline]
    fn deref(&self) -> &Descriptor {
        &self.0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Ok(descriptor) = &self.descriptor
            && !descriptor.is_closed()
        {
            // SAFETY: it is open: `Socket::into_inner`, `unwatched` and the order of its
            // fields drop this before the owner, which nobody is lent mutably meanwhile.
            let fd = unsafe { BorrowedFd::borrow_raw(self.fd) };
            // There may be duplicates, so closing it is not enough.
            let _ = descriptor.deregister(fd);
        }
    }
}

impl<S: AsFd> Socket<S> {
    /// Registers `inner`, which must be non-blocking.
    pub(crate) fn new(inner: S) -> Socket<S> {
        sched::start::ensure();
        let fd = inner.as_fd();
        let registration = Registration {
            descriptor: Registered::new(fd),
            fd: fd.as_raw_fd(),
        };
        Socket {
            registration,
            inner,
            nonblocking: AtomicBool::new(false),
            deadlines: [AtomicU64::new(NEVER), AtomicU64::new(NEVER)],
            timeouts: [AtomicU64::new(NEVER), AtomicU64::new(NEVER)],
        }
    }

    /// Takes over a socket from elsewhere with its settings: whether it blocks, and
    /// its timeouts.
    pub(crate) fn adopt(inner: S) -> Socket<S> {
        let sock = SockRef::from(&inner);
        let nonblocking = sock.nonblocking().unwrap_or(false);
        let made_so = if nonblocking {
            Ok(())
        } else {
            sock.set_nonblocking(true)
        };
        let timeouts = [sock.read_timeout(), sock.write_timeout()];
        let mut socket = Socket::new(inner);
        if let Err(e) = made_so {
            socket.registration.descriptor = Err(e.raw_os_error().unwrap_or(libc::EINVAL));
        }
        socket.nonblocking = AtomicBool::new(nonblocking);
        socket.timeouts = timeouts
            .map(|timeout| AtomicU64::new(timeout.ok().flatten().map_or(NEVER, clock::nanos)));
        socket
    }

    /// Whether registering went well.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.descriptor().map(|_| ())
    }

    /// The socket with its settings, as std has it, unless other clones use it.
    pub(crate) fn into_inner(self: Arc<Self>) -> Result<S, Arc<Self>> {
        let socket = Arc::try_unwrap(self)?;
        let nonblocking = socket.nonblocking.load(Ordering::Relaxed);
        let timeouts = [0, 1].map(|i: usize| duration(socket.timeouts[i].load(Ordering::Relaxed)));
        let inner = socket.unwatched();
        let sock = SockRef::from(&inner);
        // Errors: those of a socket that was closed, or never was one. It shows.
        let _ = sock.set_nonblocking(nonblocking);
        let [read, write] = timeouts;
        let _ = read.map(|read| sock.set_read_timeout(Some(read)));
        let _ = write.map(|write| sock.set_write_timeout(Some(write)));
        Ok(inner)
    }

    /// What was given to `new`, in whatever mode it is. It must not be closed.
    pub(crate) fn unwatched(self) -> S {
        let Socket {
            registration,
            inner,
            ..
        } = self;
        drop(registration);
        inner
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    /// For calls that never block, on one that is never closed; else [`call`](Self::call).
    pub(crate) fn get_ref(&self) -> &S {
        &self.inner
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(&self.registration.descriptor, Ok(descriptor) if descriptor.is_closed())
    }

    #[inline]
    fn descriptor(&self) -> io::Result<&Descriptor> {
        match &self.registration.descriptor {
            Ok(descriptor) => Ok(descriptor),
            Err(number) => Err(io::Error::from_raw_os_error(*number)),
        }
    }

    /// A call that never blocks: options, addresses.
    pub(crate) fn call<T>(&self, f: impl FnOnce(&S) -> io::Result<T>) -> io::Result<T> {
        let descriptor = self.descriptor()?;
        if descriptor.is_closed() {
            return Err(closed());
        }
        f(&self.inner).map_err(|e| if descriptor.is_closed() { closed() } else { e })
    }

    /// An operation that may wait, with the timeout of its direction.
    #[inline]
    pub(crate) fn operate<T>(
        &self,
        direction: Direction,
        attempt: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        self.operate_until(direction, None, attempt)
    }

    /// An operation that may wait, until `limit` if there is one, else for the timeout
    /// of its direction. `attempt` runs outside the runtime, as often as needed.
    #[inline]
    pub(super) fn operate_until<T>(
        &self,
        direction: Direction,
        mut limit: Option<Nanos>,
        mut attempt: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let descriptor = self.descriptor()?;
        let mut turn = Turn {
            descriptor,
            direction,
            may_have_it: false,
        };
        if descriptor.is_closed() {
            return Err(closed());
        }
        if self.is_over(direction) {
            return Err(ErrorKind::TimedOut.into());
        }
        loop {
            let seen = descriptor.seen(direction);
            if seen.is_closed() {
                return Err(closed());
            }
            match attempt(&self.inner) {
                Ok(value) => {
                    if !turn.may_have_it {
                        // Who never has to wait gives way here, if it should.
                        drop(Inside::enter());
                    }
                    return Ok(value);
                }
                Err(e) => match e.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock if self.nonblocking.load(Ordering::Relaxed) => {
                        return Err(e);
                    }
                    ErrorKind::WouldBlock => {
                        let limit = *limit.get_or_insert_with(|| self.timeout_from_now(direction));
                        self.wait(&mut turn, seen, limit)?;
                    }
                    _ if descriptor.is_closed() => return Err(closed()),
                    _ => return Err(e),
                },
            }
        }
    }

    /// Steps 4 and 5. Ok: try again.
    #[inline(never)]
    fn wait(&self, turn: &mut Turn<'_>, seen: Seen, limit: Nanos) -> io::Result<()> {
        let Turn {
            descriptor,
            direction,
            ..
        } = *turn;
        let mut inside = Inside::enter();
        if inside.refuses() {
            drop(inside);
            return Err(ErrorKind::WouldBlock.into());
        }
        let waiter = inside.prepare(WaitReason::Io);
        let (who, ticket) = waiter.to_words();
        let named = goweft_netpoll::Waiter { who, ticket };
        let wait = Wait::new();
        // SAFETY: `wait` is new, and stays in this frame until `finish`, which
        // follows: nothing in between unwinds (a panic inside aborts). `self`, and
        // the descriptor with it, is borrowed for as long.
        match unsafe { descriptor.prepare(direction, seen, &wait, named) } {
            Prepared::Ready => {
                inside.cancel(waiter);
                return Ok(());
            }
            Prepared::Closed => {
                inside.cancel(waiter);
                drop(inside);
                return Err(closed());
            }
            Prepared::Waiting => turn.may_have_it = false,
        }
        let until = self.deadline(direction).min(limit);
        if until == NEVER || clock::now() < until {
            inside.park(waiter, until);
        } else {
            inside.cancel(waiter);
        }
        // SAFETY: `prepare` said Waiting, and this is the only `finish`.
        let finished = unsafe { descriptor.finish(direction, &wait) };
        drop(inside);
        turn.may_have_it = true;
        match finished {
            Finished::Event => Ok(()),
            Finished::Closed => Err(closed()),
            Finished::Nothing => {
                // Read again: it may have been changed while we waited.
                let until = self.deadline(direction).min(limit);
                if clock::has_passed(until) {
                    return Err(ErrorKind::TimedOut.into());
                }
                Ok(())
            }
        }
    }

    /// Acquire pairs with the release in `set_deadline`.
    #[inline]
    fn deadline(&self, direction: Direction) -> Nanos {
        self.deadlines[direction as usize].load(Ordering::Acquire)
    }

    #[inline]
    fn is_over(&self, direction: Direction) -> bool {
        let deadline = self.deadline(direction);
        clock::has_passed(deadline)
    }

    fn timeout_from_now(&self, direction: Direction) -> Nanos {
        match self.timeouts[direction as usize].load(Ordering::Relaxed) {
            NEVER => NEVER,
            timeout => clock::now().saturating_add(timeout),
        }
    }

    /// Sets the deadline of `directions` and wakes who waits there, to look at it.
    pub(crate) fn set_deadline(
        &self,
        directions: &[Direction],
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let descriptor = self.descriptor()?;
        if descriptor.is_closed() {
            return Err(closed());
        }
        let deadline = deadline.map_or(NEVER, clock::from_instant);
        for &direction in directions {
            self.deadlines[direction as usize].store(deadline, Ordering::Release);
        }
        let mut inside = Inside::enter();
        for &direction in directions {
            descriptor.notify(direction, &mut |waiter| ready(&mut inside, waiter));
        }
        Ok(())
    }

    pub(super) fn timeout(&self, direction: Direction) -> io::Result<Option<Duration>> {
        self.call(|_| {
            Ok(duration(
                self.timeouts[direction as usize].load(Ordering::Relaxed),
            ))
        })
    }

    pub(super) fn set_timeout(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a timeout of zero (None means no timeout)",
            ));
        }
        self.call(|_| {
            let timeout = timeout.map_or(NEVER, clock::nanos);
            self.timeouts[direction as usize].store(timeout, Ordering::Relaxed);
            Ok(())
        })
    }

    pub(super) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.call(|_| {
            self.nonblocking.store(nonblocking, Ordering::Relaxed);
            Ok(())
        })
    }

    /// Closes the socket under all who use it; they fail with [`closed`].
    pub(crate) fn close(&self) -> io::Result<()> {
        let descriptor = self.descriptor()?;
        let mut inside = Inside::enter();
        let first = descriptor.close(&mut |waiter| ready(&mut inside, waiter));
        drop(inside);
        if !first {
            return Err(closed());
        }
        let fd = self.inner.as_fd();
        // A duplicate would keep the registration. Nobody else deregisters: the
        // drop sees that it is closed.
        let _ = descriptor.deregister(fd);
        if sys::retire(fd).is_err() {
            // No descriptors left: the peer is told all the same, and the rest is
            // done when the last clone is dropped.
            let _ = SockRef::from(&self.inner).shutdown(Shutdown::Both);
        }
        Ok(())
    }
}

/// The turn that an event may have given to this operation; passed on at its end.
struct Turn<'a> {
    descriptor: &'a Descriptor,
    direction: Direction,
    /// It waited, and does not stand in the queue now.
    may_have_it: bool,
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.may_have_it {
            let mut inside = Inside::enter();
            self.descriptor
                .pass_on(self.direction, &mut |waiter| ready(&mut inside, waiter));
        }
    }
}

/// Ends a wait that the netpoll names.
fn ready(inside: &mut Inside, waiter: goweft_netpoll::Waiter) {
    // SAFETY: every waiter in the netpoll is one of ours, as two words.
    inside.ready(unsafe { sched::Waiter::from_words(waiter.who, waiter.ticket) });
}

/// A stored timeout as the user set it.
fn duration(timeout: Nanos) -> Option<Duration> {
    (timeout != NEVER).then(|| Duration::from_nanos(timeout))
}
