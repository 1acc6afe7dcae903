//! `no_park`: each call that has to wait panics in it and leaves nothing behind; what need not
//! wait works; and the goroutine stays where it is.

use goweft::channel::SendTimeoutError;
use goweft::context::Context;
use goweft::io::Async;
use goweft::net::{TcpListener, TcpStream};
use goweft::rate::{Limit, Limiter, Sometimes};
use goweft::sync::{
    Barrier, Condvar, ErrGroup, LazyLock, Mutex, Once, OnceLock, RwLock, Semaphore, WaitGroup,
    singleflight,
};
use goweft::{
    Builder, block_on, blocking, channel, go, io, no_park, run, runtime, scope, select, spawn,
    task, time,
};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

const REFUSED: &str = "goweft: no_park: this call has to wait";
const LONG: Duration = Duration::from_secs(600);

/// Sees that `f` is refused in `no_park`.
#[track_caller]
fn refused<T>(what: &str, f: impl FnOnce() -> T) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| no_park(|| drop(f())))) else {
        panic!("{what} was not refused");
    };
    let text = payload.downcast_ref::<&str>().copied();
    assert_eq!(text, Some(REFUSED), "{what}");
}

/// On a goroutine, and on a plain thread.
fn everywhere(f: impl Fn() + Send + Sync) {
    run(&f);
    f();
}

#[test]
fn smoke() {
    run(|| {
        assert_eq!(no_park(|| 7), 7);
        refused("a sleep", || task::sleep(LONG));
        task::sleep(Duration::from_micros(1));
    });
}

#[test]
fn channels_refuse_and_keep_what_they_have() {
    everywhere(|| {
        let (tx, rx) = channel::bounded(1);
        refused("recv", || rx.recv());
        refused("recv_timeout", || rx.recv_timeout(LONG));
        no_park(|| tx.send(1)).unwrap();
        refused("send", || tx.send(2));
        refused("send_timeout", || tx.send_timeout(2, LONG));
        assert!(no_park(|| tx.try_send(2)).is_err());
        // Nor has it to wait whose time is up.
        let late = no_park(|| tx.send_timeout(2, Duration::ZERO));
        assert_eq!(late, Err(SendTimeoutError::Timeout(2)));
        assert_eq!(no_park(|| rx.recv()), Ok(1));
        assert!(no_park(|| rx.try_recv()).is_err());
        assert!(no_park(|| rx.recv_timeout(Duration::ZERO)).is_err());
        // Nobody is in a queue who is not there.
        tx.send(3).unwrap();
        assert_eq!(rx.recv(), Ok(3));

        let (tx, rx) = channel::unbounded();
        refused("recv", || rx.recv());
        refused("Iter::next", || rx.iter().next());
        refused("recv_deadline", || rx.recv_deadline(Instant::now() + LONG));
        assert!(no_park(|| rx.recv_timeout(Duration::ZERO)).is_err());
        no_park(|| tx.send(1)).unwrap();
        assert_eq!(no_park(|| rx.recv()), Ok(1));

        let (tx, rx) = channel::bounded(0);
        refused("recv", || rx.recv());
        refused("recv_timeout", || rx.recv_timeout(LONG));
        refused("send", || tx.send(1));
        refused("send_timeout", || tx.send_timeout(1, LONG));
        assert!(tx.try_send(1).is_err() && rx.try_recv().is_err());
        let late = no_park(|| tx.send_timeout(1, Duration::ZERO));
        assert_eq!(late, Err(SendTimeoutError::Timeout(1)));
        assert!(no_park(|| rx.recv_deadline(Instant::now())).is_err());
        let sender = spawn(move || tx.send(5));
        assert_eq!(rx.recv(), Ok(5));
        sender.join().unwrap().unwrap();

        refused("never", || channel::never::<()>().recv());
        refused("after", || channel::after(LONG).recv());
        let tick = channel::after(Duration::from_micros(10));
        assert!(tick.recv().is_ok());
        let (ctx, cancel) = Context::background().with_cancel();
        refused("the end of a context", || ctx.done().recv());
        no_park(|| cancel.cancel());
        assert!(no_park(|| ctx.done().recv()).is_err());
    });
}

