//! The registers of x86_64.
//!
//! The loops are naked functions: every register is theirs, and none is touched by a prologue.
//! They end at the first look at `GO` that finds zero.

use super::{GO, alone, pattern, while_stopped_often, words};
use std::arch::naked_asm;

/// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15, and the flags.
type General = [u64; 16];
const RCX: usize = 2;
const FLAGS: usize = 15;
/// Carry, parity, auxiliary carry, zero, sign, direction, overflow.
const KNOWN_FLAGS: u64 = 0xcd5;

/// Holds `values` in all general registers and in the flags, and stores what they are at the
/// end. `rcx` is the one that looks: it holds `GO`, and is zero at the end. `jrcxz` looks
/// without changing the flags.
#[unsafe(naked)]
unsafe extern "C" fn hold_general(values: *mut General) {
    naked_asm!(
        // What belongs to the caller; the flags too: the direction must be clear.
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "pushfq",
        "push rdi",
        "push qword ptr [rdi + 8 * 15]",
        "mov rax, [rdi]",
        "mov rbx, [rdi + 8]",
        "mov rdx, [rdi + 8 * 3]",
        "mov rsi, [rdi + 8 * 4]",
        "mov rbp, [rdi + 8 * 6]",
        "mov r8, [rdi + 8 * 7]",
        "mov r9, [rdi + 8 * 8]",
        "mov r10, [rdi + 8 * 9]",
        "mov r11, [rdi + 8 * 10]",
        "mov r12, [rdi + 8 * 11]",
        "mov r13, [rdi + 8 * 12]",
        "mov r14, [rdi + 8 * 13]",
        "mov r15, [rdi + 8 * 14]",
        "mov rdi, [rdi + 8 * 5]",
        "popfq",
        "2:",
        "mov rcx, [rip + {go}]",
        "jrcxz 3f",
        "jmp 2b",
        "3:",
        // Everything goes to the stack before the first register is free.
        "pushfq",
        "push rax",
        "push rbx",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push rbp",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rdi, [rsp + 8 * 16]",
        ".irp i, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15",
        "pop qword ptr [rdi + 8 * \\i]",
        ".endr",
        "pop rdi",
        "popfq",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        go = sym GO,
    )
}

#[test]
fn general_registers_and_flags() {
    for flags in [KNOWN_FLAGS, 0] {
        while_stopped_often(move |seed| {
            let mut values: General = words(seed);
            values[FLAGS] = flags;
            let mut expected = values;
            expected[RCX] = 0;
            // SAFETY: it keeps to the C ABI, and writes to nothing but the values.
            unsafe { hold_general(&mut values) };
            values[FLAGS] &= KNOWN_FLAGS;
            assert_eq!(values, expected);
        });
    }
}

/// MXCSR, the x87 control word, and the eight x87 registers with 80 bits in each of 16 bytes.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Debug)]
struct FloatState {
    mxcsr: u32,
    control: u16,
    _pad: [u16; 5],
    stack: [u128; 8],
}

/// Holds what `state` says in the floating-point registers that SSE does not have, and in
/// both control words.
#[unsafe(naked)]
unsafe extern "C" fn hold_float_state(state: *mut FloatState) {
    naked_asm!(
        "sub rsp, 24",
        "stmxcsr [rsp]",
        "fnstcw [rsp + 4]",
        "ldmxcsr [rdi]",
        "fldcw [rdi + 4]",
        // The last one pushed is st(0).
        ".irp i, 7, 6, 5, 4, 3, 2, 1, 0",
        "fld tbyte ptr [rdi + 16 + 16 * \\i]",
        ".endr",
        "2:",
        "cmp qword ptr [rip + {go}], 0",
        "jne 2b",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
        "fstp tbyte ptr [rdi + 16 + 16 * \\i]",
        ".endr",
        "stmxcsr [rdi]",
        "fnstcw [rdi + 4]",
        "ldmxcsr [rsp]",
        "fldcw [rsp + 4]",
        "add rsp, 24",
        "ret",
        go = sym GO,
    )
}

#[test]
fn control_words_and_x87_registers() {
    while_stopped_often(|seed| {
        // Mantissas of our own, with the bit before the point set, and exponents near zero.
        let number = |i: u64| {
            let mantissa = words::<8>(seed)[i as usize] | 1 << 63;
            u128::from(mantissa) | u128::from(0x3fff + i) << 64
        };
        let before = FloatState {
            // All masked; towards zero, to zero instead of denormals; inexact and
            // underflow have happened.
            mxcsr: 0x1f80 | 0x6000 | 0x8000 | 0x40 | 0x30,
            // All masked (and a bit that is always set); upwards, double precision.
            control: 0x007f | 0x0800 | 0x0200,
            _pad: [0; 5],
            stack: std::array::from_fn(|i| number(i as u64)),
        };
        let mut after = before;
        // SAFETY: it keeps to the C ABI, puts both words back, and leaves the x87 registers
        // empty as they were.
        unsafe { hold_float_state(&mut after) };
        assert_eq!(after, before);
    });
}

