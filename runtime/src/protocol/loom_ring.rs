//! Loom models of the ring: values against stamps, and the handshake with those
//! who wait. The lock and the queues around it are the simplest that do.

use super::atomic::AtomicU64;
use super::ring::{Pop, Push, Ring, Side};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A bounded channel reduced to what the protocol is about. Values are small
/// numbers; 0 is none.
struct Channel {
    ring: Ring,
    stamps: Vec<AtomicU64>,
    values: Vec<UnsafeCell<u64>>,
    queue: Mutex<Parked>,
}

/// Who waits: a receiver that wants a value, a sender that has one.
#[derive(Default)]
struct Parked {
    receiver: bool,
    received: Option<u64>,
    sender: Option<u64>,
    closed: bool,
}

impl Channel {
    fn new(capacity: usize) -> Arc<Channel> {
        Arc::new(Channel {
            ring: Ring::new(capacity),
            stamps: (0..capacity as u64).map(AtomicU64::new).collect(),
            values: (0..capacity).map(|_| UnsafeCell::new(0)).collect(),
            queue: Mutex::new(Parked::default()),
        })
    }

    /// One step of the ring; the cells report every unordered access.
    fn push(&self, value: u64) -> Push<()> {
        match self.ring.push(|i| &self.stamps[i]) {
            Push::Ok(place) => {
                let index = place.index;
                // SAFETY: the slot is ours until it is released: checked here.
                self.values[index].with_mut(|v| unsafe { *v = value });
                place.release(&self.stamps[index]);
                Push::Ok(())
            }
            Push::Full => Push::Full,
            Push::Closed => Push::Closed,
        }
    }

    fn pop(&self) -> Pop<u64> {
        match self.ring.pop(|i| &self.stamps[i]) {
            Pop::Ok(place) => {
                let index = place.index;
                // SAFETY: as in `push`.
                let value = self.values[index].with_mut(|v| unsafe { std::mem::take(&mut *v) });
                place.release(&self.stamps[index]);
                Pop::Ok(value)
            }
            Pop::Empty => Pop::Empty,
            Pop::Drained => Pop::Drained,
        }
    }

    /// Serves who waits, as the real `settle`.
    fn settle(&self) {
        let mut queue = self.queue.lock().unwrap();
        loop {
            let mut progress = false;
            if queue.receiver {
                let served = match self.pop() {
                    Pop::Ok(value) => {
                        queue.received = Some(value);
                        true
                    }
                    Pop::Drained => {
                        queue.closed = true;
                        true
                    }
                    Pop::Empty => false,
                };
                if served {
                    queue.receiver = false;
                    self.ring.end_wait(Side::Receive);
                    progress = true;
                }
            }
            if let Some(value) = queue.sender
                && matches!(self.push(value), Push::Ok(()))
            {
                queue.sender = None;
                self.ring.end_wait(Side::Send);
                progress = true;
            }
            if !progress {
                return;
            }
        }
    }

    /// A send that parks when it is full; false: closed.
    fn send(&self, value: u64) -> bool {
        match self.push(value) {
            Push::Ok(()) => {}
            Push::Closed => return false,
            Push::Full => {
                let mut queue = self.queue.lock().unwrap();
                self.ring.begin_wait(Side::Send);
                match self.push(value) {
                    Push::Full => {
                        queue.sender = Some(value);
                        return true;
                    }
                    step => {
                        self.ring.end_wait(Side::Send);
                        if matches!(step, Push::Closed) {
                            return false;
                        }
                    }
                }
            }
        }
        if self.ring.receivers_wait() {
            self.settle();
        }
        true
    }

    /// A receive that parks when it is empty. None: parked, or (closed) nothing.
    fn recv(&self) -> Option<u64> {
        let mut step = self.pop();
        if matches!(step, Pop::Empty) {
            let mut queue = self.queue.lock().unwrap();
            self.ring.begin_wait(Side::Receive);
            step = self.pop();
            if matches!(step, Pop::Empty) {
                queue.receiver = true;
                return None;
            }
            self.ring.end_wait(Side::Receive);
        }
        if self.ring.senders_wait() {
            self.settle();
        }
        match step {
            Pop::Ok(value) => Some(value),
            _ => None,
        }
    }

    /// What is left in the end, with what a parked receiver was given.
    fn rest(&self) -> Vec<u64> {
        let mut rest: Vec<u64> = self.queue.lock().unwrap().received.into_iter().collect();
        while let Pop::Ok(value) = self.pop() {
            rest.push(value);
        }
        rest
    }
}

#[test]
fn loom_ring_a_parked_receiver_gets_what_is_pushed() {
    check(3, || {
        let c = Channel::new(1);
        let sender = thread::spawn({
            let c = c.clone();
            move || assert!(c.send(7))
        });
        let got = c.recv();
        sender.join().unwrap();
        let queue = c.queue.lock().unwrap();
        assert!(!queue.receiver, "a value is there and its receiver sleeps");
        assert_eq!(got.or(queue.received), Some(7));
    });
}