#[test]
fn what_was_to_be_sent_is_dropped_once() {
    struct Counted<'a>(&'a AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    everywhere(|| {
        for capacity in [0, 1] {
            let dropped = AtomicUsize::new(0);
            let (tx, rx) = channel::bounded(capacity);
            for _ in 0..capacity {
                tx.send(Counted(&dropped)).unwrap();
            }
            refused("send", || tx.send(Counted(&dropped)));
            assert_eq!(dropped.load(Ordering::Relaxed), 1);
            drop((tx, rx));
            assert_eq!(dropped.load(Ordering::Relaxed), 1 + capacity);
        }
    });
}

#[test]
fn selects_refuse_unless_something_is_ready() {
    everywhere(|| {
        let (tx, rx) = channel::bounded::<u8>(0);
        let (full, _keeps) = channel::bounded(1);
        full.send(1).unwrap();
        let evaluated = Cell::new(false);
        refused("select!", || {
            select! {
                recv(rx) -> _ => unreachable!(),
                send(full, { evaluated.set(true); 2 }) -> _ => unreachable!(),
            }
        });
        refused("select! with a timeout", || {
            select! {
                recv(rx) -> _ => unreachable!(),
                default(LONG) => unreachable!(),
            }
        });
        refused("select! {}", || -> () {
            select! {}
        });
        let by_default = no_park(|| {
            select! {
                recv(rx) -> _ => false,
                send(tx, 1) -> _ => false,
                default => true,
            }
        });
        assert!(by_default && !evaluated.get());
        let mut dynamic = channel::Select::new();
        dynamic.recv(&rx);
        dynamic.send(&full);
        refused("Select::select", || drop(dynamic.select()));
        refused("Select::select_timeout", || {
            drop(dynamic.select_timeout(LONG));
        });
        refused("Select::select_deadline", || {
            drop(dynamic.select_deadline(Instant::now() + LONG));
        });
        refused("Select::ready", || dynamic.ready());
        refused("Select::ready_timeout", || dynamic.ready_timeout(LONG));
        refused("Select::ready_deadline", || {
            dynamic.ready_deadline(Instant::now() + LONG)
        });
        assert!(no_park(|| dynamic.try_select()).is_err());
        // Both wait elsewhere now; the select must have left nothing in the queue.
        let sender = spawn(move || tx.send(9));
        assert_eq!(rx.recv(), Ok(9));
        sender.join().unwrap().unwrap();
    });
}

/// A select meets another one: neither's value is there before it is chosen, so to meet would
/// be to wait.
#[test]
fn a_select_that_may_not_wait_lets_its_partner_go() {
    run(|| {
        for _ in 0..200 {
            let (tx, rx) = channel::bounded(0);
            let sender = spawn(move || {
                let mut select = channel::Select::new();
                let index = select.send(&tx);
                let operation = select.select();
                assert_eq!(operation.index(), index);
                operation.send(&tx, 3)
            });
            task::yield_now();
            let tried = no_park(|| rx.try_recv());
            let got = tried.or_else(|_| rx.recv());
            assert_eq!(got, Ok(3));
            sender.join().unwrap().unwrap();
        }
    });
}

#[test]
fn a_select_with_default_does_not_choose_what_it_may_not_wait_for() {
    run(|| {
        for _ in 0..200 {
            let (tx, rx) = channel::bounded(0);
            let receiver = spawn(move || {
                let mut select = channel::Select::new();
                select.recv(&rx);
                select.select().recv(&rx)
            });
            task::yield_now();
            let mut evaluated = false;
            let sent = no_park(|| {
                goweft::select! {
                    send(tx, { evaluated = true; 7 }) -> _ => true,
                    default => false,
                }
            });
            assert!(!sent && !evaluated);
            assert_eq!(tx.send(3), Ok(()));
            assert_eq!(receiver.join().unwrap(), Ok(3));
        }
    });
}

