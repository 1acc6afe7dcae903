//! Channels and selects against a simple reference.
//!
//! Four goroutines are told, one command at a time, what to do on three channels: plain
//! operations, `select!`, the dynamic `Select`, with and without waiting, and close. After each
//! command everybody runs until they are done or parked; then what each has been told
//! must be what the reference says. The reference is Go's textbook channel: a queue and two
//! lists of waiters, first in first out. Where a select may choose, its choice is checked to
//! be one that the reference allows.
//!
//! One P, so that "until they are parked" is some yields away: the tests of this file have a
//! process of their own.

use goweft::channel::{self, Receiver, Select, Sender};
use goweft::{Config, select};
use goweft_tests::settle;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

const ACTORS: usize = 4;
const CHANNELS: usize = 3;

/// One case of an operation: on which channel, and what is sent; None: receive.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Case {
    channel: usize,
    send: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    /// `send`, `recv` and so on, when there is one case.
    Plain,
    Macro,
    Dynamic,
}

#[derive(Clone, Debug)]
enum Command {
    Operate {
        cases: Vec<Case>,
        waits: bool,
        form: Form,
    },
    Close {
        channel: usize,
    },
}

/// What an operation came to: the case, and Ok(value received, or that was
/// sent) or Err when the channel is closed. None: nothing was ready.
type Reply = Option<(Case, Result<u32, ()>)>;

// ---- the reference ----

#[derive(Clone)]
struct Waiting {
    actor: usize,
    case: Case,
}

#[derive(Default)]
struct ModelChannel {
    capacity: Option<usize>,
    queue: VecDeque<u32>,
    senders: VecDeque<Waiting>,
    receivers: VecDeque<Waiting>,
    closed: bool,
}

struct Model {
    channels: Vec<ModelChannel>,
    /// What actors that waited have been told by others' operations.
    told: Vec<(usize, Reply)>,
}

impl Model {
    fn new(capacities: &[Option<usize>]) -> Model {
        let channel = |&capacity| ModelChannel {
            capacity,
            ..ModelChannel::default()
        };
        Model {
            channels: capacities.iter().map(channel).collect(),
            told: Vec::new(),
        }
    }

    fn is_ready(&self, case: Case) -> bool {
        let c = &self.channels[case.channel];
        match case.send {
            None => c.closed || !c.queue.is_empty() || !c.senders.is_empty(),
            Some(_) => {
                c.closed
                    || !c.receivers.is_empty()
                    || c.capacity.is_none_or(|cap| c.queue.len() < cap)
            }
        }
    }

    /// `actor` is told, and leaves all lists.
    fn tell(&mut self, waiting: Waiting, result: Result<u32, ()>) {
        for c in &mut self.channels {
            c.senders.retain(|w| w.actor != waiting.actor);
            c.receivers.retain(|w| w.actor != waiting.actor);
        }
        self.told
            .push((waiting.actor, Some((waiting.case, result))));
    }

    /// Takes a case that is ready.
    fn take(&mut self, case: Case) -> Result<u32, ()> {
        let c = &mut self.channels[case.channel];
        match case.send {
            None => {
                let value = c.queue.pop_front();
                if let Some(sender) = c.senders.front().cloned() {
                    let theirs = sender.case.send.unwrap();
                    if value.is_some() {
                        c.queue.push_back(theirs);
                    }
                    self.tell(sender, Ok(theirs));
                    return Ok(value.unwrap_or(theirs));
                }
                value.ok_or(())
            }
            Some(_) if c.closed => Err(()),
            Some(value) => {
                match c.receivers.front().cloned() {
                    Some(receiver) => self.tell(receiver, Ok(value)),
                    None => c.queue.push_back(value),
                }
                Ok(value)
            }
        }
    }

    fn wait(&mut self, actor: usize, cases: &[Case]) {
        for &case in cases {
            let c = &mut self.channels[case.channel];
            let list = if case.send.is_some() {
                &mut c.senders
            } else {
                &mut c.receivers
            };
            list.push_back(Waiting { actor, case });
        }
    }

