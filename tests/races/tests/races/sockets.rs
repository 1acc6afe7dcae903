//! Waits for descriptors, against closing, deadlines and data. The streams are over pairs of
//! local sockets, which leave no ports behind.

use goweft::io::{self, PipeReader, PipeWriter};
use goweft::net::{TcpListener, TcpStream};
use goweft_races::Pair;
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
    race.race_of_descriptors("read, close");
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
    race.race_of_descriptors("read, deadline");
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
    race.race_of_descriptors("accept");
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
    race.race_of_descriptors("pipe");
}
