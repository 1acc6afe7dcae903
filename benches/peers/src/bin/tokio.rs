//! tokio, multi_thread runtime. Everything timed runs in spawned tasks, on the
//! workers, never on the thread that called block_on.
//!
//! tokio has no rendezvous channel: a capacity of 1 stands in for it; the
//! two-stage pipeline waits for the taker's answer as well. `serve` is the
//! hand-written static file server that goweft's example is held against; it
//! lives in `file_server.rs` beside this folder.

mod tokio_sync;

use peers::cli::{Cli, LIVE, say_addr};
use peers::measure::*;
use peers::stream::hello_step;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, Notify, mpsc};

#[path = "../file_server.rs"]
mod file_server;

/// Counts tasks out; the last one wakes the waiter.
struct Group {
    left: AtomicUsize,
    done: Notify,
}

impl Group {
    fn new(n: usize) -> Arc<Group> {
        Arc::new(Group {
            left: AtomicUsize::new(n),
            done: Notify::new(),
        })
    }
    fn leave(&self) {
        if self.left.fetch_sub(1, AcqRel) == 1 {
            self.done.notify_one();
        }
    }
    async fn wait(&self) {
        self.done.notified().await
    }
}

fn on<F>(rt: &Runtime, f: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    rt.block_on(rt.spawn(f)).unwrap()
}

async fn enter(n: usize) -> Duration {
    let t = Instant::now();
    for _ in 0..n {
        tokio::task::yield_now().await;
    }
    t.elapsed()
}

async fn yield2(n: usize) -> Duration {
    let group = Group::new(2);
    let t = Instant::now();
    for _ in 0..2 {
        let group = group.clone();
        tokio::spawn(async move {
            for _ in 0..n / 2 {
                tokio::task::yield_now().await;
            }
            group.leave();
        });
    }
    group.wait().await;
    t.elapsed()
}

async fn spawn_join(n: usize) -> Duration {
    let t = Instant::now();
    for _ in 0..n {
        tokio::spawn(async {}).await.unwrap();
    }
    t.elapsed()
}

async fn spawn_batch(n: usize) -> Duration {
    let group = Group::new(n);
    let t = Instant::now();
    for _ in 0..n {
        let group = group.clone();
        tokio::spawn(async move { group.leave() });
    }
    group.wait().await;
    t.elapsed()
}

async fn pingpong(n: usize) -> Duration {
    let (there, mut there_rx) = mpsc::channel::<usize>(1);
    let (back_tx, mut back) = mpsc::channel::<usize>(1);
    tokio::spawn(async move {
        while let Some(v) = there_rx.recv().await {
            back_tx.send(v).await.unwrap();
        }
    });
    let t = Instant::now();
    for i in 0..n {
        there.send(i).await.unwrap();
        back.recv().await.unwrap();
    }
    t.elapsed()
}

async fn pipeline(n: usize) -> Duration {
    let (tx, mut rx) = mpsc::channel::<usize>(1);
    let taken = Arc::new(Notify::new());
    let answer = taken.clone();
    let t = Instant::now();
    tokio::spawn(async move {
        for i in 0..n {
            work_20us();
            tx.send(i).await.unwrap();
            taken.notified().await;
        }
    });
    while rx.recv().await.is_some() {
        answer.notify_one();
        work_20us();
    }
    t.elapsed()
}

async fn chan_run(n: usize, cap: usize) -> Duration {
    let (tx, mut rx) = mpsc::channel::<usize>(cap);
    let t = Instant::now();
    tokio::spawn(async move {
        for i in 0..n {
            tx.send(i).await.unwrap();
        }
    });
    tokio::spawn(async move { while rx.recv().await.is_some() {} })
        .await
        .unwrap();
    t.elapsed()
}

async fn mpmc_run(n: usize, producers: usize, consumers: usize, cap: usize) -> Duration {
    let (tx, rx) = async_channel::bounded::<usize>(cap);
    let group = Group::new(consumers);
    let t = Instant::now();
    for _ in 0..producers {
        let tx = tx.clone();
        tokio::spawn(async move {
            for i in 0..n / producers {
                tx.send(i).await.unwrap();
            }
        });
    }
    drop(tx);
    for _ in 0..consumers {
        let (rx, group) = (rx.clone(), group.clone());
        tokio::spawn(async move {
            while rx.recv().await.is_ok() {}
            group.leave();
        });
    }
    group.wait().await;
    t.elapsed()
}

