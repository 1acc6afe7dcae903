//! The lines that docs/PORTING.md puts beside Go's: they stand here, compile, and do what is said.
//!
//! The page is read, its tables and its Rust programs, and each line of them looked for in this
//! file; blanks and commas do not count, and `…` stands for anything. So whoever adds a line
//! there adds it here.

use goweft::channel::{self, Receiver, RecvError, Sender, TrySendError};
use goweft::context::{CancelCauseFunc, CancelFunc, Context, ContextError};
use goweft::io::Async;
use goweft::net::{TcpListener, TcpStream};
use goweft::rate::{Limit, Limiter, Sometimes};
use goweft::signal::{self, Signal};
use goweft::sync::{
    Condvar, ErrGroup, LazyLock, Mutex, Once, OnceLock, Pool, RwLock, Semaphore, WaitGroup,
    singleflight,
};
use goweft::time::{self, Ticker, Timer};
use goweft::{Builder, Config, defer, go, io, runtime, select, spawn, task};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;
type T = u32;
type K = &'static str;
type V = u32;
type E = std::fmt::Error;

/// Long enough not to come.
const HOUR: Duration = Duration::from_secs(3600);

// ---- the page -------------------------------------------------------------------

/// Without what a formatter moves.
fn bare(code: &str) -> String {
    code.chars()
        .filter(|c| !c.is_whitespace() && *c != ',')
        .collect()
}

/// The code in the right column of the tables that have Go in the left one.
fn lines_of_tables(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut of_go = false;
    for row in page.lines() {
        let Some(row) = row.strip_prefix('|') else {
            of_go = false;
            continue;
        };
        let row = row.replace("\\|", "\u{1}");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        of_go |= cells[..2] == ["Go", "goweft"];
        if of_go && cells[0] != "Go" {
            let code = cells[1].split('`').skip(1).step_by(2);
            lines.extend(code.map(|code| code.replace('\u{1}', "|")));
        }
    }
    lines
}

/// The fenced programs in Rust.
fn programs(page: &str) -> Vec<String> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced
        .filter_map(|program| program.strip_prefix("rust\n"))
        .map(str::to_owned)
        .collect()
}

/// What of `code` does not stand in `source`, in this order.
fn missing<'a>(code: &'a str, source: &str) -> Option<&'a str> {
    let mut rest = source;
    code.split('…').find(|part| {
        let part = bare(part);
        match rest.find(&part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                false
            }
            None => true,
        }
    })
}

#[test]
fn every_line_of_the_page_stands_here() {
    let page = include_str!("../../docs/PORTING.md");
    let here = include_str!("porting.rs");
    let source = bare(&here[here.find("// ---- the lines").unwrap()..]);
    let (lines, programs) = (lines_of_tables(page), programs(page));
    let found = (lines.len(), programs.len());
    assert!(found > (200, 0) && found.1 > 10, "{found:?}");
    let missing: Vec<&str> = lines
        .iter()
        .chain(&programs)
        .filter_map(|code| missing(code, &source))
        .collect();
    assert!(missing.is_empty(), "not here: {missing:#?}");
}

// ---- the lines --------------------------------------------------------------------

mod entry {
    #[goweft::main]
    fn main() {
        assert!(goweft::task::is_goroutine());
    }

    #[test]
    fn a_program_compiles() {
        // When it returns the process ends.
        let _: fn() = main;
    }
}

#[derive(Clone)]
struct Server(Sender<T>);

impl Server {
    fn serve(self, conn: T) {
        self.0.send(conn).unwrap();
    }
}

#[test]
fn starting() -> Outcome {
    let (tx, rx) = channel::unbounded::<T>();
    let f = |x, y: Sender<T>| y.send(x).unwrap();
    let (x, y, srv, conn) = (1, tx.clone(), Server(tx.clone()), 2);
    go!(f(x, y));
    go!(srv.clone().serve(conn));
    let t = tx.clone();
    go! {
        t.send(3).unwrap();
    }
    go!(move || tx.send(4).unwrap());
    drop(srv);
    let handle = spawn(move || rx.iter().sum::<T>());
    assert_eq!(handle.join().unwrap(), 10);

    let wg = WaitGroup::new();
    wg.add(1);
    {
        defer! { wg.done() }
    }
    assert!(wg.wait_timeout(Duration::ZERO));
    let recovered = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(5)));
    assert!(recovered.is_err());
    let handle = spawn(|| std::panic::resume_unwind(Box::new(5)));
    assert!(handle.join().is_err());
    Ok(())
}

#[test]
fn channels() -> Outcome {
    let n = 1;
    let _ = channel::bounded::<T>(0);
    let (tx, rx): (Sender<T>, Receiver<T>) = channel::bounded::<T>(n);
    let _ = channel::unbounded::<T>();
    let v = 7;
    tx.send(v)?;
    assert_eq!((rx.len(), rx.capacity()), (1, Some(1)));
    let v = rx.recv()?;
    assert_eq!(v, 7);
    tx.send(8)?;
    if let Ok(v) = rx.recv() {
        assert_eq!(v, 8);
    }
    tx.send(9)?;
    tx.close();
    for v in &rx {
        assert_eq!(v, 9);
    }
    assert_eq!(rx.recv(), Err(RecvError));
    Ok(())
}

