//! `io::pipe`: what Go's os/pipe_test.go proves of pipes.

use goweft::io::{PipeReader, PipeWriter, pipe};
use goweft::net::Closed;
use goweft::sync::WaitGroup;
use std::fs;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Only a failure waits this long.
const WATCHDOG: Duration = Duration::from_secs(60);

const MS: Duration = Duration::from_millis(1);

fn is_closed(e: &std::io::Error) -> bool {
    e.kind() == ErrorKind::NotConnected && e.get_ref().is_some_and(|inner| inner.is::<Closed>())
}

#[goweft::test]
fn smoke() {
    let (mut reader, mut writer) = pipe().unwrap();
    let read = goweft::spawn(move || {
        let mut word = [0; 4];
        reader.read_exact(&mut word).unwrap();
        (word, reader.read(&mut word).unwrap())
    });
    writer.write_all(b"weft").unwrap();
    drop(writer);
    assert_eq!(read.join().unwrap(), (*b"weft", 0));
}

#[test]
fn threads_and_goroutines_use_one_pipe() {
    let (reader, writer) = pipe().unwrap();
    let total: usize = thread::scope(|s| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let mut reader = reader.try_clone().unwrap();
                s.spawn(move || reader.read_to_end(&mut Vec::new()).unwrap())
            })
            .collect();
        let wg = WaitGroup::new();
        for _ in 0..4 {
            let mut writer = writer.try_clone().unwrap();
            wg.go(move || (0..100).for_each(|_| writer.write_all(&[7; 5_000]).unwrap()));
        }
        wg.wait();
        drop(writer);
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(total, 4 * 100 * 5_000);
}

/// Writes until nobody has the other end any more: a child that another test begins has all ends,
/// until it runs its program.
fn is_broken(writer: &PipeWriter) {
    writer
        .set_write_deadline(Some(Instant::now() + WATCHDOG))
        .unwrap();
    let e = loop {
        if let Err(e) = (&*writer).write(b"x") {
            break e;
        }
        goweft::task::yield_now();
    };
    assert_eq!(e.kind(), ErrorKind::BrokenPipe);
}

// TestEPIPE.
#[goweft::test]
fn writing_without_a_reader_is_a_broken_pipe() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    is_broken(&writer);
    for _ in 0..10 {
        let e = (&writer).write(b"x").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::BrokenPipe);
    }
}

// TestPipeThreads: readers that wait hold no threads.
#[test]
fn a_hundred_that_read_need_no_hundred_threads() {
    fn threads() -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("Threads:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
    let (readers, writers): (Vec<_>, Vec<_>) = (0..100).map(|_| pipe().unwrap()).unzip();
    let reading: Vec<_> = readers
        .into_iter()
        .map(|mut reader| goweft::spawn(move || reader.read(&mut [0]).unwrap()))
        .collect();
    goweft::run(|| goweft::task::sleep(5 * MS));
    assert!(threads() < 50, "{} threads", threads());
    for mut writer in writers {
        writer.write_all(&[1]).unwrap();
    }
    assert!(reading.into_iter().all(|r| r.join().unwrap() == 1));
}

// TestClosedPipeRaceRead, TestClosedPipeRaceWrite.
#[goweft::test]
fn closing_wakes_who_waits() {
    for round in 0..200 {
        let (reader, writer) = pipe().unwrap();
        let other = reader.try_clone().unwrap();
        let reading = goweft::spawn(move || (&other).read(&mut [0]));
        if round % 2 == 0 {
            goweft::task::yield_now();
        }
        reader.close().unwrap();
        assert!(is_closed(&reading.join().unwrap().unwrap_err()));
        assert!(is_closed(&reader.close().unwrap_err()));
        assert!(is_closed(&reader.try_clone().unwrap_err()));
        is_broken(&writer);

        let (mut reader, writer) = pipe().unwrap();
        let other = writer.try_clone().unwrap();
        let writing = goweft::spawn(move || {
            let mut written = 0;
            loop {
                match (&other).write(&[0; 50_000]) {
                    Ok(n) => written += n,
                    Err(e) => return (written, e),
                }
            }
        });
        if round % 2 == 0 {
            goweft::task::yield_now();
        }
        writer.close().unwrap();
        let (written, e) = writing.join().unwrap();
        assert!(is_closed(&e));
        // What was written is read.
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), written);
    }
}

