//! may: stackful coroutines. Everything timed runs inside coroutines.
//!
//! may has no bounded channel: ping-pong and the ring use its unbounded one;
//! where a bound is asked for, a semaphore holds it; the two-stage pipeline,
//! which needs a rendezvous, hands each item over with a semaphore for the
//! taker's answer.

use may::cqueue;
use may::sync::{Mutex, Semphore, SyncFlag, mpmc, mpsc};
use may::{coroutine, go};
use peers::cli::{Cli, LIVE, say_addr};
use peers::measure::*;
use peers::stream::{echo, hello};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

/// Counts coroutines out; the last one wakes the waiter.
struct Group {
    left: AtomicUsize,
    done: SyncFlag,
}

impl Group {
    fn new(n: usize) -> Arc<Group> {
        Arc::new(Group {
            left: AtomicUsize::new(n),
            done: SyncFlag::new(),
        })
    }
    fn leave(&self) {
        if self.left.fetch_sub(1, AcqRel) == 1 {
            self.done.fire();
        }
    }
    fn wait(&self) {
        self.done.wait()
    }
}

/// Runs f in a root coroutine and waits for it from the main thread.
fn on<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    go!(f).join().unwrap()
}

fn yield2(n: usize) -> Duration {
    let group = Group::new(2);
    let t = Instant::now();
    for _ in 0..2 {
        let group = group.clone();
        go!(move || {
            (0..n / 2).for_each(|_| coroutine::yield_now());
            group.leave();
        });
    }
    group.wait();
    t.elapsed()
}

fn spawn_batch(n: usize) -> Duration {
    let group = Group::new(n);
    let t = Instant::now();
    for _ in 0..n {
        let group = group.clone();
        LIVE.fetch_add(1, Relaxed);
        go!(move || {
            LIVE.fetch_sub(1, Relaxed);
            group.leave()
        });
    }
    group.wait();
    t.elapsed()
}

fn pingpong(n: usize) -> Duration {
    let (there, there_rx) = mpsc::channel::<usize>();
    let (back_tx, back) = mpsc::channel::<usize>();
    go!(move || there_rx.iter().for_each(|v| back_tx.send(v).unwrap()));
    let t = Instant::now();
    for i in 0..n {
        there.send(i).unwrap();
        back.recv().unwrap();
    }
    t.elapsed()
}

fn pipeline(n: usize) -> Duration {
    let (tx, rx) = mpsc::channel::<usize>();
    let taken = Arc::new(Semphore::new(0));
    let answer = taken.clone();
    let t = Instant::now();
    go!(move || {
        for i in 0..n {
            work_20us();
            tx.send(i).unwrap();
            taken.wait();
        }
    });
    while rx.recv().is_ok() {
        answer.post();
        work_20us();
    }
    t.elapsed()
}

/// `room` holds back the senders of a bounded channel; without it the channel is unbounded.
fn chan_run(n: usize, producers: usize, consumers: usize, room: Option<Arc<Semphore>>) -> Duration {
    let t = Instant::now();
    let group = Group::new(consumers);
    // may's channel for one consumer is another than the one for many.
    let (tx1, rx1) = mpsc::channel::<usize>();
    let (tx, rx) = mpmc::channel::<usize>();
    let single = producers == 1 && consumers == 1;
    for _ in 0..producers {
        let (tx1, tx, room) = (tx1.clone(), tx.clone(), room.clone());
        go!(move || {
            for i in 0..n / producers {
                if let Some(room) = &room {
                    room.wait();
                }
                if single {
                    tx1.send(i).unwrap()
                } else {
                    tx.send(i).unwrap()
                }
            }
        });
    }
    drop((tx1, tx));
    let took = |room: &Option<Arc<Semphore>>| {
        if let Some(room) = room {
            room.post();
        }
    };
    if single {
        let group = group.clone();
        go!(move || {
            rx1.iter().for_each(|_| took(&room));
            group.leave();
        });
    } else {
        for _ in 0..consumers {
            let (rx, group, room) = (rx.clone(), group.clone(), room.clone());
            go!(move || {
                while rx.recv().is_ok() {
                    took(&room);
                }
                group.leave();
            });
        }
    }
    group.wait();
    t.elapsed()
}

