//! The last resort (rescue, PROTOCOL 13) is for what nobody foresaw: no test may need it. So every
//! program with this crate in it says at its end whether it was used, and fails.

/// Called by the loader before `main`.
#[used]
// SAFETY: the section holds pointers to functions like this one.
#[unsafe(link_section = ".init_array")]
static AT_START: extern "C" fn() = at_start;

extern "C" fn at_start() {
    // SAFETY: the function is there until the end.
    let refused = unsafe { libc::atexit(at_end) };
    assert_eq!(refused, 0, "atexit");
}

extern "C" fn at_end() {
    let rescues = goweft::runtime::metrics().rescues;
    if rescues != 0 {
        eprintln!(
            "the last resort was used {rescues} times: some thread waited inside for one that was stopped"
        );
        // SAFETY: ends the process.
        unsafe { libc::_exit(101) }
    }
}
