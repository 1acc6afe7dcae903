//! What each operation of `goweft::net` does: from goroutines and from plain
//! threads, against real loopback sockets.

mod net_support;

use goweft::net::{TcpListener, TcpStream};
use net_support::{
    assert_closed, assert_kind, both, in_goroutine, listener, own_address, pair, run_again_with,
};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn smoke() {
    both(|| {
        let listener = listener();
        let addr = listener.local_addr().unwrap();
        let server = goweft::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            io::copy(&mut &stream, &mut &stream).unwrap()
        });
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"weft").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(io::read_to_string(&client).unwrap(), "weft");
        assert_eq!(server.join().unwrap(), 4);
    });
}

#[test]
fn a_read_waits_for_a_writer() {
    both(|| {
        let (mut near, mut far) = pair();
        let reader = goweft::spawn(move || {
            let mut sum = 0u64;
            let mut buf = [0; 8];
            while near.read_exact(&mut buf).is_ok() {
                sum += u64::from_le_bytes(buf);
                near.write_all(&buf).unwrap();
            }
            sum
        });
        for i in 0..500u64 {
            far.write_all(&i.to_le_bytes()).unwrap();
            let mut buf = [0; 8];
            far.read_exact(&mut buf).unwrap();
            assert_eq!(u64::from_le_bytes(buf), i);
        }
        drop(far);
        assert_eq!(reader.join().unwrap(), 499 * 500 / 2);
    });
}

#[test]
fn a_thousand_connections_at_once() {
    in_goroutine(|| {
        const CONNECTIONS: usize = 1000;
        let listener = listener();
        let addr = listener.local_addr().unwrap();
        let accepting = listener.try_clone().unwrap();
        let server = goweft::spawn(move || {
            let mut served = 0;
            for stream in accepting.incoming() {
                let stream = stream.unwrap();
                served += 1;
                goweft::go!(move || {
                    io::copy(&mut &stream, &mut &stream).unwrap();
                });
            }
            served
        });
        // All are open before the first one says a word.
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| TcpStream::connect(addr).unwrap())
            .collect();
        let clients: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(i, mut client)| {
                goweft::spawn(move || {
                    let word = i.to_le_bytes();
                    let mut answer = [0; size_of::<usize>()];
                    for _ in 0..3 {
                        client.write_all(&word).unwrap();
                        client.read_exact(&mut answer).unwrap();
                        assert_eq!(answer, word);
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        listener.close().unwrap();
        assert_eq!(server.join().unwrap(), CONNECTIONS);
    });
}

/// The bytes that go one way: different for each seed, and never periodic in a
/// power of two, so that a block in the wrong place shows.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn big_transfers_both_ways_arrive_byte_for_byte() {
    both(|| {
        const LEN: usize = 8 << 20;
        let (near, far) = pair();
        let mut ends = Vec::new();
        for (stream, sends, expects) in [(near, 1, 2), (far, 2, 1)] {
            let reader = stream.try_clone().unwrap();
            ends.push(goweft::spawn(move || {
                (&stream).write_all(&pattern(sends, LEN)).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }));
            ends.push(goweft::spawn(move || {
                let mut got = Vec::new();
                (&reader).read_to_end(&mut got).unwrap();
                assert!(got == pattern(expects, LEN), "the bytes differ");
            }));
        }
        for end in ends {
            end.join().unwrap();
        }
    });
}

#[test]
fn vectored_calls_fill_and_take_all_pieces() {
    both(|| {
        let (near, far) = pair();
        let parts = [IoSlice::new(b"we"), IoSlice::new(b""), IoSlice::new(b"ft!")];
        assert_eq!((&near).write_vectored(&parts).unwrap(), 5);
        drop(near);
        let (mut a, mut b) = ([0; 3], [0; 3]);
        let n = (&far)
            .read_vectored(&mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)])
            .unwrap();
        assert_eq!((n, &a, &b[..2]), (5, b"wef", &b"t!"[..]));
        let mut rest = [IoSliceMut::new(&mut a)];
        assert_eq!((&far).read_vectored(&mut rest).unwrap(), 0);
    });
}

