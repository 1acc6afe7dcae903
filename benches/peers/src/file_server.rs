//! A static file server written by hand on tokio, as plain and as fast as one
//! would write it: what goweft's `serve` example is held against.
//!
//! Each request opens the file, reads it and answers with head and body in one
//! write. The file calls are std's, made on the worker itself: for files that
//! the page cache holds that is several times cheaper than tokio's own, which
//! hand every call to another thread. It is the harder rival.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MAX_HEAD: usize = 16 * 1024;
const IDLE: Duration = Duration::from_secs(60);

/// The folder that is served.
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub(crate) fn new(dir: &str) -> io::Result<Files> {
        Ok(Files {
            root: std::fs::canonicalize(dir)?,
        })
    }

    /// The file that a request target names; `None` if it leaves the folder.
    fn resolve(&self, target: &str) -> Option<PathBuf> {
        let path = target.split(['?', '#']).next()?.strip_prefix('/')?;
        let plain = |c| matches!(c, Component::Normal(_) | Component::CurDir);
        Path::new(path)
            .components()
            .all(plain)
            .then(|| self.root.join(path))
    }

    /// Puts the answer for `target` into `out`.
    fn answer(&self, target: &str, body: bool, out: &mut Vec<u8>) {
        let Some(path) = self.resolve(target) else {
            return refuse("403 Forbidden", out);
        };
        let opened = std::fs::File::open(&path).and_then(|f| Ok((f.metadata()?, f)));
        let (meta, mut file) = match opened {
            Ok((meta, file)) if meta.is_file() => (meta, file),
            _ => return refuse("404 Not Found", out),
        };
        let mut head = String::with_capacity(256);
        let written = write!(
            head,
            "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n",
            content_type(&path),
            meta.len()
        );
        debug_assert!(written.is_ok(), "a string takes all");
        if let Ok(modified) = meta.modified() {
            head.push_str("Last-Modified: ");
            head.push_str(&httpdate::fmt_http_date(modified));
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let start = out.len();
        out.extend_from_slice(head.as_bytes());
        let from = out.len();
        let size = meta.len() as usize;
        if body {
            out.resize(from + size, 0);
            if file.read_exact(&mut out[from..]).is_err() {
                out.truncate(start);
                refuse("500 Internal Server Error", out);
            }
        }
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("md" | "txt") => "text/plain; charset=utf-8",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

fn refuse(status: &str, out: &mut Vec<u8>) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    out.extend_from_slice(text.as_bytes());
}

/// Answers the requests of one connection until it ends, sits idle, or sends junk.
pub(crate) async fn connection(files: Arc<Files>, mut stream: TcpStream) {
    let mut buf = Vec::with_capacity(4096);
    let mut out = Vec::with_capacity(4096);
    loop {
        match timeout(IDLE, stream.read_buf(&mut buf)).await {
            Ok(Ok(k)) if k > 0 && buf.len() <= MAX_HEAD => {}
            _ => return,
        }
        let mut from = 0;
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut request = httparse::Request::new(&mut headers);
            match request.parse(&buf[from..]) {
                Ok(httparse::Status::Complete(len)) => {
                    let target = request.path.unwrap_or("/");
                    match request.method {
                        Some("GET") => files.answer(target, true, &mut out),
                        Some("HEAD") => files.answer(target, false, &mut out),
                        _ => refuse("405 Method Not Allowed", &mut out),
                    }
                    from += len;
                }
                Ok(httparse::Status::Partial) => break,
                Err(_) => return,
            }
        }
        buf.drain(..from);
        if !out.is_empty() && stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}
