//! `Signal`: a number with the name and the words that people know it by.
//!
//! The table below is the only list of signals: constants, POSIX names and
//! texts come from it.

use std::borrow::Cow;
use std::ffi::c_int;
use std::fmt;

/// A signal.
///
/// It displays as its meaning, in the words that Go and the C library use:
///
/// ```
/// use goweft::signal::Signal;
///
/// assert_eq!(Signal::SIGTERM.to_string(), "terminated");
/// assert_eq!(format!("{:?}", Signal::SIGTERM), "SIGTERM");
/// assert_eq!(Signal::INTERRUPT, Signal::SIGINT);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(c_int);

macro_rules! signals {
    ($($name:ident $text:literal,)*) => {
        impl Signal {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $text, ".")]
                pub const $name: Signal = Signal(libc::$name);
            )*
        }

        const KNOWN: &[(Signal, &str, &str)] = &[$((Signal::$name, stringify!($name), $text),)*];
    };
}

signals! {
    SIGHUP "hangup",
    SIGINT "interrupt",
    SIGQUIT "quit",
    SIGILL "illegal instruction",
    SIGTRAP "trace/breakpoint trap",
    SIGABRT "aborted",
    SIGBUS "bus error",
    SIGFPE "floating point exception",
    SIGKILL "killed",
    SIGUSR1 "user defined signal 1",
    SIGSEGV "segmentation fault",
    SIGUSR2 "user defined signal 2",
    SIGPIPE "broken pipe",
    SIGALRM "alarm clock",
    SIGTERM "terminated",
    SIGCHLD "child exited",
    SIGCONT "continued",
    SIGSTOP "stopped (signal)",
    SIGTSTP "stopped",
    SIGTTIN "stopped (tty input)",
    SIGTTOU "stopped (tty output)",
    SIGURG "urgent I/O condition",
    SIGXCPU "CPU time limit exceeded",
    SIGXFSZ "file size limit exceeded",
    SIGVTALRM "virtual timer expired",
    SIGPROF "profiling timer expired",
    SIGWINCH "window changed",
    SIGIO "I/O possible",
    SIGPWR "power failure",
    SIGSYS "bad system call",
}

impl Signal {
    /// What Ctrl-C sends: `SIGINT`.
    #[doc(alias = "os.Interrupt")]
    pub const INTERRUPT: Signal = Signal::SIGINT;

    /// What `kill`, and who stops a container, sends: `SIGTERM`.
    pub const TERMINATE: Signal = Signal::SIGTERM;

    /// The signal with that number, whether it exists or not: who uses it says.
    pub const fn from_raw(number: i32) -> Signal {
        Signal(number)
    }

    /// Its number.
    pub const fn as_raw(self) -> i32 {
        self.0
    }

    /// Its POSIX name, or `signal 40` for one without.
    pub(super) fn name(self) -> Cow<'static, str> {
        match self.known() {
            Some((_, name, _)) => Cow::Borrowed(name),
            None => Cow::Owned(format!("signal {}", self.0)),
        }
    }

    /// Why nobody can listen to it; None when they can.
    pub(super) fn why_not(self) -> Option<&'static str> {
        match self {
            Signal::SIGKILL | Signal::SIGSTOP => Some("cannot be caught"),
            // Returning from their handler runs the same instruction again.
            Signal::SIGSEGV | Signal::SIGBUS | Signal::SIGFPE | Signal::SIGILL => {
                Some("reports an error in the program and cannot be relayed")
            }
            Signal(number) if number < 1 || number > libc::SIGRTMAX() => Some("does not exist"),
            Signal(number) if (32..libc::SIGRTMIN()).contains(&number) => {
                Some("belongs to the C library")
            }
            _ => None,
        }
    }

    /// Whether its default action is none. (SIGCONT's is to go on, which the system does
    /// whatever the action is.)
    pub(super) fn does_nothing_by_default(self) -> bool {
        matches!(
            self,
            Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH | Signal::SIGCONT
        )
    }

    fn known(self) -> Option<&'static (Signal, &'static str, &'static str)> {
        KNOWN.iter().find(|(signal, ..)| *signal == self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((_, _, text)) => f.pad(text),
            None => f.pad(&self.name()),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_name_show_the_number() {
        let realtime = Signal::from_raw(40);
        assert_eq!(realtime.to_string(), "signal 40");
        assert_eq!(format!("{realtime:?}"), "signal 40");
        assert_eq!(realtime.as_raw(), 40);
    }

    #[test]
    fn only_signals_that_can_be_relayed_are_accepted() {
        for good in [1, 2, 15, 17, libc::SIGRTMIN(), libc::SIGRTMAX()] {
            assert_eq!(Signal(good).why_not(), None, "{good}");
        }
        for bad in [i32::MIN, -1, 0, 4, 7, 8, 9, 11, 19, 32, 33, 65, i32::MAX] {
            assert!(Signal(bad).why_not().is_some(), "{bad}");
        }
    }
}
