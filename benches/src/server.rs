//! The scenarios with a server: start it, check an answer, drive it, stop it.
//!
//! On one processor the server has CPU 0 and the load CPU 1; on two, both
//! share both.

use crate::figures::Figure;
use crate::program::{Command, Programs, figures_of};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The file that `serve` serves.
const PAGE: &str = "page.html";
const PAGE_SIZE: usize = 4096;

/// Runs a server scenario of a peer.
pub(crate) fn run(programs: &Programs, command: &Command) -> Result<Vec<Figure>, String> {
    let apart =
        command.procs == 1 && std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
    let folder = Folder::with_page().map_err(|e| format!("the folder to serve: {e}"))?;
    let mut server = Server::start(programs, command, apart.then_some(0), folder.path())?;
    let load = |mode: &str, name: &str, conns: usize, path: &str| {
        let mut program = on_cpu(apart.then_some(1), programs.path("load"));
        program
            .arg(mode)
            .args([
                "--peer",
                command.peer,
                "--addr",
                &server.addr,
                "--name",
                name,
                "--path",
                path,
            ])
            .args([
                "--procs",
                &command.procs.to_string(),
                "--pid",
                &server.child.id().to_string(),
            ])
            .args(["--conns", &conns.to_string(), "--seconds", "3"]);
        figures_of(&mut program)
    };
    let figures = match command.scenario {
        "serve" => {
            check_page(&server.addr).and_then(|()| load("wrk", "serve", 64, &format!("/{PAGE}")))
        }
        "tcp_echo" => load("echo", "tcp_echo.c64", 64, "").and_then(|mut few| {
            few.extend(load("echo", "tcp_echo.c1000", 1000, "")?);
            Ok(few)
        }),
        name => load("wrk", name, 64, "/"),
    };
    server.stop();
    figures
}

/// A program, bound to a CPU if one is given.
fn on_cpu(cpu: Option<usize>, path: PathBuf) -> std::process::Command {
    match cpu {
        Some(cpu) => {
            let mut program = std::process::Command::new("taskset");
            program.arg("-c").arg(cpu.to_string()).arg(path);
            program
        }
        None => std::process::Command::new(path),
    }
}

struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn start(
        programs: &Programs,
        command: &Command,
        cpu: Option<usize>,
        folder: &Path,
    ) -> Result<Server, String> {
        let example = command.scenario == "serve" && command.peer == "goweft";
        let mut program = on_cpu(
            cpu,
            if example {
                programs.serve()
            } else {
                programs.path(command.peer)
            },
        );
        if example {
            program
                .arg(folder)
                .args(["--addr", "127.0.0.1:0"])
                .env("GOWEFT_MAXPROCS", command.procs.to_string());
        } else {
            let scenario = match command.scenario {
                "tcp_echo" => "echo_server",
                "http_hello" => "http_server",
                "http_hello_lib" => "http_server_lib",
                own => own,
            };
            program.args([scenario, "--procs", &command.procs.to_string()]);
            if scenario == "serve" {
                program.arg("--dir").arg(folder);
            }
        }
        let mut child = program
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("the server: {e}"))?;
        let stdout = child.stdout.take().ok_or("no pipe")?;
        let (tx, rx) = mpsc::channel();
        // Reads to the end, so that a server that says more never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(addr) = address_in(&line)
                    && tx.send(addr).is_err()
                {
                    return;
                }
            }
        });
        let mut server = Server {
            child,
            addr: String::new(),
        };
        match rx.recv_timeout(Duration::from_secs(10)) {
            Ok(addr) => server.addr = addr,
            Err(_) => {
                server.stop();
                return Err("the server did not say where it listens".into());
            }
        }
        Ok(server)
    }

    fn stop(&mut self) {
        // A server that ended by itself is caught by the load, which it fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The loopback address in `addr=127.0.0.1:1234` or in a sentence with a URL.
fn address_in(line: &str) -> Option<String> {
    const HOST: &str = "127.0.0.1:";
    let rest = &line[line.find(HOST)? + HOST.len()..];
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!port.is_empty()).then(|| format!("{HOST}{port}"))
}

/// A folder of our own that is gone when the run is over.
struct Folder(PathBuf);

impl Folder {
    fn with_page() -> std::io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("goweft-serve-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        std::fs::write(path.join(PAGE), page())?;
        Ok(Folder(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is one small file in the system's own temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn page() -> Vec<u8> {
    b"<p>goroutines, woven</p>\n"
        .iter()
        .copied()
        .cycle()
        .take(PAGE_SIZE)
        .collect()
}

/// The figures of a server that answers something else mean nothing.
fn check_page(addr: &str) -> Result<(), String> {
    let ask = || -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /{PAGE} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = vec![];
        let mut buf = [0; 8192];
        loop {
            match stream.read(&mut buf)? {
                0 => return Ok(answer),
                k => answer.extend_from_slice(&buf[..k]),
            }
            if let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n")
                && answer.len() >= end + 4 + PAGE_SIZE
            {
                return Ok(answer);
            }
        }
    };
    let answer = ask().map_err(|e| format!("the server's answer: {e}"))?;
    match answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&page()) {
        true => Ok(()),
        false => Err("the server does not answer with the page".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn the_address_is_found_in_a_line_of_either_kind() {
        assert_eq!(
            address_in("addr=127.0.0.1:4021").as_deref(),
            Some("127.0.0.1:4021")
        );
        assert_eq!(
            address_in("serving docs on http://127.0.0.1:80/ now").as_deref(),
            Some("127.0.0.1:80")
        );
        assert_eq!(address_in("listening on 0.0.0.0:80"), None);
    }
}
