//! Select over a list of operations that is known at run time only.

use super::engine::{self, Case, MAX_CASES, Place};
use crate::channel::errors::*;
use crate::channel::flavor::{Flavor, Side, TRY, Token};
use crate::channel::{Receiver, Sender};
use crate::clock::{self, NEVER, Nanos};
use crate::sched::Inside;
use std::fmt;
use std::ptr;
use std::time::{Duration, Instant};

/// Selects over operations that are added at run time; `select!` is for
/// those known in the source.
///
/// Add operations with [`recv`](Self::recv) and [`send`](Self::send), which give each an
/// index; choose one with [`select`](Self::select) or its relatives; complete it with
/// [`SelectedOperation::recv`] or [`SelectedOperation::send`]. Or only ask which
/// is ready with [`ready`](Self::ready) and then try it yourself.
///
/// As in `select!`, the choice is uniform among the operations that are ready.
///
/// # Examples
///
/// ```
/// use goweft::channel::{self, Select};
///
/// let channels: Vec<_> = (0..5).map(|_| channel::unbounded::<u32>()).collect();
/// channels[3].0.send(7).unwrap();
///
/// let mut select = Select::new();
/// for (_, rx) in &channels {
///     select.recv(rx);
/// }
/// let operation = select.select();
/// assert_eq!(operation.index(), 3);
/// assert_eq!(operation.recv(&channels[3].1), Ok(7));
/// ```
#[derive(Clone, Default)]
pub struct Select<'a> {
    /// By index; None where one was removed.
    cases: Vec<Option<Operation<'a>>>,
}

// SAFETY: it names channels, which are shared between threads anyway. Values are moved only
// by those who have a handle too, where it may be used.
unsafe impl Send for Select<'_> {}
// SAFETY: as above; a shared reference does nothing.
unsafe impl Sync for Select<'_> {}

#[derive(Clone, Copy)]
struct Operation<'a> {
    case: Case<'a>,
    /// The handle, to find again what it was.
    handle: *const (),
}

