//! The public surface, name by name with its signature: what programs out there are
//! compiled against. That it compiles is most of the test.
#![allow(
    clippy::type_complexity,
    reason = "signatures are written out, that is the point"
)]

use goweft::channel::{
    self, Receiver, RecvError, RecvTimeoutError, Select, SelectedOperation, SendError,
    SendTimeoutError, Sender, TryRecvError, TrySendError,
};
use goweft::context::{CancelCauseFunc, CancelFunc, Cause, Context, ContextError, StopFunc};
use goweft::net::{TcpListener, TcpStream};
use goweft::rate::{Limit, Limiter, Reservation, Sometimes};
use goweft::sync::{
    Barrier, Condvar, ErrGroup, LazyLock, Mutex, MutexGuard, Once, OnceLock, OwnedPermit, Permit,
    Pool, Pooled, RwLock, Semaphore, WaitGroup, WaitTimeoutResult, singleflight,
};
use goweft::task::{self, Exited, LocalKey, Task, TaskId};
use goweft::time::{self, Ticker, Timer};
use goweft::{Builder, Config, ConfigError, JoinHandle, Migration, PanicPolicy};
use goweft::{block_on, blocking, defer, go, goroutine_local, run, runtime, scope, select, spawn};
use std::cell::Cell;
use std::fmt::Debug;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const D: Duration = Duration::from_millis(1);

fn is_shared<T: Clone + Send + Sync>() {}
fn is_handle<F: Future<Output = std::thread::Result<u8>> + Send + Sync + Unpin>() {}
fn is_unwind_safe<T: ?Sized + UnwindSafe + RefUnwindSafe>() {}
fn is_error<E: std::error::Error + Send + Sync + 'static>() {}

mod entry {
    #[goweft::main]
    pub(super) fn main() {}
}

mod entry_with_options {
    #[goweft::main(maxprocs = 2, stack_size = 64 << 10)]
    pub(super) fn main() -> Result<(), goweft::ConfigError> {
        Ok(())
    }
}

