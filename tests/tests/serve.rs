//! The example `serve`, driven over real sockets by plain threads: what it
//! sends, and what clients that misbehave can do to it (nothing).

#[path = "../../runtime/examples/serve/main.rs"]
#[allow(dead_code)] // its `main`
mod serve;

use goweft_tests::in_time;
use serve::http::{Server, Settings};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Only a failure waits this long.
const WATCHDOG: Duration = Duration::from_secs(30);
/// A timeout that the server is given when a test wants to see it pass.
const SHORT: Duration = Duration::from_millis(150);

/// More than all socket buffers between two ends hold.
const HUGE: usize = 128 << 20;

const HELLO: &[u8] = b"hello, world\n";

/// A running server over a directory with a bit of everything.
struct Fixture {
    server: Arc<Server>,
    addr: SocketAddr,
    files: TempDir,
    running: Option<goweft::JoinHandle<std::io::Result<()>>>,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with(Settings::default())
    }

    fn with(settings: Settings) -> Fixture {
        let files = TempDir::new().unwrap();
        fill(files.path());
        let server = Server::bind("127.0.0.1:0", &files.path().join("site"), settings).unwrap();
        let addr = server.local_addr().unwrap();
        let running = server.clone();
        let running = Some(goweft::spawn(move || running.run()));
        Fixture {
            server,
            addr,
            files,
            running,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        stream.set_write_timeout(Some(WATCHDOG)).unwrap();
        stream
    }

    /// All that the server sends for `bytes` until it closes.
    fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    fn get(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        self.request("GET", target, headers)
    }

    fn request(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Response::read(&mut &self.exchange(head.as_bytes())[..], method == "HEAD")
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.server.stop(Duration::ZERO);
        let ended = self.running.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn fill(directory: &Path) {
    fs::write(directory.join("secret"), "secret").unwrap();
    let site = directory.join("site");
    fs::create_dir_all(site.join("with index")).unwrap();
    fs::create_dir_all(site.join("plain/deeper")).unwrap();
    fs::write(site.join("hello.txt"), HELLO).unwrap();
    fs::write(site.join("empty.json"), "").unwrap();
    fs::write(site.join("big.bin"), big()).unwrap();
    fs::write(site.join("with index/index.html"), "<p>index").unwrap();
    fs::write(site.join("plain/a & b.txt"), "ab").unwrap();
    symlink("hello.txt", site.join("inside")).unwrap();
    symlink("../secret", site.join("outside")).unwrap();
    symlink("/etc/hostname", site.join("absolute")).unwrap();
    symlink("..", site.join("up")).unwrap();
    symlink("loop", site.join("loop")).unwrap();
    fs::File::create(site.join("huge"))
        .unwrap()
        .set_len(HUGE as u64)
        .unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(site.join("pipe"))
            .status()
            .unwrap()
            .success()
    );
}

/// A megabyte and a bit in which no two places look alike.
fn big() -> Vec<u8> {
    (0..300_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect()
}

#[derive(Debug)]
struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// Reads one response, as long as its head says it is.
    fn read(from: &mut impl BufRead, head_only: bool) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                from.read_line(&mut head).unwrap(),
                0,
                "an incomplete head: {head:?}"
            );
        }
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Response::new(&mut headers);
        assert!(parsed.parse(head.as_bytes()).unwrap().is_complete());
        let headers: Vec<(String, String)> = parsed
            .headers
            .iter()
            .map(|h| {
                (
                    h.name.to_lowercase(),
                    String::from_utf8(h.value.to_vec()).unwrap(),
                )
            })
            .collect();
        let mut response = Response {
            status: parsed.code.unwrap(),
            headers,
            body: Vec::new(),
        };
        if !head_only && response.status != 304 {
            let len = response.header("content-length").parse().unwrap();
            response.body.resize(len, 0);
            from.read_exact(&mut response.body).unwrap();
        }
        response
    }

    fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(n, _)| n == name);
        let value = &found
            .next()
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .1;
        assert!(found.next().is_none(), "{name} twice");
        value
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n == name)
    }
}

// ---- what is sent ---------------------------------------------------------

