//! goweft-stacks: the bare context switch, with no scheduler.
//!
//! The shape is the one corosensei can do too: a host leaves for each of N
//! contexts in turn, each leaves for the host, and each of these switches has a
//! call site of its own. `switch.N` is the plain switch, which does what
//! corosensei's does; `switch_action.N` also runs the deferred action on the
//! other side, which the runtime needs. `switch_ring.N` has no host: each
//! context leaves for the next one, as goroutines do. Its contexts are found
//! through memory that the one before has just written, and that latency, not
//! the switch, is most of it.

use goweft_stacks::context::{self, Context};
use goweft_stacks::{Class, Stack};
use peers::cli::Cli;
use peers::measure::{REPS, repeat};
use std::hint::black_box;
use std::time::{Duration, Instant};

const MOST: usize = 10;

/// Where everybody is, seen by all contexts through one raw pointer; all run on
/// one thread, and no reference to it lives across a switch.
struct Places {
    at: [Context; MOST],
    host: Context,
    rounds_left: usize,
}

/// Stores the context left where `slot` says.
unsafe extern "C" fn store(left: Context, slot: *mut ()) {
    // SAFETY: every switch below passes the address of a `Context` in `Places`.
    unsafe { *slot.cast::<Context>() = left };
}

/// A switch that stores what it leaves in `slot`, itself or by a deferred action.
///
/// # Safety
/// `to` is suspended, `slot` is a field of the `Places` in use.
#[inline(always)]
unsafe fn leave<const ACTION: bool>(to: Context, slot: *mut Context) {
    // SAFETY: passed on; nothing but this thread sees `slot`.
    unsafe {
        if ACTION {
            context::switch(to, store, slot.cast());
        } else {
            context::switch_plain(to, slot);
        }
    }
}

/// What context `SITE` runs around a host. `SITE` keeps the compiler from folding the bodies.
unsafe extern "C" fn back_and_forth<const SITE: usize, const ACTION: bool>(places: *mut ()) -> ! {
    let places = places.cast::<Places>();
    loop {
        black_box(SITE);
        // SAFETY: `places` outlives the run and one context at a time runs; the host is suspended:
        // it left for us.
        unsafe { leave::<ACTION>((*places).host, &raw mut (*places).at[SITE]) };
    }
}

/// The host's switch to context `SITE`, inlined into a call site of its own.
///
/// # Safety
/// `places` is live, and its context `SITE` suspended.
#[inline(always)]
unsafe fn visit<const SITE: usize, const ACTION: bool>(places: *mut Places) {
    black_box(SITE);
    // SAFETY: passed on.
    unsafe { leave::<ACTION>((*places).at[SITE], &raw mut (*places).host) };
}

/// What context `SITE` of `SIZE` runs in a ring.
unsafe extern "C" fn go_round<const SITE: usize, const SIZE: usize>(places: *mut ()) -> ! {
    let places = places.cast::<Places>();
    loop {
        black_box(SITE);
        // SAFETY: as in `back_and_forth`; the next context is fresh or left for its own next one,
        // and the host waits for the last round.
        unsafe {
            let mut to = (*places).at[(SITE + 1) % SIZE];
            if SITE == 0 {
                (*places).rounds_left -= 1;
                if (*places).rounds_left == 0 {
                    to = (*places).host;
                }
            }
            leave::<true>(to, &raw mut (*places).at[SITE]);
        }
    }
}

/// Fresh contexts on the stacks, one for each entry.
fn fresh(stacks: &[Stack], entries: &[context::Entry], rounds: usize, places: &mut Places) {
    *places = Places {
        at: [Context::NULL; MOST],
        host: Context::NULL,
        rounds_left: rounds,
    };
    let arg = (places as *mut Places).cast::<()>();
    for ((at, stack), &entry) in places.at.iter_mut().zip(stacks).zip(entries) {
        // SAFETY: the stack is live and idle, as the contexts of an earlier run are never resumed;
        // `places` outlives the run.
        *at = unsafe { context::prepare(stack.top(), stack.limit(), entry, arg) };
    }
}

/// `n` switches between a host and each of the sites.
macro_rules! with_host {
    ($action:literal, $n:expr, $stacks:expr, $($site:literal)+) => {{
        let entries: &[context::Entry] = &[$(back_and_forth::<$site, $action>),+];
        let mut places = Places { at: [Context::NULL; MOST], host: Context::NULL, rounds_left: 0 };
        fresh($stacks, entries, 0, &mut places);
        let places = &raw mut places;
        let t = Instant::now();
        for _ in 0..$n / 2 / entries.len() {
            // SAFETY: each context is fresh or left for the host, which is us.
            unsafe { $( visit::<$site, $action>(places); )+ }
        }
        t.elapsed()
    }};
}

/// `n` switches around a ring of as many contexts as there are entries.
fn ring(stacks: &[Stack], entries: &[context::Entry], n: usize) -> Duration {
    let mut places = Places {
        at: [Context::NULL; MOST],
        host: Context::NULL,
        rounds_left: 0,
    };
    fresh(stacks, entries, n / entries.len(), &mut places);
    let places = &raw mut places;
    let t = Instant::now();
    // SAFETY: the first context is fresh; it comes back once, when the rounds are over.
    unsafe { leave::<true>((*places).at[0], &raw mut (*places).host) };
    t.elapsed()
}

fn main() {
    let mut cli = Cli::from_args("stacks");
    cli.procs = 1;
    if cli.scenario != "switch" {
        cli.unknown();
    }
    let class = Class::for_size(64 * 1024).expect("64 KiB is a size class");
    let stacks: Vec<Stack> = (0..MOST)
        .map(|_| Stack::new(class).expect("room for ten stacks"))
        .collect();
    let stacks = &stacks[..];
    context::enter_thread();
    let n = cli.n(4_000_000) / 20 * 20;
    cli.report_ns(
        "switch.2",
        n,
        &repeat(REPS, || with_host!(false, n, stacks, 0 1)),
    );
    cli.report_ns(
        "switch.10",
        n,
        &repeat(REPS, || with_host!(false, n, stacks, 0 1 2 3 4 5 6 7 8 9)),
    );
    cli.report_ns(
        "switch_action.2",
        n,
        &repeat(REPS, || with_host!(true, n, stacks, 0 1)),
    );
    cli.report_ns(
        "switch_action.10",
        n,
        &repeat(REPS, || with_host!(true, n, stacks, 0 1 2 3 4 5 6 7 8 9)),
    );
    let two: &[context::Entry] = &[go_round::<0, 2>, go_round::<1, 2>];
    let ten: &[context::Entry] = &[
        go_round::<0, 10>,
        go_round::<1, 10>,
        go_round::<2, 10>,
        go_round::<3, 10>,
        go_round::<4, 10>,
        go_round::<5, 10>,
        go_round::<6, 10>,
        go_round::<7, 10>,
        go_round::<8, 10>,
        go_round::<9, 10>,
    ];
    for entries in [two, ten] {
        let name = format!("switch_ring.{}", entries.len());
        cli.report_ns(&name, n, &repeat(REPS, || ring(stacks, entries, n)));
    }
    context::leave_thread();
}
