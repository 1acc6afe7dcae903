//! Races: hand-offs against deadlines, closes, drops and each other. Every value is counted:
//! none may be lost or arrive twice.

use goweft::channel::{self, Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError};
use goweft::select;
use goweft::sync::WaitGroup;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Long enough to be sure; never waited for when all is well.
const WATCHDOG: Duration = Duration::from_secs(60);

/// All flavours; the bounded ones small, so that they are often full.
fn flavours<T>() -> Vec<(Sender<T>, Receiver<T>)> {
    vec![
        channel::bounded(0),
        channel::bounded(1),
        channel::bounded(3),
        channel::unbounded(),
    ]
}

/// A cheap source of different delays.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn many_senders_and_receivers_conserve_values() {
    const EACH: u64 = 5_000;
    for (tx, rx) in flavours::<u64>() {
        let (sum, count) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let receive = || {
            let (rx, sum, count) = (rx.clone(), sum.clone(), count.clone());
            move || {
                // Each sender's values must come in order.
                let mut last = [0; 8];
                for v in &rx {
                    let (who, n) = ((v >> 32) as usize, v & 0xffff_ffff);
                    assert!(n > last[who], "value {n} of {who} after {}", last[who]);
                    last[who] = n;
                    sum.fetch_add(n, Ordering::Relaxed);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        let send = |who: u64| {
            let tx = tx.clone();
            move || (1..=EACH).for_each(|n| tx.send(who << 32 | n).unwrap())
        };
        let wg = WaitGroup::new();
        (0..3).for_each(|_| wg.go(receive()));
        (0..3).for_each(|who| wg.go(send(who)));
        let threads = [thread::spawn(receive()), thread::spawn(send(3))];
        drop((tx, rx));
        for thread in threads {
            thread.join().unwrap();
        }
        wg.wait();
        assert_eq!(count.load(Ordering::Relaxed), 4 * EACH);
        assert_eq!(sum.load(Ordering::Relaxed), 4 * EACH * (EACH + 1) / 2);
    }
}

/// `rounds` sends with short deadlines against receives with short deadlines. What a
/// send says it sent must be what the receives say they received.
fn timeouts_race_hand_offs(rounds: u64, on_threads: bool) {
    for (tx, rx) in [channel::bounded(0), channel::bounded(1)] {
        let (sent, got) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let sender = {
            let sent = sent.clone();
            move || {
                let mut dice = Dice(0x9e37_79b9);
                for n in 1..=rounds {
                    let result = match dice.roll(4) {
                        0 => tx.try_send(n).is_ok(),
                        _ => tx
                            .send_timeout(n, Duration::from_nanos(dice.roll(3000)))
                            .is_ok(),
                    };
                    if result {
                        sent.fetch_add(n, Ordering::Relaxed);
                    }
                }
            }
        };
        let receiver = {
            let got = got.clone();
            move || {
                let mut dice = Dice(0x5851_f42d);
                loop {
                    match rx.recv_timeout(Duration::from_nanos(dice.roll(3000))) {
                        Ok(n) => _ = got.fetch_add(n, Ordering::Relaxed),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            }
        };
        if on_threads {
            let threads = (thread::spawn(sender), thread::spawn(receiver));
            threads.0.join().unwrap();
            threads.1.join().unwrap();
        } else {
            let goroutines = (goweft::spawn(sender), goweft::spawn(receiver));
            goroutines.0.join().unwrap();
            goroutines.1.join().unwrap();
        }
        assert_eq!(sent.load(Ordering::Relaxed), got.load(Ordering::Relaxed));
    }
}

#[test]
fn timeouts_race_hand_offs_on_threads() {
    timeouts_race_hand_offs(50_000, true);
}

#[test]
fn timeouts_race_hand_offs_in_goroutines() {
    timeouts_race_hand_offs(50_000, false);
}

// may's select! ran two arms in 5 to 7 of 2,000 rounds (ARCHITECTURE 12); one value
// sent to each of two channels must be received from one of them, once.
#[test]
fn a_select_never_runs_two_arms() {
    for cap in [0, 1] {
        for _ in 0..2_000 {
            let (a, ar) = channel::bounded(cap);
            let (b, br) = channel::bounded(cap);
            let senders = [
                goweft::spawn(move || a.send_timeout(1, WATCHDOG).is_ok()),
                goweft::spawn(move || b.send_timeout(2, WATCHDOG).is_ok()),
            ];
            let mut arms = 0;
            let first = select! {
                recv(ar) -> v => { arms += 1; v.unwrap() }
                recv(br) -> v => { arms += 1; v.unwrap() }
            };
            assert_eq!(arms, 1);
            // The other value is still where it was.
            let (other, value) = if first == 1 { (&br, 2) } else { (&ar, 1) };
            assert_eq!(other.recv(), Ok(value));
            for sender in senders {
                assert!(sender.join().unwrap());
            }
        }
    }
}

#[test]
fn selects_with_deadlines_conserve_values() {
    const ROUNDS: u64 = 20_000;
    for cap in [0, 2] {
        let (a, ar) = channel::bounded::<u64>(cap);
        let (b, br) = channel::bounded::<u64>(cap);
        let (sent, got) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let wg = WaitGroup::new();
        for who in 0..3 {
            let (a, b, sent) = (a.clone(), b.clone(), sent.clone());
            wg.go(move || {
                let mut dice = Dice(77 + who);
                for n in 1..=ROUNDS / 3 {
                    let timeout = Duration::from_nanos(dice.roll(2000));
                    let ok = match dice.roll(3) {
                        0 => select! {
                            send(a, n) -> res => res.is_ok(),
                            default => false,
                        },
                        _ => select! {
                            send(a, n) -> res => res.is_ok(),
                            send(b, n) -> res => res.is_ok(),
                            default(timeout) => false,
                        },
                    };
                    if ok {
                        sent.fetch_add(n, Ordering::Relaxed);
                    }
                }
            });
        }
        drop((a, b));
        for who in 0..3 {
            let (ar, br, got) = (ar.clone(), br.clone(), got.clone());
            wg.go(move || {
                let mut dice = Dice(99 + who);
                let (mut ar, mut br) = (Some(ar), Some(br));
                while ar.is_some() || br.is_some() {
                    let timeout = Duration::from_nanos(dice.roll(2000));
                    select! {
                        recv(ar) -> v => match v {
                            Ok(n) => _ = got.fetch_add(n, Ordering::Relaxed),
                            Err(_) => ar = None,
                        },
                        recv(br) -> v => match v {
                            Ok(n) => _ = got.fetch_add(n, Ordering::Relaxed),
                            Err(_) => br = None,
                        },
                        default(timeout) => {}
                    }
                }
            });
        }
        wg.wait();
        assert_eq!(sent.load(Ordering::Relaxed), got.load(Ordering::Relaxed));
    }
}

#[test]
fn undone_sends_lose_nothing() {
    // Selects that change their mind after they were chosen, among senders and
    // receivers that do not.
    for cap in [0, 1] {
        let (tx, rx) = channel::bounded::<u64>(cap);
        let sent = Arc::new(AtomicU64::new(0));
        let wg = WaitGroup::new();
        for who in 0..3u64 {
            let (tx, sent) = (tx.clone(), sent.clone());
            wg.go(move || {
                let mut dice = Dice(5 + who);
                let mut n = 0;
                while n < 3_000 {
                    let give_up = dice.roll(3) == 0;
                    match who {
                        0 => tx.send(1).unwrap(),
                        _ => select! {
                            send(tx, { if give_up { continue } 1 }) -> res => res.unwrap(),
                        },
                    }
                    n += 1;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        drop(tx);
        let got = Arc::new(AtomicU64::new(0));
        for who in 0..3 {
            let (rx, got) = (rx.clone(), got.clone());
            wg.go(move || {
                loop {
                    let received = match who {
                        0 => rx.recv().map_err(|_| ()),
                        1 => select! { recv(rx) -> v => v.map_err(|_| ()) },
                        _ => match rx.try_recv() {
                            Err(TryRecvError::Empty) => {
                                goweft::task::yield_now();
                                continue;
                            }
                            other => other.map_err(|_| ()),
                        },
                    };
                    match received {
                        Ok(n) => _ = got.fetch_add(n, Ordering::Relaxed),
                        Err(()) => return,
                    }
                }
            });
        }
        wg.wait();
        assert_eq!(sent.load(Ordering::Relaxed), 9_000);
        assert_eq!(got.load(Ordering::Relaxed), 9_000);
    }
}

#[test]
fn a_close_races_sends_and_receives() {
    for round in 0..300 {
        for (tx, rx) in flavours::<u64>() {
            let (sent, got) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let closed = Arc::new(AtomicUsize::new(0));
            let wg = WaitGroup::new();
            for n in 1..=4 {
                let (tx, sent) = (tx.clone(), sent.clone());
                wg.go(move || {
                    // A limit for the flavour that takes everything.
                    for _ in 0..500 {
                        let ok = match n % 2 {
                            0 => tx.send(n).is_ok(),
                            _ => select! { send(tx, n) -> res => res.is_ok() },
                        };
                        if !ok {
                            return;
                        }
                        sent.fetch_add(n, Ordering::Relaxed);
                    }
                });
                let (rx, got) = (rx.clone(), got.clone());
                wg.go(move || {
                    while let Ok(n) = match n % 2 {
                        0 => rx.recv(),
                        _ => select! { recv(rx) -> v => v },
                    } {
                        got.fetch_add(n, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..2 {
                let (tx, closed) = (tx.clone(), closed.clone());
                wg.go(move || {
                    for _ in 0..round % 17 {
                        goweft::task::yield_now();
                    }
                    closed.fetch_add(usize::from(tx.close()), Ordering::Relaxed);
                });
            }
            wg.wait();
            assert_eq!(
                closed.load(Ordering::Relaxed),
                1,
                "closed for the first time once"
            );
            let left: u64 = rx.try_iter().sum();
            assert_eq!(
                sent.load(Ordering::Relaxed),
                got.load(Ordering::Relaxed) + left
            );
        }
    }
}

#[test]
fn dropping_handles_races_operations() {
    /// Counts the living.
    struct Alive(Arc<AtomicUsize>);
    impl Alive {
        fn new(count: &Arc<AtomicUsize>) -> Alive {
            count.fetch_add(1, Ordering::Relaxed);
            Alive(count.clone())
        }
    }
    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let alive = Arc::new(AtomicUsize::new(0));
    for round in 0..300 {
        for (tx, rx) in flavours::<Alive>() {
            let wg = WaitGroup::new();
            for _ in 0..3 {
                let (tx, alive) = (tx.clone(), alive.clone());
                wg.go(move || {
                    // A limit for the flavour that takes everything.
                    for _ in 0..500 {
                        if tx.send(Alive::new(&alive)).is_err() {
                            return;
                        }
                    }
                });
            }
            let mut receivers = 3;
            while receivers > 0 {
                let rx = rx.clone();
                let rounds = round % 50 + receivers;
                wg.go(move || (0..rounds).for_each(|_| drop(rx.recv())));
                receivers -= 1;
            }
            drop((tx, rx));
            wg.wait();
            assert_eq!(
                alive.load(Ordering::Relaxed),
                0,
                "every value was dropped once"
            );
        }
    }
}

/// Failures in a row, after which whoever tries waits instead: beside others that compute, the OS
/// lets a thread that only yields have its turn each few milliseconds.
const TRIES: usize = 64;

#[test]
fn try_operations_of_threads_and_goroutines_conserve_values() {
    for cap in [1, 2, 7] {
        let (tx, rx) = channel::bounded::<u64>(cap);
        let sender = |tx: Sender<u64>| {
            move || {
                let mut failures = 0;
                let mut n = 1;
                while n <= 20_000 {
                    match tx.try_send(n) {
                        Ok(()) => (n, failures) = (n + 1, 0),
                        Err(TrySendError::Full(_)) if failures < TRIES => {
                            failures += 1;
                            goweft::task::yield_now();
                        }
                        Err(TrySendError::Full(_)) => {
                            tx.send(n).unwrap();
                            (n, failures) = (n + 1, 0);
                        }
                        Err(e) => panic!("{e}"),
                    }
                }
            }
        };
        let thread = thread::spawn(sender(tx.clone()));
        let goroutine = goweft::spawn(sender(tx));
        let (mut sum, mut failures) = (0, 0);
        loop {
            match rx.try_recv() {
                Ok(n) => (sum, failures) = (sum + n, 0),
                Err(TryRecvError::Empty) if failures < TRIES => {
                    failures += 1;
                    goweft::task::yield_now();
                }
                Err(TryRecvError::Empty) => match rx.recv_timeout(WATCHDOG) {
                    Ok(n) => (sum, failures) = (sum + n, 0),
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(e) => panic!("nobody sends: {e}"),
                },
                Err(TryRecvError::Disconnected) => break,
            }
        }
        thread.join().unwrap();
        goroutine.join().unwrap();
        assert_eq!(sum, 20_000 * 20_001);
    }
}

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
