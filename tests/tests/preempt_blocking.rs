//! Calls that block the thread, with one processor and no annotation: the others go
//! on. (Theft without a signal; nothing here computes for long.)

use goweft::channel::{self, Receiver, Sender};
use goweft::{JoinHandle, runtime, spawn};
use goweft_tests::confined::{Without, run_again};
use goweft_tests::pressure::is_soak;
use goweft_tests::sys;
use std::io::Read;
use std::net::ToSocketAddrs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once, mpsc};
use std::time::Duration;

/// Goroutines that block, and as many that ping-pong.
const MANY: usize = 1_000;
const WATCHDOG: Duration = Duration::from_secs(90);

fn one_processor() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        runtime::set_maxprocs(1);
    });
}

/// Pairs that hand a number to and fro until they are told to stop.
struct PingPong {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    players: Vec<JoinHandle<()>>,
}

impl PingPong {
    fn start(pairs: usize) -> PingPong {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicUsize::new(0));
        let mut players = Vec::new();
        let play = |tx: Sender<usize>, rx: Receiver<usize>| {
            let (stop, rounds) = (stop.clone(), rounds.clone());
            move || {
                while let Ok(n) = rx.recv() {
                    rounds.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) || tx.send(n + 1).is_err() {
                        return;
                    }
                }
            }
        };
        for _ in 0..pairs {
            let (a, from_a) = channel::bounded(0);
            let (b, from_b) = channel::bounded(0);
            let serve = b.clone();
            players.push(spawn(play(a, from_b)));
            players.push(spawn(play(b, from_a)));
            spawn(move || _ = serve.send(0));
        }
        PingPong {
            stop,
            rounds,
            players,
        }
    }

    fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed)
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for p in self.players {
            p.join().unwrap();
        }
    }
}

/// `many` goroutines run `block`, and `release`, by a plain thread, ends what they wait
/// for. The ping-pong goes on while they are blocked.
fn blocked_beside_ping_pong(
    many: usize,
    block: impl Fn(usize) + Clone + Send + 'static,
    release: impl FnOnce(),
) {
    if goweft_tests::scenario::everybody_is_pinned() {
        // One that blocks keeps those who live on its thread waiting: then this is not promised.
        return;
    }
    one_processor();
    let game = PingPong::start(MANY / 2);
    let (begun, ended) = (mpsc::channel::<()>(), mpsc::channel());
    for i in 0..many {
        let (block, begun, ended) = (block.clone(), begun.0.clone(), ended.0.clone());
        spawn(move || {
            begun.send(()).unwrap();
            block(i);
            ended.send(()).unwrap();
        });
    }
    for _ in 0..many {
        begun.1.recv_timeout(WATCHDOG).expect("all begin");
    }
    let before = game.rounds();
    let deadline = std::time::Instant::now() + WATCHDOG;
    while game.rounds() < before + MANY {
        assert!(std::time::Instant::now() < deadline, "the ping-pong stands");
        std::thread::yield_now();
    }
    release();
    for _ in 0..many {
        ended.1.recv_timeout(WATCHDOG).expect("all end");
    }
    game.end();
}

#[test]
fn smoke_one_sleeping_thread_does_not_hold_the_processor() {
    if goweft_tests::scenario::everybody_is_pinned() {
        return; // Those who live on its thread, of other tests here, would wait for an hour.
    }
    one_processor();
    let sleeper = spawn(|| std::thread::sleep(Duration::from_secs(3600)));
    let (tx, rx) = mpsc::channel();
    spawn(move || tx.send(()).unwrap());
    rx.recv_timeout(WATCHDOG)
        .expect("the processor was taken from the sleeper");
    assert!(!sleeper.is_finished());
}

#[test]
fn a_thousand_goroutines_sleep_as_threads_do() {
    blocked_beside_ping_pong(
        MANY,
        |_| std::thread::sleep(Duration::from_millis(500)),
        || (),
    );
}

#[test]
fn a_thousand_goroutines_wait_in_std_mpsc() {
    let (txs, rxs): (Vec<_>, Vec<_>) = (0..MANY).map(|_| mpsc::channel::<()>()).unzip();
    let rxs: Arc<Vec<_>> = Arc::new(rxs.into_iter().map(Mutex::new).collect());
    blocked_beside_ping_pong(
        MANY,
        move |i| assert!(rxs[i].lock().unwrap().recv().is_err()),
        move || drop(txs),
    );
}

#[test]
fn a_thousand_goroutines_wait_for_a_std_mutex_whose_owner_sleeps() {
    if goweft_tests::scenario::everybody_is_pinned() {
        return; // As below.
    }
    let lock = Arc::new(Mutex::new(0));
    let held = lock.clone();
    let (locked, is_locked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    spawn(move || {
        let mut guard = held.lock().unwrap();
        locked.send(()).unwrap();
        released.recv().unwrap();
        *guard += 1;
    });
    is_locked.recv_timeout(WATCHDOG).unwrap();
    let counted = lock.clone();
    blocked_beside_ping_pong(
        MANY,
        move |_| *counted.lock().unwrap() += 1,
        move || release.send(()).unwrap(),
    );
    assert_eq!(*lock.lock().unwrap(), MANY + 1);
}

#[test]
fn a_thousand_goroutines_read_a_fifo() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // Opened for both, so that no open blocks, and readers wait until there is a byte.
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let reader = Arc::new(file.try_clone().unwrap());
    blocked_beside_ping_pong(
        MANY,
        move |_| (&*reader).read_exact(&mut [0]).unwrap(),
        move || std::io::Write::write_all(&mut &file, &[7; MANY]).unwrap(),
    );
}

#[test]
fn a_thousand_goroutines_look_names_up() {
    blocked_beside_ping_pong(
        MANY,
        |_| assert!(("localhost", 80).to_socket_addrs().unwrap().count() > 0),
        || (),
    );
}

/// A process costs some two milliseconds of CPU time, and there are four rounds of this: a thousand
/// are for a soak.
#[test]
fn goroutines_wait_for_processes() {
    let many = if is_soak() { MANY } else { MANY / 10 };
    // Two for what each says.
    sys::allow_all_descriptors();
    blocked_beside_ping_pong(
        many,
        |_| {
            let out = Command::new("sleep").arg("0.2").output().unwrap();
            assert!(out.status.success());
        },
        || (),
    );
}

#[test]
fn a_ping_pong_on_the_only_processor_does_not_keep_the_queue_waiting() {
    one_processor();
    let game = PingPong::start(1);
    for _ in 0..10 {
        let (tx, rx) = mpsc::channel();
        spawn(move || {
            // Three of them: one is the spawner's `runnext`, the others wait in the queue.
            for _ in 0..3 {
                let tx = tx.clone();
                spawn(move || tx.send(()).unwrap());
            }
        });
        for _ in 0..3 {
            rx.recv_timeout(WATCHDOG).expect("it gets its turn");
        }
    }
    game.end();
}

/// To the scheduler these block as others do, and a thousand take seconds.
const ALIKE: [&str; 3] = ["sleep_as_threads_do", "wait_in_std_mpsc", "look_names_up"];

#[test]
fn all_of_it_without_membarrier() {
    run_again(Without::Membarrier, &ALIKE);
}

#[test]
fn all_of_it_without_proc() {
    // To see that a thread blocks takes five looks there, so that a thousand take five seconds.
    run_again(Without::Proc, &ALIKE);
}

#[test]
fn all_of_it_without_signals() {
    run_again(Without::Signals, &ALIKE);
}
