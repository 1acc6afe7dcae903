//! Receives, sends and selects, against closing, deadlines and contexts.
//!
//! Values are clones of a token, so that one that is lost, or given to two, shows in the count.

use goweft::channel::{self, Receiver, Select, Sender, TryRecvError, TrySendError};
use goweft::context::{CancelFunc, Context};
use goweft::select;
use goweft_races::{Dice, Pair, WATCHDOG};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Token = Arc<()>;
type Ends = (Sender<Token>, Receiver<Token>);

/// A channel, or two, and a context that ends the wait.
struct Until<T> {
    of: T,
    ctx: Context,
    cancel: CancelFunc,
}

impl<T> Until<T> {
    fn new(of: T) -> Until<T> {
        let (ctx, cancel) = Context::background().with_cancel();
        Until { of, ctx, cancel }
    }
}

/// A channel, and who has what of it.
struct Line {
    /// Those of the side that ends: dropping them closes.
    end: Mutex<Option<Ends>>,
    /// Those of the side that waits: what it does not need it gives away at once.
    wait: Mutex<Option<Ends>>,
    token: Token,
    /// Values that a send took.
    sent: AtomicUsize,
    /// Values that a receive gave.
    got: AtomicUsize,
}

impl Line {
    /// Of capacity 0 or 1, and full; where `empty` instead, of any capacity and empty.
    fn new(dice: &mut Dice, empty: bool) -> Line {
        let (tx, rx) = match dice.roll(if empty { 3 } else { 2 }) {
            0 => channel::bounded(0),
            1 => channel::bounded(1),
            _ => channel::unbounded(),
        };
        let line = Line {
            end: Mutex::new(Some((tx.clone(), rx.clone()))),
            wait: Mutex::new(Some((tx.clone(), rx))),
            token: Arc::new(()),
            sent: AtomicUsize::new(0),
            got: AtomicUsize::new(0),
        };
        if !empty && tx.capacity() == Some(1) {
            tx.send(line.token.clone()).unwrap();
            line.sent.store(1, Ordering::Relaxed);
        }
        line
    }

    fn of_waiting(&self) -> Ends {
        self.wait.lock().unwrap().take().expect("once a round")
    }

    fn of_ending(&self) -> Ends {
        self.end.lock().unwrap().take().expect("once a round")
    }

    /// For those who come after the race.
    fn give_back(&self, ends: Ends) {
        *self.wait.lock().unwrap() = Some(ends);
    }

    fn received<E>(&self, result: Result<Token, E>) -> bool {
        self.got
            .fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
        result.is_ok()
    }

    fn sent<E>(&self, result: Result<(), E>) -> bool {
        self.sent
            .fetch_add(usize::from(result.is_ok()), Ordering::Relaxed);
        result.is_ok()
    }

    /// One that may come too late, or not be wanted.
    fn offer(&self, tx: &Sender<Token>, dice: &mut Dice) {
        let value = self.token.clone();
        match dice.roll(3) {
            0 => self.sent(tx.try_send(value)),
            1 => self.sent(tx.send_timeout(value, dice.moment())),
            _ => self.sent(tx.send_deadline(value, std::time::Instant::now())),
        };
    }

    /// One that there may not be.
    fn ask(&self, rx: &Receiver<Token>, dice: &mut Dice) {
        match dice.roll(3) {
            0 => self.received(rx.try_recv()),
            1 => self.received(rx.recv_timeout(dice.moment())),
            _ => self.received(rx.recv_deadline(std::time::Instant::now())),
        };
    }

