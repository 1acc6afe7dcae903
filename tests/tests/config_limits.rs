//! What the machine and its owner allow: CPUs, CPU quotas of cgroups, and the CPUs that
//! workers are pinned to. Each on a machine of the test's making: `src/bin/limits.rs`.

use goweft_tests::scenario::{self, Ran};
use std::fs;

/// The files of a machine.
struct Machine {
    cpus: &'static str,
    dir: tempfile::TempDir,
}

impl Machine {
    /// With cgroups of version 2; this process is in one with that `cpu.max`.
    fn v2(cpus: &'static str, cpu_max: &str) -> Machine {
        let machine = Machine::new(cpus, "0::/group\n", "cgroup2", "rw");
        machine.write("group/cpu.max", cpu_max);
        machine
    }

    /// With cgroups of version 1.
    fn v1(cpus: &'static str, quota: &str, period: &str) -> Machine {
        let groups = "5:cpuset:/\n4:cpuacct,cpu:/group\n0::/\n";
        let machine = Machine::new(cpus, groups, "cgroup", "rw,cpuacct,cpu");
        machine.write("group/cpu.cfs_quota_us", quota);
        machine.write("group/cpu.cfs_period_us", period);
        machine
    }

    fn new(cpus: &'static str, groups: &str, kind: &str, options: &str) -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine { cpus, dir };
        let point = machine.path().replace('\\', "\\134").replace(' ', "\\040");
        let mount = format!("40 30 0:29 / {point} rw shared:7 - {kind} cgroup {options}\n");
        machine.write("cgroup", groups);
        machine.write("mountinfo", &mount);
        fs::create_dir(machine.dir.path().join("group")).unwrap();
        machine
    }

