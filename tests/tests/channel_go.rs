//! What Go's own tests of channels prove, written anew: runtime/chan_test.go and
//! test/chan/*.go.

use goweft::channel::{self, Receiver, Sender, TryRecvError, TrySendError};
use goweft::{go, select};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Lets other goroutines run until `done`.
fn until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "watchdog");
        goweft::task::yield_now();
    }
}

/// Runs other goroutines for long enough that one which can go on has.
fn let_others_run() {
    for _ in 0..50 {
        goweft::task::yield_now();
    }
    goweft::task::sleep(Duration::from_micros(200));
}

// chan_test.go TestChan, for each capacity.
#[goweft::test]
fn the_rules_of_channels_hold_for_every_capacity() {
    for cap in (0..200).step_by(13).chain([1, 2]) {
        // An empty channel blocks receivers.
        let (tx, rx) = channel::bounded::<u32>(cap);
        let received: Arc<[AtomicBool; 2]> = Arc::default();
        for n in 0..2 {
            let (rx, received) = (rx.clone(), received.clone());
            go! {
                match n {
                    0 => _ = rx.recv(),
                    _ => _ = select! { recv(rx) -> v => v },
                }
                received[n].store(true, Ordering::Relaxed);
            }
        }
        let_others_run();
        assert!(received.iter().all(|r| !r.load(Ordering::Relaxed)));
        // A receive without waiting sees nothing, in either form.
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        select! { recv(rx) -> _ => panic!("nothing is there"), default => {} }
        tx.send(0).unwrap();
        tx.send(0).unwrap();
        until(|| received.iter().all(|r| r.load(Ordering::Relaxed)));

        // A full channel blocks senders.
        let (tx, rx) = channel::bounded::<u32>(cap);
        (0..cap).for_each(|_| tx.send(0).unwrap());
        let sent = Arc::new(AtomicBool::new(false));
        {
            let (tx, sent) = (tx.clone(), sent.clone());
            go! {
                tx.send(0).unwrap();
                sent.store(true, Ordering::Relaxed);
            }
        }
        let_others_run();
        assert!(!sent.load(Ordering::Relaxed));
        assert_eq!(tx.try_send(0), Err(TrySendError::Full(0)));
        select! { send(tx, 0) -> _ => panic!("no room"), default => {} }
        rx.recv().unwrap();
        until(|| sent.load(Ordering::Relaxed));

        // A closed channel gives what is queued, then errors, at once.
        let (tx, rx) = channel::bounded::<usize>(cap);
        (0..cap).for_each(|i| tx.send(i).unwrap());
        tx.close();
        for i in 0..cap {
            assert_eq!(rx.recv(), Ok(i));
        }
        assert!(rx.recv().is_err());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));

        // Close unblocks a receiver.
        let (tx, rx) = channel::bounded::<u32>(cap);
        let waiter = goweft::spawn(move || rx.recv());
        let_others_run();
        tx.close();
        assert!(waiter.join().unwrap().is_err());

        // First in, first out.
        let (tx, rx) = channel::bounded(cap);
        go!(move || (0..100).for_each(|i| tx.send(i).unwrap()));
        for i in 0..100 {
            assert_eq!(rx.recv(), Ok(i));
        }

        // Four senders, four receivers: each value as often as it was sent.
        let (tx, rx) = channel::bounded(cap);
        for _ in 0..4 {
            let tx = tx.clone();
            go!(move || (0..100).for_each(|i| tx.send(i).unwrap()));
        }
        let counts: Vec<_> = (0..4)
            .map(|_| {
                let rx = rx.clone();
                goweft::spawn(move || {
                    let mut counts = HashMap::new();
                    for _ in 0..100 {
                        *counts.entry(rx.recv().unwrap()).or_insert(0) += 1;
                    }
                    counts
                })
            })
            .collect();
        let mut total: HashMap<i32, i32> = HashMap::new();
        for count in counts {
            for (value, n) in count.join().unwrap() {
                *total.entry(value).or_default() += n;
            }
        }
        assert!(total.len() == 100 && total.values().all(|&n| n == 4));

        // Length and capacity.
        let (tx, rx) = channel::bounded(cap * 2);
        assert_eq!((tx.len(), tx.capacity()), (0, Some(cap * 2)));
        (0..cap).for_each(|i| tx.send(i).unwrap());
        assert_eq!((rx.len(), rx.capacity()), (cap, Some(cap * 2)));
    }
}

