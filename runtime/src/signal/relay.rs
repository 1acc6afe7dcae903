//! From the signal handler to the channels and contexts.
//!
//! 1. The first [`add`] starts the thread, which sleeps in a read of the pipe
//!    that `signal-hook`'s handler writes to.
//! 2. `add` writes its target into the table, under a lock, and then registers
//!    the signals that are new. A handler, once there, stays: taking it away could
//!    take away what others have put on top of it.
//! 3. The thread sends each signal to all targets in the table without waiting,
//!    and takes out those that are gone.
//! 4. A signal for which there is nobody, and whose action was the default when
//!    we came, gets its default action from the thread, which is what would have
//!    happened without us.
//! 5. [`ignore`] makes the system ignore a signal, so that programs that are
//!    started from here inherit it, and keeps the action that was there; [`add`] and
//!    [`reset`] put that back. Signals that do nothing by default are left as they
//!    are: for the system ignoring SIGCHLD is more than doing nothing, and SIGURG is the
//!    runtime's own.
//!
//! The lock is one of ours, since goroutines hold it over calls in which they may be made
//! to give way.

use super::{Received, Signal, sys};
use crate::channel::{Sender, TrySendError};
use crate::context::{ContextError, NodeRef};
use crate::sync::Mutex;
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::sync::Arc;
use std::thread;

/// What is told of a signal.
#[derive(Clone)]
pub(super) enum Target {
    Channel(Sender<Signal>),
    /// It is cancelled, once; the signal is caught until its cancel function is
    /// called or dropped.
    Context(NodeRef),
}

impl Target {
    fn is_gone(&self) -> bool {
        match self {
            Target::Channel(tx) => tx.is_closed(),
            Target::Context(node) => node.is_released(),
        }
    }

    fn is(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::Channel(a), Target::Channel(b)) => a.same_channel(b),
            (Target::Context(a), Target::Context(b)) => a.is(b),
            _ => false,
        }
    }
}

/// Adds `target` to those that are told of `signals`.
///
/// # Errors
/// What the system says. Nothing is added then.
pub(super) fn add(signals: &[Signal], target: &Target) -> io::Result<()> {
    with_relay(|relay| {
        let handle = relay.start()?;
        for &signal in signals {
            let added = relay.route(signal).and_then(|(route, _)| {
                if !route.targets.iter().any(|other| other.is(target)) {
                    route.targets.push(target.clone());
                }
                route.is_ignored = false;
                // A default action is replaced by the handler, without a moment in which
                // it would act; another one is put back, so that the handler chains it.
                if let Some(before) = route.ignored.take()
                    && !before.is_default()
                {
                    before.restore(signal.as_raw())?;
                }
                handler_for(signal, &handle)
            });
            if let Err(error) = added {
                relay.remove(target);
                return Err(error);
            }
        }
        Ok(())
    })
}

/// Has `signal-hook` handle `signal`: on the alternate stack, where there is one, for there may be
/// no room on a goroutine's. Does nothing when it does already.
fn handler_for(signal: Signal, handle: &Handle) -> io::Result<()> {
    let before = sys::action(signal.as_raw())?;
    handle.add_signal(signal.as_raw())?;
    let now = sys::action(signal.as_raw())?;
    if now.is_same_handler(&before) {
        return Ok(());
    }
    now.on_alternate_stack().restore(signal.as_raw())
}

/// Whether the system ignores `signal`, or would if that did no harm.
///
/// # Errors
/// What the system says.
pub(super) fn is_ignored(signal: Signal) -> io::Result<bool> {
    let is_ignored = with_relay(|relay| {
        let mut routes = relay.routes.iter();
        routes.any(|route| route.signal == signal && route.is_ignored)
    });
    Ok(is_ignored || sys::action(signal.as_raw())?.ignores())
}

/// Ignores `signals`; those who were told of them are told no more.
///
/// # Errors
/// What the system says; the signals before that one are ignored.
pub(super) fn ignore(signals: &[Signal]) -> io::Result<()> {
    with_relay(|relay| {
        for &signal in signals {
            let (route, gone) = relay.route(signal)?;
            gone.append(&mut route.targets);
            route.is_ignored = true;
            if !signal.does_nothing_by_default() && route.ignored.is_none() {
                route.ignored = Some(sys::ignore(signal.as_raw())?);
            }
        }
        Ok(())
    })
}

