//! The system calls about CPUs: which a thread may run on, how many there are.

use std::io;

/// Fills `words` with the CPUs that a thread may run on, one bit each; 0 is the
/// calling thread.
///
/// # Errors
/// EINVAL when the kernel has more CPUs than there are bits, ESRCH when the thread
/// is gone.
pub(super) fn get_affinity(tid: i32, words: &mut [u64]) -> io::Result<()> {
    // SAFETY: the kernel and libc write as many bytes as we say there are; a
    // cpu_set_t is such words, of any number.
    let rc = unsafe { libc::sched_getaffinity(tid, size_of_val(words), words.as_mut_ptr().cast()) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The reverse of [`get_affinity`]. CPUs that the process may not use are left out.
///
/// # Errors
/// EINVAL when none is left, ESRCH when the thread is gone.
pub(super) fn set_affinity(tid: i32, words: &[u64]) -> io::Result<()> {
    // SAFETY: as many bytes are read as we say there are.
    let rc = unsafe { libc::sched_setaffinity(tid, size_of_val(words), words.as_ptr().cast()) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The CPUs that this machine has, those included that are switched off.
pub(super) fn configured_cpus() -> usize {
    // SAFETY: it only looks.
    let n = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    usize::try_from(n).unwrap_or(1).max(1)
}
