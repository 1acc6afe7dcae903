//! Deadlines and timeouts of `goweft::net`: Go's timeout tests, written anew.

mod net_support;

use goweft::net::{TcpListener, TcpStream};
use net_support::{
    SHORT, WATCHDOG, assert_closed, assert_kind, both, in_goroutine, listener, pair, run_again_with,
};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// In the past, now, and a little later: all of them end an operation.
fn soon() -> Vec<Instant> {
    let now = Instant::now();
    let before = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
    vec![before, now, now + Duration::from_millis(1), now + SHORT]
}

/// Writes until something goes wrong.
fn fill(mut stream: &TcpStream) -> std::io::Error {
    loop {
        if let Err(e) = stream.write(&[0; 1 << 16]) {
            return e;
        }
    }
}

#[test]
fn a_read_ends_at_its_deadline() {
    both(|| {
        let (near, _far) = pair();
        for deadline in soon() {
            near.set_read_deadline(Some(deadline)).unwrap();
            for _ in 0..2 {
                assert_kind((&near).read(&mut [0; 8]), ErrorKind::TimedOut);
                assert!(Instant::now() >= deadline);
            }
            near.set_deadline(Some(deadline)).unwrap();
            assert_kind(near.peek(&mut [0; 8]), ErrorKind::TimedOut);
        }
    });
}

#[test]
fn a_write_ends_at_its_deadline() {
    both(|| {
        let (near, _far) = pair();
        for deadline in soon() {
            near.set_write_deadline(Some(deadline)).unwrap();
            assert_eq!(fill(&near).kind(), ErrorKind::TimedOut);
            assert!(Instant::now() >= deadline);
            assert_kind((&near).write(b"x"), ErrorKind::TimedOut);
        }
    });
}

#[test]
fn an_accept_ends_at_its_deadline() {
    both(|| {
        let listener = listener();
        for deadline in soon() {
            listener.set_deadline(Some(deadline)).unwrap();
            for _ in 0..2 {
                assert_kind(listener.accept(), ErrorKind::TimedOut);
                assert!(Instant::now() >= deadline);
            }
            listener.set_read_deadline(Some(deadline)).unwrap();
            let item = listener.incoming().next().expect("it is not closed");
            assert_kind(item, ErrorKind::TimedOut);
        }
        listener.set_deadline(None).unwrap();
        listener.set_write_deadline(Some(Instant::now())).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
    });
}

#[test]
fn a_deadline_that_has_passed_fails_before_anything_is_tried() {
    both(|| {
        let (near, mut far) = pair();
        far.write_all(b"data").unwrap();
        assert_eq!(near.peek(&mut [0; 8]).unwrap(), 4, "it is there");
        near.set_deadline(Some(Instant::now())).unwrap();
        assert_kind((&near).read(&mut [0; 8]), ErrorKind::TimedOut);
        assert_kind((&near).write(b"x"), ErrorKind::TimedOut);
        near.set_nonblocking(true).unwrap();
        assert_kind((&near).read(&mut [0; 8]), ErrorKind::TimedOut);
        near.set_nonblocking(false).unwrap();

        // It can be set again, and nothing was lost.
        near.set_deadline(Some(Instant::now() + WATCHDOG)).unwrap();
        assert_eq!((&near).read(&mut [0; 8]).unwrap(), 4);
        near.set_deadline(None).unwrap();
        (&near).write_all(b"x").unwrap();
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 1);
    });
}

#[test]
fn directions_have_deadlines_of_their_own() {
    both(|| {
        let (near, mut far) = pair();
        near.set_read_deadline(Some(Instant::now())).unwrap();
        (&near).write_all(b"x").unwrap();
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 1);
        near.set_deadline(None).unwrap();
        near.set_write_deadline(Some(Instant::now())).unwrap();
        far.write_all(b"y").unwrap();
        assert_eq!((&near).read(&mut [0; 8]).unwrap(), 1);
        assert_kind((&near).write(b"x"), ErrorKind::TimedOut);
    });
}

