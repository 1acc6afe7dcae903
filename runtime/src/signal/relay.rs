//! From the signal handler to the channels.
//!
//! 1. The first [`add`] starts the thread, which sleeps in a read of the pipe
//!    that `signal-hook`'s handler writes to.
//! 2. `add` writes its sender into the table, under a lock, and then registers
//!    the signals that are new. A handler, once there, stays: taking it away could
//!    take away what others have put on top of it.
//! 3. The thread sends each signal to all senders in the table without waiting,
//!    and takes out those whose receivers are gone.
//! 4. A signal for which there is nobody, and whose action was the default when
//!    we came, gets its default action from the thread, which is what would have
//!    happened without us.

use super::{Signal, sys};
use crate::channel::{Sender, TrySendError};
use signal_hook::iterator::{Handle, Signals};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Adds `tx` to those who get `signals`.
///
/// # Errors
/// What the system says. Nothing is added then.
pub(super) fn add(signals: &[Signal], tx: &Sender<Signal>) -> io::Result<()> {
    let mut relay = lock();
    let handle = relay.start()?;
    for &signal in signals {
        let added = relay.route(signal).and_then(|route| {
            if !route.senders.iter().any(|other| other.same_channel(tx)) {
                route.senders.push(tx.clone());
            }
            // Does nothing for one that is registered.
            handle.add_signal(signal.as_raw())
        });
        if let Err(error) = added {
            relay.remove(tx);
            return Err(error);
        }
    }
    Ok(())
}

/// Who gets what, and the way to the thread that brings it.
struct Relay {
    handle: Option<Handle>,
    routes: Vec<Route>,
}

struct Route {
    signal: Signal,
    /// The action was the default one before the handler came.
    was_default: bool,
    senders: Vec<Sender<Signal>>,
}

static RELAY: Mutex<Relay> = Mutex::new(Relay {
    handle: None,
    routes: Vec::new(),
});

fn lock() -> MutexGuard<'static, Relay> {
    RELAY.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn route(&mut self, signal: Signal) -> io::Result<&mut Route> {
        let known = self.routes.iter().position(|route| route.signal == signal);
        let i = match known {
            Some(i) => i,
            None => {
                let was_default = sys::has_default_action(signal.as_raw())?;
                self.routes.push(Route {
                    signal,
                    was_default,
                    senders: Vec::new(),
                });
                self.routes.len() - 1
            }
        };
        let route = &mut self.routes[i];
        // Those that stopped since the last signal: a program that listens
        // again and again must not collect them.
        route.senders.retain(|tx| !tx.is_closed());
        Ok(route)
    }

    fn remove(&mut self, tx: &Sender<Signal>) {
        for route in &mut self.routes {
            route.senders.retain(|other| !other.same_channel(tx));
        }
    }
}

/// Step 3 and 4, on the thread.
fn deliver(signal: Signal) {
    let mut relay = lock();
    let Some(route) = relay.routes.iter_mut().find(|route| route.signal == signal) else {
        return;
    };
    let mut anybody = false;
    route.senders.retain(|tx| {
        let here = !matches!(tx.try_send(signal), Err(TrySendError::Disconnected(_)));
        anybody |= here;
        here
    });
    let act = !anybody && route.was_default;
    // The default action of a stop signal returns when the process goes on.
    drop(relay);
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
