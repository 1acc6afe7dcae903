//! Programs on a machine of the test's making: `limits ROLE`.
//!
//! `FAKE_CPUS` is how many CPUs it has, and `FAKE_PROC` a folder with the `cgroup` and
//! `mountinfo` that it finds in `/proc/self`. The two functions of libc through which
//! a program learns of these are defined here, and so stand before libc's own; without
//! the variables they do what libc's do.

use goweft::{Config, JoinHandle, run, runtime, spawn, task};
use goweft_tests::pressure::{taken, wait_until};
use goweft_tests::sys::gettid;
use std::ffi::{CStr, c_char, c_int};
use std::fs;
use std::hint::spin_loop;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

/// CPUs of the fake machine; 0: it is the real one.
static CPUS: AtomicUsize = AtomicUsize::new(0);
/// How often CPUs were asked for.
static LOOKS: AtomicU64 = AtomicU64::new(0);
/// The folder that stands for `/proc/self`.
static PROC: OnceLock<PathBuf> = OnceLock::new();

/// # Safety
/// As that of libc: `size` bytes can be written at `mask`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sched_getaffinity(tid: c_int, size: usize, mask: *mut u8) -> c_int {
    // SAFETY: as the caller says.
    let bytes = unsafe {
        mask.write_bytes(0, size);
        std::slice::from_raw_parts_mut(mask, size)
    };
    LOOKS.fetch_add(1, Ordering::Relaxed);
    let cpus = CPUS.load(Ordering::Relaxed);
    for cpu in 0..cpus {
        bytes[cpu / 8] |= 1 << (cpu % 8);
    }
    if cpus != 0 {
        return 0;
    }
    // SAFETY: as many bytes can be written as we say.
    let n = unsafe { libc::syscall(libc::SYS_sched_getaffinity, tid, size, mask) };
    if n < 0 { -1 } else { 0 }
}

/// # Safety
/// As that of libc: `path` is a string. Its third argument is one of a variable number, which
/// come in registers like others on the architectures of these tests.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: as the caller says.
    let name = unsafe { CStr::from_ptr(path) };
    let fake = match name.to_bytes() {
        b"/proc/self/cgroup" => "cgroup\0",
        b"/proc/self/mountinfo" => "mountinfo\0",
        _ => "",
    };
    // On the stack: this may be called wherever libc's may be.
    let mut buffer = [0u8; 512];
    let path = match PROC.get() {
        Some(dir) if !fake.is_empty() => {
            let dir = dir.as_os_str().as_bytes();
            buffer[..dir.len()].copy_from_slice(dir);
            buffer[dir.len()] = b'/';
            buffer[dir.len() + 1..][..fake.len()].copy_from_slice(fake.as_bytes());
            buffer.as_ptr().cast()
        }
        _ => path,
    };
    // SAFETY: `path` is a string, the caller's or ours.
    unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int }
}

/// Waits until `maxprocs` is `want`.
fn wait_for(want: usize, why: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while runtime::maxprocs() != want {
        let is = runtime::maxprocs();
        assert!(Instant::now() < deadline, "{why}: {is}, not {want}");
        task::yield_now();
    }
}

/// As many goroutines as there are processors run at the same time: none of
/// them goes on before all are there.
fn all_run_at_once() {
    let n = runtime::maxprocs();
    let here = Arc::new(AtomicUsize::new(0));
    let meet = |_| {
        let here = here.clone();
        spawn(move || {
            here.fetch_add(1, Ordering::SeqCst);
            while here.load(Ordering::SeqCst) < n {
                spin_loop();
            }
        })
    };
    let handles: Vec<_> = (0..n).map(meet).collect();
    for h in handles {
        h.join().unwrap();
    }
}

fn set_quota(text: &str) {
    let dir = PROC.get().expect("the test gives a folder");
    fs::write(dir.join("group/cpu.max"), text).unwrap();
}

fn report() {
    println!("maxprocs {}", runtime::maxprocs());
    println!("cpus {}", runtime::num_cpu());
}

/// As many processors as there can be.
fn most() {
    report();
    run(|| {
        let work = |n: usize| {
            spawn(move || {
                task::yield_now();
                n
            })
        };
        let handles: Vec<_> = (0..10_000).map(work).collect();
        let sum: usize = handles.into_iter().map(|h| h.join().unwrap()).sum();
        println!("sum {sum}");
    });
}

/// The program has the last word.
fn ignored_by_code() {
    Config::new().container_limits(false).install().unwrap();
    report();
}

fn heeded_by_code() {
    Config::new().container_limits(true).install().unwrap();
    report();
}