#[test]
fn peek_leaves_what_it_saw() {
    both(|| {
        let (mut near, mut far) = pair();
        let peeker = goweft::spawn(move || {
            let mut buf = [0; 4];
            assert_eq!(near.peek(&mut buf).unwrap(), 4);
            assert_eq!(near.peek(&mut buf[..2]).unwrap(), 2);
            near.read_exact(&mut buf).unwrap();
            buf
        });
        far.write_all(b"warp").unwrap();
        assert_eq!(&peeker.join().unwrap(), b"warp");
    });
}

#[test]
fn a_read_into_nothing_returns_at_once() {
    both(|| {
        let (mut near, _far) = pair();
        assert_eq!(near.read(&mut []).unwrap(), 0);
        assert_eq!(near.peek(&mut []).unwrap(), 0);
        assert_eq!(near.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(near.write(&[]).unwrap(), 0);
        near.close().unwrap();
        assert_closed(near.read(&mut []));
    });
}

#[test]
fn one_direction_can_be_shut_down_alone() {
    both(|| {
        let (mut near, mut far) = pair();
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(far.read(&mut [0; 8]).unwrap(), 0);
        far.write_all(b"still here").unwrap();
        drop(far);
        assert_eq!(io::read_to_string(&mut near).unwrap(), "still here");
        assert_kind(near.write(b"x"), ErrorKind::BrokenPipe);
    });
}

#[test]
fn shutdown_ends_a_read_that_waits() {
    both(|| {
        for _ in 0..50 {
            let (near, _far) = pair();
            let reader = near.try_clone().unwrap();
            let reading = goweft::spawn(move || (&reader).read(&mut [0; 8]));
            near.shutdown(Shutdown::Read).unwrap();
            assert_eq!(reading.join().unwrap().unwrap(), 0);
        }
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_fails() {
    both(|| {
        let (mut near, far) = pair();
        drop(far);
        let e = loop {
            if let Err(e) = near.write(&[0; 1024]) {
                break e;
            }
        };
        let expected = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(expected.contains(&e.kind()), "{e:?}");
        let later = near.write(&[0]).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::BrokenPipe, "and no signal");
    });
}

#[test]
fn a_connection_that_is_refused_says_so() {
    both(|| {
        let addr = {
            // Bound, but nobody listens.
            let socket = socket_that_is_bound_only();
            let addr = socket.1;
            assert_kind(TcpStream::connect(addr), ErrorKind::ConnectionRefused);
            assert_kind(
                TcpStream::connect_timeout(&addr, Duration::from_secs(20)),
                ErrorKind::ConnectionRefused,
            );
            addr
        };
        // The second address is tried when the first one refuses.
        let listener = listener();
        let good = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&[addr, good][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
    });
}

/// A port that is taken but on which nobody listens: it refuses.
fn socket_that_is_bound_only() -> (OwnedFd, SocketAddr) {
    // SAFETY: a plain system call.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0);
    // SAFETY: just made, and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let any = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: an initialised address of the length that is given.
    let bound = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const any).cast(),
            size_of_val(&any) as libc::socklen_t,
        )
    };
    assert_eq!(bound, 0);
    let addr = std::net::TcpStream::from(fd.try_clone().unwrap())
        .local_addr()
        .unwrap();
    (fd, addr)
}

#[test]
fn connecting_gives_up_after_its_timeout() {
    both(|| {
        // A full backlog: the kernel drops what comes on top of it.
        let (fd, addr) = socket_that_is_bound_only();
        // SAFETY: a plain system call on a socket of ours.
        assert_eq!(unsafe { libc::listen(fd.as_raw_fd(), 0) }, 0);
        let mut fill = Vec::new();
        let start = Instant::now();
        let timeout = Duration::from_millis(100);
        let e = loop {
            let start = Instant::now();
            match TcpStream::connect_timeout(&addr, timeout) {
                Ok(stream) => fill.push(stream),
                Err(e) => {
                    assert!(start.elapsed() >= timeout);
                    break e;
                }
            }
            assert!(fill.len() < 100, "a backlog of 0 takes {}", fill.len());
        };
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_kind(
            TcpStream::connect_timeout(&addr, Duration::ZERO),
            ErrorKind::InvalidInput,
        );
    });
}

#[test]
fn a_port_that_is_taken_cannot_be_bound() {
    both(|| {
        let first = TcpListener::bind((own_address(), 0)).unwrap();
        let addr = first.local_addr().unwrap();
        assert_kind(TcpListener::bind(addr), ErrorKind::AddrInUse);
        assert_kind(TcpListener::bind(&[][..]), ErrorKind::InvalidInput);
        first.close().unwrap();
        TcpListener::bind(addr).expect("the port is free once the listener is closed");
    });
}

#[test]
fn names_are_looked_up() {
    both(|| {
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("localhost", port)).unwrap();
        TcpStream::connect(format!("localhost:{port}")).unwrap();
    });
}

