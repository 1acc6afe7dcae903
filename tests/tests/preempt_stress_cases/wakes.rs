//! Wakes that must not be late or lost: `runnext` beside idle Ps (S7), deadlines against
//! events (S9).

use crate::{Stress, compute, is_slow, random};
use goweft::{channel, select, spawn, sync, task};
use goweft_tests::sys::stolen_by_host;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// What somebody who is woken takes to run: in one of so many times less than the bar.
struct Soon {
    one_in: usize,
    bar: Duration,
}

impl Soon {
    /// Takes the time again and again for as long as the stress goes on, and in up to four more
    /// rounds until it is as it says in one: a machine that is away makes others late than the
    /// runtime does. (A round in which the host has taken a fifth of two CPUs shows nothing.)
    #[track_caller]
    fn holds_in_a_round(&self, stress: &Stress, what: &str, mut time: impl FnMut(u64) -> Duration) {
        let mut taken = 0;
        let held = (0..5).any(|_| {
            let (begin, before) = (Instant::now(), stolen_by_host());
            let mut times = Vec::new();
            while !stress.is_over() || times.len() < 50 {
                times.push(time(taken));
                taken += 1;
                stress.step();
            }
            times.sort();
            let at = times[times.len() / self.one_in];
            let half = times[times.len() / 2];
            println!(
                "{what}: one in {} within {at:?}, half {half:?}",
                self.one_in
            );
            // Whoever has to be woken waits until all CPUs are there.
            let taken_away = stolen_by_host().saturating_sub(before) * 10;
            let is_away = u128::from(taken_away) > begin.elapsed().as_millis() * 2 / 5;
            is_slow() || at < self.bar || is_away
        });
        assert!(held, "{what}: never within {:?}", self.bar);
    }
}

/// The waker makes no further call, so only the monitor and searchers see that it does not come
/// to the one that it woke.
#[test]
fn one_that_is_woken_by_a_waker_that_computes_on_runs_soon_on_an_idle_processor() {
    if goweft_tests::scenario::everybody_is_pinned() {
        // It may live on the waker's thread, and then waits for it.
        return;
    }
    Stress::on(&[2, 4], "runnext", |stress| {
        // Else it waits for the monitor's next look, mostly for more than 8 ms.
        let soon = Soon {
            one_in: 4,
            bar: Duration::from_millis(2),
        };
        soon.holds_in_a_round(stress, "woken beside an idle processor", |_| {
            let (tx, rx) = channel::bounded::<Instant>(0);
            let waits = spawn(move || rx.recv().unwrap().elapsed());
            let waker = spawn(move || {
                // The receiver has come by now, or comes to a sender that waits.
                task::sleep(Duration::from_micros(300));
                tx.send(Instant::now()).unwrap();
                compute(50_000);
            });
            let late = waits.join().unwrap();
            waker.join().unwrap();
            late
        });
    });
}

/// The monitor sleeps for long when one processor computes and the other one is idle. Then that one
/// computes as well, and only the monitor can find a place for who is woken next.
#[test]
fn one_that_is_woken_when_the_last_processor_has_just_begun_to_compute_runs_soon() {
    if goweft_tests::scenario::everybody_is_pinned() {
        // It may live on the thread of one that computes.
        return;
    }
    Stress::on(&[2], "the last processor", |stress| {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let first = spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let (tx, rx) = channel::bounded::<Instant>(0);
        let (back, answers) = mpsc::channel();
        let waits = spawn(move || rx.into_iter().for_each(|t| back.send(t.elapsed()).unwrap()));
        let what = "woken when the last processor had begun to compute";
        // Half of them, for without the monitor's ear more than a quarter are in time for its next
        // look, and the others wait for up to 10 ms.
        let soon = Soon {
            one_in: 2,
            bar: Duration::from_micros(1_500),
        };
        soon.holds_in_a_round(stress, what, |n| {
            // The second one of last time is over; the monitor settles.
            std::thread::sleep(Duration::from_micros(25_000 + random(0, n) % 10_000));
            let second = spawn(|| compute(20_000));
            std::thread::sleep(Duration::from_micros(500));
            tx.send(Instant::now()).unwrap();
            let late = answers.recv().unwrap();
            second.join().unwrap();
            late
        });
        stop.store(true, Ordering::Relaxed);
        drop(tx);
        first.join().unwrap();
        waits.join().unwrap();
    });
}

