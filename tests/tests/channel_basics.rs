//! What each channel operation does, one at a time: from plain threads and from
//! goroutines.

use goweft::channel::{
    self, Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    TrySendError,
};
use goweft_tests::scenario;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);
/// Long enough to be sure; never waited for when all is well.
const WATCHDOG: Duration = Duration::from_secs(20);

/// One of every flavour that has room for `n` values.
fn with_room(n: usize) -> Vec<(Sender<usize>, Receiver<usize>)> {
    vec![
        channel::bounded(n),
        channel::bounded(n + 1),
        channel::unbounded(),
    ]
}

#[test]
fn smoke() {
    for (tx, rx) in with_room(1) {
        tx.send(7).unwrap();
        assert_eq!(rx.recv(), Ok(7));
    }
    let (tx, rx) = channel::bounded(0);
    let sender = thread::spawn(move || tx.send(7));
    assert_eq!(rx.recv(), Ok(7));
    sender.join().unwrap().unwrap();
}

#[test]
fn smoke_in_goroutines() {
    goweft::run(|| {
        for (tx, rx) in with_room(1).into_iter().chain([channel::bounded(0)]) {
            let sender = goweft::spawn(move || tx.send(7));
            assert_eq!(rx.recv(), Ok(7));
            assert_eq!(sender.join().unwrap(), Ok(()));
            assert_eq!(rx.recv(), Err(RecvError));
        }
    });
}