#[test]
fn many_acceptors_share_the_connections() {
    in_goroutine(|| {
        const ACCEPTORS: usize = 32;
        const CONNECTIONS: usize = 600;
        let listener = listener();
        let addr = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let acceptors: Vec<_> = (0..ACCEPTORS)
            .map(|_| {
                let (listener, accepted) = (listener.try_clone().unwrap(), accepted.clone());
                goweft::spawn(move || {
                    for stream in listener.incoming() {
                        accepted.fetch_add(1, Ordering::Relaxed);
                        stream.unwrap().write_all(b"!").unwrap();
                    }
                })
            })
            .collect();
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                goweft::spawn(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    stream.read_exact(&mut [0]).unwrap();
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        listener.close().unwrap();
        for acceptor in acceptors {
            acceptor.join().unwrap();
        }
        assert_eq!(accepted.load(Ordering::Relaxed), CONNECTIONS);
    });
}

#[test]
fn readers_of_one_stream_get_each_byte_once() {
    in_goroutine(|| {
        const BYTES: usize = 20_000;
        let (mut near, far) = pair();
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let far = far.try_clone().unwrap();
                goweft::spawn(move || {
                    let mut total = 0;
                    loop {
                        match (&far).read(&mut [0; 7]).unwrap() {
                            0 => return total,
                            n => total += n,
                        }
                    }
                })
            })
            .collect();
        for _ in 0..BYTES / 10 {
            near.write_all(&[1; 10]).unwrap();
        }
        drop(near);
        let total: usize = readers.into_iter().map(|r| r.join().unwrap()).sum();
        assert_eq!(total, BYTES, "and all saw the end");
    });
}

#[test]
fn one_event_is_enough_for_all_who_wait() {
    // All bytes come at once, and each reader takes only one: who is woken has to
    // wake the next.
    in_goroutine(|| {
        const READERS: usize = 8;
        for _ in 0..300 {
            let (mut near, far) = pair();
            let readers: Vec<_> = (0..READERS)
                .map(|_| {
                    let far = far.try_clone().unwrap();
                    goweft::spawn(move || (&far).read(&mut [0; 1]).unwrap())
                })
                .collect();
            for _ in 0..READERS {
                goweft::task::yield_now();
            }
            near.write_all(&[1; READERS]).unwrap();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), 1);
            }
        }
    });
}

