//! `io::copy`: every combination of ends byte for byte, and what Go's splice, sendfile and
//! copy priority tests prove.

use goweft::io::{self, PipeReader, PipeWriter};
use goweft::net::{Closed, TcpListener, TcpStream};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

fn random_bytes(n: usize) -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    let bytes = std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()
    });
    bytes.flatten().take(n).collect()
}

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (here, listener.accept().unwrap().0)
}

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}

fn contents(mut file: &File) -> Vec<u8> {
    let mut bytes = vec![];
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// A source of each kind, with a goroutine that feeds it if need be.
enum Source {
    Tcp(TcpStream),
    Pipe(PipeReader),
    File(File),
    /// Nothing that the kernel knows.
    Plain(Cursor<Vec<u8>>),
}

fn source(kind: usize, bytes: &[u8]) -> Source {
    let bytes = bytes.to_vec();
    match kind {
        0 => {
            let (stream, mut peer) = tcp();
            goweft::go! {
                peer.write_all(&bytes).unwrap();
                peer.shutdown(Shutdown::Write).unwrap();
                let _ = peer.read(&mut [0]);
            }
            Source::Tcp(stream)
        }
        1 => {
            let (reader, mut writer) = io::pipe().unwrap();
            goweft::go!(move || writer.write_all(&bytes).unwrap());
            Source::Pipe(reader)
        }
        2 => Source::File(file_with(&bytes)),
        _ => Source::Plain(Cursor::new(bytes)),
    }
}

/// A sink of each kind, with what has arrived there at the end.
enum Sink {
    Tcp(TcpStream, goweft::JoinHandle<Vec<u8>>),
    Pipe(PipeWriter, goweft::JoinHandle<Vec<u8>>),
    File(File),
    Plain(Vec<u8>),
}

fn read_all(mut from: impl Read + Send + 'static) -> goweft::JoinHandle<Vec<u8>> {
    goweft::spawn(move || {
        let mut bytes = vec![];
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn sink(kind: usize) -> Sink {
    match kind {
        0 => {
            let (stream, peer) = tcp();
            Sink::Tcp(stream, read_all(peer))
        }
        1 => {
            let (reader, writer) = io::pipe().unwrap();
            Sink::Pipe(writer, read_all(reader))
        }
        2 => Sink::File(tempfile::tempfile().unwrap()),
        _ => Sink::Plain(vec![]),
    }
}

fn copy_into(reader: &mut (impl Read + ?Sized), sink: &mut Sink) -> std::io::Result<u64> {
    match sink {
        Sink::Tcp(stream, _) => io::copy(reader, stream),
        Sink::Pipe(writer, _) => io::copy(reader, writer),
        Sink::File(file) => io::copy(reader, file),
        Sink::Plain(bytes) => io::copy(reader, bytes),
    }
}

fn arrived(sink: Sink) -> Vec<u8> {
    match sink {
        Sink::Tcp(stream, read) => {
            drop(stream);
            read.join().unwrap()
        }
        Sink::Pipe(writer, read) => {
            drop(writer);
            read.join().unwrap()
        }
        Sink::File(file) => contents(&file),
        Sink::Plain(bytes) => bytes,
    }
}

fn every_combination() {
    for n in [0, 1, 70_000, 3_000_001] {
        let bytes = random_bytes(n);
        for (from, to) in (0..4).flat_map(|from| (0..4).map(move |to| (from, to))) {
            let mut sink = sink(to);
            let copied = match source(from, &bytes) {
                Source::Tcp(mut stream) => copy_into(&mut stream, &mut sink),
                Source::Pipe(mut reader) => copy_into(&mut reader, &mut sink),
                Source::File(mut file) => copy_into(&mut file, &mut sink),
                Source::Plain(mut cursor) => copy_into(&mut cursor, &mut sink),
            };
            assert_eq!(copied.unwrap(), n as u64, "{from} to {to}");
            assert!(arrived(sink) == bytes, "{from} to {to}, {n} bytes");
        }
    }
}

#[goweft::test]
fn smoke() {
    let mut text = vec![];
    assert_eq!(io::copy(&mut &b"weft"[..], &mut text).unwrap(), 4);
    assert_eq!(text, b"weft");
}

#[goweft::test]
fn every_source_goes_to_every_sink() {
    every_combination();
}

#[test]
fn every_source_goes_to_every_sink_from_a_plain_thread() {
    every_combination();
}

// TestSpliceLimitedReader and Go's io.CopyN: the limit of `take` is kept, and told.
#[goweft::test]
fn a_limit_is_kept_and_counted_down() {
    let bytes = random_bytes(300_000);
    for (from, to) in (0..4).flat_map(|from| (0..4).map(move |to| (from, to))) {
        let mut sink = sink(to);
        let (limit, mut rest) = (200_001, vec![]);
        let copied = match source(from, &bytes) {
            Source::Tcp(mut stream) => {
                let mut limited = (&mut stream).take(limit);
                let copied = copy_into(&mut limited, &mut sink);
                assert_eq!(limited.limit(), 0);
                stream.read_to_end(&mut rest).unwrap();
                copied
            }
            Source::Pipe(reader) => {
                let mut limited = (&reader).take(limit);
                let copied = copy_into(&mut limited, &mut sink);
                assert_eq!(limited.limit(), 0);
                (&reader).read_to_end(&mut rest).unwrap();
                copied
            }
            Source::File(file) => {
                let mut limited = file.take(limit);
                let copied = copy_into(&mut limited, &mut sink);
                assert_eq!(limited.limit(), 0);
                limited.into_inner().read_to_end(&mut rest).unwrap();
                copied
            }
            Source::Plain(mut cursor) => {
                let copied = copy_into(&mut (&mut cursor).take(limit), &mut sink);
                cursor.read_to_end(&mut rest).unwrap();
                copied
            }
        };
        assert_eq!(copied.unwrap(), limit);
        assert!(arrived(sink) == bytes[..limit as usize]);
        assert!(rest == bytes[limit as usize..], "{from} to {to}");
    }
    // More than there is.
    let mut limited = file_with(b"weft").take(10);
    let (reader, mut writer) = io::pipe().unwrap();
    assert_eq!(io::copy(&mut limited, &mut writer).unwrap(), 4);
    assert_eq!(limited.limit(), 6);
    drop((reader, writer));
}

// TestSendfileSeeked and the like: files are read and written at their positions.
#[goweft::test]
fn files_are_copied_from_and_to_where_they_stand() {
    let bytes = random_bytes(100_000);
    for to in 0..4 {
        let mut file = file_with(&bytes);
        file.seek(SeekFrom::Start(60_000)).unwrap();
        let mut sink = sink(to);
        assert_eq!(copy_into(&mut file, &mut sink).unwrap(), 40_000);
        assert_eq!(file.stream_position().unwrap(), 100_000);
        assert!(arrived(sink) == bytes[60_000..]);
    }
    for from in 0..4 {
        let mut file = file_with(b"weft and ");
        file.seek(SeekFrom::End(0)).unwrap();
        let copied = match source(from, b"warp") {
            Source::Tcp(stream) => io::copy(&mut &stream, &mut &file),
            Source::Pipe(reader) => io::copy(&mut &reader, &mut &file),
            Source::File(from) => io::copy(&mut &from, &mut &file),
            Source::Plain(mut cursor) => io::copy(&mut cursor, &mut &file),
        };
        assert_eq!(copied.unwrap(), 4);
        assert_eq!(contents(&file), b"weft and warp");
    }
}

#[goweft::test]
fn what_the_kernel_refuses_is_copied_by_hand() {
    // It does not splice into a file that appends.
    let bytes = random_bytes(200_000);
    let dir = tempfile::tempdir().unwrap();
    for from in 0..4 {
        let path = dir.path().join(from.to_string());
        std::fs::write(&path, "head").unwrap();
        let mut appends = OpenOptions::new().append(true).open(&path).unwrap();
        let copied = match source(from, &bytes) {
            Source::Tcp(mut stream) => io::copy(&mut stream, &mut appends),
            Source::Pipe(mut reader) => io::copy(&mut reader, &mut appends),
            Source::File(mut file) => io::copy(&mut file, &mut appends),
            Source::Plain(mut cursor) => io::copy(&mut cursor, &mut appends),
        };
        assert_eq!(copied.unwrap(), 200_000);
        let written = std::fs::read(&path).unwrap();
        assert!(written.starts_with(b"head") && written[4..] == bytes);
    }
    // Files of /proc say that they are empty.
    for to in 0..4 {
        let mut sink = sink(to);
        let mut status = File::open("/proc/self/status").unwrap();
        let n = copy_into(&mut status, &mut sink).unwrap();
        let text = String::from_utf8(arrived(sink)).unwrap();
        assert!(n as usize == text.len() && text.contains("VmRSS:"));
    }
    // A file that can't be read is an error, not an end.
    let file = OpenOptions::new()
        .write(true)
        .open(dir.path().join("0"))
        .unwrap();
    assert!(io::copy(&mut &file, &mut vec![]).is_err());
    let (_reader, mut writer) = io::pipe().unwrap();
    assert!(io::copy(&mut &file, &mut writer).is_err());
}

#[goweft::test]
fn wrapped_and_boxed_ends_are_copied_too() {
    let bytes = random_bytes(100_000);
    let Source::Tcp(stream) = source(0, &bytes) else {
        unreachable!()
    };
    let mut buffered = BufReader::new(stream);
    let mut first = [0; 10];
    buffered.read_exact(&mut first).unwrap();
    let mut boxed: Box<dyn Read> = Box::new(buffered);
    let mut sink = sink(1);
    assert_eq!(copy_into(&mut *boxed, &mut sink).unwrap(), 99_990);
    assert!(
        arrived(sink) == bytes[10..],
        "nothing in a buffer is left out"
    );
}

// ---- waiting ---------------------------------------------------------------------

#[goweft::test]
fn deadlines_and_close_end_a_copy() {
    // On the side that is read.
    for to in 0..4 {
        let (mut stream, _peer) = tcp();
        stream
            .set_read_deadline(Some(Instant::now() + 2 * MS))
            .unwrap();
        let e = copy_into(&mut stream, &mut sink(to)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TimedOut);
    }
    for to in 0..4 {
        let (mut stream, _peer) = tcp();
        let same = stream.try_clone().unwrap();
        let copying = goweft::spawn(move || copy_into(&mut stream, &mut sink(to)));
        goweft::task::sleep(MS);
        same.close().unwrap();
        let e = copying.join().unwrap().unwrap_err();
        assert!(e.get_ref().is_some_and(|inner| inner.is::<Closed>()));
    }
    // On the side that is written, with a peer that does not read.
    for from in 0..4 {
        let bytes = random_bytes(16 << 20);
        let (mut to, _peer) = tcp();
        to.set_write_deadline(Some(Instant::now() + 20 * MS))
            .unwrap();
        let copied = match source_that_may_fail(from, bytes) {
            Source::Tcp(mut stream) => io::copy(&mut stream, &mut to),
            Source::Pipe(mut reader) => io::copy(&mut reader, &mut to),
            Source::File(mut file) => io::copy(&mut file, &mut to),
            Source::Plain(mut cursor) => io::copy(&mut cursor, &mut to),
        };
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

/// As `source`, but whoever feeds it need not come to the end.
fn source_that_may_fail(kind: usize, bytes: Vec<u8>) -> Source {
    match kind {
        0 => {
            let (stream, mut peer) = tcp();
            goweft::go!(move || _ = peer.write_all(&bytes));
            Source::Tcp(stream)
        }
        1 => {
            let (reader, mut writer) = io::pipe().unwrap();
            goweft::go!(move || _ = writer.write_all(&bytes));
            Source::Pipe(reader)
        }
        _ => source(kind, &bytes),
    }
}

#[goweft::test]
fn a_sink_that_is_gone_is_an_error() {
    for from in 0..4 {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let copied = match source_that_may_fail(from, vec![7; 1000]) {
            Source::Tcp(mut stream) => io::copy(&mut stream, &mut writer),
            Source::Pipe(mut reader) => io::copy(&mut reader, &mut writer),
            Source::File(mut file) => io::copy(&mut file, &mut writer),
            Source::Plain(mut cursor) => io::copy(&mut cursor, &mut writer),
        };
        assert_eq!(copied.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

/// Both sides stop and go, in pieces of any size, so that each has to be waited for.
#[goweft::test]
fn sources_and_sinks_that_stutter_lose_nothing() {
    let bytes = random_bytes(2_000_000);
    let stutter = |mut to: Box<dyn Write + Send>| {
        let bytes = bytes.clone();
        goweft::spawn(move || {
            for (n, piece) in bytes.chunks(70_001).enumerate() {
                to.write_all(piece).unwrap();
                if n % 3 == 0 {
                    goweft::task::sleep(MS / 10);
                }
            }
        })
    };
    let slow = |mut from: Box<dyn Read + Send>| {
        goweft::spawn(move || {
            let (mut all, mut piece) = (vec![], vec![0; 100_003]);
            loop {
                match from.read(&mut piece).unwrap() {
                    0 => return all,
                    n => all.extend_from_slice(&piece[..n]),
                }
                if all.len() % 7 == 0 {
                    goweft::task::sleep(MS / 10);
                }
            }
        })
    };
    for from_pipe in [false, true] {
        for to_pipe in [false, true] {
            let (mut tcp_from, feeder) = tcp();
            let (mut pipe_from, pipe_feeder) = io::pipe().unwrap();
            let (mut tcp_to, peer) = tcp();
            let (reader, mut pipe_to) = io::pipe().unwrap();
            let fed = if from_pipe {
                drop(feeder);
                stutter(Box::new(pipe_feeder))
            } else {
                drop(pipe_feeder);
                stutter(Box::new(feeder))
            };
            let read = match to_pipe {
                true => slow(Box::new(reader)),
                false => slow(Box::new(peer)),
            };
            let copied = match (from_pipe, to_pipe) {
                (false, false) => io::copy(&mut tcp_from, &mut tcp_to),
                (false, true) => io::copy(&mut tcp_from, &mut pipe_to),
                (true, false) => io::copy(&mut pipe_from, &mut tcp_to),
                (true, true) => io::copy(&mut pipe_from, &mut pipe_to),
            };
            assert_eq!(copied.unwrap(), 2_000_000);
            drop((tcp_to, pipe_to));
            fed.join().unwrap();
            assert!(read.join().unwrap() == bytes, "{from_pipe} {to_pipe}");
        }
    }
}

// The two-way proxy, many of them, through one process.
#[test]
fn a_hundred_connections_are_proxied_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let echo = listener.local_addr().unwrap();
    let echo_end = listener.try_clone().unwrap();
    goweft::go! {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            goweft::go!(move || io::copy(&mut &stream, &mut &stream).unwrap());
        }
    }
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = front.local_addr().unwrap();
    let proxy_end = front.try_clone().unwrap();
    goweft::go! {
        for client in front.incoming() {
            let client = client.unwrap();
            goweft::go!(move || {
                let server = TcpStream::connect(echo).unwrap();
                goweft::scope(|s| {
                    s.spawn(|| {
                        io::copy(&mut &client, &mut &server).unwrap();
                        server.shutdown(Shutdown::Write).unwrap();
                    });
                    io::copy(&mut &server, &mut &client).unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                });
            });
        }
    }
    let bytes = random_bytes(200_000);
    thread::scope(|s| {
        s.spawn(|| {
            goweft::scope(|s| {
                for _ in 0..100 {
                    s.spawn(|| {
                        let stream = TcpStream::connect(proxy).unwrap();
                        let mut back = vec![];
                        goweft::scope(|s| {
                            s.spawn(|| {
                                (&stream).write_all(&bytes).unwrap();
                                stream.shutdown(Shutdown::Write).unwrap();
                            });
                            (&stream).read_to_end(&mut back).unwrap();
                        });
                        assert!(back == bytes);
                    });
                }
            });
        });
    });
    echo_end.close().unwrap();
    proxy_end.close().unwrap();
}