#[test]
fn locks_refuse_and_stay_whole() {
    everywhere(|| {
        let lock = Mutex::new(1);
        {
            let _held = lock.lock();
            refused("Mutex::lock", || drop(lock.lock()));
            refused("Mutex::try_lock_for", || drop(lock.try_lock_for(LONG)));
            assert!(no_park(|| lock.try_lock().is_none()));
        }
        no_park(|| *lock.lock() += 1);
        assert_eq!(*lock.lock(), 2);

        let lock = RwLock::new(1);
        {
            let _held = lock.read();
            refused("RwLock::write", || drop(lock.write()));
            refused("RwLock::try_write_for", || drop(lock.try_write_for(LONG)));
            assert_eq!(no_park(|| *lock.read()), 1);
        }
        {
            let _held = lock.write();
            refused("RwLock::read", || drop(lock.read()));
            refused("RwLock::try_read_for", || drop(lock.try_read_for(LONG)));
            refused("RwLock::write", || drop(lock.write()));
        }
        no_park(|| *lock.write() += 1);
        assert_eq!(*lock.read(), 2);

        let (lock, condition) = (Mutex::new(()), Condvar::new());
        refused("Condvar::wait", || drop(condition.wait(lock.lock())));
        refused("Condvar::wait_timeout", || {
            drop(condition.wait_timeout(lock.lock(), LONG).0);
        });
        refused("Condvar::wait_timeout, whose time is up", || {
            drop(condition.wait_timeout(lock.lock(), Duration::ZERO).0);
        });
        refused("Condvar::wait_while", || {
            drop(condition.wait_while(lock.lock(), |()| true));
        });
        refused("Condvar::wait_timeout_while", || {
            drop(condition.wait_timeout_while(lock.lock(), LONG, |()| true).0);
        });
        no_park(|| drop(condition.wait_while(lock.lock(), |()| false)));
        let (_, result) =
            no_park(|| condition.wait_timeout_while(lock.lock(), Duration::ZERO, |()| true));
        assert!(result.timed_out());
        assert!(lock.try_lock().is_some(), "its guard has unlocked it");
        no_park(|| condition.notify_all());
    });
}

#[test]
fn what_counts_refuses_and_counts_on() {
    everywhere(|| {
        let group = WaitGroup::new();
        group.add(1);
        refused("WaitGroup::wait", || group.wait());
        refused("WaitGroup::wait_timeout", || group.wait_timeout(LONG));
        no_park(|| group.done());
        no_park(|| group.wait());

        let permits = Semaphore::new(2);
        let one = permits.acquire(1);
        refused("Semaphore::acquire", || drop(permits.acquire(2)));
        refused("Semaphore::acquire_timeout", || {
            drop(permits.acquire_timeout(2, LONG));
        });
        let (ctx, _cancel) = Context::background().with_cancel();
        refused("Semaphore::acquire_ctx", || {
            drop(permits.acquire_ctx(&ctx, 2));
        });
        refused("more than there can ever be", || drop(permits.acquire(3)));
        let shared = Arc::new(Semaphore::new(0));
        refused("Semaphore::acquire_owned", || {
            drop(shared.acquire_owned(1));
        });
        refused("Semaphore::acquire_owned_timeout", || {
            drop(shared.acquire_owned_timeout(1, LONG));
        });
        refused("Semaphore::acquire_owned_ctx", || {
            drop(shared.acquire_owned_ctx(&ctx, 1));
        });
        assert!(permits.try_acquire(1).is_some(), "nobody stands before us");
        no_park(|| drop(one));
        assert_eq!(permits.acquire(2).permits(), 2);

        let limiter = Limiter::new(Limit::per_second(0.001), 1);
        limiter.wait(&ctx).unwrap();
        refused("Limiter::wait", || limiter.wait(&ctx));
        assert!(limiter.tokens() > -0.5, "it took a token");

        let barrier = Barrier::new(2);
        refused("Barrier::wait", || barrier.wait());
        scope(|s| {
            let other = s.spawn(|| barrier.wait().is_leader());
            let here = barrier.wait().is_leader();
            assert!(here != other.join().unwrap(), "one leads");
        });

        let group: ErrGroup = ErrGroup::new();
        group.set_limit(1);
        let (tx, rx) = channel::bounded::<()>(0);
        group.go(move || {
            let _ = rx.recv();
            Ok(())
        });
        refused("ErrGroup::go", || group.go(|| Ok(())));
        refused("ErrGroup::wait", || group.wait());
        drop(tx);
        group.wait().unwrap();
    });
}

