//! What goroutines do, in one command: `cargo run --release --example tour`.
//!
//! Three stations, each of which checks its own result:
//!
//! - `web`: a file server over the repository's `docs/`, driven by a thousand
//!   clients at once over real TCP, who compare every byte with the files;
//! - `words`: a pipeline that counts the words of every file of the repository,
//!   fanned out and fanned in, against a plain loop that does the same;
//! - `million`: a million goroutines that wait on one channel, all woken.
//!
//! Then a table of what was done. The exit code is 0 when everything was as it
//! has to be. With less memory or fewer descriptors than it takes, the tour does
//! less, and says so.
//!
//! ```text
//! tour [--clients N] [--goroutines N] [--repository DIR]
//! ```

#[path = "../serve/http/mod.rs"]
mod http;

mod limits;
mod million;
mod screen;
mod web;
mod words;

use goweft::runtime;
use lexopt::prelude::{Long, Short, ValueExt};
use screen::{Screen, Table, count};
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

type Outcome = Result<(), Box<dyn Error>>;

const USAGE: &str = "usage: tour [--clients N] [--goroutines N] [--repository DIR]";

struct Options {
    clients: usize,
    goroutines: usize,
    repository: PathBuf,
}

#[goweft::main]
fn main() -> ExitCode {
    run(std::env::args_os())
}

/// The program, with its arguments.
pub(crate) fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match parse(args) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("tour: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let screen = Screen::new();
    let mut table = Table::new();
    match tour(&options, &screen, &mut table) {
        Ok(()) => {
            println!("\n{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            screen.finish();
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tour(options: &Options, screen: &Screen, table: &mut Table) -> Outcome {
    let begin = Instant::now();
    let at_start = runtime::metrics();

    let docs = options.repository.join("docs");
    web::visit(&docs, options.clients, screen, table).map_err(|e| format!("web: {e}"))?;
    words::visit(&options.repository, screen, table).map_err(|e| format!("words: {e}"))?;
    million::visit(options.goroutines, screen, table).map_err(|e| format!("million: {e}"))?;
    screen.finish();

    let at_end = runtime::metrics();
    let took = begin.elapsed();
    let switches = at_end.switches - at_start.switches;
    table.station("runtime");
    table.row(
        "processors",
        runtime::maxprocs(),
        format!("of {} CPUs", runtime::num_cpu()),
    );
    table.row("threads", at_end.threads, "");
    table.row(
        "goroutines",
        count(at_end.spawned - at_start.spawned),
        "spawned",
    );
    let per_second = (switches as f64 / took.as_secs_f64()) as u64;
    table.row(
        "switches",
        count(switches),
        format!("{} a second", count(per_second)),
    );
    table.row("steals", count(at_end.steals - at_start.steals), "");
    table.row("time", format!("{:.2} s", took.as_secs_f64()), "in all");
    Ok(())
}

/// None: only help was asked for.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    // Where this was built, else where we are.
    let built = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let repository = if built.is_dir() {
        built
    } else {
        PathBuf::from(".")
    };
    let mut options = Options {
        clients: 1000,
        goroutines: 1_000_000,
        repository,
    };
    let mut parser = lexopt::Parser::from_iter(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("clients") => options.clients = at_least_one(parser.value()?)?,
            Long("goroutines") => options.goroutines = at_least_one(parser.value()?)?,
            Long("repository") => options.repository = parser.value()?.into(),
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn at_least_one(value: OsString) -> Result<usize, lexopt::Error> {
    match value.parse()? {
        0 => Err("0 is too few".into()),
        n => Ok(n),
    }
}