    fn close(&mut self, channel: usize) -> bool {
        if std::mem::replace(&mut self.channels[channel].closed, true) {
            return false;
        }
        while let Some(w) = self.channels[channel].receivers.front().cloned() {
            self.tell(w, Err(()));
        }
        while let Some(w) = self.channels[channel].senders.front().cloned() {
            self.tell(w, Err(()));
        }
        true
    }
}

// ---- the real thing ----

type Ends = (Sender<u32>, Receiver<u32>);

fn operate(ends: &[Ends], cases: &[Case], waits: bool, form: Form) -> Reply {
    match (form, cases) {
        (Form::Plain, [case]) => {
            let (tx, rx) = &ends[case.channel];
            let result = match (case.send, waits) {
                (Some(v), true) => tx.send(v).map(|()| v).map_err(|e| assert_eq!(e.0, v)),
                (Some(v), false) => match tx.try_send(v) {
                    Ok(()) => Ok(v),
                    Err(e) if e.is_full() => return None,
                    Err(e) => {
                        assert_eq!(e.into_inner(), v);
                        Err(())
                    }
                },
                (None, true) => rx.recv().map_err(drop),
                (None, false) => match rx.try_recv() {
                    Err(e) if e.is_empty() => return None,
                    other => other.map_err(drop),
                },
            };
            Some((*case, result))
        }
        (Form::Dynamic, _) => {
            let mut sel = Select::new();
            for case in cases {
                match case.send {
                    Some(_) => sel.send(&ends[case.channel].0),
                    None => sel.recv(&ends[case.channel].1),
                };
            }
            let op = if waits {
                sel.select()
            } else {
                sel.try_select().ok()?
            };
            let case = cases[op.index()];
            let (tx, rx) = &ends[case.channel];
            let result = match case.send {
                Some(v) => op.send(tx, v).map(|()| v).map_err(|e| assert_eq!(e.0, v)),
                None => op.recv(rx).map_err(drop),
            };
            Some((case, result))
        }
        _ => {
            // All six arms are there; those that are not wanted are None.
            let find = |channel: usize, send: bool| {
                cases
                    .iter()
                    .copied()
                    .find(|c| c.channel == channel && c.send.is_some() == send)
            };
            let tx = |i: usize| find(i, true).map(|_| &ends[i].0);
            let rx = |i: usize| find(i, false).map(|_| &ends[i].1);
            let value = |i: usize| find(i, true).unwrap().send.unwrap();
            let received = |i: usize, v: Result<u32, _>| {
                Some((
                    find(i, false).unwrap(),
                    v.map_err(|_: channel::RecvError| ()),
                ))
            };
            let sent = |i: usize, r: Result<(), channel::SendError<u32>>| {
                Some((
                    find(i, true).unwrap(),
                    r.map(|()| value(i)).map_err(|e| assert_eq!(e.0, value(i))),
                ))
            };
            if waits {
                select! {
                    recv(rx(0)) -> v => received(0, v),
                    send(tx(0), value(0)) -> r => sent(0, r),
                    recv(rx(1)) -> v => received(1, v),
                    send(tx(1), value(1)) -> r => sent(1, r),
                    recv(rx(2)) -> v => received(2, v),
                    send(tx(2), value(2)) -> r => sent(2, r),
                }
            } else {
                select! {
                    recv(rx(0)) -> v => received(0, v),
                    send(tx(0), value(0)) -> r => sent(0, r),
                    recv(rx(1)) -> v => received(1, v),
                    send(tx(1), value(1)) -> r => sent(1, r),
                    recv(rx(2)) -> v => received(2, v),
                    send(tx(2), value(2)) -> r => sent(2, r),
                    default => None,
                }
            }
        }
    }
}

struct Actor {
    commands: Sender<(Vec<Case>, bool, Form)>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    busy: bool,
}

fn actor(ends: Arc<Vec<Ends>>) -> Actor {
    let (commands, todo) = channel::unbounded::<(Vec<Case>, bool, Form)>();
    let replies = Arc::new(Mutex::new(VecDeque::new()));
    let answers = replies.clone();
    goweft::go! {
        for (cases, waits, form) in todo {
            let reply = operate(&ends, &cases, waits, form);
            answers.lock().unwrap().push_back(reply);
        }
    }
    Actor {
        commands,
        replies,
        busy: false,
    }
}

