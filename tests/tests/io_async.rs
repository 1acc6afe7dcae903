//! `io::Async`: descriptors of every kind, waited for.

mod net_support;

use goweft::io::Async;
use goweft::net::{TcpListener, TcpStream};
use goweft::{Builder, channel, scope, spawn, task};
use goweft_tests::{scenario, sys};
use net_support::{SHORT, assert_kind, both, in_goroutine, run_again_with};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
/// More than any buffer in between holds.
const MUCH: usize = 1 << 20;

/// On a goroutine, on one that stays on its thread, and on a plain thread.
fn everywhere(f: impl Fn() + Copy + Send + 'static) {
    both(f);
    in_goroutine(move || {
        let pinned = Builder::new().pinned(true).spawn(move || {
            let thread = thread::current().id();
            f();
            assert_eq!(thread::current().id(), thread);
        });
        pinned.unwrap().join().unwrap();
    });
}

fn counter() -> Async<File> {
    Async::new(sys::event_counter(false)).unwrap()
}

fn add(mut to: impl Write, n: u64) {
    to.write_all(&n.to_ne_bytes()).unwrap();
}

fn take(mut from: impl Read) -> io::Result<u64> {
    let mut n = [0; 8];
    from.read_exact(&mut n)?;
    Ok(u64::from_ne_bytes(n))
}

#[test]
fn smoke() {
    everywhere(|| {
        let counter = counter();
        scope(|s| {
            s.spawn(|| add(&counter, 7));
            assert_eq!(take(&counter).unwrap(), 7);
        });
    });
}

// ---- kinds --------------------------------------------------------------------------

#[test]
fn one_that_is_non_blocking_already_is_waited_for() {
    everywhere(|| {
        let begin = Instant::now();
        let timer = Async::new(sys::kernel_timer(2 * MS)).unwrap();
        assert_eq!(take(&timer).unwrap(), 1);
        assert!(begin.elapsed() >= 2 * MS);
        assert!(sys::is_nonblocking(timer.into_inner().unwrap().as_fd()));
    });
}

#[test]
fn a_directory_tells_of_a_new_file() {
    everywhere(|| {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Async::new(sys::watch_directory(directory.path())).unwrap();
        let path = directory.path().join("weft");
        let making = spawn(move || File::create(path));
        let mut event = [0; 1024];
        let n = watch.read(&mut event).unwrap();
        assert!(event[..n].windows(4).any(|name| name == b"weft"));
        making.join().unwrap().unwrap();
    });
}

#[test]
fn a_terminal_echoes_until_it_hangs_up() {
    everywhere(|| {
        let (ours, theirs) = sys::terminal();
        let mut ours = Async::new(ours).unwrap();
        let mut theirs = Async::new(theirs).unwrap();
        let echo = spawn(move || {
            let mut buf = [0; 64];
            while let Ok(n @ 1..) = theirs.read(&mut buf) {
                theirs.write_all(&buf[..n]).unwrap();
            }
        });
        for word in ["weft", "and", "warp"] {
            ours.write_all(word.as_bytes()).unwrap();
            let mut back = vec![0; word.len()];
            ours.read_exact(&mut back).unwrap();
            assert_eq!(back, word.as_bytes());
        }
        drop(ours);
        echo.join().unwrap();
    });
}

#[test]
fn a_fifo_carries_to_its_end() {
    everywhere(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        sys::make_fifo(&path);
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK) // does not wait for the other end
            .open(&path);
        let mut reader = Async::new(reader.unwrap()).unwrap();
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        let mut writer = Async::new(writer).unwrap();
        let writing = spawn(move || writer.write_all(&[7; MUCH]));
        let mut all = Vec::new();
        assert_eq!(reader.read_to_end(&mut all).unwrap(), MUCH);
        writing.join().unwrap().unwrap();
    });
}

