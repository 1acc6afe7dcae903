//! Telling the tools that watch memory about our stacks (feature `sanitizer`).
//!
//! - AddressSanitizer keeps the bounds of the current stack, and sometimes a fake
//!   one beside it: it must hear of a switch before and after.
//! - ThreadSanitizer keeps a history for each fiber.
//! - Valgrind takes a large change of the stack pointer for an allocation, unless
//!   it knows both stacks.
//!
//! The sanitizers' functions are looked up as weak symbols, so that a program
//! with this feature also links and runs without any of them.
//!
//! What always holds: while a context is suspended, the spare word of its frame
//! says what it needs to be resumed: the address of its `Departure`, which lies on
//! its own stack; or, if it is fresh, the lowest address of its stack plus one.
//!
//! How a switch works, around that of the architecture:
//! 1. Tell the tools where we are going; keep what they give us.
//! 2. On arrival, in front of the real action: tell them that we are there. What
//!    they say of the stack that was left is kept for its return: for the stacks
//!    of threads nobody else knows the bounds.

use super::{Action, Context, arch};
use std::ffi::c_void;
use std::ptr;

/// What a suspended context needs to be resumed.
struct Departure {
    fake_stack: *mut c_void,
    bottom: *const c_void,
    size: usize,
    fiber: *mut c_void,
}

/// A switch under way; lies on the stack that was left.
#[derive(Clone, Copy)]
struct Flight {
    action: Action,
    data: *mut (),
    to: *mut u8,
    /// Null if nobody comes back.
    departure: *mut Departure,
    /// The fiber to be destroyed, if nobody comes back.
    dead: *mut c_void,
}

macro_rules! weak {
    ($($name:ident: fn($($arg:ty),*) $(-> $result:ty)?;)*) => { $(
        /// The function of a sanitizer's runtime, if there is one.
        #[inline(never)]
        fn $name() -> Option<unsafe extern "C" fn($($arg),*) $(-> $result)?> {
            let address: *const ();
            // SAFETY: loads a word of the global offset table, which is zero for
            // a weak symbol that nobody defines.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                std::arch::asm!(
                    concat!(".weak ", stringify!($name)),
                    concat!("mov {0}, qword ptr [rip + ", stringify!($name), "@GOTPCREL]"),
                    out(reg) address,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                std::arch::asm!(
                    concat!(".weak ", stringify!($name)),
                    concat!("adrp {0}, :got:", stringify!($name)),
                    concat!("ldr {0}, [{0}, :got_lo12:", stringify!($name), "]"),
                    out(reg) address,
                    options(pure, readonly, nostack, preserves_flags),
                );
            }
            // SAFETY: null or a function of that signature; `Option` has the
            // same layout.
            unsafe { std::mem::transmute(address) }
        }
    )* };
}

weak! {
    __sanitizer_start_switch_fiber: fn(*mut *mut c_void, *const c_void, usize);
    __sanitizer_finish_switch_fiber: fn(*mut c_void, *mut *const c_void, *mut usize);
    __asan_unpoison_memory_region: fn(*const c_void, usize);
    __tsan_get_current_fiber: fn() -> *mut c_void;
    __tsan_create_fiber: fn(u32) -> *mut c_void;
    __tsan_destroy_fiber: fn(*mut c_void);
    __tsan_switch_to_fiber: fn(*mut c_void, u32);
}

/// Whether ThreadSanitizer watches this process.
pub fn is_thread_sanitized() -> bool {
    __tsan_create_fiber().is_some()
}

/// The spare word of a suspended context.
///
/// # Safety
/// The context is suspended and nobody resumes it.
unsafe fn spare(context: *mut u8) -> *mut usize {
    // SAFETY: a frame has that word.
    unsafe { context.cast::<usize>().add(arch::SPARE) }
}

/// Makes the memory good for use, where frames may have died without a word, and
/// lays out a fresh context in it.
///
/// # Safety
/// As [`super::prepare`].
pub(super) unsafe fn prepare(
    top: *mut u8,
    limit: *mut u8,
    entry: super::Entry,
    arg: *mut (),
) -> *mut u8 {
    // SAFETY: a stack that nobody uses, says the caller; the frame is in it. A
    // limit is a multiple of the page size, so its lowest bit is free.
    unsafe {
        if let Some(unpoison) = __asan_unpoison_memory_region() {
            unpoison(limit.cast(), top.addr() - limit.addr());
        }
        let context = arch::prepare(top, limit, entry, arg);
        spare(context).write(limit.expose_provenance() | 1);
        context
    }
}

