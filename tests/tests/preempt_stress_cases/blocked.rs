//! Threads that come back from the kernel while their P is being taken, or has been (S4, S5).

use crate::{Stress, compute, is_slow, random};
use goweft::{channel, spawn};
use goweft_tests::sys::cpu_time;
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::net::ToSocketAddrs;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A thread that blocks for a millisecond loses its P: what ends its wait comes shortly
/// before that and after.
fn around_a_theft(random: u64) -> Duration {
    Duration::from_micros(random % 2_500)
}

#[test]
fn readers_of_pipes_come_back_while_their_p_is_taken() {
    Stress::on_each("pipes", |stress| {
        let (tx, rx) = channel::bounded::<u64>(1);
        let sum = spawn(move || rx.into_iter().sum::<u64>());
        let (readers, writers): (Vec<_>, Vec<_>) = (0..6)
            .map(|i| {
                let (mut from, mut to) = pipe().unwrap();
                let (tx, stress) = (tx.clone(), stress.clone());
                let writing = stress.clone();
                let reader = spawn(move || {
                    let mut byte = [0];
                    while from.read(&mut byte).unwrap() == 1 {
                        tx.send(u64::from(byte[0])).unwrap();
                        stress.step();
                    }
                });
                let writer = std::thread::spawn(move || {
                    let mut written = 0;
                    for n in 0.. {
                        if writing.is_over() {
                            return written;
                        }
                        std::thread::sleep(around_a_theft(random(i, n)));
                        to.write_all(&[n as u8]).unwrap();
                        written += u64::from(n as u8);
                    }
                    unreachable!("it is over before")
                });
                (reader, writer)
            })
            .unzip();
        drop(tx);
        let written: u64 = writers.into_iter().map(|w| w.join().unwrap()).sum();
        readers.into_iter().for_each(|r| r.join().unwrap());
        assert_eq!(sum.join().unwrap(), written);
    });
}

#[test]
fn locks_of_files_pass_from_one_blocked_thread_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let path = Arc::new(dir.path().join("locked"));
    File::create(&*path).unwrap();
    Stress::on_each("flock", |stress| {
        let (inside, turns) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (path, count) = (path.clone(), turns.clone());
        stress.turns(5, move |i, n| {
            // Each with an open file of its own, or it would be one lock.
            let file = File::open(&*path).unwrap();
            file.lock().unwrap();
            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two have it");
            match random(i, n) % 3 {
                0 => std::thread::sleep(around_a_theft(random(i, n) >> 8)),
                1 => compute(200),
                _ => _ = goweft::runtime::num_goroutines(),
            }
            inside.fetch_sub(1, Ordering::Relaxed);
            file.unlock().unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert!(turns.load(Ordering::Relaxed) > 0);
    });
}

#[test]
fn names_are_looked_up_beside_goroutines_that_meet() {
    Stress::on_each("getaddrinfo", |stress| {
        let (tx, rx) = channel::bounded::<usize>(0);
        let found = spawn(move || rx.into_iter().sum::<usize>());
        let looked_up = Arc::new(AtomicU64::new(0));
        let count = looked_up.clone();
        stress.turns(4, move |_, _| {
            let addresses = ("localhost", 80).to_socket_addrs().unwrap().count();
            tx.send(addresses).unwrap();
            count.fetch_add(addresses as u64, Ordering::Relaxed);
        });
        assert_eq!(
            found.join().unwrap() as u64,
            looked_up.load(Ordering::Relaxed)
        );
    });
}

/// Each loses its P in the kernel, and goes on computing without one.
#[test]
fn threads_that_lost_their_p_in_the_kernel_do_not_compute_beside_its_next_owner_for_long() {
    // In one round of five: those who wait for their turn would use all CPUs there are in each. A
    // thread from which a host takes the CPU before it hears that it is to stop counts as one that
    // computes until it has that back.
    let held = (0..5).any(|_| {
        let mut cpus = 0.0;
        Stress::on(&[1], "stolen, then computing", |stress| {
            let (begin, used) = (Instant::now(), cpu_time());
            stress.turns(12, |i, n| {
                std::thread::sleep(Duration::from_micros(1_500 + random(i, n) % 1_500));
                compute(3_000);
            });
            cpus = (cpu_time() - used).as_secs_f64() / begin.elapsed().as_secs_f64();
        });
        println!("{cpus:.2} CPUs for one processor");
        is_slow() || cpus < 1.6
    });
    assert!(held, "more than one CPU for one processor");
}

/// What `flock` and pipes do not show: a descriptor that both sides poll.
#[test]
fn a_wait_in_poll_ends_at_its_time_or_with_its_event() {
    Stress::on_each("poll", |stress| {
        stress.turns(6, |i, n| {
            let (from, mut to) = pipe().unwrap();
            let random = random(i, n);
            let writes = random & 1 == 1;
            let writer = writes.then(|| {
                std::thread::spawn(move || {
                    std::thread::sleep(around_a_theft(random >> 8));
                    to.write_all(&[1]).unwrap();
                    to
                })
            });
            let mut polled = libc::pollfd {
                fd: from.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let timeout = if writes { -1 } else { (random >> 8 & 3) as i32 };
            // SAFETY: one descriptor of our own. A signal between our last look at the
            // clock and the call ends it early: that is `Interrupted`, and no result.
            let ready = unsafe { libc::poll(&mut polled, 1, timeout) };
            if ready < 0 {
                let e = std::io::Error::last_os_error();
                assert_eq!(e.kind(), std::io::ErrorKind::Interrupted);
            } else if writes {
                assert_eq!(ready, 1);
            }
            writer.map(|w| w.join().unwrap());
        });
    });
}
