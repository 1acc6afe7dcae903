//! What the flavours of channels have in common: the words they answer with,
//! and the trait through which a select drives any of them.

use super::wait::Record;
use crate::clock::{NEVER, Nanos};
use crate::sched::{Inside, WaitReason, Waiter};

pub(crate) use crate::protocol::ring::Side;

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Send => Side::Receive,
            Side::Receive => Side::Send,
        }
    }

    pub(crate) fn reason(self) -> WaitReason {
        match self {
            Side::Send => WaitReason::ChanSend,
            Side::Receive => WaitReason::ChanRecv,
        }
    }
}

/// The deadline of the `try_` methods: do not wait. Every other deadline is
/// later.
pub(crate) const TRY: Nanos = 0;

/// How an operation ended. Unless it is `Done` the value is where it was.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Done,
    Closed,
    TimedOut,
}

/// What a case was chosen with, to be completed or undone by the chooser.
#[must_use]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Token {
    /// The value is in the slot; nothing is left to do.
    Received,
    /// The channel is closed.
    Closed,
    /// A place in a buffer, or a value in it.
    Credit,
    /// A rendezvous partner, held for us.
    Partner(*const Record),
    /// A tick of a timer, of its setting number `epoch`.
    Tick { when: Nanos, epoch: u64 },
}

/// A channel as a select sees it: untyped. `slot` is where a value is wanted, or null
/// for "later" (then the answer is a credit or a partner).
///
/// `record`s belong to one call of select, which withdraws each of them before
/// it returns.
pub(crate) trait Flavor {
    /// Chooses this case, if it is ready. May park for as long as another
    /// select needs to evaluate the value that it has promised.
    fn attempt(&self, inside: &mut Inside, side: Side, slot: *mut ()) -> Option<Token>;

    /// Whether the case is ready now.
    fn is_ready(&self, inside: &Inside, side: Side) -> bool;

    /// Queues `record`, unless the case is ready: then false. Other cases of
    /// the same select do not make it ready.
    ///
    /// # Safety
    /// The record stays where it is until it was withdrawn.
    unsafe fn enroll(&self, inside: &mut Inside, side: Side, record: &Record) -> bool;

    /// Unlinks `record`, if nobody has done so yet.
    fn withdraw(&self, inside: &mut Inside, side: Side, record: &Record);

    /// Its owner waits anew.
    fn renew(&self, inside: &mut Inside, side: Side, record: &Record, waiter: Waiter);

    /// Gives back what a case was chosen with.
    ///
    /// # Safety
    /// `token` is from this channel and side, and was not used yet.
    unsafe fn undo(&self, inside: &mut Inside, side: Side, token: Token);

    /// When the case becomes ready by itself.
    fn deadline(&self, _inside: &Inside) -> Nanos {
        NEVER
    }

    /// Frees what the other methods, which run inside the runtime, could not.
    /// Called outside, after this case was chosen.
    fn tidy(&self) {}
}
