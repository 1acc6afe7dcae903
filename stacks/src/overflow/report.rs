//! What the overflow report says, written without allocating.

use super::{Describe, Fault, sys};
use std::ffi::c_void;
use std::fmt::{self, Write};

/// Frames shown from the innermost end, and from the outermost.
const INNER: usize = 40;
const OUTER: usize = 20;
/// Frames walked at most; a gibibyte of stack holds more than anybody waits for.
const WALKED: usize = 1_000_000;
/// Seconds for everything after the facts.
const DEADLINE: u32 = 3;

/// Writes the report to standard error.
pub(super) fn write(fault: &Fault, describe: Describe) {
    let mut out = Stderr::new();
    let _ = out.write_str("\n");
    describe(fault, &mut out);
    let _ = writeln!(
        out,
        "stack overflow: stack of {} KiB, usable {:#x}..{:#x}, stack pointer {:#x}, touched {:#x}",
        fault.stack_size >> 10,
        fault.stack.start,
        fault.stack.end,
        fault.stack_pointer.unwrap_or(0),
        fault.address
    );
    out.flush();
    // From here on the dynamic loader's and the allocator's locks are needed,
    // which the interrupted code may hold.
    sys::abort_after(DEADLINE);
    let mut frames = Frames::new();
    let _ = out.write_str("addresses:");
    // SAFETY: the process is ending; other threads that trace at the same time
    // cost a wrong symbol at worst.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            if frames.count < INNER {
                let _ = write!(out, " {:#x}", frame.ip().addr());
            } else if frames.count == INNER {
                // A long walk may meet the deadline.
                out.flush();
            }
            frames.add(frame.ip());
            frames.count < WALKED
        });
    }
    frames.each(|frame| match frame {
        Shown::At(index, ip) if index >= INNER => {
            let _ = write!(out, " {:#x}", ip.addr());
        }
        Shown::At(..) => {}
        Shown::Gap(n) => {
            let _ = write!(out, " ({n} more)");
        }
    });
    let _ = out.write_str("\nbacktrace:\n");
    out.flush();
    frames.each(|frame| {
        match frame {
            Shown::At(index, ip) => write_symbol(&mut out, index, ip),
            Shown::Gap(n) => {
                let _ = writeln!(out, "        ... {n} more frames");
            }
        }
        out.flush();
    });
}

/// One line a function (inlined ones have lines of their own).
fn write_symbol(out: &mut Stderr, index: usize, ip: *mut c_void) {
    let mut named = false;
    // A return address may be the first of the next function.
    let call = ip.wrapping_byte_sub(1);
    // SAFETY: as for the trace.
    unsafe {
        backtrace::resolve_unsynchronized(call, |symbol| {
            let _ = write!(out, "{index:6}: ");
            let _ = match symbol.name() {
                Some(name) => write!(out, "{name:#}"),
                None => write!(out, "{ip:?}"),
            };
            if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                let _ = write!(out, "\n            at {}:{line}", file.display());
            }
            let _ = out.write_str("\n");
            named = true;
        });
    }
    if !named {
        let _ = writeln!(out, "{index:6}: {ip:?}");
    }
}

/// The first and the last frames of a walk.
struct Frames {
    inner: [*mut c_void; INNER],
    /// A ring of those after the inner ones.
    outer: [*mut c_void; OUTER],
    count: usize,
}

enum Shown {
    /// The frame with this number, counted from the innermost.
    At(usize, *mut c_void),
    /// So many were left out.
    Gap(usize),
}

impl Frames {
    fn new() -> Self {
        let none = std::ptr::null_mut();
        Frames {
            inner: [none; INNER],
            outer: [none; OUTER],
            count: 0,
        }
    }

    fn add(&mut self, ip: *mut c_void) {
        if self.count < INNER {
            self.inner[self.count] = ip;
        } else {
            self.outer[(self.count - INNER) % OUTER] = ip;
        }
        self.count += 1;
    }

    fn each(&self, mut show: impl FnMut(Shown)) {
        for index in 0..self.count.min(INNER) {
            show(Shown::At(index, self.inner[index]));
        }
        let rest = self.count.saturating_sub(INNER);
        if rest > OUTER {
            show(Shown::Gap(rest - OUTER));
        }
        for at in rest.saturating_sub(OUTER)..rest {
            show(Shown::At(INNER + at, self.outer[at % OUTER]));
        }
    }
}

/// Standard error without locks or allocation.
struct Stderr {
    buffer: [u8; 512],
    len: usize,
}

impl Stderr {
    fn new() -> Self {
        Stderr {
            buffer: [0; 512],
            len: 0,
        }
    }

    fn flush(&mut self) {
        sys::write_stderr(&self.buffer[..self.len]);
        self.len = 0;
    }
}

impl Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.as_bytes().chunks(self.buffer.len()) {
            if self.len + part.len() > self.buffer.len() {
                self.flush();
            }
            self.buffer[self.len..self.len + part.len()].copy_from_slice(part);
            self.len += part.len();
        }
        Ok(())
    }
}