// chan_test.go TestNonblockRecvRace: a value is there, and then the channel is closed; at no
// moment is there nothing to receive.
#[goweft::test]
fn a_receive_without_waiting_never_misses_what_is_there() {
    for round in 0..20_000 {
        let (tx, rx) = channel::bounded(1);
        tx.send(1).unwrap();
        let receiver = goweft::spawn(move || {
            if round % 2 == 0 {
                rx.try_recv().is_ok()
            } else {
                select! { recv(rx) -> v => v.is_ok(), default => false }
            }
        });
        tx.close();
        assert!(receiver.join().unwrap(), "round {round}");
    }
}

// chan_test.go TestSelfSelect: a select never meets itself.
#[goweft::test]
fn a_select_that_sends_and_receives_does_not_meet_itself() {
    for cap in [0, 10] {
        let (tx, rx) = channel::bounded(cap);
        let workers: Vec<_> = (0..2)
            .map(|me| {
                let (tx, rx) = (tx.clone(), rx.clone());
                goweft::spawn(move || {
                    let check = |v: Result<usize, _>| match v {
                        Ok(v) => assert!(cap > 0 || v != me, "it met itself"),
                        // The other one is done.
                        Err(_) => assert!(rx.is_closed()),
                    };
                    for i in 0..1000 {
                        if me == 0 || i % 2 == 0 {
                            select! {
                                send(tx, me) -> res => assert!(res.is_ok() || rx.is_closed()),
                                recv(rx) -> v => check(v),
                            }
                        } else {
                            select! {
                                recv(rx) -> v => check(v),
                                send(tx, me) -> res => assert!(res.is_ok() || rx.is_closed()),
                            }
                        }
                    }
                    // Whoever is last has nobody to meet any more.
                    rx.close();
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
    }
}

// chan_test.go TestSelectStress: four channels; on each a plain sender and receiver, and a
// select on each side over all of them.
#[goweft::test]
fn plain_operations_and_selects_mix() {
    const N: usize = 10_000;
    let channels: Vec<(Sender<usize>, Receiver<usize>)> = [0, 0, 2, 3]
        .iter()
        .map(|&cap| channel::bounded(cap))
        .collect();
    let wg = goweft::sync::WaitGroup::new();
    for (tx, rx) in channels.clone() {
        wg.go(move || {
            for i in 0..N {
                tx.send(i).unwrap();
                if i % 256 == 0 {
                    goweft::task::yield_now();
                }
            }
        });
        wg.go(move || (0..N).for_each(|_| _ = rx.recv().unwrap()));
    }
    let c = channels.clone();
    wg.go(move || {
        let mut left = [N; 4];
        let mut tx: Vec<_> = c.into_iter().map(|(tx, _)| Some(tx)).collect();
        for _ in 0..4 * N {
            let which = select! {
                send(tx[3], 0) -> res => { res.unwrap(); 3 }
                send(tx[2], 0) -> res => { res.unwrap(); 2 }
                send(tx[0], 0) -> res => { res.unwrap(); 0 }
                send(tx[1], 0) -> res => { res.unwrap(); 1 }
            };
            left[which] -= 1;
            if left[which] == 0 {
                tx[which] = None;
            }
        }
        assert_eq!(left, [0; 4]);
    });
    let c = channels.clone();
    wg.go(move || {
        let mut left = [N; 4];
        let mut rx: Vec<_> = c.into_iter().map(|(_, rx)| Some(rx)).collect();
        for _ in 0..4 * N {
            let which = select! {
                recv(rx[0]) -> v => { v.unwrap(); 0 }
                recv(rx[1]) -> v => { v.unwrap(); 1 }
                recv(rx[2]) -> v => { v.unwrap(); 2 }
                recv(rx[3]) -> v => { v.unwrap(); 3 }
            };
            left[which] -= 1;
            if left[which] == 0 {
                rx[which] = None;
            }
        }
        assert_eq!(left, [0; 4]);
    });
    wg.wait();
    assert!(channels.iter().all(|(tx, _)| tx.is_empty()));
}

// chan_test.go TestPseudoRandomSend: a select between two sends chooses fairly.
#[goweft::test]
fn the_choice_between_two_ready_sends_is_fair() {
    for cap in [0, 1] {
        const N: usize = 1000;
        let (tx, rx) = channel::bounded(cap);
        let (done, results) = channel::bounded(1);
        go! {
            let ones = (0..N).filter(|_| {
                goweft::task::yield_now();
                rx.recv() == Ok(1)
            }).count();
            done.send(ones).unwrap();
        }
        for _ in 0..N {
            select! {
                send(tx, 0) -> res => res.unwrap(),
                send(tx, 1) -> res => res.unwrap(),
            }
        }
        let ones = results.recv().unwrap();
        assert!(ones > N / 10 && ones < 9 * N / 10, "{ones} of {N}");
    }
}

// test/chan/fifo.go: a daisy chain of goroutines, each waits for its turn.
#[goweft::test]
fn a_daisy_chain_keeps_the_order() {
    let (results_tx, results) = channel::unbounded();
    let (start, mut input) = channel::bounded::<()>(0);
    for i in 0..10 {
        let (next_tx, next) = channel::bounded::<()>(0);
        let results = results_tx.clone();
        go! {
            input.recv().unwrap();
            results.send(i).unwrap();
            _ = next_tx.send(());
        }
        input = next;
    }
    start.send(()).unwrap();
    input.recv().unwrap();
    assert_eq!(
        results.try_iter().collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
}

// test/chan/goroutines.go: 10,000 goroutines in a chain.
#[goweft::test]
fn ten_thousand_goroutines_pass_a_value_along() {
    let (leftmost, mut input) = channel::bounded::<u32>(0);
    for _ in 0..10_000 {
        let (tx, next) = channel::bounded(0);
        let rx = std::mem::replace(&mut input, next);
        go!(move || tx.send(rx.recv().unwrap() + 1).unwrap());
    }
    leftmost.send(0).unwrap();
    assert_eq!(input.recv(), Ok(10_000));
}

// test/chan/nonblock.go: for several types.
#[goweft::test]
fn operations_that_do_not_wait_say_so_for_every_type() {
    fn check<T: Send + Clone + PartialEq + std::fmt::Debug + 'static>(value: T) {
        for cap in [0, 1] {
            let (tx, rx) = channel::bounded::<T>(cap);
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            if cap == 0 {
                assert_eq!(
                    tx.try_send(value.clone()),
                    Err(TrySendError::Full(value.clone()))
                );
                // With a partner that waits both succeed.
                let partner = goweft::spawn({
                    let rx = rx.clone();
                    move || rx.recv()
                });
                until(|| tx.try_send(value.clone()).is_ok());
                assert_eq!(partner.join().unwrap(), Ok(value.clone()));
                let partner = goweft::spawn({
                    let (tx, value) = (tx.clone(), value.clone());
                    move || tx.send(value)
                });
                until(|| rx.try_recv().as_ref() == Ok(&value));
                partner.join().unwrap().unwrap();
            } else {
                tx.try_send(value.clone()).unwrap();
                assert_eq!(
                    tx.try_send(value.clone()),
                    Err(TrySendError::Full(value.clone()))
                );
                assert_eq!(rx.try_recv(), Ok(value.clone()));
            }
        }
    }
    check(true);
    check(7i32);
    check(String::from("hello"));
    check(2.5f64);
    check(Some(Box::new([1u64; 9])));
    check(());
}

// test/chan/select.go and select3.go: what is ready, what is not.
#[goweft::test]
fn readiness_of_every_kind_of_channel() {
    let is_ready = |tx: Option<&Sender<u8>>, rx: Option<&Receiver<u8>>| {
        let sends = select! { send(tx, 1) -> _ => true, default => false };
        let receives = select! { recv(rx) -> _ => true, default => false };
        (sends, receives)
    };
    assert_eq!(is_ready(None, None), (false, false));
    let (tx, rx) = channel::bounded(0);
    assert_eq!(is_ready(Some(&tx), Some(&rx)), (false, false));
    let (tx, rx) = channel::bounded(1);
    assert_eq!(is_ready(None, Some(&rx)), (false, false));
    assert_eq!(is_ready(Some(&tx), None), (true, false));
    assert_eq!(is_ready(Some(&tx), None), (false, false));
    assert_eq!(is_ready(None, Some(&rx)), (false, true));
    tx.close();
    assert_eq!(is_ready(Some(&tx), Some(&rx)), (true, true));
}

// test/chan/select2.go: two hundred thousand selects leave nothing behind. (Memory is watched by
// the counting allocator of this test binary.)
#[goweft::test]
fn selects_leave_no_memory_behind() {
    fn sender(tx: Sender<usize>, other: Receiver<usize>, n: usize) {
        for i in 0..n {
            select! {
                send(tx, i) -> res => res.unwrap(),
                recv(other) -> _ => unreachable!(),
            }
        }
    }
    let run = |n: usize| {
        let (tx, rx) = channel::bounded(0);
        let (_keep, other) = channel::bounded(0);
        let other2 = other.clone();
        let handle = goweft::spawn(move || sender(tx, other2, n));
        for i in 0..n {
            select! {
                recv(rx) -> v => assert_eq!(v, Ok(i)),
                recv(other) -> _ => unreachable!(),
            }
        }
        handle.join().unwrap();
    };
    run(1000);
    // Other tests of this binary allocate too, as much as this now and then; a leak would be
    // 20,000 records, each time.
    let grows = |_| {
        let before = ALLOCATOR.live.load(Ordering::Relaxed);
        run(20_000);
        let after = ALLOCATOR.live.load(Ordering::Relaxed);
        println!("{before} bytes before, {after} after");
        after >= before + 800_000
    };
    assert!(!(0..3).all(grows), "it grows each time");
}

/// Counts the bytes that are allocated and not freed.
struct Counting {
    live: std::sync::atomic::AtomicI64,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting {
    live: std::sync::atomic::AtomicI64::new(0),
};

// SAFETY: it is the system's allocator, with a counter.
unsafe impl std::alloc::GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
        self.live.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { std::alloc::System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: std::alloc::Layout) {
        self.live.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { std::alloc::System.dealloc(ptr, layout) }
    }
}

// test/chan/select7.go: values meet whatever form the two sides have.
#[goweft::test]
fn every_form_of_send_meets_every_form_of_receive() {
    type Recv = fn(&Receiver<u32>) -> u32;
    type Send = fn(&Sender<u32>, u32);
    fn never() -> Receiver<u32> {
        channel::never()
    }
    let recvs: [Recv; 3] = [
        |rx| rx.recv().unwrap(),
        |rx| select! { recv(rx) -> v => v.unwrap() },
        |rx| select! { recv(rx) -> v => v.unwrap(), recv(never()) -> _ => unreachable!() },
    ];
    let sends: [Send; 3] = [
        |tx, v| tx.send(v).unwrap(),
        |tx, v| select! { send(tx, v) -> res => res.unwrap() },
        |tx, v| select! { send(tx, v) -> res => res.unwrap(), recv(never()) -> _ => unreachable!() },
    ];
    for recv in recvs {
        for send in sends {
            for cap in [0, 1] {
                let (tx, rx) = channel::bounded(cap);
                let sender = goweft::spawn(move || (0..50).for_each(|i| send(&tx, i)));
                (0..50).for_each(|i| assert_eq!(recv(&rx), i));
                sender.join().unwrap();
            }
        }
    }
}

// test/chan/sieve1.go and sieve2.go.
#[goweft::test]
fn the_prime_sieve_finds_the_primes() {
    fn generate(tx: Sender<u32>) {
        for i in 2.. {
            if tx.send(i).is_err() {
                return;
            }
        }
    }
    fn filter(rx: Receiver<u32>, tx: Sender<u32>, prime: u32) {
        for i in rx.iter().filter(|i| i % prime != 0) {
            if tx.send(i).is_err() {
                return;
            }
        }
    }
    for cap in [0, 16] {
        let (tx, mut rx) = channel::bounded(cap);
        go!(generate(tx));
        let mut primes = Vec::new();
        for _ in 0..100 {
            let prime = rx.recv().unwrap();
            primes.push(prime);
            let (tx, next) = channel::bounded(cap);
            go!(filter(rx, tx, prime));
            rx = next;
        }
        assert_eq!(primes[..10], [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert_eq!(primes[99], 541);
    }
}

// test/chan/zerosize.go.
#[goweft::test]
fn channels_of_nothing_count() {
    let (tx, rx) = channel::bounded::<[u8; 0]>(3);
    (0..3).for_each(|_| tx.send([]).unwrap());
    assert!(tx.is_full());
    drop(tx);
    assert_eq!(rx.iter().count(), 3);
}

// test/chanlinear.go: the cost of leaving a queue does not grow with its length.
#[goweft::test]
fn a_select_leaves_a_long_queue_in_constant_time() {
    let time = |n: usize| {
        let (keep, crowded) = channel::bounded::<u8>(0);
        let mut exits = Vec::new();
        let mut waiters = Vec::new();
        let waiting = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        for _ in 0..n {
            let (exit_tx, exit) = channel::bounded::<u8>(0);
            let (crowded, waiting) = (crowded.clone(), waiting.clone());
            waiters.push(goweft::spawn(move || {
                waiting.fetch_add(1, Ordering::Relaxed);
                select! {
                    recv(crowded) -> _ => unreachable!(),
                    recv(exit) -> _ => {}
                }
            }));
            exits.push(exit_tx);
        }
        until(|| waiting.load(Ordering::Relaxed) == n);
        let_others_run();
        let start = Instant::now();
        // From the back, the worst case of a singly linked list.
        while let Some(exit) = exits.pop() {
            exit.send(1).unwrap();
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
        drop(keep);
        start.elapsed()
    };
    // Quadratic would be 4 times; noise is repeated away.
    let ok = (0..8).any(|_| {
        let small = time(1000);
        time(2000) < 3 * small
    });
    assert!(ok);
}

// test/ken/chan.go and chan1.go: many goroutines, channels of all sizes, plain and
// by select; a fixed number of values in all.
#[goweft::test]
fn a_fixed_number_of_messages_arrives_through_any_mixture() {
    for cap in [0, 1, 10, 100] {
        for by_select in [false, true] {
            let channels: Vec<(Sender<u32>, Receiver<u32>)> =
                (0..4).map(|_| channel::bounded(cap)).collect();
            let (total_tx, total) = channel::unbounded();
            for (i, (tx, _)) in channels.iter().enumerate() {
                let (tx, n) = (tx.clone(), 100 + 10 * i as u32);
                go! {
                    for v in 0..n {
                        if by_select && v % 2 == 0 {
                            select! { send(tx, v) -> res => res.unwrap() }
                        } else {
                            tx.send(v).unwrap();
                        }
                    }
                }
            }
            for _ in 0..3 {
                let mut rx: Vec<_> = channels.iter().map(|(_, rx)| Some(rx.clone())).collect();
                let total_tx = total_tx.clone();
                go! {
                    let mut count = 0;
                    while rx.iter().any(Option::is_some) {
                        let (closed, which) = select! {
                            recv(rx[0]) -> v => (v.is_err(), 0),
                            recv(rx[1]) -> v => (v.is_err(), 1),
                            recv(rx[2]) -> v => (v.is_err(), 2),
                            recv(rx[3]) -> v => (v.is_err(), 3),
                        };
                        match closed {
                            true => rx[which] = None,
                            false => count += 1,
                        }
                    }
                    total_tx.send(count).unwrap();
                }
            }
            drop((channels, total_tx));
            assert_eq!(total.iter().sum::<u32>(), 100 + 110 + 120 + 130);
        }
    }
}

// test/stack.go: channels work at any depth of the stack.
#[goweft::test]
fn channels_work_deep_in_the_stack() {
    fn down(depth: u32, tx: &Sender<u32>, rx: &Receiver<u32>) -> u32 {
        if depth == 0 {
            tx.send(1).unwrap();
            return rx.recv().unwrap();
        }
        std::hint::black_box(down(depth - 1, tx, rx)) + 1
    }
    let (tx, answers) = channel::bounded(0);
    let (questions, rx) = channel::bounded(0);
    go!(move || answers
        .iter()
        .for_each(|v: u32| questions.send(v + 1).unwrap()));
    assert_eq!(down(500, &tx, &rx), 502);
}

#[test]
fn threads_and_goroutines_share_a_daisy_chain() {
    let (tx, mut rx) = channel::bounded(0);
    let mut threads = Vec::new();
    for i in 0..20 {
        let (next_tx, next) = channel::bounded(0);
        let link = move || next_tx.send(rx.recv().unwrap() + 1).unwrap();
        match i % 2 {
            0 => threads.push(thread::spawn(link)),
            _ => drop(goweft::spawn(link)),
        }
        rx = next;
    }
    tx.send(0).unwrap();
    assert_eq!(rx.recv(), Ok(20));
    threads.into_iter().for_each(|t| t.join().unwrap());
}
