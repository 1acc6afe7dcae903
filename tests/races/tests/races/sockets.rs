//! Waits for descriptors, against closing, deadlines and data. The streams are over pairs of
//! local sockets, which leave no ports behind.

use goweft::io::{self, PipeReader, PipeWriter};
use goweft::net::{TcpListener, TcpStream};
use goweft_races::{Dice, Pair};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

struct Streams {
    near: TcpStream,
    /// Which is never waited for.
    far: Mutex<Option<UnixStream>>,
    written: AtomicUsize,
    read: AtomicUsize,
}

impl Streams {
    fn new() -> Streams {
        let (near, far) = UnixStream::pair().unwrap();
        Streams {
            near: TcpStream::from(OwnedFd::from(near)),
            far: Mutex::new(Some(far)),
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        }
    }

    fn write_far(&self) {
        let far = self.far.lock().unwrap();
        let mut far: &UnixStream = far.as_ref().unwrap();
        let n = far.write(b"abc").unwrap();
        self.written.fetch_add(n, Ordering::Relaxed);
    }
}

#[test]
fn reading_against_closing() {
    let race = Pair {
        make: |_| Streams::new(),
        wait: |streams: &Streams, _| {
            let ended = loop {
                match (&streams.near).read(&mut [0; 8]) {
                    Ok(0) => break None,
                    Ok(_) => {}
                    Err(e) => break Some(e.kind()),
                }
            };
            assert!(
                matches!(ended, None | Some(ErrorKind::NotConnected)),
                "{ended:?}"
            );
        },
        end: |streams, dice| {
            if dice.roll(2) == 0 {
                streams.write_far();
            }
            match dice.roll(3) {
                0 => drop(streams.far.lock().unwrap().take()),
                _ => streams.near.close().unwrap(),
            }
        },
        check: |_| (),
    };
    race.race_one_in(20, "read, close");
}

#[test]
fn reading_against_its_deadline() {
    let race = Pair {
        make: |_| Streams::new(),
        wait: |streams: &Streams, dice| {
            for _ in 0..2 {
                if dice.roll(2) == 0 {
                    let deadline = Instant::now() + dice.moment();
                    streams.near.set_read_deadline(Some(deadline)).unwrap();
                }
                match (&streams.near).read(&mut [0; 2]) {
                    Ok(n) => _ = streams.read.fetch_add(n, Ordering::Relaxed),
                    Err(e) => assert_eq!(e.kind(), ErrorKind::TimedOut),
                }
            }
        },
        end: |streams, dice| {
            if dice.roll(2) == 0 {
                streams.write_far();
            }
            let deadline = match dice.roll(2) {
                0 => Instant::now(),
                _ => Instant::now() + dice.moment(),
            };
            streams.near.set_deadline(Some(deadline)).unwrap();
            if dice.roll(2) == 0 {
                streams.write_far();
            }
            // Whatever deadline the other side has set since.
            streams
                .near
                .set_read_deadline(Some(Instant::now()))
                .unwrap();
        },
        check: |streams| {
            streams.near.set_deadline(None).unwrap();
            drop(streams.far.lock().unwrap().take());
            let left = (&streams.near).read_to_end(&mut Vec::new()).unwrap();
            let read = streams.read.load(Ordering::Relaxed);
            assert_eq!(streams.written.load(Ordering::Relaxed), read + left);
        },
    };
    race.race_one_in(20, "read, deadline");
}

#[test]
fn accepting_against_closing_and_its_deadline() {
    let race = Pair {
        make: |_| TcpListener::bind("127.0.0.1:0").unwrap(),
        wait: |listener: &TcpListener, dice| {
            if dice.roll(2) == 0 {
                let deadline = Instant::now() + dice.moment();
                listener.set_deadline(Some(deadline)).unwrap_or_default();
            }
            let ended = listener.accept().unwrap_err().kind();
            assert!(
                matches!(ended, ErrorKind::TimedOut | ErrorKind::NotConnected),
                "{ended:?}"
            );
        },
        end: |listener, _| listener.close().unwrap(),
        check: |_| (),
    };
    race.race_one_in(20, "accept");
}

#[test]
fn reading_from_a_pipe_against_its_end() {
    type Ends = (Mutex<Option<PipeReader>>, Mutex<Option<PipeWriter>>);
    let race = Pair {
        make: |_| {
            let (reader, writer) = io::pipe().unwrap();
            (Mutex::new(Some(reader)), Mutex::new(Some(writer)))
        },
        wait: |(reader, _): &Ends, _| {
            let mut reader = reader.lock().unwrap().take().unwrap();
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            assert!(all.is_empty() || all == b"abc");
        },
        end: |(_, writer), dice| {
            let mut writer = writer.lock().unwrap().take().unwrap();
            if dice.roll(2) == 0 {
                writer
                    .write_all(b"abc")
                    .unwrap_or_else(|e| assert_eq!(e.kind(), ErrorKind::BrokenPipe));
                dice.dawdle();
            }
        },
        check: |_| (),
    };
    race.race_one_in(20, "pipe");
}