async fn select_run(n: usize, cap: usize) -> Duration {
    let (t1, mut r1) = mpsc::channel::<usize>(cap);
    let (t2, mut r2) = mpsc::channel::<usize>(cap);
    let t = Instant::now();
    for tx in [t1.clone(), t2.clone()] {
        tokio::spawn(async move {
            for i in 0..n / 2 {
                tx.send(i).await.unwrap();
            }
        });
    }
    let mut sum = 0usize;
    for _ in 0..n / 2 * 2 {
        tokio::select! {
            v = r1.recv() => sum = sum.wrapping_add(v.unwrap()),
            v = r2.recv() => sum = sum.wrapping_sub(v.unwrap()),
        }
    }
    let took = t.elapsed();
    assert_eq!(sum, 0);
    drop((t1, t2));
    took
}

/// Runs `critical` in 8 tasks, n / 8 times each.
async fn eight<F: Future<Output = ()> + Send>(
    n: usize,
    critical: impl Fn() -> F + Clone + Send + 'static,
) -> Duration {
    let group = Group::new(8);
    let t = Instant::now();
    for _ in 0..8 {
        let (group, critical) = (group.clone(), critical.clone());
        tokio::spawn(async move {
            for _ in 0..n / 8 {
                critical().await;
            }
            group.leave();
        });
    }
    group.wait().await;
    t.elapsed()
}

async fn mutex_contended(n: usize) -> Duration {
    let m = Arc::new(Mutex::new(0usize));
    let shared = m.clone();
    let took = eight(n, move || {
        let m = shared.clone();
        async move { *m.lock().await += 1 }
    });
    let took = took.await;
    assert_eq!(*m.lock().await, n / 8 * 8);
    took
}

async fn std_mutex_contended(n: usize) -> Duration {
    let m = Arc::new(StdMutex::new(0usize));
    eight(n, move || {
        *m.lock().unwrap() += 1;
        std::future::ready(())
    })
    .await
}

async fn ring(n: usize) -> Duration {
    const SIZE: usize = 503;
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..SIZE).map(|_| mpsc::channel::<usize>(1)).unzip();
    let done = Arc::new(Notify::new());
    for (i, mut rx) in rxs.into_iter().enumerate() {
        let (tx, done) = (txs[(i + 1) % SIZE].clone(), done.clone());
        tokio::spawn(async move {
            while let Some(v) = rx.recv().await {
                match v {
                    usize::MAX => return,
                    0 => done.notify_one(),
                    _ => tx.send(v - 1).await.unwrap(),
                }
            }
        });
    }
    let t = Instant::now();
    txs[0].send(n).await.unwrap();
    done.notified().await;
    let took = t.elapsed();
    for tx in &txs {
        tx.send(usize::MAX).await.unwrap();
    }
    took
}

fn skynet(out: mpsc::Sender<u64>, num: u64, size: u64) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if size == 1 {
            out.send(num).await.unwrap();
            return;
        }
        let (tx, mut rx) = mpsc::channel(1);
        for i in 0..10 {
            tokio::spawn(skynet(tx.clone(), num + i * (size / 10), size / 10));
        }
        let mut sum = 0;
        for _ in 0..10 {
            sum += rx.recv().await.unwrap();
        }
        out.send(sum).await.unwrap();
    })
}

async fn skynet_run(n: u64) -> Duration {
    let t = Instant::now();
    let (tx, mut rx) = mpsc::channel(1);
    tokio::spawn(skynet(tx, 0, n));
    assert_eq!(rx.recv().await.unwrap(), n * (n - 1) / 2);
    t.elapsed()
}

