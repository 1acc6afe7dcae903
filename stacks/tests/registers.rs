//! What a context keeps over a switch: callee-saved registers, live values, and
//! its stack while signals arrive.

mod fiber;

use fiber::Fiber;
use goweft_stacks::Class;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Resumes the fiber at `fiber`; called from assembly.
unsafe extern "C" fn resume(fiber: *mut Fiber) {
    // SAFETY: the test's fiber, alive.
    assert!(unsafe { &mut *fiber }.resume());
}

/// Loads all callee-saved registers with values of its own, switches away and
/// back, and returns the number of those that changed.
#[cfg(target_arch = "x86_64")]
fn changed_over_a_switch(fiber: &mut Fiber) -> usize {
    let mut changed: usize;
    // SAFETY: every register written is restored or declared; the C function is
    // called on an aligned stack.
    unsafe {
        std::arch::asm!(
            "push rbx", "push rbp", "push rbp", "sub rsp, 8",
            "mov rbx, 0x1111", "mov rbp, 0x2222", "mov r12, 0x3333",
            "mov r13, 0x4444", "mov r14, 0x5555", "mov r15, 0x6666",
            "call rax",
            "xor eax, eax", "xor ecx, ecx",
            "cmp rbx, 0x1111", "setne al", "add rcx, rax",
            "cmp rbp, 0x2222", "setne al", "add rcx, rax",
            "cmp r12, 0x3333", "setne al", "add rcx, rax",
            "cmp r13, 0x4444", "setne al", "add rcx, rax",
            "cmp r14, 0x5555", "setne al", "add rcx, rax",
            "cmp r15, 0x6666", "setne al", "add rcx, rax",
            "add rsp, 8", "pop rbp", "pop rbp", "pop rbx",
            inlateout("rax") resume as *const () => _,
            inlateout("rdi") &raw mut *fiber => _,
            lateout("rcx") changed,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("C"),
        );
    }
    changed
}

#[cfg(target_arch = "aarch64")]
fn changed_over_a_switch(fiber: &mut Fiber) -> usize {
    let mut changed: usize;
    // SAFETY: every register written is restored or declared; the C function is
    // called on an aligned stack.
    unsafe {
        std::arch::asm!(
            "stp x19, x29, [sp, #-16]!",
            "mov x19, #19", "mov x20, #20", "mov x21, #21", "mov x22, #22",
            "mov x23, #23", "mov x24, #24", "mov x25, #25", "mov x26, #26",
            "mov x27, #27", "mov x28, #28",
            "fmov d8, #8.0", "fmov d9, #9.0", "fmov d10, #10.0", "fmov d11, #11.0",
            "fmov d12, #12.0", "fmov d13, #13.0", "fmov d14, #14.0", "fmov d15, #15.0",
            "blr x1",
            "mov x1, #0",
            "cmp x19, #19", "cinc x1, x1, ne", "cmp x20, #20", "cinc x1, x1, ne",
            "cmp x21, #21", "cinc x1, x1, ne", "cmp x22, #22", "cinc x1, x1, ne",
            "cmp x23, #23", "cinc x1, x1, ne", "cmp x24, #24", "cinc x1, x1, ne",
            "cmp x25, #25", "cinc x1, x1, ne", "cmp x26, #26", "cinc x1, x1, ne",
            "cmp x27, #27", "cinc x1, x1, ne", "cmp x28, #28", "cinc x1, x1, ne",
            "fmov d0, #8.0", "fcmp d8, d0", "cinc x1, x1, ne",
            "fmov d0, #9.0", "fcmp d9, d0", "cinc x1, x1, ne",
            "fmov d0, #10.0", "fcmp d10, d0", "cinc x1, x1, ne",
            "fmov d0, #11.0", "fcmp d11, d0", "cinc x1, x1, ne",
            "fmov d0, #12.0", "fcmp d12, d0", "cinc x1, x1, ne",
            "fmov d0, #13.0", "fcmp d13, d0", "cinc x1, x1, ne",
            "fmov d0, #14.0", "fcmp d14, d0", "cinc x1, x1, ne",
            "fmov d0, #15.0", "fcmp d15, d0", "cinc x1, x1, ne",
            "ldp x19, x29, [sp], #16",
            inlateout("x0") &raw mut *fiber => _,
            inlateout("x1") resume as *const () => changed,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _,
            lateout("x24") _, lateout("x25") _, lateout("x26") _, lateout("x27") _,
            lateout("x28") _,
            lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
            clobber_abi("C"),
        );
    }
    changed
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn callee_saved_registers_survive_on_both_sides() {
    // The inner fiber is switched to from within the outer one, both with all
    // registers loaded.
    let mut inner = Fiber::new(Class::DEFAULT, |s| {
        loop {
            s.suspend();
        }
    });
    let mut outer = Fiber::new(Class::DEFAULT, move |s| {
        for _ in 0..10 {
            assert_eq!(changed_over_a_switch(&mut inner), 0);
            s.suspend();
        }
    });
    for _ in 0..10 {
        assert_eq!(changed_over_a_switch(&mut outer), 0);
    }
    assert!(!outer.resume());
}

/// Keeps more integers and floats alive over switches than there are registers.
fn juggle(seed: u64, mut away: impl FnMut()) {
    let mut ints: [u64; 24] = std::array::from_fn(|i| black_box(seed + i as u64));
    let mut floats: [f64; 40] = std::array::from_fn(|i| black_box((seed + i as u64) as f64));
    for round in 0..50 {
        away();
        ints.iter_mut().for_each(|v| *v = v.wrapping_mul(3));
        floats.iter_mut().for_each(|v| *v += 0.5);
        let _ = black_box(round);
    }
    for (i, n) in ints.iter().enumerate() {
        assert_eq!(*n, (0..50).fold(seed + i as u64, |v, _| v.wrapping_mul(3)));
    }
    for (i, f) in floats.iter().enumerate() {
        assert_eq!(*f, (seed + i as u64) as f64 + 25.0);
    }
}

#[test]
fn live_values_survive_among_many_contexts() {
    let mut fibers: Vec<Fiber> = (0..10)
        .map(|n| Fiber::new(Class::DEFAULT, move |s| juggle(1000 * n, || s.suspend())))
        .collect();
    while !fibers.is_empty() {
        fibers.retain_mut(Fiber::resume);
    }
}

#[test]
fn a_context_continues_on_other_threads() {
    let mut fiber = Fiber::new(Class::DEFAULT, |s| juggle(7, || s.suspend()));
    let mut going = true;
    while going {
        (fiber, going) = std::thread::spawn(move || {
            let mut going = true;
            for _ in 0..5 {
                going = going && fiber.resume();
            }
            (fiber, going)
        })
        .join()
        .unwrap();
    }
}

#[test]
fn signals_may_arrive_at_any_instruction() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    /// Runs on whatever stack is in use, and uses a good part of it.
    extern "C" fn on_signal(_: i32) {
        let noise = black_box([0xAAu8; 1024]);
        SEEN.fetch_add(usize::from(noise[9] == 0xAA), Ordering::Relaxed);
    }
    // SAFETY: a handler of the right signature, without SA_ONSTACK on purpose.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
    // SAFETY: the calling thread's own handle; it is joined with below.
    let target = unsafe { libc::pthread_self() };
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    let sender = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            // SAFETY: the target outlives this thread.
            unsafe { libc::pthread_kill(target, libc::SIGUSR1) };
            std::thread::yield_now();
        }
    });
    while SEEN.load(Ordering::Relaxed) < 2000 {
        live_values_survive_among_many_contexts();
    }
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
}