#[goweft::test]
fn deadlines_end_waits_and_can_be_moved() {
    let (mut reader, writer) = pipe().unwrap();
    reader
        .set_read_deadline(Some(Instant::now() + 2 * MS))
        .unwrap();
    let late = reader.read(&mut [0]).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);
    (&writer).write_all(b"x").unwrap();
    assert_eq!(
        reader.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::TimedOut,
        "before anything is tried"
    );
    reader.set_read_deadline(None).unwrap();
    assert_eq!(reader.read(&mut [0]).unwrap(), 1);

    writer
        .set_write_deadline(Some(Instant::now() + 2 * MS))
        .unwrap();
    let e = loop {
        if let Err(e) = (&writer).write(&[0; 4096]) {
            break e;
        }
    };
    assert_eq!(e.kind(), ErrorKind::TimedOut);
}

#[goweft::test]
fn vectored_and_empty_calls() {
    let (mut reader, mut writer) = pipe().unwrap();
    assert_eq!(reader.read(&mut []).unwrap(), 0);
    assert_eq!(writer.write(&[]).unwrap(), 0);
    let parts = [IoSlice::new(b"wa"), IoSlice::new(b"rp")];
    assert_eq!(writer.write_vectored(&parts).unwrap(), 4);
    let (mut a, mut b) = ([0; 3], [0; 3]);
    let mut parts = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
    assert_eq!(reader.read_vectored(&mut parts).unwrap(), 4);
    assert_eq!((&a, b[0]), (b"war", b'p'));
    writer.flush().unwrap();
}

// TestStdPipe, in spirit: the ends as the standard streams of a child.
#[goweft::test]
fn a_child_gets_ends_in_blocking_mode() {
    let (to_child, mut input) = pipe().unwrap();
    let (mut output, from_child) = pipe().unwrap();
    let mut child = Command::new("cat")
        .stdin(Stdio::from(to_child))
        .stdout(Stdio::from(from_child))
        .spawn()
        .unwrap();
    let writing = goweft::spawn(move || input.write_all(&[b'x'; 1 << 20]));
    assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 1 << 20);
    writing.join().unwrap().unwrap();
    assert!(goweft::blocking(|| child.wait()).unwrap().success());
}

#[goweft::test]
fn ends_convert_from_and_into_std_and_descriptors() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut reader = PipeReader::from_std(reader).unwrap();
    let mut writer = PipeWriter::from(writer);
    let read = goweft::spawn(move || {
        reader.read_exact(&mut [0; 3]).unwrap();
        reader
    });
    writer.write_all(b"one").unwrap();
    let reader = read.join().unwrap();
    let clone = reader.try_clone().unwrap();
    assert_eq!(
        reader.into_std().unwrap_err().kind(),
        ErrorKind::ResourceBusy
    );
    let mut std_reader = clone.into_std().unwrap();
    writer.write_all(b"two").unwrap();
    std_reader.read_exact(&mut [0; 3]).unwrap();
    assert_eq!(writer.as_fd().as_raw_fd(), writer.as_raw_fd());
    let fd = OwnedFd::from(writer).into_raw_fd();
    // SAFETY: it was just given up.
    let writer = unsafe { PipeWriter::from_raw_fd(fd) };
    assert_eq!(format!("{writer:?}"), format!("PipeWriter {{ fd: {fd} }}"));
    drop(writer);
    assert_eq!(std_reader.read(&mut [0]).unwrap(), 0);
}