/// Whoever catches a panic, of misuse perhaps, may use them in there as they use std's.
#[test]
fn what_can_be_shared_can_be_shared_with_a_catch_unwind() {
    is_unwind_safe::<(Sender<Cell<u8>>, Receiver<Cell<u8>>)>();
    is_unwind_safe::<(Mutex<Cell<u8>>, RwLock<Cell<u8>>, Condvar)>();
    is_unwind_safe::<MutexGuard<'_, Cell<u8>>>();
    is_unwind_safe::<goweft::sync::RwLockWriteGuard<'_, Cell<u8>>>();
    is_unwind_safe::<goweft::sync::RwLockReadGuard<'_, u8>>();
    is_unwind_safe::<(Once, OnceLock<u8>, LazyLock<u8>, Barrier, WaitGroup)>();
    is_unwind_safe::<(Semaphore, Permit<'_>, OwnedPermit)>();
    is_unwind_safe::<(Pool<Cell<u8>>, singleflight::Group<u8, Cell<u8>>)>();
    is_unwind_safe::<(ErrGroup, ErrGroup<Cell<u8>>)>();
    is_unwind_safe::<(Context, CancelFunc, CancelCauseFunc, StopFunc)>();
    is_unwind_safe::<(Timer, Ticker)>();
    is_unwind_safe::<(Limiter, Reservation<'_>, Sometimes)>();
    is_unwind_safe::<(TcpListener, TcpStream)>();
    is_unwind_safe::<(goweft::io::PipeReader, goweft::io::PipeWriter)>();
    is_unwind_safe::<goweft::io::Async<OwnedFd>>();
    is_unwind_safe::<(Task, TaskId, LocalKey<Cell<u8>>)>();
    fn is_shared_by_reference<T: RefUnwindSafe>() {}
    is_shared_by_reference::<goweft::Scope<'_, '_>>();
}

#[goweft::test]
fn a_test_is_a_goroutine() {
    assert!(task::is_goroutine());
}

#[goweft::test(maxprocs = 2)]
fn a_test_has_the_options_of_main() -> io::Result<()> {
    Ok(())
}

#[test]
fn entry_and_settings() {
    let _ = || {
        entry::main();
        let _ = entry_with_options::main();
    };
    let text = String::from("borrowed");
    let len: usize = run(|| text.len());
    assert_eq!(len, 8);
    let _: fn() -> Result<(), ConfigError> = || {
        Config::new()
            .maxprocs(2)
            .stack_size(64 << 10)
            .time_slice(D)
            .max_threads(9)
            .affinity(&[0])
            .container_limits(true)
            .panic(PanicPolicy::Isolate)
            .migration(Migration::Free)
            .exit_on_sigquit(true)
            .install()
    };
    let _ = (PanicPolicy::Abort, Migration::Pinned);
    let _ = |e: ConfigError| matches!(e, ConfigError::Started);
}

goroutine_local! {
    pub static LOCAL: Cell<u32> = Cell::new(0);
    static ANOTHER: Vec<u8> = Vec::new();
}

struct Server(mpsc::Sender<u32>);

impl Server {
    fn serve(self, connection: u32) {
        self.0.send(connection).unwrap();
    }
}

#[test]
fn goroutines() {
    let (tx, rx) = mpsc::channel();
    fn worker(n: u32, tx: mpsc::Sender<u32>) {
        tx.send(n).unwrap();
    }
    fn make(tx: mpsc::Sender<u32>) -> impl FnOnce() + Send + 'static {
        tx.send(8).unwrap();
        move || tx.send(0).unwrap()
    }
    let closure = make(tx.clone());
    go!(closure);
    go!(make(tx.clone()));
    let t = tx.clone();
    go!(move || t.send(1).unwrap());
    let (t, x) = (tx.clone(), 1);
    go! { let y = x + 1; t.send(y).unwrap() }
    let t = tx.clone();
    go!({ t.send(3).unwrap() });
    go!(worker(4, tx.clone()));
    let server = Server(tx.clone());
    go!(server.serve(5));
    let t = tx.clone();
    go!(name = "acceptor", stack = 1 << 20, move || t
        .send(6)
        .unwrap());
    go!(stack = 32 << 10, name = String::from("w"), worker(7, tx));
    let mut got: Vec<u32> = rx.iter().collect();
    got.sort_unstable();
    // The second `make` ran, and what it returned was dropped.
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]);

    is_handle::<JoinHandle<u8>>();
    let h: JoinHandle<u8> = spawn(|| 7);
    let _: (bool, TaskId, &Task) = (h.is_finished(), h.id(), h.task());
    let r: std::thread::Result<u8> = h.join();
    assert_eq!(r.unwrap(), 7);
    let h: io::Result<JoinHandle<u8>> = Builder::new()
        .name("named")
        .stack_size(64 << 10)
        .pinned(false)
        .spawn(|| 8);
    assert_eq!(block_on(h.unwrap()).unwrap(), 8);
    let mut n = 1;
    let m = scope(|s| {
        let h: goweft::ScopedJoinHandle<'_, u32> = s.spawn(|| 2);
        n += 1;
        h.join().unwrap() + n
    });
    assert_eq!(m, 4);

    let me: Task = run(task::current);
    let _: (TaskId, Option<&str>) = (me.id(), me.name());
    me.unpark();
    let _: TaskId = task::id();
    let _: [fn(); 2] = [task::park, task::yield_now];
    let _: [fn(Duration); 2] = [task::park_timeout, task::sleep];
    assert!(!task::is_goroutine());
    let left = spawn(|| task::exit()).join().unwrap_err();
    assert!(left.is::<Exited>());
    assert_eq!(blocking(|| 3), 3);
    assert_eq!(goweft::no_preempt(|| 4) + goweft::no_park(|| 5), 9);
    let _: task::OsThreadGuard = task::lock_os_thread();
    let local: &LocalKey<Cell<u32>> = &LOCAL;
    run(|| {
        local.set(4);
        assert_eq!((local.get(), local.take(), local.replace(5)), (4, 4, 0));
        assert_eq!(local.with(Cell::get), 5);
        ANOTHER.with(|v: &Vec<u8>| assert!(v.is_empty()));
    });
    let done = Cell::new(false);
    {
        defer! { done.set(true) }
        assert!(!done.get());
    }
    assert!(done.get());
}