/// Others wait until a thread has been in its call for 0.9 ms, which then counts as blocking.
/// Whoever is woken from outside does not.
#[test]
fn one_that_is_woken_takes_the_processor_of_a_thread_that_has_only_just_blocked() {
    if goweft_tests::scenario::everybody_is_pinned() {
        // It may live on the thread that blocks.
        return;
    }
    Stress::on(&[1], "just blocked", |stress| {
        let (tx, rx) = channel::bounded::<()>(0);
        let (back, answers) = mpsc::channel();
        let waits = spawn(move || {
            rx.into_iter()
                .for_each(|()| back.send(Instant::now()).unwrap())
        });
        let what = "woken beside one that has just blocked";
        // Without an exception none comes within those 0.9 ms.
        let soon = Soon {
            one_in: 10,
            bar: Duration::from_micros(700),
        };
        soon.holds_in_a_round(stress, what, |_| {
            let (mut end, mut release) = std::io::pipe().unwrap();
            let (begun, blocks) = mpsc::channel();
            let blocked = spawn(move || {
                begun.send(Instant::now()).unwrap();
                end.read_exact(&mut [0]).unwrap();
            });
            let since = blocks.recv().unwrap();
            tx.send(()).unwrap();
            let late = answers.recv().unwrap() - since;
            release.write_all(&[0]).unwrap();
            blocked.join().unwrap();
            late
        });
        drop(tx);
        waits.join().unwrap();
    });
}

#[test]
fn an_event_at_the_deadline_is_one_of_the_two() {
    Stress::on_each("deadlines", |stress| {
        let (tx, rx) = channel::bounded::<u64>(0);
        let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let receivers: Vec<_> = (0..3)
            .map(|i| {
                let (rx, received, stress) = (rx.clone(), received.clone(), stress.clone());
                spawn(move || {
                    for n in 0.. {
                        let wait = Duration::from_micros(random(i, n) % 200);
                        let got = match n % 3 {
                            0 => rx.recv_timeout(wait).ok(),
                            1 => select! {
                                recv(rx) -> got => got.ok(),
                                default(wait) => None,
                            },
                            // A goroutine of its own for each: blocks are used again.
                            _ => {
                                let rx = rx.clone();
                                spawn(move || rx.recv_timeout(wait).ok()).join().unwrap()
                            }
                        };
                        match got {
                            Some(n) => _ = received.fetch_add(n, Ordering::Relaxed),
                            None if rx.is_closed() => return,
                            None => {}
                        }
                        stress.step();
                    }
                })
            })
            .collect();
        let count = sent.clone();
        stress.turns(2, move |i, n| {
            let wait = Duration::from_micros(random(i + 8, n) % 200);
            if tx.send_timeout(n, wait).is_ok() {
                count.fetch_add(n, Ordering::Relaxed);
            }
        });
        drop(rx);
        receivers.into_iter().for_each(|r| r.join().unwrap());
        assert_eq!(
            sent.load(Ordering::Relaxed),
            received.load(Ordering::Relaxed)
        );
    });
}

/// Sleepers, parks with a deadline and conditions, all with times around those of their wakers.
#[test]
fn nobody_sleeps_on_after_both_its_deadline_and_its_waker() {
    Stress::on_each("sleepers", |stress| {
        let pair = Arc::new((sync::Mutex::new(0u64), sync::Condvar::new()));
        stress.turns(6, move |i, n| {
            let wait = Duration::from_micros(random(i, n) % 300);
            match n % 3 {
                0 => task::sleep(wait),
                1 => {
                    let parked = spawn(move || task::park_timeout(wait));
                    task::sleep(Duration::from_micros(random(i, n) >> 16 & 0xff));
                    parked.task().unpark();
                    parked.join().unwrap();
                }
                _ => {
                    let (lock, cond) = &*pair;
                    let mut count = lock.lock();
                    *count += 1;
                    cond.notify_one();
                    drop(cond.wait_timeout(count, wait));
                }
            }
        });
    });
}