#[test]
fn smoke() {
    let site = Fixture::new();
    let response = site.get("/hello.txt", &[]);
    assert_eq!(response.status, 200);
    assert_eq!(response.body, HELLO);
    assert_eq!(response.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(response.header("accept-ranges"), "bytes");
    assert_eq!(response.header("connection"), "close");
    assert!(httpdate::parse_http_date(response.header("date")).is_ok());
}

#[test]
fn every_byte_of_a_large_file_arrives() {
    let site = Fixture::new();
    assert!(site.get("/big.bin", &[]).body == big());
}

#[test]
fn head_says_what_get_says_without_the_body() {
    let site = Fixture::new();
    for target in [
        "/hello.txt",
        "/big.bin",
        "/empty.json",
        "/",
        "/plain",
        "/none",
    ] {
        let get = site.get(target, &[]);
        let head = site.request("HEAD", target, &[]);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{target}");
        let without_date = |r: &Response| {
            r.headers
                .iter()
                .filter(|h| h.0 != "date")
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(without_date(&head), without_date(&get), "{target}");
        let raw = site.exchange(format!("HEAD {target} HTTP/1.0\r\n\r\n").as_bytes());
        assert!(
            raw.ends_with(b"\r\n\r\n"),
            "nothing behind the head of {target}"
        );
    }
}

#[test]
fn one_connection_serves_many_requests_also_when_they_come_at_once() {
    let site = Fixture::new();
    let stream = site.connect();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let ask = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    for _ in 0..3 {
        (&stream).write_all(&ask("/hello.txt")).unwrap();
        assert_eq!(Response::read(&mut answers, false).body, HELLO);
    }
    let big = big();
    let mut many = Vec::new();
    for _ in 0..50 {
        many.extend(ask("/hello.txt"));
        many.extend(ask("/none"));
        many.extend(ask("/big.bin"));
    }
    let writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || (&writer).write_all(&many).unwrap());
    for _ in 0..50 {
        assert_eq!(Response::read(&mut answers, false).body, HELLO);
        assert_eq!(Response::read(&mut answers, false).status, 404);
        assert!(Response::read(&mut answers, false).body == big);
    }
    writing.join().unwrap();
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let site = Fixture::new();
    let stream = site.connect();
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n" {
        (&stream).write_all(&[*byte]).unwrap();
    }
    assert_eq!(
        Response::read(&mut BufReader::new(stream), false).body,
        HELLO
    );
}

