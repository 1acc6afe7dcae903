//! A test program run again where something is missing that the system usually has.

use crate::scenario;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fmt, io, ptr};

/// Set in the program that was run again.
const AGAIN: &str = "GOWEFT_TESTS_CONFINED";
/// After which it hangs.
const WATCHDOG: Duration = Duration::from_secs(400);

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// The system call `membarrier` is refused.
    Membarrier,
    /// `/proc` is empty.
    Proc,
    /// The signals of preemption (`GOWEFT_PREEMPT=off`).
    Signals,
}

/// Runs this test program again, `without` something, but for the tests with one of `skip` in
/// their names. Says so and returns where that cannot be arranged, and does nothing in the
/// program that it runs.
///
/// # Panics
/// When a test fails there.
pub fn run_again(without: Without, skip: &[&str]) {
    // First of all: a child never starts children.
    if std::env::var_os(AGAIN).is_some() {
        return;
    }
    if without == Without::Proc && cfg!(sanitize_address) {
        println!("left out: AddressSanitizer reads its options in /proc");
        return;
    }
    let program = std::env::current_exe().expect("the program knows where it is");
    let mut command = Command::new(program);
    command.env(AGAIN, "1").stdin(Stdio::null());
    // Not among the results of the tests here.
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    for name in skip {
        command.args(["--skip", name]);
    }
    match without {
        Without::Signals => _ = command.env("GOWEFT_PREEMPT", "off"),
        // SAFETY: both make system calls with memory of their own, and nothing else.
        Without::Membarrier => unsafe { _ = command.pre_exec(refuse_membarrier) },
        // SAFETY: as above.
        Without::Proc => unsafe { _ = command.pre_exec(hide_proc) },
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) if without != Without::Signals => {
            println!("left out: {without} cannot be arranged here: {e}");
            return;
        }
        Err(e) => panic!("the program does not start: {e}"),
    };
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (status, text) = std::thread::scope(|s| {
        let out = s.spawn(move || scenario::read(out.as_mut().expect("it is a pipe")));
        let err = s.spawn(move || scenario::read(err.as_mut().expect("it is a pipe")));
        let status = scenario::ended_within(&mut child, WATCHDOG);
        let text = out.join().expect("it reads") + &err.join().expect("it reads");
        (status, text)
    });
    let Some(status) = status else {
        panic!("{without} it hangs:\n{text}");
    };
    assert!(status.success(), "{without}: {status}\n{text}");
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Without::Membarrier => "without membarrier",
            Without::Proc => "without /proc",
            Without::Signals => "without signals",
        })
    }
}

fn check(rc: impl Into<i64>) -> io::Result<()> {
    match rc.into() {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// From here on, for all threads, and after an exec, `membarrier` is EPERM.
///
/// # Errors
/// When that cannot be arranged here.
pub fn refuse_membarrier() -> io::Result<()> {
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        // Load the number of the call; is it that one?
        step(0x20, 0, 0, 0),
        step(0x15, 0, 1, libc::SYS_membarrier as u32),
        step(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a program of as many steps as it says.
    unsafe {
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        let (mode, all) = (
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
        );
        let program = &raw const program;
        // A thread's number: that one has a filter of its own.
        match libc::syscall(libc::SYS_seccomp, mode, all, program) {
            0 => {}
            -1 => return Err(io::Error::last_os_error()),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        // By effect: an emulator may say yes and do nothing.
        if libc::syscall(libc::SYS_membarrier, 0, 0, 0) != -1 {
            return Err(io::ErrorKind::Unsupported.into());
        }
    }
    Ok(())
}

/// From here on, and after an exec, there is nothing in `/proc`.
fn hide_proc() -> io::Result<()> {
    // SAFETY: strings that end, and no other memory.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0 {
            check(libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))?;
        }
        // First of all: what is done below stays in this process.
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(
            ptr::null(),
            c"/".as_ptr(),
            ptr::null(),
            private,
            ptr::null(),
        ))?;
        let (kind, to) = (c"tmpfs".as_ptr(), c"/proc".as_ptr());
        check(libc::mount(kind, to, kind, 0, ptr::null()))?;
        if libc::access(c"/proc/self/task".as_ptr(), libc::F_OK) == 0 {
            return Err(io::ErrorKind::Unsupported.into());
        }
    }
    Ok(())
}