/// # Safety
/// As [`super::switch`].
#[inline(never)]
pub(super) unsafe fn switch(to: *mut u8, action: Action, data: *mut ()) {
    let mut departure = Departure {
        fake_stack: ptr::null_mut(),
        bottom: ptr::null(),
        size: 0,
        fiber: current(),
    };
    let departure = &raw mut departure;
    let mut flight = Flight {
        action,
        data,
        to,
        departure,
        dead: ptr::null_mut(),
    };
    // SAFETY: the caller's promises; both records stay on this stack until we
    // are resumed.
    unsafe {
        depart(to, &raw mut (*departure).fake_stack);
        arch::switch(to, arrive, (&raw mut flight).cast());
    }
}

/// # Safety
/// As [`super::switch_plain`].
pub(super) unsafe fn switch_plain(to: *mut u8, left: *mut *mut u8) {
    /// Stores the context left.
    unsafe extern "C" fn store(left: Context, place: *mut ()) {
        // SAFETY: `place` is valid for a write, says the caller.
        unsafe { super::publish(place.cast(), left) };
    }
    // SAFETY: the caller's promises.
    unsafe { switch(to, store, left.cast()) }
}

/// # Safety
/// As [`super::switch_final`].
pub(super) unsafe fn switch_final(to: *mut u8, action: Action, data: *mut ()) -> ! {
    let mut flight = Flight {
        action,
        data,
        to,
        departure: ptr::null_mut(),
        dead: current(),
    };
    // SAFETY: as in `switch`. No place for a fake stack: ours is to be freed.
    unsafe {
        depart(to, ptr::null_mut());
        arch::switch_final(to, arrive, (&raw mut flight).cast())
    }
}

fn current() -> *mut c_void {
    // SAFETY: asks for the fiber of this thread.
    __tsan_get_current_fiber().map_or(ptr::null_mut(), |f| unsafe { f() })
}

/// Tells the tools where we are going.
///
/// # Safety
/// As [`super::switch`]; called right before the switch.
unsafe fn depart(to: *mut u8, fake_stack: *mut *mut c_void) {
    // SAFETY: `to` is suspended and ours to resume, so its word is valid, and
    // what it points to is on its stack.
    let (bottom, size, fiber) = unsafe {
        let word = spare(to).read();
        if word & 1 == 1 {
            let fiber = __tsan_create_fiber().map_or(ptr::null_mut(), |f| f(0));
            let limit = word - 1;
            let size = to.addr() + arch::FRAME - limit;
            (ptr::with_exposed_provenance(limit), size, fiber)
        } else {
            let there = &*ptr::with_exposed_provenance::<Departure>(word);
            (there.bottom, there.size, there.fiber)
        }
    };
    // SAFETY: the bounds are those of the destination.
    unsafe {
        if let Some(start) = __sanitizer_start_switch_fiber() {
            start(fake_stack, bottom, size);
        }
        if let Some(switch) = __tsan_switch_to_fiber() {
            switch(fiber, 0);
        }
    }
}

/// The action of every switch: tells the tools that we are there, then does the
/// real one.
///
/// # Safety
/// Called by the architecture's switch, with a `Flight`.
unsafe extern "C" fn arrive(left: Context, flight: *mut ()) {
    // SAFETY: what was left is complete and not published, so its records are
    // alive; the destination's are on this stack.
    unsafe {
        let flight = flight.cast::<Flight>().read();
        let word = spare(flight.to).read();
        let fake_stack = if word & 1 == 1 {
            ptr::null_mut()
        } else {
            (*ptr::with_exposed_provenance::<Departure>(word)).fake_stack
        };
        let (mut bottom, mut size) = (ptr::null(), 0);
        if let Some(finish) = __sanitizer_finish_switch_fiber() {
            finish(fake_stack, &mut bottom, &mut size);
        }
        if flight.departure.is_null() {
            if let Some(destroy) = __tsan_destroy_fiber() {
                destroy(flight.dead);
            }
        } else {
            (*flight.departure).bottom = bottom;
            (*flight.departure).size = size;
            spare(left.0).write(flight.departure.expose_provenance());
        }
        (flight.action)(left, flight.data);
    }
}

/// Tells Valgrind that the range is a stack, for good.
pub(crate) fn register_stack(low: usize, high: usize) {
    // Its client request "stack register": number, lowest and highest address.
    let request: [usize; 6] = [0x1501, low, high, 0, 0, 0];
    // SAFETY: the instructions change nothing; Valgrind knows them by their
    // sequence and reads the request.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51",
            "xchg rbx, rbx",
            inlateout("rdx") 0usize => _,
            in("rax") request.as_ptr(),
            options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
            "orr x10, x10, x10",
            inlateout("x3") 0usize => _,
            in("x4") request.as_ptr(),
            options(nostack),
        );
    }
}
