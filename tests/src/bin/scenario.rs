//! Small programs for tests that need a process of their own: `scenario ROLE`.

use goweft::time::Timer;
use goweft::{Builder, Config, ConfigError, JoinHandle, Migration, PanicPolicy};
use goweft::{channel, go, run, runtime, select, spawn, task};
use goweft_tests::pressure::{self, Hogs, WATCHDOG, wait_until};
use std::hint::black_box;
use std::io::{Read, Write};
use std::panic::{self, catch_unwind, panic_any};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Says that it was dropped.
struct Told(&'static str);

impl Drop for Told {
    fn drop(&mut self) {
        println!("dropped {}", self.0);
    }
}

mod panic_named {
    use super::*;

    #[goweft::main]
    pub(super) fn main() {
        let h = Builder::new()
            .name("worker")
            .spawn(|| panic!("boom {}", black_box(1)))
            .unwrap();
        let id = h.id();
        let payload = h.join().unwrap_err();
        println!("{id} left {}", payload.downcast_ref::<String>().unwrap());
        // The note is for the first panic only.
        let second: u8 = spawn(|| panic!("second")).join().map_or(1, |()| 0);
        println!("main goes on after {second}");
    }
}

mod panic_detached {
    use super::*;

    #[goweft::main]
    pub(super) fn main() {
        let (tx, rx) = mpsc::channel::<()>();
        let told = Told("in the goroutine");
        go!(move || {
            let _tx = tx;
            let _told = told;
            panic_any(17u8);
        });
        goweft::blocking(|| rx.recv()).unwrap_err();
        println!("main goes on");
    }
}

mod panic_main {
    #[goweft::main]
    pub(super) fn main() {
        let _told = super::Told("by main");
        panic!("main is done for");
    }
}

mod result_main {
    #[goweft::main]
    pub(super) fn main() -> Result<(), String> {
        Err("no luck".into())
    }
}

fn thread_panics() {
    run(|| ());
    let t = thread::Builder::new()
        .name("plain".into())
        .spawn(|| panic!("std's own"))
        .unwrap();
    t.join().unwrap_err();
}

mod policy_abort {
    use super::*;

    #[goweft::main(panic = Abort)]
    pub(super) fn main() {
        // Recovered, and exited: neither is a panic that reaches the end.
        let h = spawn(|| catch_unwind(|| panic!("caught")).is_err());
        println!("recovered {}", h.join().unwrap());
        spawn(|| task::exit()).join().unwrap_err();
        assert!(catch_unwind(|| run(|| panic!("resumed"))).is_err());
        println!("all went on");
        let h = spawn(|| {
            let _told = Told("while unwinding");
            panic!("fatal");
        });
        let _ = h.join();
        println!("not reached");
    }
}

mod policy_abort_wait_group {
    #[goweft::main(panic = Abort)]
    pub(super) fn main() {
        let wg = goweft::sync::WaitGroup::new();
        wg.go(|| panic!("fatal"));
        wg.wait();
        println!("not reached");
    }
}

mod policy_abort_main {
    #[goweft::main(panic = Abort)]
    pub(super) fn main() {
        panic!("main, fatal");
    }
}

fn hook_before() {
    panic::set_hook(Box::new(|info| {
        eprintln!("custom: {}", info.payload_as_str().unwrap())
    }));
    spawn(|| panic!("seen by the program's hook"))
        .join()
        .unwrap_err();
}

fn hook_after() {
    spawn(|| panic!("seen by ours")).join().unwrap_err();
    let ours = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        eprintln!("custom: {}", info.payload_as_str().unwrap());
        ours(info);
    }));
    spawn(|| panic!("seen by both")).join().unwrap_err();
}

/// Started by a drop while the thread unwinds: hooks cannot be changed then.
fn started_while_panicking() {
    struct Starts;
    impl Drop for Starts {
        fn drop(&mut self) {
            println!("result {}", spawn(|| 3).join().unwrap());
        }
    }
    let caught = catch_unwind(|| {
        let _starts = Starts;
        panic!("first");
    });
    println!("caught {}", caught.is_err());
}

struct BadDrop;

impl Drop for BadDrop {
    fn drop(&mut self) {
        panic_any(WorseDrop);
    }
}

