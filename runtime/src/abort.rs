//! How the runtime ends the process: one line on stderr, then abort.
//!
//! The runtime's own code never unwinds: between enter and exit a panic would
//! leave queues half linked. Whoever finds an invariant broken calls
//! [`fatal`]; a panic that leaves a section inside the runtime ends here too.

use std::io::Write;

/// Says `goweft: fatal: what` and aborts.
#[cold]
pub(crate) fn fatal(what: &str) -> ! {
    // One write, so that lines of several threads do not mix. What stderr
    // answers does not matter any more.
    let _ = std::io::stderr().write_all(format!("goweft: fatal: {what}\n").as_bytes());
    std::process::abort()
}