    /// Every value is where it should be, and nobody is believed to wait.
    fn check(&self) {
        let mut left = 0;
        if let Some((tx, rx)) = self.wait.lock().unwrap().take() {
            left = rx.try_iter().count();
            let value = self.token.clone();
            match (tx.try_send(value), tx.capacity()) {
                (Err(TrySendError::Full(_)), Some(0)) => {
                    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
                }
                (Ok(()), Some(1) | None) => drop(rx.try_recv().unwrap()),
                (Err(TrySendError::Disconnected(_)), _) => assert!(tx.is_closed()),
                other => panic!("{other:?}"),
            }
        }
        let (sent, got) = (
            self.sent.load(Ordering::Relaxed),
            self.got.load(Ordering::Relaxed),
        );
        // What was in a channel that nobody has any more went with it.
        assert!(sent == got + left || self.end.lock().unwrap().is_none() && sent > got);
        assert_eq!(Arc::strong_count(&self.token), 1);
    }
}

#[test]
fn receiving_against_closing() {
    let race = Pair {
        make: |dice| Line::new(dice, true),
        wait: |line, dice| {
            let (tx, rx) = line.of_waiting();
            drop(tx);
            loop {
                let received = match dice.roll(3) {
                    0 => line.received(rx.recv()),
                    1 => line.received(rx.recv_timeout(WATCHDOG)),
                    _ => select! { recv(rx) -> v => line.received(v) },
                };
                if !received {
                    break;
                }
            }
            assert!(rx.is_closed());
        },
        end: |line, dice| {
            let (tx, rx) = line.of_ending();
            for _ in 0..dice.roll(3) {
                line.offer(&tx, dice);
            }
            match dice.roll(3) {
                0 => assert!(tx.close()),
                1 => assert!(rx.close()),
                _ => drop(tx),
            }
        },
        check: Line::check,
    };
    race.race("receiving against closing");
}

#[test]
fn receiving_against_its_deadline() {
    let race = Pair {
        make: |dice| Line::new(dice, true),
        wait: |line, dice| {
            let (tx, rx) = line.of_waiting();
            for _ in 0..2 {
                let timeout = dice.moment();
                match dice.roll(3) {
                    0 => line.received(rx.recv_timeout(timeout)),
                    1 => line.received(rx.recv_deadline(std::time::Instant::now() + timeout)),
                    _ => select! {
                        recv(rx) -> v => line.received(v),
                        default(timeout) => false,
                    },
                };
            }
            line.give_back((tx, rx));
        },
        end: |line, dice| {
            let (tx, _rx) = line.of_ending();
            (0..2).for_each(|_| line.offer(&tx, dice));
        },
        check: Line::check,
    };
    race.race("receiving against its deadline");
}

#[test]
fn receiving_against_a_context() {
    let race = Pair {
        make: |dice| Until::new(Line::new(dice, true)),
        wait: |Until { of: line, ctx, .. }, dice| {
            let (tx, rx) = line.of_waiting();
            let received = select! {
                recv(rx) -> v => line.received(v),
                recv(ctx.done()) -> _ => false,
            };
            if received && dice.roll(2) == 0 {
                ctx.done().recv().unwrap_err();
            }
            line.give_back((tx, rx));
        },
        end: |Until {
                  of: line, cancel, ..
              },
              dice| {
            let (tx, _rx) = line.of_ending();
            if dice.roll(2) == 0 {
                line.offer(&tx, dice);
            }
            cancel.cancel();
            if dice.roll(2) == 0 {
                line.offer(&tx, dice);
            }
        },
        check: |until| until.of.check(),
    };
    race.race("receiving against a context");
}

#[test]
fn sending_against_closing() {
    let race = Pair {
        make: |dice| Line::new(dice, false),
        wait: |line, dice| {
            let (tx, rx) = line.of_waiting();
            drop(rx);
            loop {
                let value = line.token.clone();
                let sent = match dice.roll(3) {
                    0 => line.sent(tx.send(value)),
                    1 => line.sent(tx.send_timeout(value, WATCHDOG)),
                    _ => select! { send(tx, value) -> sent => line.sent(sent) },
                };
                if !sent {
                    break;
                }
            }
            assert!(tx.is_closed());
        },
        end: |line, dice| {
            let (tx, rx) = line.of_ending();
            for _ in 0..dice.roll(3) {
                line.ask(&rx, dice);
            }
            match dice.roll(3) {
                0 => assert!(tx.close()),
                1 => assert!(rx.close()),
                _ => return, // the last receiver goes
            }
            // What was sent before stays to be received.
            while line.received(rx.try_recv()) {}
        },
        check: Line::check,
    };
    race.race("sending against closing");
}

