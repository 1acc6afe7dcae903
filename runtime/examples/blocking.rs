//! A thousand goroutines that block in the kernel and in C, while others go on.
//!
//! A file, a name that is looked up, a thread's sleep, a C function: none of them knows of
//! goroutines, and they block the thread. Its processor is taken from it after a millisecond, for
//! the others. (`goweft::blocking` around such a call gives it away at once; nothing here needs
//! it.)

use goweft::sync::WaitGroup;
use goweft::{select, spawn, time};
use std::fs;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const EACH: usize = 250;
const NAP: Duration = Duration::from_millis(200);

// SAFETY: this is how <unistd.h> declares it: `int usleep(useconds_t)`, 32 bits each. It can be
// called with every value and from every thread.
unsafe extern "C" {
    safe fn usleep(microseconds: u32) -> i32;
}

#[goweft::main]
fn main() {
    // One that wants to run every millisecond, and notes how late it was.
    let (stop, stopped) = goweft::channel::bounded::<()>(0);
    let (ready, is_ready) = goweft::channel::bounded(0);
    let sleeper = spawn(move || {
        let mut late = Vec::new();
        ready.send(()).unwrap();
        loop {
            let due = Instant::now() + Duration::from_millis(1);
            select! {
                recv(time::after(Duration::from_millis(1))) -> _ => late.push(due.elapsed()),
                recv(stopped) -> _ => return late,
            }
        }
    });

    is_ready.recv().unwrap();
    let begin = Instant::now();
    let done = Arc::new(AtomicUsize::new(0));
    let all = WaitGroup::new();
    let calls: [fn(); 4] = [read_a_file, look_up_a_name, sleep_as_a_thread, call_into_c];
    for call in calls {
        for _ in 0..EACH {
            let done = done.clone();
            all.go(move || {
                call();
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
    all.wait();
    let took = begin.elapsed();
    drop(stop);
    let mut late = sleeper.join().unwrap();
    late.sort();
    let (quarter, median) = (late[late.len() / 4], late[late.len() / 2]);

    println!("1,000 calls that block, in {took:?}");
    let p99 = late[(late.len() - 1) * 99 / 100];
    println!(
        "beside them one slept for 1 ms {} times, {median:?} too long as a rule, \
         99 of 100 times less than {p99:?}",
        late.len()
    );
    assert_eq!(done.load(Ordering::Relaxed), 4 * EACH);
    // One after the other the naps alone would take 100 s.
    assert!(took < NAP * EACH as u32, "they did not block together");
    // Behind one of those calls it would wait for a nap, each time. (A quarter: a machine that is
    // busy with something else may be late more often than not.)
    assert!(
        quarter < Duration::from_millis(10),
        "the sleeper was held up"
    );
    println!("blocking: 1000 calls done, and nobody was held up");
}

fn read_a_file() {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    assert!(text.starts_with("Name:"));
}

fn look_up_a_name() {
    // By getaddrinfo. What the answer is depends on the machine.
    let _ = ("localhost", 80).to_socket_addrs();
}

fn sleep_as_a_thread() {
    thread::sleep(NAP);
}

fn call_into_c() {
    // As docs/PREEMPTION.md says: now and then a call that begins just when its thread has computed
    // for long returns EINTR.
    while usleep(NAP.as_micros() as u32) != 0 {
        let e = std::io::Error::last_os_error();
        assert_eq!(e.kind(), std::io::ErrorKind::Interrupted);
    }
}