/// Everything changes while a goroutine is busy, and is looked at once a second at most. Starts
/// with 8 CPUs and no quota.
fn follow() {
    let begin = Instant::now();
    run(|| {
        let looks = LOOKS.load(Ordering::Relaxed);
        assert_eq!((runtime::maxprocs(), runtime::num_cpu()), (8, 8));
        set_quota("350000 100000\n");
        wait_for(4, "the quota came");
        all_run_at_once();
        set_quota("550000 100000\n");
        wait_for(6, "the quota was raised");
        all_run_at_once();
        CPUS.store(3, Ordering::Relaxed);
        wait_for(3, "CPUs were taken");
        set_quota("10000 100000\n");
        wait_for(2, "the quota is low");
        all_run_at_once();
        CPUS.store(1, Ordering::Relaxed);
        wait_for(1, "there is one CPU");
        all_run_at_once();
        CPUS.store(8, Ordering::Relaxed);
        set_quota("max 100000\n");
        wait_for(8, "all is given back");
        all_run_at_once();
        assert_eq!(runtime::num_cpu(), 8);
        let looks = LOOKS.load(Ordering::Relaxed) - looks;
        let time = begin.elapsed();
        assert!((6..=time.as_secs()).contains(&looks), "{looks} in {time:?}");
    });
    println!("followed");
}

/// For two of its looks at the limits `maxprocs` stays, though they have changed. (That
/// nothing happens cannot be waited for in another way.)
fn assert_stays(want: usize) {
    let end = Instant::now() + Duration::from_millis(2_200);
    while Instant::now() < end {
        assert_eq!(runtime::maxprocs(), want);
        task::yield_now();
    }
}

/// What was set by hand stays, until it is to follow again.
fn set_by_hand() {
    run(|| {
        assert_eq!(runtime::set_maxprocs(8), 8);
        set_quota("300000 100000\n");
        assert_stays(8);
        assert_eq!(runtime::set_default_maxprocs(), 8);
        assert_eq!(runtime::maxprocs(), 3);
        set_quota("400000 100000\n");
        wait_for(4, "it follows again");
        assert_eq!(runtime::set_maxprocs(7), 4);
        set_quota("200000 100000\n");
        assert_stays(7);
    });
    println!("stayed");
}

/// The environment or a `Config` has set it to 5.
fn set_before_start() {
    run(|| {
        assert_eq!(runtime::maxprocs(), 5);
        set_quota("300000 100000\n");
        assert_stays(5);
        assert_eq!(runtime::set_default_maxprocs(), 5);
        assert_eq!(runtime::maxprocs(), 3);
        set_quota("500000 100000\n");
        wait_for(5, "it follows now");
    });
    println!("stayed");
}

fn set_by_config() {
    Config::new().maxprocs(5).install().unwrap();
    set_before_start();
}

/// All Ps are idle, and the monitor may sleep, while the limits change: the change is seen
/// when there is work again.
fn changed_while_idle() {
    run(|| ());
    while runtime::metrics().idle_procs != runtime::maxprocs() {
        std::thread::yield_now();
    }
    // The time between two looks passes without one.
    std::thread::sleep(Duration::from_millis(1_500));
    set_quota("300000 100000\n");
    run(|| wait_for(3, "there is work again"));
    println!("followed");
}

/// The CPUs that this thread may run on, really.
fn allowed() -> Vec<usize> {
    allowed_for(0)
}

/// The same of the thread `tid`; 0 is this one.
fn allowed_for(tid: c_int) -> Vec<usize> {
    // SAFETY: all zero is a valid set, and it is as large as we say.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of_val(&set);
        assert_eq!(
            sched_getaffinity(tid, size, (&raw mut set).cast()),
            0,
            "the kernel tells"
        );
        (0..libc::CPU_SETSIZE as usize)
            .filter(|&cpu| libc::CPU_ISSET(cpu, &set))
            .collect()
    }
}

fn current_cpu() -> usize {
    // SAFETY: it has no arguments.
    unsafe { libc::sched_getcpu() as usize }
}

fn affinity_errors() {
    let bad: [&[usize]; 3] = [&[], &[0, 3], &[1 << 40]];
    // One CPU that this process may not run on, on a machine that has more.
    for cpus in bad {
        println!("{}", Config::new().affinity(cpus).install().unwrap_err());
    }
}

/// The one CPU that the goroutine's thread is pinned to. Not so for a moment when
/// the goroutine lost its processor; so it asks for one.
fn pinned_to() -> usize {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        task::yield_now();
        let (mine, cpu) = (allowed(), current_cpu());
        if mine.len() == 1 && allowed() == mine {
            assert_eq!(mine, [cpu]);
            return cpu;
        }
        assert!(Instant::now() < deadline, "not pinned, but on {mine:?}");
    }
}