#[test]
fn channels() {
    is_shared::<Sender<Cell<u8>>>();
    is_shared::<Receiver<Cell<u8>>>();
    let (tx, rx): (Sender<u8>, Receiver<u8>) = channel::bounded::<u8>(4);
    let _: (Sender<u8>, Receiver<u8>) = channel::unbounded::<u8>();
    let _: Result<(), SendError<u8>> = tx.send(1);
    let _: Result<(), TrySendError<u8>> = tx.try_send(2);
    let _: Result<(), SendTimeoutError<u8>> = tx.send_timeout(3, D);
    let _: Result<(), SendTimeoutError<u8>> = tx.send_deadline(4, Instant::now() + D);
    assert_eq!(tx.try_send(5), Err(TrySendError::Full(5)));
    let _: (usize, Option<usize>, bool, bool, bool) = (
        tx.len(),
        tx.capacity(),
        tx.is_empty(),
        tx.is_full(),
        tx.is_closed(),
    );
    let _: (usize, Option<usize>, bool, bool, bool) = (
        rx.len(),
        rx.capacity(),
        rx.is_empty(),
        rx.is_full(),
        rx.is_closed(),
    );
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
    let _: Result<u8, RecvError> = rx.recv();
    let _: Result<u8, TryRecvError> = rx.try_recv();
    let _: Result<u8, RecvTimeoutError> = rx.recv_timeout(D);
    let _: Result<u8, RecvTimeoutError> = rx.recv_deadline(Instant::now() + D);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(rx.recv_timeout(D), Err(RecvTimeoutError::Timeout));
    tx.send(6).unwrap();
    assert_eq!(rx.try_iter().next(), Some(6));
    tx.send(7).unwrap();
    assert!(tx.close() && !rx.close());
    for v in &rx {
        assert_eq!(v, 7);
    }
    assert_eq!((rx.iter().count(), rx.into_iter().count()), (0, 0));
    assert_eq!(tx.send(8), Err(SendError(8)));
    assert_eq!(tx.send(8).unwrap_err().into_inner(), 8);
    assert_eq!(tx.try_send(9), Err(TrySendError::Disconnected(9)));
    assert_eq!(
        tx.send_timeout(9, D).unwrap_err(),
        SendTimeoutError::Disconnected(9)
    );
    let _ = (
        SendTimeoutError::Timeout(1).into_inner(),
        TrySendError::Full(1).into_inner(),
    );
    let _ = (TryRecvError::Disconnected, RecvTimeoutError::Disconnected);
    is_error::<SendError<Vec<u8>>>();
    is_error::<RecvError>();
    let _: fn(Duration) -> Receiver<Instant> = channel::after;
    let _: fn(Duration) -> Receiver<Instant> = channel::tick;
    let _: Receiver<u8> = channel::never::<u8>();
}

#[test]
fn selects() {
    let (tx, rx) = channel::bounded::<u8>(1);
    let nobody: Option<&Receiver<u8>> = None;
    let sent = select! {
        send(tx, 1) -> res => { let res: Result<(), SendError<u8>> = res; res.is_ok() },
        recv(nobody) -> msg => { let _: Result<u8, RecvError> = msg; false },
    };
    assert!(sent);
    for _ in 0..1 {
        channel::select! {
            recv(&rx) -> msg => if msg == Ok(1) { break },
            default => panic!("it is ready"),
        }
    }
    select! {
        recv(rx) -> _ => panic!("it is empty"),
        default(D) => {},
    }
    let _: fn() -> ! = || select! {};

    let mut sel = Select::new();
    let (a, b): (usize, usize) = (sel.recv(&rx), sel.send(&tx));
    let op: SelectedOperation<'_> = sel.select();
    assert_eq!((op.index(), a), (b, 0));
    let _: Result<(), SendError<u8>> = op.send(&tx, 2);
    let mut sel = Select::new();
    sel.recv(&rx);
    let op = sel.try_select().unwrap();
    let _: Result<u8, RecvError> = op.recv(&rx);
    assert!(sel.select_timeout(D).is_err());
    assert!(sel.select_deadline(Instant::now()).is_err());
    assert!(sel.try_ready().is_err() && sel.ready_timeout(D).is_err());
    assert!(sel.ready_deadline(Instant::now()).is_err());
    tx.send(3).unwrap();
    assert_eq!(sel.ready(), 0);
}