#[test]
fn sending_against_its_deadline() {
    let race = Pair {
        make: |dice| Line::new(dice, false),
        wait: |line, dice| {
            let (tx, rx) = line.of_waiting();
            for _ in 0..2 {
                let (value, timeout) = (line.token.clone(), dice.moment());
                match dice.roll(3) {
                    0 => line.sent(tx.send_timeout(value, timeout)),
                    1 => line.sent(tx.send_deadline(value, std::time::Instant::now() + timeout)),
                    _ => select! {
                        send(tx, value) -> sent => line.sent(sent),
                        default(timeout) => false,
                    },
                };
            }
            line.give_back((tx, rx));
        },
        end: |line, dice| {
            let (_tx, rx) = line.of_ending();
            (0..2).for_each(|_| line.ask(&rx, dice));
        },
        check: Line::check,
    };
    race.race("sending against its deadline");
}

#[test]
fn sending_against_a_context() {
    let race = Pair {
        make: |dice| Until::new(Line::new(dice, false)),
        wait: |Until { of: line, ctx, .. }, dice| {
            let (tx, rx) = line.of_waiting();
            let sent = select! {
                send(tx, line.token.clone()) -> sent => line.sent(sent),
                recv(ctx.done()) -> _ => false,
            };
            if sent && dice.roll(2) == 0 {
                ctx.done().recv().unwrap_err();
            }
            line.give_back((tx, rx));
        },
        end: |Until {
                  of: line, cancel, ..
              },
              dice| {
            let (_tx, rx) = line.of_ending();
            if dice.roll(2) == 0 {
                line.ask(&rx, dice);
            }
            cancel.cancel();
            if dice.roll(2) == 0 {
                line.ask(&rx, dice);
            }
        },
        check: |until| until.of.check(),
    };
    race.race("sending against a context");
}

/// One channel to receive from, and one to send to.
struct Fork {
    input: Line,
    output: Line,
    /// Those on the other side of a dynamic select are dynamic ones too.
    late: bool,
}

impl Fork {
    fn new(dice: &mut Dice) -> Fork {
        Fork {
            input: Line::new(dice, true),
            output: Line::new(dice, false),
            late: false,
        }
    }

    fn perhaps_late(dice: &mut Dice) -> Fork {
        Fork {
            late: dice.roll(2) == 0,
            ..Fork::new(dice)
        }
    }

    /// Something happens on both sides, in either order, or on one or none of them; by dynamic
    /// selects where it is `late`.
    fn stir(&self, input: &Sender<Token>, output: &Receiver<Token>, dice: &mut Dice) {
        let first = dice.roll(2);
        for turn in 0..dice.roll(3) {
            match (turn == first, self.late) {
                (true, false) => self.input.offer(input, dice),
                (true, true) => self.input.offer_by_select(input, dice),
                (false, false) => self.output.ask(output, dice),
                (false, true) => self.output.ask_by_select(output, dice),
            }
        }
    }

    /// Stirs, and closes one of the two channels, from one end or the other.
    fn close(&self, dice: &mut Dice) {
        let (input, output) = (self.input.of_ending(), self.output.of_ending());
        self.stir(&input.0, &output.1, dice);
        assert!(match dice.roll(4) {
            0 => input.0.close(),
            1 => input.1.close(),
            2 => output.0.close(),
            _ => output.1.close(),
        });
    }

