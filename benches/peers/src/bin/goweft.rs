//! goweft, with the same scenarios as its peers. Everything timed runs inside
//! goroutines.

mod goweft_sync;

use goweft::channel::{Receiver, Sender, bounded};
use goweft::context::Context;
use goweft::net::{TcpListener, TcpStream};
use goweft::sync::{Mutex, WaitGroup};
use goweft::{go, select, task};
use peers::cli::{Cli, LIVE, say_addr};
use peers::measure::*;
use peers::stream::{echo, hello};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// `n` calls of an operation that enters the runtime and finds nothing to do.
fn enter(n: usize) -> Duration {
    let t = Instant::now();
    (0..n).for_each(|_| task::yield_now());
    t.elapsed()
}

/// `n` operations that do nothing: each enters the runtime and leaves it.
fn empty_op(n: usize) -> Duration {
    let t = Instant::now();
    goweft::__private::empty_operations(n);
    t.elapsed()
}

fn yield2(n: usize) -> Duration {
    let group = WaitGroup::new();
    let t = Instant::now();
    for _ in 0..2 {
        group.go(move || (0..n / 2).for_each(|_| task::yield_now()));
    }
    group.wait();
    t.elapsed()
}

fn spawn_join(n: usize) -> Duration {
    let t = Instant::now();
    (0..n).for_each(|_| goweft::spawn(|| {}).join().unwrap());
    t.elapsed()
}

fn spawn_batch(n: usize) -> Duration {
    let group = WaitGroup::new();
    group.add(n);
    let t = Instant::now();
    for _ in 0..n {
        let group = group.clone();
        go!(move || group.done());
    }
    group.wait();
    t.elapsed()
}

/// Contexts with a timeout that are cancelled before it: what each request of a server has.
fn context_timeout(n: usize) -> Duration {
    let (server, _stop) = Context::background().with_cancel();
    let t = Instant::now();
    for _ in 0..n {
        let (ctx, cancel) = server.with_timeout(Duration::from_secs(60));
        black_box(&ctx);
        cancel();
    }
    t.elapsed()
}

fn pingpong(n: usize) -> Duration {
    let (there, there_rx) = bounded::<usize>(0);
    let (back_tx, back) = bounded::<usize>(0);
    go!(move || there_rx.iter().for_each(|v| back_tx.send(v).unwrap()));
    let t = Instant::now();
    for i in 0..n {
        there.send(i).unwrap();
        back.recv().unwrap();
    }
    t.elapsed()
}

fn pipeline(n: usize) -> Duration {
    let (tx, rx) = bounded::<usize>(0);
    let t = Instant::now();
    go!(move || {
        for i in 0..n {
            work_20us();
            tx.send(i).unwrap();
        }
    });
    rx.iter().for_each(|_| work_20us());
    t.elapsed()
}

fn chan_run(n: usize, producers: usize, consumers: usize) -> Duration {
    let (tx, rx) = bounded::<usize>(128);
    let group = WaitGroup::new();
    let t = Instant::now();
    for _ in 0..producers {
        let tx = tx.clone();
        go!(move || (0..n / producers).for_each(|i| tx.send(i).unwrap()));
    }
    drop(tx);
    for _ in 0..consumers {
        let rx = rx.clone();
        group.go(move || rx.iter().for_each(drop));
    }
    group.wait();
    t.elapsed()
}

fn select_run(n: usize, cap: usize) -> Duration {
    let (t1, r1) = bounded::<usize>(cap);
    let (t2, r2) = bounded::<usize>(cap);
    let t = Instant::now();
    // Clones: a channel whose last sender is gone would always be ready.
    for tx in [t1.clone(), t2.clone()] {
        go!(move || (0..n / 2).for_each(|i| tx.send(i).unwrap()));
    }
    let mut sum = 0usize;
    for _ in 0..n / 2 * 2 {
        select! {
            recv(r1) -> v => sum = sum.wrapping_add(v.unwrap()),
            recv(r2) -> v => sum = sum.wrapping_sub(v.unwrap()),
        }
    }
    let took = t.elapsed();
    assert_eq!(sum, 0);
    drop((t1, t2));
    took
}

