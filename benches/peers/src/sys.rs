//! The one place that calls libc: which CPUs this process may run on.

use std::mem::{size_of_val, zeroed};

/// Keeps the calling thread, and the threads it starts later, on the first
/// `count` of the CPUs it is allowed on.
///
/// # Panics
///
/// If the kernel refuses; a figure taken on the wrong CPUs would mislead.
pub fn bind_to_cpus(count: usize) {
    // SAFETY: `cpu_set_t` is a plain bit array, for which all zeroes is a value; the calls get
    // pointers to locals of exactly the size they are told.
    let rc = unsafe {
        let mut allowed: libc::cpu_set_t = zeroed();
        let rc = libc::sched_getaffinity(0, size_of_val(&allowed), &mut allowed);
        assert_eq!(
            rc,
            0,
            "sched_getaffinity: {}",
            std::io::Error::last_os_error()
        );
        let mut chosen: libc::cpu_set_t = zeroed();
        let mut left = count;
        for cpu in 0..libc::CPU_SETSIZE as usize {
            if left > 0 && libc::CPU_ISSET(cpu, &allowed) {
                libc::CPU_SET(cpu, &mut chosen);
                left -= 1;
            }
        }
        libc::sched_setaffinity(0, size_of_val(&chosen), &chosen)
    };
    assert_eq!(
        rc,
        0,
        "sched_setaffinity: {}",
        std::io::Error::last_os_error()
    );
}
