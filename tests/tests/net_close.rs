//! `close` under those who use the socket: they are woken, they fail with
//! `Closed`, and never do they touch a stranger's descriptor.

mod net_support;

use goweft::net::{TcpListener, TcpStream};
use net_support::{assert_closed, both, in_goroutine, listener, own_address, pair, run_again_with};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn later_calls_fail() {
    both(|| {
        let (near, mut far) = pair();
        let clone = near.try_clone().unwrap();
        near.close().unwrap();
        for mut stream in [&near, &clone] {
            assert_closed(stream.read(&mut [0; 1]));
            assert_closed(stream.write(&[0; 1]));
            assert_closed(stream.peek(&mut [0; 1]));
            assert_closed(stream.local_addr());
            assert_closed(stream.set_nodelay(true));
            assert_closed(stream.shutdown(std::net::Shutdown::Both));
            assert_closed(stream.try_clone());
            assert_closed(stream.close());
        }
        assert_closed(clone.into_std());
        assert_eq!(far.read(&mut [0; 1]).unwrap(), 0, "the peer sees the end");

        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        listener.close().unwrap();
        assert_closed(listener.accept());
        assert_closed(listener.close());
        assert!(listener.incoming().next().is_none());
        let refused = TcpStream::connect(addr).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn what_was_written_before_arrives() {
    both(|| {
        let (mut near, mut far) = pair();
        near.write_all(b"last words").unwrap();
        near.close().unwrap();
        let mut got = String::new();
        far.read_to_string(&mut got).unwrap();
        assert_eq!(got, "last words");
    });
}

#[test]
fn pending_reads_and_writes_are_woken() {
    both(|| {
        for _ in 0..100 {
            let (near, _far) = pair();
            near.set_nonblocking(true).unwrap();
            while (&near).write(&[0; 1 << 16]).is_ok() {}
            near.set_nonblocking(false).unwrap();
            let near = Arc::new(near);
            let (reads, writes) = (near.clone(), near.clone());
            let reading = goweft::spawn(move || (&*reads).read(&mut [0; 1]));
            let writing = goweft::spawn(move || (&*writes).write_all(&[0; 1 << 24]));
            near.close().unwrap();
            assert_closed(reading.join().unwrap());
            assert_closed(writing.join().unwrap());
        }
    });
}

#[test]
fn everybody_who_accepts_is_woken() {
    both(|| {
        let listener = Arc::new(listener());
        let accepting: Vec<_> = (0..200)
            .map(|i| {
                let listener = listener.clone();
                goweft::spawn(move || {
                    if i % 2 == 0 {
                        assert_closed(listener.accept());
                    } else {
                        assert!(listener.incoming().next().is_none());
                    }
                })
            })
            .collect();
        listener.close().unwrap();
        for accept in accepting {
            accept.join().unwrap();
        }
    });
}

#[test]
fn accepted_connections_outlive_the_listener() {
    both(|| {
        let listener = listener();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        listener.close().unwrap();
        drop(listener);
        near.write_all(b"x").unwrap();
        assert_eq!(far.read(&mut [0; 4]).unwrap(), 1);
    });
}

#[test]
fn exactly_one_close_wins() {
    in_goroutine(|| {
        for _ in 0..500 {
            let (near, _far) = pair();
            let near = Arc::new(near);
            let closing: Vec<_> = (0..4)
                .map(|_| {
                    let near = near.clone();
                    goweft::spawn(move || near.close().is_ok())
                })
                .collect();
            let won = closing.into_iter().filter_map(|c| c.join().ok());
            assert_eq!(won.filter(|&won| won).count(), 1);
        }
    });
}

#[test]
fn close_races_with_reads_and_data() {
    in_goroutine(|| {
        let listener = listener();
        let addr = listener.local_addr().unwrap();
        let mut data = 0;
        for _ in 0..2000 {
            let near = TcpStream::connect(addr).unwrap();
            let (mut far, _) = listener.accept().unwrap();
            let reads = near.try_clone().unwrap();
            let reading = goweft::spawn(move || (&reads).read(&mut [0; 1]));
            let writing = goweft::spawn(move || {
                let _ = far.write(b"x");
            });
            near.close().unwrap();
            match reading.join().unwrap() {
                Ok(n) => {
                    assert_eq!(n, 1);
                    data += 1;
                }
                closed => assert_closed(closed),
            }
            writing.join().unwrap();
        }
        assert!(data <= 2000);
    });
}

#[test]
fn close_races_with_accept_and_connect() {
    in_goroutine(|| {
        let address = own_address();
        for _ in 0..1000 {
            let listener = TcpListener::bind((address, 0)).unwrap();
            let addr = listener.local_addr().unwrap();
            let accepts = listener.try_clone().unwrap();
            let accepting = goweft::spawn(move || accepts.accept().map(|_| ()));
            let connecting = goweft::spawn(move || TcpStream::connect(addr).map(|_| ()));
            listener.close().unwrap();
            match accepting.join().unwrap() {
                Ok(()) => {}
                closed => assert_closed(closed),
            }
            // Connected, refused or reset: it ends.
            let _ = connecting.join().unwrap();
        }
    });
}

#[test]
fn a_descriptor_number_is_taken_until_the_last_clone_is_gone() {
    both(|| {
        let (near, _far) = pair();
        let number = near.as_raw_fd();
        let clone = near.try_clone().unwrap();
        near.close().unwrap();
        drop(near);
        let others: Vec<_> = (0..20).map(|_| pair()).collect();
        for (a, b) in &others {
            assert!(a.as_raw_fd() != number && b.as_raw_fd() != number);
        }
        assert_closed((&clone).write(b"x"));
    });
}

#[test]
fn reused_numbers_never_reach_strangers() {
    // Each stream carries one byte value of its own. Streams are closed and their
    // numbers and records reused all the time, under readers and writers; a byte
    // of another value is somebody else's.
    in_goroutine(|| {
        let listener = Arc::new(listener());
        let addr = listener.local_addr().unwrap();
        let accepting = listener.clone();
        let server = goweft::spawn(move || {
            for stream in accepting.incoming() {
                let Ok(stream) = stream else { continue };
                goweft::go!(move || {
                    let mut buf = [0; 64];
                    while let Ok(n @ 1..) = (&stream).read(&mut buf) {
                        if (&stream).write_all(&buf[..n]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let strange = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..8u8)
            .map(|id| {
                let strange = strange.clone();
                goweft::spawn(move || {
                    for round in 0..250u32 {
                        let mine = id.wrapping_mul(31).wrapping_add(round as u8);
                        let stream = TcpStream::connect(addr).unwrap();
                        let reads = stream.try_clone().unwrap();
                        let reading = {
                            let strange = strange.clone();
                            goweft::spawn(move || {
                                let mut buf = [0; 64];
                                while let Ok(n @ 1..) = (&reads).read(&mut buf) {
                                    if buf[..n].iter().any(|&b| b != mine) {
                                        strange.fetch_add(1, Ordering::Relaxed);
                                    }
                                }
                            })
                        };
                        for _ in 0..round % 5 {
                            (&stream).write_all(&[mine; 16]).unwrap();
                            goweft::task::yield_now();
                        }
                        stream.close().unwrap();
                        reading.join().unwrap();
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        listener.close().unwrap();
        server.join().unwrap();
        assert_eq!(strange.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn new_sockets_are_not_woken_for_old_ones() {
    // A stream whose record was another's a moment ago stays silent: its read must not
    // end though the old peer goes on sending.
    in_goroutine(|| {
        for _ in 0..300 {
            let (old, mut old_peer) = pair();
            old_peer.write_all(b"x").unwrap();
            drop(old);
            let (near, mut far) = pair();
            let early = Arc::new(AtomicBool::new(true));
            let reading = {
                let early = early.clone();
                goweft::spawn(move || {
                    let n = (&near).read(&mut [0; 8]).unwrap();
                    (n, early.load(Ordering::SeqCst))
                })
            };
            let _ = old_peer.write(b"y");
            goweft::task::yield_now();
            early.store(false, Ordering::SeqCst);
            far.write_all(b"mine").unwrap();
            assert_eq!(reading.join().unwrap(), (4, false));
        }
    });
}

#[test]
fn sockets_leave_no_descriptors_behind() {
    in_goroutine(|| {
        let listener: TcpListener = listener();
        let addr = listener.local_addr().unwrap();
        let mut highest = 0;
        for round in 0..1_500 {
            let near = TcpStream::connect(addr).unwrap();
            let (far, _) = listener.accept().unwrap();
            if round % 2 == 0 {
                near.close().unwrap();
                far.close().unwrap();
            }
            highest = highest.max(near.as_raw_fd()).max(far.as_raw_fd());
        }
        // Other tests of this process have theirs open at the same time: a thousand, if their
        // server is away for a while.
        assert!(highest < 2_500, "descriptor {highest}");
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

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
