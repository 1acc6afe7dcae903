//! The heavy barrier of the locks: `membarrier(2)`.

use std::sync::atomic::{AtomicBool, Ordering};

/// The process is registered, and the kernel has done it once. Never false again.
static WORKS: AtomicBool = AtomicBool::new(false);

/// Asks for the barrier, at the start of the runtime: while many threads run it takes
/// milliseconds. Without it nothing is lost but speed.
pub(crate) fn prepare() {
    // By effect: an emulator may know the one and not the other.
    let works = call(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
        && call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    WORKS.store(works, Ordering::Release);
}

/// Whether [`fence_everywhere`] can be called.
pub(in crate::sync) fn has_barrier() -> bool {
    WORKS.load(Ordering::Acquire)
}

/// Makes every thread of this process that runs now execute a full fence, and the caller. One
/// that does not run passes one when the kernel switches to it.
pub(in crate::sync) fn fence_everywhere() {
    if !call(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
        crate::abort::fatal("membarrier, which worked at the start, is refused now");
    }
}

fn call(command: libc::c_int) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}
