//! What Go's own tests of channels prove, written anew: runtime/chan_test.go and
//! test/chan/*.go.

use goweft::channel::{self, Receiver, Sender, TryRecvError, TrySendError};
use goweft::{Builder, go, select};
use goweft_tests::counting::Counting;
use goweft_tests::{scenario, sys};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

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

/// Starts four who have to wait, each of whom counts itself in `begun` first. What it returns is for
/// when they have had the time to go on too early: it sees that they wait, and lets them go on.
fn who_cannot_go_on_waits(cap: usize, begun: &Arc<AtomicUsize>) -> impl FnOnce() {
    let begin = || {
        let begun = begun.clone();
        move || _ = begun.fetch_add(1, Ordering::Relaxed)
    };
    // An empty channel blocks receivers.
    let empty = channel::bounded::<u32>(cap);
    let received: Arc<[AtomicBool; 2]> = Arc::default();
    for n in 0..2 {
        let (rx, received, begin) = (empty.1.clone(), received.clone(), begin());
        go! {
            begin();
            match n {
                0 => _ = rx.recv(),
                _ => _ = select! { recv(rx) -> v => v },
            }
            received[n].store(true, Ordering::Relaxed);
        }
    }
    // A full channel blocks senders.
    let full = channel::bounded::<u32>(cap);
    (0..cap).for_each(|_| full.0.send(0).unwrap());
    let sent = Arc::new(AtomicBool::new(false));
    {
        let (tx, sent, begin) = (full.0.clone(), sent.clone(), begin());
        go! {
            begin();
            tx.send(0).unwrap();
            sent.store(true, Ordering::Relaxed);
        }
    }
    // One who will hear of a close.
    let (closing, rx) = channel::bounded::<u32>(cap);
    let begin = begin();
    let waiter = goweft::spawn(move || {
        begin();
        rx.recv()
    });

    move || {
        assert!(received.iter().all(|r| !r.load(Ordering::Relaxed)));
        // A receive without waiting sees nothing, in either form.
        assert_eq!(empty.1.try_recv(), Err(TryRecvError::Empty));
        select! { recv(empty.1) -> _ => panic!("nothing is there"), default => {} }
        empty.0.send(0).unwrap();
        empty.0.send(0).unwrap();
        until(|| received.iter().all(|r| r.load(Ordering::Relaxed)));

        assert!(!sent.load(Ordering::Relaxed));
        assert_eq!(full.0.try_send(0), Err(TrySendError::Full(0)));
        select! { send(full.0, 0) -> _ => panic!("no room"), default => {} }
        full.1.recv().unwrap();
        until(|| sent.load(Ordering::Relaxed));

        assert!(!waiter.is_finished());
        closing.close();
        assert!(waiter.join().unwrap().is_err());
    }
}

