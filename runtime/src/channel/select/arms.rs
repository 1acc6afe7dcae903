//! What `select!` expands to: its cases, its slots, and the send arm that is
//! undone unless its value was sent. Reached as `goweft::__private`.
//!
//! The macro evaluates the operands, makes a [`RecvSlot`] for each receive, lets
//! [`choose`] choose, and goes on in the arm: `slot.take()` in one that
//! receives; in one that sends `SendArm::new(operand, chosen).send(value)`, where
//! `value` is the user's expression: when it does not come to the call, dropping
//! the arm undoes the choice. All of it is on the stack.

use super::engine::{self, Case, Place};
use crate::channel::flavor::{Side, TRY, Token};
use crate::channel::{Receiver, RecvError, SendError, Sender};
use crate::clock::{self, NEVER, Nanos};
use crate::sched::Inside;
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

/// What a `recv` arm of `select!` takes: a [`Receiver`], a reference to an
/// operand, or an `Option` of one, where `None` is never ready.
#[diagnostic::on_unimplemented(
    message = "a `recv` arm cannot receive from `{Self}`",
    label = "not a `Receiver`, a reference to one, or an `Option` of one"
)]
pub trait RecvOperand {
    /// What is received.
    type Item;
    /// The receiver, if there is one.
    fn receiver(&self) -> Option<&Receiver<Self::Item>>;
}

/// What a `send` arm of `select!` takes: a [`Sender`], a reference to an operand,
/// or an `Option` of one, where `None` is never ready.
#[diagnostic::on_unimplemented(
    message = "a `send` arm cannot send to `{Self}`",
    label = "not a `Sender`, a reference to one, or an `Option` of one"
)]
pub trait SendOperand {
    /// What is sent.
    type Item;
    /// The sender, if there is one.
    fn sender(&self) -> Option<&Sender<Self::Item>>;
}

impl<T> RecvOperand for Receiver<T> {
    type Item = T;
    fn receiver(&self) -> Option<&Receiver<T>> {
        Some(self)
    }
}

impl<O: RecvOperand + ?Sized> RecvOperand for &O {
    type Item = O::Item;
    fn receiver(&self) -> Option<&Receiver<O::Item>> {
        (**self).receiver()
    }
}

impl<O: RecvOperand + ?Sized> RecvOperand for &mut O {
    type Item = O::Item;
    fn receiver(&self) -> Option<&Receiver<O::Item>> {
        (**self).receiver()
    }
}

impl<O: RecvOperand> RecvOperand for Option<O> {
    type Item = O::Item;
    fn receiver(&self) -> Option<&Receiver<O::Item>> {
        self.as_ref().and_then(O::receiver)
    }
}

impl<T> SendOperand for Sender<T> {
    type Item = T;
    fn sender(&self) -> Option<&Sender<T>> {
        Some(self)
    }
}

impl<O: SendOperand + ?Sized> SendOperand for &O {
    type Item = O::Item;
    fn sender(&self) -> Option<&Sender<O::Item>> {
        (**self).sender()
    }
}

impl<O: SendOperand + ?Sized> SendOperand for &mut O {
    type Item = O::Item;
    fn sender(&self) -> Option<&Sender<O::Item>> {
        (**self).sender()
    }
}

impl<O: SendOperand> SendOperand for Option<O> {
    type Item = O::Item;
    fn sender(&self) -> Option<&Sender<O::Item>> {
        self.as_ref().and_then(O::sender)
    }
}

/// Where the value of a receive arm arrives.
pub struct RecvSlot<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    /// There is a value.
    filled: Cell<bool>,
}

impl<T> RecvSlot<T> {
    /// What the chosen arm received.
    #[inline]
    pub fn take(self) -> Result<T, RecvError> {
        if self.filled.get() {
            // SAFETY: `filled` is set by `choose_until` when the select has put
            // a value here, and the slot is consumed.
            Ok(unsafe { self.value.into_inner().assume_init() })
        } else {
            Err(RecvError)
        }
    }
}

/// An empty slot for what `operand` receives.
#[inline]
pub fn slot_for<O: RecvOperand>(_operand: &O) -> RecvSlot<O::Item> {
    RecvSlot {
        value: UnsafeCell::new(MaybeUninit::uninit()),
        filled: Cell::new(false),
    }
}