impl<'a> Select<'a> {
    /// Without operations: never ready.
    pub fn new() -> Select<'a> {
        Select::default()
    }

    /// Adds a send and returns its index. The value comes when it is chosen.
    ///
    /// # Panics
    /// With more than 65,536 operations: `select: too many operations`.
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.add(
            Some(sender.as_flavor()),
            Side::Send,
            ptr::from_ref(sender).cast(),
        )
    }

    /// Adds a receive and returns its index.
    ///
    /// # Panics
    /// With more than 65,536 operations: `select: too many operations`.
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.add(
            receiver.as_flavor(),
            Side::Receive,
            ptr::from_ref(receiver).cast(),
        )
    }

    fn add(
        &mut self,
        channel: Option<&'a (dyn Flavor + 'a)>,
        side: Side,
        handle: *const (),
    ) -> usize {
        assert!(self.cases.len() < MAX_CASES, "select: too many operations");
        self.cases.push(Some(Operation {
            case: Case {
                channel,
                side,
                slot: ptr::null_mut(),
            },
            handle,
        }));
        self.cases.len() - 1
    }

    /// Removes the operation `index`. The others keep theirs.
    ///
    /// # Panics
    /// When there is none: `select: no operation <index>`.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, Select};
    ///
    /// let (tx1, rx1) = channel::unbounded::<u32>();
    /// let (tx2, rx2) = channel::unbounded();
    /// let mut select = Select::new();
    /// let one = select.recv(&rx1);
    /// let two = select.recv(&rx2);
    ///
    /// drop(tx1); // a closed channel is always ready
    /// select.remove(one);
    /// tx2.send(2).unwrap();
    /// let operation = select.select();
    /// assert_eq!(operation.index(), two);
    /// assert_eq!(operation.recv(&rx2), Ok(2));
    /// ```
    pub fn remove(&mut self, index: usize) {
        let removed = self.cases.get_mut(index).and_then(Option::take);
        assert!(removed.is_some(), "select: no operation {index}");
    }

    /// Chooses an operation, and waits until one is ready. Without operations it
    /// waits for ever.
    ///
    /// The operation that it returns has to be completed; when it is dropped
    /// instead, no value has changed hands.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    pub fn select(&mut self) -> SelectedOperation<'a> {
        loop {
            if let Some(operation) = self.choose(NEVER) {
                return operation;
            }
        }
    }

    /// Chooses an operation if one is ready now.
    ///
    /// One that meets a select of another goroutine is ready when that one has chosen too: it
    /// evaluates what it sends, and this waits for that.
    ///
    /// # Errors
    /// None is.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        self.choose(TRY).ok_or(TrySelectError)
    }

    /// Chooses an operation, and waits until one is ready, for at most `timeout`: longer only for a
    /// select that it has met, as in [`try_select`](Self::try_select).
    ///
    /// # Errors
    /// None was in time.
    ///
    /// # Panics
    /// As [`select`](Self::select).
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, Select};
    /// use std::time::Duration;
    ///
    /// let (tx, _rx) = channel::bounded::<u8>(0);
    /// let mut select = Select::new();
    /// select.send(&tx);
    /// assert!(select.select_timeout(Duration::from_millis(1)).is_err());
    /// ```
    pub fn select_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.choose(clock::after(timeout)).ok_or(SelectTimeoutError)
    }

    /// As [`select_timeout`](Self::select_timeout), until `deadline`.
    ///
    /// # Errors
    /// None was in time.
    ///
    /// # Panics
    /// As [`select`](Self::select).
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.choose(clock::from_instant(deadline))
            .ok_or(SelectTimeoutError)
    }

    /// Waits until an operation is ready, and returns its index. Somebody else
    /// may be faster: try it, and come back if it is not ready any more.
    ///
    /// On a channel without capacity one is ready when somebody waits on the other side; who only
    /// tries there, or watches as well, does not count.
    ///
    /// # Panics
    /// In [`no_park`](crate::no_park), when it has to wait.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, Select};
    ///
    /// let (tx, rx) = channel::unbounded();
    /// let mut select = Select::new();
    /// let index = select.recv(&rx);
    /// tx.send(1).unwrap();
    /// assert_eq!(select.ready(), index);
    /// assert_eq!(rx.try_recv(), Ok(1));
    /// assert!(select.try_ready().is_err());
    /// ```
    pub fn ready(&mut self) -> usize {
        loop {
            if let Some(index) = self.find(NEVER) {
                return index;
            }
        }
    }

    /// The index of an operation that is ready now.
    ///
    /// # Errors
    /// None is.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.find(TRY).ok_or(TryReadyError)
    }

    /// As [`ready`](Self::ready), for at most `timeout`.
    ///
    /// # Errors
    /// None was in time.
    ///
    /// # Panics
    /// As [`ready`](Self::ready).
    pub fn ready_timeout(&mut self, timeout: Duration) -> Result<usize, ReadyTimeoutError> {
        self.find(clock::after(timeout)).ok_or(ReadyTimeoutError)
    }

    /// As [`ready`](Self::ready), until `deadline`.
    ///
    /// # Errors
    /// None was in time.
    ///
    /// # Panics
    /// As [`ready`](Self::ready).
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.find(clock::from_instant(deadline))
            .ok_or(ReadyTimeoutError)
    }

    fn choose(&mut self, deadline: Nanos) -> Option<SelectedOperation<'a>> {
        let (index, token) = self.run(deadline, engine::select)?;
        let operation = self.cases[index]?;
        if let Some(channel) = operation.case.channel {
            channel.tidy();
        }
        Some(SelectedOperation {
            index,
            operation,
            token: Some(token),
        })
    }

    fn find(&mut self, deadline: Nanos) -> Option<usize> {
        self.run(deadline, engine::ready)
    }

    /// Runs the engine on what it needs, which is allocated outside of it.
    fn run<R>(
        &mut self,
        deadline: Nanos,
        engine: impl FnOnce(&mut Inside, &[Case<'_>], &mut [Place], Nanos) -> R,
    ) -> R {
        const NONE: Case<'static> = Case {
            channel: None,
            side: Side::Receive,
            slot: ptr::null_mut(),
        };
        let cases: Vec<Case<'a>> = self
            .cases
            .iter()
            .map(|o| o.map_or(NONE, |o| o.case))
            .collect();
        let mut places: Vec<Place> = cases.iter().map(|_| Place::NEW).collect();
        let mut inside = Inside::enter();
        let result = engine(&mut inside, &cases, &mut places, deadline);
        drop(inside);
        result
    }
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Select { .. }")
    }
}

