//! The poller with real sockets and pipes, used from plain threads.
//!
//! A waiter here is a thread that parks on a condition variable of its own, entered in a
//! table under the address that stands in its handle. Every wait of these tests is ended by
//! an event, never by a time that is hoped to be long enough; the watchdog only ends a test
//! that hangs.

use goweft_netpoll::{
    Descriptor, Direction, Direction::Read, Direction::Write, Finished, Poller, Waiter,
};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle, Scope},
    time::{Duration, Instant},
};

/// Where a thread waits to be told its ticket.
#[derive(Default)]
struct Parker {
    ticket: Mutex<u64>,
    told: Condvar,
}

/// What plays the runtime: the poller, a thread that polls, and the table of parkers.
struct House {
    poller: Poller,
    parkers: Mutex<HashMap<u64, Arc<Parker>>>,
    tickets: AtomicU64,
    stop: AtomicBool,
}

impl House {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            poller: Poller::new().unwrap(),
            parkers: Mutex::default(),
            tickets: AtomicU64::new(1),
            stop: AtomicBool::new(false),
        })
    }

    /// Starts a thread that polls until `stop`.
    fn start_polling(self: &Arc<Self>) -> Polls {
        let house = Arc::clone(self);
        let thread = thread::spawn(move || {
            while !house.stop.load(Ordering::Acquire) {
                let result = house.poller.try_poll(None, 64, &mut |w| house.wake(w));
                if let Some(result) = result {
                    result.unwrap();
                }
            }
        });
        Polls(Arc::clone(self), Some(thread))
    }

    fn poll_once(&self) -> usize {
        let none = Some(Duration::ZERO);
        let result = self.poller.try_poll(none, 64, &mut |w| self.wake(w));
        result.expect("nobody else polls").unwrap()
    }

    fn wake(&self, waiter: Waiter) {
        // A handle that is not in the table is stale: its wait ended by itself.
        let parker = self.parkers.lock().unwrap().get(&waiter.ticket).cloned();
        if let Some(parker) = parker {
            *parker.ticket.lock().unwrap() = waiter.ticket;
            parker.told.notify_one();
        }
    }

    /// Waits for a direction until woken or until `deadline`.
    fn wait(
        &self,
        descriptor: &Descriptor,
        direction: Direction,
        seen: goweft_netpoll::Seen,
        deadline: Option<Instant>,
    ) -> Finished {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let parker = Arc::new(Parker::default());
        self.parkers
            .lock()
            .unwrap()
            .insert(ticket, Arc::clone(&parker));
        let waiter = Waiter { who: 7, ticket };
        let finished = descriptor.wait(direction, seen, waiter, || {
            let mut told = parker.ticket.lock().unwrap();
            while *told != ticket {
                let Some(deadline) = deadline else {
                    told = parker.told.wait(told).unwrap();
                    continue;
                };
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                told = parker.told.wait_timeout(told, left).unwrap().0;
            }
        });
        self.parkers.lock().unwrap().remove(&ticket);
        finished
    }

    /// Makes a blocking operation of a non-blocking one.
    fn block<T>(
        &self,
        descriptor: &Descriptor,
        direction: Direction,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let seen = descriptor.seen(direction);
            match attempt() {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => {
                    descriptor.pass_on(direction, &mut |w| self.wake(w));
                    return done;
                }
            }
            match self.wait(descriptor, direction, seen, deadline) {
                Finished::Closed => return Err(ErrorKind::NotConnected.into()),
                Finished::Event => {}
                Finished::Nothing => {
                    if deadline.is_some_and(|d| d <= Instant::now()) {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
            }
        }
    }
}

/// Stops the polling thread when the test is over.
struct Polls(Arc<House>, Option<JoinHandle<()>>);

impl Drop for Polls {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.poller.kick();
        let ended = self.1.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// A connected, non-blocking pair.
fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (a, b)
}

/// Runs `f` in a thread of `scope` and hands out when it has begun to wait in `descriptor`.
fn until_waiting<'s, 'e, T: Send + 's>(
    scope: &'s Scope<'s, 'e>,
    house: &'s House,
    f: impl FnOnce() -> T + Send + 's,
) -> thread::ScopedJoinHandle<'s, T> {
    let before = house.tickets.load(Ordering::Relaxed);
    let handle = scope.spawn(f);
    while house.tickets.load(Ordering::Relaxed) == before {
        thread::yield_now();
    }
    handle
}

#[test]
fn smoke() {
    let house = House::new();
    let _polls = house.start_polling();
    let (mut a, b) = pair();
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    thread::scope(|s| {
        let reader = until_waiting(s, &house, || {
            let mut buf = [0; 8];
            let n = house.block(&descriptor, Read, None, || (&b).read(&mut buf));
            (n.unwrap(), buf)
        });
        a.write_all(b"hello").unwrap();
        assert_eq!(reader.join().unwrap(), (5, *b"hello\0\0\0"));
    });
}