fn run(capacities: Vec<Option<usize>>, commands: Vec<(usize, Command)>) {
    let make =
        |&capacity: &Option<usize>| capacity.map_or_else(channel::unbounded, channel::bounded);
    let ends: Arc<Vec<Ends>> = Arc::new(capacities.iter().map(make).collect());
    let mut model = Model::new(&capacities);
    let mut actors: Vec<Actor> = (0..ACTORS).map(|_| actor(ends.clone())).collect();
    let mut next_value = 0;
    for (who, command) in commands {
        let mut expect_of_who = None;
        match command {
            Command::Close { channel } => assert_eq!(ends[channel].0.close(), model.close(channel)),
            Command::Operate { .. } if actors[who].busy => continue,
            Command::Operate {
                mut cases,
                waits,
                form,
            } => {
                for case in &mut cases {
                    next_value += 1;
                    case.send = case.send.map(|_| next_value);
                }
                let ready: Vec<Case> = cases
                    .iter()
                    .copied()
                    .filter(|c| model.is_ready(*c))
                    .collect();
                actors[who]
                    .commands
                    .send((cases.clone(), waits, form))
                    .unwrap();
                settle();
                let reply = actors[who].replies.lock().unwrap().pop_front();
                match reply {
                    Some(Some((case, result))) => {
                        assert!(ready.contains(&case), "{case:?} was not ready: {ready:?}");
                        assert_eq!(result, model.take(case));
                    }
                    Some(None) => {
                        assert!(
                            !waits && ready.is_empty(),
                            "nothing was chosen of {ready:?}"
                        );
                    }
                    None => {
                        assert!(waits && ready.is_empty(), "it waits in spite of {ready:?}");
                        model.wait(who, &cases);
                        actors[who].busy = true;
                        expect_of_who = Some(who);
                    }
                }
            }
        }
        settle();
        for (actor, reply) in model.told.drain(..) {
            assert_ne!(Some(actor), expect_of_who);
            let actual = actors[actor].replies.lock().unwrap().pop_front();
            assert_eq!(actual, Some(reply), "of actor {actor}");
            actors[actor].busy = false;
        }
        for (n, actor) in actors.iter().enumerate() {
            assert!(
                actor.replies.lock().unwrap().is_empty(),
                "actor {n} said too much"
            );
        }
        for (c, (tx, rx)) in model.channels.iter().zip(ends.iter()) {
            assert_eq!((c.queue.len(), c.closed), (tx.len(), rx.is_closed()));
        }
    }
    // Nobody stays behind.
    ends.iter().for_each(|(tx, _)| _ = tx.close());
    drop(actors);
    settle();
    assert_eq!(Arc::strong_count(&ends), 1, "somebody is still waiting");
}

fn cases() -> impl Strategy<Value = Vec<Case>> {
    // Any subset of the six, in any order; one case most often.
    let all: Vec<Case> = (0..CHANNELS)
        .flat_map(|channel| [None, Some(0)].map(|send| Case { channel, send }))
        .collect();
    let one = proptest::sample::select(all.clone()).prop_map(|c| vec![c]);
    let some = proptest::sample::subsequence(all, 1..=2 * CHANNELS).prop_shuffle();
    prop_oneof![2 => one, 1 => some]
}

fn command() -> impl Strategy<Value = (usize, Command)> {
    let form = prop_oneof![Just(Form::Plain), Just(Form::Macro), Just(Form::Dynamic)];
    let operate = (cases(), prop::bool::weighted(0.7), form)
        .prop_map(|(cases, waits, form)| Command::Operate { cases, waits, form });
    let close = (0..CHANNELS).prop_map(|channel| Command::Close { channel });
    (0..ACTORS, prop_oneof![40 => operate, 1 => close])
}

fn capacity() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![3 => Just(Some(0)), 2 => Just(Some(1)), 1 => Just(Some(2)), 1 => Just(Some(3)), 1 => Just(None)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn channels_and_selects_do_what_the_reference_does(
        capacities in prop::collection::vec(capacity(), CHANNELS),
        commands in prop::collection::vec(command(), 1..60),
    ) {
        // The first case starts the runtime; for the others it is there already.
        let _ = Config::new().maxprocs(1).install();
        goweft::run(|| run(capacities, commands));
    }
}