struct WorseDrop;

impl Drop for WorseDrop {
    fn drop(&mut self) {
        panic!("a payload's drop");
    }
}

mod bad_payload {
    use super::*;

    #[goweft::main]
    pub(super) fn main() {
        go!(|| panic_any(BadDrop));
        drop(spawn(|| panic_any(BadDrop)));
        // A result whose drop panics, on the goroutine.
        go!(|| BadDrop);
        // And where the goroutine has ended first, on whoever lets go of its handle.
        for end in [|| panic_any(BadDrop), || BadDrop] {
            let ended = spawn(end);
            wait_until("it ends", || ended.is_finished());
            drop(ended);
        }
        while runtime::num_goroutines() > 1 {
            task::yield_now();
        }
        println!("still here");
    }
}

#[inline(never)]
fn innermost(n: u32) -> u32 {
    if black_box(n) == 0 {
        panic!("deep down")
    } else {
        n
    }
}

#[inline(never)]
fn middle(n: u32) -> u32 {
    black_box(innermost(black_box(n)) + 1)
}

#[inline(never)]
fn outermost(n: u32) -> u32 {
    black_box(middle(black_box(n)) + 1)
}

fn backtrace() {
    spawn(|| outermost(0)).join().unwrap_err();
}

fn backtrace_small() {
    let h = Builder::new()
        .stack_size(16 << 10)
        .spawn(|| outermost(0))
        .unwrap();
    h.join().unwrap_err();
}

mod exit_main {
    use super::*;

    #[goweft::main]
    pub(super) fn main() {
        let _told = Told("by main");
        for i in 0..3u64 {
            go!(move || {
                task::sleep(Duration::from_millis(50 * i));
                println!("goroutine {i} went on");
            });
        }
        task::exit();
    }
}

fn exit_run() {
    run(|| {
        go!(|| {
            task::sleep(Duration::from_millis(50));
            println!("the other went on");
        });
        task::exit();
    })
}

fn exit_run_on_a_thread() {
    let t = thread::spawn(|| run(|| task::exit()));
    let payload = t.join().unwrap_err();
    println!("{}", payload.downcast_ref::<&str>().unwrap());
    // In a goroutine it goes on to the goroutine that called `run`.
    let payload = spawn(|| run(|| task::exit())).join().unwrap_err();
    println!("{}", payload.is::<task::Exited>());
}

fn config_errors() {
    let bad = [
        Config::new().maxprocs(0),
        Config::new().maxprocs(1025),
        Config::new().stack_size(0),
        Config::new().stack_size(usize::MAX),
        Config::new().time_slice(Duration::from_micros(99)),
        Config::new().max_threads(0),
        Config::new().affinity(&[]),
        Config::new().affinity(&[1 << 40]),
    ];
    for config in bad {
        let e = config.install().unwrap_err();
        assert!(matches!(e, ConfigError::Invalid { .. }));
        println!("{e}");
    }
    Config::new()
        .maxprocs(3)
        .panic(PanicPolicy::Isolate)
        .stack_size(20_000)
        .install()
        .unwrap();
    println!("again: {}", Config::new().install().unwrap_err());
    println!("maxprocs {}", runtime::maxprocs());
    assert_eq!(Config::new().install(), Err(ConfigError::Started));
}

fn config_too_late() {
    spawn(|| ()).join().unwrap();
    println!("{}", Config::new().maxprocs(1).install().unwrap_err());
}

mod config_main {
    #[goweft::main(maxprocs = 3, stack_size = 1 << 20, time_slice = std::time::Duration::from_millis(5))]
    pub(super) fn main() {
        println!("maxprocs {}", goweft::runtime::maxprocs());
        println!("name {:?}", goweft::task::current().name());
    }
}

mod config_main_bad {
    #[goweft::main(maxprocs = 0)]
    pub(super) fn main() {
        println!("not reached");
    }
}

/// What the environment made of the settings.
fn settings() {
    println!("maxprocs {}", runtime::maxprocs());
    println!("cpus {}", runtime::num_cpu());
    // The stack's class, by what a goroutine can use of it.
    let used = spawn(|| descend(address(), 100 << 10)).join().unwrap();
    println!("used {}", used >= 100 << 10);
}