#[test]
fn values_come_in_the_order_they_were_sent() {
    for (tx, rx) in with_room(1000) {
        for i in 0..1000 {
            tx.send(i).unwrap();
        }
        assert_eq!(
            rx.try_iter().collect::<Vec<_>>(),
            (0..1000).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_full_channel_gives_the_value_back() {
    let (tx, rx) = channel::bounded(2);
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap();
    assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
    assert_eq!(tx.send_timeout(3, SOON), Err(SendTimeoutError::Timeout(3)));
    assert_eq!(
        tx.send_deadline(3, Instant::now()),
        Err(SendTimeoutError::Timeout(3))
    );
    assert_eq!(rx.recv(), Ok(1));
    tx.try_send(3).unwrap();
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_rendezvous_needs_both() {
    let (tx, rx) = channel::bounded::<u8>(0);
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(tx.send_timeout(1, SOON), Err(SendTimeoutError::Timeout(1)));
    assert_eq!(rx.recv_timeout(SOON), Err(RecvTimeoutError::Timeout));
    // What timed out has left nothing behind.
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
}

#[test]
fn a_timeout_is_not_short_and_not_forever() {
    let (tx, rx) = channel::bounded::<u8>(0);
    let (_keep, empty) = channel::unbounded::<u8>();
    let start = Instant::now();
    let wait = Duration::from_millis(20);
    assert_eq!(rx.recv_timeout(wait), Err(RecvTimeoutError::Timeout));
    assert_eq!(
        empty.recv_deadline(start + 2 * wait),
        Err(RecvTimeoutError::Timeout)
    );
    assert_eq!(tx.send_timeout(1, wait), Err(SendTimeoutError::Timeout(1)));
    assert!(start.elapsed() >= 3 * wait);
}

#[test]
fn close_lets_the_queued_values_out() {
    for (tx, rx) in with_room(3) {
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        assert!(!tx.is_closed());
        assert!(rx.close());
        assert!(!tx.close());
        assert!(tx.is_closed() && rx.is_closed());
        assert_eq!(tx.send(3), Err(SendError(3)));
        assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
        assert_eq!(
            tx.send_timeout(3, WATCHDOG),
            Err(SendTimeoutError::Disconnected(3))
        );
        assert_eq!(rx.recv(), Ok(1));
        assert_eq!(rx.recv_timeout(WATCHDOG), Ok(2));
        assert_eq!(rx.recv(), Err(RecvError));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(
            rx.recv_timeout(WATCHDOG),
            Err(RecvTimeoutError::Disconnected)
        );
    }
}

#[test]
fn dropping_the_last_sender_closes() {
    for (tx, rx) in with_room(1).into_iter().chain([channel::bounded(0)]) {
        let tx2 = tx.clone();
        drop(tx);
        assert!(!rx.is_closed());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        drop(tx2);
        assert!(rx.is_closed());
        assert_eq!(rx.recv(), Err(RecvError));
    }
}

#[test]
fn dropping_the_last_receiver_makes_sends_fail() {
    for (tx, rx) in with_room(1).into_iter().chain([channel::bounded(0)]) {
        let rx2 = rx.clone();
        drop(rx);
        assert!(!tx.is_closed());
        drop(rx2);
        assert_eq!(tx.send(1), Err(SendError(1)));
    }
}

#[test]
fn close_wakes_all_who_wait() {
    for cap in [0, 1] {
        let (tx, rx) = channel::bounded(cap);
        if cap == 1 {
            tx.send(0).unwrap();
        }
        let senders: Vec<_> = (1..=100)
            .map(|i| {
                let tx = tx.clone();
                goweft::spawn(move || tx.send(i))
            })
            .collect();
        let (other_tx, other_rx) = channel::bounded::<usize>(cap);
        let receivers: Vec<_> = (0..100)
            .map(|_| {
                let rx = other_rx.clone();
                goweft::spawn(move || rx.recv())
            })
            .collect();
        // Parked or not yet: both must end.
        thread::sleep(SOON);
        assert!(tx.close() && other_tx.close());
        for (i, sender) in senders.into_iter().enumerate() {
            assert_eq!(sender.join().unwrap(), Err(SendError(i + 1)));
        }
        for receiver in receivers {
            assert_eq!(receiver.join().unwrap(), Err(RecvError));
        }
        assert_eq!(rx.recv().ok(), (cap == 1).then_some(0));
    }
}

/// Also to the first who learns of it, while the others are being told.
#[test]
fn who_learns_of_a_close_finds_it_closed() {
    for _ in 0..10 {
        for (tx, rx) in with_room(0) {
            let receivers: Vec<_> = (0..16)
                .map(|_| {
                    let rx = rx.clone();
                    thread::spawn(move || (rx.recv(), rx.try_recv(), rx.is_closed()))
                })
                .collect();
            // Most of them wait; whoever does not yet finds it closed as well.
            thread::sleep(SOON);
            assert!(tx.close());
            for receiver in receivers {
                assert_eq!(
                    receiver.join().unwrap(),
                    (Err(RecvError), Err(TryRecvError::Disconnected), true)
                );
            }
        }
    }
}

#[test]
fn a_parked_sender_gets_its_value_back_when_the_receivers_go() {
    let (tx, rx) = channel::bounded(0);
    let sender = thread::spawn(move || tx.send(String::from("mine")));
    thread::sleep(SOON);
    drop(rx);
    assert_eq!(sender.join().unwrap(), Err(SendError(String::from("mine"))));
}

// Go's test/chancap.go: what a channel says of itself.
#[test]
fn len_and_capacity_tell_what_is_queued() {
    let (tx, rx) = channel::bounded(2);
    assert_eq!(
        (tx.len(), tx.capacity(), rx.capacity()),
        (0, Some(2), Some(2))
    );
    assert!(tx.is_empty() && !tx.is_full());
    tx.send(1).unwrap();
    assert!(!rx.is_empty() && !rx.is_full());
    tx.send(2).unwrap();
    assert!(tx.is_full() && rx.is_full());
    assert_eq!((tx.len(), rx.len()), (2, 2));

    let (tx, rx) = channel::unbounded();
    tx.send(1).unwrap();
    assert_eq!((tx.len(), rx.len(), tx.capacity()), (1, 1, None));
    assert!(!tx.is_full() && !rx.is_empty());

    let (tx, rx) = channel::bounded::<u8>(0);
    assert_eq!((tx.len(), rx.len(), tx.capacity()), (0, 0, Some(0)));
    assert!(tx.is_empty() && tx.is_full() && rx.is_empty() && rx.is_full());
}

#[test]
fn handles_know_their_channel() {
    let (tx, rx) = channel::bounded::<u8>(1);
    let (tx2, rx2) = channel::bounded::<u8>(1);
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
    assert!(!tx.same_channel(&tx2) && !rx.same_channel(&rx2));
}

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn queued_values_are_dropped_once_with_the_receivers() {
    for (make, room) in [(1usize, 10usize), (0, 10)] {
        let drops = Arc::new(AtomicUsize::new(0));
        let (tx, rx) = if make == 1 {
            channel::bounded(room)
        } else {
            channel::unbounded()
        };
        for _ in 0..10 {
            tx.send(Counted(drops.clone())).unwrap();
        }
        drop(rx.recv());
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        drop(rx);
        assert_eq!(drops.load(Ordering::Relaxed), 10);
        // A send that fails gives the value back, to be dropped by its owner.
        assert!(tx.send(Counted(drops.clone())).is_err());
        assert_eq!(drops.load(Ordering::Relaxed), 11);
        drop(tx);
        assert_eq!(drops.load(Ordering::Relaxed), 11);
    }
}

#[test]
fn a_value_may_use_its_channel_when_it_is_dropped() {
    struct Reply(Option<Sender<u32>>);
    impl Drop for Reply {
        fn drop(&mut self) {
            self.0.take().unwrap().send(1).unwrap();
        }
    }
    let (answers_tx, answers) = channel::unbounded();
    let (tx, rx) = channel::bounded(4);
    for _ in 0..4 {
        tx.send(Reply(Some(answers_tx.clone()))).unwrap();
    }
    drop(rx);
    assert_eq!(answers.try_iter().sum::<u32>(), 4);
}

#[test]
fn large_small_and_empty_values_arrive_whole() {
    fn through<T: Send + PartialEq + Clone + std::fmt::Debug + 'static>(value: T) {
        for (tx, rx) in [
            channel::bounded(0),
            channel::bounded(3),
            channel::unbounded(),
        ] {
            let sent = value.clone();
            let sender = thread::spawn(move || {
                for _ in 0..100 {
                    tx.send(sent.clone()).unwrap();
                }
            });
            assert_eq!(rx.iter().filter(|v| *v == value).count(), 100);
            sender.join().unwrap();
        }
    }
    through(());
    through([0u8; 0]);
    through(1u8);
    through((1u8, 2u64));
    through(Some(Box::new(5)));
    through([7u64; 512]);
    through(String::from("a string"));
}

#[test]
fn who_waits_is_served_in_order() {
    let ran = scenario::run(env!("CARGO_BIN_EXE_scenario"), "in_order", &[]);
    assert!(ran.status.success(), "{ran:?}");
}

#[test]
fn a_thousand_goroutines_count_on_every_flavour() {
    for (tx, rx) in with_room(10).into_iter().chain([channel::bounded(0)]) {
        for i in 0..1000 {
            let tx = tx.clone();
            goweft::go!(move || tx.send(i).unwrap());
        }
        drop(tx);
        let mut all: Vec<_> = rx.iter().collect();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
    }
}

// Go's test/chancap.go: sizes that make() refuses.
#[test]
fn a_capacity_that_no_memory_has_is_refused() {
    let refused = std::panic::catch_unwind(|| channel::bounded::<u64>(usize::MAX));
    let text = *refused.err().unwrap().downcast::<String>().unwrap();
    assert!(text.starts_with("channel: capacity"), "{text}");
}

#[test]
fn errors_say_what_happened() {
    assert_eq!(SendError(1).to_string(), "sending on a closed channel");
    assert_eq!(
        TrySendError::Full(1).to_string(),
        "sending on a full channel"
    );
    assert_eq!(RecvError.to_string(), "receiving on a closed channel");
    assert_eq!(
        TryRecvError::Empty.to_string(),
        "receiving on an empty channel"
    );
    assert_eq!(
        RecvTimeoutError::Timeout.to_string(),
        "timed out waiting to receive"
    );
    assert_eq!(
        SendTimeoutError::Timeout(1).to_string(),
        "timed out waiting to send"
    );
    assert_eq!(
        format!("{:?} {:?}", SendError(()), TrySendError::Full(())),
        "SendError(..) Full(..)"
    );
    assert_eq!(SendError(1).into_inner(), 1);
    assert_eq!(
        TrySendError::from(SendError(1)),
        TrySendError::Disconnected(1)
    );
    assert_eq!(TrySendError::Full(2).into_inner(), 2);
    assert_eq!(SendTimeoutError::Timeout(3).into_inner(), 3);
    assert_eq!(
        RecvTimeoutError::from(RecvError),
        RecvTimeoutError::Disconnected
    );
    fn is_error<E: std::error::Error + 'static>(_: E) {}
    // The value need not be Debug, Send or Error.
    is_error(SendError(std::rc::Rc::new(())));
}