#[test]
fn what_others_do_once_is_not_waited_for() {
    run(|| {
        let once = Arc::new(Once::new());
        let cell = Arc::new(OnceLock::new());
        let sometimes = Arc::new(Sometimes::new());
        let flights = Arc::new(singleflight::Group::<u8, u8>::new());
        let (started, begun) = channel::bounded(0);
        let (end, ended) = channel::bounded::<()>(0);
        let first = {
            let (once, flights) = (once.clone(), flights.clone());
            let (cell, sometimes) = (cell.clone(), sometimes.clone());
            spawn(move || {
                flights.call(1, || {
                    once.call_once(|| {
                        sometimes.run(|| {
                            cell.get_or_init(|| {
                                started.send(()).unwrap();
                                ended.recv().is_err()
                            });
                        });
                    });
                    7
                })
            })
        };
        begun.recv().unwrap();
        refused("Once::call_once", || once.call_once(|| unreachable!()));
        refused("Once::wait", || once.wait());
        refused("OnceLock::get_or_init", || {
            cell.get_or_init(|| unreachable!());
        });
        refused("OnceLock::set", || cell.set(false));
        refused("OnceLock::wait", || _ = *cell.wait());
        let lazy = LazyLock::new(|| *cell.wait());
        refused("LazyLock::force", || _ = *lazy);
        refused("Sometimes::run", || sometimes.run(|| unreachable!()));
        refused("singleflight::Group::call", || {
            flights.call(1, || unreachable!())
        });
        drop(end);
        assert_eq!(first.join().unwrap().0, 7);
        no_park(|| once.call_once(|| unreachable!()));
        assert!(no_park(|| *cell.wait()));
        assert_eq!(no_park(|| flights.call(1, || 8)), (8, false));
    });
}

#[test]
fn goroutines_are_not_waited_for() {
    everywhere(|| {
        let (tx, rx) = channel::bounded::<()>(0);
        let h = spawn(move || rx.recv().is_err());
        refused("join", || {
            let (tx, rx) = channel::bounded::<()>(0);
            let h = spawn(move || rx.recv());
            let _keeps = tx;
            h.join()
        });
        refused("run", || run(|| unreachable!()));
        refused("scope", || scope(|_| unreachable!()));
        refused("block_on", || block_on(poll_fn(|_| Poll::<()>::Pending)));
        refused("task::park", task::park);
        refused("task::park_timeout", || task::park_timeout(LONG));
        refused("task::sleep", || task::sleep(LONG));
        refused("time::sleep_until", || {
            time::sleep_until(Instant::now() + LONG);
        });
        assert_eq!(no_park(|| block_on(async { 1 })), 1);
        no_park(|| task::sleep(Duration::ZERO));
        no_park(|| drop(tx));
        assert!(h.join().unwrap());
    });
    run(|| {
        // What is there is taken.
        task::current().unpark();
        no_park(task::park);
    });
    // A plain thread's permit is std's: nobody can look.
    thread::current().unpark();
    refused("task::park with a permit", task::park);
    thread::park();
    scope(|s| {
        let (tx, rx) = channel::bounded::<()>(0);
        let h = s.spawn(move || rx.recv().is_err());
        refused("ScopedJoinHandle::join", || h.join());
        drop(tx);
    });
}

#[test]
fn pipes_and_copies_refuse_unless_they_are_ready() {
    everywhere(|| {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut byte = [0];
        refused("read", || reader.read(&mut byte));
        refused("copy", || io::copy(&mut reader, &mut std::io::sink()));
        no_park(|| writer.write_all(&[7])).unwrap();
        no_park(|| reader.read_exact(&mut byte)).unwrap();
        assert_eq!(byte, [7]);
        refused("write", || {
            loop {
                writer.write_all(&[0; 4096]).unwrap();
            }
        });
    });
}

#[test]
fn sockets_refuse_unless_they_are_ready() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        refused("accept", || listener.accept());
        let address = listener.local_addr().unwrap();
        let mut here = TcpStream::connect(address).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        let mut byte = [0];
        refused("read", || here.read(&mut byte));
        refused("write", || {
            let much = vec![0; 1 << 20];
            loop {
                there.write_all(&much).unwrap();
            }
        });
        drop(there);
        // What was sent is there, and the end of it.
        let mut all = Vec::new();
        assert!(here.read_to_end(&mut all).unwrap() >= 1 << 10);
        let mut here = TcpStream::connect(address).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        no_park(|| there.write_all(&[7])).unwrap();
        here.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [7]);
    });
}

