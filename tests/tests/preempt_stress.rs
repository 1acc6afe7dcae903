//! Everything at once, preempted every 100 us, on a number of processors that changes
//! all the time: what is sent arrives once, what is counted adds up, all end.

use goweft::net::{TcpListener, TcpStream};
use goweft::{Config, blocking, channel, runtime, scope, select, spawn, sync, task};
use std::hint::black_box;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const WATCHDOG: Duration = Duration::from_secs(100);

/// How long it goes on: longer by `.ci/soak`.
fn how_long() -> Duration {
    let seconds = std::env::var("GOWEFT_STRESS_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|s| s.parse().ok()).unwrap_or(4))
}

fn compute(n: u64) {
    (0..n).for_each(|i| _ = black_box(i));
}

#[derive(Clone)]
struct World {
    end: Instant,
    turns: Arc<AtomicU64>,
}

impl World {
    /// Runs `turn` as a goroutine again and again until the end.
    fn go(
        &self,
        ended: &mpsc::Sender<&'static str>,
        what: &'static str,
        turn: impl Fn(u64) + Send + 'static,
    ) {
        let (world, ended) = (self.clone(), ended.clone());
        spawn(move || {
            let mut n = 0;
            while Instant::now() < world.end {
                turn(n);
                n += 1;
                world.turns.fetch_add(1, Ordering::Relaxed);
            }
            ended.send(what).unwrap();
        });
    }
}

fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    spawn(move || {
        for conn in listener.incoming() {
            let mut conn = conn.unwrap();
            spawn(move || {
                let mut buf = [0; 256];
                while let Ok(n @ 1..) = conn.read(&mut buf) {
                    if conn.write_all(&buf[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

#[test]
fn everything_at_once() {
    Config::new()
        .time_slice(Duration::from_micros(100))
        .install()
        .expect("the first use of the runtime");
    let world = World {
        end: Instant::now() + how_long(),
        turns: Arc::default(),
    };
    let (ended, all) = mpsc::channel();
    let mut count = 0;
    let mut go = |what, turn: Box<dyn Fn(u64) + Send>| {
        world.go(&ended, what, turn);
        count += 1;
    };
    let std_lock = Arc::new(Mutex::new(0u64));
    let our_lock = Arc::new(sync::Mutex::new(0u64));
    let locked = Arc::new(AtomicU64::new(0));
    let (tx, rx) = channel::bounded::<u64>(16);
    let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let addr = echo();
    for i in 0..3u64 {
        go("computes", Box::new(|n| compute(1_000 * (n % 300))));
        go(
            "allocates",
            Box::new(|n| {
                drop(black_box(
                    (0..20)
                        .map(|i| vec![0u8; (n * i % 3_000) as usize])
                        .collect::<Vec<_>>(),
                ))
            }),
        );
        go(
            "blocks",
            Box::new(move |n| match n % 3 {
                0 => std::thread::sleep(Duration::from_millis(i)),
                1 => blocking(|| std::thread::sleep(Duration::from_micros(200))),
                _ => compute(100_000),
            }),
        );
        go(
            "sleeps",
            Box::new(move |n| task::sleep(Duration::from_micros(100 * (n % 20)))),
        );
        let (s, o, l) = (std_lock.clone(), our_lock.clone(), locked.clone());
        go(
            "locks",
            Box::new(move |_| {
                let mut a = s.lock().unwrap();
                let seen = *a;
                compute(500);
                *a = seen + 1;
                drop(a);
                let mut b = o.lock();
                let seen = *b;
                compute(500);
                *b = seen + 1;
                drop(b);
                l.fetch_add(1, Ordering::Relaxed);
            }),
        );
        go(
            "spawns",
            Box::new(|n| {
                let h = spawn(move || {
                    compute(n % 50_000);
                    n
                });
                assert_eq!(h.join().unwrap(), n);
                let mut sum = 0;
                scope(|s| {
                    s.spawn(|| sum = (0..n % 100).sum());
                    s.spawn(task::yield_now);
                });
                assert_eq!(sum, (0..n % 100).sum());
            }),
        );
        go(
            "unwinds",
            Box::new(|n| {
                let payload = std::panic::catch_unwind(|| {
                    // Parks in a drop, while it is panicking.
                    goweft::defer! { task::sleep(Duration::from_micros(50)) }
                    std::panic::resume_unwind(Box::new(n));
                });
                assert_eq!(*payload.unwrap_err().downcast::<u64>().unwrap(), n);
            }),
        );
        let (t, s) = (tx.clone(), sent.clone());
        go(
            "sends",
            Box::new(move |n| {
                t.send(n).unwrap();
                s.fetch_add(n, Ordering::Relaxed);
            }),
        );
        go(
            "talks",
            Box::new(move |n| {
                let mut conn = TcpStream::connect(addr).unwrap();
                for i in 0..20u8 {
                    let text = [i, n as u8, 3, 4];
                    conn.write_all(&text).unwrap();
                    let mut got = [0; 4];
                    conn.read_exact(&mut got).unwrap();
                    assert_eq!(got, text);
                }
                // Ports are few.
                task::sleep(Duration::from_millis(5));
            }),
        );
    }
    drop(tx);
    let receivers: Vec<_> = (0..2)
        .map(|_| {
            let (rx, received) = (rx.clone(), received.clone());
            spawn(move || {
                loop {
                    select! {
                        recv(rx) -> n => match n {
                            Ok(n) => _ = received.fetch_add(n, Ordering::Relaxed),
                            Err(_) => return,
                        },
                        default(Duration::from_micros(300)) => compute(1_000),
                    }
                }
            })
        })
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let resizer = std::thread::spawn(move || {
        for n in [1, 2, 4, 3, 1, 8].into_iter().cycle() {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            runtime::set_maxprocs(n);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let mut left = Vec::new();
    for _ in 0..count {
        match all.recv_timeout(how_long() + WATCHDOG) {
            Ok(what) => left.push(what),
            Err(_) => panic!("only these ended: {left:?}\n{:?}", runtime::metrics()),
        }
    }
    for r in receivers {
        r.join().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    resizer.join().unwrap();
    assert_eq!(
        sent.load(Ordering::Relaxed),
        received.load(Ordering::Relaxed)
    );
    let locked = locked.load(Ordering::Relaxed);
    assert_eq!(
        (*std_lock.lock().unwrap(), *our_lock.lock()),
        (locked, locked)
    );
    let metrics = runtime::metrics();
    println!("{} turns\n{metrics:?}", world.turns.load(Ordering::Relaxed));
    assert_eq!(metrics.rescues, 0);
    assert!(metrics.preemptions > 0 && metrics.taken_from_blocked > 0);
}
