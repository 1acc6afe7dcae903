//! The context switch for aarch64 (AAPCS64).
//!
//! What always holds:
//! - A suspended context is the address of four words at the low end of its
//!   used stack, 16-byte aligned as the hardware demands of `sp`.
//! - `sp` points into a live stack at every instruction, and nothing below it is
//!   written: a signal may arrive anywhere.
//! - A context is resumed by `br`, never by `ret`: the return predictor would be
//!   wrong every time. Where a `br` lands stands a `bti j`, for kernels and
//!   programs that enforce branch targets.
//!
//! ```text
//!   suspended by `switch`              fresh, from `prepare`
//!   +-----------------------+          +-----------------------+ <- top
//!   | frame of the caller   |          | (up to 15 bytes)      |
//!   | of `switch`           |          |                       |
//!   +-----------------------+          +-----------------------+
//!   | (spare)               | +24      | (spare)               | +24
//!   | x19                   | +16      | control: entry, arg   | +16
//!   | address of label 2:   | +8       | address of `start`    | +8
//!   | x29                   | <- ctx   | zero                  | <- ctx
//!   +-----------------------+          +-----------------------+
//! ```
//!
//! The two low words are a frame record, so that those who follow frame
//! pointers walk a parked context too.
//!
//! How a switch works:
//! 1. Reserve four words with the store of x29 and the address to resume at;
//!    save x19. The other callee-saved registers (x20 to x28, d8 to d15) are on
//!    the clobber list, so the compiler saves those that live and no others.
//! 2. Load `sp` from the destination. What we left is complete now.
//! 3. Call the action, on the destination's stack, right below its four words.
//! 4. Jump to the address that the destination saved; it takes its x19 and x29
//!    back and drops the four words.
//!
//! Why the action is called from the code that leaves, and what the unwind rows
//! around that call say, stands in `x86_64.rs`.
//!
//! x19 and x29 are saved by hand because LLVM reserves them and refuses them as
//! clobbers. `clobber_abi("C")` names all vector registers but the low halves of
//! v8 to v15, which are named here. x18 belongs to the platform and is not
//! touched. FPCR belongs to the thread and is not switched. No pointer is
//! signed: a context may continue on another thread.

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
    // `nostack` the compiler keeps sp aligned and nothing live below it.
    unsafe {
        asm!(
            // The address to resume at, position independent.
            "adr x9, 2f",
            // Reserves and writes in one instruction.
            "stp x29, x9, [sp, #-32]!",
            "str x19, [sp, #16]",
            // First argument of the action: what we are now.
            "mov x0, sp",
            // From here on we run on the destination.
            "mov sp, x2",
            // Unwinders: we are a frame on top of the destination's.
            super::cfi!(".cfi_remember_state"),
            super::cfi!(".cfi_def_cfa sp, 32"),
            super::cfi!(".cfi_offset x29, -32"),
            super::cfi!(".cfi_offset x30, -24"),
            super::cfi!(".cfi_offset x19, -16"),
            super::cfi!(".cfi_undefined x20"),
            super::cfi!(".cfi_undefined x21"),
            super::cfi!(".cfi_undefined x22"),
            super::cfi!(".cfi_undefined x23"),
            super::cfi!(".cfi_undefined x24"),
            super::cfi!(".cfi_undefined x25"),
            super::cfi!(".cfi_undefined x26"),
            super::cfi!(".cfi_undefined x27"),
            super::cfi!(".cfi_undefined x28"),
            "blr x3",
            super::cfi!(".cfi_restore_state"),
            "ldr x9, [sp, #8]",
            "br x9",
            // Somebody resumed us; sp is what we put into x0 above.
            "2:",
            "hint #36", // bti j
            "ldr x19, [sp, #16]",
            "ldp x29, x9, [sp], #32",
            inlateout("x2") to => _,
            inlateout("x3") action => _,
            inlateout("x1") data => _,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _,
            lateout("x24") _, lateout("x25") _, lateout("x26") _, lateout("x27") _,
            lateout("x28") _,
            lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
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
            "adr x9, 2f",
            "stp x29, x9, [sp, #-32]!",
            "str x19, [sp, #16]",
            "mov x9, sp",
            "mov sp, x2",
            // Off our stack, so whoever sees this (release) may resume us.
            "stlr x9, [x0]",
            "ldr x9, [sp, #8]",
            "br x9",
            "2:",
            "hint #36", // bti j
            "ldr x19, [sp, #16]",
            "ldp x29, x9, [sp], #32",
            inlateout("x2") to => _,
            inlateout("x0") left => _,
            lateout("x20") _, lateout("x21") _, lateout("x22") _, lateout("x23") _,
            lateout("x24") _, lateout("x25") _, lateout("x26") _, lateout("x27") _,
            lateout("x28") _,
            lateout("v8") _, lateout("v9") _, lateout("v10") _, lateout("v11") _,
            lateout("v12") _, lateout("v13") _, lateout("v14") _, lateout("v15") _,
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
    // `mov sp` the old stack is not touched, so the action may free it.
    unsafe {
        asm!(
            "mov x0, sp",
            "mov sp, x2",
            super::cfi!(".cfi_remember_state"),
            super::cfi!(".cfi_def_cfa sp, 32"),
            super::cfi!(".cfi_offset x29, -32"),
            super::cfi!(".cfi_offset x30, -24"),
            super::cfi!(".cfi_offset x19, -16"),
            super::cfi!(".cfi_undefined x20"),
            super::cfi!(".cfi_undefined x21"),
            super::cfi!(".cfi_undefined x22"),
            super::cfi!(".cfi_undefined x23"),
            super::cfi!(".cfi_undefined x24"),
            super::cfi!(".cfi_undefined x25"),
            super::cfi!(".cfi_undefined x26"),
            super::cfi!(".cfi_undefined x27"),
            super::cfi!(".cfi_undefined x28"),
            "blr x3",
            super::cfi!(".cfi_restore_state"),
            "ldr x9, [sp, #8]",
            "br x9",
            in("x2") to,
            in("x3") action,
            in("x1") data,
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
    // SAFETY: the caller vouches for the memory below `top`; the frame and what
    // `start` reads stay in it, on the top page.
    unsafe {
        let end = top.map_addr(|a| a & !15);
        let control = end.sub(16).cast::<usize>();
        control.write(entry as usize);
        control.add(1).write(arg as usize);
        let words = end.sub(16 + FRAME).cast::<usize>();
        words.write(0);
        words.add(1).write(start_address());
        words.add(2).write(control as usize);
        words.add(SPARE).write(0);
        words.cast()
    }
}

/// Runs `f(data)` on top of the suspended context `on`.
///
/// # Safety
/// As [`super::run_on_top`]; `f` does not unwind.
#[inline(never)]
pub(super) unsafe fn call_on_top(on: *mut u8, f: unsafe extern "C" fn(*mut ()), data: *mut ()) {
    // SAFETY: x20 survives the call because the ABI says so and takes us back.
    // Only memory below `on` is written. In between, the unwind rows describe
    // `on`, so that a backtrace walks the parked frames.
    unsafe {
        asm!(
            "mov x20, sp",
            "mov sp, x2",
            super::cfi!(".cfi_remember_state"),
            super::cfi!(".cfi_def_cfa sp, 32"),
            super::cfi!(".cfi_offset x29, -32"),
            super::cfi!(".cfi_offset x30, -24"),
            super::cfi!(".cfi_offset x19, -16"),
            super::cfi!(".cfi_undefined x20"),
            super::cfi!(".cfi_undefined x21"),
            super::cfi!(".cfi_undefined x22"),
            super::cfi!(".cfi_undefined x23"),
            super::cfi!(".cfi_undefined x24"),
            super::cfi!(".cfi_undefined x25"),
            super::cfi!(".cfi_undefined x26"),
            super::cfi!(".cfi_undefined x27"),
            super::cfi!(".cfi_undefined x28"),
            "blr x3",
            super::cfi!(".cfi_restore_state"),
            "mov sp, x20",
            inlateout("x2") on => _,
            inlateout("x3") f => _,
            inlateout("x0") data => _,
            out("x20") _,
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
    start as *const () as usize + 4
}

/// The outermost frame of every context: calls `entry(arg)`.
///
/// The return address is undefined here, which is how unwinders and gdb know the
/// end, and x29 and x30 are zero for those that follow frame records.
#[unsafe(naked)]
unsafe extern "C" fn start() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_undefined x30",
        ".cfi_def_cfa sp, 32",
        "nop",
        "hint #36", // bti j
        "ldr x9, [sp, #16]",
        "add sp, sp, #32",
        ".cfi_def_cfa_offset 0",
        "mov x29, xzr",
        "mov x30, xzr",
        "ldp x9, x0, [x9]",
        "blr x9",
        // `entry` never returns; and the return address must lie inside us.
        "brk #1",
        ".cfi_endproc",
    )
}
