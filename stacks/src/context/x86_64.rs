//! The context switch for x86_64 (System V).
//!
//! What always holds:
//! - A suspended context is the address of four words at the low end of its
//!   used stack. The address is 16-byte aligned, so a function can be called
//!   right below it.
//! - `rsp` points into a live stack at every instruction, and nothing below
//!   `rsp` is written: a signal may arrive anywhere.
//! - The code that resumes a context is reached by `jmp`, never by `ret`: the
//!   return predictor would be wrong every time (23 ns against 2).
//!
//! ```text
//!   suspended by `switch`              fresh, from `prepare`
//!   +-----------------------+          +-----------------------+ <- top
//!   | frame of the caller   |          | (up to 15 bytes)      |
//!   | of `switch`           |          |                       |
//!   +-----------------------+          +-----------------------+
//!   | (spare)               | +24      | (spare)               | +24
//!   | rbp                   | +16      | arg                   | +16
//!   | rbx                   | +8       | entry                 | +8
//!   | address of label 2:   | <- ctx   | address of `start`    | <- ctx
//!   +-----------------------+          +-----------------------+
//! ```
//!
//! How a switch works:
//! 1. Reserve four words, save rbx, rbp and the address to resume at. The other
//!    callee-saved registers are on the clobber list, so the compiler saves
//!    those that live and no others.
//! 2. Load `rsp` from the destination. What we left is complete now.
//! 3. Call the action, on the destination's stack, right below its four words.
//! 4. Jump to the address that the destination saved; it takes its rbx and rbp
//!    back and drops the four words.
//!
//! The action is called from the code that leaves and not from the code that
//! arrives: there its target is a constant (the arriving side would need a
//! second indirect branch), and a switch without an action has no branch for
//! it. Around that call the unwind rows describe the destination (CFA = rsp +
//! 32), so that a backtrace taken inside an action walks the destination's
//! frames to their end.
//!
//! rbx and rbp are saved by hand because LLVM reserves them and refuses them as
//! clobbers. Naming `zmm0`.. as clobbers is silently dropped without avx512;
//! `clobber_abi("C")` names every vector and mask register. MXCSR and the x87
//! control word belong to the thread and are not switched.

use core::arch::{asm, naked_asm};

/// Bytes a suspended context takes on its stack, see the head of this file.
pub(super) const FRAME: usize = 32;

/// The word of the frame that is free for the sanitizers' record.
pub(super) const SPARE: usize = 3;

/// Saves the current context, runs `action(left, data)` on `to`'s stack and
/// resumes `to`.
///
/// # Safety
/// As [`super::switch`].
#[inline(always)]
pub(super) unsafe fn switch(to: *mut u8, action: super::Action, data: *mut ()) {
    // SAFETY: the caller vouches for `to`, a suspended context of ours, whose
    // four words are laid out as above and whose stack is live. The block
    // saves what LLVM reserves and clobbers everything else, and without
    // `nostack` the compiler keeps the red zone empty and rsp aligned to 16.
    unsafe {
        asm!(
            // The address to resume at, position independent.
            "lea rax, [rip + 2f]",
            // Reserve before writing: rsp is valid at every instruction.
            "sub rsp, 32",
            "mov [rsp + 16], rbp",
            "mov [rsp + 8], rbx",
            "mov [rsp], rax",
            // First argument of the action: what we are now.
            "mov rdi, rsp",
            // From here on we run on the destination.
            "mov rsp, rdx",
            // Unwinders: we are a frame on top of the destination's.
            super::cfi!(".cfi_remember_state"),
            super::cfi!(".cfi_def_cfa rsp, 32"),
            super::cfi!(".cfi_offset rip, -32"),
            super::cfi!(".cfi_offset rbx, -24"),
            super::cfi!(".cfi_offset rbp, -16"),
            super::cfi!(".cfi_undefined r12"),
            super::cfi!(".cfi_undefined r13"),
            super::cfi!(".cfi_undefined r14"),
            super::cfi!(".cfi_undefined r15"),
            "call rcx",
            super::cfi!(".cfi_restore_state"),
            "jmp [rsp]",
            // Somebody resumed us; rsp is what we stored in rdi above.
            "2:",
            "mov rbx, [rsp + 8]",
            "mov rbp, [rsp + 16]",
            "add rsp, 32",
            inlateout("rdx") to => _,
            inlateout("rcx") action => _,
            inlateout("rsi") data => _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("C"),
        );
    }
}