/// The idiom for selecting in a loop: two select coroutines that live on.
fn select_loop(n: usize) -> Duration {
    let (t1, r1) = mpsc::channel::<usize>();
    let (t2, r2) = mpsc::channel::<usize>();
    // Held to the end: a closed channel would always be ready.
    let keep = (t1.clone(), t2.clone());
    let sum = AtomicUsize::new(0);
    let t = Instant::now();
    for tx in [t1, t2] {
        go!(move || (0..n / 2).for_each(|i| tx.send(i).unwrap()));
    }
    let took = cqueue::scope(|q| {
        may::cqueue_add!(q, 0, v = r1.recv().unwrap() => { sum.fetch_add(v, Relaxed); });
        may::cqueue_add!(q, 1, v = r2.recv().unwrap() => { sum.fetch_sub(v, Relaxed); });
        for _ in 0..n / 2 * 2 {
            q.poll(None).unwrap();
        }
        t.elapsed()
    });
    drop(keep);
    took
}

/// One `select!` an operation; both channels hold items enough beforehand, as
/// a losing arm may have taken an item that is then dropped.
fn select_oneshot(n: usize) -> Duration {
    let (t1, r1) = mpsc::channel::<usize>();
    let (t2, r2) = mpsc::channel::<usize>();
    for i in 0..n + 1 {
        t1.send(i).unwrap();
        t2.send(i).unwrap();
    }
    let t = Instant::now();
    let mut first = 0;
    for _ in 0..n {
        let arm: usize = may::select!(
            _v = r1.recv() => {},
            _v = r2.recv() => {}
        );
        first += 1 - arm;
    }
    std::hint::black_box(first);
    t.elapsed()
}

fn mutex_contended(n: usize) -> Duration {
    let (group, m) = (Group::new(8), Arc::new(Mutex::new(0usize)));
    let t = Instant::now();
    for _ in 0..8 {
        let (group, m) = (group.clone(), m.clone());
        go!(move || {
            (0..n / 8).for_each(|_| *m.lock().unwrap() += 1);
            group.leave();
        });
    }
    group.wait();
    assert_eq!(*m.lock().unwrap(), n / 8 * 8);
    t.elapsed()
}

fn ring(n: usize) -> Duration {
    const SIZE: usize = 503;
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..SIZE).map(|_| mpsc::channel::<usize>()).unzip();
    let group = Group::new(1);
    for (i, rx) in rxs.into_iter().enumerate() {
        let (tx, group) = (txs[(i + 1) % SIZE].clone(), group.clone());
        go!(move || {
            while let Ok(v) = rx.recv() {
                match v {
                    usize::MAX => return,
                    0 => group.leave(),
                    _ => tx.send(v - 1).unwrap(),
                }
            }
        });
    }
    let t = Instant::now();
    txs[0].send(n).unwrap();
    group.wait();
    let took = t.elapsed();
    txs.iter().for_each(|tx| tx.send(usize::MAX).unwrap());
    took
}

fn skynet(out: mpsc::Sender<u64>, num: u64, size: u64) {
    if size == 1 {
        return out.send(num).unwrap();
    }
    let (tx, rx) = mpsc::channel();
    for i in 0..10 {
        let tx = tx.clone();
        LIVE.fetch_add(1, Relaxed);
        go!(move || {
            skynet(tx, num + i * (size / 10), size / 10);
            LIVE.fetch_sub(1, Relaxed);
        });
    }
    out.send((0..10).map(|_| rx.recv().unwrap()).sum()).unwrap();
}

fn skynet_run(n: u64) -> Duration {
    let t = Instant::now();
    let (tx, rx) = mpsc::channel();
    go!(move || skynet(tx, 0, n));
    assert_eq!(rx.recv().unwrap(), n * (n - 1) / 2);
    t.elapsed()
}

fn idle(cli: &Cli, n: usize) {
    on(|| {}); // the scheduler, and its pool of coroutines, start here
    let before = mem_bytes();
    let (spawned, parked) = on(move || {
        let never = Arc::new(SyncFlag::new());
        let started = Arc::new(AtomicUsize::new(0));
        let t = Instant::now();
        for _ in 0..n {
            let (never, started) = (never.clone(), started.clone());
            go!(move || {
                started.fetch_add(1, Relaxed);
                never.wait();
            });
            LIVE.fetch_add(1, Relaxed);
        }
        let spawned = t.elapsed();
        while started.load(Relaxed) < n {
            coroutine::sleep(Duration::from_millis(1));
        }
        (spawned, t.elapsed())
    });
    idle_mem(cli, n, before, spawned, parked);
}

fn sleepers(n: usize) -> (Duration, Vec<f64>) {
    let (tx, rx) = mpsc::channel::<[f64; ROUNDS]>();
    let t = Instant::now();
    for i in 0..n {
        let tx = tx.clone();
        LIVE.fetch_add(1, Relaxed);
        go!(move || {
            let late = std::array::from_fn(|r| {
                let asked = sleep_for(i * ROUNDS + r);
                let t = Instant::now();
                coroutine::sleep(asked);
                millis(t.elapsed()) - millis(asked)
            });
            tx.send(late).unwrap();
            LIVE.fetch_sub(1, Relaxed);
        });
    }
    drop(tx);
    let late = rx.iter().flatten().collect();
    (t.elapsed(), late)
}

