//! Trees of contexts against a simple reference: after every step each context that is
//! held must have the error, the cause and the value that the reference says, and each
//! `after_func` must have run, be waiting, or be gone.
//!
//! The reference is a list of nodes that point at their parents, cancelled by looking at all of
//! them. It knows nothing of references, locks and lists. Go's TestCancelRemoves looks at the list
//! of children itself; here a context that is gone does nothing any more.

use goweft::channel::{self, Receiver, TryRecvError};
use goweft::context::{CancelCauseFunc, CancelFunc, Context, ContextError, StopFunc};
use proptest::prelude::*;
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

const FAR: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Number(usize);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {}", self.0)
    }
}

impl Error for Number {}

#[derive(Clone, Copy, Debug)]
enum Step {
    WithCancel,
    WithCause,
    /// A deadline so many hours away; 0 is the past.
    WithDeadline(u32),
    WithValue,
    WithoutCancel,
    AfterFunc,
    Cancel,
    DropCancel,
    Detach,
    DropContext,
    Stop,
    DropStop,
}

enum Cancel {
    None,
    Plain(CancelFunc),
    Cause(CancelCauseFunc),
}

/// What is held of a context, and what the reference says of it.
struct Node {
    ctx: Option<Context>,
    cancel: Cancel,
    parent: Option<usize>,
    /// It passes on what happens to its parent.
    linked: bool,
    /// It can be cancelled by itself.
    own_end: bool,
    done: Option<(ContextError, Option<usize>)>,
    deadline: Option<Instant>,
    value: Option<usize>,
}

struct Hook {
    on: usize,
    stop: Option<StopFunc>,
    ran: Receiver<()>,
    /// It was seen to have run.
    seen: bool,
    state: HookState,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HookState {
    Waiting,
    Ran,
    Gone,
}

#[derive(Default)]
struct Model {
    nodes: Vec<Node>,
    hooks: Vec<Hook>,
}

impl Model {
    fn add(&mut self, parent: usize, ctx: Context, cancel: Cancel, deadline: Option<Instant>) {
        let p = &self.nodes[parent];
        let own_end = !matches!(cancel, Cancel::None);
        let node = Node {
            ctx: Some(ctx),
            cancel,
            parent: Some(parent),
            linked: true,
            own_end,
            done: p.done,
            deadline,
            value: p.value,
        };
        self.nodes.push(node);
    }

    /// The reference's way to cancel: again and again over all, until nothing changes.
    fn end(&mut self, i: usize, err: ContextError, cause: Option<usize>) {
        if self.nodes[i].done.is_some() {
            return;
        }
        self.nodes[i].done = Some((err, cause));
        loop {
            let next = (0..self.nodes.len()).find(|&n| {
                let node = &self.nodes[n];
                node.linked
                    && node.done.is_none()
                    && node.parent.is_some_and(|p| self.nodes[p].done.is_some())
            });
            let Some(next) = next else { break };
            let parent = self.nodes[next].parent.unwrap();
            self.nodes[next].done = self.nodes[parent].done;
        }
        for hook in &mut self.hooks {
            if hook.state == HookState::Waiting && self.nodes[hook.on].done.is_some() {
                hook.state = HookState::Ran;
            }
        }
    }

    /// Whether anything can end it.
    fn can_end(&self, mut i: usize) -> bool {
        loop {
            let node = &self.nodes[i];
            if node.own_end {
                return true;
            }
            match node.parent {
                Some(parent) if node.linked => i = parent,
                _ => return false,
            }
        }
    }