fn mutex_contended(n: usize) -> Duration {
    let (group, m) = (WaitGroup::new(), Arc::new(Mutex::new(0usize)));
    let t = Instant::now();
    for _ in 0..8 {
        let m = m.clone();
        group.go(move || (0..n / 8).for_each(|_| *m.lock() += 1));
    }
    group.wait();
    assert_eq!(*m.lock(), n / 8 * 8);
    t.elapsed()
}

fn ring(n: usize) -> Duration {
    const SIZE: usize = 503;
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..SIZE).map(|_| bounded::<usize>(0)).unzip();
    let (done_tx, done) = bounded::<()>(1);
    let hop = |rx: Receiver<usize>, tx: Sender<usize>, done_tx: Sender<()>| {
        for v in rx {
            match v {
                usize::MAX => return,
                0 => done_tx.send(()).unwrap(),
                _ => tx.send(v - 1).unwrap(),
            }
        }
    };
    for (i, rx) in rxs.into_iter().enumerate() {
        let (tx, done_tx) = (txs[(i + 1) % SIZE].clone(), done_tx.clone());
        go!(move || hop(rx, tx, done_tx));
    }
    let t = Instant::now();
    txs[0].send(n).unwrap();
    done.recv().unwrap();
    let took = t.elapsed();
    txs.iter().for_each(|tx| tx.send(usize::MAX).unwrap());
    took
}

fn skynet(out: Sender<u64>, num: u64, size: u64) {
    if size == 1 {
        return out.send(num).unwrap();
    }
    let (tx, rx) = bounded(0);
    for i in 0..10 {
        let tx = tx.clone();
        go!(move || skynet(tx, num + i * (size / 10), size / 10));
    }
    out.send((0..10).map(|_| rx.recv().unwrap()).sum()).unwrap();
}

fn skynet_run(n: u64) -> Duration {
    let t = Instant::now();
    let (tx, rx) = bounded(0);
    go!(move || skynet(tx, 0, n));
    assert_eq!(rx.recv().unwrap(), n * (n - 1) / 2);
    t.elapsed()
}

fn idle(cli: &Cli, n: usize) {
    goweft::run(|| ()); // the runtime starts here
    let (never_tx, never) = bounded::<()>(0);
    let before = mem_bytes();
    let (spawned, parked) = goweft::run(|| {
        let t = Instant::now();
        for _ in 0..n {
            let never = never.clone();
            go!(move || {
                LIVE.fetch_add(1, Relaxed);
                never.recv().unwrap_err();
            });
        }
        let spawned = t.elapsed();
        while LIVE.load(Relaxed) < n {
            task::sleep(Duration::from_millis(1));
        }
        (spawned, t.elapsed())
    });
    idle_mem(cli, n, before, spawned, parked);
    drop(never_tx);
}

fn sleepers(n: usize) -> (Duration, Vec<f64>) {
    let (tx, rx) = bounded::<[f64; ROUNDS]>(1024);
    let t = Instant::now();
    for i in 0..n {
        let tx = tx.clone();
        go!(move || {
            let late = std::array::from_fn(|r| {
                let asked = sleep_for(i * ROUNDS + r);
                let t = Instant::now();
                task::sleep(asked);
                millis(t.elapsed()) - millis(asked)
            });
            tx.send(late).unwrap();
        });
    }
    drop(tx);
    let late = rx.iter().flatten().collect();
    (t.elapsed(), late)
}

fn server(f: fn(TcpStream)) {
    goweft::run(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        say_addr(listener.local_addr().unwrap());
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            go!(move || f(stream));
        }
    })
}