#[test]
fn http_1_0_is_kept_open_only_when_it_asks() {
    let site = Fixture::new();
    let stream = site.connect();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    (&stream)
        .write_all(b"GET /hello.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .unwrap();
    assert_eq!(
        Response::read(&mut answers, false).header("connection"),
        "keep-alive"
    );
    (&stream)
        .write_all(b"GET /hello.txt HTTP/1.0\r\n\r\n")
        .unwrap();
    assert_eq!(
        Response::read(&mut answers, false).header("connection"),
        "close"
    );
    assert_eq!(answers.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_directory_is_its_index_or_a_listing() {
    let site = Fixture::new();
    let index = site.get("/with%20index/", &[]);
    assert_eq!(index.body, b"<p>index");
    assert_eq!(index.header("content-type"), "text/html; charset=utf-8");

    let moved = site.get("/with%20index", &[]);
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, "/with%20index/")
    );
    let moved = site.get("//plain", &[]);
    assert_eq!(
        moved.header("location"),
        "/plain/",
        "never the name of another host"
    );

    let listing = String::from_utf8(site.get("/plain/", &[]).body).unwrap();
    assert!(
        listing.contains("<a href=\"./deeper/\">deeper/</a>"),
        "{listing}"
    );
    assert!(
        listing.contains("<a href=\"./a%20%26%20b.txt\">a &amp; b.txt</a>"),
        "{listing}"
    );
    assert_eq!(site.get("/plain/a%20%26%20b.txt", &[]).body, b"ab");
    assert!(
        site.get("/", &[])
            .body
            .windows(9)
            .any(|w| w == b"hello.txt")
    );
}

#[test]
fn what_the_client_has_is_not_sent_again() {
    let site = Fixture::new();
    let first = site.get("/hello.txt", &[]);
    let (etag, date) = (first.header("etag"), first.header("last-modified"));
    let again = site.get("/hello.txt", &[("If-None-Match", etag)]);
    assert_eq!((again.status, again.header("etag")), (304, etag));
    assert_eq!(
        site.get("/hello.txt", &[("If-Modified-Since", date)])
            .status,
        304
    );
    assert_eq!(
        site.get("/hello.txt", &[("If-Match", "\"other\"")]).status,
        412
    );

    fs::write(site.files.path().join("site/hello.txt"), "something else").unwrap();
    let changed = site.get("/hello.txt", &[("If-None-Match", etag)]);
    assert_eq!(
        (changed.status, &changed.body[..]),
        (200, &b"something else"[..])
    );
}

#[test]
fn a_range_is_that_part_of_the_file() {
    let site = Fixture::new();
    let big = big();
    for (range, want) in [
        ("bytes=0-0", 0..1),
        ("bytes=1000-300000", 1000..300_001),
        ("bytes=-5", big.len() - 5..big.len()),
        ("bytes=1199990-9999999", 1_199_990..1_200_000),
    ] {
        let response = site.get("/big.bin", &[("Range", range)]);
        assert_eq!(response.status, 206, "{range}");
        let said = format!("bytes {}-{}/{}", want.start, want.end - 1, big.len());
        assert_eq!(response.header("content-range"), said);
        assert!(response.body == big[want], "{range}");
    }
    let etag = site.get("/big.bin", &[]).header("etag").to_string();
    assert_eq!(
        site.get("/big.bin", &[("Range", "bytes=0-0"), ("If-Range", &etag)])
            .status,
        206
    );
    assert_eq!(
        site.get("/big.bin", &[("Range", "bytes=0-0"), ("If-Range", "\"x\"")])
            .status,
        200
    );

    let outside = site.get("/big.bin", &[("Range", "bytes=1200000-")]);
    assert_eq!(
        (outside.status, outside.header("content-range")),
        (416, "bytes */1200000")
    );
}

#[test]
fn several_ranges_come_as_parts() {
    let site = Fixture::new();
    let big = big();
    let response = site.get("/big.bin", &[("Range", "bytes=0-9, 500000-699999, -1")]);
    assert_eq!(response.status, 206);
    let boundary = response
        .header("content-type")
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let mut rest = &response.body[..];
    for want in [0..10, 500_000..700_000, 1_199_999..1_200_000] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {}-{}/1200000\r\n\r\n",
            want.start,
            want.end - 1
        );
        rest = rest
            .strip_prefix(head.as_bytes())
            .unwrap_or_else(|| panic!("no {head:?}"));
        rest = rest.strip_prefix(&big[want]).expect("the part's bytes");
    }
    assert_eq!(rest, format!("\r\n--{boundary}--\r\n").as_bytes());
}

// ---- what is refused ------------------------------------------------------

#[test]
fn nothing_outside_the_directory_is_served() {
    let site = Fixture::new();
    for target in [
        "/../secret",
        "/%2e%2e/secret",
        "/plain/../../secret",
        "/plain/%2e%2e%2f..%2fsecret",
        "/outside",
        "/absolute",
        "/up/secret",
        "/up/",
        "/up/site/hello.txt",
    ] {
        let response = site.get(target, &[]);
        assert_eq!(response.status, 403, "{target}");
        assert_eq!(response.body, b"403 Forbidden\n");
    }
    assert_eq!(
        site.get("/inside", &[]).body,
        HELLO,
        "a link that stays inside is served"
    );
}

#[test]
fn what_is_no_file_is_refused_and_blocks_nobody() {
    let site = Fixture::new();
    assert_eq!(
        site.get("/pipe", &[]).status,
        403,
        "without waiting for a writer"
    );
    assert_eq!(site.get("/loop", &[]).status, 403);
    assert_eq!(site.get("/none", &[]).status, 404);
    assert_eq!(site.get("/hello.txt/", &[]).status, 404);
    assert_eq!(site.get("/hello.txt/x", &[]).status, 404);
    assert_eq!(site.get(&format!("/{}", "n".repeat(300)), &[]).status, 404);
}

#[test]
fn a_file_that_may_not_be_read_is_forbidden() {
    use std::os::unix::fs::PermissionsExt;
    let site = Fixture::new();
    let file = site.files.path().join("site/hello.txt");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    let want = if fs::File::open(&file).is_ok() {
        200
    } else {
        403
    };
    assert_eq!(site.get("/hello.txt", &[]).status, want);
}

