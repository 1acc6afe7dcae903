//! Tests that kill the process or change it for good run themselves as a child.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::process::{Command, Output};

const ROLE: &str = "GOWEFT_STACKS_TEST_CHILD";

/// Whether this process is the child of test `name`.
pub(crate) fn is_child(name: &str) -> bool {
    std::env::var_os(ROLE).is_some_and(|role| role == name)
}

/// Whether this runs under an emulator of user programs. qemu's takes advice on
/// memory for a hint that it may ignore, so pages do not come back there.
pub(crate) fn emulated() -> bool {
    std::env::var_os("GOWEFT_STACKS_TEST_RUNNER").is_some()
}

/// Runs test `name` of this binary as a child, with additional environment.
pub(crate) fn run(name: &str, env: &[(&str, &str)]) -> Output {
    // A child that came this far did not die as it should. It must not start
    // another.
    assert!(
        std::env::var_os(ROLE).is_none(),
        "a child outlived its purpose: {name}"
    );
    let exe = std::env::current_exe().expect("the test binary has a path");
    let mut command = match std::env::var("GOWEFT_STACKS_TEST_RUNNER") {
        // Without binfmt, an emulated binary cannot start itself.
        Ok(runner) => {
            let mut command = Command::new(runner);
            command.arg(exe);
            command
        }
        Err(_) => Command::new(exe),
    };
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(ROLE, name)
        .envs(env.iter().copied())
        .output()
        .expect("the test binary starts")
}

/// Runs test `name` as a child that must succeed. In the child: returns false,
/// and the test goes on.
pub(crate) fn in_child(name: &str, env: &[(&str, &str)]) -> bool {
    if is_child(name) {
        return false;
    }
    let output = run(name, env);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("1 passed"), "no such test: {name}\n{out}");
    true
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A figure of `/proc/self/status`, in bytes.
pub(crate) fn status_bytes(key: &str) -> usize {
    proc_bytes("/proc/self/status", key)
}

/// A figure in KiB of a file of `/proc`, in bytes.
pub(crate) fn proc_bytes(path: &str, key: &str) -> usize {
    let file = std::fs::read_to_string(path).expect("/proc is there");
    let line = file
        .lines()
        .find(|l| l.starts_with(key))
        .unwrap_or_else(|| panic!("no {key}"));
    let number = line.split_whitespace().nth(1).expect("a figure");
    number.parse::<usize>().expect("a number") << 10
}
