//! What `select!` and `Select` choose, from threads and goroutines.

// The expansion of `select!` needs no unsafe code in the user's crate.
#![forbid(unsafe_code)]

use goweft::channel::{self, Receiver, RecvError, Select, SendError, Sender, TryRecvError};
use goweft::select;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);
const WATCHDOG: Duration = Duration::from_secs(20);

#[test]
fn smoke() {
    let (tx, rx) = channel::bounded(1);
    select! {
        send(tx, 1) -> res => res.unwrap(),
        recv(rx) -> _ => panic!("it is empty"),
    }
    select! {
        send(tx, 2) -> _ => panic!("it is full"),
        recv(rx) -> n => assert_eq!(n, Ok(1)),
    }
}

#[test]
fn default_is_taken_when_nothing_is_ready() {
    let (tx, rx) = channel::bounded::<u8>(0);
    let taken = select! {
        recv(rx) -> _ => false,
        send(tx, 1) -> _ => false,
        default => true,
    };
    assert!(taken);
    let start = Instant::now();
    let taken = select! {
        recv(rx) -> _ => false,
        default(SOON) => true,
    };
    assert!(taken && start.elapsed() >= SOON);
    let late = select! { default => 3 };
    assert_eq!(late, 3);
}

#[test]
fn a_parked_select_is_woken_by_a_sender() {
    let (_keep, never) = channel::bounded::<u8>(0);
    let (tx, rx) = channel::bounded(0);
    let sender = thread::spawn(move || {
        thread::sleep(SOON);
        tx.send(5).unwrap();
    });
    let got = select! {
        recv(never) -> _ => unreachable!(),
        recv(rx) -> n => n,
        default(WATCHDOG) => panic!("nobody came"),
    };
    assert_eq!(got, Ok(5));
    sender.join().unwrap();
}

#[test]
fn a_parked_select_sends_to_a_receiver_of_every_kind() {
    for how in 0..3 {
        let (tx, rx) = channel::bounded(0);
        let receiver = thread::spawn(move || {
            thread::sleep(SOON);
            match how {
                0 => rx.recv().unwrap(),
                1 => loop {
                    match rx.try_recv() {
                        Ok(n) => break n,
                        Err(TryRecvError::Empty) => thread::yield_now(),
                        Err(e) => panic!("{e}"),
                    }
                },
                _ => select! { recv(rx) -> n => n.unwrap() },
            }
        });
        let evaluated = Cell::new(0);
        select! {
            send(tx, { evaluated.set(evaluated.get() + 1); 9 }) -> res => res.unwrap(),
            default(WATCHDOG) => panic!("nobody came"),
        }
        assert_eq!(evaluated.get(), 1);
        assert_eq!(receiver.join().unwrap(), 9);
    }
}

#[test]
fn a_closed_channel_is_ready() {
    let (tx, rx) = channel::bounded::<u8>(0);
    tx.close();
    select! { recv(rx) -> res => assert_eq!(res, Err(RecvError)) }
    select! { send(tx, 4) -> res => assert_eq!(res, Err(SendError(4))) }
    select! { send(tx, 4) -> res => assert_eq!(res, Err(SendError(4))), default => panic!() }
}

#[test]
fn close_wakes_a_parked_select() {
    for close_the_empty_one in [true, false] {
        let (empty_tx, empty) = channel::bounded::<u8>(0);
        let (full, full_rx) = channel::bounded::<u8>(1);
        full.send(0).unwrap();
        let (rx, tx) = (empty.clone(), full.clone());
        let waiter = thread::spawn(move || {
            select! {
                recv(rx) -> res => (res.err(), None),
                send(tx, 3) -> res => (None, res.err()),
            }
        });
        thread::sleep(SOON);
        if close_the_empty_one {
            empty_tx.close();
            assert_eq!(waiter.join().unwrap(), (Some(RecvError), None));
        } else {
            full_rx.close();
            assert_eq!(waiter.join().unwrap(), (None, Some(SendError(3))));
        }
    }
}