fn settings_by_code() {
    Config::new().maxprocs(2).install().unwrap();
    println!("maxprocs {}", runtime::maxprocs());
}

/// Whether a goroutine whose thread is in use goes on on another one (`moves`), or stays.
fn migrates(config: Config, moves: bool) {
    config.maxprocs(1).install().unwrap();
    let deadline = Instant::now() + WATCHDOG;
    // Again and again: the machine may be so busy that the two do not meet on a thread.
    loop {
        assert!(Instant::now() < deadline, "no two on one thread");
        let (wake, woken) = channel::bounded::<()>(1);
        let (hold, release) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let h = spawn(move || {
            let before = thread::current().id();
            let told_too = tell.clone();
            go!(move || goweft::blocking(|| {
                told_too.send(thread::current().id()).unwrap();
                release.recv().unwrap_err();
            }));
            tell.send(before).unwrap();
            woken.recv().unwrap();
            (before, thread::current().id())
        });
        // From here on that thread is in use.
        let met = told.recv().unwrap() == told.recv().unwrap();
        wake.send(()).unwrap();
        if !met {
            drop(hold);
            h.join().unwrap();
            continue;
        }
        if moves {
            wait_until("it goes on", || h.is_finished());
        } else {
            // One that came later, and gives way often, has all the time that the other would need.
            spawn(|| (0..130).for_each(|_| task::yield_now()))
                .join()
                .unwrap();
            assert!(!h.is_finished(), "it went on elsewhere");
        }
        drop(hold);
        let (before, after) = h.join().unwrap();
        assert_eq!(before != after, moves);
        return println!("{}", if moves { "moves" } else { "stays" });
    }
}

/// Somebody who computes is stopped.
fn preempts() {
    pressure::start(1);
    let hogs = Hogs::start(2);
    wait_until("a thread is stopped", || pressure::preemptions() > 0);
    drop(hogs);
    println!("stopped");
}

#[inline(never)]
fn address() -> usize {
    let here = 0u8;
    (&raw const *black_box(&here)).addr()
}

/// Calls itself until `bytes` of stack are in use; how many were.
#[inline(never)]
fn descend(from: usize, bytes: usize) -> usize {
    let frame = black_box([1u8; 512]);
    let used = from - (&raw const frame).addr();
    let deepest = if used >= bytes {
        used
    } else {
        descend(from, bytes)
    };
    black_box(frame);
    deepest
}

fn overflow() {
    let h = Builder::new()
        .name("deep")
        .stack_size(64 << 10)
        .spawn(|| descend(address(), usize::MAX))
        .unwrap();
    let _ = h.join();
}

fn overflow_unnamed() {
    let _ = spawn(|| descend(address(), usize::MAX)).join();
}

fn null_dereference() {
    let h = spawn(|| {
        let p = black_box(std::ptr::null_mut::<u8>());
        // SAFETY: none: the process is to die of this write.
        unsafe { p.write_volatile(1) };
    });
    let _ = h.join();
}

fn bad_local() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("a goroutine-local's drop");
        }
    }
    goweft::goroutine_local! {
        static BAD: Bad = Bad;
        static GOOD: Told = Told("good");
    }
    let h = Builder::new().name("owner").spawn(|| {
        BAD.with(|_| ());
        GOOD.with(|_| ());
        7
    });
    println!("joined {}", h.unwrap().join().unwrap());
}

/// Beside one that computes, with a slice that never ends.
fn endless_slice() {
    let config = Config::new().maxprocs(1).time_slice(Duration::MAX);
    config.install().unwrap();
    let hogs = Hogs::start(1);
    let sleeper = spawn(|| (0..20).for_each(|_| task::sleep(Duration::from_millis(1))));
    sleeper.join().unwrap();
    println!("it slept");
    drop(hogs);
}

