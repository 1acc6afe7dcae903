//! Alternate signal stacks: where handlers run, because the stack in use may be
//! the one that overflowed.

use super::sys;
use std::fmt;
use std::io;
use std::marker::PhantomData;

/// Usable bytes: enough to write a backtrace with symbols.
const SIZE: usize = 64 << 10;
const GUARD: usize = 64 << 10;

/// The calling thread's alternate signal stack, 64 KiB with a guard below.
///
/// Every thread that runs on stacks of this crate needs one, or an overflow on it
/// kills the process without a word. It replaces the one there was (std gives
/// each of its threads one of 8 KiB or so); dropping it puts that back.
pub struct AltStack {
    low: *mut u8,
    size: usize,
    before: libc::stack_t,
    /// Alternate stacks belong to a thread.
    _thread: PhantomData<*mut ()>,
}

impl AltStack {
    /// Installs one for the calling thread.
    ///
    /// # Errors
    /// No memory, or the thread is running on its alternate stack right now.
    pub fn install() -> io::Result<AltStack> {
        // The kernel's frame does not count: it may be 10 KiB and more.
        let size = (SIZE + sys::least_alt_stack()).next_multiple_of(GUARD);
        let low = sys::map_alt_stack(size, GUARD)?;
        match sys::swap_alt_stack(&sys::enabled(low, size)) {
            Ok(before) => Ok(AltStack {
                low,
                size,
                before,
                _thread: PhantomData,
            }),
            Err(e) => {
                // SAFETY: just mapped, and not in use.
                unsafe { sys::unmap_alt_stack(low, size, GUARD) };
                Err(e)
            }
        }
    }

    /// The range of its usable memory, as addresses: for handlers that find their
    /// thread by their stack pointer.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.low.addr()..self.low.addr() + self.size
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let ours = sys::alt_stack().is_ok_and(|now| now.ss_sp.addr() == self.low.addr());
        // Somebody may have installed another since; that one stays.
        if ours && sys::swap_alt_stack(&sys::restored(&self.before)).is_err() {
            // We run on it. Leaking it is the lesser evil.
            return;
        }
        // SAFETY: the kernel does not use it any more.
        unsafe { sys::unmap_alt_stack(self.low, self.size, GUARD) };
    }
}

impl fmt::Debug for AltStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AltStack")
            .field("range", &self.range())
            .finish()
    }
}
