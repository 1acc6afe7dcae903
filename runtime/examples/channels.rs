//! What channels do: hand over, buffer, point in one direction, close, tell that they are closed.

use goweft::channel::{self, Receiver, RecvError, Sender, TryRecvError, TrySendError};
use goweft::go;

#[goweft::main]
fn main() {
    rendezvous_and_buffer();
    directions();
    closing();
    println!("channels: as Go's");
}

/// Without a buffer a send waits for its receiver; with one, for room.
fn rendezvous_and_buffer() {
    let (tx, rx) = channel::bounded(0);
    assert_eq!(
        tx.try_send("nobody is there"),
        Err(TrySendError::Full("nobody is there"))
    );
    go!(move || tx.send("met"));
    assert_eq!(rx.recv(), Ok("met"));
    println!("rendezvous: a value went from hand to hand");

    let (tx, rx) = channel::bounded(2);
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    assert_eq!((tx.len(), tx.capacity()), (2, Some(2)));
    assert_eq!(tx.try_send(3), Err(TrySendError::Full(3))); // it comes back
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(tx.try_send(3), Ok(()));
    println!("buffered: two values waited, a third one had to");
}

/// Go's `chan<-` and `<-chan` are two types here: who has only one end can only use that one.
fn directions() {
    let (to_pong, pings) = channel::bounded(0);
    let (to_main, pongs) = channel::bounded(0);
    go!(ping(3, to_pong));
    go!(pong(pings, to_main));
    let received: Vec<u32> = pongs.iter().collect();
    assert_eq!(received, [0, 10, 20]);
    println!("directions: {received:?} came back");
}

fn ping(n: u32, out: Sender<u32>) {
    for i in 0..n {
        out.send(i).unwrap();
    }
}

fn pong(input: Receiver<u32>, out: Sender<u32>) {
    for i in input {
        out.send(10 * i).unwrap();
    }
}

/// A closed channel still gives what is in it. Go's `v, ok := <-c` is a `Result`.
fn closing() {
    let (tx, rx) = channel::bounded(3);
    for n in 1..=3 {
        tx.send(n).unwrap();
    }
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(tx.close(), "the first time");
    assert!(!tx.close(), "Go panics here");
    assert_eq!(tx.send(4).unwrap_err().into_inner(), 4, "and here");

    let rest: Vec<u32> = rx.iter().collect(); // until closed and empty
    assert_eq!(rest, [2, 3]);
    assert_eq!(rx.recv(), Err(RecvError), "not 0, as in Go");
    assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));

    // Dropping the last sender closes as well, so mostly nobody needs to.
    let (tx, rx) = channel::unbounded::<u32>();
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    drop(tx);
    assert_eq!(rx.recv(), Err(RecvError));
    println!("closing: {rest:?} were left, then it said that it is closed");
}
