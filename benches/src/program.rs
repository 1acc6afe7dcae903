//! The programs that are compared: where they are, how one is run, and which
//! are missing.

use crate::figures::Figure;
use crate::server;
use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// No scenario takes this long; a peer that hangs is a failure, not a wait.
const LIMIT: Duration = Duration::from_secs(120);

/// A scenario of a peer on so many processors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) peer: &'static str,
    pub(crate) scenario: &'static str,
    pub(crate) procs: usize,
    /// Taken in the first round only: it takes long and hardly varies.
    pub(crate) once: bool,
}

impl Command {
    pub(crate) fn new(peer: &'static str, scenario: &'static str, procs: usize) -> Command {
        Command {
            peer,
            scenario,
            procs,
            once: scenario == "idle_mem",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} on {} P", self.peer, self.scenario, self.procs)
    }
}

/// Where the programs are.
pub(crate) struct Programs {
    dir: PathBuf,
    go: Option<PathBuf>,
    serve: Option<PathBuf>,
}

impl Programs {
    /// The Rust programs are built into the folder of this one; Go's, and the example that
    /// serves files, are where the caller says.
    pub(crate) fn beside_this_one(go: Option<PathBuf>, serve: Option<PathBuf>) -> Programs {
        let dir = std::env::current_exe()
            .ok()
            .and_then(|exe| Some(exe.parent()?.to_path_buf()));
        Programs {
            dir: dir.unwrap_or_default(),
            go,
            serve,
        }
    }

    /// The program of a peer.
    pub(crate) fn path(&self, peer: &str) -> PathBuf {
        match (peer, &self.go) {
            ("go", Some(go)) => go.clone(),
            // goweft that sends no signals.
            ("goweft_off", _) => self.path("goweft"),
            _ => self.dir.join(format!("peer-{peer}")),
        }
    }

    /// The example that serves files.
    pub(crate) fn serve(&self) -> PathBuf {
        self.serve
            .clone()
            .unwrap_or_else(|| self.dir.join("examples/serve"))
    }

    /// Says so if a peer's program is not there.
    pub(crate) fn missing(&self, peer: &str) -> Option<String> {
        (!self.path(peer).is_file()).then(|| format!("{peer} is not built here"))
    }

    /// Says so if a scenario's tool is not there.
    pub(crate) fn no_tool(&self, scenario: &str) -> Option<String> {
        let needed = matches!(scenario, "serve" | "http_hello" | "http_hello_lib");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let there = || std::env::split_paths(&path).any(|dir| dir.join("wrk").is_file());
        (needed && !there()).then(|| "wrk is not installed".into())
    }

    /// Runs a command; its figures, or why there are none.
    pub(crate) fn run(&self, command: &Command) -> Result<Vec<Figure>, String> {
        match command.scenario {
            "serve" | "tcp_echo" | "http_hello" | "http_hello_lib" => server::run(self, command),
            scenario => {
                let procs = command.procs.to_string();
                let mut args = vec![scenario, "--procs", &procs];
                let n = population(command);
                if let Some(n) = &n {
                    args.extend(["--n", n]);
                }
                let mut program = std::process::Command::new(self.path(command.peer));
                if command.peer == "goweft_off" {
                    program.env("GOWEFT_PREEMPT", "off");
                }
                figures_of(program.args(args))
            }
        }
    }
}

/// A million parked tasks need 6 GiB for every peer; on a smaller machine as many as fit.
fn population(command: &Command) -> Option<String> {
    if command.scenario != "idle_mem" || matches!(command.peer, "may" | "threads") {
        // may cannot hold more with the kernel's default limits; threads have a size of their own.
        return (command.scenario == "idle_mem" && command.peer == "may").then(|| "30000".into());
    }
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    if kib >= 6 << 20 {
        return None;
    }
    let n = kib * 1024 / 6500;
    eprintln!(
        "# idle_mem: {n} tasks, not 1000000: {} MiB of memory are available",
        kib >> 10
    );
    Some(n.to_string())
}

/// Runs a program to its end and reads its figures; its remarks go through to stderr.
pub(crate) fn figures_of(program: &mut std::process::Command) -> Result<Vec<Figure>, String> {
    let child = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let (text, success) = output_of(child)?;
    let figures: Vec<Figure> = text.lines().filter_map(Figure::parse).collect();
    match (success, figures.is_empty()) {
        (false, _) => Err("it failed".into()),
        (true, true) => Err("it printed no figure".into()),
        (true, false) => Ok(figures),
    }
}

fn output_of(mut child: Child) -> Result<(String, bool), String> {
    let mut stdout = child.stdout.take().ok_or("no pipe")?;
    // The pipe is read beside the wait: a full pipe would block the program.
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if begin.elapsed() > LIMIT => {
                child
                    .kill()
                    .and_then(|()| child.wait())
                    .map_err(|e| e.to_string())?;
                return Err(format!("it did not end within {} s", LIMIT.as_secs()));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = reader
        .join()
        .map_err(|_| "the reader panicked")?
        .map_err(|e| e.to_string())?;
    Ok((text, status.success()))
}