    /// Stirs before `end` and after it.
    fn stir_around(&self, dice: &mut Dice, end: impl FnOnce()) {
        let (input, output) = (self.input.of_ending(), self.output.of_ending());
        self.stir(&input.0, &output.1, dice);
        end();
        self.stir(&input.0, &output.1, dice);
    }

    fn check(&self) {
        self.input.check();
        self.output.check();
    }
}

#[test]
fn selecting_against_closing() {
    let race = Pair {
        make: Fork::new,
        wait: |fork, _dice| {
            let (input, output) = (fork.input.of_waiting(), fork.output.of_waiting());
            let (mut from, mut to) = (Some(&input.1), Some(&output.0));
            while from.is_some() && to.is_some() {
                select! {
                    recv(from) -> v => if !fork.input.received(v) {
                        from = None;
                    },
                    send(to, fork.output.token.clone()) -> sent => if !fork.output.sent(sent) {
                        to = None;
                    },
                }
            }
            // What was sent to the one that was not closed stays to be received.
            fork.input.give_back(input);
            fork.output.give_back(output);
        },
        end: Fork::close,
        check: Fork::check,
    };
    race.race("selecting against closing");
}

#[test]
fn selecting_against_its_deadline() {
    let race = Pair {
        make: Fork::new,
        wait: |fork, dice| {
            let (input, output) = (fork.input.of_waiting(), fork.output.of_waiting());
            for _ in 0..2 {
                select! {
                    recv(input.1) -> v => fork.input.received(v),
                    send(output.0, fork.output.token.clone()) -> sent => fork.output.sent(sent),
                    default(dice.moment()) => false,
                };
            }
            fork.input.give_back(input);
            fork.output.give_back(output);
        },
        end: |fork, dice| fork.stir_around(dice, || {}),
        check: Fork::check,
    };
    race.race("selecting against its deadline");
}

#[test]
fn selecting_against_a_context() {
    let race = Pair {
        make: |dice| Until::new(Fork::new(dice)),
        wait: |Until { of: fork, ctx, .. }, _| {
            let (input, output) = (fork.input.of_waiting(), fork.output.of_waiting());
            while select! {
                recv(input.1) -> v => fork.input.received(v),
                send(output.0, fork.output.token.clone()) -> sent => fork.output.sent(sent),
                recv(ctx.done()) -> _ => false,
            } {}
            fork.input.give_back(input);
            fork.output.give_back(output);
        },
        end: |until, dice| until.of.stir_around(dice, || until.cancel.cancel()),
        check: |until| until.of.check(),
    };
    race.race("selecting against a context");
}

impl Line {
    /// As [`offer`](Self::offer), by a dynamic select.
    fn offer_by_select(&self, tx: &Sender<Token>, dice: &mut Dice) {
        let mut select = Select::new();
        select.send(tx);
        if let Ok(chosen) = select.select_timeout(dice.moment()) {
            // The other side may have chosen this one: it waits until this is sent, or not.
            dice.dawdle();
            match dice.roll(4) {
                0 => drop(chosen),
                _ => _ = self.sent(chosen.send(tx, self.token.clone())),
            }
        }
    }

    /// As [`ask`](Self::ask), by a dynamic select, which is not undone: who has sent to it waits
    /// for the next one then, and there is none.
    fn ask_by_select(&self, rx: &Receiver<Token>, dice: &mut Dice) {
        let mut select = Select::new();
        select.recv(rx);
        if let Ok(chosen) = select.select_timeout(dice.moment()) {
            dice.dawdle();
            self.received(chosen.recv(rx));
        }
    }
}

/// What a dynamic select over a fork came to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Chosen {
    /// Nothing was in time, or somebody else was faster, or it was undone.
    Nothing,
    Moved,
    /// A channel is closed, or the context is done.
    Ended,
}