#[test]
fn locks() {
    static MUTEX: Mutex<u8> = Mutex::new(0);
    static RWLOCK: RwLock<u8> = RwLock::new(0);
    static CONDVAR: Condvar = Condvar::new();
    static ONCE: Once = Once::new();
    static ONCE_LOCK: OnceLock<u8> = OnceLock::new();
    static LAZY: LazyLock<u8> = LazyLock::new(|| 3);
    let soon = || Instant::now() + D;
    {
        let g: MutexGuard<'_, u8> = MUTEX.lock();
        let _: Option<MutexGuard<'_, u8>> = MUTEX.try_lock();
        assert!(MUTEX.try_lock_for(D).is_none() && MUTEX.try_lock_until(soon()).is_none());
        let g = CONDVAR.wait_while(g, |n| *n != 0);
        let (g, r): (_, WaitTimeoutResult) = CONDVAR.wait_timeout(g, D);
        assert!(r.timed_out());
        drop(g);
        let _: for<'a> fn(&Condvar, MutexGuard<'a, u8>) -> MutexGuard<'a, u8> = Condvar::wait;
        CONDVAR.notify_one();
        CONDVAR.notify_all();
    }
    {
        let r = RWLOCK.read();
        assert!(RWLOCK.try_read().is_some() && RWLOCK.try_write().is_none());
        assert!(RWLOCK.try_write_for(D).is_none() && RWLOCK.try_write_until(soon()).is_none());
        drop(r);
        let w = RWLOCK.write();
        assert!(RWLOCK.try_read_for(D).is_none() && RWLOCK.try_read_until(soon()).is_none());
        drop(w);
    }
    let (mut m, mut l) = (Mutex::new(1), RwLock::new(2));
    assert_eq!((*m.get_mut(), *l.get_mut()), (1, 2));
    assert_eq!((m.into_inner(), l.into_inner()), (1, 2));
    ONCE.call_once(|| ());
    assert!(ONCE.is_completed());
    assert_eq!(
        (ONCE_LOCK.get_or_init(|| 2), ONCE_LOCK.get(), *LAZY),
        (&2, Some(&2), 3)
    );
    assert!(Barrier::new(1).wait().is_leader());
}

#[test]
fn groups_and_permits() {
    is_shared::<WaitGroup>();
    let wg = WaitGroup::new();
    wg.add(1usize);
    assert!(!wg.wait_timeout(D));
    wg.done();
    wg.go(|| ());
    wg.clone().wait();

    let ctx: Context = Context::background();
    let s = Arc::new(Semaphore::new(4));
    {
        let _p: Permit<'_> = s.acquire(1);
        let _: Option<Permit<'_>> = s.try_acquire(9);
        let _: Option<Permit<'_>> = s.acquire_timeout(9, D);
        let _: Result<Permit<'_>, ContextError> = s.acquire_ctx(&ctx, 1);
        let _: OwnedPermit = s.acquire_owned(1);
        let _: Option<OwnedPermit> = s.acquire_owned_timeout(9, D);
        let _: Result<OwnedPermit, ContextError> = s.acquire_owned_ctx(&ctx, 1);
        s.acquire(1).forget();
        s.release(1);
    }

    let g: ErrGroup = ErrGroup::new();
    g.go(|| Ok(()));
    let _: Result<(), Cause> = g.wait();
    let (g, _ctx): (ErrGroup<ContextError>, Context) = ErrGroup::with_context(&ctx);
    g.set_limit(1);
    let _: bool = g.try_go(|| Err(ContextError::Canceled));
    assert_eq!(g.clone().wait(), Err(ContextError::Canceled));

    let flights: singleflight::Group<String, u8> = singleflight::Group::new();
    let _: (u8, bool) = flights.call("key".into(), || 1);
    let _: Receiver<(u8, bool)> = flights.call_chan("key".into(), || 1);
    flights.forget(&"key".into());

    let pool: Pool<Vec<u8>> = Pool::new(Vec::new);
    let v: Pooled<'_, Vec<u8>> = pool.get();
    let _: Vec<u8> = v.into_inner();
}