#[test]
fn a_deadline_set_by_another_ends_a_pending_operation() {
    both(|| {
        for round in 0..300 {
            let (near, _far) = pair();
            let waiting = near.try_clone().unwrap();
            let (starts, started) = goweft::channel::bounded(1);
            let reading = goweft::spawn(move || {
                starts.send(()).unwrap();
                (&waiting).read(&mut [0; 8])
            });
            started.recv().unwrap();
            let past = Instant::now() - Duration::from_millis(round % 2);
            near.set_read_deadline(Some(past)).unwrap();
            assert_kind(reading.join().unwrap(), ErrorKind::TimedOut);
        }
    });
}

#[test]
fn all_who_wait_see_the_new_deadline() {
    in_goroutine(|| {
        let listener = Arc::new(listener());
        let waiting: Vec<_> = (0..100)
            .map(|_| {
                let listener = listener.clone();
                goweft::spawn(move || listener.accept().map(|_| ()))
            })
            .collect();
        listener.set_deadline(Some(Instant::now())).unwrap();
        for accept in waiting {
            assert_kind(accept.join().unwrap(), ErrorKind::TimedOut);
        }
    });
}

#[test]
fn a_deadline_can_be_put_off_while_a_read_waits() {
    both(|| {
        loop {
            let (near, mut far) = pair();
            let first = Instant::now() + SHORT;
            near.set_read_deadline(Some(first)).unwrap();
            let waiting = near.try_clone().unwrap();
            let reading = goweft::spawn(move || (&waiting).read(&mut [0; 8]));
            near.set_read_deadline(Some(first + WATCHDOG)).unwrap();
            if Instant::now() >= first {
                continue; // kept from running for so long that it proves nothing
            }
            goweft::time::sleep_until(first + SHORT);
            assert!(!reading.is_finished(), "the deadline was put off");
            far.write_all(b"late").unwrap();
            assert_eq!(reading.join().unwrap().unwrap(), 4);
            return;
        }
    });
}

