//! Holders of locks that are stopped at one instruction after the other: `steps LOCK PROCESSORS`,
//! run by `preempt_steps.rs` among the tests.
//!
//! A goroutine locks, changes what is locked and unlocks with the processor's trap flag set, so
//! that a handler runs after each instruction. At one of them the handler waits until goweft's
//! signal is pending, and returns: the signal comes in just there. Another goroutine wants the lock
//! from that moment on, and gets it. Then the same for the next instruction.

#[cfg(target_arch = "x86_64")]
mod steps {
    use goweft::{Builder, JoinHandle, runtime, spawn, sync, task};
    use goweft_tests::pressure::{self, Hogs, is_soak};
    use goweft_tests::sys;
    use std::arch::asm;
    use std::cell::UnsafeCell;
    use std::ffi::{c_int, c_void};
    use std::hint::spin_loop;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// How many instructions are tried, spread over all of them. In a soak all are.
    const TRIED: u64 = 12;
    /// One that was given its processor back before it got to sleep was not seen to be stopped, and
    /// is tried again, so often.
    const AGAIN: usize = 20;
    /// CPU time in which somebody who may be stopped at any instruction is.
    const LONG: Duration = Duration::from_secs(5);
    /// And one who may be where it is not.
    const SHORT: Duration = Duration::from_millis(4);
    /// The most that a locker uses of its stack.
    const DEEP: usize = 16 << 10;
    const TRAP_FLAG: i64 = 0x100;

    /// At which of them the handler waits. Those that it has seen are `SEEN`.
    static TARGET: AtomicU64 = AtomicU64::new(0);
    static SEEN: AtomicU64 = AtomicU64::new(0);
    /// From where the locker's stack goes down.
    static TOP: AtomicUsize = AtomicUsize::new(0);
    /// How long the handler waits, in ns.
    static PATIENCE: AtomicU64 = AtomicU64::new(0);
    /// How often the thread had slept before.
    static SLEPT: AtomicU64 = AtomicU64::new(0);
    /// It was there, and has slept between this instruction and the next.
    static STOPPED: AtomicBool = AtomicBool::new(false);
    /// It was there, and the signal did not come.
    static IN_VAIN: AtomicBool = AtomicBool::new(false);
    /// The other goroutine wants the lock.
    static WANTED: AtomicBool = AtomicBool::new(false);