/// An operation that a [`Select`] has chosen: to be completed with the handle it
/// was added with. Dropped without that, no value has changed hands; but whoever was to be met on a
/// channel without a buffer begins to wait anew, behind those who wait there too.
///
/// While it is not completed, it holds a place in the channel's buffer, a value, or a partner that
/// waits: complete it soon. (Forgotten, with [`mem::forget`](std::mem::forget), it holds that for
/// ever.)
#[must_use]
pub struct SelectedOperation<'a> {
    index: usize,
    operation: Operation<'a>,
    /// None: used.
    token: Option<Token>,
}

impl SelectedOperation<'_> {
    /// Which operation was chosen.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Completes a send. Does not wait, except for a partner in another dynamic
    /// select that has to complete too; if that one drops its operation, for the next partner,
    /// however long that takes, whatever timeout the select had.
    ///
    /// # Errors
    /// The channel is closed, perhaps since the operation was chosen. The value is in
    /// the error.
    ///
    /// # Panics
    /// When the operation is not the send that was added with `sender`:
    /// `select: ...`. In [`no_park`](crate::no_park), when it has to wait for its partner.
    ///
    /// # Examples
    ///
    /// ```
    /// use goweft::channel::{self, Select};
    ///
    /// let (tx, rx) = channel::bounded(1);
    /// let mut select = Select::new();
    /// select.send(&tx);
    /// select.select().send(&tx, "value").unwrap();
    /// assert_eq!(rx.recv(), Ok("value"));
    /// ```
    pub fn send<T>(mut self, sender: &Sender<T>, value: T) -> Result<(), SendError<T>> {
        let token = self.use_up(Side::Send, ptr::from_ref(sender).cast());
        // SAFETY: the handle is the one that the operation was added with, so
        // the token is of its channel; it was just used up.
        unsafe { sender.complete(value, token) }
    }

    /// Completes a receive. Does not wait.
    ///
    /// # Errors
    /// The channel is closed and empty.
    ///
    /// # Panics
    /// When the operation is not the receive that was added with `receiver`:
    /// `select: ...`.
    pub fn recv<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        let token = self.use_up(Side::Receive, ptr::from_ref(receiver).cast());
        // SAFETY: as in `send`.
        unsafe { receiver.complete(token) }
    }

    fn use_up(&mut self, side: Side, handle: *const ()) -> Token {
        assert!(
            self.operation.case.side == side,
            "select: the selected operation is not a {}",
            if side == Side::Send {
                "send"
            } else {
                "receive"
            }
        );
        assert!(
            ptr::eq(self.operation.handle, handle),
            "select: completed with another handle than the operation was added with"
        );
        self.token.take().unwrap_or(Token::Closed)
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        if let (Some(token), Some(channel)) = (self.token.take(), self.operation.case.channel) {
            let mut inside = Inside::enter();
            // SAFETY: the token is of this case, and was not used.
            unsafe { channel.undo(&mut inside, self.operation.case.side, token) };
        }
    }
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedOperation")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}