#[test]
fn descriptors_refuse_unless_they_are_ready() {
    everywhere(|| {
        let (here, there) = UnixStream::pair().unwrap();
        let (here, there) = (Async::new(here).unwrap(), Async::new(there).unwrap());
        refused("read", || (&here).read(&mut [0]));
        refused("readable", || here.readable());
        refused("read_with", || {
            here.read_with(|mut here| here.read(&mut [0]))
        });
        refused("write", || (&here).write_all(&vec![0; 1 << 20]));
        refused("writable", || here.writable());
        no_park(|| {
            there.readable().unwrap();
            assert!((&there).read(&mut [0; 64]).unwrap() > 0);
            there.writable().unwrap();
            there.write_with(|mut there| there.write(&[7])).unwrap();
            let mut byte = [0];
            (&here).read_exact(&mut byte).unwrap();
            assert_eq!(byte, [7]);
        });
    });
}

#[test]
fn it_nests_and_ends_where_it_began() {
    everywhere(|| {
        no_park(|| {
            no_park(|| ());
            refused("inside the outer one", || task::sleep(LONG));
            refused("inside the outer one again", || task::sleep(LONG));
        });
        let caught = catch_unwind(|| {
            no_park(|| std::panic::resume_unwind(Box::new(())));
        });
        assert!(caught.is_err());
        task::sleep(Duration::from_micros(1));
        // It is this goroutine's, or this thread's, and nobody else's.
        no_park(|| {
            spawn(|| task::sleep(Duration::from_micros(1)));
        });
        task::yield_now();
        task::sleep(Duration::from_micros(1));
    });
}

/// It waits: another panic would end the process.
#[test]
fn one_that_panics_in_it_may_wait_in_its_drops() {
    struct Waits(channel::Receiver<u8>);
    impl Drop for Waits {
        fn drop(&mut self) {
            assert_eq!(self.0.recv(), Ok(1));
        }
    }
    run(|| {
        let (tx, rx) = channel::bounded(0);
        go!(move || tx.send(1).unwrap());
        let caught = catch_unwind(AssertUnwindSafe(|| {
            no_park(|| {
                let _waits = Waits(rx);
                std::panic::resume_unwind(Box::new(()));
            });
        }));
        assert!(caught.is_err());
    });
}

/// A thread-local is borrowed for as long, and all others borrow it too.
#[test]
fn nobody_else_runs_on_the_thread_meanwhile() {
    thread_local! {
        static BORROWED: RefCell<u64> = const { RefCell::new(0) };
    }
    // Not inlined: optimised code looks a thread-local up once, and keeps its address over the
    // yields between two rounds.
    #[inline(never)]
    fn borrowed(f: impl FnOnce(&mut u64)) {
        BORROWED.with_borrow_mut(f);
    }
    runtime::set_maxprocs(2);
    let stop = Arc::new(AtomicBool::new(false));
    let borrow = |i: usize| {
        let stop = stop.clone();
        let body = move || {
            let mut rounds = 0u64;
            while !stop.load(Ordering::Acquire) || rounds == 0 {
                let here = thread::current().id();
                borrowed(|n| {
                    no_park(|| {
                        let before = *n;
                        task::yield_now();
                        if rounds.is_multiple_of(64) {
                            blocking(|| thread::sleep(Duration::from_micros(10)));
                            drop(spawn(|| ()));
                        }
                        task::yield_now();
                        assert_eq!(*n, before);
                        *n += 1;
                    });
                });
                assert_eq!(thread::current().id(), here, "it moved");
                rounds += 1;
                task::yield_now();
            }
        };
        Builder::new()
            .pinned(i.is_multiple_of(3))
            .spawn(body)
            .unwrap()
    };
    let handles: Vec<_> = (0..9).map(borrow).collect();
    thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Release);
    handles.into_iter().for_each(|h| h.join().unwrap());
}

#[test]
fn the_same_where_everybody_is_pinned() {
    goweft_tests::scenario::once_more_pinned("the_same_where_everybody_is_pinned");
}