#[test]
fn prolonged_deadlines_never_end_an_operation() {
    // Go's TestReadWriteProlongedTimeout: each operation moves its own deadline.
    in_goroutine(|| {
        let (near, far) = pair();
        let moved = Arc::new(AtomicUsize::new(0));
        let ends: Vec<_> = [(near.try_clone().unwrap(), true), (near, false)]
            .into_iter()
            .map(|(stream, reads)| {
                let moved = moved.clone();
                goweft::spawn(move || {
                    for _ in 0..500 {
                        let deadline = Some(Instant::now() + WATCHDOG);
                        if reads {
                            stream.set_read_deadline(deadline).unwrap();
                            (&stream).read_exact(&mut [0; 1]).unwrap();
                        } else {
                            stream.set_write_deadline(deadline).unwrap();
                            (&stream).write_all(&[0; 1]).unwrap();
                        }
                        moved.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let echo = goweft::spawn(move || {
            let mut byte = [0; 1];
            for _ in 0..500 {
                (&far).read_exact(&mut byte).unwrap();
                (&far).write_all(&byte).unwrap();
            }
        });
        for end in ends {
            end.join().unwrap();
        }
        echo.join().unwrap();
        assert_eq!(moved.load(Ordering::Relaxed), 1000);
    });
}

#[test]
fn deadlines_and_operations_may_race() {
    // Go's TestReadWriteDeadlineRace.
    in_goroutine(|| {
        const ROUNDS: usize = 2000;
        let (near, _far) = pair();
        let setter = near.try_clone().unwrap();
        let setting = goweft::spawn(move || {
            for i in 0..ROUNDS {
                let deadline = Instant::now() + Duration::from_micros(i as u64 % 50);
                setter.set_deadline(Some(deadline)).unwrap();
                goweft::task::yield_now();
            }
            setter.set_deadline(Some(Instant::now())).unwrap();
        });
        let ends: Vec<_> = [true, false]
            .into_iter()
            .map(|reads| {
                let stream = near.try_clone().unwrap();
                goweft::spawn(move || {
                    for _ in 0..ROUNDS {
                        let done = if reads {
                            (&stream).read(&mut [0; 1])
                        } else {
                            (&stream).write(&[0; 1])
                        };
                        match done {
                            Ok(n) => assert_eq!(n, 1),
                            Err(e) => assert_eq!(e.kind(), ErrorKind::TimedOut),
                        }
                    }
                })
            })
            .collect();
        setting.join().unwrap();
        for end in ends {
            end.join().unwrap();
        }
    });
}

#[test]
fn deadlines_may_be_set_by_many_at_once() {
    // Go's TestConcurrentSetDeadline, with somebody who waits on each of them.
    in_goroutine(|| {
        let streams: Vec<_> = (0..8).map(|_| pair()).collect();
        let waiting: Vec<_> = streams
            .iter()
            .map(|(near, _)| {
                let near = near.try_clone().unwrap();
                goweft::spawn(move || (&near).read(&mut [0; 1]))
            })
            .collect();
        let setters: Vec<_> = (1..=8u64)
            .map(|n| {
                let streams: Vec<_> = streams
                    .iter()
                    .map(|(near, _)| near.try_clone().unwrap())
                    .collect();
                goweft::spawn(move || {
                    for i in 0..100 {
                        for stream in &streams {
                            let later = WATCHDOG + Duration::from_millis(i * n);
                            stream.set_deadline(Some(Instant::now() + later)).unwrap();
                        }
                    }
                })
            })
            .collect();
        for setter in setters {
            setter.join().unwrap();
        }
        for (stream, _) in &streams {
            stream.set_deadline(Some(Instant::now())).unwrap();
        }
        for read in waiting {
            assert_kind(read.join().unwrap(), ErrorKind::TimedOut);
        }
    });
}

/// Go's TestVariousDeadlines: a client reads what never ends until its deadline, for
/// deadlines from nothing to 100 ms.
#[test]
fn various_deadlines_are_kept() {
    in_goroutine(|| {
        let listener = listener();
        let addr = listener.local_addr().unwrap();
        let server = listener.try_clone().unwrap();
        let serving = goweft::spawn(move || {
            for stream in server.incoming() {
                let stream = stream.unwrap();
                goweft::go!(move || { while (&stream).write(&[0; 1 << 14]).is_ok() {} });
            }
        });
        for micros in [0, 1, 20, 100, 500, 1000, 5000, 25_000, 100_000] {
            for _ in 0..3 {
                let stream = TcpStream::connect(addr).unwrap();
                let deadline = Instant::now() + Duration::from_micros(micros);
                stream.set_deadline(Some(deadline)).unwrap();
                let mut buf = [0; 1 << 14];
                let e = loop {
                    match (&stream).read(&mut buf) {
                        Ok(n) => assert_ne!(n, 0, "the server never ends"),
                        Err(e) => break e,
                    }
                };
                assert_eq!(e.kind(), ErrorKind::TimedOut);
                assert!(Instant::now() >= deadline);
            }
        }
        listener.close().unwrap();
        serving.join().unwrap();
    });
}

#[test]
fn no_data_is_lost_when_deadlines_pass() {
    // Each read has a deadline that may come at any moment of it.
    in_goroutine(|| {
        const BYTES: usize = 20_000;
        let (mut near, far) = pair();
        let reading = goweft::spawn(move || {
            let mut got = Vec::new();
            let mut buf = [0; 16];
            let mut timeouts = 0u64;
            loop {
                let deadline = Instant::now() + Duration::from_micros(timeouts % 60);
                far.set_read_deadline(Some(deadline)).unwrap();
                match (&far).read(&mut buf) {
                    Ok(0) => return got,
                    Ok(n) => got.extend_from_slice(&buf[..n]),
                    Err(e) => assert_eq!(e.kind(), ErrorKind::TimedOut),
                }
                timeouts += 1;
            }
        });
        let sent: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
        for chunk in sent.chunks(10) {
            near.write_all(chunk).unwrap();
            goweft::task::yield_now();
        }
        drop(near);
        assert!(reading.join().unwrap() == sent);
    });
}

#[test]
fn timeouts_of_std_count_from_each_operation() {
    both(|| {
        let (near, mut far) = pair();
        assert_eq!(near.read_timeout().unwrap(), None);
        near.set_read_timeout(Some(SHORT)).unwrap();
        near.set_write_timeout(Some(SHORT)).unwrap();
        assert_eq!(near.read_timeout().unwrap(), Some(SHORT));
        assert_eq!(near.write_timeout().unwrap(), Some(SHORT));
        for _ in 0..2 {
            let start = Instant::now();
            assert_kind((&near).read(&mut [0; 8]), ErrorKind::TimedOut);
            assert!(start.elapsed() >= SHORT);
        }
        // Long after the timeout was set, an operation that need not wait works.
        far.write_all(b"x").unwrap();
        let begin = Instant::now();
        let read = loop {
            match (&near).read(&mut [0; 8]) {
                // What was written may be on its way for that long.
                Err(e) if e.kind() == ErrorKind::TimedOut && begin.elapsed() < WATCHDOG => {}
                read => break read,
            }
        };
        assert_eq!(read.unwrap(), 1);
        let start = Instant::now();
        assert_eq!(fill(&near).kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        assert_kind(
            near.set_read_timeout(Some(Duration::ZERO)),
            ErrorKind::InvalidInput,
        );
        near.close().unwrap();
        assert_closed(near.set_read_timeout(None));
        assert_closed(near.set_deadline(None));
    });
}

#[test]
fn the_earlier_of_timeout_and_deadline_wins() {
    both(|| {
        let (near, _far) = pair();
        for deadline_first in [true, false] {
            let (timeout, until) = if deadline_first {
                (WATCHDOG * 2, SHORT)
            } else {
                (SHORT, WATCHDOG * 2)
            };
            let start = Instant::now();
            near.set_read_timeout(Some(timeout)).unwrap();
            near.set_read_deadline(Some(start + until)).unwrap();
            assert_kind((&near).read(&mut [0; 8]), ErrorKind::TimedOut);
            let took = start.elapsed();
            assert!(took >= SHORT && took < WATCHDOG, "{took:?}");
        }
    });
}

#[test]
fn clones_share_deadlines_and_timeouts() {
    both(|| {
        let (near, _far) = pair();
        let clone = near.try_clone().unwrap();
        near.set_read_timeout(Some(WATCHDOG)).unwrap();
        assert_eq!(clone.read_timeout().unwrap(), Some(WATCHDOG));
        clone.set_deadline(Some(Instant::now())).unwrap();
        assert_kind((&near).read(&mut [0; 8]), ErrorKind::TimedOut);
        drop(clone);
        assert_kind((&near).write(b"x"), ErrorKind::TimedOut);

        let listener = listener();
        let clone: TcpListener = listener.try_clone().unwrap();
        clone.set_deadline(Some(Instant::now())).unwrap();
        assert_kind(listener.accept(), ErrorKind::TimedOut);
    });
}

#[test]
fn who_times_out_passes_a_connection_on() {
    // Many wait with deadlines of their own making; none of the connections may be
    // left lying while somebody waits.
    in_goroutine(|| {
        const CONNECTIONS: usize = 300;
        let listener = Arc::new(listener());
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let acceptors: Vec<_> = (0..16)
            .map(|_| {
                let (listener, accepted) = (listener.clone(), accepted.clone());
                goweft::spawn(move || {
                    loop {
                        match listener.accept() {
                            Ok((mut stream, _)) => {
                                accepted.fetch_add(1, Ordering::Relaxed);
                                stream.write_all(b"!").unwrap();
                            }
                            Err(e) if e.kind() == ErrorKind::TimedOut => {
                                goweft::task::yield_now();
                            }
                            Err(_) => return,
                        }
                    }
                })
            })
            .collect();
        let setter = {
            let (listener, stop) = (listener.clone(), stop.clone());
            goweft::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let deadline = Instant::now() + Duration::from_micros(100);
                    let _ = listener.set_deadline(Some(deadline));
                    goweft::time::sleep(Duration::from_micros(50));
                }
            })
        };
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.read_exact(&mut [0; 1]).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        setter.join().unwrap();
        listener.close().unwrap();
        for acceptor in acceptors {
            acceptor.join().unwrap();
        }
        assert_eq!(accepted.load(Ordering::Relaxed), CONNECTIONS);
    });
}

#[test]
fn all_this_holds_with_one_processor_again() {
    run_again_with(1, "_again");
}

#[test]
fn all_this_holds_with_many_processors_again() {
    run_again_with(8, "_again");
}
