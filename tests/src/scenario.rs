//! Programs that die, or settle what holds for a process: the roles of
//! `bin/scenario.rs`, run as children.

use crate::pressure::{how_long, is_soak};
use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a child left.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

/// Runs the program `exe` (`env!("CARGO_BIN_EXE_scenario")`) in `role`, with `env` added
/// to an environment without goweft's and Rust's variables.
///
/// # Panics
/// When it has not ended after two minutes: it hangs.
pub fn run(exe: &str, role: &str, env: &[(&str, &str)]) -> Ran {
    run_with(exe, &[role], env)
}

/// The same with several arguments.
///
/// # Panics
/// As above. A storm may go on for as long as it is told.
pub fn run_with(exe: &str, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(exe);
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in [
        "RUST_BACKTRACE",
        "GOWEFT_MAXPROCS",
        "GOMAXPROCS",
        "GOWEFT_CONTAINER",
        "GOWEFT_STACK",
        "GOWEFT_PREEMPT",
    ] {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    let mut child = command.spawn().expect("the program starts");
    let mut out = child.stdout.take().expect("it is a pipe");
    let mut err = child.stderr.take().expect("it is a pipe");
    let (status, out, err) = std::thread::scope(|s| {
        let out = s.spawn(move || read(&mut out));
        let err = s.spawn(move || read(&mut err));
        let limit = Duration::from_secs(120) + how_long(Duration::ZERO);
        let status = ended_within(&mut child, limit);
        let (out, err) = (out.join(), err.join());
        (status, out.expect("it reads"), err.expect("it reads"))
    });
    let Some(status) = status else {
        panic!("{args:?} hangs\n{out}\n{err}");
    };
    Ran { status, out, err }
}

/// How a child ended. None: it had not within `limit`, and was killed.
pub fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            return Some(status);
        }
        if Instant::now() > deadline {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn read(from: &mut dyn Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("a pipe can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether goroutines stay on their threads in this process, because the environment says so.
pub fn everybody_is_pinned() -> bool {
    std::env::var_os("GOWEFT_MIGRATION").is_some_and(|value| value == "pinned")
}

/// Runs the tests of this very program once more, all but `me`, with goroutines that stay on
/// their threads (`GOWEFT_MIGRATION=pinned`). Does nothing where they do already: in that child.
///
/// # Panics
/// When one of them fails, or they have not ended after a time that is enough where the machine is
/// mostly away: a quarter of an hour (forty minutes in a soak).
pub fn once_more_pinned(me: &str) {
    if everybody_is_pinned() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().expect("there is a path to it"))
        .args(["--skip", me])
        .env("GOWEFT_MIGRATION", "pinned")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut out = child.stdout.take().expect("it is a pipe");
    let reader = std::thread::spawn(move || read(&mut out));
    let minutes = if is_soak() { 40 } else { 15 };
    let status = ended_within(&mut child, Duration::from_secs(60 * minutes));
    let out = reader.join().expect("it reads");
    match status {
        Some(status) if status.success() && !out.contains(" 0 passed") => {}
        Some(status) => panic!("pinned: {status}\n{out}"),
        None => panic!("pinned: it hangs\n{out}"),
    }
}