#[test]
fn selecting() {
    let (tx, rx) = channel::bounded::<T>(1);
    let (nobody, never) = (None::<&Receiver<T>>, channel::never::<T>());
    let (v, d) = (1, Duration::from_millis(1));
    let ready = select! {
        recv(nobody) -> _ => "nil",
        recv(never) -> _ => "never",
        send(tx, v) -> sent => { assert!(sent.is_ok()); "sent" }
    };
    assert_eq!(ready, "sent");
    select! {
        recv(rx) -> v => assert_eq!(v, Ok(1)),
        default => unreachable!(),
    }
    select! {
        recv(rx) -> _ => unreachable!(),
        default(d) => {}
    }
    let _ = || -> () {
        select! {}
    };
    let mut sel = channel::Select::new();
    sel.send(&tx);
    let op = sel.select();
    op.send(&tx, 2).unwrap();
}

fn count(line: T, results: Sender<T>) {
    results.send(line).unwrap();
}

#[test]
fn goroutines_of_the_page() -> Outcome {
    let (results, all) = channel::unbounded();
    let (i, worker) = (1, count);
    go!(worker(i, results.clone()));
    assert_eq!(all.recv()?, 1);

    let (tx, rx) = channel::bounded(1);
    let path = PathBuf::from("Cargo.toml");
    go! {
        let Ok(text) = std::fs::read_to_string(&path) else { return };
        tx.send(text.len()).unwrap();
    }
    assert!(rx.recv()? > 0);

    let numbers: Vec<u64> = (1..4).collect();
    let sum = goweft::spawn(move || numbers.iter().sum::<u64>());
    println!("{}", sum.join().unwrap());

    let (text, count_words) = (String::from("a b"), |text: &str| text.split(' ').count());
    let (index, print) = (|n: &usize| assert_eq!(*n, 2), |n: &usize| println!("{n}"));
    let words = count_words(&text);
    goweft::scope(|s| {
        s.spawn(|| index(&words));
        s.spawn(|| print(&words));
    }); // both have ended

    let (add, added) = channel::bounded::<u64>(0);
    let total = goweft::spawn(move || added.iter().sum::<u64>());
    for n in 1..=100 {
        go!(add.clone().send(n));
    }
    drop(add); // the sum ends when the last sender is gone
    assert_eq!(total.join().unwrap(), 5050);
    Ok(())
}

#[test]
fn channels_of_the_page() -> Outcome {
    let (tx, rx) = channel::bounded(2);
    go! {
        for n in 0..5 {
            tx.send(n).unwrap();
        }
    } // tx is dropped here: closes the channel
    for n in rx {
        println!("{n}");
    }

    let (output, input) = channel::bounded::<T>(1);
    let next = || 5;
    select! {
        recv(input) -> v => panic!("{v:?}"),              // v: Result<T, RecvError>
        send(output, next()) -> sent => assert!(sent.is_ok()),  // sent: Result<(), SendError<T>>
        default(Duration::from_secs(1)) => unreachable!(),
    }

    let (merged, all) = channel::unbounded();
    let [left, right] = [1, 2].map(|v| {
        let (tx, rx) = channel::bounded::<T>(1);
        tx.send(v).unwrap();
        rx
    });
    let mut left = Some(left);
    let mut right = Some(right);
    while left.is_some() || right.is_some() {
        select! {
            recv(left) -> v => match v {
                Ok(v) => merged.send(v)?,
                Err(_) => left = None,
            },
            recv(right) -> v => match v {
                Ok(v) => merged.send(v)?,
                Err(_) => right = None,
            },
        }
    }
    assert_eq!(all.try_iter().sum::<T>(), 3);
    Ok(())
}

#[test]
fn sockets_of_the_page() -> Outcome {
    fn handle(stream: TcpStream) {
        stream.close().unwrap();
    }
    let _ = || -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        for stream in listener.incoming() {
            go!(handle(stream?));
        }
        Ok(())
    };
    // The same with somebody who comes, and ends it.
    let serve = || -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (addr, ended) = (listener.local_addr()?, listener.try_clone()?);
        go! {
            let all = TcpStream::connect(addr).unwrap().read_to_end(&mut Vec::new());
            assert_eq!(all.unwrap(), 0);
            ended.close().unwrap();
        }
        for stream in listener.incoming() {
            go!(handle(stream?));
        }
        Ok(())
    };
    serve()
}

#[test]
fn contexts_of_the_page() {
    let ask = |answers: Receiver<T>| -> Result<T, Box<dyn Error + Send + Sync>> {
        let parent = Context::background();
        let (ctx, _cancel) = parent.with_timeout(Duration::from_secs(1));
        select! {
            recv(answers) -> r => Ok(r?),
            recv(ctx.done()) -> _ => Err(ctx.check().unwrap_err().into()),
        }
    };
    let (tx, rx) = channel::bounded(1);
    tx.send(6).unwrap();
    assert_eq!(ask(rx).unwrap(), 6);
    assert!(ask(channel::never()).is_err());
}