impl Fork {
    /// A dynamic select over both, and over the end of a context: it completes what it chose,
    /// undoes it, or only asks what is ready. With `hurry` until a moment is over.
    fn choose(
        &self,
        (from, to): (&Receiver<Token>, &Sender<Token>),
        ctx: Option<&Context>,
        hurry: bool,
        dice: &mut Dice,
    ) -> Chosen {
        let mut select = Select::new();
        let (recv, send) = (select.recv(from), select.send(to));
        let done = ctx.map(|ctx| (select.recv(ctx.done()), ctx));
        if dice.roll(4) == 0 {
            let ready = match hurry {
                true => select.ready_timeout(dice.moment()).ok(),
                false => Some(select.ready()),
            };
            let outcome = |moved| {
                if moved {
                    Chosen::Moved
                } else {
                    Chosen::Nothing
                }
            };
            return match ready {
                Some(i) if i == recv => match from.try_recv() {
                    Err(TryRecvError::Disconnected) => Chosen::Ended,
                    value => outcome(self.input.received(value)),
                },
                Some(i) if i == send => match to.try_send(self.output.token.clone()) {
                    Err(TrySendError::Disconnected(_)) => Chosen::Ended,
                    sent => outcome(self.output.sent(sent)),
                },
                Some(_) => Chosen::Ended,
                None => Chosen::Nothing,
            };
        }
        let chosen = match hurry {
            true => select.select_timeout(dice.moment()).ok(),
            false => Some(select.select()),
        };
        let Some(chosen) = chosen else {
            return Chosen::Nothing;
        };
        dice.dawdle();
        let undo = dice.roll(4) == 0;
        let moved = match chosen.index() {
            // Not a receive of what another dynamic select has sent: it would wait for the next
            // one.
            i if undo && (i != recv || !self.late) => return Chosen::Nothing,
            i if i == recv => self.input.received(chosen.recv(from)),
            i if i == send => self.output.sent(chosen.send(to, self.output.token.clone())),
            _ => {
                let (_, ctx) = done.expect("it was among them");
                chosen.recv(ctx.done()).unwrap_err();
                false
            }
        };
        if moved { Chosen::Moved } else { Chosen::Ended }
    }
}

#[test]
fn selecting_among_a_list_against_closing() {
    let race = Pair {
        make: Fork::perhaps_late,
        wait: |fork, dice| {
            let (input, output) = (fork.input.of_waiting(), fork.output.of_waiting());
            while fork.choose((&input.1, &output.0), None, false, dice) != Chosen::Ended {}
            fork.input.give_back(input);
            fork.output.give_back(output);
        },
        end: Fork::close,
        check: Fork::check,
    };
    race.race_one_in(20, "selecting among a list against closing");
}

#[test]
fn selecting_among_a_list_against_its_deadline() {
    let race = Pair {
        make: Fork::perhaps_late,
        wait: |fork, dice| {
            let (input, output) = (fork.input.of_waiting(), fork.output.of_waiting());
            for _ in 0..2 {
                fork.choose((&input.1, &output.0), None, true, dice);
            }
            fork.input.give_back(input);
            fork.output.give_back(output);
        },
        end: |fork, dice| fork.stir_around(dice, || {}),
        check: Fork::check,
    };
    race.race_one_in(20, "selecting among a list against its deadline");
}

#[test]
fn selecting_among_a_list_against_a_context() {
    let race = Pair {
        make: |dice| Until::new(Fork::perhaps_late(dice)),
        wait: |Until { of: fork, ctx, .. }, dice| {
            let (input, output) = (fork.input.of_waiting(), fork.output.of_waiting());
            let ends = (&input.1, &output.0);
            while fork.choose(ends, Some(ctx), false, dice) != Chosen::Ended {}
            fork.input.give_back(input);
            fork.output.give_back(output);
        },
        end: |until, dice| until.of.stir_around(dice, || until.cancel.cancel()),
        check: |until| until.of.check(),
    };
    race.race_one_in(20, "selecting among a list against a context");
}