// chan_test.go TestChan, for each capacity.
#[goweft::test]
fn the_rules_of_channels_hold_for_every_capacity() {
    const CAPACITIES: usize = 200;
    const VALUES: usize = 1000;
    // One while for all of them.
    let begun: Arc<AtomicUsize> = Arc::default();
    let checks: Vec<_> = (0..CAPACITIES)
        .map(|cap| who_cannot_go_on_waits(cap, &begun))
        .collect();
    until(|| begun.load(Ordering::Relaxed) == 4 * CAPACITIES);
    let_others_run();
    for check in checks {
        check();
    }

    for cap in 0..CAPACITIES {
        // A closed channel gives what is queued, then errors, at once.
        let (tx, rx) = channel::bounded::<usize>(cap);
        (0..cap).for_each(|i| tx.send(i).unwrap());
        tx.close();
        for i in 0..cap {
            assert_eq!(rx.recv(), Ok(i));
        }
        assert!(rx.recv().is_err());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));

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
            go!(move || (0..VALUES).for_each(|i| tx.send(i).unwrap()));
        }
        let counts: Vec<_> = (0..4)
            .map(|_| {
                let rx = rx.clone();
                goweft::spawn(move || {
                    let mut counts = [0; VALUES];
                    (0..VALUES).for_each(|_| counts[rx.recv().unwrap()] += 1);
                    counts
                })
            })
            .collect();
        let mut total = [0; VALUES];
        for count in counts {
            for (total, n) in total.iter_mut().zip(count.join().unwrap()) {
                *total += n;
            }
        }
        assert!(total.iter().all(|&n| n == 4), "{total:?}");

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
// select on each side over all of them. Each value arrives once, and those of a sender in order.
#[goweft::test]
fn plain_operations_and_selects_mix() {
    // Through each channel, from each sender and to each receiver. An emulator takes its time.
    let n: usize = if sys::is_emulated() { 10_000 } else { 100_000 };
    let channels: Vec<(Sender<usize>, Receiver<usize>)> = [0, 0, 2, 3]
        .iter()
        .map(|&cap| channel::bounded(cap))
        .collect();
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for (tx, rx) in channels.clone() {
        senders.push(goweft::spawn(move || {
            for i in 0..n {
                tx.send(i).unwrap();
                if i % 256 == 0 {
                    goweft::task::yield_now();
                }
            }
        }));
        receivers.push(goweft::spawn(move || -> Vec<_> {
            (0..n).map(|_| rx.recv().unwrap()).collect()
        }));
    }
    let c = channels.clone();
    senders.push(goweft::spawn(move || {
        let mut next = [n; 4];
        let mut tx: Vec<_> = c.into_iter().map(|(tx, _)| Some(tx)).collect();
        for _ in 0..4 * n {
            let which = select! {
                send(tx[3], next[3]) -> res => { res.unwrap(); 3 }
                send(tx[2], next[2]) -> res => { res.unwrap(); 2 }
                send(tx[0], next[0]) -> res => { res.unwrap(); 0 }
                send(tx[1], next[1]) -> res => { res.unwrap(); 1 }
            };
            next[which] += 1;
            if next[which] == 2 * n {
                tx[which] = None;
            }
        }
    }));
    let c = channels.clone();
    let selecting = goweft::spawn(move || {
        let mut got: [Vec<usize>; 4] = Default::default();
        let mut rx: Vec<_> = c.into_iter().map(|(_, rx)| Some(rx)).collect();
        for _ in 0..4 * n {
            let (which, v) = select! {
                recv(rx[0]) -> v => (0, v.unwrap()),
                recv(rx[1]) -> v => (1, v.unwrap()),
                recv(rx[2]) -> v => (2, v.unwrap()),
                recv(rx[3]) -> v => (3, v.unwrap()),
            };
            got[which].push(v);
            if got[which].len() == n {
                rx[which] = None;
            }
        }
        got
    });
    for sender in senders {
        sender.join().unwrap();
    }
    let selected = selecting.join().unwrap();
    for (plain, selected) in receivers.into_iter().zip(selected) {
        let mut times = vec![0; 2 * n];
        for got in [plain.join().unwrap(), selected] {
            // What may come next from the plain sender, and from the one that selects.
            let mut least = [0, n];
            for v in got {
                assert!(v >= least[v / n], "{v} after {least:?}");
                least[v / n] = v + 1;
                times[v] += 1;
            }
        }
        assert!(times.iter().all(|&times| times == 1));
    }
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

// test/chan/select2.go: two hundred thousand selects leave nothing behind. The allocator counts for
// all of a process, so it is done in one of its own: this program again, with this test only.
#[test]
fn selects_leave_no_memory_behind() {
    const ALONE: &str = "GOWEFT_TEST_SELECTS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let program = std::env::current_exe().unwrap();
        let args = ["--exact", "selects_leave_no_memory_behind", "--nocapture"];
        let ran = scenario::run_with(program.to_str().unwrap(), &args, &[(ALONE, "1")]);
        assert!(
            ran.status.success() && ran.out.contains("1 passed"),
            "{ran:?}"
        );
        return;
    }
    /// A hundred thousand on each side.
    fn selects() {
        const N: usize = 100_000;
        let (tx, rx) = channel::bounded(0);
        let (_keep, other) = channel::bounded::<()>(0);
        let other2 = other.clone();
        let sender = goweft::spawn(move || {
            for i in 0..N {
                select! {
                    send(tx, i) -> res => res.unwrap(),
                    recv(other2) -> _ => unreachable!(),
                }
            }
        });
        for i in 0..N {
            select! {
                recv(rx) -> v => assert_eq!(v, Ok(i)),
                recv(other) -> _ => unreachable!(),
            }
        }
        sender.join().unwrap();
    }
    goweft::run(|| {
        selects();
        // A byte for twenty selects would be too much. A thread that the runtime starts may take as
        // much, but once.
        let grows = |_| {
            let before = ALLOCATOR.bytes();
            selects();
            let grown = ALLOCATOR.bytes() - before;
            println!("{grown} bytes");
            grown >= 10_000
        };
        assert!(!(0..3).all(grows), "it grows each time");
    });
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
        let waiting = Arc::new(AtomicUsize::new(0));
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

// test/ken/chan.go: four channels of each size, and on either side a plain goroutine for each, or
// one that selects; a fixed number of values in all, in order.
#[goweft::test]
fn a_fixed_number_of_messages_arrives_through_any_mixture() {
    /// Through each channel go this and the values after it.
    const FIRST: [u32; 4] = [100, 200, 300, 400];
    const EACH: u32 = 76;
    /// Lets others go first, sometimes.
    fn dawdle(n: u32) {
        (0..n).for_each(|_| goweft::task::yield_now());
    }
    fn send(tx: Sender<u32>, first: u32) {
        for v in first..first + EACH {
            dawdle(v % 5);
            tx.send(v).unwrap();
        }
    }
    fn select_send(tx: Vec<Sender<u32>>) {
        let mut next = FIRST;
        let mut tx: Vec<_> = tx.into_iter().map(Some).collect();
        while tx.iter().any(Option::is_some) {
            dawdle(next.iter().sum::<u32>() % 3);
            let which = select! {
                send(tx[0], next[0]) -> res => { res.unwrap(); 0 }
                send(tx[1], next[1]) -> res => { res.unwrap(); 1 }
                send(tx[2], next[2]) -> res => { res.unwrap(); 2 }
                send(tx[3], next[3]) -> res => { res.unwrap(); 3 }
            };
            next[which] += 1;
            if next[which] == FIRST[which] + EACH {
                tx[which] = None;
            }
        }
    }
    fn recv(rx: Receiver<u32>, first: u32) -> u32 {
        let mut next = first;
        while let Ok(v) = rx.recv() {
            assert_eq!(v, next);
            next += 1;
            dawdle(v % 4);
        }
        next - first
    }
    fn select_recv(rx: Vec<Receiver<u32>>) -> u32 {
        let (mut next, mut count) = (FIRST, 0);
        let mut rx: Vec<_> = rx.into_iter().map(Some).collect();
        while rx.iter().any(Option::is_some) {
            let (which, v) = select! {
                recv(rx[0]) -> v => (0, v),
                recv(rx[1]) -> v => (1, v),
                recv(rx[2]) -> v => (2, v),
                recv(rx[3]) -> v => (3, v),
            };
            let Ok(v) = v else {
                rx[which] = None;
                continue;
            };
            assert_eq!(v, next[which]);
            next[which] += 1;
            count += 1;
            dawdle(v % 2);
        }
        count
    }

    let (mut as_in_go, mut by_select_only) = (0, 0);
    for cap in [0, 1, 10, 100] {
        for (sends_select, receives_select) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let (tx, rx): (Vec<_>, Vec<_>) = (0..4).map(|_| channel::bounded(cap)).unzip();
            if sends_select {
                go!(select_send(tx));
            } else {
                for (tx, first) in tx.into_iter().zip(FIRST) {
                    go!(send(tx, first));
                }
            }
            let receivers: Vec<_> = if receives_select {
                vec![goweft::spawn(move || select_recv(rx))]
            } else {
                let each = rx.into_iter().zip(FIRST);
                each.map(|(rx, first)| goweft::spawn(move || recv(rx, first)))
                    .collect()
            };
            let count: u32 = receivers.into_iter().map(|r| r.join().unwrap()).sum();
            if sends_select && receives_select {
                by_select_only += count;
            } else {
                as_in_go += count;
            }
        }
    }
    assert_eq!((as_in_go, by_select_only), (3648, 1216));
}

