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

/// The CPU time of all threads of the process so far.
pub fn cpu_time() -> std::time::Duration {
    // SAFETY: for `timespec` all zeroes is a value, and the call gets a pointer to one.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        let rc = libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time);
        assert_eq!(rc, 0, "clock_gettime: {}", std::io::Error::last_os_error());
        time
    };
    std::time::Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