#[test]
fn sockets_of_std_receive_and_accept() {
    everywhere(|| {
        let here = Async::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let there = Async::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let addr = here.get_ref().local_addr().unwrap();
        scope(|s| {
            s.spawn(|| there.write_with(|there| there.send_to(b"weft", addr)));
            let mut buf = [0; 16];
            let (n, from) = here.read_with(|here| here.recv_from(&mut buf)).unwrap();
            assert_eq!(&buf[..n], b"weft");
            assert_eq!(from, there.get_ref().local_addr().unwrap());
        });

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = Async::new(UnixListener::bind(&path).unwrap()).unwrap();
        let connecting = spawn(move || UnixStream::connect(path).unwrap());
        let (stream, _) = listener.read_with(|listener| listener.accept()).unwrap();
        let mut stream = Async::new(stream).unwrap();
        drop(connecting.join().unwrap());
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn a_process_is_readable_when_it_has_ended() {
    everywhere(|| {
        // It ends when nobody writes to it any more.
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let Some(process) = sys::descriptor_of_process(child.id()) else {
            println!("left out: no pidfd");
            drop(input);
            child.wait().unwrap();
            return;
        };
        let process = Async::new(process).unwrap();
        scope(|s| {
            let ends = s.spawn(|| process.readable());
            task::yield_now();
            drop(input);
            ends.join().unwrap().unwrap();
        });
        assert!(child.try_wait().unwrap().unwrap().success());
    });
}

#[test]
fn what_is_always_ready_is_refused_as_it_is() {
    for path in ["/proc/self/exe", "/", "/dev/null"] {
        let file = File::open(path).unwrap();
        let e = Async::new(file.as_fd()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::PermissionDenied, "{path}");
        assert!(e.to_string().contains("goweft::blocking"), "{e}");
        assert!(!sys::is_nonblocking(file.as_fd()), "{path}");
    }
}

// ---- whose it is ------------------------------------------------------------------------

#[test]
fn a_borrowed_one_stays_open_and_can_be_watched_again() {
    everywhere(|| {
        let counter = OwnedFd::from(sys::event_counter(false));
        for n in 1..50 {
            let borrowed = Async::new(counter.as_fd()).unwrap();
            scope(|s| {
                s.spawn(|| add(&borrowed, n));
                assert_eq!(take(&borrowed).unwrap(), n);
            });
            if n % 2 == 0 {
                borrowed.into_inner().unwrap();
            }
        }
        assert_eq!(take(File::from(counter)).ok(), None, "it is non-blocking");
    });
}

#[test]
fn a_descriptor_is_watched_once() {
    let counter = sys::event_counter(false);
    let first = Async::new(&counter).unwrap();
    let e = Async::new(&counter).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyExists);
    assert!(e.to_string().contains("watched already"), "{e}");
    // It goes on being watched, and a duplicate is another one.
    let second = Async::new(counter.try_clone().unwrap()).unwrap();
    let writing = spawn(move || add(second, 3));
    assert_eq!(take(&first).unwrap(), 3);
    writing.join().unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert_kind(Async::new(stream.as_fd()), ErrorKind::AlreadyExists);
    // That one is still the stream's.
    assert_eq!((&stream).write(b"x").unwrap(), 1);
}

/// When it is dropped it can be watched, so nobody else does any more.
struct Witness(File, Arc<AtomicUsize>);

impl AsFd for Witness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        Async::new(&self.0).unwrap();
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn it_is_not_watched_any_more_when_the_inner_one_is_dropped() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let witness = || Witness(sys::event_counter(false), dropped.clone());
    drop(Async::new(witness()).unwrap());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    drop(Async::new(witness()).unwrap().into_inner().unwrap());
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
}

#[test]
fn it_comes_back_in_the_mode_in_which_it_was() {
    let file = sys::event_counter(false);
    assert!(!sys::is_nonblocking(file.as_fd()));
    let watched = Async::new(file).unwrap();
    assert!(sys::is_nonblocking(watched.as_fd()));
    add(&watched, 2);
    let file = watched.into_inner().unwrap();
    assert!(!sys::is_nonblocking(file.as_fd()));
    assert_eq!(take(&file).unwrap(), 2);

    let (here, _there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    let here = Async::new(here).unwrap().into_inner().unwrap();
    assert!(sys::is_nonblocking(here.as_fd()));
}

#[test]
fn it_shows_its_descriptor() {
    let file = sys::event_counter(false);
    let fd = file.as_raw_fd();
    let watched: Async<File> = OwnedFd::from(file).try_into().unwrap();
    assert_eq!((watched.as_raw_fd(), watched.as_fd().as_raw_fd()), (fd, fd));
    assert_eq!(watched.get_ref().as_raw_fd(), fd);
    assert_eq!(format!("{watched:?}"), format!("Async {{ fd: {fd} }}"));
    let regular = OwnedFd::from(File::open("/proc/self/exe").unwrap());
    let refused = Async::<OwnedFd>::try_from(regular);
    assert_kind(refused, ErrorKind::PermissionDenied);
}

// ---- waiting ------------------------------------------------------------------------------

#[test]
fn reading_and_writing_go_on_at_the_same_time() {
    everywhere(|| {
        let (here, there) = UnixStream::pair().unwrap();
        let ends = [Async::new(here).unwrap(), Async::new(there).unwrap()];
        scope(|s| {
            for (i, end) in ends.iter().enumerate() {
                s.spawn(move || {
                    let mut end = end;
                    end.write_all(&vec![i as u8; MUCH]).unwrap();
                    end.flush().unwrap();
                });
                s.spawn(move || {
                    let mut all = vec![9; MUCH];
                    let mut end = end;
                    end.read_exact(&mut all).unwrap();
                    assert!(all.iter().all(|&byte| usize::from(byte) == 1 - i));
                });
            }
        });
    });
}

#[test]
fn goroutines_and_threads_share_one() {
    const EACH: u64 = 200;
    in_goroutine(|| {
        let tokens = Arc::new(Async::new(sys::event_counter(true)).unwrap());
        let taken = Arc::new(AtomicU64::new(0));
        let takes = || {
            let (tokens, taken) = (tokens.clone(), taken.clone());
            move || {
                for _ in 0..EACH {
                    taken.fetch_add(take(&*tokens).unwrap(), Ordering::Relaxed);
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|_| thread::spawn(takes())).collect();
        let goroutines: Vec<_> = (0..6).map(|_| spawn(takes())).collect();
        for n in 0..8 * EACH / 4 {
            add(&*tokens, 4);
            if n % 3 == 0 {
                task::yield_now();
            }
        }
        goroutines.into_iter().for_each(|g| g.join().unwrap());
        goweft::blocking(|| threads.into_iter().for_each(|t| t.join().unwrap()));
        assert_eq!(taken.load(Ordering::Relaxed), 8 * EACH);
    });
}

#[test]
fn a_hundred_that_wait_need_no_hundred_threads() {
    in_goroutine(|| {
        let (begun, began) = channel::unbounded();
        let counters: Vec<_> = (0..100).map(|_| Arc::new(counter())).collect();
        let reading: Vec<_> = counters
            .iter()
            .map(|counter| {
                let (counter, begun) = (counter.clone(), begun.clone());
                spawn(move || {
                    begun.send(()).unwrap();
                    take(&*counter).unwrap()
                })
            })
            .collect();
        for _ in &reading {
            began.recv().unwrap();
        }
        task::sleep(5 * MS);
        let threads = sys::threads().unwrap().len();
        for counter in &counters {
            add(&**counter, 1);
        }
        assert!(reading.into_iter().all(|r| r.join().unwrap() == 1));
        assert!(threads < 80, "{threads} threads");
    });
}

#[test]
fn readable_and_writable_take_nothing() {
    everywhere(|| {
        let counter = counter();
        scope(|s| {
            let waits: Vec<_> = (0..3).map(|_| s.spawn(|| counter.readable())).collect();
            task::yield_now();
            add(&counter, 5);
            waits.into_iter().for_each(|w| w.join().unwrap().unwrap());
            counter.readable().unwrap();
        });
        assert_eq!(take(&counter).unwrap(), 5);
        counter.writable().unwrap();

        let (here, there) = UnixStream::pair().unwrap();
        let (here, there) = (Async::new(here).unwrap(), Async::new(there).unwrap());
        let mut inner = here.get_ref();
        while inner.write(&[0; 4096]).is_ok() {}
        here.set_write_deadline(Some(Instant::now() + MS)).unwrap();
        assert_kind(here.writable(), ErrorKind::TimedOut);
        here.set_write_deadline(None).unwrap();
        scope(|s| {
            let waits = s.spawn(|| here.writable());
            there.readable().unwrap();
            let mut some = vec![0; MUCH / 2];
            assert!((&there).read(&mut some).unwrap() > 0);
            while !waits.is_finished() {
                there.set_read_deadline(Some(Instant::now() + MS)).unwrap();
                let _ = (&there).read(&mut some);
            }
            waits.join().unwrap().unwrap();
        });
    });
}

#[test]
fn a_hang_up_is_ready_both_ways() {
    everywhere(|| {
        let (here, there) = UnixStream::pair().unwrap();
        let here = Async::new(here).unwrap();
        scope(|s| {
            let reads = s.spawn(|| here.readable());
            task::yield_now();
            drop(there);
            reads.join().unwrap().unwrap();
        });
        here.writable().unwrap();
        assert_eq!((&here).read(&mut [0]).unwrap(), 0);
        assert_kind((&here).write(b"x"), ErrorKind::BrokenPipe);
    });
}

#[test]
fn deadlines_end_waits_and_can_be_moved() {
    everywhere(|| {
        let counter = counter();
        for deadline in [Instant::now(), Instant::now() + SHORT] {
            counter.set_read_deadline(Some(deadline)).unwrap();
            assert_kind(take(&counter), ErrorKind::TimedOut);
            assert_kind(counter.readable(), ErrorKind::TimedOut);
            assert!(Instant::now() >= deadline);
        }
        // Before anything is tried; the other direction has its own.
        add(&counter, 1);
        assert_kind(counter.read_with(|_| Ok(())), ErrorKind::TimedOut);
        counter.set_write_deadline(Some(Instant::now())).unwrap();
        assert_kind(counter.write_with(|_| Ok(())), ErrorKind::TimedOut);
        counter.set_deadline(None).unwrap();
        assert_eq!(take(&counter).unwrap(), 1);
        add(&counter, u64::MAX - 1); // the most it holds
        counter.set_deadline(Some(Instant::now() + MS)).unwrap();
        assert_kind((&counter).write(&1u64.to_ne_bytes()), ErrorKind::TimedOut);
    });
    everywhere(|| {
        let counter = counter();
        scope(|s| {
            let reads = s.spawn(|| take(&counter));
            task::yield_now();
            counter.set_deadline(Some(Instant::now())).unwrap();
            assert_kind(reads.join().unwrap(), ErrorKind::TimedOut);
        });
    });
}

#[test]
fn vectored_and_empty_calls() {
    everywhere(|| {
        let (here, there) = UnixStream::pair().unwrap();
        let mut here = Async::new(OwnedFd::from(here)).unwrap();
        let mut there = Async::new(OwnedFd::from(there)).unwrap();
        assert_eq!(there.read(&mut []).unwrap(), 0);
        assert_eq!(there.read_vectored(&mut []).unwrap(), 0);
        let parts = [IoSlice::new(b"wa"), IoSlice::new(b"rp")];
        assert_eq!(here.write_vectored(&parts).unwrap(), 4);
        let (mut a, mut b) = ([0; 3], [0; 3]);
        let mut parts = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
        assert_eq!(there.read_vectored(&mut parts).unwrap(), 4);
        assert_eq!((&a, b[0]), (b"war", b'p'));
        here.flush().unwrap();
    });
}

#[test]
fn copies_go_by_hand() {
    in_goroutine(|| {
        let (here, there) = UnixStream::pair().unwrap();
        let mut here = Async::new(here).unwrap();
        let mut there = Async::new(there).unwrap();
        let writing = spawn(move || goweft::io::copy(&mut io::repeat(7).take(99_999), &mut here));
        let mut all = Vec::new();
        assert_eq!(goweft::io::copy(&mut there, &mut all).unwrap(), 99_999);
        assert_eq!(writing.join().unwrap().unwrap(), 99_999);
    });
}

// ---- attempts ------------------------------------------------------------------------------

#[test]
fn an_attempt_is_made_until_it_does_not_say_would_block() {
    everywhere(|| {
        let counter = counter();
        let mut attempts = 0;
        let kind = |attempt| match attempt {
            0..3 => ErrorKind::Interrupted,
            _ => ErrorKind::AddrInUse,
        };
        let e = counter.read_with(|_| {
            attempts += 1;
            Err::<(), _>(kind(attempts - 1).into())
        });
        assert_kind(e, ErrorKind::AddrInUse);
        assert_eq!(attempts, 4);

        scope(|s| {
            let (tell, told) = channel::bounded(0);
            let counter = &counter;
            let reads = s.spawn(move || {
                counter.read_with(|mut file| {
                    // Calls that park are allowed.
                    tell.send(()).unwrap();
                    task::sleep(MS / 10);
                    let mut n = [0; 8];
                    file.read(&mut n).map(|_| u64::from_ne_bytes(n))
                })
            });
            told.recv().unwrap();
            add(counter, 6);
            for () in told {}
            assert_eq!(reads.join().unwrap().unwrap(), 6);
        });
    });
}

#[test]
fn an_attempt_that_panics_passes_the_turn_on() {
    everywhere(|| {
        let tokens = Async::new(sys::event_counter(true)).unwrap();
        let tokens = &tokens;
        scope(|s| {
            let (tell, told) = channel::unbounded();
            let panics = s.spawn(move || {
                let mut attempts = 0;
                let panics = || {
                    tokens.read_with(|_| match attempts {
                        0 => {
                            attempts = 1;
                            tell.send(()).unwrap();
                            Err::<(), _>(ErrorKind::WouldBlock.into())
                        }
                        _ => std::panic::resume_unwind(Box::new("as it should")),
                    })
                };
                let payload = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
                assert_eq!(payload.downcast_ref(), Some(&"as it should"));
            });
            told.recv().unwrap();
            task::yield_now();
            let waits = s.spawn(|| take(tokens).unwrap());
            task::yield_now();
            // The other may be so fast that nobody hears of a token.
            while !panics.is_finished() {
                add(tokens, 1);
                task::yield_now();
            }
            panics.join().unwrap();
            assert_eq!(waits.join().unwrap(), 1);
        });
    });
}

// ---- again -----------------------------------------------------------------------------------

#[test]
fn again_on_one_processor() {
    run_again_with(1, "again_");
}

#[test]
fn again_where_everybody_is_pinned() {
    scenario::once_more_pinned("again_");
}