    /// Whether goweft's signal is waiting to be let through.
    fn is_signal_pending() -> bool {
        // SAFETY: a set of our own, which the call fills in.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigpending(&mut set);
            libc::sigismember(&set, libc::SIGURG) == 1
        }
    }

    /// After each instruction, with goweft's signal blocked.
    ///
    /// # Safety
    /// Called by the kernel.
    unsafe extern "C" fn on_trap(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel's own, which nobody else looks at now.
        let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        let stack = registers[libc::REG_RSP as usize] as usize;
        if TOP.load(Ordering::Relaxed).wrapping_sub(stack) > DEEP {
            // The locker has parked, and this is somebody else.
            registers[libc::REG_EFL as usize] &= !TRAP_FLAG;
            return;
        }
        let seen = SEEN.load(Ordering::Relaxed) + 1;
        SEEN.store(seen, Ordering::Relaxed);
        let target = TARGET.load(Ordering::Relaxed);
        if seen == target {
            WANTED.store(true, Ordering::Release);
            let patience = Duration::from_nanos(PATIENCE.load(Ordering::Relaxed));
            let end = sys::cpu_time_of_this_thread() + patience;
            while !is_signal_pending() && sys::cpu_time_of_this_thread() < end {
                (0..100).for_each(|_| spin_loop());
            }
            IN_VAIN.store(!is_signal_pending(), Ordering::Relaxed);
            SLEPT.store(sys::sleeps_of_this_thread(), Ordering::Relaxed);
        } else if seen > target {
            let slept = sys::sleeps_of_this_thread() != SLEPT.load(Ordering::Relaxed);
            STOPPED.store(slept, Ordering::Relaxed);
            registers[libc::REG_EFL as usize] &= !TRAP_FLAG;
        }
    }

    fn install() {
        // SAFETY: it may run anywhere: it asks the system, waits, and clears the flag that it comes
        // from.
        unsafe { sys::install_handler(libc::SIGTRAP, on_trap, libc::SA_RESTART, &[libc::SIGURG]) };
    }

    /// Runs `f` step by step.
    fn stepped(target: u64, patience: Duration, f: impl FnOnce()) {
        let here = 0u8;
        TOP.store((&raw const here).addr(), Ordering::Relaxed);
        TARGET.store(target, Ordering::Relaxed);
        PATIENCE.store(patience.as_nanos() as u64, Ordering::Relaxed);
        SEEN.store(0, Ordering::Relaxed);
        STOPPED.store(false, Ordering::Relaxed);
        // SAFETY: there is a handler. All else is as it was after the three.
        unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
        f();
        // SAFETY: as above.
        unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
        std::hint::black_box(&here);
    }

    /// Two numbers that are the same whenever nobody has the lock.
    #[derive(Default)]
    pub(super) struct Pair(u64, u64);

    impl Pair {
        #[inline(never)]
        fn change(&mut self) {
            assert_eq!(self.0, self.1);
            self.0 += 1;
            self.1 = std::hint::black_box(self.0);
        }
    }

    pub(super) trait Lock: Default + Send + Sync + 'static {
        fn change(&self);
    }

    /// A spin lock of the user's own.
    #[derive(Default)]
    pub(super) struct Spin(AtomicBool, UnsafeCell<Pair>);

    // SAFETY: the pair is changed by who has the lock.
    unsafe impl Sync for Spin {}

    impl Lock for Spin {
        fn change(&self) {
            while self.0.swap(true, Ordering::Acquire) {
                spin_loop();
            }
            // SAFETY: it is locked.
            unsafe { (*self.1.get()).change() };
            self.0.store(false, Ordering::Release);
        }
    }

    impl Lock for Mutex<Pair> {
        fn change(&self) {
            self.lock().unwrap().change();
        }
    }

    impl Lock for sync::Mutex<Pair> {
        fn change(&self) {
            self.lock().change();
        }
    }

    /// One that wants the lock as soon as it is told, and gets it.
    fn other<L: Lock>(lock: &Arc<L>) -> JoinHandle<()> {
        let lock = lock.clone();
        spawn(move || {
            while !WANTED.load(Ordering::Acquire) {
                task::yield_now();
            }
            lock.change();
        })
    }

    /// Locks and unlocks, and is stopped at the instruction `target`.
    fn locks_and_unlocks<L: Lock>(target: u64, patience: Duration) {
        let lock = Arc::new(L::default());
        let other = other(&lock);
        task::yield_now();
        stepped(target, patience, || lock.change());
        WANTED.store(true, Ordering::Release);
        other.join().unwrap();
        lock.change();
    }

    /// Unlocks while the other one waits.
    fn unlocks_for_who_waits(target: u64, patience: Duration) {
        let lock = Arc::new(sync::Mutex::<Pair>::default());
        let mut guard = lock.lock();
        WANTED.store(true, Ordering::Release);
        let other = other(&lock);
        // Mostly it waits then; if not, that is a round without it.
        (0..10).for_each(|_| task::yield_now());
        guard.change();
        stepped(target, patience, || drop(guard));
        other.join().unwrap();
        lock.change();
    }

    /// One round, which ends in time; how many instructions there were.
    fn round(locker: fn(u64, Duration), target: u64, patience: Duration) -> u64 {
        WANTED.store(false, Ordering::Relaxed);
        let (tx, rx) = std::sync::mpsc::channel();
        let begin = Builder::new().stack_size(64 << 10);
        let locker = begin.spawn(move || {
            locker(target, patience);
            tx.send(()).unwrap();
        });
        rx.recv_timeout(pressure::WATCHDOG)
            .expect("whoever wants the lock gets it");
        locker.unwrap().join().unwrap();
        SEEN.load(Ordering::Relaxed)
    }

    /// At each instruction of `locker`, or at some of them, the first among these. If `everywhere`
    /// it is stopped at each, else at the first, which is not in the runtime yet.
    fn at_each(locker: fn(u64, Duration), everywhere: bool) {
        round(locker, u64::MAX, LONG);
        let all = round(locker, u64::MAX, LONG);
        assert!(all > 10, "{all} instructions");
        // Not always the same ones.
        let stride = if is_soak() { 1 } else { all.div_ceil(TRIED) };
        let second = 2 + u64::from(std::process::id()) % stride;
        let some = (second..all).step_by(stride as usize);
        let (mut tried, mut stopped) = (0, 0);
        for target in std::iter::once(1).chain(some) {
            tried += 1;
            let must = everywhere || target == 1;
            let (times, patience) = if must { (AGAIN, LONG) } else { (1, SHORT) };
            let is_stopped = (0..times).any(|_| {
                IN_VAIN.store(false, Ordering::Relaxed);
                round(locker, target, patience);
                let in_vain = IN_VAIN.load(Ordering::Relaxed);
                assert!(
                    !(must && in_vain),
                    "no signal comes: {:?}",
                    runtime::metrics()
                );
                STOPPED.load(Ordering::Relaxed)
            });
            stopped += u64::from(is_stopped);
            assert!(
                is_stopped || !must,
                "not stopped at instruction {target} of {all}: {:?}",
                runtime::metrics()
            );
        }
        println!("stopped at {stopped} of {tried} instructions, of {all} that there are");
        assert!(tried > 5);
    }

    pub(super) fn main() {
        let mut args = std::env::args().skip(1);
        let lock = args.next().unwrap_or_default();
        let procs = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
        pressure::start(procs);
        install();
        // Somebody waits for a processor all the time, also when the lock is not to be waited for.
        let hogs = Hogs::start(procs);
        match lock.as_str() {
            "spin" => at_each(locks_and_unlocks::<Spin>, true),
            "std" => at_each(locks_and_unlocks::<Mutex<Pair>>, true),
            "goweft" => at_each(locks_and_unlocks::<sync::Mutex<Pair>>, true),
            "goweft_waited_for" => at_each(unlocks_for_who_waits, false),
            lock => panic!("no lock {lock:?}"),
        }
        drop(hogs);
        assert_eq!(runtime::metrics().rescues, 0);
    }
}

fn main() {
    #[cfg(target_arch = "x86_64")]
    steps::main();
}