/// Up to 32 registers of up to 64 bytes, and eight masks.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Debug)]
struct Vectors {
    registers: [u8; 32 * 64],
    masks: [u64; 8],
}

#[unsafe(naked)]
unsafe extern "C" fn hold_xmm(values: *mut Vectors) {
    naked_asm!(
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "movaps xmm\\i, [rdi + 64 * \\i]",
        ".endr",
        "2:",
        "cmp qword ptr [rip + {go}], 0",
        "jne 2b",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "movaps [rdi + 64 * \\i], xmm\\i",
        ".endr",
        "ret",
        go = sym GO,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn hold_ymm(values: *mut Vectors) {
    naked_asm!(
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovaps ymm\\i, [rdi + 64 * \\i]",
        ".endr",
        "2:",
        "cmp qword ptr [rip + {go}], 0",
        "jne 2b",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovaps [rdi + 64 * \\i], ymm\\i",
        ".endr",
        "vzeroupper",
        "ret",
        go = sym GO,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn hold_zmm(values: *mut Vectors) {
    naked_asm!(
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovaps zmm\\i, [rdi + 64 * \\i]",
        ".endr",
        ".irp i, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "vmovaps zmm\\i, [rdi + 64 * \\i]",
        ".endr",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
        "kmovq k\\i, [rdi + 64 * 32 + 8 * \\i]",
        ".endr",
        "2:",
        "cmp qword ptr [rip + {go}], 0",
        "jne 2b",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
        "vmovaps [rdi + 64 * \\i], zmm\\i",
        ".endr",
        ".irp i, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
        "vmovaps [rdi + 64 * \\i], zmm\\i",
        ".endr",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
        "kmovq [rdi + 64 * 32 + 8 * \\i], k\\i",
        ".endr",
        "vzeroupper",
        "ret",
        go = sym GO,
    )
}

/// `hold` changes nothing of what it is given.
fn vectors_are_kept(hold: unsafe extern "C" fn(*mut Vectors)) {
    while_stopped_often(move |seed| {
        let before = Vectors {
            registers: pattern(seed),
            masks: words(seed),
        };
        let mut after = before;
        // SAFETY: it keeps to the C ABI, in which no vector register is the caller's, writes to
        // nothing but the values, and the processor has what it uses.
        unsafe { hold(&mut after) };
        assert!(after == before, "{after:?}");
    });
}

#[test]
fn xmm_registers() {
    vectors_are_kept(hold_xmm);
}

#[test]
fn ymm_registers() {
    if is_x86_feature_detected!("avx") {
        vectors_are_kept(hold_ymm);
    } else {
        println!("left out: this processor has no AVX");
    }
}

#[test]
fn zmm_registers_and_masks() {
    if is_x86_feature_detected!("avx512bw") {
        vectors_are_kept(hold_zmm);
    } else {
        println!("left out: this processor has no AVX-512");
    }
}

/// Eight tiles of 16 rows of 64 bytes.
type Tiles = [u8; 8 << 10];

/// The palette, and for each tile 64 bytes in a row and 16 rows.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

#[unsafe(naked)]
unsafe extern "C" fn hold_tiles(tiles: *mut Tiles, config: *const TileConfig) {
    naked_asm!(
        "ldtilecfg [rsi]",
        "mov edx, 64",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
        "tileloadd tmm\\i, [rdi + 1 * rdx]",
        "add rdi, 1024",
        ".endr",
        "2:",
        "cmp qword ptr [rip + {go}], 0",
        "jne 2b",
        "sub rdi, 8192",
        ".irp i, 0, 1, 2, 3, 4, 5, 6, 7",
        "tilestored [rdi + 1 * rdx], tmm\\i",
        "add rdi, 1024",
        ".endr",
        "tilerelease",
        "ret",
        go = sym GO,
    )
}

/// The kernel's permission for this process to use tiles; it wants alternate stacks that are
/// large enough. (Nothing changes for those who do not use them.)
fn may_use_tiles() -> bool {
    const REQUEST: i32 = 0x1023;
    const TILE_DATA: u64 = 18;
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

/// AMX: the largest frames there are.
#[test]
fn tiles() {
    // First, so that the alternate stacks of the runtime's threads are looked at too.
    drop(alone(1));
    if !may_use_tiles() {
        return println!("left out: no AMX here");
    }
    while_stopped_often(|seed| {
        let mut config = TileConfig([0; 64]);
        config.0[0] = 1;
        for tile in 0..8 {
            config.0[16 + 2 * tile] = 64;
            config.0[48 + tile] = 16;
        }
        let before: Tiles = pattern(seed);
        let mut after = before;
        // SAFETY: it keeps to the C ABI, writes to nothing but the tiles, and the process may
        // use them.
        unsafe { hold_tiles(&mut after, &config) };
        assert!(after == before);
    });
}
