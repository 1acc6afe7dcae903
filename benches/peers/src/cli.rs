//! The command line that every peer keeps, and the lines it answers with.
//!
//! ```text
//! PROG SCENARIO [--procs N] [--n N] [--dir DIR]
//! bench=<name> peer=<peer> procs=<p> n=<n> value=<float> unit=<unit>
//! ```
//!
//! A repeated figure comes as `<name>` (the best repetition), `<name>.median`
//! and `<name>.p99` (over the repetitions). A figure that is taken once, or is
//! a percentile already, comes as `<name>` only. Remarks go to stderr and
//! start with `#`; `value=inf` stands for "starved"; a program that cannot
//! finish says `# fail` and exits with a code other than 0.

use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Tasks alive right now; a failure report says how far a run got.
pub static LIVE: AtomicUsize = AtomicUsize::new(0);

const USAGE: &str = "usage: PROG SCENARIO [--procs N] [--n N] [--dir DIR]";

/// What a peer was asked to run.
#[derive(Clone)]
pub struct Cli {
    /// Name of the scenario.
    pub scenario: String,
    /// Who answers: goes into every line.
    pub peer: &'static str,
    /// Processors (worker threads, GOMAXPROCS) to use.
    pub procs: usize,
    /// Folder to serve, for the `serve` scenario.
    pub dir: Option<String>,
    size: Option<usize>,
}

impl Cli {
    /// Reads the process's arguments; leaves with code 2 and the usage line on nonsense.
    pub fn from_args(peer: &'static str) -> Cli {
        let mut args = std::env::args().skip(1);
        let Some(scenario) = args.next() else {
            leave(USAGE)
        };
        let procs = std::thread::available_parallelism().map_or(1, |p| p.get());
        let mut cli = Cli {
            scenario,
            peer,
            procs,
            dir: None,
            size: None,
        };
        while let Some(key) = args.next() {
            let value = args.next().unwrap_or_default();
            match (key.as_str(), value.parse::<usize>()) {
                ("--procs", Ok(v)) if v > 0 => cli.procs = v,
                ("--n", Ok(v)) => cli.size = (v > 0).then_some(v),
                ("--dir", _) => cli.dir = Some(value),
                _ => leave(&format!("{USAGE} (bad argument {key} {value})")),
            }
        }
        cli
    }

    /// The size asked for, or the scenario's own.
    pub fn n(&self, default: usize) -> usize {
        self.size.unwrap_or(default)
    }

    /// Prints one figure.
    pub fn figure(&self, bench: &str, n: usize, value: f64, unit: &str) {
        println!(
            "bench={bench} peer={} procs={} n={n} value={value:.3} unit={unit}",
            self.peer, self.procs
        );
    }

    /// Prints best, median and 99th percentile of figures where lower is better.
    pub fn report(&self, bench: &str, n: usize, values: &[f64], unit: &str) {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        self.figure(bench, n, sorted[0], unit);
        self.figure(
            &format!("{bench}.median"),
            n,
            sorted[sorted.len() / 2],
            unit,
        );
        self.figure(
            &format!("{bench}.p99"),
            n,
            percentile(&mut sorted, 0.99),
            unit,
        );
    }

    /// Times of `n` operations in, nanoseconds an operation out.
    pub fn report_ns(&self, bench: &str, n: usize, times: &[Duration]) {
        let each: Vec<f64> = times
            .iter()
            .map(|d| d.as_nanos() as f64 / n as f64)
            .collect();
        self.report(bench, n, &each, "ns");
    }

    /// Says on stderr that the run could not be finished, and why.
    pub fn fail(&self, error: impl Display) {
        eprintln!(
            "# fail bench={} peer={} procs={} n={:?} live={} error=\"{error}\"",
            self.scenario,
            self.peer,
            self.procs,
            self.size,
            LIVE.load(Ordering::Relaxed)
        );
    }

    /// Leaves with code 2: this peer has no such scenario.
    pub fn unknown(&self) -> ! {
        leave(&format!(
            "# no scenario {} for peer {}",
            self.scenario, self.peer
        ))
    }

    /// Makes a panic in any task end the program: the other tasks would wait for ever.
    pub fn exit_on_panic(&self) {
        let cli = self.clone();
        let first = AtomicBool::new(true);
        std::panic::set_hook(Box::new(move |info| {
            if !first.swap(false, Ordering::Relaxed) {
                // Another thread is already leaving; do not race its report.
                std::thread::sleep(Duration::from_secs(5));
            }
            // The message only: the location would name a path of the machine.
            let message = info.payload_as_str().unwrap_or("panic");
            cli.fail(message.replace('\n', " "));
            let live = LIVE.load(Ordering::Relaxed) as f64;
            cli.figure(
                &format!("{}.max_live", cli.scenario),
                cli.n(0),
                live,
                "tasks",
            );
            std::process::exit(3);
        }));
    }
}

/// Tells the caller where a server listens.
pub fn say_addr(addr: impl Display) {
    println!("addr={addr}");
    // Nobody to tell: then nobody will connect either.
    let _ = std::io::stdout().flush();
}

/// The smallest value that at least the fraction `p` of the values does not exceed; sorts them.
pub fn percentile(values: &mut [f64], p: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let rank = (p * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

fn leave(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(2)
}