/// As much as any of them takes at once.
static SEVENS: [u8; 1 << 16] = [7; 1 << 16];

/// A stream or a pipe into which nothing more goes, until something is read at its other end.
struct Full<W, R> {
    writer: W,
    /// None: the other end is gone.
    reader: Mutex<Option<R>>,
    written: AtomicUsize,
    read: AtomicUsize,
}

impl<W, R> Full<W, R>
where
    for<'a> &'a W: Write,
    for<'a> &'a R: Read,
{
    fn new(writer: W, reader: R) -> Full<W, R> {
        Full {
            writer,
            reader: Mutex::new(Some(reader)),
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<(), ErrorKind> {
        let written = (&self.writer).write(bytes).map_err(|e| e.kind())?;
        self.written.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }

    /// Writes until that fails; how.
    fn write_on(&self) -> ErrorKind {
        loop {
            if let Err(kind) = self.write(&SEVENS[..4096]) {
                return kind;
            }
        }
    }

    /// Makes room, or not.
    fn read(&self, dice: &mut Dice) {
        let reader = self.reader.lock().unwrap();
        let mut reader = reader.as_ref().unwrap();
        for _ in 0..dice.roll(3) {
            let n = reader.read(&mut [0; 4096]).unwrap();
            self.read.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The writer is closed: what it took, and nothing else, is there to be read.
    fn check(&self) {
        if let Some(reader) = self.reader.lock().unwrap().take() {
            let left = (&reader).read_to_end(&mut Vec::new()).unwrap();
            let read = self.read.load(Ordering::Relaxed);
            assert_eq!(self.written.load(Ordering::Relaxed), read + left);
        }
    }
}

fn full_stream() -> Full<TcpStream, UnixStream> {
    let (near, far) = UnixStream::pair().unwrap();
    let stream = Full::new(TcpStream::from(OwnedFd::from(near)), far);
    stream.writer.set_nonblocking(true).unwrap();
    while stream.write(&SEVENS).is_ok() {}
    stream.writer.set_nonblocking(false).unwrap();
    stream
}

fn full_pipe() -> Full<PipeWriter, PipeReader> {
    let (reader, writer) = io::pipe().unwrap();
    let pipe = Full::new(writer, reader);
    pipe.write(&SEVENS).unwrap();
    pipe
}

#[test]
fn writing_against_closing() {
    let race = Pair {
        make: |_| full_stream(),
        wait: |stream: &Full<_, _>, _| {
            let ended = stream.write_on();
            assert!(
                matches!(
                    ended,
                    ErrorKind::NotConnected | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ),
                "{ended:?}"
            );
        },
        end: |stream, dice| {
            stream.read(dice);
            match dice.roll(3) {
                0 => drop(stream.reader.lock().unwrap().take()),
                _ => stream.writer.close().unwrap(),
            }
        },
        check: Full::check,
    };
    race.race_one_in(40, "write, close");
}

#[test]
fn writing_against_its_deadline() {
    let race = Pair {
        make: |_| full_stream(),
        wait: |stream: &Full<TcpStream, _>, dice| {
            for _ in 0..2 {
                if dice.roll(2) == 0 {
                    let deadline = Instant::now() + dice.moment();
                    stream.writer.set_write_deadline(Some(deadline)).unwrap();
                }
                assert_eq!(stream.write_on(), ErrorKind::TimedOut);
            }
        },
        end: |stream, dice| {
            stream.read(dice);
            let deadline = Instant::now() + dice.moment();
            stream.writer.set_deadline(Some(deadline)).unwrap();
            stream.read(dice);
            // Whatever deadline the other side has set since.
            let now = Some(Instant::now());
            stream.writer.set_write_deadline(now).unwrap();
        },
        check: |stream| {
            stream.writer.close().unwrap();
            stream.check();
        },
    };
    race.race_one_in(40, "write, deadline");
}

#[test]
fn writing_to_a_pipe_against_its_ends_and_its_deadline() {
    let race = Pair {
        make: |_| full_pipe(),
        wait: |pipe: &Full<PipeWriter, _>, dice| {
            if dice.roll(4) == 0 {
                let deadline = Some(Instant::now() + dice.moment());
                // It may be closed.
                pipe.writer.set_write_deadline(deadline).unwrap_or_default();
            }
            let ended = pipe.write_on();
            assert!(
                matches!(
                    ended,
                    ErrorKind::NotConnected | ErrorKind::BrokenPipe | ErrorKind::TimedOut
                ),
                "{ended:?}"
            );
        },
        end: |pipe, dice| {
            pipe.read(dice);
            match dice.roll(3) {
                0 => drop(pipe.reader.lock().unwrap().take()),
                1 => pipe.writer.close().unwrap(),
                _ => {
                    let deadline = Some(Instant::now() + dice.moment());
                    pipe.writer.set_write_deadline(deadline).unwrap();
                }
            }
        },
        check: |pipe| {
            // Unless it is closed already.
            pipe.writer.close().unwrap_or_default();
            pipe.check();
        },
    };
    race.race_one_in(20, "write to a pipe");
}

#[test]
fn reading_from_a_pipe_against_closing_and_its_deadline() {
    type Ends = (PipeReader, Mutex<PipeWriter>, AtomicUsize);
    let race = Pair {
        make: |_| {
            let (reader, writer) = io::pipe().unwrap();
            (reader, Mutex::new(writer), AtomicUsize::new(0))
        },
        wait: |(reader, _, read): &Ends, dice| {
            if dice.roll(4) == 0 {
                let deadline = Some(Instant::now() + dice.moment());
                // It may be closed.
                reader.set_read_deadline(deadline).unwrap_or_default();
            }
            let mut reader = reader;
            let ended = loop {
                match reader.read(&mut [0; 2]) {
                    Ok(0) => panic!("there is a writer"),
                    Ok(n) => _ = read.fetch_add(n, Ordering::Relaxed),
                    Err(e) => break e.kind(),
                }
            };
            assert!(
                matches!(ended, ErrorKind::NotConnected | ErrorKind::TimedOut),
                "{ended:?}"
            );
        },
        end: |(reader, writer, read), dice| {
            let mut written = 0;
            if dice.roll(2) == 0 {
                written = writer.lock().unwrap().write(b"abc").unwrap();
            }
            if dice.roll(2) == 0 {
                return reader.close().unwrap();
            }
            let deadline = Some(Instant::now() + dice.moment());
            reader.set_read_deadline(deadline).unwrap();
            // What is not read is left: `check` counts it.
            read.fetch_sub(written, Ordering::Relaxed);
        },
        check: |(reader, writer, read)| {
            if reader.set_read_deadline(None).is_err() {
                return; // closed, and what was in it is gone
            }
            writer.lock().unwrap().close().unwrap();
            let mut reader = reader;
            let left = reader.read_to_end(&mut Vec::new()).unwrap();
            assert_eq!(read.load(Ordering::Relaxed).wrapping_add(left), 0);
        },
    };
    race.race_one_in(20, "read from a pipe");
}

/// From one pipe to another, which is full.
struct Way {
    from: PipeReader,
    feed: Mutex<Option<PipeWriter>>,
    to: Full<PipeWriter, PipeReader>,
    /// Into the first one.
    fed: AtomicUsize,
}

impl Way {
    fn end_source(&self, dice: &mut Dice) {
        match dice.roll(3) {
            0 => self.from.close().unwrap(),
            1 => drop(self.feed.lock().unwrap().take()),
            _ => {
                let deadline = Some(Instant::now() + dice.moment());
                self.from.set_read_deadline(deadline).unwrap();
            }
        }
    }

    fn end_sink(&self, dice: &mut Dice) {
        match dice.roll(3) {
            0 => self.to.writer.close().unwrap(),
            1 => drop(self.to.reader.lock().unwrap().take()),
            _ => {
                let deadline = Some(Instant::now() + dice.moment());
                self.to.writer.set_write_deadline(deadline).unwrap();
            }
        }
    }
}

#[test]
fn copying_against_closing_and_deadlines() {
    let race = Pair {
        make: |_| {
            let (from, feed) = io::pipe().unwrap();
            Way {
                from,
                feed: Mutex::new(Some(feed)),
                to: full_pipe(),
                fed: AtomicUsize::new(0),
            }
        },
        wait: |way: &Way, _| match io::copy(&mut &way.from, &mut &way.to.writer) {
            Ok(n) => assert_eq!(n, way.fed.load(Ordering::Relaxed) as u64),
            Err(e) => assert!(
                matches!(
                    e.kind(),
                    ErrorKind::NotConnected | ErrorKind::BrokenPipe | ErrorKind::TimedOut
                ),
                "{e:?}"
            ),
        },
        end: |way, dice| {
            if dice.roll(2) == 0 {
                let mut feed = way.feed.lock().unwrap();
                let fed = feed.as_mut().unwrap().write(b"abc").unwrap();
                way.fed.store(fed, Ordering::Relaxed);
            }
            way.to.read(dice);
            // It waits for one of them.
            match dice.roll(2) {
                0 => {
                    way.end_source(dice);
                    way.end_sink(dice);
                }
                _ => {
                    way.end_sink(dice);
                    way.end_source(dice);
                }
            }
        },
        check: |way| {
            way.to.writer.close().unwrap_or_default();
            if let Some(mut reader) = way.to.reader.lock().unwrap().take() {
                let left = reader.read_to_end(&mut Vec::new()).unwrap();
                let own = way.to.written.load(Ordering::Relaxed);
                let all = way.to.read.load(Ordering::Relaxed) + left;
                let fed = way.fed.load(Ordering::Relaxed);
                assert!((own..=own + fed).contains(&all), "{all} of {own} and {fed}");
            }
        },
    };
    race.race_one_in(40, "copy");
}