/// A case of a select.
#[derive(Clone, Copy)]
pub struct ArmCase<'a> {
    case: Case<'a>,
    filled: Option<&'a Cell<bool>>,
}

/// The case that receives from `operand` into `slot`.
#[inline]
pub fn receives<'a, O: RecvOperand>(operand: &'a O, slot: &'a RecvSlot<O::Item>) -> ArmCase<'a> {
    let channel = operand.receiver().and_then(Receiver::as_flavor);
    let case = Case {
        channel,
        side: Side::Receive,
        slot: slot.value.get().cast(),
    };
    ArmCase {
        case,
        filled: Some(&slot.filled),
    }
}

/// The case that sends to `operand`.
#[inline]
pub fn sends<O: SendOperand>(operand: &O) -> ArmCase<'_> {
    let channel = operand.sender().map(Sender::as_flavor);
    ArmCase {
        case: Case {
            channel,
            side: Side::Send,
            slot: ptr::null_mut(),
        },
        filled: None,
    }
}

/// Which case was chosen, and with what.
#[must_use]
pub struct Chosen<'a> {
    index: usize,
    /// None: no case was ready.
    with: Option<(Case<'a>, Token)>,
}

impl Chosen<'_> {
    /// The chosen case's index; the number of cases when none was ready.
    #[inline]
    pub fn index(&self) -> usize {
        self.index
    }
}

/// Chooses a case, and waits until one is ready.
#[inline]
pub fn choose<const N: usize>(cases: [ArmCase<'_>; N]) -> Chosen<'_> {
    choose_until(cases, NEVER)
}

/// Chooses a case if one is ready now.
#[inline]
pub fn choose_now<const N: usize>(cases: [ArmCase<'_>; N]) -> Chosen<'_> {
    choose_until(cases, TRY)
}

/// Chooses a case, and waits until one is ready, for at most `timeout`.
#[inline]
pub fn choose_by<const N: usize>(cases: [ArmCase<'_>; N], timeout: Duration) -> Chosen<'_> {
    choose_until(cases, clock::after(timeout))
}

#[inline]
fn choose_until<const N: usize>(arms: [ArmCase<'_>; N], deadline: Nanos) -> Chosen<'_> {
    let cases = arms.map(|arm| arm.case);
    let mut places = [const { Place::NEW }; N];
    let mut inside = Inside::enter();
    let chosen = engine::select(&mut inside, &cases, &mut places, deadline);
    drop(inside);
    let Some((index, token)) = chosen else {
        return Chosen {
            index: N,
            with: None,
        };
    };
    if let Some(channel) = cases[index].channel {
        channel.tidy();
    }
    if let (Token::Received, Some(filled)) = (token, arms[index].filled) {
        filled.set(true);
    }
    Chosen {
        index,
        with: Some((cases[index], token)),
    }
}

/// `select! {}`: waits for ever.
pub fn select_nothing() -> ! {
    loop {
        let _ = choose([]);
    }
}

/// A send arm that was chosen and has not sent yet. Dropping it undoes the
/// choice: a value that panics, or leaves the arm, when it is evaluated was
/// never sent.
pub struct SendArm<'a, T> {
    sender: &'a Sender<T>,
    /// None: used.
    token: Option<Token>,
}

impl<'a, T> SendArm<'a, T> {
    /// The arm that sends to `operand`, whose case was chosen.
    #[inline]
    pub fn new<O: SendOperand<Item = T>>(operand: &'a O, chosen: Chosen<'a>) -> SendArm<'a, T> {
        match (operand.sender(), chosen.with) {
            (Some(sender), Some((case, token))) if case.is_of(sender.as_flavor(), Side::Send) => {
                SendArm {
                    sender,
                    token: Some(token),
                }
            }
            _ => unreachable!("select!: the chosen case is another one"),
        }
    }

    /// Sends the arm's value.
    #[inline]
    pub fn send(mut self, value: T) -> Result<(), SendError<T>> {
        let token = self.token.take().unwrap_or(Token::Closed);
        // SAFETY: `new` has seen that the token is of this channel's sending
        // side, and a token is used once: it was taken, and `Chosen` is not Copy.
        unsafe { self.sender.complete(value, token) }
    }
}

impl<T> Drop for SendArm<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            let mut inside = Inside::enter();
            // SAFETY: as in `send`.
            unsafe { self.sender.as_flavor().undo(&mut inside, Side::Send, token) };
        }
    }
}
