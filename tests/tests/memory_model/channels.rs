//! Channels and select.

use crate::letter::Letter;
use crate::sides::{DEAR_ROUNDS, ROUNDS, both_ways};
use goweft::channel::{self, Receiver, Select, Sender};
use goweft::{select, task};
use std::sync::Arc;

/// A letter goes one way and is answered the other way, so no round begins before the last
/// one is read.
#[test]
fn a_send_comes_before_its_receive() {
    for capacity in [Some(0), Some(1), None] {
        both_ways(|| {
            let letters: Arc<[Letter; 2]> = Arc::default();
            let theirs = letters.clone();
            let make = || capacity.map_or_else(channel::unbounded, channel::bounded);
            let ((tx, rx), (tx_back, rx_back)) = (make(), make());
            (
                move || {
                    for n in 0..ROUNDS {
                        letters[0].write(n);
                        tx.send(n).unwrap();
                        assert_eq!(rx_back.recv(), Ok(n));
                        letters[1].expect(n + 7);
                    }
                },
                move || {
                    for n in 0..ROUNDS {
                        assert_eq!(rx.recv(), Ok(n));
                        theirs[0].expect(n);
                        theirs[1].write(n + 7);
                        tx_back.send(n).unwrap();
                    }
                },
            )
        });
    }
}

#[test]
fn a_receive_without_a_buffer_comes_before_the_end_of_its_send() {
    the_kth_receive_comes_before_the_end_of_a_later_send(0);
}

#[test]
fn the_kth_receive_comes_before_the_end_of_the_k_plus_cth_send() {
    for capacity in [1, 2, 7] {
        the_kth_receive_comes_before_the_end_of_a_later_send(capacity);
    }
}

/// The receiver writes letter k before its k-th receive. When send k + capacity has returned, it is
/// there.
fn the_kth_receive_comes_before_the_end_of_a_later_send(capacity: usize) {
    both_ways(|| {
        let letters: Arc<Vec<Letter>> = Arc::new((0..ROUNDS).map(|_| Letter::default()).collect());
        let theirs = letters.clone();
        let (tx, rx) = channel::bounded(capacity);
        (
            move || {
                for n in 0..ROUNDS {
                    tx.send(n).unwrap();
                    if let Some(k) = n.checked_sub(capacity as u64) {
                        letters[k as usize].expect(k);
                    }
                }
            },
            move || {
                for k in 0..ROUNDS {
                    theirs[k as usize].write(k);
                    assert_eq!(rx.recv(), Ok(k));
                }
            },
        )
    });
}

/// One side closes a channel, of each kind, which the other one finds.
fn a_close_is_found(
    close: fn(&Sender<u8>, &Receiver<u8>),
    find: fn(u64, &Sender<u8>, &Receiver<u8>),
) {
    for capacity in [Some(0), Some(1), None] {
        both_ways(|| {
            let letter = Arc::new(Letter::default());
            let theirs = letter.clone();
            let (pass, passed) = channel::bounded::<(Sender<u8>, Receiver<u8>)>(0);
            (
                move || {
                    for n in 0..DEAR_ROUNDS {
                        let (tx, rx) = capacity.map_or_else(channel::unbounded, channel::bounded);
                        pass.send((tx.clone(), rx.clone())).unwrap();
                        letter.write(n);
                        close(&tx, &rx);
                    }
                },
                move || {
                    for n in 0..DEAR_ROUNDS {
                        let (tx, rx) = passed.recv().unwrap();
                        find(n, &tx, &rx);
                        theirs.expect(n);
                    }
                },
            )
        });
    }
}

#[test]
fn a_close_comes_before_a_receive_that_finds_it() {
    a_close_is_found(
        |tx, _| _ = tx.close(),
        |n, _, rx| match n % 3 {
            0 => _ = rx.recv().unwrap_err(),
            1 => {
                while !rx.is_closed() {
                    task::yield_now();
                }
            }
            _ => {
                while rx.try_recv().unwrap_err().is_empty() {
                    task::yield_now();
                }
            }
        },
    );
}

#[test]
fn a_close_comes_before_a_send_that_finds_it() {
    a_close_is_found(
        |_, rx| _ = rx.close(),
        // Who waits, in a rendezvous or for room, is told.
        |_, tx, _| {
            while tx.send(0).is_ok() {
                task::yield_now();
            }
        },
    );
}

#[test]
fn the_drop_of_the_last_sender_comes_before_a_receive_that_finds_it() {
    both_ways(|| {
        let letter = Arc::new(Letter::default());
        let theirs = letter.clone();
        let (pass, passed) = channel::bounded::<Receiver<u8>>(0);
        (
            move || {
                for n in 0..DEAR_ROUNDS {
                    let (tx, rx) = channel::bounded(1);
                    pass.send(rx).unwrap();
                    letter.write(n);
                    drop(tx);
                }
            },
            move || {
                for n in 0..DEAR_ROUNDS {
                    let rx = passed.recv().unwrap();
                    rx.recv().unwrap_err();
                    theirs.expect(n);
                }
            },
        )
    });
}

#[test]
fn the_drop_of_the_last_receiver_comes_before_a_send_that_finds_it() {
    for capacity in [Some(0), Some(1), None] {
        both_ways(|| {
            let letter = Arc::new(Letter::default());
            let theirs = letter.clone();
            let (pass, passed) = channel::bounded::<Sender<u8>>(0);
            (
                move || {
                    for n in 0..DEAR_ROUNDS / 4 {
                        let (tx, rx) = capacity.map_or_else(channel::unbounded, channel::bounded);
                        pass.send(tx).unwrap();
                        letter.write(n);
                        drop(rx);
                    }
                },
                move || {
                    for n in 0..DEAR_ROUNDS / 4 {
                        let tx = passed.recv().unwrap();
                        while tx.send(0).is_ok() {
                            task::yield_now();
                        }
                        theirs.expect(n);
                    }
                },
            )
        });
    }
}

#[test]
fn what_a_select_does_orders_as_the_operation_itself() {
    for capacity in [0, 1] {
        both_ways(|| {
            let letters = Arc::new([Letter::default(), Letter::default()]);
            let theirs = letters.clone();
            let (tx, rx) = channel::bounded(capacity);
            let (tx_back, rx_back) = channel::bounded(capacity);
            let never = channel::never::<u64>();
            let never_too = never.clone();
            (
                move || {
                    for n in 0..ROUNDS {
                        letters[0].write(n);
                        select! {
                            send(tx, n) -> sent => sent.unwrap(),
                            recv(never) -> _ => unreachable!(),
                        }
                        let mut select = Select::new();
                        let back = select.recv(&rx_back);
                        select.recv(&never);
                        let op = select.select();
                        assert_eq!(op.index(), back);
                        assert_eq!(op.recv(&rx_back), Ok(n));
                        letters[1].expect(n + 7);
                    }
                },
                move || {
                    for n in 0..ROUNDS {
                        select! {
                            recv(rx) -> got => assert_eq!(got, Ok(n)),
                            recv(never_too) -> _ => unreachable!(),
                        }
                        theirs[0].expect(n);
                        theirs[1].write(n + 7);
                        tx_back.send(n).unwrap();
                    }
                },
            )
        });
    }
}