#[test]
fn non_blocking_sockets_say_would_block() {
    both(|| {
        let listener = listener();
        listener.set_nonblocking(true).unwrap();
        assert_kind(listener.accept(), ErrorKind::WouldBlock);
        let (near, mut far) = pair();
        let clone = near.try_clone().unwrap();
        near.set_nonblocking(true).unwrap();
        assert_kind((&clone).read(&mut [0; 8]), ErrorKind::WouldBlock);
        let full = loop {
            if let Err(e) = (&near).write(&[0; 1 << 16]) {
                break e;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        near.set_nonblocking(false).unwrap();
        let reading = goweft::spawn(move || (&near).read(&mut [0; 8]));
        far.write_all(b"x").unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn options_are_those_of_the_socket() {
    both(|| {
        let (near, _far) = pair();
        assert!(!near.nodelay().unwrap(), "std's default");
        near.set_nodelay(true).unwrap();
        assert!(near.try_clone().unwrap().nodelay().unwrap());
        near.set_ttl(33).unwrap();
        assert_eq!(near.ttl().unwrap(), 33);
        near.set_quickack(true).unwrap();
        near.quickack().unwrap();
        assert!(near.take_error().unwrap().is_none());
        let listener = listener();
        listener.set_ttl(44).unwrap();
        assert_eq!(listener.ttl().unwrap(), 44);
        assert!(listener.take_error().unwrap().is_none());
        assert!(format!("{listener:?}").contains("addr: 127."));
        assert!(format!("{near:?}").contains("peer: 127."));
        near.close().unwrap();
        assert!(format!("{near:?}").contains("closed: true"));
    });
}

#[test]
fn sockets_are_closed_on_exec_and_non_blocking() {
    let (near, far) = pair();
    let listener = listener();
    for fd in [near.as_raw_fd(), far.as_raw_fd(), listener.as_raw_fd()] {
        // SAFETY: plain system calls on descriptors that are open.
        let (fd, status) = unsafe {
            (
                libc::fcntl(fd, libc::F_GETFD),
                libc::fcntl(fd, libc::F_GETFL),
            )
        };
        assert_ne!(fd & libc::FD_CLOEXEC, 0);
        assert_ne!(status & libc::O_NONBLOCK, 0);
    }
}

#[test]
fn sockets_of_std_come_and_go_with_their_settings() {
    both(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let stream = std::net::TcpStream::connect(addr).unwrap();
        // Only a failure waits for it.
        let timeout = Some(Duration::from_secs(40));
        stream.set_read_timeout(timeout).unwrap();
        let mut stream = TcpStream::from_std(stream).unwrap();
        assert_eq!(stream.read_timeout().unwrap(), timeout);
        let (mut far, _) = listener.accept().unwrap();
        // Waits: it parks, though std's blocked.
        let writing = goweft::spawn(move || {
            far.write_all(b"ab").unwrap();
            far
        });
        stream.read_exact(&mut [0; 1]).unwrap();
        let mut far = writing.join().unwrap();

        let clone = stream.try_clone().unwrap();
        assert_kind(clone.into_std(), ErrorKind::ResourceBusy);
        let mut stream = stream.into_std().unwrap();
        assert_eq!(stream.read_timeout().unwrap(), timeout);
        stream.read_exact(&mut [0; 1]).unwrap();
        stream.set_read_timeout(None).unwrap();
        // It blocks again: a byte that comes later is waited for.
        let writing = goweft::spawn(move || far.write_all(b"c").map(|()| far));
        goweft::blocking(|| stream.read_exact(&mut [0; 1])).unwrap();
        let _far = writing.join().unwrap().unwrap();

        // And back: registered a second time, under the same number.
        let fd = stream.as_raw_fd();
        let stream = TcpStream::from(stream);
        assert_eq!(stream.as_raw_fd(), fd);
        let fd = stream.into_raw_fd();
        // SAFETY: it was given up just now.
        let stream = unsafe { TcpStream::from_raw_fd(fd) };
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from(OwnedFd::from(stream));
        assert_kind((&stream).read(&mut [0; 1]), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_duplicate_outlives_the_socket() {
    both(|| {
        let (near, mut far) = pair();
        for _ in 0..3 {
            // The same open file is registered under other numbers, again and again.
            let duplicate = TcpStream::from(near.as_fd().try_clone_to_owned().unwrap());
            duplicate.set_nonblocking(false).unwrap();
            far.write_all(b"x").unwrap();
            assert_eq!((&duplicate).read(&mut [0; 4]).unwrap(), 1);
        }
        let shared = near.try_clone().unwrap();
        let duplicate = TcpStream::from(OwnedFd::from(shared));
        near.close().unwrap();
        far.write_all(b"y").unwrap();
        duplicate.set_nonblocking(false).unwrap();
        assert_eq!((&duplicate).read(&mut [0; 4]).unwrap(), 1);
    });
}

#[test]
fn what_is_no_socket_fails_at_the_first_operation() {
    let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
    let stream = TcpStream::from(OwnedFd::from(file));
    assert_kind((&stream).read(&mut [0; 1]), ErrorKind::PermissionDenied);
    assert_kind(stream.close(), ErrorKind::PermissionDenied);
}

#[test]
fn a_goroutine_that_never_has_to_wait_lets_others_run() {
    in_goroutine(|| {
        let stop = Arc::new(AtomicUsize::new(0));
        let busy: Vec<_> = (0..8)
            .map(|_| {
                let stop = stop.clone();
                goweft::spawn(move || {
                    let (mut near, mut far) = pair();
                    while stop.load(Ordering::Relaxed) == 0 {
                        near.write_all(b"x").unwrap();
                        far.read_exact(&mut [0; 1]).unwrap();
                    }
                })
            })
            .collect();
        goweft::time::sleep(Duration::from_millis(30));
        let last = goweft::spawn(|| ());
        last.join().unwrap();
        stop.store(1, Ordering::Relaxed);
        for goroutine in busy {
            goroutine.join().unwrap();
        }
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
