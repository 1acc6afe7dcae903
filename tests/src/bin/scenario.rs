//! Small programs for tests that need a process of their own: `scenario ROLE`.

use goweft::{Builder, Config, ConfigError, PanicPolicy, go, run, runtime, spawn, task};
use std::hint::black_box;
use std::panic::{self, catch_unwind, panic_any};
use std::sync::mpsc;
use std::time::Duration;

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
    let t = std::thread::Builder::new()
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
    let t = std::thread::spawn(|| run(|| task::exit()));
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

fn println_storm() {
    let slice = Duration::from_micros(200);
    Config::new()
        .maxprocs(2)
        .time_slice(slice)
        .install()
        .unwrap();
    let hogs: Vec<_> = (0..8)
        .map(|who| spawn(move || (0..5_000).for_each(|n| println!("{who}: {n}"))))
        .collect();
    hogs.into_iter().for_each(|h| h.join().unwrap());
}

/// More threads end than there may be at once.
fn locked_ends() {
    Config::new().maxprocs(2).max_threads(4).install().unwrap();
    let mut threads = std::collections::HashSet::new();
    for _ in 0..500 {
        let h = spawn(|| {
            std::mem::forget(task::lock_os_thread());
            std::thread::current().id()
        });
        threads.insert(h.join().unwrap());
    }
    println!("{} threads have ended", threads.len());
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
        "overflow" => overflow(),
        "overflow_unnamed" => overflow_unnamed(),
        "null_dereference" => null_dereference(),
        "bad_local" => bad_local(),
        "println_storm" => println_storm(),
        "locked_ends" => locked_ends(),
        role => panic!("no role {role:?}"),
    }
}
