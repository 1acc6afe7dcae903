//! The load for every peer's servers, and what it cost the server.
//!
//! ```text
//! peer-load echo|wrk --peer NAME --procs P --addr A --pid PID [--conns N] [--seconds S] [--path PATH] [--name BENCH]
//! ```
//!
//! `echo`: N connections with one 64-byte message in flight each, a second of
//! warm-up, then windows of one second. `wrk`: a second of warm-up, then runs
//! of `wrk -t1 -cN`. Throughput on two shared cores is mostly noise; the CPU
//! time of the server per request, read from its `/proc` entry, is the figure.
//! Leaves with a code other than 0 if any connection failed or any answer was
//! not a success.

use peers::cli::percentile;
use std::cell::{Cell, RefCell};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Load {
    mode: String,
    peer: String,
    procs: usize,
    addr: String,
    pid: u32,
    conns: usize,
    seconds: u64,
    path: String,
    name: String,
}

fn usage(problem: &str) -> ! {
    eprintln!(
        "usage: peer-load echo|wrk --peer NAME --procs P --addr A --pid PID [--conns N] [--seconds S] [--path PATH] [--name BENCH] ({problem})"
    );
    std::process::exit(2)
}

impl Load {
    fn from_args() -> Load {
        let mut args = std::env::args().skip(1);
        let mut load = Load {
            mode: args.next().unwrap_or_else(|| usage("no mode")),
            peer: String::new(),
            procs: 1,
            addr: String::new(),
            pid: 0,
            conns: 64,
            seconds: 5,
            path: "/".into(),
            name: String::new(),
        };
        fn number<T: std::str::FromStr>(value: &str) -> T {
            value
                .parse()
                .unwrap_or_else(|_| usage(&format!("{value} is no number")))
        }
        while let Some(key) = args.next() {
            let Some(value) = args.next() else {
                usage(&format!("{key} needs a value"))
            };
            match key.as_str() {
                "--peer" => load.peer = value,
                "--procs" => load.procs = number(&value),
                "--addr" => load.addr = value,
                "--pid" => load.pid = number(&value),
                "--conns" => load.conns = number(&value),
                "--seconds" => load.seconds = number(&value),
                "--path" => load.path = value,
                "--name" => load.name = value,
                _ => usage(&format!("bad argument {key}")),
            }
        }
        if load.addr.is_empty() || load.pid == 0 || load.conns == 0 || load.seconds == 0 {
            usage("--addr and --pid are needed, --conns and --seconds are at least 1");
        }
        if load.name.is_empty() {
            load.name = if load.mode == "echo" {
                format!("tcp_echo.c{}", load.conns)
            } else {
                "http_hello".into()
            };
        }
        load
    }

    fn figure(&self, what: &str, value: f64, unit: &str) {
        println!(
            "bench={}.{what} peer={} procs={} n={} value={value:.3} unit={unit}",
            self.name, self.peer, self.procs, self.conns
        );
    }

    /// The last of the sorted values is the best one of a rate, the first that of a cost.
    fn report(&self, what: &str, mut values: Vec<f64>, unit: &str) {
        values.sort_by(f64::total_cmp);
        let best = if unit == "req/s" { values.len() - 1 } else { 0 };
        self.figure(what, values[best], unit);
        self.figure(&format!("{what}.median"), values[values.len() / 2], unit);
    }

    fn fail(&self, why: &str) -> ! {
        eprintln!(
            "# fail bench={} peer={} procs={} error=\"{why}\"",
            self.name, self.peer, self.procs
        );
        std::process::exit(1)
    }

    /// User and system time of the server so far, in us.
    fn server_cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .unwrap_or_else(|e| self.fail(&format!("the server: {e}")));
        // Fields 14 and 15, in ticks of 10 ms; the name, field 2, may hold blanks.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: f64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|f| f.parse::<f64>().ok())
            .sum();
        ticks * 10_000.0
    }
}

/// What the connections of an `echo` run share; they all live on one thread.
struct Echo {
    measuring: Cell<bool>,
    stop: Cell<bool>,
    rounds: Cell<u64>,
    late_us: RefCell<Vec<f64>>,
}

