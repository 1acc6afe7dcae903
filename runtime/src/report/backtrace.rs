//! The backtrace of a panic, as std prints it.
//!
//! Addresses are taken on the goroutine's stack, which needs a few KiB. Their names
//! need far more, so on a stack with little room left a thread looks them up.

use crate::sched::g::GRef;
use ::backtrace::SymbolName;
use std::ffi::c_void;
use std::fmt::Write;
use std::path::Path;
use std::thread;

/// What finding names may need, in bytes: measured 20 KiB in a debug build.
const ROOM: usize = 96 << 10;
/// More frames than anybody reads.
const FRAMES: usize = 2_000;

/// Return addresses, innermost first.
pub(super) struct Trace {
    frames: Vec<usize>,
    has_room: bool,
}

impl Trace {
    /// The stack of the goroutine that calls.
    pub(super) fn capture(g: GRef) -> Trace {
        let mut frames = Vec::with_capacity(64);
        ::backtrace::trace(|frame| {
            frames.push(frame.ip().addr());
            frames.len() < FRAMES
        });
        Trace {
            frames,
            has_room: room(g) >= ROOM,
        }
    }

    /// The text; not `full` leaves out the panic's own machinery, and what lies
    /// below the goroutine's closure.
    pub(super) fn render(self, full: bool) -> String {
        if self.has_room {
            return render(&self.frames, full);
        }
        let rendering = thread::Builder::new().spawn(move || render(&self.frames, full));
        match rendering.map(thread::JoinHandle::join) {
            Ok(Ok(text)) => text,
            _ => String::from("stack backtrace: no thread to find the names of functions on\n"),
        }
    }
}

/// Bytes of stack below the caller.
fn room(g: GRef) -> usize {
    let here = 0u8;
    let here = (&raw const here).addr();
    g.stack_limit()
        .map_or(usize::MAX, |limit| here.saturating_sub(limit))
}

/// One function of a frame; a frame has several when some were inlined.
struct Function {
    name: String,
    place: Option<String>,
}

fn render(frames: &[usize], full: bool) -> String {
    let cwd = std::env::current_dir().ok();
    let mut out = String::from("stack backtrace:\n");
    let mut index = 0;
    // The short form begins behind the frame that std marks with this name.
    let mut within = full;
    'frames: for &ip in frames {
        for function in functions(ip, cwd.as_deref(), full) {
            if !full && function.name.contains("__rust_end_short_backtrace") {
                within = true;
                continue;
            }
            if !full && within && function.name.contains("__rust_begin_short_backtrace") {
                break 'frames;
            }
            if within {
                // Writing to a String cannot fail.
                let _ = writeln!(out, "{index:4}: {}", function.name);
                if let Some(place) = function.place {
                    let _ = writeln!(out, "             at {place}");
                }
                index += 1;
            }
        }
    }
    if !full {
        out.push_str(
            "note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.\n",
        );
    }
    out
}

fn functions(ip: usize, cwd: Option<&Path>, full: bool) -> Vec<Function> {
    let mut found = Vec::new();
    // A return address may be the first of the next function.
    let call = std::ptr::without_provenance_mut::<c_void>(ip.wrapping_sub(1));
    ::backtrace::resolve(call, |symbol| {
        let name = symbol
            .name()
            .map_or_else(|| String::from("<unknown>"), |n| demangled(&n, full));
        let place = symbol.filename().map(|file| {
            let mut place = shown(file, cwd, full);
            if let Some(line) = symbol.lineno() {
                let _ = write!(place, ":{line}");
                if let Some(column) = symbol.colno() {
                    let _ = write!(place, ":{column}");
                }
            }
            place
        });
        found.push(Function { name, place });
    });
    if found.is_empty() {
        found.push(Function {
            name: String::from("<unknown>"),
            place: None,
        });
    }
    found
}

/// Without the hash, in the short form.
fn demangled(name: &SymbolName<'_>, full: bool) -> String {
    if full {
        format!("{name}")
    } else {
        format!("{name:#}")
    }
}

/// A file of this program relative to where it runs, in the short form.
fn shown(file: &Path, cwd: Option<&Path>, full: bool) -> String {
    match cwd.and_then(|cwd| file.strip_prefix(cwd).ok()) {
        Some(inner) if !full => format!("./{}", inner.display()),
        _ => file.display().to_string(),
    }
}