#[test]
fn mistakes_get_an_answer_and_end_the_connection() {
    let site = Fixture::new();
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nlong: {}", "x".repeat(20_000));
    for (bytes, status) in [
        (
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS"[..],
            400,
        ),
        (b"no request at all\r\n\r\n", 400),
        (b"GET hello.txt HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (
            b"GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            400,
        ),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
            405,
        ),
        (b"DELETE /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (long.as_bytes(), 431),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ] {
        let mut stream = site.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answers = BufReader::new(stream);
        let response = Response::read(&mut answers, false);
        assert_eq!(
            response.status,
            status,
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
        assert_eq!(response.has("allow"), status == 405);
        assert_eq!(answers.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_body_that_nobody_asked_for_ends_the_connection_after_the_answer() {
    let site = Fixture::new();
    let mut stream = site.connect();
    let body = "x".repeat(100_000);
    let request = format!(
        "GET /hello.txt HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // At once: the server reads on for a second only.
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answers = BufReader::new(stream);
    assert_eq!(Response::read(&mut answers, false).body, HELLO);
    assert_eq!(
        answers.read(&mut [0]).unwrap(),
        0,
        "the body is not taken for a request"
    );
}

// ---- clients that misbehave -----------------------------------------------

#[test]
fn half_a_request_is_refused_when_no_more_comes() {
    let site = Fixture::new();
    let mut stream = site.connect();
    stream.write_all(b"GET /hello.txt HT").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        Response::read(&mut BufReader::new(stream), false).status,
        400
    );
}

#[test]
fn slow_headers_time_out_however_they_drip() {
    in_time(SHORT, |header_timeout| {
        let site = Fixture::with(Settings {
            header_timeout,
            ..Settings::default()
        });
        let begin = Instant::now();
        let mut stream = site.connect();
        stream.set_nodelay(true).unwrap();
        stream
            .write_all(b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nslow: ")
            .unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(10)))
            .unwrap();
        let mut first = [0];
        // The read's timeout is the time between two drops.
        let n = loop {
            match stream.read(&mut first) {
                Ok(n) => break n,
                Err(e) if e.kind() == ErrorKind::ConnectionReset => break 0,
                Err(e) => assert!(
                    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "{e}"
                ),
            }
            assert!(begin.elapsed() < WATCHDOG);
            // Where nobody takes it any more the next read tells.
            let _ = stream.write_all(b"x");
        };
        assert!(begin.elapsed() >= header_timeout);
        if n == 0 {
            return false; // the time was over before the server had seen anything
        }
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        let mut answer = BufReader::new(first.chain(&stream));
        assert_eq!(Response::read(&mut answer, false).status, 408);
        true
    });
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    in_time(SHORT, |timeout| {
        let site = Fixture::with(Settings {
            idle_timeout: timeout,
            header_timeout: timeout,
            ..Settings::default()
        });
        let mut silent = site.connect();
        assert_eq!(silent.read(&mut [0]).unwrap(), 0, "one that never asks");

        let begin = Instant::now();
        let stream = site.connect();
        (&stream)
            .write_all(b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answers = BufReader::new(stream);
        if answers.fill_buf().is_ok_and(|answer| !answer.is_empty()) {
            assert_eq!(Response::read(&mut answers, false).body, HELLO);
            assert_eq!(answers.read(&mut [0]).unwrap(), 0);
            assert!(begin.elapsed() >= timeout);
            return true;
        }
        // It was taken for another one that never asks.
        assert!(begin.elapsed() >= timeout);
        false
    });
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let site = Fixture::with(Settings {
        write_timeout: SHORT,
        ..Settings::default()
    });
    let mut stream = site.connect();
    stream
        .write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    // It ends on its own: nothing is read until it has.
    wait_until(|| site.server.served() == 1);
    let mut got = 0;
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        got += n;
    }
    assert!(got < HUGE, "{got}");
}

/// Watches for what another thread is about to do.
fn wait_until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < WATCHDOG);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn clients_that_vanish_harm_nobody() {
    let site = Fixture::new();
    for round in 0..100 {
        let mut stream = site.connect();
        let bytes: &[u8] = match round % 4 {
            0 => b"",
            1 => b"GET /hello.txt HTTP/1.1\r\nHo",
            2 => b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n",
            _ => b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\nGET /huge HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(bytes).unwrap();
        if round % 8 == 7 {
            // Some unread: dropping it resets the connection.
            stream.read_exact(&mut [0]).unwrap();
        }
    }
    assert_eq!(site.get("/hello.txt", &[]).body, HELLO);
    assert!(site.server.stop(WATCHDOG), "no goroutine is left behind");
}

#[test]
fn a_thousand_clients_at_once_get_what_they_asked_for() {
    let site = Fixture::new();
    let addr = site.addr;
    goweft::scope(|s| {
        for client in 0..1000 {
            s.spawn(move || {
                let mut stream = goweft::net::TcpStream::connect(addr).unwrap();
                for _ in 0..3 {
                    stream
                        .write_all(b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n")
                        .unwrap();
                    let response = Response::read(&mut BufReader::new(&stream), false);
                    assert_eq!(response.body, HELLO, "client {client}");
                }
            });
        }
    });
    assert!(site.server.stop(WATCHDOG));
    assert_eq!(site.server.served(), 3000);
}

// ---- stopping -------------------------------------------------------------

#[test]
fn stopping_ends_idle_connections_at_once_and_lets_requests_end() {
    let site = Fixture::new();
    let mut idle = site.connect();
    let mut busy = site.connect();
    busy.write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    busy.read_exact(&mut [0]).unwrap();
    let server = site.server.clone();
    let stopping = std::thread::spawn(move || server.stop(WATCHDOG));

    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > HUGE, "the whole file: {}", rest.len());
    assert!(stopping.join().unwrap(), "nobody was cut off");
    // A child that another test begins has the listener too, until it runs its program.
    let begin = Instant::now();
    let refused = loop {
        match TcpStream::connect(site.addr) {
            Ok(_) if begin.elapsed() < WATCHDOG => std::thread::yield_now(),
            tried => break tried,
        }
    };
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn stopping_cuts_off_what_does_not_end() {
    let site = Fixture::new();
    let mut stuck = site.connect();
    stuck
        .write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    stuck.read_exact(&mut [0]).unwrap();
    assert!(!site.server.stop(SHORT));
}

// ---- the program ----------------------------------------------------------

const ARGS: &str = "GOWEFT_TEST_SERVE_ARGS";

/// Not a test of its own: the program, for the tests below.
#[goweft::test]
fn program() {
    let Ok(args) = std::env::var(ARGS) else {
        return;
    };
    let args = std::iter::once("serve").chain(args.split('\n').filter(|a| !a.is_empty()));
    let code = serve::run(args.map(Into::into));
    std::process::exit(if code == std::process::ExitCode::SUCCESS {
        0
    } else {
        1
    });
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "program", "--nocapture"])
        .env(ARGS, args.join("\n"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn the_program_says_where_it_listens_and_a_signal_stops_it() {
    for signal in ["INT", "TERM"] {
        let files = TempDir::new().unwrap();
        fs::write(files.path().join("hello.txt"), HELLO).unwrap();
        let mut child = command(&[files.path().to_str().unwrap(), "--addr", "127.0.0.1:0"])
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let addr: SocketAddr = loop {
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "{line}");
            if let Some((_, addr)) = line.trim_end().split_once("listening on http://") {
                break addr.parse().unwrap();
            }
        };
        // An open connection does not keep it from stopping.
        let stream = TcpStream::connect(addr).unwrap();
        (&stream)
            .write_all(b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        assert_eq!(
            Response::read(&mut BufReader::new(&stream), false).body,
            HELLO
        );

        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(
            String::from_utf8(output.stderr)
                .unwrap()
                .contains("stopped after 1 requests")
        );
    }
}

#[test]
fn the_program_explains_what_it_cannot_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (args, says) in [
        (&[][..], "which directory?"),
        (&["/", "--speed", "9"], "--speed"),
        (&["/", "--idle-timeout", "-1"], "-1 is no number of seconds"),
        (&["/no such directory"], "/no such directory: No such file"),
        (&["/", "--addr", "nonsense"], "nonsense"),
        (&["/", "--addr", &taken], "Address already in use"),
    ] {
        let output = command(args).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said:?} does not say {says:?}");
    }
}
