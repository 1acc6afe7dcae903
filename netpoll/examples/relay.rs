//! A relay race over TCP on loopback: a number goes round a ring of blocking-looking threads,
//! each of which adds one, while one thread polls for all of them.
//!
//! `cargo run -p goweft-netpoll --example relay [RUNNERS] [ROUNDS]`
//!
//! Shows the whole of the crate's use: a `Socket` that blocks only its own thread (`block`), the
//! waiter handle (an index into the list of threads), the polling thread, and stopping it.

use goweft_netpoll::{Descriptor, Direction, Finished, Poller, Waiter};
use std::{
    env,
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsFd,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::Instant,
};

/// What plays the runtime: who can be woken, and whether the race is over.
struct Track {
    poller: Poller,
    runners: Vec<OnceLock<Thread>>,
    over: AtomicBool,
}

impl Track {
    fn wake(&self, waiter: Waiter) {
        if let Some(thread) = self.runners[waiter.who].get() {
            thread.unpark();
        }
    }

    fn poll(&self) -> io::Result<usize> {
        let mut events = 0;
        while !self.over.load(Ordering::Acquire) {
            let polled = self.poller.try_poll(None, 64, &mut |w| self.wake(w));
            events += polled.expect("only one thread polls")?;
        }
        Ok(events)
    }
}

/// One end of a connection, used by the runner `who`.
struct Socket<'t> {
    track: &'t Track,
    who: usize,
    // Before the stream, so that it is dropped while the stream is open.
    descriptor: Descriptor,
    stream: TcpStream,
}

impl<'t> Socket<'t> {
    fn new(track: &'t Track, who: usize, stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            track,
            who,
            descriptor: track.poller.add(stream.as_fd())?,
            stream,
        })
    }

    /// Makes a blocking operation of a non-blocking one.
    fn block<T>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            let seen = self.descriptor.seen(direction);
            match attempt(&self.stream) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                done => {
                    self.descriptor
                        .pass_on(direction, &mut |w| self.track.wake(w));
                    return done;
                }
            }
            let me = Waiter {
                who: self.who,
                ticket: 0,
            };
            if self.descriptor.wait(direction, seen, me, thread::park) == Finished::Closed {
                return Err(ErrorKind::NotConnected.into());
            }
        }
    }
}

impl Read for Socket<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.block(Direction::Read, |mut stream| stream.read(buf))
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.block(Direction::Write, |mut stream| stream.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes the number from the one before, adds one, hands it to the one after.
fn run(from: &mut Socket, to: &mut Socket, rounds: u64) -> io::Result<()> {
    let mut number = [0; 8];
    for _ in 0..rounds {
        from.read_exact(&mut number)?;
        to.write_all(&(u64::from_le_bytes(number) + 1).to_le_bytes())?;
    }
    Ok(())
}

/// Sends zero round the ring, again and again; returns the sum of what came back.
fn start_and_finish(first: &mut Socket, last: &mut Socket, rounds: u64) -> io::Result<u64> {
    let mut total = 0;
    for _ in 0..rounds {
        let mut number = [0; 8];
        first.write_all(&number)?;
        last.read_exact(&mut number)?;
        total += u64::from_le_bytes(number);
    }
    Ok(total)
}

fn argument(n: usize, default: u64) -> u64 {
    match env::args().nth(n) {
        None => default,
        Some(text) => match text.parse() {
            Ok(number) if number > 0 => number,
            _ => {
                eprintln!(
                    "relay: {text:?} is not a number above 0; usage: relay [RUNNERS] [ROUNDS]"
                );
                std::process::exit(2);
            }
        },
    }
}

fn main() -> io::Result<()> {
    let runners = argument(1, 8) as usize;
    let rounds = argument(2, 1000);
    let track = Track {
        poller: Poller::new()?,
        // The last one is the starter, this thread.
        runners: (0..=runners).map(|_| OnceLock::new()).collect(),
        over: AtomicBool::new(false),
    };
    // Connection i goes from runner i - 1 to runner i; the starter stands before and after all.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut from = Vec::new();
    let mut to = Vec::new();
    for i in 0..=runners {
        let before = if i == 0 { runners } else { i - 1 };
        to.push(Socket::new(
            &track,
            before,
            TcpStream::connect(listener.local_addr()?)?,
        )?);
        from.push(Socket::new(&track, i, listener.accept()?.0)?);
    }
    let mut last = from.pop().expect("one more than runners");
    let mut first = to.remove(0);

    let start = Instant::now();
    let track = &track;
    let (total, events) = thread::scope(|s| {
        let polls = s.spawn(|| track.poll());
        let runs: Vec<_> = (from.into_iter().zip(to).enumerate())
            .map(|(who, (mut from, mut to))| {
                s.spawn(move || {
                    track.runners[who].get_or_init(thread::current);
                    run(&mut from, &mut to, rounds)
                })
            })
            .collect();
        track.runners[runners].get_or_init(thread::current);
        let total = start_and_finish(&mut first, &mut last, rounds);
        // If something failed, closing our ends makes all others fail in turn.
        drop((first, last));
        for (who, run) in runs.into_iter().enumerate() {
            if let Err(e) = run.join().expect("running does not panic") {
                eprintln!("relay: runner {who}: {e}");
            }
        }
        track.over.store(true, Ordering::Release);
        track.poller.kick();
        let events = polls.join().expect("polling does not panic");
        io::Result::Ok((total?, events?))
    })?;
    assert_eq!(total, runners as u64 * rounds, "every hand-over adds one");
    println!(
        "{runners} runners, {rounds} rounds: {total} hand-overs in {:.1} ms, {events} events",
        start.elapsed().as_secs_f64() * 1e3,
    );
    Ok(())
}