#[test]
fn operands_may_be_options_and_references() {
    let (tx, rx) = channel::bounded(4);
    let (some_tx, no_tx): (Option<Sender<u8>>, Option<Sender<u8>>) = (Some(tx.clone()), None);
    let (some_rx, no_rx): (Option<&Receiver<u8>>, Option<&Receiver<u8>>) = (Some(&rx), None);
    select! {
        send(no_tx, 0) -> _ => unreachable!(),
        recv(no_rx) -> _ => unreachable!(),
        send(some_tx, 1) -> res => res.unwrap(),
    }
    select! { send(&some_tx, 2) -> res => res.unwrap() }
    select! { send(some_tx.as_ref(), 3) -> res => res.unwrap() }
    select! { send(&&tx, 4) -> res => res.unwrap() }
    select! { recv(some_rx) -> n => assert_eq!(n, Ok(1)) }
    select! { recv(Some(rx.clone())) -> n => assert_eq!(n, Ok(2)) }
    select! { recv(&rx) -> n => assert_eq!(n, Ok(3)) }
    select! { recv(rx) -> n => assert_eq!(n, Ok(4)) }
    select! { recv(no_rx) -> _ => unreachable!(), send(no_tx, 1) -> _ => unreachable!(), default => {} }
    let start = Instant::now();
    select! { recv(no_rx) -> _ => unreachable!(), default(SOON) => {} }
    assert!(start.elapsed() >= SOON);
}

#[test]
fn an_arm_may_switch_its_operand_off() {
    let (tx, rx) = channel::bounded(1);
    tx.send(1).unwrap();
    let (mut tx, mut rx) = (Some(tx), Some(rx));
    let mut rounds = 0;
    while tx.is_some() || rx.is_some() {
        rounds += 1;
        select! {
            recv(rx) -> n => match n {
                Ok(_) => tx = None,
                Err(_) => rx = None,
            },
            send(tx, 5) -> _ => unreachable!("it is full until it is dropped"),
        }
    }
    assert_eq!(rounds, 2);
}

// Go's test/chan/select4.go and TestEvaluationOrder-like behaviour of select5.go,
// with goweft's difference: a value is evaluated only when its arm is chosen.
#[test]
fn operands_are_evaluated_once_and_in_order() {
    let (tx, rx) = channel::bounded::<u8>(1);
    let log = std::cell::RefCell::new(Vec::new());
    fn note<T>(log: &std::cell::RefCell<Vec<&'static str>>, what: &'static str, value: T) -> T {
        log.borrow_mut().push(what);
        value
    }
    select! {
        recv(note(&log, "a", &rx)) -> _ => unreachable!(),
        send(note(&log, "b", tx.clone()), note(&log, "value", 1)) -> res => note(&log, "arm", res).unwrap(),
        recv(note(&log, "c", Some(&rx))) -> _ => unreachable!(),
        default(note(&log, "timeout", WATCHDOG)) => unreachable!(),
    }
    assert_eq!(*log.borrow(), ["a", "b", "c", "timeout", "value", "arm"]);
    log.borrow_mut().clear();
    select! {
        send(tx, note(&log, "value", 1)) -> _ => unreachable!("it is full"),
        default => {}
    }
    assert!(log.borrow().is_empty());
}

// Go's test/chan/select8.go: break and the like inside of a select.
#[test]
fn control_flow_leaves_an_arm() {
    let (tx, rx) = channel::bounded(1);
    let mut rounds = 0;
    'outer: loop {
        loop {
            rounds += 1;
            select! {
                send(tx, rounds) -> _ => continue,
                recv(rx) -> n => {
                    if n == Ok(4) {
                        break 'outer;
                    }
                    break;
                }
            }
        }
        rounds += 1;
    }
    assert_eq!(rounds, 5);

    fn question(rx: &Receiver<u8>) -> Result<u8, RecvError> {
        let n = select! { recv(rx) -> n => n? };
        Ok(n + 1)
    }
    let (tx, rx) = channel::bounded(1);
    tx.send(1).unwrap();
    assert_eq!(question(&rx), Ok(2));
    drop(tx);
    assert_eq!(question(&rx), Err(RecvError));
}

