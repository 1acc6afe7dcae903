//! `blocking`: a processor is not kept waiting by a call that blocks.

use crate::sched::Inside;

/// Calls `f`, which may block in the kernel, and lets other goroutines have this
/// one's processor meanwhile.
///
/// `f` runs on the same OS thread; what it captures need not be `Send`. When it
/// returns, the goroutine waits for a processor to be free, and goes on. On a
/// plain thread this only calls `f`.
///
/// A call into goweft in `f` gets a processor first, and keeps it: do what blocks in
/// `f`, and send, lock and sleep outside it.
///
/// Without it, a call that blocks costs the others a millisecond: then the processor is
/// taken. So this is worth it for what blocks often, for more than a few microseconds: the
/// hand-over takes about as long. For what computes it is of no use, and makes more
/// threads compete for the CPUs than there are processors, until they are parked.
///
/// ```
/// let text = goweft::blocking(|| std::fs::read_to_string("/proc/self/comm"))?;
/// assert!(!text.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// When `f` does.
pub fn blocking<F: FnOnce() -> T, T>(f: F) -> T {
    Inside::enter().lend();
    let _back = Back;
    f()
}

/// Gets a processor again, also when `f` unwinds.
struct Back;

impl Drop for Back {
    fn drop(&mut self) {
        drop(Inside::enter());
    }
}