fn main() {
    let off = std::env::var_os("GOWEFT_PREEMPT").is_some_and(|v| v == "off");
    let mut cli = Cli::from_args(if off { "goweft_off" } else { "goweft" });
    if matches!(cli.scenario.as_str(), "yield2" | "enter" | "empty_op") {
        cli.procs = 1;
    }
    cli.exit_on_panic();
    goweft::Config::new().maxprocs(cli.procs).install().unwrap();
    let few = |f: &dyn Fn() -> Duration| repeat(FEW, f);
    match cli.scenario.as_str() {
        "enter" => {
            let n = cli.n(500_000);
            cli.report_ns("enter", n, &repeat(REPS, || goweft::run(|| enter(n))));
        }
        "empty_op" => {
            let n = cli.n(5_000_000);
            cli.report_ns("empty_op", n, &repeat(REPS, || goweft::run(|| empty_op(n))));
        }
        "yield2" => {
            let n = cli.n(500_000);
            cli.report_ns("yield2", n, &repeat(REPS, || goweft::run(|| yield2(n))));
        }
        "spawn_join" => {
            let n = cli.n(200_000);
            cli.report_ns(
                "spawn_join",
                n,
                &repeat(REPS, || goweft::run(|| spawn_join(n))),
            );
        }
        "spawn_batch" => {
            let n = cli.n(100_000);
            cli.report_ns(
                "spawn_batch",
                n,
                &repeat(REPS, || goweft::run(|| spawn_batch(n))),
            );
        }
        "pingpong" => {
            let n = cli.n(100_000);
            cli.report_ns("pingpong", n, &repeat(REPS, || goweft::run(|| pingpong(n))));
        }
        "pipeline" => {
            let n = cli.n(2_000);
            work_20us();
            cli.report_ns("pipeline", n, &repeat(REPS, || goweft::run(|| pipeline(n))));
        }
        "chan_buffered" => {
            let n = cli.n(1_000_000);
            cli.report_ns(
                "chan_buffered.1x1",
                n,
                &few(&|| goweft::run(|| chan_run(n, 1, 1))),
            );
            cli.report_ns(
                "chan_buffered.4x4",
                n,
                &few(&|| goweft::run(|| chan_run(n, 4, 4))),
            );
        }
        "select2" => {
            let n = cli.n(400_000);
            cli.report_ns("select2", n, &few(&|| goweft::run(|| select_run(n, 0))));
            cli.report_ns(
                "select2.buf128",
                n,
                &few(&|| goweft::run(|| select_run(n, 128))),
            );
        }
        "mutex_contended" => {
            let n = cli.n(1_000_000);
            cli.report_ns(
                "mutex_contended",
                n,
                &few(&|| goweft::run(|| mutex_contended(n))),
            );
        }
        "ring" => {
            let n = cli.n(500_000);
            cli.report_ns("ring", n, &few(&|| goweft::run(|| ring(n))));
        }
        "skynet" => {
            let n = cli.n(1_000_000);
            let times = few(&|| goweft::run(|| skynet_run(n as u64)));
            let ms: Vec<f64> = times.into_iter().map(millis).collect();
            cli.report("skynet", n, &ms, "ms");
        }
        "idle_mem" => idle(&cli, cli.n(1_000_000)),
        "sleep_timers" => {
            let n = cli.n(100_000);
            sleep_timers(&cli, n, || goweft::run(|| sleepers(n)));
        }
        "context_timeout" => {
            let n = cli.n(200_000);
            let run = || goweft::run(|| context_timeout(n));
            cli.report_ns("context_timeout", n, &repeat(REPS, run));
        }
        "preempt" => {
            let spawn = |job: Job| drop(goweft::spawn(job));
            preempt(&cli, "preempt", false, spawn, task::sleep);
            preempt(&cli, "preempt_sleeper_first", true, spawn, task::sleep);
        }
        "busy" => busy(&cli, |job| drop(goweft::spawn(job))),
        "deep_stack" => {
            let n = cli.n(100);
            let (_never_tx, never) = bounded::<()>(0);
            deep_stack(&cli, n, || {
                let (tx, rx) = bounded(0);
                let never = never.clone();
                go!(stack = 2 << 20, move || {
                    tx.send(deep_timed()).unwrap();
                    never.recv().unwrap_err();
                });
                rx.recv().unwrap()
            });
        }
        "echo_server" => server(echo),
        "http_server" => server(hello),
        _ if goweft_sync::scenario(&cli) => {}
        _ => cli.unknown(),
    }
    // Goroutines that are parked, or spin, for ever end with the process.
    std::process::exit(0);
}