#[test]
fn signals_of_the_page() -> Outcome {
    let _ = || -> Outcome {
        let stop = signal::notify(&[Signal::SIGINT, Signal::SIGTERM])?;
        let _ = stop.recv();
        Ok(())
    };
    let (ctx, stop) =
        signal::notify_context(&Context::background(), &[Signal::SIGINT, Signal::SIGTERM])?;
    stop();
    assert!(ctx.err().is_some());
    Ok(())
}

#[test]
fn runtime_by_name() -> Outcome {
    task::yield_now();
    assert!(spawn(|| task::exit()).join().is_err());
    let n = runtime::maxprocs();
    assert_eq!(runtime::set_maxprocs(n), n);
    let _ = || runtime::set_default_maxprocs();
    assert!(runtime::num_cpu() > 0 && runtime::metrics().threads > 0);
    let _: usize = runtime::num_goroutines();
    let locked = task::lock_os_thread();
    drop(locked);
    let (n, f) = (64 << 10, || ());
    Builder::new().stack_size(n).spawn(f)?;
    let _ = Config::new().stack_size(n);
    let _ = Config::new().max_threads(n);
    let _ = Config::new().panic(goweft::PanicPolicy::Abort);
    assert_eq!(goweft::blocking(|| 1), 1);
    assert_eq!(goweft::no_park(|| 2), 2);
    assert_eq!(goweft::no_preempt(|| 3), 3);
    Ok(())
}

#[test]
fn locks_by_name() {
    static MU: Mutex<u32> = Mutex::new(0);
    let (mu, d, t) = (&MU, Duration::ZERO, Instant::now());
    let mut value = mu.lock();
    *value += 1;
    assert!(mu.try_lock_for(d).is_none() && mu.try_lock_until(t).is_none());
    drop(value);
    if let Some(value) = mu.try_lock() {
        assert_eq!(*value, 1);
    }

    let table = 0;
    let rw = RwLock::new(table);
    let shared = rw.read();
    assert!(rw.try_read().is_some());
    drop(shared);
    let alone = rw.write();
    assert!(rw.try_write().is_none());
    drop(alone);

    let mu = Mutex::new(false);
    let cond = Condvar::new();
    goweft::scope(|s| {
        s.spawn(|| {
            *mu.lock() = true;
            cond.notify_one();
            cond.notify_all();
        });
        let ready = cond.wait_while(mu.lock(), |ready| !*ready);
        assert!(*ready);
    });
    goweft::scope(|s| {
        let mut guard = mu.lock();
        s.spawn(|| {
            *mu.lock() = false;
            cond.notify_one();
        });
        while *guard {
            guard = cond.wait(guard);
        }
    });
}

#[test]
fn groups_and_once_by_name() {
    let wg = WaitGroup::new();
    let (n, f) = (1, || ());
    wg.add(n);
    wg.done();
    wg.go(f);
    wg.wait();

    let once = Once::new();
    once.call_once(f);
    assert!(once.is_completed());
    let run = LazyLock::new(f);
    LazyLock::force(&run);
    let f = || 3;
    let value = LazyLock::new(f);
    assert_eq!(*value, 3);
    let cell = OnceLock::new();
    assert_eq!(*cell.get_or_init(f), 3);

    let pool = Pool::new(f);
    let x = pool.get();
    assert_eq!(*x, 3);
    drop(x);
}

