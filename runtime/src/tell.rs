//! What the runtime itself says: one line on stderr, by one `write`.
//!
//! Not by std's stderr: a parked goroutine may hold its lock, and a closed pipe
//! is a panic there. Allocates nothing, takes no lock and ignores what the system
//! answers, so it may be called inside the runtime and by the monitor.

use crate::sys;
use std::fmt::{self, Write};

/// Longest line, in bytes; what is beyond is left out.
const LONGEST: usize = 1024;

struct Line {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // The last byte is the line's end.
        let room = LONGEST - 1 - self.len;
        let n = s.len().min(room);
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// Says `goweft: what`.
#[cold]
pub(crate) fn tell(what: fmt::Arguments<'_>) {
    let mut line = Line {
        bytes: [0; LONGEST],
        len: 0,
    };
    let _ = write!(line, "goweft: {what}");
    line.bytes[line.len] = b'\n';
    sys::write_to_stderr(&line.bytes[..=line.len]);
}