fn server(f: fn(may::net::TcpStream)) {
    on(move || {
        let listener = may::net::TcpListener::bind("127.0.0.1:0").unwrap();
        say_addr(listener.local_addr().unwrap());
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            go!(move || f(stream));
        }
    })
}

fn main() {
    let mut cli = Cli::from_args("may");
    if cli.scenario == "yield2" {
        cli.procs = 1;
    }
    cli.exit_on_panic();
    may::config().set_workers(cli.procs);
    match cli.scenario.as_str() {
        "yield2" => {
            let n = cli.n(500_000);
            cli.report_ns("yield2", n, &repeat(REPS, || on(move || yield2(n))));
        }
        "spawn_join" => {
            let n = cli.n(10_000);
            let run = || {
                on(move || {
                    let t = Instant::now();
                    (0..n).for_each(|_| go!(|| {}).join().unwrap());
                    t.elapsed()
                })
            };
            cli.report_ns("spawn_join", n, &repeat(REPS, run));
        }
        "spawn_batch" => {
            // More do not fit: its guards are mappings of their own.
            let n = cli.n(20_000);
            cli.report_ns(
                "spawn_batch",
                n,
                &repeat(FEW, || on(move || spawn_batch(n))),
            );
        }
        "pingpong" => {
            let n = cli.n(100_000);
            cli.report_ns("pingpong", n, &repeat(REPS, || on(move || pingpong(n))));
        }
        "pipeline" => {
            let n = cli.n(2_000);
            work_20us();
            cli.report_ns("pipeline", n, &repeat(REPS, || on(move || pipeline(n))));
        }
        "chan_buffered" => {
            let n = cli.n(1_000_000);
            let room = || Some(Arc::new(Semphore::new(128)));
            let run = |p, c, room| on(move || chan_run(n, p, c, room));
            cli.report_ns("chan_buffered.1x1", n, &repeat(FEW, || run(1, 1, room())));
            cli.report_ns("chan_buffered.4x4", n, &repeat(FEW, || run(4, 4, room())));
            cli.report_ns("chan_unbounded.1x1", n, &repeat(FEW, || run(1, 1, None)));
            cli.report_ns("chan_unbounded.4x4", n, &repeat(FEW, || run(4, 4, None)));
        }
        "select2" => {
            let n = cli.n(400_000);
            cli.report_ns("select2", n, &repeat(FEW, || on(move || select_loop(n))));
            let n = n / 20;
            cli.report_ns(
                "select2.oneshot",
                n,
                &repeat(FEW, || on(move || select_oneshot(n))),
            );
        }
        "mutex_contended" => {
            let n = cli.n(1_000_000);
            cli.report_ns(
                "mutex_contended",
                n,
                &repeat(FEW, || on(move || mutex_contended(n))),
            );
        }
        "ring" => {
            let n = cli.n(500_000);
            cli.report_ns("ring", n, &repeat(FEW, || on(move || ring(n))));
        }
        "skynet" => {
            let n = cli.n(1_000_000);
            let times = repeat(FEW, || on(move || skynet_run(n as u64)));
            let ms: Vec<f64> = times.into_iter().map(millis).collect();
            cli.report("skynet", n, &ms, "ms");
        }
        "idle_mem" => idle(&cli, cli.n(1_000_000)),
        "sleep_timers" => {
            let n = cli.n(100_000);
            sleep_timers(&cli, n, || on(move || sleepers(n)));
        }
        "preempt" => {
            let spawn = |job: Job| drop(go!(job));
            preempt(&cli, "preempt", false, spawn, coroutine::sleep);
            preempt(&cli, "preempt_sleeper_first", true, spawn, coroutine::sleep);
        }
        "deep_stack" => {
            let n = cli.n(100);
            let never = Arc::new(SyncFlag::new());
            deep_stack(&cli, n, || {
                let (tx, rx) = std::sync::mpsc::channel();
                let never = never.clone();
                let spawned = may::go_with!(0x40000, move || {
                    tx.send(deep_timed()).unwrap();
                    never.wait();
                });
                drop(spawned.unwrap());
                rx.recv().unwrap()
            });
        }
        "echo_server" => server(echo),
        "http_server" => server(hello),
        _ => cli.unknown(),
    }
    // Coroutines that are parked, or spin, for ever end with the process.
    std::process::exit(0);
}