#[test]
#[expect(clippy::clone_on_copy, reason = "the lines are for any V")]
#[expect(clippy::let_and_return, reason = "the lines give it a name")]
fn maps_and_values_by_name() {
    let m: RwLock<HashMap<K, V>> = RwLock::default();
    let (k, v) = ("k", 1);
    m.write().insert(k, v);
    assert_eq!(m.read().get(&k).cloned(), Some(1));
    assert_eq!(m.write().entry(k).or_insert(v).clone(), 1);
    let old = m.write().insert(k, v);
    assert_eq!(old, Some(1));
    let f = |(_, v): (&K, &V)| assert_eq!(*v, 1);
    m.read().iter().for_each(f);
    let compare_and_swap = |k, a, b| {
        let swapped = match m.write().get_mut(&k) {
            Some(now) if *now == a => {
                *now = b;
                true
            }
            _ => false,
        };
        swapped
    };
    assert!(compare_and_swap("k", 1, 5) && compare_and_swap("k", 5, 1));
    assert!(!compare_and_swap("k", 5, 6) && !compare_and_swap("none", 1, 6));
    let compare_and_delete = |k, a| {
        let deleted = match m.write().entry(k) {
            Entry::Occupied(there) if *there.get() == a => {
                there.remove();
                true
            }
            _ => false,
        };
        deleted
    };
    assert!(!compare_and_delete("k", 5) && !compare_and_delete("none", 5));
    m.write().insert("once", 5);
    assert!(compare_and_delete("once", 5) && m.read().len() == 1);
    let copy = m.read().clone();
    copy.iter()
        .for_each(|(k, v)| _ = m.write().insert(k, v + 1));
    assert_eq!(m.read()["k"], 2);
    let k = "new";
    let (v, loaded) = match m.write().entry(k) {
        Entry::Occupied(there) => (there.get().clone(), true),
        Entry::Vacant(free) => (free.insert(v).clone(), false),
    };
    assert_eq!((v, loaded), (1, false));
    let k = "k";
    assert_eq!(m.write().remove(&k), Some(2));
    m.write().clear();

    let n = AtomicI64::new(0);
    let (v, d, a, b, mask) = (7, 2, 9, 6, 4);
    n.store(v, Ordering::SeqCst);
    assert_eq!(n.fetch_add(d, Ordering::SeqCst).wrapping_add(d), 9);
    assert!(
        n.compare_exchange(a, b, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    );
    assert_eq!(n.fetch_and(mask, Ordering::SeqCst), 6);
    assert_eq!(n.fetch_or(mask, Ordering::SeqCst), 4);
    assert_eq!(n.swap(v, Ordering::SeqCst), 4);
    assert_eq!(n.load(Ordering::SeqCst), 7);
    let first = "first";
    let v = RwLock::new(Arc::new(first));
    assert_eq!(*v.read().clone(), "first");
    let x = Arc::new("second");
    *v.write() = x;
    let x = Arc::new("third");
    assert_eq!(*std::mem::replace(&mut *v.write(), x), "second");
    let (a, x) = (v.read().clone(), Arc::new("fourth"));
    let mut now = v.write();
    if Arc::ptr_eq(&now, &a) {
        *now = x;
    }
    assert_eq!(**now, "fourth");
}

#[test]
fn x_sync_by_name() -> Outcome {
    let (ctx, n, f) = (Context::background(), 2, || Ok(()));
    let g = ErrGroup::<E>::new();
    g.set_limit(n);
    g.go(f);
    assert!(g.try_go(f));
    g.wait()?;
    g.set_limit(usize::MAX);
    let (g, ctx) = ErrGroup::<E>::with_context(&ctx);
    g.go(|| Err(std::fmt::Error));
    assert!(g.wait().is_err() && ctx.err().is_some());

    let (ctx, n) = (Context::background(), 2);
    let sem = Semaphore::new(n);
    let sem: Arc<Semaphore> = Arc::new(sem);
    let permit = sem.acquire_ctx(&ctx, n)?;
    assert!(sem.try_acquire(1).is_none());
    drop(permit);
    let owned = sem.acquire_owned_ctx(&ctx, n)?;
    drop(owned);
    drop(sem.acquire_owned(n));
    if let Some(permit) = sem.try_acquire(n) {
        permit.forget();
    }
    sem.release(n);
    drop(sem.acquire(n));

    let flights = singleflight::Group::<K, V>::new();
    let (k, f) = ("k", || 5);
    let (v, shared) = flights.call(k, f);
    assert_eq!((v, shared), (5, false));
    let answer = flights.call_chan(k, f);
    flights.forget(&k);
    let (v, shared) = answer.recv()?;
    assert_eq!((v, shared), (5, false));
    assert_eq!(answer.recv(), Err(RecvError));
    Ok(())
}

#[test]
fn contexts_by_name() -> Outcome {
    let (d, t, e) = (HOUR, Instant::now() + HOUR, std::fmt::Error);
    let _ = Context::todo();
    let root = Context::background();
    let ctx = &root;
    let (timed, _cancel) = ctx.with_timeout(d);
    let when = |ctx: &Context| ctx.deadline();
    assert!(when(&timed).is_some());
    drop([ctx.with_timeout_cause(d, e), ctx.with_deadline(t)]);
    drop(ctx.with_deadline_cause(t, e));
    let v: T = 7;
    let ctx = ctx.with_value(v);
    assert_eq!(ctx.value::<T>(), Some(&7));
    let (_, _): (Context, CancelFunc) = ctx.with_cancel();
    let _: fn(&Context) -> (Context, CancelCauseFunc) = Context::with_cancel_cause;
    let (ctx, cancel) = ctx.with_cancel_cause();
    let free = ctx.without_cancel();
    ctx.check()?;
    cancel.cancel(e);
    assert!(ctx.err() == Some(ContextError::Canceled) && ctx.cause().unwrap().is::<E>());
    assert!(free.err().is_none() && ctx.deadline().is_none());
    let (ctx, cancel) = ctx.with_cancel();
    let f = || ();
    let stop = ctx.after_func(f);
    assert!(!stop());
    cancel();
    assert!(ctx.done().recv().is_err());
    select! {
        recv(ctx.done()) -> _ => {}
    }
    let (_, cancel) = root.with_cancel();
    cancel.cancel();
    cancel.detach();
    let (ctx, cancel_ctx) = root.with_cancel();
    let (other, cancel) = root.with_cancel();
    let end = cancel.clone();
    let stop = ctx.after_func(move || end.cancel());
    cancel_ctx();
    assert!(!stop() && other.done().recv().is_err());
    assert!(ContextError::DeadlineExceeded.is_timeout());
    Ok(())
}

#[test]
fn time_by_name() {
    assert!(Duration::from_secs(1) > 5 * Duration::from_millis(1));
    let (d, t) = (Duration::from_millis(1), time::now());
    time::sleep(d);
    task::sleep(d);
    assert!(time::since(t) >= 2 * d);
    assert!(t.saturating_duration_since(time::now()) == Duration::ZERO);
    assert!(time::after(d).recv().is_ok() && time::tick(d).recv().is_ok());
    let timer = Timer::new(d);
    assert!(timer.channel().recv().is_ok());
    assert!(!timer.stop() && !timer.reset(d));
    let (tx, rx) = channel::bounded(1);
    let f = move || tx.send(()).unwrap();
    let timer = time::after_func(d, f);
    assert!(rx.recv().is_ok() && !timer.stop());
    let ticker = Ticker::new(d);
    assert!(ticker.channel().recv().is_ok());
    assert!(ticker.reset(d) && ticker.stop());
}

#[test]
fn rate_by_name() -> Outcome {
    let (d, n, t, x, ctx) = (HOUR, 9, Instant::now(), 1e9, Context::background());
    let lim = Limiter::new(Limit::every(d), n);
    let n = 1;
    assert!(lim.allow() && lim.allow_n(t, n));
    lim.wait(&ctx)?;
    let r = lim.reserve();
    assert!(r.ok() && r.delay() == Duration::ZERO && r.delay_from(t) < d);
    r.cancel();
    let r = lim.reserve_n(t, n);
    r.cancel_at(t);
    assert!(lim.tokens() > 1.0 && lim.tokens_at(t) > 1.0);
    let l = Limit::per_second(x);
    lim.set_limit(l);
    lim.set_limit_at(t, l);
    let n = 3;
    lim.set_burst(n);
    lim.set_burst_at(t, n);
    assert!(lim.limit() == l && lim.burst() == 3);
    assert_eq!(lim.reserve_n(t, 4).delay(), Duration::MAX);
    lim.set_limit(Limit::INF);
    lim.wait_n(&ctx, n)?;
    let some = Sometimes::new().first(3).every(5).interval(d);
    let f = || ();
    some.run(f);
    Ok(())
}

#[test]
fn signals_by_name() -> Outcome {
    let signals = signal::notify(&[Signal::SIGINT, Signal::SIGTERM])?;
    signals.close();
    drop(signals);
    let ctx = Context::background();
    let (ctx, stop) = signal::notify_context(&ctx, &[Signal::SIGINT])?;
    stop();
    assert!(ctx.err().is_some());
    let _ = || -> Outcome {
        signal::ignore(&[Signal::SIGHUP])?;
        assert!(signal::ignored(Signal::SIGHUP)?);
        signal::reset(&[Signal::SIGHUP])?;
        Ok(())
    };
    Ok(())
}

#[test]
fn io_and_net_by_name() -> Outcome {
    let (mut r, mut w) = io::pipe()?;
    w.write_all(b"abcdef")?;
    drop(w);
    let (mut end, writer) = io::pipe()?;
    let t = Instant::now() + HOUR;
    end.set_read_deadline(Some(t))?;
    writer.set_write_deadline(Some(t))?;
    writer.close()?;
    assert_eq!(end.read(&mut [0])?, 0);
    assert!(end.read_exact(&mut [0]).unwrap_err().kind() == ErrorKind::UnexpectedEof);
    end.close()?;
    let (n, mut w) = (2, Vec::new());
    let mut r = {
        io::copy(&mut (&mut r).take(n), &mut w)?;
        r
    };
    io::copy(&mut r, &mut w)?;
    assert_eq!(w, b"abcdef");
    let n = 0;
    io::copy(&mut r.take(n), &mut w)?;

    let (fd, _) = UnixStream::pair()?;
    fd.set_nonblocking(true)?;
    let fd = OwnedFd::from(fd);
    let file: Async<File> = Async::try_from(fd)?;
    assert_eq!((&file).read(&mut [0])?, 0);
    let path = "/dev/ptmx";
    let file = Async::new(File::open(path)?)?;
    let (f, t) = (file, Instant::now());
    f.set_deadline(Some(t))?;
    let late = || -> Outcome {
        f.read_with(|f| f.metadata())?;
        f.write_with(|f| f.sync_all())?;
        Ok(())
    };
    assert!(late().is_err() && f.get_ref().as_raw_fd() == f.as_raw_fd());
    let f = f.into_inner()?;
    assert!(!f.metadata()?.is_file());

    let a = "127.0.0.1:0";
    let udp = Async::new(UdpSocket::bind(a)?)?;
    let (mut b, to) = (*b"abc", udp.get_ref().local_addr()?);
    udp.write_with(|udp| udp.send_to(&b, to))?;
    let (n, from) = udp.read_with(|udp| udp.recv_from(&mut b))?;
    assert_eq!((n, from), (3, to));
    let directory = tempfile::tempdir()?;
    let path = &directory.path().join("socket");
    let l = Async::new(UnixListener::bind(path)?)?;
    let conn = Async::new(UnixStream::connect(path)?)?;
    (&conn).write_all(&b)?;
    let (conn, _) = l.read_with(|l| l.accept())?;
    let conn = Async::new(conn)?;
    assert_eq!((&conn).read(&mut b)?, 3);

    let (a, d, t) = ("127.0.0.1:0", HOUR, Instant::now() + HOUR);
    let listener = TcpListener::bind(a)?;
    let a = listener.local_addr()?;
    let far = TcpStream::connect(a)?;
    let (conn, peer) = listener.accept()?;
    assert_eq!(peer, far.local_addr()?);
    let (mut conn, mut far) = (conn, far);
    let mut b = *b"abc";
    conn.write_all(&b)?;
    conn.shutdown(Shutdown::Write)?;
    far.read_to_end(&mut Vec::new())?;
    far.write_all(&b)?;
    conn.set_deadline(Some(t))?;
    conn.set_read_deadline(Some(t))?;
    conn.set_write_deadline(None)?;
    assert!(conn.read(&mut b)? > 0);
    conn.close()?;
    drop(TcpStream::connect_timeout(&a, d)?);
    for conn in listener.incoming() {
        drop(conn);
        listener.close()?;
    }
    Ok(())
}

// ---- side by side

#[test]
fn lives_side_by_side() {
    let (tx, worked) = channel::unbounded::<T>();
    let work = move |i| tx.send(i).unwrap();
    let (numbers, sum) = ([1, 2, 3], |numbers: &[T]| numbers.iter().sum::<T>());

    let wg = WaitGroup::new();
    for i in 0..10 {
        let work = work.clone();
        wg.go(move || work(i));
    }
    wg.wait();

    let result = spawn(move || sum(&numbers));
    let total = result.join().unwrap();

    assert_eq!(total, 6);
    assert_eq!(worked.try_iter().sum::<T>(), 45);
}

mod one_processor {
    #[goweft::main(maxprocs = 1)]
    fn main() {}

    #[test]
    fn it_compiles() {
        let _: fn() = main;
    }
}

#[test]
fn alphabets_side_by_side() {
    let (wg, text) = (WaitGroup::new(), Arc::new(Mutex::new(String::new())));

    for first in ['a', 'A'] {
        let text = text.clone();
        wg.go(move || {
            for letter in (first..).take(26) {
                text.lock().push(letter);
                task::yield_now();
            }
        });
    }
    wg.wait();

    let text = text.lock();
    let small: String = text.chars().filter(|c| c.is_lowercase()).collect();
    assert_eq!(
        (text.len(), small.as_str()),
        (52, "abcdefghijklmnopqrstuvwxyz")
    );
}

#[test]
fn counters_side_by_side() {
    let wg = WaitGroup::new();

    let n = Arc::new(AtomicI64::new(0));
    for _ in 0..100 {
        let n = n.clone();
        wg.go(move || n.fetch_add(1, Ordering::SeqCst));
    }
    wg.wait();
    assert_eq!(n.load(Ordering::SeqCst), 100);

    let n = Arc::new(Mutex::new(0));
    for _ in 0..100 {
        let n = n.clone();
        wg.go(move || *n.lock() += 1);
    }
    wg.wait();
    assert_eq!(*n.lock(), 100);
}

#[test]
fn fans_side_by_side() {
    fn reader(numbers: Receiver<T>, shares: Sender<T>) {
        shares.send(numbers.iter().sum()).unwrap();
    }
    let (shares, sums) = channel::unbounded();
    let sources = [1, 2, 3].map(|n| {
        let (tx, rx) = channel::bounded::<T>(1);
        tx.send(n).unwrap();
        rx
    });

    let (tx, merged) = channel::bounded(0);
    for source in sources {
        let tx = tx.clone();
        go! {
            for n in source {
                tx.send(n).unwrap();
            }
        }
    }
    drop(tx); // the goroutines have theirs: the last one closes the channel
    for _ in 0..4 {
        go!(reader(merged.clone(), shares.clone()));
    }

    drop(shares);
    assert_eq!(sums.iter().sum::<T>(), 6);
}

#[test]
fn pipelines_side_by_side() {
    fn square(ctx: Context, numbers: Receiver<u64>) -> Receiver<u64> {
        let (tx, squares) = channel::bounded(0);
        go! {
            for n in numbers {
                select! {
                    send(tx, n * n) -> sent => if sent.is_err() { return },
                    recv(ctx.done()) -> _ => return,
                }
            }
        }
        squares
    }

    let (ctx, cancel) = Context::background().with_cancel();
    let (tx, numbers) = channel::unbounded();
    (1..4).for_each(|n| tx.send(n).unwrap());
    drop(tx);
    let squares = square(ctx, numbers);
    assert_eq!((squares.recv(), squares.recv()), (Ok(1), Ok(4)));
    cancel();
    // The third one may have been on its way.
    assert!(squares.iter().count() <= 1);
}

#[test]
fn pools_side_by_side() {
    fn worker(jobs: Receiver<T>, done: Sender<T>) {
        for job in jobs {
            done.send(job * job).unwrap();
        }
    }

    let (jobs, todo) = channel::bounded(8);
    let (done, results) = channel::bounded(8);
    for _ in 0..4 {
        go!(worker(todo.clone(), done.clone()));
    }
    drop((todo, done)); // the workers have theirs

    go!(move || (1..=10).for_each(|job| jobs.send(job).unwrap()));
    assert_eq!(results.iter().sum::<T>(), 385);
}

#[test]
fn rates_side_by_side() -> Outcome {
    let (fill, tokens) = channel::bounded(1);
    let (ctx, begin) = (Context::background(), Instant::now());

    go! {
        for _ in time::tick(Duration::from_millis(10)) {
            if let Err(TrySendError::Disconnected(())) = fill.try_send(()) {
                return; // nobody takes tokens any more
            }
        }
    }
    tokens.recv()?;

    let limiter = Limiter::new(Limit::every(Duration::from_millis(10)), 5);
    limiter.wait(&ctx)?;

    assert!(begin.elapsed() >= Duration::from_millis(10));
    assert!(limiter.tokens() >= 4.0);
    Ok(())
}

#[test]
fn semaphores_side_by_side() {
    let (jobs, wg, running) = (0..50, WaitGroup::new(), Arc::new(AtomicI64::new(0)));
    let (tx, done) = channel::unbounded::<T>();
    let work = move |job| {
        assert!(running.fetch_add(1, Ordering::SeqCst) < 3);
        task::yield_now();
        running.fetch_sub(1, Ordering::SeqCst);
        tx.send(job).unwrap();
    };

    let permits = Arc::new(Semaphore::new(3));
    for job in jobs {
        let (permit, work) = (permits.acquire_owned(1), work.clone());
        wg.go(move || {
            let _permit = permit; // given back at the end
            work(job);
        });
    }
    wg.wait();

    assert_eq!(done.try_iter().count(), 50);
}

#[test]
fn breakers_side_by_side() {
    const PAUSE: Duration = HOUR;
    struct Breaker {
        failures: u32,
        until: Instant,
    }
    #[derive(PartialEq, Debug)]
    enum Refused {
        Open,
        Failed(E),
    }
    fn call(
        b: &Mutex<Breaker>,
        now: Instant,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Refused> {
        if now < b.lock().until {
            return Err(Refused::Open);
        }
        let result = f(); // the lock is free: its guard lived for one condition
        let mut b = b.lock();
        b.failures = if result.is_ok() { 0 } else { b.failures + 1 };
        if b.failures == 3 {
            (b.failures, b.until) = (0, now + PAUSE);
        }
        result.map_err(Refused::Failed)
    }

    let now = Instant::now();
    let b = Mutex::new(Breaker {
        failures: 2,
        until: now,
    });
    let fails = || Err(std::fmt::Error);
    assert_eq!(call(&b, now, || Ok(1)), Ok(1)); // counts from zero again
    for _ in 0..3 {
        assert_eq!(call(&b, now, fails), Err(Refused::Failed(std::fmt::Error)));
    }
    assert_eq!(call(&b, now, || unreachable!()), Err(Refused::Open));
    assert_eq!(call(&b, now + PAUSE, || Ok(2)), Ok(2));
}

#[test]
fn errors_side_by_side() {
    fn fetch(ctx: &Context, page: T) -> Result<(), E> {
        if page == 3 {
            return Err(std::fmt::Error);
        }
        ctx.done().recv().unwrap_err(); // the error of the third one ends it
        Ok(())
    }
    let read = |pages: [T; 4]| -> Outcome {
        let ctx = Context::background();

        let (g, ctx) = ErrGroup::with_context(&ctx);
        for page in pages {
            let ctx = ctx.clone();
            g.go(move || fetch(&ctx, page));
        }
        g.wait()?;

        Ok(())
    };
    assert!(read([1, 2, 3, 4]).unwrap_err().is::<E>());
}

#[test]
fn caches_side_by_side() {
    #[derive(Default)]
    struct Cache {
        values: RwLock<HashMap<K, V>>,
        flights: singleflight::Group<K, V>,
    }
    struct Settings {
        greeting: &'static str,
    }
    fn load() -> Settings {
        Settings { greeting: "hello" }
    }
    fn compute(k: K) -> V {
        k.len() as V
    }

    static SETTINGS: LazyLock<Settings> = LazyLock::new(load);

    impl Cache {
        fn lookup(&self, k: K) -> V {
            let known = self.values.read().get(k).copied();
            known.unwrap_or_else(|| {
                let (v, _shared) = self.flights.call(k, || {
                    let v = compute(k);
                    self.values.write().insert(k, v);
                    v
                });
                v
            })
        }
    }

    let cache = Cache::default();
    goweft::scope(|s| {
        for _ in 0..10 {
            s.spawn(|| assert_eq!(cache.lookup(SETTINGS.greeting), 5));
        }
    });
    assert_eq!(cache.values.read().len(), 1);
}

#[derive(Default)]
struct Counter(Mutex<u64>);

impl Counter {
    fn add(&self, n: u64) {
        *self.0.lock() += n;
    }

    fn total(&self) -> u64 {
        *self.0.lock()
    }
}

#[goweft::test]
fn no_addition_is_lost() {
    let c = Counter::default();
    goweft::scope(|s| {
        for _ in 0..100 {
            s.spawn(|| c.add(1));
        }
    });
    assert_eq!(c.total(), 100);
}

#[test]
fn context_trees_side_by_side() {
    use std::io;
    struct RequestId(u64);
    let ctx = Context::background();

    let (root, cancel) = ctx.with_value(RequestId(7)).with_cancel_cause();
    let (child, _cancel_child) = root.with_timeout(Duration::from_secs(3600));
    cancel.cancel(io::Error::other("disk is full"));
    let _ = child.done().recv(); // closed
    assert_eq!(child.cause().unwrap().to_string(), "disk is full");
    assert_eq!(child.value::<RequestId>().unwrap().0, 7);
}

#[test]
fn clean_stops_side_by_side() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (addr, incoming) = (listener.local_addr()?, listener.try_clone()?);
    let requests = WaitGroup::new();
    let running = requests.clone();
    let answer = |mut conn: TcpStream| conn.write_all(b"bye");
    let (ctx, cancel) = Context::background().with_cancel();
    // In place of the signal.
    let client = spawn(move || -> std::io::Result<String> {
        let mut text = String::new();
        TcpStream::connect(addr)?.read_to_string(&mut text)?;
        cancel();
        Ok(text)
    });

    let (ctx, stop) = signal::notify_context(&ctx, &[Signal::SIGINT, Signal::SIGTERM])?;
    let acceptor = spawn(move || {
        for conn in incoming.incoming().flatten() {
            requests.go(move || answer(conn));
        }
    });
    let _ = ctx.done().recv();
    stop(); // a second signal ends the program at once
    listener.close()?; // no new clients: `incoming` ends
    acceptor.join().unwrap();
    let drained = running.wait_timeout(Duration::from_secs(30));

    assert!(drained);
    assert_eq!(client.join().unwrap()?, "bye");
    Ok(())
}

#[test]
fn classics_side_by_side() -> Outcome {
    fn sieve(prime: T, numbers: Receiver<T>, rest: Sender<T>) {
        for n in numbers {
            if n % prime != 0 && rest.send(n).is_err() {
                return;
            }
        }
    }
    let (tx, mut numbers) = channel::bounded(0);
    go!(move || (2..).find(|n| tx.send(*n).is_err()));
    let mut primes = Vec::new();

    for _ in 0..10 {
        let prime = numbers.recv()?;
        primes.push(prime);
        let (tx, rest) = channel::bounded(0);
        go!(sieve(prime, numbers, tx));
        numbers = rest;
    }

    assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);

    fn pass(left: Receiver<T>, right: Sender<T>) {
        for n in left {
            right.send(n + 1).unwrap();
        }
    }
    let (first, begin) = channel::bounded(1);

    let mut left = begin;
    for _ in 0..503 {
        let (right, next) = channel::bounded(1);
        go!(pass(left, right));
        left = next;
    }

    first.send(0)?;
    assert_eq!(left.recv(), Ok(503));

    fn skynet(first: u64, leaves: u64, parent: Sender<u64>) {
        if leaves == 1 {
            return parent.send(first).unwrap();
        }
        let (tx, sums) = channel::bounded(10);
        for child in 0..10 {
            go!(skynet(first + child * leaves / 10, leaves / 10, tx.clone()));
        }
        drop(tx);
        parent.send(sums.iter().sum()).unwrap();
    }

    let (tx, sum) = channel::bounded(1);
    skynet(0, 1000, tx);
    assert_eq!(sum.recv(), Ok(499_500));
    Ok(())
}

#[test]
fn blocking_and_computing_side_by_side() -> Outcome {
    let path = "Cargo.toml";

    let size = spawn(move || std::fs::read(path).map(|data| data.len()));
    let sum = spawn(|| {
        let mut x = 1;
        for _ in 0..10_000_000 {
            x = x * 3 % 1_000_003;
        }
        x
    });
    time::sleep(Duration::from_millis(1)); // in time, whatever they do

    assert!(size.join().unwrap()? > 0);
    let expected = (0..10_000_000).fold(1, |x, _| x * 3 % 1_000_003);
    assert_eq!(sum.join().unwrap(), expected);
    Ok(())
}