#[test]
fn contexts() {
    is_shared::<Context>();
    is_error::<ContextError>();
    let root = Context::background();
    let _ = Context::todo();
    let soon = Instant::now() + Duration::from_secs(3600);
    let e = || io::Error::other("why");
    let (c, cancel): (Context, CancelFunc) = root.with_cancel();
    cancel();
    cancel.cancel();
    let (_, detached) = root.with_cancel();
    detached.detach();
    let (caused, cancel): (Context, CancelCauseFunc) = root.with_cancel_cause();
    cancel.cancel(e());
    let _: Option<Cause> = caused.cause();
    let cause: Cause = Arc::new(e());
    cancel.cancel(cause);
    let _: (Context, CancelFunc) = root.with_timeout(D);
    let _: (Context, CancelFunc) = root.with_timeout_cause(D, e());
    let _: (Context, CancelFunc) = root.with_deadline(soon);
    let _: (Context, CancelFunc) = root.with_deadline_cause(soon, e());
    let v: Context = root.with_value(7u8).without_cancel();
    assert_eq!(v.value::<u8>(), Some(&7));
    let stop: StopFunc = root.after_func(|| ());
    let _: (bool, bool) = (stop.stop(), stop());
    let _: &Receiver<()> = c.done();
    assert_eq!(c.err(), Some(ContextError::Canceled));
    assert_eq!(c.check(), Err(ContextError::Canceled));
    let _: (Option<Instant>, ContextError) = (c.deadline(), ContextError::DeadlineExceeded);
}

#[test]
fn times_and_rates() {
    let _: Instant = time::now();
    let _: Duration = time::since(Instant::now());
    time::sleep(D);
    time::sleep_until(Instant::now());
    let _: (Receiver<Instant>, Receiver<Instant>) = (time::after(D), time::tick(D));
    let t: Timer = time::after_func(Duration::from_secs(3600), || ());
    let _: (bool, bool) = (t.reset(Duration::from_secs(3600)), t.stop());
    let t = Timer::new(D);
    let _: (&Receiver<Instant>, bool, bool) = (t.channel(), t.reset(D), t.stop());
    let t = Ticker::new(D);
    let _: &Receiver<Instant> = t.channel();
    t.reset(D);
    t.stop();
    let l = Limiter::new(Limit::per_second(1e9), 5);
    let _: (bool, bool) = (l.allow(), l.allow_n(Instant::now(), 2));
    let _: Reservation = l.reserve();
    let ctx = Context::background();
    l.wait(&ctx).unwrap();
    l.wait_n(&ctx, 2).unwrap();
    let _ = |s: &Sometimes| s.run(|| ());
}

#[test]
fn sockets_and_the_rest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    listener.set_deadline(Some(Instant::now())).unwrap();
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    listener.set_deadline(None).unwrap();
    let stream: TcpStream = TcpStream::connect(addr).unwrap();
    stream.set_read_deadline(Some(Instant::now())).unwrap();
    stream.set_write_deadline(None).unwrap();
    let _: io::Result<std::net::TcpStream> = stream.try_clone().unwrap().into_std();
    stream.close().unwrap();
    let late = stream.peek(&mut [0]).unwrap_err();
    assert!(late.get_ref().unwrap().is::<goweft::net::Closed>());
    let _: io::Result<TcpListener> =
        TcpListener::from_std(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listener.close().unwrap();
    assert!(listener.incoming().next().is_none());

    let _: io::Result<u64> = goweft::io::copy(&mut &b"abc"[..], &mut Vec::new());
    let _ = goweft::io::pipe().unwrap();
    type Any = goweft::io::Async<UdpSocket>;
    let any: io::Result<Any> = Any::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let any: Any = any.unwrap();
    let _: fn(OwnedFd) -> io::Result<Any> = Any::try_from;
    let _: [fn(&Any) -> io::Result<()>; 2] = [Any::readable, Any::writable];
    let _: [fn(&Any, Option<Instant>) -> io::Result<()>; 3] = [
        Any::set_deadline,
        Any::set_read_deadline,
        Any::set_write_deadline,
    ];
    let _: io::Result<u8> = any.read_with(|_: &UdpSocket| Ok(1));
    let _: io::Result<u8> = any.write_with(|_: &UdpSocket| Ok(1));
    let _: (&UdpSocket, BorrowedFd<'_>, RawFd) = (any.get_ref(), any.as_fd(), any.as_raw_fd());
    let _: (&dyn io::Read, &dyn io::Write, &dyn Debug) = (&any, &&any, &any);
    let _: io::Result<UdpSocket> = any.into_inner();
    let _: [fn() -> usize; 3] = [runtime::maxprocs, runtime::num_cpu, runtime::num_goroutines];
    let _: fn(usize) -> usize = runtime::set_maxprocs;
    let _ = runtime::metrics().stacks;
    let _ = goweft::PreemptSafe::new(std::alloc::System);
    let signals: io::Result<Receiver<goweft::signal::Signal>> =
        goweft::signal::notify(&[goweft::signal::Signal::SIGUSR2]);
    let _ = signals.unwrap();
}
