//! The sender of a signal, and a thread that wants none (PROTOCOL 7).
//!
//! 1. The **sender** says that it sends, fences, and looks whether the goroutine wants quiet:
//!    [`begin`](Sending::begin). If so it sends nothing. It says when it is done:
//!    [`end`](Sending::end).
//! 2. The **thread** says that its goroutine wants quiet, fences, [`ask`](Quiet::ask), and waits
//!    while somebody [`is_sending`](Sending::is_sending) to it. What was sent until then comes when
//!    its next system call returns, at the latest, so it makes one. (Unless its thread blocks the
//!    signal: then it comes when that ends, and the handler sees whether quiet is wanted.)
//!
//! Argument: the same as in `sleep.rs`: of the two fences one is first, so either the sender sees
//! that quiet is wanted, or the thread sees the sender and waits for it. (A goroutine that waits in
//! between goes on on another thread, perhaps: a sender that has looked there before it came is not
//! waited for.)

use super::atomic::{AtomicBool, Ordering, fence};

/// Whether a goroutine wants quiet. Written by itself; read by senders, and by the handler on its
/// thread.
pub(crate) struct Quiet(AtomicBool);

impl Quiet {
    #[cfg(loom)]
    pub(crate) fn new() -> Quiet {
        Quiet(AtomicBool::new(false))
    }

    /// Step 2. The caller waits for the sender. What held before.
    pub(crate) fn ask(&self) -> bool {
        let before = self.0.load(Ordering::Relaxed);
        // Nobody else writes it.
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        before
    }

    /// As before [`ask`](Self::ask), which returned `before`.
    pub(crate) fn end(&self, before: bool) {
        self.0.store(before, Ordering::Relaxed);
    }

    /// For the handler on the goroutine's thread, and for a sender that has begun.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Whether a signal is just being sent to a thread. Written by the only sender there is.
pub(crate) struct Sending(AtomicBool);

impl Sending {
    #[cfg(loom)]
    pub(crate) fn new() -> Sending {
        Sending(AtomicBool::new(false))
    }

    /// Step 1. False: nothing is to be sent, for the goroutine on the thread wants quiet, as
    /// `is_quiet` says.
    #[must_use]
    pub(crate) fn begin(&self, is_quiet: impl FnOnce() -> bool) -> bool {
        // The only sender writes it.
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if is_quiet() {
            self.end();
            return false;
        }
        true
    }

    /// What was to be sent has been.
    pub(crate) fn end(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Step 2.
    pub(crate) fn is_sending(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::super::atomic::AtomicU32;
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_no_signal_comes_to_a_thread_that_has_asked_for_quiet() {
        loom::model(|| {
            let here = Arc::new((Quiet::new(), Sending::new(), AtomicU32::new(0)));
            let sender = {
                let here = here.clone();
                thread::spawn(move || {
                    let (quiet, sending, sent) = &*here;
                    for _ in 0..2 {
                        if sending.begin(|| quiet.is_wanted()) {
                            sent.fetch_add(1, Ordering::Relaxed);
                            sending.end();
                        }
                    }
                })
            };
            let (quiet, sending, sent) = &*here;
            let before = quiet.ask();
            while sending.is_sending() {
                thread::yield_now();
            }
            let came = sent.load(Ordering::Relaxed);
            sender.join().unwrap();
            assert_eq!(sent.load(Ordering::Relaxed), came, "a signal comes late");
            quiet.end(before);
            assert!(!quiet.is_wanted());
        });
    }
}