    fn step(&mut self, step: Step, at: usize, start: Instant) {
        let i = at % self.nodes.len();
        let number = self.nodes.len();
        if let Some(ctx) = self.nodes[i].ctx.clone() {
            match step {
                Step::WithCancel => {
                    let (below, cancel) = ctx.with_cancel();
                    self.add(i, below, Cancel::Plain(cancel), self.nodes[i].deadline);
                }
                Step::WithCause => {
                    let (below, cancel) = ctx.with_cancel_cause();
                    self.add(i, below, Cancel::Cause(cancel), self.nodes[i].deadline);
                }
                Step::WithDeadline(0) => {
                    let past = start - Duration::from_secs(1);
                    let (below, cancel) = ctx.with_deadline_cause(past, Number(number));
                    self.add(i, below, Cancel::Plain(cancel), Some(past));
                    let due = self.nodes[i].deadline.is_none_or(|d| past < d);
                    if due {
                        self.end(number, ContextError::DeadlineExceeded, Some(number));
                    }
                }
                Step::WithDeadline(hours) => {
                    let own = start + FAR * hours;
                    let (below, cancel) = ctx.with_deadline(own);
                    let earlier = self.nodes[i].deadline.map_or(own, |d| d.min(own));
                    self.add(i, below, Cancel::Plain(cancel), Some(earlier));
                }
                Step::WithValue => {
                    let below = ctx.with_value(number);
                    self.add(i, below, Cancel::None, self.nodes[i].deadline);
                    self.nodes[number].value = Some(number);
                }
                Step::WithoutCancel => {
                    self.add(i, ctx.without_cancel(), Cancel::None, None);
                    self.nodes[number].linked = false;
                    self.nodes[number].done = None;
                }
                Step::AfterFunc => {
                    let (tx, ran) = channel::bounded(1);
                    let stop = ctx.after_func(move || tx.send(()).unwrap());
                    let state = match self.nodes[i].done {
                        Some(_) => HookState::Ran,
                        None => HookState::Waiting,
                    };
                    self.hooks.push(Hook {
                        on: i,
                        stop: Some(stop),
                        ran,
                        seen: false,
                        state,
                    });
                }
                _ => {}
            }
        }
        match step {
            Step::Cancel => match &self.nodes[i].cancel {
                Cancel::None => {}
                Cancel::Plain(cancel) => {
                    cancel();
                    self.end(i, ContextError::Canceled, None);
                }
                Cancel::Cause(cancel) => {
                    cancel.cancel(Number(number + 1000));
                    self.end(i, ContextError::Canceled, Some(number + 1000));
                }
            },
            Step::DropCancel => {
                let cancel = std::mem::replace(&mut self.nodes[i].cancel, Cancel::None);
                let there_was = !matches!(cancel, Cancel::None);
                drop(cancel);
                if there_was {
                    self.end(i, ContextError::Canceled, None);
                }
            }
            Step::Detach => match std::mem::replace(&mut self.nodes[i].cancel, Cancel::None) {
                Cancel::None => {}
                Cancel::Plain(cancel) => cancel.detach(),
                Cancel::Cause(cancel) => cancel.detach(),
            },
            Step::DropContext if i != 0 => self.nodes[i].ctx = None,
            Step::Stop if !self.hooks.is_empty() => {
                let n = at % self.hooks.len();
                let hook = &mut self.hooks[n];
                if let Some(stop) = &hook.stop {
                    assert_eq!(stop(), hook.state == HookState::Waiting);
                    if hook.state == HookState::Waiting {
                        hook.state = HookState::Gone;
                    }
                }
            }
            Step::DropStop if !self.hooks.is_empty() => {
                let n = at % self.hooks.len();
                self.hooks[n].stop = None;
                let hook = &self.hooks[n];
                if hook.state == HookState::Waiting && !self.can_end(hook.on) {
                    self.hooks[n].state = HookState::Gone;
                }
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        for node in &self.nodes {
            let Some(ctx) = &node.ctx else { continue };
            assert_eq!(ctx.err(), node.done.map(|d| d.0), "{ctx:?}");
            assert_eq!(ctx.done().is_closed(), node.done.is_some());
            let cause = ctx.cause();
            let number = cause
                .as_ref()
                .and_then(|c| c.downcast_ref::<Number>())
                .map(|n| n.0);
            assert_eq!(number, node.done.and_then(|d| d.1), "{ctx:?}");
            if let (Some(cause), None) = (&cause, number) {
                assert_eq!(cause.downcast_ref(), ctx.err().as_ref());
            }
            assert_eq!(ctx.deadline(), node.deadline, "{ctx:?}");
            assert_eq!(ctx.value::<usize>().copied(), node.value, "{ctx:?}");
        }
        for hook in &mut self.hooks {
            match hook.state {
                HookState::Waiting => assert_eq!(hook.ran.try_recv(), Err(TryRecvError::Empty)),
                HookState::Gone => {
                    assert_eq!(hook.ran.try_recv(), Err(TryRecvError::Disconnected));
                }
                // Once: the sender is gone after it.
                HookState::Ran => {
                    assert_eq!(hook.ran.recv().is_ok(), !hook.seen);
                    hook.seen = true;
                }
            }
        }
    }
}

fn step() -> impl Strategy<Value = (Step, usize)> {
    let step = prop_oneof![
        4 => Just(Step::WithCancel),
        2 => Just(Step::WithCause),
        2 => (0u32..4).prop_map(Step::WithDeadline),
        2 => Just(Step::WithValue),
        1 => Just(Step::WithoutCancel),
        4 => Just(Step::AfterFunc),
        2 => Just(Step::Cancel),
        1 => Just(Step::DropCancel),
        1 => Just(Step::Detach),
        2 => Just(Step::DropContext),
        2 => Just(Step::Stop),
        1 => Just(Step::DropStop),
    ];
    (step, 0usize..1000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn trees_do_what_the_reference_does(steps in prop::collection::vec(step(), 1..80)) {
        goweft::run(|| {
            let start = Instant::now();
            let mut model = Model::default();
            model.nodes.push(Node {
                ctx: Some(Context::background()),
                cancel: Cancel::None,
                parent: None,
                linked: false,
                own_end: false,
                done: None,
                deadline: None,
                value: None,
            });
            for (step, at) in steps {
                model.step(step, at, start);
                model.check();
            }
        });
    }
}
