//! corosensei: the bare context switch, a coroutine made on a kept stack, and
//! deep recursion on a fixed stack. It has no scheduler.
//!
//! A switch is half of a resume and its suspend: the crate is asymmetric.

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use peers::cli::Cli;
use peers::measure::{REPS, deep_stack, deep_timed, repeat};
use std::hint::black_box;
use std::time::{Duration, Instant};

type Counter = Coroutine<usize, usize, ()>;

/// A body for each `SITE`, so that each has its own suspend instruction.
#[inline(never)]
fn count<const SITE: usize>(yielder: &Yielder<usize, usize>, mut v: usize) {
    while v != usize::MAX {
        // `SITE` keeps the compiler from folding the bodies into one.
        black_box(SITE);
        v = yielder.suspend(v + 1);
    }
}

fn step(coroutine: &mut Counter, v: usize) -> usize {
    match coroutine.resume(v) {
        CoroutineResult::Yield(k) => k,
        CoroutineResult::Return(()) => v,
    }
}

/// Resumes each of `N` coroutines in turn, each from its own call site (the
/// loop over the array is unrolled by the macro below).
macro_rules! switch_between {
    ($n:expr, $($site:literal)+) => {{
        let each = $n / 2 / [$($site),+].len();
        let mut all = [$(Counter::new(|y, v| count::<$site>(y, v))),+];
        let mut v = 0;
        let t = Instant::now();
        for _ in 0..each {
            $( v = step_at::<$site>(&mut all[$site], v); )+
        }
        let took = t.elapsed();
        assert_eq!(v, each * all.len());
        for coroutine in &mut all {
            step(coroutine, usize::MAX);
        }
        took
    }};
}

/// [`step`], inlined, so that every `SITE` is a resume instruction of its own.
#[inline(always)]
fn step_at<const SITE: usize>(coroutine: &mut Counter, v: usize) -> usize {
    black_box(SITE);
    match coroutine.resume(v) {
        CoroutineResult::Yield(k) => k,
        CoroutineResult::Return(()) => v,
    }
}

fn spawn_join(n: usize, stack: &mut Option<DefaultStack>) -> Duration {
    let mut sum = 0usize;
    let t = Instant::now();
    for i in 0..n {
        let on = stack.take().expect("the stack comes back each time");
        let mut coroutine = Coroutine::<(), (), usize, _>::with_stack(on, move |_, ()| i);
        if let CoroutineResult::Return(v) = coroutine.resume(()) {
            sum = sum.wrapping_add(v);
        }
        *stack = Some(coroutine.into_stack());
    }
    let took = t.elapsed();
    black_box(sum);
    took
}

fn main() {
    let mut cli = Cli::from_args("corosensei");
    cli.procs = 1;
    match cli.scenario.as_str() {
        "switch" => {
            let n = cli.n(4_000_000) / 20 * 20;
            let two = repeat(REPS, || switch_between!(n, 0 1));
            cli.report_ns("switch.2", n, &two);
            let ten = repeat(REPS, || switch_between!(n, 0 1 2 3 4 5 6 7 8 9));
            cli.report_ns("switch.10", n, &ten);
        }
        "spawn_join" => {
            let n = cli.n(1_000_000);
            let mut stack = Some(DefaultStack::new(64 * 1024).expect("a stack of 64 KiB"));
            cli.report_ns("spawn_join", n, &repeat(REPS, || spawn_join(n, &mut stack)));
        }
        "deep_stack" => {
            let n = cli.n(100);
            let mut parked = vec![];
            deep_stack(&cli, n, || {
                let stack = DefaultStack::new(2 << 20).expect("a stack of 2 MiB");
                let mut coroutine =
                    Coroutine::<(), (f64, f64), (), _>::with_stack(stack, |y, ()| {
                        y.suspend(deep_timed());
                    });
                let CoroutineResult::Yield(times) = coroutine.resume(()) else {
                    unreachable!("it suspends once")
                };
                parked.push(coroutine);
                times
            });
            for coroutine in &mut parked {
                coroutine.resume(());
            }
        }
        _ => cli.unknown(),
    }
}
