//! A file server and its clients, over real TCP.
//!
//! All clients connect before any of them asks, so that they are there at the
//! same time. Then each asks for one file after the other on its connection, and
//! compares what it gets with what is on disk.

use super::Outcome;
use super::http::{Server, Settings};
use super::limits::raise_descriptors;
use super::screen::{Screen, Table, count};
use super::words::files_below;
use goweft::channel::{self, Receiver, Sender};
use goweft::go;
use goweft::net::TcpStream;
use goweft::sync::WaitGroup;
use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUESTS_EACH: usize = 10;

/// For a machine that is busy with something else too.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is served and what it has to be.
struct File {
    target: String,
    contents: Vec<u8>,
}

pub(crate) fn visit(docs: &Path, clients: usize, screen: &Screen, table: &mut Table) -> Outcome {
    let clients = as_many_as_allowed(clients, screen);
    let files = Arc::new(read(docs)?);
    if files.is_empty() {
        return Err(format!("no files in {}", docs.display()).into());
    }
    let settings = Settings {
        header_timeout: PATIENCE,
        ..Settings::default()
    };
    let server = Server::bind("127.0.0.1:0", docs, settings)?;
    let addr = server.local_addr()?;
    let listener = server.clone();
    let (ended, has_ended) = channel::bounded(1);
    go!(name = "acceptor", move || ended.send(listener.run()));

    let requests = clients * REQUESTS_EACH;
    screen.begin(
        &format!("web: {} clients of http://{addr}", count(clients)),
        requests,
    );
    let connected = WaitGroup::new();
    let (open, go_ahead) = channel::bounded::<()>(0);
    let (done, results) = channel::bounded(256);
    connected.add(clients);
    for client in 0..clients {
        let visitor = Visitor {
            addr,
            first: client,
            files: files.clone(),
            connected: connected.clone(),
        };
        go!(visitor.visit(go_ahead.clone(), done.clone()));
    }
    drop(done);
    if !connected.wait_timeout(PATIENCE) {
        return Err("not all clients could connect".into());
    }
    let begin = Instant::now();
    drop(open);
    let mut bytes = 0;
    let mut answered = 0;
    for result in &results {
        bytes += result?;
        answered += 1;
        screen.at(answered);
    }
    let took = begin.elapsed();
    if answered != requests {
        return Err(format!("{answered} answers to {requests} requests").into());
    }
    if !server.stop(PATIENCE) {
        return Err("connections were left when the server stopped".into());
    }
    has_ended.recv()??;
    if server.served() != requests as u64 {
        return Err(format!(
            "the server counts {} requests of {requests}",
            server.served()
        )
        .into());
    }
    table.station("web");
    table.row(
        "clients",
        count(clients),
        "at the same time, a goroutine each, and one in the server",
    );
    table.row(
        "requests",
        count(requests),
        format!("{:.0} a second", requests as f64 / took.as_secs_f64()),
    );
    table.row(
        "bytes",
        count(bytes),
        "each compared with the files in docs/",
    );
    table.row("time", format!("{:.2} s", took.as_secs_f64()), "");
    Ok(())
}

/// Each client takes two descriptors: its end, and the server's.
fn as_many_as_allowed(clients: usize, screen: &Screen) -> usize {
    const OTHERS: u64 = 100;
    let wanted = 2 * clients as u64 + OTHERS;
    let allowed = raise_descriptors(wanted);
    if allowed >= wanted {
        return clients;
    }
    let fewer = (allowed.saturating_sub(OTHERS) / 2).max(1) as usize;
    screen.note(&format!(
        "{fewer} clients instead of {clients}: only {allowed} descriptors are allowed (ulimit -n)"
    ));
    fewer
}

fn read(docs: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    for path in files_below(docs)? {
        let name = path
            .strip_prefix(docs)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        // Anything else would have to be escaped; the tests of `serve` do that.
        if name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-_.".contains(&b))
        {
            files.push(File {
                target: format!("/{name}"),
                contents: fs::read(&path)?,
            });
        }
    }
    Ok(files)
}

/// One client.
struct Visitor {
    addr: SocketAddr,
    /// The file with which it begins.
    first: usize,
    files: Arc<Vec<File>>,
    connected: WaitGroup,
}

/// Bytes compared, or what was wrong.
type Answer = Result<usize, String>;

impl Visitor {
    fn visit(self, go_ahead: Receiver<()>, done: Sender<Answer>) {
        if let Err(error) = self.ask_for_all(&go_ahead, &done) {
            // Nobody listens any more when another client was faster to fail.
            let _ = done.send(Err(format!("client {}: {error}", self.first)));
        }
    }

    fn ask_for_all(&self, go_ahead: &Receiver<()>, done: &Sender<Answer>) -> Result<(), String> {
        let stream = TcpStream::connect(self.addr);
        self.connected.done();
        let stream = stream.map_err(|e| format!("cannot connect: {e}"))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|e| e.to_string())?;
        // Closed when all are here.
        let _ = go_ahead.recv();
        for i in 0..REQUESTS_EACH {
            let file = &self.files[(self.first + i) % self.files.len()];
            let is_last = i + 1 == REQUESTS_EACH;
            let body =
                get(&stream, &file.target, is_last).map_err(|e| format!("{}: {e}", file.target))?;
            if body != file.contents {
                return Err(format!(
                    "{}: {} bytes that are not the file's",
                    file.target,
                    body.len()
                ));
            }
            if done.send(Ok(body.len())).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// One request on an open connection; the body of its answer.
fn get(mut stream: &TcpStream, target: &str, is_last: bool) -> io::Result<Vec<u8>> {
    let close = if is_last { "Connection: close\r\n" } else { "" };
    let request = format!("GET {target} HTTP/1.1\r\nHost: tour\r\n{close}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut received = Vec::with_capacity(16 * 1024);
    let mut chunk = [0; 8192];
    let mut expected = None;
    while expected.is_none_or(|len| received.len() < len) {
        let n = stream.read(&mut chunk)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&chunk[..n]);
        if expected.is_none() {
            expected = whole_len(&received)?.map(|(head, body)| head + body);
        }
    }
    match whole_len(&received)? {
        Some((head, body)) if received.len() == head + body => Ok(received.split_off(head)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more than was promised",
        )),
    }
}

/// The lengths of head and body, once the head is there.
fn whole_len(received: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response
        .parse(received)
        .map_err(|e| invalid(e.to_string()))?
    {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    if response.code != Some(200) {
        return Err(invalid(format!("status {:?}", response.code)));
    }
    let length = response
        .headers
        .iter()
        .find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length
        .and_then(|h| str::from_utf8(h.value).ok())
        .and_then(|v| v.parse().ok());
    length
        .map(|body| Some((head, body)))
        .ok_or_else(|| invalid("no Content-Length".into()))
}
