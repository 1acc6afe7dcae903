//! The panic hook: std's text, with the goroutine in the thread's place.
//!
//! It is installed when the runtime starts. A hook of the program's own stays in
//! charge: one that is there already is called for every panic and ours prints
//! nothing; one that is set later replaces ours. On plain threads std's hook
//! does what it always does.
//!
//! std does not say whether its hook is the default one. But taking the hook leaves
//! the default in its place, so of two that are taken the second is the default,
//! and the first is too if they have the same vtable.

use super::Called;
use super::backtrace::Trace;
use crate::sched::g::GRef;
use crate::sched::{current_g, is_inside};
use crate::task;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// Installs it. Once.
pub(crate) fn install_panic_hook() {
    if !thread::panicking() {
        return install();
    }
    // A thread that is panicking may not change the hook, and may be in one right
    // now: another thread does it when it can. Without a thread there are no
    // threads for goroutines either, which is told elsewhere.
    let _ = thread::Builder::new()
        .name("goweft-hook".into())
        .spawn(install);
}

fn install() {
    let first = panic::take_hook();
    let default = panic::take_hook();
    if vtable(&*first) == vtable(&*default) {
        panic::set_hook(Box::new(move |info| on_panic(info, &*default)));
    } else {
        panic::set_hook(Box::new(move |info| {
            refuse_inside(info);
            first(info);
        }));
    }
}

/// The second word of a reference to a trait object.
fn vtable(hook: &Hook) -> usize {
    const { assert!(size_of::<&Hook>() == size_of::<[usize; 2]>()) };
    // SAFETY: such a reference is two words (asserted), and any two words are
    // integers; nothing is done with them but a comparison.
    let words: [usize; 2] = unsafe { std::mem::transmute_copy(&hook) };
    words[1]
}

fn on_panic(info: &PanicHookInfo<'_>, default: &Hook) {
    refuse_inside(info);
    match current_g() {
        Some(g) => print(info, g),
        None => default(info),
    }
}

/// The runtime's own code must not unwind.
fn refuse_inside(info: &PanicHookInfo<'_>) {
    if is_inside() {
        crate::abort::fatal(format_args!("a panic inside the runtime: {info}"));
    }
}

fn print(info: &PanicHookInfo<'_>, g: GRef) {
    let name = task::name_of(g);
    let called = Called {
        id: g.id.load(Ordering::Relaxed),
        name: name.as_deref(),
    };
    let mut text = format!("\n{called} panicked");
    if let Some(location) = info.location() {
        // Writing to a String cannot fail.
        let _ = write!(text, " at {location}");
    }
    let message = info.payload_as_str().unwrap_or("Box<dyn Any>");
    let _ = write!(text, ":\n{message}\n");
    match Style::of_process() {
        Style::Off => {
            static FIRST: AtomicBool = AtomicBool::new(true);
            if FIRST.swap(false, Ordering::Relaxed) {
                text.push_str(
                    "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
                );
            }
        }
        style => text.push_str(&Trace::capture(g).render(style == Style::Full)),
    }
    // One write, so that panics of several threads do not mix. There is nobody
    // to tell that stderr is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// What `RUST_BACKTRACE` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Off,
    Short,
    Full,
}

impl Style {
    fn of_process() -> Style {
        match std::env::var_os("RUST_BACKTRACE") {
            None => Style::Off,
            Some(v) if v == "0" => Style::Off,
            Some(v) if v == "full" => Style::Full,
            Some(_) => Style::Short,
        }
    }
}