/// Pinned to the last CPU: one processor, and every goroutine runs there.
fn pinned_to_one() {
    let all = allowed();
    let cpu = *all.last().unwrap();
    Config::new().affinity(&[cpu]).install().unwrap();
    assert_eq!(runtime::maxprocs(), 1);
    assert_eq!(runtime::num_cpu(), all.len());
    let look = |_| spawn(move || (0..10).for_each(|_| assert_eq!(pinned_to(), cpu)));
    let handles: Vec<_> = (0..100).map(look).collect();
    for h in handles {
        h.join().unwrap();
    }
    // Around a call that blocks it may run anywhere, and is back afterwards.
    run(|| {
        assert_eq!(pinned_to(), cpu);
        // (It may be given its processor back, as one that computes beside an idle one.)
        assert!((0..20).any(|_| goweft::blocking(allowed) == all));
        assert_eq!(pinned_to(), cpu);
    });
    // Those that were there before are not touched.
    assert_eq!(allowed(), all);
    println!("pinned");
}

/// A goroutine that blocks, in a call of which goweft knows nothing, and what it returns then. When
/// this returns, its thread may run anywhere: its processor was taken.
fn robbed<T: Send + 'static>(
    cpu: usize,
    all: &[usize],
    afterwards: impl FnOnce() -> T + Send + 'static,
) -> (mpsc::Sender<()>, JoinHandle<T>) {
    let (hold, release) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let h = spawn(move || {
        assert_eq!(pinned_to(), cpu);
        tell.send(gettid()).unwrap();
        release.recv().unwrap_err();
        afterwards()
    });
    let tid = told.recv().unwrap();
    wait_until("it may run anywhere", || allowed_for(tid) == all);
    (hold, h)
}

/// Who blocks may run anywhere, though nobody has said that it would. With a processor it is back
/// on that CPU, whether it comes for one or is given one while it computes. (Where there is one CPU
/// only, none of this can be seen.)
fn pinned_around_thefts() {
    let all = allowed();
    let cpu = *all.last().unwrap();
    Config::new().affinity(&[cpu]).install().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let other = spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            task::yield_now();
        }
    });
    let (hold, h) = robbed(cpu, &all, pinned_to);
    drop(hold);
    assert_eq!(h.join().unwrap(), cpu);
    stop.store(true, Ordering::Relaxed);
    other.join().unwrap();
    // Now nobody else wants the processor.
    let (hold, h) = robbed(cpu, &all, move || {
        let deadline = Instant::now() + Duration::from_secs(30);
        while allowed() != [cpu] {
            assert!(Instant::now() < deadline, "it was given no processor");
        }
    });
    drop(hold);
    h.join().unwrap();
    println!("pinned");
}

/// Two processors on each CPU: each is where the list says, whichever thread has it.
fn pinned_in_turn() {
    let all = allowed();
    let n = 2 * all.len();
    Config::new().affinity(&all).maxprocs(n).install().unwrap();
    let expected: Vec<_> = all.iter().flat_map(|&cpu| [cpu, cpu]).collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut rounds = 0;
    while rounds < 20 {
        assert!(Instant::now() < deadline, "only {rounds} rounds");
        let taken_before = taken();
        // Each on a processor of its own, because none goes on before all are there.
        let here = Arc::new(AtomicUsize::new(0));
        let meet = |_| {
            let here = here.clone();
            spawn(move || {
                here.fetch_add(1, Ordering::SeqCst);
                while here.load(Ordering::SeqCst) < n {
                    spin_loop();
                }
                allowed()
            })
        };
        let handles: Vec<_> = (0..n).map(meet).collect();
        let seen: Vec<_> = handles.into_iter().map(|h| h.join().unwrap()).collect();
        // One that lost its processor while it waited may run anywhere, and when it
        // is given another one, two have been on that.
        if taken() == taken_before && seen.iter().all(|cpus| cpus.len() == 1) {
            let mut seen = seen.concat();
            seen.sort_unstable();
            assert_eq!(seen, expected);
            rounds += 1;
        }
        // Now some block, and other threads take their processors over.
        run(|| {
            let block = |_| spawn(|| goweft::blocking(std::thread::yield_now));
            let handles: Vec<_> = (0..n).map(block).collect();
            for h in handles {
                h.join().unwrap();
            }
        });
    }
    println!("pinned");
}

fn main() {
    if let Some(n) = std::env::var_os("FAKE_CPUS") {
        let n = n.to_str().and_then(|n| n.parse().ok());
        CPUS.store(n.expect("a number"), Ordering::Relaxed);
    }
    if let Some(dir) = std::env::var_os("FAKE_PROC") {
        PROC.set(dir.into()).expect("it is set once");
    }
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "report" => report(),
        "most" => most(),
        "ignored_by_code" => ignored_by_code(),
        "heeded_by_code" => heeded_by_code(),
        "follow" => follow(),
        "set_by_hand" => set_by_hand(),
        "set_before_start" => set_before_start(),
        "set_by_config" => set_by_config(),
        "changed_while_idle" => changed_while_idle(),
        "affinity_errors" => affinity_errors(),
        "pinned_to_one" => pinned_to_one(),
        "pinned_in_turn" => pinned_in_turn(),
        "pinned_around_thefts" => pinned_around_thefts(),
        role => panic!("no role {role:?}"),
    }
}
