//! One registered descriptor, as those who wait for it use it.
//!
//! What always holds: the record belongs to this handle until it is dropped, and whoever
//! waits borrows the handle, so nobody stands in its queues when that happens.
//!
//! How it is used (the loop in [`Descriptor::wait`]): look (`seen`), try, and on
//! `WouldBlock` wait, unless an event came since the look. An event wakes **one** waiter of
//! each direction, the oldest, and gives it the turn. Who has the turn tries until it would
//! block, which ends the turn, or stops trying and passes it on.

use crate::{
    poller::Shared,
    record::{Finished, Prepared, Record, Seen},
    waiter::{Wait, Waiter},
};
use mio::unix::SourceFd;
use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd},
    panic::{RefUnwindSafe, UnwindSafe},
    process,
    ptr::NonNull,
    sync::{Arc, atomic::Ordering},
};

/// One of the two ways in which a descriptor can be ready.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Reading, receiving and accepting.
    Read = 0,
    /// Writing, sending and connecting.
    Write = 1,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Read, Self::Write];
}

/// A descriptor that a [`Poller`](crate::Poller) watches.
///
/// It does not own the descriptor. Take it off with [`remove`](Self::remove), or drop it
/// when the descriptor is closed right after and not shared with another process or a
/// duplicate: the kernel then takes it off itself, and a system call is saved.
pub struct Descriptor {
    shared: Arc<Shared>,
    index: u32,
    record: NonNull<Record>,
}

// SAFETY: a record may be used from all threads (it is Sync), and lives as long as `shared`.
unsafe impl Send for Descriptor {}
// SAFETY: as for Send.
unsafe impl Sync for Descriptor {}

// A panic leaves no record half changed: no foreign code runs while one is.
impl UnwindSafe for Descriptor {}
impl RefUnwindSafe for Descriptor {}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor")
            .field("index", &self.index)
            .field("closed", &self.is_closed())
            .finish()
    }
}

impl Descriptor {
    /// `record` is that of `index` in the slab of `shared`, open, and nobody else's.
    pub(crate) fn new(shared: Arc<Shared>, index: u32, record: NonNull<Record>) -> Self {
        // Relaxed: a count to look at; what it guards is synchronised by itself.
        shared.registered.fetch_add(1, Ordering::Relaxed);
        Self {
            shared,
            index,
            record,
        }
    }

    fn record(&self) -> &Record {
        // SAFETY: records never move and live as long as the slab in `shared`.
        unsafe { self.record.as_ref() }
    }

    /// What is known of a direction before an attempt. To be called right before **each**
    /// attempt, and given to the wait that follows it. One load.
    #[inline]
    #[must_use]
    pub fn seen(&self, direction: Direction) -> Seen {
        self.record().seen(direction)
    }

    /// Queues `waiter` and runs `park`, which blocks until the handle is passed to a `wake`
    /// function, or until anything else (a timer) makes it return; then takes the waiter back.
    ///
    /// If an event came since `seen`, it returns `Event` at once, and if the descriptor is
    /// closed, `Closed`; `park` is not run then. No locks are held while it runs.
    /// Any number may wait in one direction; they are woken in the order of their coming.
    ///
    /// # Panics
    /// A panic in `park` aborts the process: there would be nobody to take the turn, if the
    /// waiter has just been given it.
    ///
    /// # Examples
    /// How a blocking read is made of a non-blocking one; `parker` is the caller's own.
    ///
    /// ```
    /// use goweft_netpoll::{Descriptor, Direction::Read, Finished, Waiter};
    /// use std::io::{self, ErrorKind};
    /// # trait Parker { fn waiter(&self) -> Waiter; fn park(&self); }
    /// fn read(
    ///     descriptor: &Descriptor,
    ///     mut socket: impl io::Read,
    ///     buf: &mut [u8],
    ///     parker: &impl Parker,
    ///     wake: &mut dyn FnMut(Waiter),
    /// ) -> io::Result<usize> {
    ///     loop {
    ///         let seen = descriptor.seen(Read);
    ///         match socket.read(buf) {
    ///             Err(e) if e.kind() == ErrorKind::WouldBlock => {}
    ///             done => {
    ///                 descriptor.pass_on(Read, wake);
    ///                 return done;
    ///             }
    ///         }
    ///         match descriptor.wait(Read, seen, parker.waiter(), || parker.park()) {
    ///             Finished::Closed => return Err(ErrorKind::NotConnected.into()),
    ///             Finished::Event | Finished::Nothing => {} // here: is the deadline over?
    ///         }
    ///     }
    /// }
    /// ```
    pub fn wait(
        &self,
        direction: Direction,
        seen: Seen,
        waiter: Waiter,
        park: impl FnOnce(),
    ) -> Finished {
        /// Ends the process when `park` unwinds.
        struct Abort;
        impl Drop for Abort {
            fn drop(&mut self) {
                process::abort();
            }
        }
        let wait = Wait::new();
        // SAFETY: `wait` is in no queue; it stays in this frame, which is left only after
        // `finish` below, since a panic in between aborts.
        match unsafe { self.prepare(direction, seen, &wait, waiter) } {
            Prepared::Ready => return Finished::Event,
            Prepared::Closed => return Finished::Closed,
            Prepared::Waiting => {}
        }
        let abort = Abort;
        park();
        std::mem::forget(abort);
        // SAFETY: prepared just above, with the same direction.
        unsafe { self.finish(direction, &wait) }
    }