/// Until processors were taken often; then it tells on stderr how many lines each wrote.
fn println_storm() {
    let procs = std::env::args().nth(2).expect("how many processors");
    pressure::start(procs.parse().unwrap());
    let deadline = Instant::now() + pressure::WATCHDOG;
    let hogs: Vec<_> = (0..8)
        .map(|who| {
            spawn(move || {
                let mut n = 0;
                while n < 2_500 || pressure::taken() < 100 {
                    assert!(Instant::now() < deadline, "{:?}", runtime::metrics());
                    // Without a call into goweft in between.
                    (n..n + 500).for_each(|n| println!("{who}: {n}"));
                    n += 500;
                }
                n
            })
        })
        .collect();
    let printed: Vec<_> = hogs.into_iter().map(|h| h.join().unwrap()).collect();
    let m = runtime::metrics();
    eprintln!("{printed:?}");
    eprintln!(
        "{} stopped, {} processors taken",
        m.preemptions,
        pressure::taken()
    );
    assert_eq!(m.rescues, 0);
}

/// A goroutine that has its thread for itself, and there may be no other.
fn locked_alone() {
    let config = Config::new().maxprocs(2).max_threads(1);
    config.install().unwrap();
    let (mut reader, mut writer) = goweft::io::pipe().unwrap();
    let (slept, has_slept) = mpsc::channel();
    let alone = spawn(move || {
        let _locked = task::lock_os_thread();
        task::sleep(Duration::from_millis(1));
        println!("it slept");
        slept.send(()).unwrap();
        reader.read_exact(&mut [0]).unwrap();
        println!("it read");
    });
    has_slept.recv_timeout(WATCHDOG).unwrap();
    wait_until("it waits", || runtime::metrics().idle_procs == 2);
    writer.write_all(&[1]).unwrap();
    wait_until("it ends", || alone.is_finished());
    alone.join().unwrap();
}

/// More threads end than there may be at once.
fn locked_ends() {
    Config::new().maxprocs(2).max_threads(4).install().unwrap();
    let mut threads = std::collections::HashSet::new();
    for _ in 0..500 {
        let h = spawn(|| {
            std::mem::forget(task::lock_os_thread());
            thread::current().id()
        });
        threads.insert(h.join().unwrap());
    }
    println!("{} threads have ended", threads.len());
}

/// Begins a goroutine, and returns when it has parked or ended: in a process where no other parks
/// meanwhile.
fn parked<T: Send + 'static>(begin: impl FnOnce() -> JoinHandle<T>) -> JoinHandle<T> {
    let before = runtime::metrics().parks;
    let begun = begin();
    wait_until("it has parked", || {
        runtime::metrics().parks > before || begun.is_finished()
    });
    begun
}

/// Who waits at a channel is served first come, first served.
fn in_order() {
    for cap in [0, 1, 3] {
        let (tx, rx) = channel::bounded(cap);
        (0..cap).for_each(|i| tx.send(i).unwrap());
        let send = |i| {
            parked(|| {
                let tx = tx.clone();
                spawn(move || tx.send(i).unwrap())
            })
        };
        let senders: Vec<_> = (cap..cap + 20).map(send).collect();
        (0..cap + 20).for_each(|i| assert_eq!(rx.recv(), Ok(i)));
        senders.into_iter().for_each(|h| h.join().unwrap());

        let (got, all) = channel::unbounded();
        let receive = |i| {
            parked(|| {
                let (rx, got) = (rx.clone(), got.clone());
                spawn(move || got.send((i, rx.recv().unwrap())).unwrap())
            })
        };
        let receivers: Vec<_> = (0..20).map(receive).collect();
        (0..20).for_each(|i| tx.send(i).unwrap());
        receivers.into_iter().for_each(|h| h.join().unwrap());
        let mut all: Vec<(usize, usize)> = all.try_iter().collect();
        all.sort_unstable();
        assert!(all.into_iter().eq((0..20).map(|i| (i, i))));
    }
}