fn idle(rt: &Runtime, cli: &Cli, n: usize) -> ! {
    let never = Arc::new(Notify::new());
    let waiters = never.clone();
    let before = mem_bytes();
    let (spawned, parked) = on(rt, async move {
        let t = Instant::now();
        for _ in 0..n {
            let never = waiters.clone();
            tokio::spawn(async move {
                LIVE.fetch_add(1, Relaxed);
                never.notified().await;
            });
        }
        let spawned = t.elapsed();
        while LIVE.load(Relaxed) < n {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (spawned, t.elapsed())
    });
    idle_mem(cli, n, before, spawned, parked);
    drop(never);
    // Taking a million tasks down again is nobody's figure.
    std::process::exit(0)
}

async fn sleepers(n: usize) -> (Duration, Vec<f64>) {
    let (tx, mut rx) = mpsc::unbounded_channel::<[f64; ROUNDS]>();
    let t = Instant::now();
    for i in 0..n {
        let tx = tx.clone();
        tokio::spawn(async move {
            let mut late = [0.0; ROUNDS];
            for (r, late) in late.iter_mut().enumerate() {
                let asked = sleep_for(i * ROUNDS + r);
                let t = Instant::now();
                tokio::time::sleep(asked).await;
                *late = millis(t.elapsed()) - millis(asked);
            }
            tx.send(late).unwrap();
        });
    }
    drop(tx);
    let mut late = Vec::with_capacity(n * ROUNDS);
    while let Some(l) = rx.recv().await {
        late.extend_from_slice(&l);
    }
    (t.elapsed(), late)
}

fn preempt_run(rt: &Runtime, cli: &Cli, name: &str, sleeper_first: bool) {
    let stop = Arc::new(AtomicBool::new(false));
    let running = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicUsize::new(0));
    let late = Arc::new(StdMutex::new(vec![]));
    let sleeper = || {
        let (stop, done, late) = (stop.clone(), done.clone(), late.clone());
        rt.spawn(async move {
            while done.load(Relaxed) < SLEEPS && !stop.load(Relaxed) {
                let t = Instant::now();
                tokio::time::sleep(Duration::from_millis(1)).await;
                late.lock().unwrap().push(millis(t.elapsed()) - 1.0);
                done.fetch_add(1, Relaxed);
            }
        });
    };
    if sleeper_first {
        sleeper();
        std::thread::sleep(Duration::from_millis(20));
    }
    for seed in 0..cli.procs as u64 {
        let (stop, running) = (stop.clone(), running.clone());
        rt.spawn(async move { spin(seed, &stop, &running) });
    }
    if !sleeper_first {
        preempt_await_spinners(&running, cli.procs);
        sleeper();
    }
    let starved = preempt_watch(&done);
    stop.store(true, Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    preempt_report(cli, name, starved, &mut late.lock().unwrap());
}

/// The same depth and bytes as `deep`, as async recursion: every frame is its
/// own heap box, for a task has no stack of its own.
fn deep_async(depth: usize) -> Pin<Box<dyn Future<Output = usize> + Send>> {
    Box::pin(async move {
        let mut buf = [0u8; 1024];
        buf[depth & 1023] = depth as u8;
        std::hint::black_box(&mut buf);
        if depth == 0 {
            return buf[0] as usize;
        }
        let below = deep_async(depth - 1).await;
        below + buf[depth & 1023] as usize + buf[(depth * 7) & 1023] as usize
    })
}

async fn deep_async_timed() -> (f64, f64) {
    let t = Instant::now();
    let a = deep_async(DEEP_FRAMES - 1).await;
    let first = t.elapsed();
    let t = Instant::now();
    let b = deep_async(DEEP_FRAMES - 1).await;
    let second = t.elapsed();
    SINK.store((a + b) as u64, Relaxed);
    (
        first.as_nanos() as f64 / 1000.0,
        second.as_nanos() as f64 / 1000.0,
    )
}

async fn server<F: Future<Output = ()> + Send + 'static>(f: impl Fn(TcpStream) -> F) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    say_addr(listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(f(stream));
    }
}

async fn echo(mut stream: TcpStream) {
    let mut buf = vec![0u8; 4096];
    while let Ok(k @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..k]).await.is_err() {
            return;
        }
    }
}

async fn hello(mut stream: TcpStream) {
    let mut buf = vec![0u8; 4096];
    let mut out = Vec::with_capacity(4096);
    let mut have = 0;
    while let Ok(k @ 1..) = stream.read(&mut buf[have..]).await {
        have += k;
        let Some(left) = hello_step(&mut buf, have, &mut out) else {
            return;
        };
        have = left;
        if !out.is_empty() && stream.write_all(&out).await.is_err() {
            return;
        }
    }
}

async fn hello_by_hyper(stream: TcpStream) {
    use hyper::{Response, body::Bytes, header, service::service_fn};
    let service = service_fn(|_req| async {
        let mut response = Response::new(http_body_util::Full::new(Bytes::from_static(
            b"Hello, World!",
        )));
        let text = header::HeaderValue::from_static("text/plain");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        Ok::<_, std::convert::Infallible>(response)
    });
    let io = hyper_util::rt::TokioIo::new(stream);
    // A client that goes away in the middle is nothing to report.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(io, service)
        .await;
}

