//! The registers of aarch64.
//!
//! As in `x86_64.rs`, naked functions that end at the first look at `GO` that finds zero.

use super::{GO, pattern, while_stopped_often, words};
use std::arch::naked_asm;

/// x0 to x30, and the flags.
type General = [u64; 32];
const FLAGS: usize = 31;

/// Holds `values` in all general registers and in the flags, and stores what they are at the
/// end. `x0` is the one that looks: it holds `GO`, and is zero at the end. `cbnz`
/// looks without changing the flags.
#[unsafe(naked)]
unsafe extern "C" fn hold_general(values: *mut General) {
    naked_asm!(
        "stp x29, x30, [sp, #-112]!",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "str x0, [sp, #96]",
        "ldr x1, [x0, #8 * 31]",
        "msr nzcv, x1",
        ".irp i, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
        "ldr x\\i, [x0, #8 * \\i]",
        ".endr",
        "2:",
        "adrp x0, {go}",
        "ldr x0, [x0, :lo12:{go}]",
        "cbnz x0, 2b",
        "ldr x0, [sp, #96]",
        ".irp i, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
        "str x\\i, [x0, #8 * \\i]",
        ".endr",
        "mrs x1, nzcv",
        "str x1, [x0, #8 * 31]",
        "str xzr, [x0]",
        "ldp x19, x20, [sp, #16]",
        "ldp x21, x22, [sp, #32]",
        "ldp x23, x24, [sp, #48]",
        "ldp x25, x26, [sp, #64]",
        "ldp x27, x28, [sp, #80]",
        "ldp x29, x30, [sp], #112",
        "ret",
        go = sym GO,
    )
}

#[test]
fn general_registers_and_flags() {
    for flags in [0xf, 0x5, 0] {
        while_stopped_often(move |seed| {
            let mut values: General = words(seed);
            values[FLAGS] = flags << 28;
            let mut expected = values;
            expected[0] = 0;
            // SAFETY: it keeps to the C ABI, and writes to nothing but the values.
            unsafe { hold_general(&mut values) };
            assert_eq!(values, expected);
        });
    }
}

/// v0 to v31, FPCR and FPSR.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Debug)]
struct Vectors {
    registers: [u8; 32 * 16],
    control: u64,
    status: u64,
}

#[unsafe(naked)]
unsafe extern "C" fn hold_vectors(values: *mut Vectors) {
    naked_asm!(
        "stp d8, d9, [sp, #-80]!",
        "stp d10, d11, [sp, #16]",
        "stp d12, d13, [sp, #32]",
        "stp d14, d15, [sp, #48]",
        "mrs x2, fpcr",
        "mrs x3, fpsr",
        "stp x2, x3, [sp, #64]",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "ldr q\\i, [x0, #16 * \\i]",
        ".endr",
        "ldr x2, [x0, #16 * 32]",
        "ldr x3, [x0, #16 * 32 + 8]",
        "msr fpcr, x2",
        "msr fpsr, x3",
        "2:",
        "adrp x1, {go}",
        "ldr x1, [x1, :lo12:{go}]",
        "cbnz x1, 2b",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "str q\\i, [x0, #16 * \\i]",
        ".endr",
        "mrs x2, fpcr",
        "mrs x3, fpsr",
        "str x2, [x0, #16 * 32]",
        "str x3, [x0, #16 * 32 + 8]",
        "ldp x2, x3, [sp, #64]",
        "msr fpcr, x2",
        "msr fpsr, x3",
        "ldp d10, d11, [sp, #16]",
        "ldp d12, d13, [sp, #32]",
        "ldp d14, d15, [sp, #48]",
        "ldp d8, d9, [sp], #80",
        "ret",
        go = sym GO,
    )
}

#[test]
fn vector_registers_and_floating_point_control_and_status() {
    while_stopped_often(|seed| {
        let before = Vectors {
            registers: pattern(seed),
            // Towards zero, and to zero instead of denormals.
            control: 0b11 << 22 | 1 << 24,
            // Inexact and underflow have happened.
            status: 0b11000,
        };
        let mut after = before;
        // SAFETY: it keeps to the C ABI, puts both words back, and writes to nothing but the
        // values.
        unsafe { hold_vectors(&mut after) };
        assert!(after == before, "{after:?}");
    });
}
