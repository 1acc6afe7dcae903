//! Signals at the worst moment: everything that the system, a debugger or the program itself
//! can do to a thread while goweft stops it (`src/bin/signals` does it).

use goweft_tests::pressure::{WATCHDOG, wait_until};
use goweft_tests::scenario::{self, Ran};
use goweft_tests::sys::is_emulated;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_signals");

/// What the program said in `role`, from which it came back.
fn said(role: &str) -> String {
    let r = scenario::run(PROGRAM, role, &[]);
    assert!(r.status.success(), "{r:?}");
    print!("{}", r.err);
    r.out
}

fn overflow_report(role: &str) -> Ran {
    let r = scenario::run(PROGRAM, role, &[]);
    assert_eq!(r.status.signal(), Some(libc::SIGABRT), "{r:?}");
    assert!(r.err.contains("goroutine 'diver' ("), "{r:?}");
    assert!(
        r.err.contains("has overflowed its stack of 64 KiB"),
        "{r:?}"
    );
    // Without the module where optimised code has only tables of lines. There are three seconds for
    // the symbols, which may be too few on a busy machine.
    let told = [
        ": descend",
        "overflow::descend",
        ": dive",
        "overflow::dive",
        "(gave up)",
    ];
    let symbols = told.iter().any(|part| r.err.contains(part));
    assert!(symbols, "it has a backtrace: {r:?}");
    r
}

#[test]
fn an_overflow_beside_preemption_is_reported() {
    overflow_report("overflow");
}

#[test]
fn the_first_of_several_overflows_is_reported() {
    let r = overflow_report("overflows");
    assert_eq!(r.err.matches("has overflowed").count(), 1, "{r:?}");
}

#[test]
fn faults_that_the_program_mends_are_mended() {
    assert_eq!(said("faults"), "all were mended\n");
}

#[test]
fn a_profiler_gets_its_signals() {
    assert_eq!(said("profiler"), "profiled\n");
}

#[test]
fn a_handler_of_sigurg_that_was_there_before_gets_what_is_not_goweft_s() {
    assert_eq!(said("out_of_band"), "called 100 times\n");
}

#[test]
fn sigurg_is_relayed_and_those_that_are_goweft_s_own_are_not() {
    assert_eq!(said("relayed"), "relayed\n");
}

#[test]
fn a_relayed_signal_comes_to_a_goroutine_that_has_no_stack_left() {
    assert_eq!(said("raised"), "raised\n");
}

#[test]
fn out_of_band_data_that_nobody_handles_is_ignored() {
    assert_eq!(said("out_of_band_unhandled"), "ignored\n");
}

#[test]
fn threads_that_are_stopped_run_other_handlers() {
    assert_eq!(said("other_signals"), "handled\n");
}

#[test]
fn threads_that_are_stopped_fork_in_a_handler() {
    assert_eq!(said("forking"), "all have forked\n");
}

#[test]
fn a_program_that_takes_sigurg_away_goes_on() {
    assert_eq!(said("taken_over"), "all go on\n");
}

#[test]
fn a_goroutine_that_blocks_all_signals_delays_nobody() {
    assert_eq!(said("blocked_signals"), "all go on\n");
}

#[test]
fn threads_that_are_stopped_change_their_ids_with_the_others() {
    assert_eq!(said("set_ids"), "all have changed\n");
}

#[test]
fn without_signals_processors_are_taken_and_nobody_is_stopped() {
    let r = scenario::run(PROGRAM, "without_signals", &[("GOWEFT_PREEMPT", "off")]);
    assert!(r.status.success(), "{r:?}");
    assert_eq!(r.out, "all go on\n");
}

/// A child that is killed when it is not needed any more.
struct Running(Child);

impl Running {
    fn start(role: &str) -> Running {
        let child = Command::new(PROGRAM)
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Running(child.expect("the program starts"))
    }

    /// The rest of what it says, and that it ended well.
    fn end(mut self) -> String {
        wait_until("the program ends", || self.0.try_wait().unwrap().is_some());
        let status = self.0.wait().unwrap();
        let out = std::io::read_to_string(self.0.stdout.take().unwrap()).unwrap();
        assert!(status.success(), "{status:?}: {out}");
        out
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_is_stopped_and_continued_all_the_time_goes_on() {
    let mut child = Running::start("work");
    let pid = child.0.id() as i32;
    let begin = Instant::now();
    let mut stopped = 0;
    while child.0.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < WATCHDOG, "it does not end");
        // SAFETY: our child, which is not waited for to the end here: WNOWAIT leaves it as it is.
        unsafe {
            libc::kill(pid, libc::SIGSTOP);
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let what = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT;
            libc::waitid(libc::P_PID, pid as u32, &mut info, what);
            stopped += u32::from(info.si_code == libc::CLD_STOPPED);
            libc::kill(pid, libc::SIGCONT);
        }
        // It runs for a while between two stops.
        std::thread::sleep(Duration::from_millis(3));
    }
    assert!(stopped > 10, "stopped {stopped} times only");
    assert_eq!(child.end(), "all is done\n");
}

fn gdb(args: &[&str]) -> Option<String> {
    if is_emulated() {
        println!("left out: gdb would debug the emulator");
        return None;
    }
    let mut command = Command::new("gdb");
    command.args(["-nx", "-batch", "-ex", "set confirm off"]);
    command.args(["-ex", "handle SIGURG nostop noprint pass"]);
    command.args(args).stdin(Stdio::null());
    let out = match command.output() {
        Ok(out) => out,
        Err(e) => {
            println!("left out: there is no gdb here ({e})");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let errors = String::from_utf8_lossy(&out.stderr);
    if errors.contains("ptrace: Operation not permitted") || errors.contains("Could not trace") {
        println!("left out: gdb may not trace here: {errors}");
        return None;
    }
    Some(format!("{text}\n{errors}"))
}

#[test]
fn a_program_runs_to_its_end_under_gdb() {
    let Some(text) = gdb(&["-ex", "run", "--args", PROGRAM, "work"]) else {
        return;
    };
    assert!(text.contains("all is done"), "{text}");
    assert!(text.contains("exited normally"), "{text}");
}

#[test]
fn gdb_comes_looks_at_all_threads_and_goes() {
    let mut child = Running::start("work_until_told");
    let mut out = BufReader::new(child.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = child.0.id().to_string();
    for _ in 0..3 {
        let look = ["-p", &pid, "-ex", "thread apply all bt 3", "-ex", "detach"];
        let Some(text) = gdb(&look) else { return };
        assert!(text.contains("goweft-0"), "{text}");
    }
    writeln!(child.0.stdin.take().unwrap()).unwrap();
    line.clear();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "all is done\n");
    child.0.stdout = Some(out.into_inner());
    assert_eq!(child.end(), "");
}
