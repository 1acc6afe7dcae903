//! One client: reads requests and writes responses until one of the two has
//! had enough.
//!
//! - A head must be complete within the header timeout of its first byte (for
//!   the first one: of the connection's begin), however slowly it drips.
//! - Between requests the idle timeout runs.
//! - Each write of a response makes progress within the write timeout.
//! - `phase` decides between a request that begins and a server that stops: who
//!   changes `Waiting` first wins, so that no request is cut off.

use super::request::{MAX_HEAD, Parsed, parse};
use super::response::{Persistence, Status, plain};
use super::server::Settings;
use super::site::{Rest, Site};
use goweft::net::TcpStream;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// No request is under way.
const WAITING: u8 = 0;
/// One is.
const SERVING: u8 = 1;
/// The server has ended it.
const CLOSED: u8 = 2;

/// How much of a large file is read at a time.
const CHUNK: u64 = 64 * 1024;

/// A client that was refused may finish what it says, so that it gets to read
/// the answer: closing at once would reset the connection.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

pub(super) struct Connection {
    stream: TcpStream,
    phase: AtomicU8,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            phase: AtomicU8::new(WAITING),
        }
    }

    /// Ends it unless a request is under way.
    pub(super) fn close_if_waiting(&self) {
        let swapped =
            self.phase
                .compare_exchange(WAITING, CLOSED, Ordering::SeqCst, Ordering::SeqCst);
        if swapped.is_ok() {
            self.close();
        }
    }

    /// Ends it.
    pub(super) fn close(&self) {
        // Closing what is closed is no error that matters.
        let _ = self.stream.close();
    }

    /// Serves the client until it goes, is refused, or `stopping`; the number of
    /// requests that were answered.
    pub(super) fn serve(&self, site: &Site, settings: &Settings, stopping: &AtomicBool) -> u64 {
        let mut served = 0;
        // A client may vanish at any moment; that is the end of this
        // connection and nobody else's concern.
        let _ = self.answer_requests(site, settings, stopping, &mut served);
        served
    }

    fn answer_requests(
        &self,
        site: &Site,
        settings: &Settings,
        stopping: &AtomicBool,
        served: &mut u64,
    ) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        self.stream.set_read_timeout(Some(settings.idle_timeout))?;
        self.stream
            .set_write_timeout(Some(settings.write_timeout))?;
        let mut input = Input::new();
        input.limit(&self.stream, Some(settings.header_timeout))?;
        let mut out = Vec::with_capacity(4096);
        loop {
            out.clear();
            let (head_len, persistence, has_body, rest) = match parse(input.bytes()) {
                Parsed::Complete(request, head_len) => {
                    let persistence = Persistence::of(&request, stopping.load(Ordering::SeqCst));
                    let rest = site.answer(&request, persistence, &mut out);
                    (head_len, persistence, request.has_body, rest)
                }
                Parsed::Partial => match self.read_more(&mut input, settings)? {
                    More::Some => continue,
                    More::None => return Ok(()),
                    More::Refuse(status) => return self.refuse(status, &mut out),
                },
                Parsed::Refused(status) => {
                    *served += 1;
                    return self.refuse(status, &mut out);
                }
            };
            *served += 1;
            input.limit(&self.stream, None)?;
            (&self.stream).write_all(&out)?;
            self.send(rest, settings, &mut out)?;
            if persistence == Persistence::Close {
                return if has_body { self.linger() } else { Ok(()) };
            }
            input.consume(head_len);
            if input.is_empty() {
                self.phase.store(WAITING, Ordering::SeqCst);
                // Either we see that the server stops, or it sees that we wait.
                if stopping.load(Ordering::SeqCst) {
                    return Ok(());
                }
            }
        }
    }

    fn read_more(&self, input: &mut Input, settings: &Settings) -> io::Result<More> {
        let is_idle = input.is_empty();
        if !is_idle {
            input.limit(&self.stream, Some(settings.header_timeout))?;
        }
        match input.read_from(&self.stream) {
            Ok(0) if is_idle => Ok(More::None),
            Ok(0) => Ok(More::Refuse(Status::BadRequest)),
            Ok(_) if is_idle && !self.begin() => Ok(More::None),
            Ok(_) => Ok(More::Some),
            Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                Ok(if is_idle {
                    More::None
                } else {
                    More::Refuse(Status::RequestTimeout)
                })
            }
            Err(e) => Err(e),
        }
    }

    /// A request begins; false when the server was faster to end the
    /// connection.
    fn begin(&self) -> bool {
        self.phase
            .compare_exchange(WAITING, SERVING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    fn refuse(&self, status: Status, out: &mut Vec<u8>) -> io::Result<()> {
        plain(out, status, Persistence::Close, false, |_| ());
        (&self.stream).write_all(out)?;
        self.linger()
    }

    fn send(&self, rest: Rest, settings: &Settings, chunk: &mut Vec<u8>) -> io::Result<()> {
        let Rest::Pieces {
            file,
            pieces,
            after,
        } = rest
        else {
            return Ok(());
        };
        for (before, Range { mut start, end }) in pieces {
            chunk.clear();
            chunk.extend_from_slice(&before);
            while start < end {
                let filled = chunk.len();
                let size = (end - start).min(CHUNK);
                chunk.resize(filled + size as usize, 0);
                // A file that has become shorter cannot fill the length that
                // was promised: the client sees the connection end early.
                file.read_exact_at(&mut chunk[filled..], start)?;
                self.stream
                    .set_write_deadline(Some(Instant::now() + settings.write_timeout))?;
                (&self.stream).write_all(chunk)?;
                chunk.clear();
                start += size;
            }
        }
        self.stream.set_write_deadline(None)?;
        (&self.stream).write_all(&after)
    }

    fn linger(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.stream
            .set_read_deadline(Some(Instant::now() + LINGER))?;
        let mut ignored = [0; 4096];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match (&self.stream).read(&mut ignored)? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        Ok(())
    }
}

enum More {
    Some,
    /// The connection is over.
    None,
    Refuse(Status),
}

/// What was received and not yet used.
struct Input {
    buffer: Vec<u8>,
    used: Range<usize>,
    /// A deadline for the head is set.
    is_limited: bool,
}

impl Input {
    fn new() -> Input {
        Input {
            buffer: vec![0; 2048],
            used: 0..0,
            is_limited: false,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.used.clone()]
    }

    fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    fn consume(&mut self, n: usize) {
        self.used.start += n;
        if self.used.is_empty() {
            self.used = 0..0;
        }
    }

    /// Sets the deadline of a head that begins now, or clears it; does nothing
    /// when that is so already.
    fn limit(&mut self, stream: &TcpStream, timeout: Option<Duration>) -> io::Result<()> {
        if self.is_limited != timeout.is_some() {
            self.is_limited = timeout.is_some();
            stream.set_read_deadline(timeout.map(|timeout| Instant::now() + timeout))?;
        }
        Ok(())
    }

    fn read_from(&mut self, mut stream: &TcpStream) -> io::Result<usize> {
        if self.used.end == self.buffer.len() {
            if self.used.start > 0 {
                self.buffer.copy_within(self.used.clone(), 0);
                self.used = 0..self.used.len();
            } else {
                // `parse` refuses what fills MAX_HEAD, so this ends there.
                let len = (self.buffer.len() * 2).min(MAX_HEAD);
                self.buffer.resize(len, 0);
            }
        }
        loop {
            match stream.read(&mut self.buffer[self.used.end..]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Ok(n) => {
                    self.used.end += n;
                    return Ok(n);
                }
                Err(e) => return Err(e),
            }
        }
    }
}
