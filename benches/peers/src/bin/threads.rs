//! OS threads: std::thread with crossbeam-channel. `--procs` is kept by CPU
//! affinity, as threads have no scheduler of their own to bound.

mod threads_sync;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use peers::cli::{Cli, LIVE, say_addr};
use peers::measure::*;
use peers::stream::{echo, hello};
use peers::sys::bind_to_cpus;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A thread with a stack small enough to have thousands of them.
fn small(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(f)
        .unwrap()
}

fn join_all(handles: Vec<thread::JoinHandle<()>>) {
    handles.into_iter().for_each(|h| h.join().unwrap());
}

fn yield2(n: usize) -> Duration {
    let start = Arc::new(Barrier::new(3));
    let handles = (0..2)
        .map(|_| {
            let start = start.clone();
            thread::spawn(move || {
                start.wait();
                (0..n / 2).for_each(|_| thread::yield_now());
            })
        })
        .collect();
    start.wait();
    let t = Instant::now();
    join_all(handles);
    t.elapsed()
}

fn pingpong(n: usize) -> Duration {
    let (there, there_rx) = bounded::<usize>(0);
    let (back_tx, back) = bounded::<usize>(0);
    let handle = thread::spawn(move || there_rx.iter().for_each(|v| back_tx.send(v).unwrap()));
    let t = Instant::now();
    for i in 0..n {
        there.send(i).unwrap();
        back.recv().unwrap();
    }
    let took = t.elapsed();
    drop(there);
    handle.join().unwrap();
    took
}

fn pipeline(n: usize) -> Duration {
    let (tx, rx) = bounded::<usize>(0);
    let t = Instant::now();
    let first = thread::spawn(move || {
        for i in 0..n {
            work_20us();
            tx.send(i).unwrap();
        }
    });
    rx.iter().for_each(|_| work_20us());
    let took = t.elapsed();
    first.join().unwrap();
    took
}

fn chan_run(n: usize, producers: usize, consumers: usize) -> Duration {
    let (tx, rx) = bounded::<usize>(128);
    let t = Instant::now();
    let mut handles = vec![];
    for _ in 0..producers {
        let tx = tx.clone();
        handles.push(thread::spawn(move || {
            (0..n / producers).for_each(|i| tx.send(i).unwrap())
        }));
    }
    drop(tx);
    for _ in 0..consumers {
        let rx = rx.clone();
        handles.push(thread::spawn(move || rx.iter().for_each(drop)));
    }
    join_all(handles);
    t.elapsed()
}

fn select_run(n: usize, cap: usize) -> Duration {
    let (t1, r1) = bounded::<usize>(cap);
    let (t2, r2) = bounded::<usize>(cap);
    let t = Instant::now();
    // Each keeps its sender to the end: a closed channel would always be ready.
    let feed = |tx: Sender<usize>| {
        thread::spawn(move || {
            (0..n / 2).for_each(|i| tx.send(i).unwrap());
            tx
        })
    };
    let feeders = [feed(t1), feed(t2)];
    let mut sum = 0usize;
    for _ in 0..n / 2 * 2 {
        select! {
            recv(r1) -> v => sum = sum.wrapping_add(v.unwrap()),
            recv(r2) -> v => sum = sum.wrapping_sub(v.unwrap()),
        }
    }
    let took = t.elapsed();
    assert_eq!(sum, 0);
    feeders.into_iter().for_each(|h| drop(h.join().unwrap()));
    took
}

fn ring(n: usize) -> Duration {
    const SIZE: usize = 503;
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..SIZE).map(|_| bounded::<usize>(0)).unzip();
    let (done_tx, done) = bounded::<()>(1);
    let hop = |i: usize, rx: Receiver<usize>| {
        let (tx, done_tx) = (txs[(i + 1) % SIZE].clone(), done_tx.clone());
        small(move || {
            while let Ok(v) = rx.recv() {
                match v {
                    usize::MAX => return,
                    0 => done_tx.send(()).unwrap(),
                    _ => tx.send(v - 1).unwrap(),
                }
            }
        })
    };
    let handles = rxs
        .into_iter()
        .enumerate()
        .map(|(i, rx)| hop(i, rx))
        .collect();
    let t = Instant::now();
    txs[0].send(n).unwrap();
    done.recv().unwrap();
    let took = t.elapsed();
    txs.iter().for_each(|tx| tx.send(usize::MAX).unwrap());
    join_all(handles);
    took
}