/// Undoes what [`add`] and [`ignore`] did to `signals`; with none, to all.
///
/// # Errors
/// What the system says; the signals before that one are reset.
pub(super) fn reset(signals: &[Signal]) -> io::Result<()> {
    with_relay(|relay| {
        for route in &mut relay.routes {
            if signals.is_empty() || signals.contains(&route.signal) {
                relay.gone.append(&mut route.targets);
                route.is_ignored = false;
                if let Some(before) = route.ignored.take() {
                    before.restore(route.signal.as_raw())?;
                }
            }
        }
        Ok(())
    })
}

/// Who gets what, and the way to the thread that brings it.
struct Relay {
    handle: Option<Handle>,
    routes: Vec<Route>,
    /// Targets that go when the lock is free again: dropping a sender wakes receivers, and a
    /// context the error for which a parent was cancelled may go with it, which is user code.
    gone: Vec<Target>,
}

struct Route {
    signal: Signal,
    /// The action was the default one before the handler came.
    was_default: bool,
    targets: Vec<Target>,
    /// The last word about it was [`ignore`].
    is_ignored: bool,
    /// The system ignores it, and this was the action before.
    ignored: Option<sys::Action>,
}

static RELAY: Mutex<Relay> = Mutex::new(Relay {
    handle: None,
    routes: Vec::new(),
    gone: Vec::new(),
});

/// Under the lock. What is taken from the table meanwhile goes when it is free again.
fn with_relay<R>(f: impl FnOnce(&mut Relay) -> R) -> R {
    let mut relay = RELAY.lock();
    let result = f(&mut relay);
    let gone = std::mem::take(&mut relay.gone);
    drop(relay);
    drop(gone);
    result
}

impl Relay {
    /// The handle of the thread, which is started when there is none.
    fn start(&mut self) -> io::Result<Handle> {
        if let Some(handle) = &self.handle {
            return Ok(handle.clone());
        }
        let mut signals = Signals::new([0; 0])?;
        let handle = signals.handle();
        thread::Builder::new()
            .name("goweft-signal".into())
            .spawn(move || {
                for number in signals.forever() {
                    deliver(Signal::from_raw(number));
                }
            })?;
        Ok(self.handle.insert(handle).clone())
    }

    /// The signal's own, and where its targets go.
    fn route(&mut self, signal: Signal) -> io::Result<(&mut Route, &mut Vec<Target>)> {
        let known = self.routes.iter().position(|route| route.signal == signal);
        let i = match known {
            Some(i) => i,
            None => {
                let was_default = sys::action(signal.as_raw())?.is_default();
                self.routes.push(Route {
                    signal,
                    was_default,
                    targets: Vec::new(),
                    is_ignored: false,
                    ignored: None,
                });
                self.routes.len() - 1
            }
        };
        let route = &mut self.routes[i];
        // Those that stopped since the last signal: a program that listens
        // again and again must not collect them.
        let gone = route.targets.extract_if(.., |target| target.is_gone());
        self.gone.extend(gone);
        Ok((route, &mut self.gone))
    }

    /// To all channels. The contexts that are to be cancelled, and whether nobody is there, so that
    /// the default action is due.
    fn send(&mut self, signal: Signal) -> (Vec<NodeRef>, bool) {
        let mut contexts = Vec::new();
        let mut routes = self.routes.iter_mut();
        let Some(route) = routes.find(|route| route.signal == signal) else {
            return (contexts, false);
        };
        let mut anybody = false;
        let gone = route.targets.extract_if(.., |target| {
            let here = match target {
                Target::Channel(tx) => {
                    !matches!(tx.try_send(signal), Err(TrySendError::Disconnected(_)))
                }
                Target::Context(node) => {
                    let here = !node.is_released();
                    if here {
                        contexts.push(node.clone());
                    }
                    here
                }
            };
            anybody |= here;
            !here
        });
        self.gone.extend(gone);
        // One that came just before it was ignored is ignored.
        let act = !anybody && route.was_default && route.ignored.is_none();
        (contexts, act)
    }

    fn remove(&mut self, target: &Target) {
        for route in &mut self.routes {
            let gone = route.targets.extract_if(.., |other| other.is(target));
            self.gone.extend(gone);
        }
    }
}

/// Step 3 and 4, on the thread.
fn deliver(signal: Signal) {
    let (contexts, act) = with_relay(|relay| relay.send(signal));
    for node in contexts {
        node.cancel(ContextError::Canceled, Some(Arc::new(Received { signal })));
    }
    // The default action of a stop signal returns when the process goes on.
    if act {
        default_action(signal);
    }
}

fn default_action(signal: Signal) {
    if signal_hook::low_level::emulate_default_handler(signal.as_raw()).is_err() {
        // It knows all but the realtime signals, which end the process.
        std::process::exit(128 + signal.as_raw());
    }
}
