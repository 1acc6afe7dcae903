//! The poller with real sockets and pipes, used from plain threads.
//!
//! A waiter here is a thread that parks on a condition variable of its own, entered in a
//! table under the address that stands in its handle. Every wait of these tests is ended by
//! an event, never by a time that is hoped to be long enough.

use goweft_netpoll::{
    Descriptor, Direction, Direction::Read, Direction::Write, Finished, Poller, Seen, Waiter,
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

impl Parker {
    fn park(&self, ticket: u64, deadline: Option<Instant>) {
        let mut told = self.ticket.lock().unwrap();
        while *told != ticket {
            let Some(deadline) = deadline else {
                told = self.told.wait(told).unwrap();
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            told = self.told.wait_timeout(told, left).unwrap().0;
        }
    }
}

/// What plays the runtime: the poller, a thread that polls, and the table of parkers.
struct House {
    poller: Poller,
    parkers: Mutex<HashMap<u64, Arc<Parker>>>,
    tickets: AtomicU64,
    /// Waits that have been entered.
    waits: AtomicUsize,
    stop: AtomicBool,
}

impl House {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            poller: Poller::new().unwrap(),
            parkers: Mutex::default(),
            tickets: AtomicU64::new(1),
            waits: AtomicUsize::new(0),
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

    /// Waits for a direction until woken; `entered` runs when the waiter stands in the queue.
    fn wait_entered(
        &self,
        descriptor: &Descriptor,
        direction: Direction,
        seen: Seen,
        entered: impl FnOnce(),
    ) -> Finished {
        self.wait(descriptor, direction, seen, None, entered)
    }

    /// Waits for a direction until woken or until `deadline`.
    fn wait(
        &self,
        descriptor: &Descriptor,
        direction: Direction,
        seen: Seen,
        deadline: Option<Instant>,
        entered: impl FnOnce(),
    ) -> Finished {
        let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
        let parker = Arc::new(Parker::default());
        let entry = Arc::clone(&parker);
        self.parkers.lock().unwrap().insert(ticket, entry);
        let waiter = Waiter { who: 7, ticket };
        let finished = descriptor.wait(direction, seen, waiter, || {
            self.waits.fetch_add(1, Ordering::Release);
            entered();
            parker.park(ticket, deadline);
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
            match self.wait(descriptor, direction, seen, deadline, || ()) {
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

/// Runs `f` in a thread of `scope` and returns when it stands in a queue.
fn until_waiting<'s, 'e, T: Send + 's>(
    scope: &'s Scope<'s, 'e>,
    house: &'s House,
    f: impl FnOnce() -> T + Send + 's,
) -> thread::ScopedJoinHandle<'s, T> {
    let before = house.waits.load(Ordering::Acquire);
    let handle = scope.spawn(f);
    while house.waits.load(Ordering::Acquire) == before {
        // One that ended without waiting has its reasons: its join tells.
        if handle.is_finished() {
            break;
        }
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

#[test]
fn a_regular_file_is_refused_with_permission_denied() {
    let poller = Poller::new().unwrap();
    let file = File::open("Cargo.toml").unwrap();
    let error = poller.add(file.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(poller.registered(), 0);
}

#[test]
fn a_descriptor_added_twice_is_refused_and_the_first_stays() {
    let house = House::new();
    let (mut a, b) = pair();
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    let error = house.poller.add(b.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(house.poller.registered(), 1);
    house.poll_once();
    let seen = descriptor.seen(Read);
    a.write_all(b"x").unwrap();
    house.poll_once();
    assert_ne!(descriptor.seen(Read), seen);
}

#[test]
fn registered_counts_until_removal_or_drop() {
    let poller = Poller::new().unwrap();
    let (a, b) = pair();
    let first = poller.add(a.as_fd()).unwrap();
    let second = poller.add(b.as_fd()).unwrap();
    assert_eq!(poller.registered(), 2);
    first.remove(a.as_fd()).unwrap();
    assert_eq!(poller.registered(), 1);
    drop(second);
    assert_eq!(poller.registered(), 0);
}

#[test]
fn a_removed_descriptor_can_be_added_again() {
    let house = House::new();
    let (mut a, b) = pair();
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    descriptor.remove(b.as_fd()).unwrap();
    let _polls = house.start_polling();
    let again = house.poller.add(b.as_fd()).unwrap();
    thread::scope(|s| {
        let reader = until_waiting(s, &house, || {
            house.block(&again, Read, None, || (&b).read(&mut [0]))
        });
        a.write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn reading_and_writing_wait_independently() {
    let house = House::new();
    let _polls = house.start_polling();
    let (a, b) = pair();
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    let total = 4 << 20;
    // The peer reads all and writes one byte when it is through: until then `b` waits for
    // room and for that byte at once.
    a.set_nonblocking(false).unwrap();
    thread::scope(|s| {
        let reader = until_waiting(s, &house, || {
            house.block(&descriptor, Read, None, || (&b).read(&mut [0]))
        });
        let writer = s.spawn(|| {
            let mut written = 0;
            while written < total {
                let chunk = vec![1; (total - written).min(1 << 16)];
                let n = house.block(&descriptor, Write, None, || (&b).write(&chunk));
                written += n.unwrap();
            }
        });
        let mut read = 0;
        let mut buf = vec![0; 1 << 16];
        while read < total {
            read += (&a).read(&mut buf).unwrap();
        }
        assert!(!reader.is_finished());
        (&a).write_all(b"!").unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 1);
        writer.join().unwrap();
    });
}

#[test]
fn the_end_of_the_peer_wakes_the_reader() {
    let house = House::new();
    let _polls = house.start_polling();
    let (a, b) = pair();
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    thread::scope(|s| {
        let reader = until_waiting(s, &house, || {
            house.block(&descriptor, Read, None, || (&b).read(&mut [0]))
        });
        drop(a);
        assert_eq!(reader.join().unwrap().unwrap(), 0);
    });
}

#[test]
fn a_broken_pipe_wakes_the_writer() {
    let house = House::new();
    let _polls = house.start_polling();
    let (reader, writer) = io::pipe().unwrap();
    // The attempt never blocks: it writes a few bytes into a pipe with room. It goes on until the
    // reader is gone, whenever the event that says "there is room" comes.
    let descriptor = house.poller.add(writer.as_fd()).unwrap();
    thread::scope(|s| {
        let writes = until_waiting(s, &house, || {
            loop {
                let seen = descriptor.seen(Write);
                if let Err(e) = (&writer).write(b"x") {
                    return e.kind();
                }
                assert_eq!(
                    house.wait_entered(&descriptor, Write, seen, || ()),
                    Finished::Event
                );
            }
        });
        drop(reader);
        assert_eq!(writes.join().unwrap(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn no_connection_is_lost_when_many_accept() {
    const ACCEPTORS: usize = 8;
    const CONNECTIONS: usize = 200;
    let house = House::new();
    let _polls = house.start_polling();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let descriptor = house.poller.add(listener.as_fd()).unwrap();
    let accepted = AtomicUsize::new(0);
    thread::scope(|s| {
        for _ in 0..ACCEPTORS {
            s.spawn(|| {
                while let Ok((mut stream, _)) =
                    house.block(&descriptor, Read, None, || listener.accept())
                {
                    stream.write_all(b"!").unwrap();
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // In bursts, so that one edge stands for several connections.
        for _ in 0..CONNECTIONS / 8 {
            let mut streams: Vec<_> = (0..8)
                .map(|_| TcpStream::connect(address).unwrap())
                .collect();
            for stream in &mut streams {
                stream.read_exact(&mut [0]).unwrap();
            }
        }
        descriptor.close(&mut |w| house.wake(w));
    });
    assert_eq!(accepted.load(Ordering::Relaxed), CONNECTIONS);
}

#[test]
fn waiters_are_woken_one_an_event_in_the_order_of_their_coming() {
    let house = House::new();
    let (mut a, b) = pair();
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    house.poll_once();
    let (tell, told) = mpsc::channel();
    thread::scope(|s| {
        for i in 0..3 {
            let seen = descriptor.seen(Read);
            let (house, descriptor, tell) = (&house, &descriptor, tell.clone());
            // A thread that waits once and says so.
            s.spawn(move || {
                let finished = house.wait_entered(descriptor, Read, seen, || {
                    tell.send((i, Finished::Nothing)).unwrap();
                });
                tell.send((i, finished)).unwrap();
            });
            assert_eq!(told.recv().unwrap(), (i, Finished::Nothing), "it parks");
        }
        for i in 0..3 {
            a.write_all(b"x").unwrap();
            assert_eq!(house.poll_once(), 1);
            assert_eq!(told.recv().unwrap(), (i, Finished::Event));
            assert!(told.try_recv().is_err(), "one event wakes one waiter");
        }
    });
}

#[test]
fn close_wakes_both_directions_and_fails_later_waits() {
    let house = House::new();
    let (_a, b) = pair();
    // A full buffer, so that writing waits too.
    while (&b).write(&[0; 1 << 16]).is_ok() {}
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    let (tell, told) = mpsc::channel();
    thread::scope(|s| {
        for direction in Direction::BOTH {
            for _ in 0..20 {
                let (house, descriptor, tell) = (&house, &descriptor, tell.clone());
                s.spawn(move || {
                    let seen = descriptor.seen(direction);
                    let finished = house.wait_entered(descriptor, direction, seen, || {
                        tell.send(()).unwrap();
                    });
                    assert_eq!(finished, Finished::Closed);
                });
            }
        }
        for _ in 0..40 {
            told.recv().unwrap();
        }
        assert!(descriptor.close(&mut |w| house.wake(w)));
    });
    assert!(descriptor.is_closed());
    assert!(!descriptor.close(&mut |_| panic!("nobody waits any more")));
    let seen = descriptor.seen(Read);
    assert!(seen.is_closed());
    let waiter = Waiter { who: 0, ticket: 0 };
    let finished = descriptor.wait(Read, seen, waiter, || panic!("must not park"));
    assert_eq!(finished, Finished::Closed);
}

#[test]
fn a_wait_that_times_out_leaves_the_queue() {
    let house = House::new();
    let (mut a, b) = pair();
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    house.poll_once();
    let soon = Instant::now() + Duration::from_millis(1);
    let result = house.block(&descriptor, Read, Some(soon), || (&b).read(&mut [0]));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
    // Its record is gone; the event finds nobody.
    a.write_all(b"x").unwrap();
    let none = Some(Duration::ZERO);
    let polled = house
        .poller
        .try_poll(none, 64, &mut |w| panic!("woke {w:?}"));
    assert_eq!(polled.unwrap().unwrap(), 1);
}

#[test]
fn notify_wakes_all_of_one_direction_without_an_event() {
    let house = House::new();
    let (_a, b) = pair();
    let descriptor = house.poller.add(b.as_fd()).unwrap();
    house.poll_once();
    let (tell, told) = mpsc::channel();
    thread::scope(|s| {
        for _ in 0..40 {
            let (house, descriptor, tell) = (&house, &descriptor, tell.clone());
            s.spawn(move || {
                let seen = descriptor.seen(Read);
                let finished = house.wait_entered(descriptor, Read, seen, || {
                    tell.send(()).unwrap();
                });
                assert_eq!(finished, Finished::Nothing);
            });
        }
        for _ in 0..40 {
            told.recv().unwrap();
        }
        descriptor.notify(Write, &mut |_| panic!("nobody waits to write"));
        let mut woken = 0;
        descriptor.notify(Read, &mut |w| {
            woken += 1;
            house.wake(w);
        });
        assert_eq!(woken, 40);
    });
}

#[test]
fn an_event_for_a_dropped_descriptor_does_not_reach_its_successor() {
    let house = House::new();
    let (mut a, b) = pair();
    let (_c, d) = pair();
    let first = house.poller.add(b.as_fd()).unwrap();
    house.poll_once();
    // Not removed: `b` is still open and the kernel still watches it under the old generation.
    drop(first);
    let second = house.poller.add(d.as_fd()).unwrap();
    house.poll_once();
    let seen = second.seen(Read);
    a.write_all(b"x").unwrap();
    let waiter = Waiter { who: 1, ticket: 1 };
    let finished = second.wait(Read, seen, waiter, || {
        let none = Some(Duration::ZERO);
        let polled = house
            .poller
            .try_poll(none, 64, &mut |w| panic!("woke {w:?}"));
        assert_eq!(polled.unwrap().unwrap(), 1, "the late event came");
    });
    assert_eq!(finished, Finished::Nothing);
    assert_eq!(second.seen(Read), seen);
}

#[test]
fn events_beyond_the_limit_are_handled_by_the_next_polls() {
    let poller = Poller::new().unwrap();
    let pairs: Vec<_> = (0..10).map(|_| pair()).collect();
    let descriptors: Vec<_> = pairs
        .iter()
        .map(|(a, _)| poller.add(a.as_fd()).unwrap())
        .collect();
    let handled: Vec<_> = (0..4)
        .map(|_| {
            let none = Some(Duration::ZERO);
            poller.try_poll(none, 4, &mut |_| ()).unwrap().unwrap()
        })
        .collect();
    assert_eq!(handled, [4, 4, 2, 0]);
    assert_eq!(poller.registered(), descriptors.len());
}

#[test]
fn only_one_thread_polls_at_a_time() {
    let poller = Poller::new().unwrap();
    let polling = poller.try_acquire().unwrap();
    thread::scope(|s| {
        s.spawn(|| {
            assert!(poller.try_acquire().is_none());
            let none = Some(Duration::ZERO);
            assert!(poller.try_poll(none, 1, &mut |_| ()).is_none());
        });
    });
    drop(polling);
    assert!(poller.try_acquire().is_some());
}

#[test]
fn a_kick_ends_a_wait_and_an_early_one_the_next_wait() {
    let poller = Poller::new().unwrap();
    // Early: remembered, also past a poll that does not wait.
    poller.kick();
    poller.kick();
    let none = Some(Duration::ZERO);
    assert_eq!(poller.try_poll(none, 1, &mut |_| ()).unwrap().unwrap(), 0);
    assert_eq!(poller.try_poll(None, 1, &mut |_| ()).unwrap().unwrap(), 0);
    // While another thread waits, whichever of the two comes first.
    for _ in 0..1000 {
        thread::scope(|s| {
            s.spawn(|| poller.kick());
            poller.try_poll(None, 1, &mut |_| ()).unwrap().unwrap();
        });
    }
}

#[test]
fn a_wait_lasts_as_long_as_its_timeout_and_not_a_millisecond_more() {
    let poller = Poller::new().unwrap();
    for timeout in [100, 1_500, 6_300].map(Duration::from_micros) {
        // The best of many: the machine may be busy. Those that last for whole milliseconds never
        // last for less.
        let mut best = Duration::MAX;
        for _ in 0..1000 {
            let start = Instant::now();
            let n = poller.try_poll(Some(timeout), 1, &mut |_| ());
            assert_eq!(n.unwrap().unwrap(), 0);
            let took = start.elapsed();
            assert!(took >= timeout, "{took:?} for {timeout:?}");
            best = best.min(took);
            if best - timeout < Duration::from_micros(600) {
                break;
            }
        }
        let late = best - timeout;
        assert!(late < Duration::from_micros(600), "{late:?} at {timeout:?}");
    }
}

#[test]
fn a_wake_that_panics_does_not_lose_later_events() {
    let poller = Poller::new().unwrap();
    let (a, b) = pair();
    let first = poller.add(a.as_fd()).unwrap();
    let second = poller.add(b.as_fd()).unwrap();
    let before = second.seen(Write);
    let waiter = Waiter { who: 0, ticket: 0 };
    let none = Some(Duration::ZERO);
    let finished = first.wait(Write, first.seen(Write), waiter, || {
        let poll = || poller.try_poll(none, 64, &mut |_| panic!("a wake's own"));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll));
        assert!(caught.is_err());
    });
    assert_eq!(finished, Finished::Event);
    assert_eq!(poller.try_poll(none, 64, &mut |_| ()).unwrap().unwrap(), 1);
    assert_ne!(second.seen(Write), before);
}

#[test]
fn records_are_used_again_while_events_and_deadlines_race() {
    // Descriptors come and go while bytes, deadlines and closing race for their waiters. A
    // wake that reached a stranger would show as a read that ends without byte or deadline.
    const ROUNDS: usize = 300;
    let house = House::new();
    let _polls = house.start_polling();
    let read = AtomicUsize::new(0);
    thread::scope(|s| {
        for worker in 0..4 {
            let (house, read) = (&house, &read);
            s.spawn(move || {
                for round in 0..ROUNDS {
                    let (mut a, b) = pair();
                    let descriptor = house.poller.add(b.as_fd()).unwrap();
                    let deadline =
                        (round % 3 == 0).then(|| Instant::now() + Duration::from_micros(50));
                    thread::scope(|s| {
                        let reader = s.spawn(|| {
                            house.block(&descriptor, Read, deadline, || (&b).read(&mut [0]))
                        });
                        if (round + worker) % 5 == 0 {
                            descriptor.close(&mut |w| house.wake(w));
                        } else {
                            a.write_all(b"x").unwrap();
                        }
                        match reader.join().unwrap() {
                            Ok(n) => read.fetch_add(n, Ordering::Relaxed),
                            Err(e) => match e.kind() {
                                ErrorKind::NotConnected => 0,
                                ErrorKind::TimedOut if deadline.is_some() => 0,
                                kind => panic!("{kind:?}"),
                            },
                        };
                    });
                    if round % 2 == 0 {
                        descriptor.remove(b.as_fd()).unwrap();
                    }
                }
            });
        }
    });
    assert!(read.load(Ordering::Relaxed) > 0);
    assert_eq!(house.poller.registered(), 0);
}
