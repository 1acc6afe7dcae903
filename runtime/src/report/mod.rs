//! What the runtime says about goroutines that fail: panics (`hook.rs`, with
//! `backtrace.rs`) and overflows of the stack (here).

mod backtrace;
mod hook;

pub(crate) use hook::install_panic_hook;

use crate::sched::current_g;
use goweft_stacks::MAX_SIZE;
use goweft_stacks::overflow::Fault;
use std::fmt::{self, Write};
use std::sync::atomic::Ordering;

/// A goroutine as reports name it: `goroutine 'name' (17)`, or `goroutine 17`.
struct Called<'a> {
    id: u64,
    name: Option<&'a str>,
}

impl fmt::Display for Called<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "goroutine '{name}' ({})", self.id),
            None => write!(f, "goroutine {}", self.id),
        }
    }
}

/// Says whose stack it was, where that goroutine was spawned, and how to give it
/// more. Runs in a signal handler, on the thread that faulted: it reads what the
/// running goroutine has, and neither allocates nor locks.
pub(crate) fn describe(fault: &Fault, to: &mut dyn Write) {
    // What stderr answers does not matter any more.
    let _ = write_overflow(fault, to);
}

fn write_overflow(fault: &Fault, to: &mut dyn Write) -> fmt::Result {
    let Some(g) = current_g() else {
        return writeln!(
            to,
            "a goroutine that is about to start has overflowed its stack"
        );
    };
    // SAFETY: null, or the rare part of the goroutine that this thread runs,
    // which changes it only itself.
    let cold = unsafe { g.cold.get().as_ref() };
    let called = Called {
        id: g.id.load(Ordering::Relaxed),
        name: cold.and_then(|c| c.name.as_deref()),
    };
    writeln!(
        to,
        "{called} has overflowed its stack of {}",
        Bytes(fault.stack_size)
    )?;
    if let Some(at) = g.spawned_at.get() {
        writeln!(to, "it was spawned at {at}")?;
    }
    if fault.stack_size >= MAX_SIZE {
        return writeln!(to, "this is the largest stack there is");
    }
    let more = Bytes(2 * fault.stack_size);
    writeln!(
        to,
        "to give it more: goweft::Builder::stack_size for this goroutine, \
         Config::stack_size or GOWEFT_STACK={more:#} for all"
    )
}

/// A size as people write it; `{:#}` is how `GOWEFT_STACK` takes it.
struct Bytes(usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, unit) = match self.0 {
            n if n >= 1 << 30 => (n >> 30, "G"),
            n if n >= 1 << 20 => (n >> 20, "M"),
            n => (n >> 10, "K"),
        };
        if f.alternate() {
            write!(f, "{n}{unit}")
        } else {
            write!(f, "{n} {unit}iB")
        }
    }
}