fn main() {
    let mut cli = Cli::from_args("tokio");
    if matches!(cli.scenario.as_str(), "yield2" | "enter") {
        cli.procs = 1;
    }
    cli.exit_on_panic();
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cli.procs)
        .enable_all()
        .build()
        .unwrap();
    match cli.scenario.as_str() {
        "enter" => {
            let n = cli.n(500_000);
            cli.report_ns("enter", n, &repeat(REPS, || on(&rt, enter(n))));
        }
        "yield2" => {
            let n = cli.n(300_000);
            cli.report_ns("yield2", n, &repeat(REPS, || on(&rt, yield2(n))));
        }
        "spawn_join" => {
            let n = cli.n(200_000);
            cli.report_ns("spawn_join", n, &repeat(REPS, || on(&rt, spawn_join(n))));
        }
        "spawn_batch" => {
            let n = cli.n(100_000);
            cli.report_ns("spawn_batch", n, &repeat(REPS, || on(&rt, spawn_batch(n))));
        }
        "pingpong" => {
            let n = cli.n(100_000);
            cli.report_ns("pingpong", n, &repeat(REPS, || on(&rt, pingpong(n))));
        }
        "pipeline" => {
            let n = cli.n(2_000);
            work_20us();
            cli.report_ns("pipeline", n, &repeat(REPS, || on(&rt, pipeline(n))));
        }
        "chan_buffered" => {
            let n = cli.n(1_000_000);
            cli.report_ns(
                "chan_buffered.1x1",
                n,
                &repeat(FEW, || on(&rt, chan_run(n, 128))),
            );
            cli.report_ns(
                "chan_buffered.4x4",
                n,
                &repeat(FEW, || on(&rt, mpmc_run(n, 4, 4, 128))),
            );
        }
        "select2" => {
            let n = cli.n(400_000);
            cli.report_ns("select2", n, &repeat(FEW, || on(&rt, select_run(n, 1))));
            cli.report_ns(
                "select2.buf128",
                n,
                &repeat(FEW, || on(&rt, select_run(n, 128))),
            );
        }
        "mutex_contended" => {
            let n = cli.n(1_000_000);
            cli.report_ns(
                "mutex_contended",
                n,
                &repeat(FEW, || on(&rt, mutex_contended(n))),
            );
            let std = repeat(FEW, || on(&rt, std_mutex_contended(n)));
            cli.report_ns("mutex_contended.std_mutex", n, &std);
        }
        "ring" => {
            let n = cli.n(500_000);
            cli.report_ns("ring", n, &repeat(FEW, || on(&rt, ring(n))));
        }
        "skynet" => {
            let n = cli.n(1_000_000);
            let times = repeat(FEW, || on(&rt, skynet_run(n as u64)));
            let ms: Vec<f64> = times.into_iter().map(millis).collect();
            cli.report("skynet", n, &ms, "ms");
        }
        "idle_mem" => idle(&rt, &cli, cli.n(1_000_000)),
        "sleep_timers" => {
            let n = cli.n(100_000);
            sleep_timers(&cli, n, || on(&rt, sleepers(n)));
        }
        "preempt" => {
            preempt_run(&rt, &cli, "preempt", false);
            preempt_run(&rt, &cli, "preempt_sleeper_first", true);
        }
        "deep_stack" => {
            let n = cli.n(100);
            let never = Arc::new(Notify::new());
            deep_stack(&cli, n, || {
                let (tx, rx) = std::sync::mpsc::channel();
                let never = never.clone();
                rt.spawn(async move {
                    tx.send(deep_async_timed().await).unwrap();
                    never.notified().await;
                });
                rx.recv().unwrap()
            });
        }
        "echo_server" => on(&rt, server(echo)),
        "http_server" => on(&rt, server(hello)),
        "http_server_lib" => on(&rt, server(hello_by_hyper)),
        "serve" => {
            let dir = cli.dir.as_deref().unwrap_or(".");
            let files = Arc::new(file_server::Files::new(dir).unwrap());
            on(
                &rt,
                server(move |stream| file_server::connection(files.clone(), stream)),
            )
        }
        _ if tokio_sync::scenario(&cli, &rt) => {}
        _ => cli.unknown(),
    }
    rt.shutdown_background();
}
