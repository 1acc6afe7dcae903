//! Serves the files of a directory over HTTP/1.1.
//!
//! ```text
//! serve DIR [--addr 127.0.0.1:8080] [--header-timeout S] [--idle-timeout S]
//!           [--write-timeout S] [--drain-timeout S]
//! ```
//!
//! A goroutine per connection in plain blocking code; see `http/`. SIGINT and
//! SIGTERM stop it: it accepts no more, ends the requests that are under way and
//! exits with 0. A second signal ends it at once.

pub(crate) mod http;

use goweft::signal::{self, Signal};
use goweft::{channel, go, select};
use http::{Server, Settings};
use lexopt::prelude::{Long, Short, Value, ValueExt};
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: serve DIR [--addr 127.0.0.1:8080] [--header-timeout SECONDS]
             [--idle-timeout SECONDS] [--write-timeout SECONDS] [--drain-timeout SECONDS]";

struct Options {
    directory: PathBuf,
    addr: String,
    settings: Settings,
    drain: Duration,
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
            eprintln!("serve: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("serve: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> Result<(), Box<dyn Error>> {
    let stop = signal::notify(&[Signal::SIGINT, Signal::SIGTERM])?;
    let server = Server::bind(options.addr, &options.directory, options.settings)?;
    println!("listening on http://{}", server.local_addr()?);

    let (tx, ended) = channel::bounded(1);
    let accepting = server.clone();
    go!(move || tx.send(accepting.run()));
    let result = select! {
        recv(stop) -> got => {
            if let Ok(signal) = got {
                eprintln!("serve: {signal}: stopping");
            }
            Ok(())
        }
        recv(ended) -> result => result?,
    };
    // From here on a signal has its default action.
    drop(stop);
    if !server.stop(options.drain) {
        eprintln!("serve: some clients were cut off after {:?}", options.drain);
    }
    eprintln!("serve: stopped after {} requests", server.served());
    Ok(result?)
}

/// None: only help was asked for.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Option<Options>, lexopt::Error> {
    let mut directory = None;
    let mut addr = "127.0.0.1:8080".to_string();
    let mut settings = Settings::default();
    let mut drain = Duration::from_secs(30);
    let mut parser = lexopt::Parser::from_iter(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Value(value) if directory.is_none() => directory = Some(PathBuf::from(value)),
            Long("addr") => addr = parser.value()?.string()?,
            Long("header-timeout") => settings.header_timeout = seconds(parser.value()?)?,
            Long("idle-timeout") => settings.idle_timeout = seconds(parser.value()?)?,
            Long("write-timeout") => settings.write_timeout = seconds(parser.value()?)?,
            Long("drain-timeout") => drain = seconds(parser.value()?)?,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    let directory = directory.ok_or("which directory?")?;
    Ok(Some(Options {
        directory,
        addr,
        settings,
        drain,
    }))
}

fn seconds(value: OsString) -> Result<Duration, lexopt::Error> {
    let seconds: f64 = value.parse()?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{seconds} is no number of seconds to wait").into()),
    }
}