/// Every way to make a channel on which a select can send at once; and then a receiver
/// that must get nothing but "after".
fn undone(leave: impl Fn(&Sender<&'static str>) + Copy) {
    // A buffer: the place is free again.
    let (tx, rx) = channel::bounded(1);
    leave(&tx);
    assert!(tx.is_empty());
    tx.try_send("after").expect("the reservation is gone");
    assert_eq!(rx.try_recv(), Ok("after"));
    let (tx, rx) = channel::unbounded();
    leave(&tx);
    assert!(rx.is_empty());
    // A rendezvous with a receiver that waits: it goes on waiting.
    let (tx, rx) = channel::bounded(0);
    let receiver = thread::spawn(move || rx.recv());
    leave(&tx);
    tx.send("after").unwrap();
    assert_eq!(receiver.join().unwrap(), Ok("after"));
}

#[test]
#[allow(unreachable_code, clippy::diverging_sub_expression)]
fn a_value_that_panics_undoes_the_send() {
    undone(|tx| {
        let result = catch_unwind(AssertUnwindSafe(|| {
            select! { send(tx, panic!("no value")) -> _ => unreachable!() }
        }));
        assert!(result.is_err());
    });
}

#[test]
#[allow(unreachable_code, clippy::diverging_sub_expression)]
fn a_value_that_leaves_the_arm_undoes_the_send() {
    undone(|tx| {
        #[allow(clippy::never_loop)]
        loop {
            select! { send(tx, break) -> _ => unreachable!() }
        }
    });
    undone(|tx| {
        let question = || -> Option<()> {
            let nothing: Option<&str> = None;
            select! { send(tx, nothing?) -> _ => unreachable!() }
        };
        assert_eq!(question(), None);
    });
}

#[test]
#[allow(unreachable_code, clippy::diverging_sub_expression)]
fn an_undone_send_lets_waiting_senders_on() {
    let (tx, rx) = channel::bounded(1);
    let waiting = tx.clone();
    let (chosen_tx, chosen) = channel::bounded(0);
    let sender = thread::spawn(move || {
        chosen.recv().unwrap();
        waiting.send("patient")
    });
    let result = catch_unwind(AssertUnwindSafe(|| {
        select! { send(tx, {
            chosen_tx.send(()).unwrap();
            // Full now, for others.
            assert!(tx.try_send("barging").is_err());
            thread::sleep(SOON);
            panic!("no value")
        }) -> _ => unreachable!() }
    }));
    assert!(result.is_err());
    sender.join().unwrap().unwrap();
    assert_eq!(rx.recv(), Ok("patient"));
}

#[test]
fn a_close_between_choice_and_value_gives_the_value_back() {
    let (tx, rx) = channel::bounded::<u8>(1);
    select! { send(tx, { rx.close(); 1 }) -> res => assert_eq!(res, Err(SendError(1))) }
    assert_eq!(rx.recv(), Err(RecvError));
    let (tx, rx) = channel::bounded::<u8>(0);
    let receiver = thread::spawn(move || rx.recv());
    select! { send(tx, { tx.close(); 1 }) -> res => assert_eq!(res, Err(SendError(1))) }
    assert_eq!(receiver.join().unwrap(), Err(RecvError));
}

#[test]
fn after_and_tick_are_arms_like_others() {
    let (_tx, rx) = channel::bounded::<u8>(0);
    let start = Instant::now();
    let timeout = channel::after(SOON);
    select! {
        recv(rx) -> _ => unreachable!(),
        recv(timeout) -> due => assert!(due.unwrap() >= start + SOON),
    }
    assert!(start.elapsed() >= SOON);
    let ticks = channel::tick(SOON);
    let mut last = None;
    for _ in 0..3 {
        let due = select! { recv(ticks) -> due => due.unwrap(), recv(rx) -> _ => unreachable!() };
        if let Some(last) = last {
            assert!(due > last);
        }
        last = Some(due);
    }
    select! { recv(channel::never::<u8>()) -> _ => unreachable!(), default => {} }
}

#[test]
fn the_dynamic_form_does_what_the_macro_does() {
    let (tx, rx) = channel::bounded(1);
    let (tx2, rx2) = channel::unbounded::<String>();
    let mut sel = Select::new();
    assert!(sel.try_select().is_err());
    let recv = sel.recv(&rx);
    let recv2 = sel.recv(&rx2);
    assert!(sel.try_select().is_err());
    assert!(sel.try_ready().is_err());
    assert!(sel.select_timeout(SOON).is_err());
    assert!(sel.ready_timeout(SOON).is_err());
    assert!(sel.select_deadline(Instant::now()).is_err());
    assert!(sel.ready_deadline(Instant::now()).is_err());
    tx.send(5).unwrap();
    assert_eq!(sel.try_ready(), Ok(recv));
    let op = sel.try_select().unwrap();
    assert_eq!(op.index(), recv);
    // It is ours, but still in the channel.
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    drop(op);
    let op = sel.select();
    assert_eq!(op.recv(&rx), Ok(5));
    tx2.send("text".into()).unwrap();
    let op = sel.select();
    assert_eq!(op.index(), recv2);
    assert_eq!(op.recv(&rx2).as_deref(), Ok("text"));

    let mut sel = Select::new();
    let send = sel.send(&tx);
    assert_eq!(sel.ready(), send);
    sel.select().send(&tx, 6).unwrap();
    assert!(sel.try_select().is_err());
    sel.remove(send);
    let again = sel.recv(&rx);
    assert_ne!(again, send);
    assert_eq!(sel.select().recv(&rx), Ok(6));
}

#[test]
fn a_dropped_operation_never_happened() {
    // A rendezvous with a parked sender, received from by a dynamic select.
    let (tx, rx) = channel::bounded(0);
    let sender = thread::spawn(move || tx.send("value"));
    let mut sel = Select::new();
    sel.recv(&rx);
    drop(sel.select());
    drop(sel.select());
    assert_eq!(sel.select().recv(&rx), Ok("value"));
    sender.join().unwrap().unwrap();
    // And with a parked receiver, sent to.
    let (tx, rx) = channel::bounded(0);
    let receiver = thread::spawn(move || rx.recv());
    let mut sel = Select::new();
    sel.send(&tx);
    drop(sel.select());
    sel.select().send(&tx, "value").unwrap();
    assert_eq!(receiver.join().unwrap(), Ok("value"));
    // A tick.
    let timer = channel::after(Duration::ZERO);
    let mut sel = Select::new();
    sel.recv(&timer);
    drop(sel.select());
    assert!(sel.select().recv(&timer).is_ok());
    assert!(timer.try_recv().is_err());
}

#[test]
fn two_dynamic_selects_meet() {
    let (tx, rx) = channel::bounded(0);
    for _ in 0..200 {
        let tx = tx.clone();
        let sender = thread::spawn(move || {
            let mut sel = Select::new();
            sel.send(&tx);
            sel.select().send(&tx, 1)
        });
        let mut sel = Select::new();
        sel.recv(&rx);
        let op = sel.select();
        assert_eq!(op.recv(&rx), Ok(1));
        sender.join().unwrap().unwrap();
    }
}

#[test]
fn a_dynamic_receive_meets_a_static_send() {
    let (tx, rx) = channel::bounded(0);
    for round in 0..200 {
        let tx = tx.clone();
        let sender = thread::spawn(move || select! { send(tx, round) -> res => res });
        let mut sel = Select::new();
        sel.recv(&rx);
        // Half of them change their mind first.
        if round % 2 == 0 {
            drop(sel.select());
        }
        assert_eq!(sel.select().recv(&rx), Ok(round));
        sender.join().unwrap().unwrap();
    }
}

#[test]
fn readiness_is_told_to_all_watchers() {
    for cap in [0, 1] {
        let (tx, rx) = channel::bounded(cap);
        let watchers: Vec<_> = (0..16)
            .map(|_| {
                let rx = rx.clone();
                thread::spawn(move || {
                    let mut sel = Select::new();
                    sel.recv(&rx);
                    // It is still so when the first one looks again, while others are told.
                    sel.ready_timeout(WATCHDOG)
                        .map(|first| (first, sel.try_ready()))
                })
            })
            .collect();
        thread::sleep(SOON);
        let sender = thread::spawn(move || tx.send(1).map(|()| tx));
        for watcher in watchers {
            assert_eq!(watcher.join().unwrap(), Ok((0, Ok(0))));
        }
        assert_eq!(rx.recv(), Ok(1));
        drop(sender.join().unwrap().unwrap());
    }
}

/// Without a buffer a side is ready when somebody waits on the other one, not when one looks.
#[test]
fn who_only_looks_is_nobody_to_meet() {
    let (tx, rx) = channel::bounded::<u8>(0);
    let watched = tx.clone();
    let watcher = thread::spawn(move || {
        let mut sel = Select::new();
        sel.send(&watched);
        sel.ready_timeout(4 * SOON)
    });
    while !watcher.is_finished() {
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        select! { recv(rx) -> _ => unreachable!(), default => {} }
        assert!(rx.recv_timeout(Duration::ZERO).is_err());
    }
    assert!(watcher.join().unwrap().is_err());
    drop(tx);
}

#[test]
fn misuse_of_an_operation_is_refused() {
    let (tx, rx) = channel::bounded(1);
    tx.send(1).unwrap();
    let rx2 = rx.clone();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut sel = Select::new();
        sel.recv(&rx);
        let op = sel.select();
        op.recv(&rx2)
    }));
    let text = *result.unwrap_err().downcast::<&str>().unwrap();
    assert!(
        text.starts_with("select: completed with another handle"),
        "{text}"
    );
    // And nothing is lost.
    assert_eq!(rx.try_recv(), Ok(1));
    assert!(catch_unwind(AssertUnwindSafe(|| Select::new().remove(0))).is_err());
}