// test/ken/chan1.go: a thousand messages, and ten that select them from one channel.
#[goweft::test]
fn each_message_is_received_by_one_of_ten() {
    let (tx, rx) = channel::bounded(2);
    let receivers: Vec<_> = (0..10)
        .map(|_| {
            let rx = rx.clone();
            goweft::spawn(move || {
                let mut got = Vec::new();
                loop {
                    select! {
                        recv(rx) -> v => match v {
                            Ok(v) => got.push(v),
                            Err(_) => return got,
                        }
                    }
                }
            })
        })
        .collect();
    (0..1000).for_each(|v| tx.send(v).unwrap());
    drop(tx);
    let mut got: Vec<i32> = Vec::new();
    for receiver in receivers {
        got.extend(receiver.join().unwrap());
    }
    got.sort_unstable();
    assert!(got.into_iter().eq(0..1000));
}

// test/stack.go: at each of ten thousand depths a goroutine is started, a closure called and code
// deferred, and all of them use channels. (No stack of the default size holds so many frames.)
#[goweft::test]
fn channels_work_deep_in_the_stack() {
    const DEPTH: u32 = 10_000;
    struct Channels {
        /// From what was started.
        started: (Sender<u32>, Receiver<u32>),
        questions: Sender<u32>,
        /// One more than was asked.
        answers: Receiver<u32>,
        /// What deferred code was answered.
        deferred: Sender<u32>,
    }
    fn down(depth: u32, channels: &Channels) {
        let ask = || {
            channels.questions.send(depth).unwrap();
            channels.answers.recv().unwrap()
        };
        goweft::defer!(channels.deferred.send(ask()).unwrap());
        go!(channels.started.0.clone().send(depth));
        assert_eq!(channels.started.1.recv(), Ok(depth));
        assert_eq!(ask(), depth + 1);
        if depth < DEPTH {
            down(depth + 1, channels);
        }
    }
    let (questions, asked) = channel::bounded(0);
    let (answer, answers) = channel::bounded(0);
    let (deferred, seen) = channel::unbounded();
    go!(move || asked.iter().for_each(|n: u32| answer.send(n + 1).unwrap()));
    let channels = Channels {
        started: channel::bounded(0),
        questions,
        answers,
        deferred,
    };
    let deep = Builder::new()
        .stack_size(64 << 20)
        .spawn(move || down(1, &channels));
    deep.unwrap().join().unwrap();
    // The deepest one first.
    assert!(seen.iter().eq((2..=DEPTH + 1).rev()));
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