    /// Queues `waiter`, with its record `wait`, unless an event came since `seen`.
    ///
    /// The first half of [`wait`](Self::wait), for a caller that has something to do between
    /// queueing and parking. After `Waiting`, [`finish`](Self::finish) must follow.
    ///
    /// # Safety
    /// `wait` is in no queue: it is new, or was finished. After `Waiting`, it and this
    /// handle stay alive, and `wait` in its place, until `finish` has returned.
    #[inline]
    pub unsafe fn prepare(
        &self,
        direction: Direction,
        seen: Seen,
        wait: &Wait,
        waiter: Waiter,
    ) -> Prepared {
        // SAFETY: the same contract.
        unsafe { self.record().prepare(direction, seen, wait, waiter) }
    }

    /// Takes a waiter back, whatever woke it, and says what happened.
    ///
    /// Who was told [`Finished::Event`] has the turn, even if its timer ran off at the same
    /// time: it tries again, or calls [`pass_on`](Self::pass_on).
    ///
    /// # Safety
    /// [`prepare`](Self::prepare) of this descriptor and direction returned `Waiting` for
    /// `wait`, and it was not finished since.
    #[inline]
    pub unsafe fn finish(&self, direction: Direction, wait: &Wait) -> Finished {
        // SAFETY: the same contract.
        unsafe { self.record().finish(direction, wait) }
    }

    /// Ends the turn that an event gave, when the attempt has succeeded or failed with
    /// anything but `WouldBlock`, or is not made: the next waiter, if there is one, is woken
    /// to try.
    ///
    /// To be called by everybody who has waited and does not wait again; harmless
    /// otherwise. One load if nobody else waits. At most one call of `wake`, with no lock held.
    #[inline]
    pub fn pass_on(&self, direction: Direction, wake: &mut dyn FnMut(Waiter)) {
        self.record().pass_on(direction, wake);
    }

    /// Wakes all that wait in a direction now without an event, because something that they
    /// look at before they wait has changed: their deadline. `wake` is called with no lock
    /// held. They find [`Finished::Nothing`].
    pub fn notify(&self, direction: Direction, wake: &mut dyn FnMut(Waiter)) {
        self.record().notify(direction, wake);
    }

    /// Wakes all that wait, in both directions, with [`Finished::Closed`], and makes later
    /// waits fail. No event for this descriptor is delivered afterwards. Returns false if it
    /// was closed before. `wake` is called with no lock held.
    ///
    /// This is about waiting only: the descriptor stays open and registered until this
    /// handle is removed or dropped, when nobody uses it any more.
    pub fn close(&self, wake: &mut dyn FnMut(Waiter)) -> bool {
        self.record().close(wake)
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.record().is_closed()
    }

    /// Takes the descriptor off the poller. `fd` is the one that was added.
    ///
    /// Needed if the open file outlives this handle: kept open here, duplicated, or
    /// inherited by a child. Makes a system call.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`: ENOENT if `fd` is another one than was added. The handle is
    /// used up all the same.
    pub fn remove(self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.deregister(fd)
    }

    /// As [`remove`](Self::remove), for a handle that others still have: after
    /// [`close`](Self::close), before the descriptor itself is closed.
    ///
    /// # Errors
    /// Those of `remove`.
    pub fn deregister(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.shared
            .registry
            .deregister(&mut SourceFd(&fd.as_raw_fd()))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // Nobody waits: who does borrows the handle. So there is nobody to wake.
        self.record().close(&mut |_| ());
        self.shared.registered.fetch_sub(1, Ordering::Relaxed);
        self.shared.slab.give_back(self.index);
    }
}