    fn path(&self) -> String {
        self.dir.path().to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn run(&self, role: &str, env: &[(&str, &str)]) -> Ran {
        let path = self.path();
        let mut all = vec![("FAKE_CPUS", self.cpus), ("FAKE_PROC", &path)];
        all.extend(env);
        ran(role, &all)
    }

    /// `maxprocs` and the number of CPUs of a program there.
    fn says(&self, env: &[(&str, &str)]) -> (usize, usize) {
        said(&self.run("report", env))
    }
}

fn ran(role: &str, env: &[(&str, &str)]) -> Ran {
    let r = scenario::run(env!("CARGO_BIN_EXE_limits"), role, env);
    assert!(r.status.success() && r.err.is_empty(), "{r:?}");
    r
}

fn said(r: &Ran) -> (usize, usize) {
    let number = |name| {
        let mut lines = r.out.lines();
        let value = lines.find_map(|line| line.strip_prefix(name));
        value.unwrap().trim().parse().unwrap()
    };
    (number("maxprocs"), number("cpus"))
}

/// Go's TestCgroupGOMAXPROCS.
#[test]
fn the_quota_limits_maxprocs_unless_that_is_switched_off() {
    for machine in [
        Machine::v2("8", "300000 100000\n"),
        Machine::v1("8", "300000\n", "100000\n"),
    ] {
        assert_eq!(machine.says(&[]), (3, 8));
        assert_eq!(machine.says(&[("GOWEFT_CONTAINER", "on")]), (3, 8));
        assert_eq!(machine.says(&[("GOWEFT_CONTAINER", "off")]), (8, 8));
        assert_eq!(said(&machine.run("ignored_by_code", &[])), (8, 8));
        // The program's word comes before the environment's.
        let off = [("GOWEFT_CONTAINER", "off")];
        assert_eq!(said(&machine.run("heeded_by_code", &off)), (3, 8));
    }
}

/// Go's TestCgroupGOMAXPROCSNoLimit.
#[test]
fn without_a_quota_the_cpus_count() {
    assert_eq!(Machine::v2("8", "max 100000\n").says(&[]), (8, 8));
    assert_eq!(Machine::v1("8", "-1\n", "100000\n").says(&[]), (8, 8));
    assert_eq!(Machine::v2("8", "garbage\n").says(&[]), (8, 8));
    assert_eq!(Machine::v2("1", "max 100000\n").says(&[]), (1, 1));
    assert_eq!(
        ran("report", &[("FAKE_CPUS", "8"), ("FAKE_PROC", "/nowhere")])
            .out
            .lines()
            .next(),
        Some("maxprocs 8")
    );
}

/// Go's TestCgroupGOMAXPROCSHigherThanNumCPU.
#[test]
fn a_quota_above_the_cpus_is_no_limit() {
    assert_eq!(Machine::v2("4", "900000 100000\n").says(&[]), (4, 4));
    assert_eq!(Machine::v2("1", "900000 100000\n").says(&[]), (1, 1));
    // 1,024 is the most there can be.
    assert_eq!(Machine::v2("3000", "max 100000\n").says(&[]), (1024, 3000));
}

/// Go's TestCgroupGOMAXPROCSRound.
#[test]
fn quotas_are_rounded_up_and_are_at_least_two() {
    for (quota, want) in [
        ("50000", 2),
        ("100000", 2),
        ("150000", 2),
        ("200000", 2),
        ("200001", 3),
        ("250000", 3),
        ("299999", 3),
        ("300000", 3),
        ("310000", 4),
    ] {
        let machine = Machine::v2("8", &format!("{quota} 100000\n"));
        assert_eq!(machine.says(&[]), (want, 8), "{quota}");
    }
    assert_eq!(Machine::v2("1", "50000 100000\n").says(&[]), (1, 1));
}

#[test]
fn the_quota_of_an_ancestor_counts() {
    let machine = Machine::v2("8", "500000 100000\n");
    machine.write("cpu.max", "250000 100000\n");
    assert_eq!(machine.says(&[]), (3, 8));
    machine.write("cpu.max", "700000 100000\n");
    assert_eq!(machine.says(&[]), (5, 8));
}

/// Go's TestCgroupGOMAXPROCSEnvironment.
#[test]
fn what_the_environment_sets_comes_before_the_quota() {
    let machine = Machine::v2("8", "300000 100000\n");
    assert_eq!(machine.says(&[("GOMAXPROCS", "6")]), (6, 8));
    assert_eq!(machine.says(&[("GOWEFT_MAXPROCS", "9")]), (9, 8));
}

/// Go's TestBigGOMAXPROCS.
#[test]
fn with_1024_processors_goroutines_run() {
    let r = ran("most", &[("GOMAXPROCS", "1024")]);
    assert_eq!(said(&r).0, 1024);
    assert!(r.out.ends_with("sum 49995000\n"), "{r:?}");
}

#[test]
fn garbage_in_goweft_container_is_told_and_quotas_count() {
    let machine = Machine::v2("8", "300000 100000\n");
    let path = machine.path();
    let env = [
        ("FAKE_CPUS", "8"),
        ("FAKE_PROC", &path),
        ("GOWEFT_CONTAINER", "maybe"),
    ];
    let r = scenario::run(env!("CARGO_BIN_EXE_limits"), "report", &env);
    assert_eq!(said(&r), (3, 8));
    assert_eq!(
        r.err,
        "goweft: GOWEFT_CONTAINER can't be \"maybe\": allowed is on or off; using the default\n"
    );
}

/// Go's TestCgroupGOMAXPROCSUpdate and TestCgroupGOMAXPROCSSchedAffinity. Both are looked at once a
/// second at most.
#[test]
fn maxprocs_follows_quota_and_cpus_while_goroutines_run() {
    let r = Machine::v2("8", "max 100000\n").run("follow", &[]);
    assert_eq!(r.out, "followed\n");
}

#[test]
fn a_change_while_all_is_idle_is_seen_when_there_is_work() {
    let r = Machine::v2("8", "max 100000\n").run("changed_while_idle", &[]);
    assert_eq!(r.out, "followed\n");
}

/// Go's TestCgroupGOMAXPROCSDontUpdate and TestCgroupGOMAXPROCSSetDefault.
#[test]
fn what_was_set_by_hand_stays_until_the_default_is_asked_for() {
    let r = Machine::v2("8", "max 100000\n").run("set_by_hand", &[]);
    assert_eq!(r.out, "stayed\n");
}

#[test]
fn what_was_set_by_the_environment_or_a_config_stays() {
    let machine = Machine::v2("8", "max 100000\n");
    let r = machine.run("set_before_start", &[("GOWEFT_MAXPROCS", "5")]);
    assert_eq!(r.out, "stayed\n");
    let machine = Machine::v2("8", "max 100000\n");
    assert_eq!(machine.run("set_by_config", &[]).out, "stayed\n");
}

#[test]
fn cpus_that_are_not_there_or_not_allowed_are_named() {
    // Of the CPUs 0 to 1, whatever the machine has.
    let r = ran("affinity_errors", &[("FAKE_CPUS", "2")]);
    let lines: Vec<_> = r.out.lines().collect();
    assert_eq!(
        lines[0],
        "affinity can't be []: allowed is at least one CPU"
    );
    assert!(
        lines[1].starts_with("affinity can't be 3: allowed is a CPU of 0-1; this "),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with(
            "affinity can't be 1099511627776: allowed is a CPU of 0-1; this machine has "
        ) && lines[2].ends_with(", counted from 0"),
        "{lines:?}"
    );
}

#[test]
fn goroutines_run_on_the_cpu_they_are_pinned_to_and_blocking_calls_anywhere() {
    assert_eq!(ran("pinned_to_one", &[]).out, "pinned\n");
}

#[test]
fn threads_whose_processor_is_taken_run_anywhere_until_they_have_one() {
    assert_eq!(ran("pinned_around_thefts", &[]).out, "pinned\n");
}

#[test]
fn processors_are_pinned_in_turn() {
    assert_eq!(ran("pinned_in_turn", &[]).out, "pinned\n");
}