#[test]
fn loom_ring_a_parked_sender_gets_the_room_that_a_pop_makes() {
    check(3, || {
        let c = Channel::new(1);
        assert!(c.send(1));
        let sender = thread::spawn({
            let c = c.clone();
            move || assert!(c.send(2))
        });
        assert_eq!(c.recv(), Some(1));
        sender.join().unwrap();
        assert_eq!(
            c.queue.lock().unwrap().sender,
            None,
            "there is room and its sender sleeps"
        );
        assert_eq!(c.rest(), [2]);
    });
}

#[test]
fn loom_ring_values_pass_once_and_in_order() {
    check(2, || {
        let c = Channel::new(2);
        let senders: Vec<_> = [10, 20]
            .into_iter()
            .map(|base| {
                let c = c.clone();
                thread::spawn(move || assert!(c.send(base) && (base == 20 || c.send(base + 1))))
            })
            .collect();
        let mut got: Vec<u64> = c.recv().into_iter().collect();
        for sender in senders {
            sender.join().unwrap();
        }
        c.settle();
        got.extend(c.rest());
        assert_eq!(
            got.iter().filter(|v| **v < 20).copied().collect::<Vec<_>>(),
            [10, 11]
        );
        got.sort_unstable();
        assert_eq!(got, [10, 11, 20]);
    });
}

#[test]
fn loom_ring_close_wakes_a_parked_receiver_and_loses_nothing() {
    check(3, || {
        let c = Channel::new(1);
        let sender = thread::spawn({
            let c = c.clone();
            move || c.send(7)
        });
        let closer = thread::spawn({
            let c = c.clone();
            move || {
                c.ring.close();
                if c.ring.receivers_wait() {
                    c.settle();
                }
            }
        });
        let got = c.recv();
        let sent = sender.join().unwrap();
        closer.join().unwrap();
        let queue = c.queue.lock().unwrap();
        assert!(!queue.receiver, "it is closed and its receiver sleeps");
        let got = got.or(queue.received);
        drop(queue);
        // Who saw it drained was right; a value that was sent is not lost.
        let left = c.rest();
        assert_eq!(sent, got == Some(7) || left.contains(&7));
    });
}

#[test]
fn loom_ring_reservations_never_overfill() {
    check(3, || {
        let c = Channel::new(1);
        let selector = thread::spawn({
            let c = c.clone();
            move || {
                if !matches!(c.ring.reserve_push(), Push::Ok(())) {
                    return false;
                }
                let place = c
                    .ring
                    .commit_push(|i| &c.stamps[i])
                    .expect("nobody closes it");
                let index = place.index;
                // SAFETY: as in `push`.
                c.values[index].with_mut(|v| unsafe {
                    assert_eq!(*v, 0, "the slot holds another value");
                    *v = 5;
                });
                place.release(&c.stamps[index]);
                true
            }
        });
        let pushed = matches!(c.push(6), Push::Ok(()));
        let popped = match c.pop() {
            Pop::Ok(value) => vec![value],
            _ => vec![],
        };
        let committed = selector.join().unwrap();
        let mut all = popped;
        all.extend(c.rest());
        all.sort_unstable();
        let mut expected = vec![];
        expected.extend(committed.then_some(5));
        expected.extend(pushed.then_some(6));
        assert_eq!(all, expected);
    });
}

#[test]
fn loom_ring_an_undone_reservation_wakes_a_parked_sender() {
    check(3, || {
        let c = Channel::new(1);
        assert!(matches!(c.ring.reserve_push(), Push::Ok(())));
        let sender = thread::spawn({
            let c = c.clone();
            move || assert!(c.send(3))
        });
        c.ring.undo_push();
        if c.ring.senders_wait() || c.ring.receivers_wait() {
            c.settle();
        }
        sender.join().unwrap();
        assert_eq!(
            c.queue.lock().unwrap().sender,
            None,
            "there is room and its sender sleeps"
        );
        assert_eq!(c.rest(), [3]);
    });
}

#[test]
fn loom_ring_a_reserved_value_is_nobody_elses() {
    check(3, || {
        let c = Channel::new(2);
        assert!(c.send(1) && c.send(2));
        let selector = thread::spawn({
            let c = c.clone();
            move || {
                assert!(matches!(c.ring.reserve_pop(), Pop::Ok(())));
                let place = c.ring.commit_pop(|i| &c.stamps[i]);
                let index = place.index;
                // SAFETY: as in `pop`.
                let value = c.values[index].with_mut(|v| unsafe { std::mem::take(&mut *v) });
                place.release(&c.stamps[index]);
                value
            }
        });
        let mine = match c.pop() {
            Pop::Ok(value) => value,
            other => panic!("there are two for two: {other:?}"),
        };
        let mut both = [mine, selector.join().unwrap()];
        both.sort_unstable();
        assert_eq!(both, [1, 2]);
    });
}