fn mutex_contended(n: usize) -> Duration {
    let m = Arc::new(Mutex::new(0usize));
    let t = Instant::now();
    let handles = (0..8)
        .map(|_| {
            let m = m.clone();
            thread::spawn(move || (0..n / 8).for_each(|_| *m.lock().unwrap() += 1))
        })
        .collect();
    join_all(handles);
    assert_eq!(*m.lock().unwrap(), n / 8 * 8);
    t.elapsed()
}

fn idle(cli: &Cli, n: usize) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let before = mem_bytes();
    let t = Instant::now();
    for i in 0..n {
        let gate = gate.clone();
        let spawned = thread::Builder::new().spawn(move || {
            LIVE.fetch_add(1, Relaxed);
            let open = gate.0.lock().unwrap();
            drop(gate.1.wait_while(open, |open| !*open).unwrap());
        });
        if let Err(e) = spawned {
            cli.fail(format!("thread::spawn: {e}"));
            cli.figure("idle_mem.max_live", n, i as f64, "tasks");
            std::process::exit(3);
        }
    }
    let spawned = t.elapsed();
    while LIVE.load(Relaxed) < n {
        thread::sleep(Duration::from_millis(1));
    }
    idle_mem(cli, n, before, spawned, t.elapsed());
}

fn server(f: fn(std::net::TcpStream)) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    say_addr(listener.local_addr().unwrap());
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        small(move || f(stream));
    }
}

fn main() {
    let mut cli = Cli::from_args("threads");
    if cli.scenario == "yield2" {
        cli.procs = 1;
    }
    bind_to_cpus(cli.procs);
    match cli.scenario.as_str() {
        "yield2" => {
            let n = cli.n(100_000);
            cli.report_ns("yield2", n, &repeat(REPS, || yield2(n)));
        }
        "spawn_join" => {
            let n = cli.n(3_000);
            let run = || {
                let t = Instant::now();
                (0..n).for_each(|_| thread::spawn(|| {}).join().unwrap());
                t.elapsed()
            };
            cli.report_ns("spawn_join", n, &repeat(REPS, run));
        }
        "spawn_batch" => {
            let n = cli.n(10_000);
            let run = || {
                let t = Instant::now();
                join_all((0..n).map(|_| small(|| {})).collect());
                t.elapsed()
            };
            cli.report_ns("spawn_batch", n, &repeat(FEW, run));
        }
        "pingpong" => {
            let n = cli.n(10_000);
            cli.report_ns("pingpong", n, &repeat(REPS, || pingpong(n)));
        }
        "pipeline" => {
            let n = cli.n(2_000);
            work_20us();
            cli.report_ns("pipeline", n, &repeat(REPS, || pipeline(n)));
        }
        "chan_buffered" => {
            let n = cli.n(1_000_000);
            cli.report_ns("chan_buffered.1x1", n, &repeat(FEW, || chan_run(n, 1, 1)));
            cli.report_ns("chan_buffered.4x4", n, &repeat(FEW, || chan_run(n, 4, 4)));
        }
        "select2" => {
            let n = cli.n(100_000);
            cli.report_ns("select2", n, &repeat(FEW, || select_run(n, 0)));
            cli.report_ns("select2.buf128", n, &repeat(FEW, || select_run(n, 128)));
        }
        "mutex_contended" => {
            let n = cli.n(1_000_000);
            cli.report_ns("mutex_contended", n, &repeat(REPS, || mutex_contended(n)));
        }
        "ring" => {
            let n = cli.n(50_000);
            cli.report_ns("ring", n, &repeat(FEW, || ring(n)));
        }
        "idle_mem" => idle(&cli, cli.n(10_000)),
        "preempt" => preempt(
            &cli,
            "preempt",
            false,
            |job| drop(thread::spawn(job)),
            thread::sleep,
        ),
        "deep_stack" => {
            let n = cli.n(100);
            deep_stack(&cli, n, || {
                let (tx, rx) = bounded(0);
                let builder = thread::Builder::new().stack_size(2 << 20);
                let run = move || {
                    tx.send(deep_timed()).unwrap();
                    // Parked, not ended, until the process ends: its memory is what is measured.
                    loop {
                        thread::park();
                    }
                };
                builder.spawn(run).unwrap();
                rx.recv().unwrap()
            });
        }
        "echo_server" => server(echo),
        "http_server" => server(hello),
        _ if threads_sync::scenario(&cli) => {}
        _ => cli.unknown(),
    }
}
