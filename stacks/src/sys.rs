//! Every system call of the stack memory. What differs by kernel is decided
//! here, once, by trying.

use std::io;
use std::sync::OnceLock;

/// Address space with nothing behind it yet.
///
/// `open` maps it readable and writable without reserving swap; otherwise it is
/// inaccessible and not charged (strict overcommit ignores `MAP_NORESERVE`).
pub(crate) fn map(len: usize, open: bool) -> io::Result<*mut u8> {
    let prot = if open {
        libc::PROT_READ | libc::PROT_WRITE
    } else {
        libc::PROT_NONE
    };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    // SAFETY: a new private mapping at an address the kernel chooses.
    let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
    if p == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(p.cast())
    }
}

/// Undoes [`map`].
///
/// # Safety
/// The range came from `map` and nothing refers to it.
pub(crate) unsafe fn unmap(p: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(p.cast(), len) };
}

fn check(r: libc::c_int) -> io::Result<()> {
    if r == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Huge pages would make every stack cost 2 MiB. Kernels without them say
/// EINVAL, which is as good.
///
/// # Safety
/// The range is a mapping of ours.
pub(crate) unsafe fn no_huge_pages(p: *mut u8, len: usize) {
    // SAFETY: advice on our own mapping changes no contents.
    unsafe { libc::madvise(p.cast(), len, libc::MADV_NOHUGEPAGE) };
}

/// Gives the pages back; they read as zero afterwards. Markers stay.
///
/// # Safety
/// The range is within a mapping of ours and holds nothing anybody needs.
pub(crate) unsafe fn discard(p: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { libc::madvise(p.cast(), len, libc::MADV_DONTNEED) })
}

/// Linux 6.13: page table entries that fault, without splitting the mapping.
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// Makes the range fault by markers.
///
/// # Safety
/// The range is within a mapping of ours and holds nothing anybody needs.
pub(crate) unsafe fn install_markers(p: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { libc::madvise(p.cast(), len, MADV_GUARD_INSTALL) })
}

/// Makes the range inaccessible.
///
/// # Safety
/// As [`install_markers`].
pub(crate) unsafe fn close(p: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { libc::mprotect(p.cast(), len, libc::PROT_NONE) })
}

/// Makes the range readable and writable.
///
/// # Safety
/// The range is within a mapping of ours that is not in use.
pub(crate) unsafe fn open(p: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the caller's promise.
    check(unsafe { libc::mprotect(p.cast(), len, libc::PROT_READ | libc::PROT_WRITE) })
}

/// Lets another thread run: the holder of a spin lock was descheduled.
pub(crate) fn yield_thread() {
    // SAFETY: no arguments, no memory.
    unsafe { libc::sched_yield() };
}

/// The page size in bytes.
pub(crate) fn page_size() -> usize {
    static PAGE: OnceLock<usize> = OnceLock::new();
    // SAFETY: reads a constant of the system.
    *PAGE.get_or_init(|| unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(4096) as usize)
}

/// Whether markers work here, found out by their effect: a kernel before 6.13
/// says EINVAL, but qemu-user says 0 to any advice and does nothing.
pub(crate) fn markers_work() -> bool {
    let page = page_size();
    let Ok(p) = map(page, true) else { return false };
    // SAFETY: `p` is one fresh page of ours.
    let works = unsafe { install_markers(p, page) }.is_ok() && !readable(p);
    // SAFETY: nothing refers to the page.
    unsafe { unmap(p, page) };
    works
}

/// Whether the kernel can read a byte at `p`; asks by writing it to a pipe,
/// which answers EFAULT instead of raising a signal.
pub(crate) fn readable(p: *const u8) -> bool {
    let mut ends = [-1; 2];
    // SAFETY: `ends` has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
        // No descriptors left. Say yes: the caller then takes the guard that
        // needs no probe.
        return true;
    }
    // SAFETY: the kernel checks the address; both descriptors are ours.
    unsafe {
        let n = libc::write(ends[1], p.cast(), 1);
        libc::close(ends[0]);
        libc::close(ends[1]);
        n == 1
    }
}

/// A decimal number that the kernel shows in a file of one line.
pub(crate) fn number_in(path: &str) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// How many bytes of the range are resident, by `mincore`.
pub(crate) fn resident(start: *mut u8, len: usize) -> usize {
    const PAGES: usize = 1024;
    let page = page_size();
    let mut seen = [0u8; PAGES];
    let mut resident = 0;
    let mut at = 0;
    while at < len {
        let part = (len - at).min(PAGES * page);
        let pages = part.div_ceil(page);
        // SAFETY: the vector has a byte for each page; the kernel checks the
        // range.
        let r = unsafe { libc::mincore(start.wrapping_add(at).cast(), part, seen.as_mut_ptr()) };
        if r == 0 {
            resident += seen[..pages].iter().filter(|&&p| p & 1 != 0).count() * page;
        }
        at += part;
    }
    resident
}
