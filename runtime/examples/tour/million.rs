//! A million goroutines that wait on one channel.
//!
//! Each waits for one number and adds it to a sum. All are parked before the
//! first number is sent, and the sum tells whether each number came to exactly
//! one goroutine.

use super::Outcome;
use super::limits::{available_memory, used_memory};
use super::screen::{Screen, Table, count};
use goweft::channel::{self, Receiver};
use goweft::sync::WaitGroup;
use goweft::{go, task};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A million is tried with this much memory, and fewer in proportion.
const FOR_A_MILLION: u64 = 6 << 30;

static ARRIVED: AtomicUsize = AtomicUsize::new(0);
static SUM: AtomicU64 = AtomicU64::new(0);

pub(crate) fn visit(wanted: usize, screen: &Screen, table: &mut Table) -> Outcome {
    let n = as_many_as_fit(wanted, screen);
    let before = used_memory();
    let (numbers, to_take) = channel::bounded::<u64>(0);
    let all = WaitGroup::new();
    all.add(n);

    screen.begin(
        &format!("million: {} goroutines wait on one channel", count(n)),
        n,
    );
    let begin = Instant::now();
    for i in 0..n {
        go!(wait_for_a_number(to_take.clone(), all.clone()));
        if i % 1024 == 0 {
            screen.at(i);
        }
    }
    while ARRIVED.load(Ordering::Acquire) < n {
        screen.at(ARRIVED.load(Ordering::Relaxed));
        task::sleep(Duration::from_millis(1));
    }
    let spawned = begin.elapsed();
    let each = used_memory().saturating_sub(before) / n as u64;

    screen.begin(&format!("million: {} goroutines are woken", count(n)), n);
    let begin = Instant::now();
    for i in 0..n as u64 {
        numbers.send(i).map_err(|_| "a goroutine did not wait")?;
        if i.is_multiple_of(1024) {
            screen.at(i as usize);
        }
    }
    all.wait();
    let woken = begin.elapsed();

    let sum = SUM.load(Ordering::Acquire);
    let expected = n as u64 * (n as u64 - 1) / 2;
    if sum != expected {
        return Err(format!("the numbers add up to {sum} instead of {expected}").into());
    }
    let rate =
        |took: Duration| format!("{} a second", count((n as f64 / took.as_secs_f64()) as u64));
    table.station("million");
    table.row(
        "goroutines",
        count(n),
        "each got one number; the sum is right",
    );
    table.row(
        "memory",
        format!("{} B", count(each)),
        "each, with stack, guard and page tables",
    );
    table.row(
        "spawned",
        format!("{:.2} s", spawned.as_secs_f64()),
        rate(spawned),
    );
    table.row(
        "woken",
        format!("{:.2} s", woken.as_secs_f64()),
        rate(woken),
    );
    Ok(())
}

fn wait_for_a_number(numbers: Receiver<u64>, all: WaitGroup) {
    ARRIVED.fetch_add(1, Ordering::Release);
    if let Ok(number) = numbers.recv() {
        SUM.fetch_add(number, Ordering::Release);
    }
    all.done();
}

fn as_many_as_fit(wanted: usize, screen: &Screen) -> usize {
    let Some(available) = available_memory() else {
        return wanted;
    };
    let fit =
        (u128::from(available) * 1_000_000 / u128::from(FOR_A_MILLION)) as usize / 10_000 * 10_000;
    let n = wanted.min(fit.max(1_000));
    if n < wanted {
        let gib = available as f64 / (1u64 << 30) as f64;
        screen.note(&format!(
            "{} goroutines instead of {}: {gib:.1} GiB of memory are available",
            count(n),
            count(wanted)
        ));
    }
    n
}