async fn echo_connection(addr: String, echo: Rc<Echo>) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (message, mut answer) = ([7u8; 64], [0u8; 64]);
    while !echo.stop.get() {
        let t = Instant::now();
        stream.write_all(&message).await?;
        stream.read_exact(&mut answer).await?;
        if answer != message {
            return Err(std::io::Error::other("the echo differs"));
        }
        if echo.measuring.get() {
            echo.rounds.set(echo.rounds.get() + 1);
            echo.late_us
                .borrow_mut()
                .push(t.elapsed().as_nanos() as f64 / 1000.0);
        }
    }
    Ok(())
}

async fn drive_echo(load: &Load) {
    let echo = Rc::new(Echo {
        measuring: Cell::new(false),
        stop: Cell::new(false),
        rounds: Cell::new(0),
        late_us: RefCell::default(),
    });
    let connections: Vec<_> = (0..load.conns)
        .map(|_| tokio::task::spawn_local(echo_connection(load.addr.clone(), echo.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    echo.measuring.set(true);
    let cpu = load.server_cpu();
    let mut rates = vec![];
    for _ in 0..load.seconds {
        let (t, before) = (Instant::now(), echo.rounds.get());
        tokio::time::sleep(Duration::from_secs(1)).await;
        rates.push((echo.rounds.get() - before) as f64 / t.elapsed().as_secs_f64());
    }
    let cpu = load.server_cpu() - cpu;
    echo.measuring.set(false);
    echo.stop.set(true);
    let mut failed = 0;
    for connection in connections {
        failed += usize::from(!matches!(connection.await, Ok(Ok(()))));
    }
    let mut late = echo.late_us.borrow_mut();
    load.report("rps", rates, "req/s");
    load.figure("p50", percentile(&mut late, 0.5), "us");
    load.figure("p99", percentile(&mut late, 0.99), "us");
    load.figure("server_cpu", cpu / echo.rounds.get() as f64, "us/req");
    if failed > 0 {
        load.fail(&format!("{failed} connections failed"));
    }
}

/// What one run of wrk says.
struct Wrk {
    requests: f64,
    rate: f64,
    p50: f64,
    p99: f64,
}

fn wrk(load: &Load, seconds: u64) -> Wrk {
    let url = format!("http://{}{}", load.addr, load.path);
    let out = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{}", load.conns),
            &format!("-d{seconds}s"),
            "--latency",
            &url,
        ])
        .output()
        .unwrap_or_else(|e| load.fail(&format!("wrk: {e}")));
    let text = String::from_utf8_lossy(&out.stdout);
    let mut said = Wrk {
        requests: 0.0,
        rate: 0.0,
        p50: f64::NAN,
        p99: f64::NAN,
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["Requests/sec:", rate] => said.rate = rate.parse().unwrap_or(0.0),
            ["50%", time] => said.p50 = micros(time),
            ["99%", time] => said.p99 = micros(time),
            [count, "requests", "in", ..] => said.requests = count.parse().unwrap_or(0.0),
            _ if line.contains("Socket errors") || line.contains("Non-2xx") => {
                load.fail(line.trim())
            }
            _ => {}
        }
    }
    if !out.status.success() || said.requests == 0.0 {
        load.fail(&format!(
            "wrk gave no figures: {}",
            String::from_utf8_lossy(&out.stderr).trim()
        ));
    }
    said
}

/// wrk's `1.23ms` in us.
fn micros(time: &str) -> f64 {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let unit = units
        .iter()
        .find_map(|(suffix, scale)| Some((time.strip_suffix(suffix)?, scale)));
    unit.and_then(|(digits, scale)| Some(digits.parse::<f64>().ok()? * scale))
        .unwrap_or(f64::NAN)
}

fn drive_wrk(load: &Load) {
    wrk(load, 1);
    let (mut rates, mut p50, mut p99, mut cost) = (vec![], vec![], vec![], vec![]);
    for _ in 0..3 {
        let cpu = load.server_cpu();
        let said = wrk(load, load.seconds);
        cost.push((load.server_cpu() - cpu) / said.requests);
        rates.push(said.rate);
        p50.push(said.p50);
        p99.push(said.p99);
    }
    load.report("rps", rates, "req/s");
    load.report("p50", p50, "us");
    load.report("p99", p99, "us");
    load.report("server_cpu", cost, "us/req");
}

fn main() {
    let load = Load::from_args();
    match load.mode.as_str() {
        "wrk" => drive_wrk(&load),
        "echo" => {
            let rt = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            tokio::task::LocalSet::new().block_on(&rt, drive_echo(&load));
        }
        other => usage(&format!("no mode {other}")),
    }
}
