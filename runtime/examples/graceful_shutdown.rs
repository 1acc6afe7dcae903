//! A web server and its background workers, which a signal stops: no new clients, the requests
//! that are under way are answered, within 30 s, and everybody has ended before `main` does.
//!
//! To show it, this program is its own client, and sends itself the SIGTERM while a
//! request is under way.

use goweft::channel::{self, Receiver, Sender};
use goweft::context::Context;
use goweft::net::{TcpListener, TcpStream};
use goweft::signal::{self, Signal};
use goweft::sync::WaitGroup;
use goweft::time::Ticker;
use goweft::{select, spawn};
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

#[goweft::main]
fn main() -> Result<(), Box<dyn Error>> {
    let (ctx, stop) =
        signal::notify_context(&Context::background(), &[Signal::SIGINT, Signal::SIGTERM])?;
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0")?);
    let addr = listener.local_addr()?;
    println!("serving on http://{addr}");

    let workers = WaitGroup::new();
    let rounds = Arc::new(AtomicU32::new(0));
    for _ in 0..3 {
        let (ctx, rounds) = (ctx.clone(), rounds.clone());
        workers.go(move || work(&ctx, &rounds));
    }

    let (begun, has_begun) = channel::bounded(0);
    let (gate, opened) = channel::bounded(0);
    let requests = WaitGroup::new();
    let site = Site { begun, opened };
    let acceptor = {
        let (listener, requests) = (listener.clone(), requests.clone());
        spawn(move || accept(&listener, &requests, &site))
    };

    let client = spawn(move || get(addr));
    has_begun.recv()?; // the server has its request, and answers when the gate opens
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM)?;

    ctx.done().recv().unwrap_err(); // a program of your own only has this line here
    println!("{}: stopping", ctx.cause().unwrap());
    stop(); // from here on a second signal ends the program at once
    listener.close()?;
    acceptor.join().unwrap();
    assert!(get(addr).is_err(), "a new client was let in");
    println!("no new clients");

    drop(gate);
    assert!(
        requests.wait_timeout(PATIENCE),
        "not drained in {PATIENCE:?}"
    );
    assert!(workers.wait_timeout(PATIENCE), "a worker goes on");
    let answer = client.join().unwrap()?;
    println!("drained: the last client got {answer:?}");
    assert_eq!(answer, "HTTP/1.1 200 OK");
    let rounds = rounds.load(Ordering::Relaxed);
    println!("the 3 workers did {rounds} rounds");
    assert!(rounds >= 3);
    println!("graceful_shutdown: nobody was cut off, nobody was left");
    Ok(())
}

/// In the background, until the context is done.
fn work(ctx: &Context, rounds: &AtomicU32) {
    let ticker = Ticker::new(Duration::from_millis(1));
    loop {
        rounds.fetch_add(1, Ordering::Relaxed);
        select! {
            recv(ticker.channel()) -> _ => {}
            recv(ctx.done()) -> _ => return,
        }
    }
}

/// What the answers need; here only the moment at which they may be given.
#[derive(Clone)]
struct Site {
    begun: Sender<()>,
    opened: Receiver<()>,
}

/// A goroutine for each client, until the listener is closed.
fn accept(listener: &TcpListener, requests: &WaitGroup, site: &Site) {
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => {
                let site = site.clone();
                requests.go(move || answer(stream, &site));
            }
            Err(error) => eprintln!("a client did not get through: {error}"),
        }
    }
}

fn answer(mut stream: TcpStream, site: &Site) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    // The head of a request ends with an empty line.
    for line in BufReader::new(&stream).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let _ = site.begun.send(());
    let _ = site.opened.recv();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbye\n")
}

/// The first line of the answer.
fn get(addr: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.ends_with("\r\n\r\nbye\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer.lines().next().unwrap_or_default().into())
}
