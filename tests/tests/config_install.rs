//! Settings, from code and from the environment: what is refused and how it is
//! told, and what has precedence.

use goweft_tests::scenario::{self, Ran};

fn ran(role: &str, env: &[(&str, &str)]) -> Ran {
    let r = scenario::run(env!("CARGO_BIN_EXE_scenario"), role, env);
    assert!(r.status.success(), "{r:?}");
    r
}

#[test]
fn values_that_are_not_allowed_are_named_with_what_is() {
    let r = ran("config_errors", &[]);
    let lines: Vec<&str> = r.out.lines().collect();
    let want = [
        "maxprocs can't be 0: allowed is 1 to 1024",
        "maxprocs can't be 1025: allowed is 1 to 1024",
        "stack_size can't be 0: allowed is 16 KiB to 1 GiB (16384 to 1073741824 bytes)",
        "stack_size can't be 18446744073709551615: allowed is 16 KiB to 1 GiB (16384 to 1073741824 bytes)",
        "time_slice can't be 99µs: allowed is 100 us or more",
        "max_threads can't be 0: allowed is 1 to 16384",
        "affinity can't be []: allowed is at least one CPU",
    ];
    assert_eq!(lines[..7], want);
    // Which CPUs depends on the machine: `config_limits.rs`.
    assert!(
        lines[7].starts_with("affinity can't be 1099511627776: allowed is a CPU of "),
        "{r:?}"
    );
    assert!(
        lines[8].starts_with("again: the runtime has started, or a Config was installed"),
        "{r:?}"
    );
    assert_eq!(lines[9], "maxprocs 3");
}

#[test]
fn a_config_after_the_first_use_is_refused() {
    let r = ran("config_too_late", &[]);
    assert!(
        r.out.contains("settings must come before its first use"),
        "{r:?}"
    );
}

#[test]
fn the_longest_slice_does_not_keep_one_that_sleeps_from_its_turns() {
    assert_eq!(ran("endless_slice", &[]).out, "it slept\n");
}

#[test]
fn options_of_main_hold() {
    let r = ran("config_main", &[("GOWEFT_MAXPROCS", "7")]);
    assert_eq!(r.out, "maxprocs 3\nname Some(\"main\")\n");
}

#[test]
fn a_bad_option_of_main_ends_the_program_with_the_reason() {
    let r = scenario::run(env!("CARGO_BIN_EXE_scenario"), "config_main_bad", &[]);
    assert_eq!(r.status.code(), Some(1), "{r:?}");
    assert_eq!(r.out, "");
    assert_eq!(
        r.err,
        "goweft: #[goweft::main]: maxprocs can't be 0: allowed is 1 to 1024\n"
    );
}

fn maxprocs(r: &Ran) -> &str {
    r.out
        .lines()
        .next()
        .unwrap()
        .strip_prefix("maxprocs ")
        .unwrap()
}

#[test]
fn the_environment_sets_maxprocs_and_ours_has_precedence() {
    assert_eq!(maxprocs(&ran("settings", &[("GOMAXPROCS", "3")])), "3");
    assert_eq!(
        maxprocs(&ran(
            "settings",
            &[("GOMAXPROCS", "3"), ("GOWEFT_MAXPROCS", "5")]
        )),
        "5"
    );
    assert_eq!(
        maxprocs(&ran(
            "settings",
            &[("GOMAXPROCS", "3"), ("GOWEFT_MAXPROCS", "")]
        )),
        "3"
    );
    assert_eq!(
        maxprocs(&ran("settings_by_code", &[("GOWEFT_MAXPROCS", "5")])),
        "2"
    );
}

#[test]
fn garbage_in_the_environment_is_told_in_one_line_and_the_default_holds() {
    for value in ["0", "-1", "many", "1025", "99999999999999999999"] {
        let env = [("GOWEFT_MAXPROCS", value), ("GOWEFT_CONTAINER", "off")];
        let r = ran("settings", &env);
        let cpus = r.out.lines().nth(1).unwrap().strip_prefix("cpus ").unwrap();
        assert_eq!(maxprocs(&r), cpus);
        assert_eq!(
            r.err,
            format!(
                "goweft: GOWEFT_MAXPROCS can't be {value:?}: allowed is a number from 1 to 1024; using the default\n"
            )
        );
    }
    for value in ["1K", "2G", "lots", "0", "-4K"] {
        let r = ran("settings", &[("GOWEFT_STACK", value)]);
        assert!(r.out.contains("used true"), "{r:?}");
        assert_eq!(r.err.lines().count(), 1, "{r:?}");
        assert!(
            r.err.starts_with(&format!(
                "goweft: GOWEFT_STACK can't be {value:?}: allowed is 16K to 1G"
            )),
            "{r:?}"
        );
    }
}

/// What is told of a variable that has a value of two, and had none of them.
fn garbage(name: &str, value: &str, allowed: &str) -> String {
    format!("goweft: {name} can't be {value:?}: allowed is {allowed}; using the default\n")
}

#[test]
fn whether_goroutines_change_threads_is_for_code_and_environment_to_say() {
    for (role, value) in [
        ("moves", ""),
        ("moves", "free"),
        ("stays", "pinned"),
        ("moves_by_code", "pinned"),
        ("stays_by_code", "free"),
    ] {
        let r = ran(role, &[("GOWEFT_MIGRATION", value)]);
        assert!(r.err.is_empty(), "{r:?}");
    }
    for value in ["sometimes", "PINNED", "1"] {
        let r = ran("moves", &[("GOWEFT_MIGRATION", value)]);
        assert_eq!(r.err, garbage("GOWEFT_MIGRATION", value, "free or pinned"));
    }
}

#[test]
fn garbage_in_goweft_preempt_is_told_and_threads_are_stopped() {
    for value in ["maybe", "OFF", "0"] {
        let r = ran("preempts", &[("GOWEFT_PREEMPT", value)]);
        assert_eq!(r.out, "stopped\n");
        assert_eq!(r.err, garbage("GOWEFT_PREEMPT", value, "on or off"));
    }
}

#[test]
fn the_environment_sets_the_size_of_stacks() {
    let r = ran("settings", &[("GOWEFT_STACK", "1M")]);
    assert!(r.out.contains("used true") && r.err.is_empty(), "{r:?}");
    // Too small for what that program does on its goroutine.
    let r = scenario::run(
        env!("CARGO_BIN_EXE_scenario"),
        "settings",
        &[("GOWEFT_STACK", "64K")],
    );
    assert!(
        r.err.contains("has overflowed its stack of 64 KiB"),
        "{r:?}"
    );
}
