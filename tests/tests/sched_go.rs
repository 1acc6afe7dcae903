//! What Go's own tests of scheduling prove, where it takes no preemption, written
//! anew: runtime/proc_test.go and test/*.go.

use goweft::{Builder, channel, net::TcpListener, run, select, spawn, task};
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

// proc_test.go TestYieldProgress: who polls and yields sees what is sent to it.
#[test]
fn a_poller_that_only_yields_sees_the_message() {
    run(|| {
        let (message, inbox) = channel::bounded(0);
        let (seen, ack) = channel::bounded(0);
        let poller = spawn(move || {
            loop {
                select! {
                    recv(inbox) -> m => return seen.send(m.unwrap()).unwrap(),
                    default => task::yield_now(),
                }
            }
        });
        for _ in 0..10 {
            task::yield_now();
        }
        message.send(7).unwrap();
        assert_eq!(ack.recv(), Ok(7));
        poller.join().unwrap();
    });
}

// proc_test.go TestNetpollBreak: whoever waits for sockets is woken for other work.
#[test]
fn the_poller_is_woken_for_what_comes_from_elsewhere() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let accepting = {
        let listener = listener.clone();
        spawn(move || listener.accept().is_err())
    };
    // From a plain thread, while everybody may be asleep in the netpoll.
    for i in 0..1_000 {
        assert_eq!(spawn(move || i).join().unwrap(), i);
    }
    listener.close().unwrap();
    assert!(accepting.join().unwrap());
}

// chan_test.go TestChanSendInterface.
#[test]
fn trait_objects_pass_through_channels() {
    let (tx, rx) = channel::bounded::<Box<dyn Any + Send>>(1);
    tx.send(Box::new(1u8)).unwrap();
    assert!(tx.try_send(Box::new("full")).is_err());
    assert_eq!(rx.recv().unwrap().downcast_ref(), Some(&1u8));
    tx.send(Box::new([2u64; 64])).unwrap();
    assert!(rx.recv().unwrap().is::<[u64; 64]>());
}

// test/gcgort.go: goroutines that yield all the time do not see each other's state.
#[test]
fn what_stands_on_a_stack_is_its_goroutine_s_alone() {
    let stop = Arc::new(AtomicBool::new(false));
    let all: Vec<_> = (0..16u64)
        .map(|id| {
            let stop = stop.clone();
            spawn(move || {
                let mut mine = [id; 32];
                let mut floats = [id as f64; 8];
                let mut rounds = 0;
                while !stop.load(Ordering::Relaxed) || rounds < 100 {
                    for (i, x) in mine.iter_mut().enumerate() {
                        *x = x.rotate_left(i as u32);
                    }
                    floats.iter_mut().for_each(|f| *f += 1.0);
                    task::yield_now();
                    for (i, x) in mine.iter_mut().enumerate() {
                        *x = x.rotate_right(i as u32);
                    }
                    rounds += 1;
                    assert_eq!(mine, [id; 32]);
                    assert_eq!(floats, [(id + rounds) as f64; 8]);
                }
            })
        })
        .collect();
    let counted = spawn(|| (0..1_000).for_each(|_| task::yield_now()));
    counted.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    all.into_iter().for_each(|g| g.join().unwrap());
}

/// Adds as Peano does, one by one; a channel waits at the bottom.
fn add(a: u32, b: u32, bottom: &channel::Sender<()>) -> u32 {
    if b == 0 {
        bottom.send(()).unwrap();
        return a;
    }
    1 + std::hint::black_box(add(a, b - 1, bottom))
}

// test/peano.go, stack.go: recursion hundreds of thousands deep, and the others go on.
#[test]
fn deep_recursion_parks_at_the_bottom_and_comes_back() {
    const DEPTH: u32 = 362_880; // 9!
    let (tx, rx) = channel::bounded(0);
    let deep = Builder::new()
        .stack_size(1 << 30)
        .spawn(move || add(0, DEPTH, &tx))
        .unwrap();
    // It waits at the bottom until we come.
    rx.recv().unwrap();
    assert_eq!(deep.join().unwrap(), DEPTH);
}
