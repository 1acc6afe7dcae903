//! How the runtime ends the process: one line on stderr, then abort.
//!
//! The runtime's own code never unwinds: between enter and exit a panic would
//! leave queues half linked. Whoever finds an invariant broken calls
//! [`fatal`]; a panic that leaves a section inside the runtime ends here too.

use crate::tell::tell;
use std::fmt;

/// Says `goweft: fatal: what` and aborts.
#[cold]
pub(crate) fn fatal(what: impl fmt::Display) -> ! {
    tell(format_args!("fatal: {what}"));
    std::process::abort()
}

/// Ends the process when dropped: held where a panic would leave the runtime
/// without one of its threads.
pub(crate) struct OnUnwind(pub(crate) &'static str);

impl Drop for OnUnwind {
    fn drop(&mut self) {
        fatal(self.0);
    }
}