/// Whoever waits in a select keeps its place in the queue of a channel, also at the time for which
/// its timer was set before.
fn keeps_its_place() {
    const HOUR: Duration = Duration::from_secs(3600);
    goweft_tests::in_time(Duration::from_millis(50), |soon| {
        let begun = Instant::now();
        let timer = Arc::new(Timer::new(soon));
        let (tx, rx) = channel::bounded(0);
        let (told, who) = channel::unbounded();
        let (alarm, own_rx, own_told) = (timer.clone(), rx.clone(), told.clone());
        let first = parked(|| {
            spawn(move || {
                let name = select! {
                    recv(own_rx) -> _ => "first",
                    recv(alarm.channel()) -> _ => "too late",
                };
                own_told.send(name).unwrap();
            })
        });
        let second = parked(|| {
            spawn(move || {
                let _ = rx.recv();
                told.send("second").unwrap();
            })
        });
        let before = runtime::metrics().parks;
        // Before it looks at the time: it may find that the first time has passed, and be about to
        // look for the tick.
        let in_time = timer.reset(HOUR) && begun.elapsed() < soon;
        if in_time {
            wait_until("it has parked again", || runtime::metrics().parks > before);
            tx.send(()).unwrap();
            assert_eq!(who.recv(), Ok("first"));
        }
        drop(tx);
        assert!(first.join().is_ok() && second.join().is_ok());
        in_time
    });
}

/// A thread comes back from a call that blocks, while the only processor computes for another. In
/// the meantime a timer has woken somebody who lives on that thread, and who does not wait for the
/// slice's end.
fn woken_at_home() {
    const SLICE: Duration = Duration::from_secs(2);
    Config::new()
        .maxprocs(1)
        .time_slice(SLICE)
        .install()
        .unwrap();
    // Of some rounds, for the machine may be away in one.
    let soon = (0..5).any(|_| {
        let (here, is_here) = channel::bounded(1);
        let (ran, has_run) = mpsc::channel();
        let lives_here = Builder::new().pinned(true).spawn(move || {
            here.send(thread::current().id()).unwrap();
            task::sleep(Duration::from_millis(30));
            ran.send(Instant::now()).unwrap();
        });
        let blocks = spawn(move || {
            let home = is_here.recv().unwrap();
            let same = thread::current().id() == home;
            thread::sleep(Duration::from_millis(90));
            (same, Instant::now())
        });
        // The processor is taken from that thread for this one.
        let hog = Hogs::start(1);
        let ran = has_run.recv_timeout(WATCHDOG).unwrap();
        drop(hog);
        let (same, back) = blocks.join().unwrap();
        lives_here.unwrap().join().unwrap();
        same && ran >= back && ran - back < SLICE / 4
    });
    println!("{}", if soon { "soon" } else { "late" });
}

fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "panic_named" => panic_named::main(),
        "panic_detached" => panic_detached::main(),
        "panic_main" => panic_main::main(),
        "result_main" => {
            let code = result_main::main();
            println!("{}", code == std::process::ExitCode::FAILURE);
        }
        "thread_panics" => thread_panics(),
        "policy_abort" => policy_abort::main(),
        "policy_abort_wait_group" => policy_abort_wait_group::main(),
        "policy_abort_main" => policy_abort_main::main(),
        "hook_before" => hook_before(),
        "hook_after" => hook_after(),
        "started_while_panicking" => started_while_panicking(),
        "bad_payload" => bad_payload::main(),
        "backtrace" => backtrace(),
        "backtrace_small" => backtrace_small(),
        "exit_main" => exit_main::main(),
        "exit_run" => exit_run(),
        "exit_run_on_a_thread" => exit_run_on_a_thread(),
        "config_errors" => config_errors(),
        "config_too_late" => config_too_late(),
        "config_main" => config_main::main(),
        "config_main_bad" => config_main_bad::main(),
        "settings" => settings(),
        "settings_by_code" => settings_by_code(),
        "moves" => migrates(Config::new(), true),
        "stays" => migrates(Config::new(), false),
        "moves_by_code" => migrates(Config::new().migration(Migration::Free), true),
        "stays_by_code" => migrates(Config::new().migration(Migration::Pinned), false),
        "preempts" => preempts(),
        "overflow" => overflow(),
        "overflow_unnamed" => overflow_unnamed(),
        "null_dereference" => null_dereference(),
        "bad_local" => bad_local(),
        "endless_slice" => endless_slice(),
        "println_storm" => println_storm(),
        "locked_alone" => locked_alone(),
        "locked_ends" => locked_ends(),
        "in_order" => in_order(),
        "woken_at_home" => woken_at_home(),
        "keeps_its_place" => keeps_its_place(),
        role => panic!("no role {role:?}"),
    }
}