/// As [`switch`], with no action: stores what was left in `*left`.
///
/// # Safety
/// As [`super::switch_plain`].
#[inline(always)]
pub(super) unsafe fn switch_plain(to: *mut u8, left: *mut *mut u8) {
    // SAFETY: as in `switch`; `left` is valid for a write, says the caller.
    unsafe {
        asm!(
            "lea rax, [rip + 2f]",
            "sub rsp, 32",
            "mov [rsp + 16], rbp",
            "mov [rsp + 8], rbx",
            "mov [rsp], rax",
            "mov rax, rsp",
            "mov rsp, rdx",
            // Off our stack, so whoever sees this may resume us (stores are
            // releases on x86).
            "mov [rdi], rax",
            "jmp [rsp]",
            "2:",
            "mov rbx, [rsp + 8]",
            "mov rbp, [rsp + 16]",
            "add rsp, 32",
            inlateout("rdx") to => _,
            inlateout("rdi") left => _,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("C"),
        );
    }
}

/// Resumes `to` and never comes back.
///
/// # Safety
/// As [`super::switch_final`].
#[inline(always)]
pub(super) unsafe fn switch_final(to: *mut u8, action: super::Action, data: *mut ()) -> ! {
    // SAFETY: as in `switch`; nothing is saved because nobody comes back. After
    // `mov rsp` the old stack is not touched, so the action may free it.
    unsafe {
        asm!(
            "mov rdi, rsp",
            "mov rsp, rdx",
            super::cfi!(".cfi_remember_state"),
            super::cfi!(".cfi_def_cfa rsp, 32"),
            super::cfi!(".cfi_offset rip, -32"),
            super::cfi!(".cfi_offset rbx, -24"),
            super::cfi!(".cfi_offset rbp, -16"),
            super::cfi!(".cfi_undefined r12"),
            super::cfi!(".cfi_undefined r13"),
            super::cfi!(".cfi_undefined r14"),
            super::cfi!(".cfi_undefined r15"),
            "call rcx",
            super::cfi!(".cfi_restore_state"),
            "jmp [rsp]",
            in("rdx") to,
            in("rcx") action,
            in("rsi") data,
            options(noreturn),
        )
    }
}

/// Lays out a fresh context below `top`.
///
/// # Safety
/// As [`super::prepare`].
#[inline]
pub(super) unsafe fn prepare(
    top: *mut u8,
    _limit: *mut u8,
    entry: super::Entry,
    arg: *mut (),
) -> *mut u8 {
    // SAFETY: the caller vouches for the memory below `top`; the frame stays in
    // it, on the top page.
    unsafe {
        let frame = top.map_addr(|a| (a & !15) - FRAME);
        let words = frame.cast::<usize>();
        words.write(start_address());
        words.add(1).write(entry as usize);
        words.add(2).write(arg as usize);
        words.add(SPARE).write(0);
        frame
    }
}

/// Runs `f(data)` on top of the suspended context `on`.
///
/// # Safety
/// As [`super::run_on_top`]; `f` does not unwind.
#[inline(never)]
pub(super) unsafe fn call_on_top(on: *mut u8, f: unsafe extern "C" fn(*mut ()), data: *mut ()) {
    // SAFETY: r12 survives the call because the C ABI says so and takes us
    // back. Only memory below `on` is written. In between, the unwind rows
    // describe `on`, so that a backtrace walks the parked frames.
    unsafe {
        asm!(
            "mov r12, rsp",
            "mov rsp, rdx",
            super::cfi!(".cfi_remember_state"),
            super::cfi!(".cfi_def_cfa rsp, 32"),
            super::cfi!(".cfi_offset rip, -32"),
            super::cfi!(".cfi_offset rbx, -24"),
            super::cfi!(".cfi_offset rbp, -16"),
            super::cfi!(".cfi_undefined r12"),
            super::cfi!(".cfi_undefined r13"),
            super::cfi!(".cfi_undefined r14"),
            super::cfi!(".cfi_undefined r15"),
            "call rcx",
            super::cfi!(".cfi_restore_state"),
            "mov rsp, r12",
            inlateout("rdx") on => _,
            inlateout("rcx") f => _,
            inlateout("rdi") data => _,
            out("r12") _,
            clobber_abi("C"),
        );
    }
}

/// Where a fresh context starts: one past the `nop` of [`start`], because
/// unwinders look up the address before a return address.
///
/// Never inlined: naming a naked function from another codegen unit can fail
/// to link under LTO (rust-lang/rust#148307).
#[inline(never)]
fn start_address() -> usize {
    start as *const () as usize + 1
}

/// The outermost frame of every context: calls `entry(arg)`.
///
/// rip is undefined here, which is how unwinders and gdb know the end, and rbp
/// is zero for those that follow frame pointers.
#[unsafe(naked)]
unsafe extern "C" fn start() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined rip",
        ".cfi_def_cfa rsp, 32",
        "nop",
        "mov rdi, [rsp + 16]",
        "mov rax, [rsp + 8]",
        "add rsp, 32",
        ".cfi_def_cfa_offset 0",
        "xor ebp, ebp",
        // rsp is 16-byte aligned, as the ABI wants it before a call.
        "call rax",
        // `entry` never returns; and the return address must lie inside us.
        "ud2",
        ".cfi_endproc",
    )
}