#[test]
fn every_ready_arm_is_chosen_equally_often() {
    const N: usize = 8_000;
    let (ready_tx, ready) = channel::unbounded();
    let mut counts = [0; 4];
    for i in 0..N {
        ready_tx.send(i).unwrap();
        // Two arms are not ready: they must not shift the odds.
        let nothing = channel::never::<usize>();
        let which = select! {
            recv(ready) -> _ => 0,
            recv(nothing) -> _ => unreachable!(),
            recv(ready) -> _ => 1,
            recv(nothing) -> _ => unreachable!(),
            recv(ready) -> _ => 2,
            recv(ready) -> _ => 3,
        };
        counts[which] += 1;
    }
    // 2,000 each; the standard deviation is 39.
    assert!(
        counts.iter().all(|&n: &usize| n.abs_diff(N / 4) < 300),
        "{counts:?}"
    );

    let mut counts = [0; 3];
    let mut sel = Select::new();
    (0..3).for_each(|_| _ = sel.recv(&ready));
    for i in 0..N {
        ready_tx.send(i).unwrap();
        let op = sel.select();
        counts[op.index()] += 1;
        op.recv(&ready).unwrap();
    }
    assert!(
        counts.iter().all(|&n: &usize| n.abs_diff(N / 3) < 300),
        "{counts:?}"
    );
}

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
