//! The bars: what is held against what, and by how much it may differ.

use crate::figures::{Figures, median};
use crate::program::{Command, Programs};
use crate::side_name;

/// Every scenario, in the order they run.
pub(crate) const SCENARIOS: &[&str] = &[
    "switch",
    "enter",
    "empty_op",
    "yield2",
    "spawn_join",
    "spawn_batch",
    "pingpong",
    "pipeline",
    "serve",
    "idle_mem",
    "chan_buffered",
    "select2",
    "mutex_alone",
    "mutex_contended",
    "once_done",
    "rwlock_read",
    "condvar_wake",
    "condvar_all",
    "wait_group_wake",
    "ring",
    "skynet",
    "sleep_timers",
    "context_timeout",
    "preempt",
    "busy",
    "deep_stack",
    "tcp_echo",
    "http_hello",
    "http_hello_lib",
];

/// One figure of one program.
pub(crate) struct Side {
    pub(crate) peer: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) procs: usize,
}

/// A figure of goweft may be at most so many times the best of some references; with no
/// reference, at most the number itself.
pub(crate) struct Bar {
    pub(crate) scenario: &'static str,
    what: &'static str,
    subject: Side,
    references: &'static [Side],
    at_most: f64,
}

const fn side(peer: &'static str, figure: &'static str, procs: usize) -> Side {
    Side {
        peer,
        figure,
        procs,
    }
}

pub(crate) const BARS: &[Bar] = &[
    Bar {
        scenario: "switch",
        what: "raw switch, 2 contexts",
        subject: side("stacks", "switch.2", 1),
        references: &[side("corosensei", "switch.2", 1)],
        at_most: 1.1,
    },
    Bar {
        scenario: "switch",
        what: "raw switch, 10 contexts",
        subject: side("stacks", "switch.10", 1),
        references: &[side("corosensei", "switch.10", 1)],
        at_most: 1.1,
    },
    Bar {
        scenario: "empty_op",
        what: "enter and leave the runtime, ns",
        subject: side("goweft", "empty_op", 1),
        references: &[],
        at_most: 1.5,
    },
    Bar {
        scenario: "preempt",
        what: "1 ms sleeper, 2 hogs, p99 late, ms",
        subject: side("goweft", "preempt.late_p99", 2),
        references: &[],
        at_most: 5.0,
    },
    Bar {
        scenario: "preempt",
        what: "1 ms sleeper, against Go",
        subject: side("goweft", "preempt.late_p99", 2),
        references: &[side("go", "preempt.late_p99", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "busy",
        what: "CPU time, preempted or not",
        subject: side("goweft", "busy.cpu", 2),
        references: &[side("goweft_off", "busy.cpu", 2)],
        at_most: 1.005,
    },
    Bar {
        scenario: "yield2",
        what: "yield, against Go",
        subject: side("goweft", "yield2", 1),
        references: &[side("go", "yield2", 1)],
        at_most: 1.0 / 3.0,
    },
    Bar {
        scenario: "yield2",
        what: "yield, against may",
        subject: side("goweft", "yield2", 1),
        references: &[side("may", "yield2", 1)],
        at_most: 1.0,
    },
    Bar {
        scenario: "spawn_join",
        what: "spawn + join",
        subject: side("goweft", "spawn_join", 1),
        references: &[side("tokio", "spawn_join", 1)],
        at_most: 0.5,
    },
    Bar {
        scenario: "pingpong",
        what: "ping-pong, against the best peer",
        subject: side("goweft", "pingpong", 1),
        references: &[
            side("tokio", "pingpong", 1),
            side("go", "pingpong", 1),
            side("may", "pingpong", 1),
        ],
        at_most: 0.5,
    },
    Bar {
        scenario: "pipeline",
        what: "pipeline, 2 P against 1 P",
        subject: side("goweft", "pipeline", 2),
        references: &[side("goweft", "pipeline", 1)],
        at_most: 0.7,
    },
    Bar {
        scenario: "serve",
        what: "serve, CPU a request",
        subject: side("goweft", "serve.server_cpu", 1),
        references: &[side("tokio", "serve.server_cpu", 1)],
        at_most: 1.2,
    },
    Bar {
        scenario: "sleep_timers",
        what: "100,000 sleepers, over ideal",
        subject: side("goweft", "sleep_timers.over_ideal", 2),
        references: &[side("go", "sleep_timers.over_ideal", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "sleep_timers",
        what: "100,000 sleepers, p99 late",
        subject: side("goweft", "sleep_timers.late_p99", 2),
        references: &[side("go", "sleep_timers.late_p99", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "context_timeout",
        what: "a context with timeout",
        subject: side("goweft", "context_timeout", 2),
        references: &[side("go", "context_timeout", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "mutex_alone",
        what: "lock + unlock, uncontended",
        subject: side("goweft", "mutex_alone", 2),
        references: &[side("go", "mutex_alone", 2)],
        at_most: 0.6,
    },
    Bar {
        scenario: "mutex_contended",
        what: "one mutex, 8 goroutines",
        subject: side("goweft", "mutex_contended", 2),
        references: &[side("go", "mutex_contended", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "once_done",
        what: "Once that is done",
        subject: side("goweft", "once_done", 2),
        references: &[side("go", "once_done", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "rwlock_read",
        what: "readers, 2 P against 1 P",
        subject: side("goweft", "rwlock_read", 2),
        references: &[side("goweft", "rwlock_read", 1)],
        at_most: 0.7,
    },
    Bar {
        scenario: "rwlock_read",
        what: "readers, against Go",
        subject: side("goweft", "rwlock_read", 2),
        references: &[side("go", "rwlock_read", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "condvar_wake",
        what: "Condvar, notify one",
        subject: side("goweft", "condvar_wake", 2),
        references: &[side("go", "condvar_wake", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "condvar_all",
        what: "Condvar, notify 100",
        subject: side("goweft", "condvar_all", 2),
        references: &[side("go", "condvar_all", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "wait_group_wake",
        what: "WaitGroup, wake",
        subject: side("goweft", "wait_group_wake", 2),
        references: &[side("go", "wait_group_wake", 2)],
        at_most: 1.0,
    },
    Bar {
        scenario: "idle_mem",
        what: "a parked goroutine, bytes",
        subject: side("goweft", "idle_mem.bytes", 2),
        references: &[],
        at_most: 4800.0,
    },
];

/// The commands whose figures the bars need, each once.
pub(crate) fn commands_for(bars: &[&Bar]) -> Vec<Command> {
    let mut commands: Vec<Command> = vec![];
    for bar in bars {
        for side in std::iter::once(&bar.subject).chain(bar.references) {
            let command = Command::new(side.peer, bar.scenario, side.procs);
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
    }
    commands
}

/// Rounds of a scenario at least: what differs by less than it varies takes more of them.
pub(crate) fn rounds_at_least(scenario: &str) -> usize {
    match scenario {
        "busy" => 20,
        _ => 1,
    }
}

/// Every peer's command for a scenario, on one and on two processors.
pub(crate) fn commands_for_all(scenario: &'static str) -> Vec<Command> {
    let peers: &[&str] = match scenario {
        "switch" => &["stacks", "corosensei"],
        "context_timeout" => &["goweft", "go"],
        "enter" => &["goweft", "go", "tokio"],
        "empty_op" => &["goweft"],
        "busy" => &["goweft", "goweft_off"],
        "mutex_alone" | "once_done" | "rwlock_read" | "condvar_wake" | "condvar_all" => {
            &["goweft", "go", "tokio", "threads"]
        }
        "wait_group_wake" => &["goweft", "go"],
        "serve" => &["goweft", "tokio"],
        "skynet" | "sleep_timers" => &["goweft", "go", "tokio", "may"],
        "http_hello_lib" => &["go", "tokio"],
        "deep_stack" | "spawn_join" => &["goweft", "go", "tokio", "may", "corosensei", "threads"],
        _ => &["goweft", "go", "tokio", "may", "threads"],
    };
    let procs: &[usize] = match scenario {
        "switch" | "enter" | "empty_op" | "yield2" => &[1],
        "mutex_alone" | "once_done" => &[2],
        "mutex_contended" | "preempt" | "busy" | "skynet" | "sleep_timers" | "idle_mem"
        | "deep_stack" => &[2],
        _ => &[1, 2],
    };
    let command =
        |&peer: &&'static str| procs.iter().map(move |&p| Command::new(peer, scenario, p));
    peers
        .iter()
        .flat_map(command)
        .filter(|c| c.procs == 1 || c.peer != "corosensei")
        .collect()
}

/// What became of a bar.
pub(crate) struct Verdict {
    what: &'static str,
    ours: String,
    theirs: String,
    ratio: String,
    bar: String,
    result: Outcome,
}

#[derive(PartialEq)]
enum Outcome {
    Pass,
    Fail,
    Missing(String),
}

impl Bar {
    /// Judges the bar by the figures taken.
    pub(crate) fn judge(&self, figures: &Figures, programs: &Programs) -> Verdict {
        let ours = figures.rounds(&self.subject);
        let theirs = self
            .references
            .iter()
            .filter_map(|side| Some((side, figures.rounds(side)?)))
            .min_by(|a, b| median(&values(&a.1)).total_cmp(&median(&values(&b.1))));
        let mut absent: Vec<String> = self
            .references
            .iter()
            .filter_map(|s| programs.missing(s.peer))
            .collect();
        absent.extend(programs.no_tool(self.scenario));
        let mut verdict = Verdict {
            what: self.what,
            ours: figures.show(&self.subject),
            theirs: theirs.as_ref().map_or("-".into(), |(side, _)| {
                format!("{} {}", side.peer, figures.show(side))
            }),
            ratio: "-".into(),
            bar: format!("{} x", self.at_most),
            result: Outcome::Fail,
        };
        if let Some(why) = programs.missing(self.subject.peer) {
            eprintln!("# {}: {why}", side_name(&self.subject));
            return verdict;
        }
        let Some(ours) = ours else {
            if let Some(why) = programs.no_tool(self.scenario) {
                verdict.result = Outcome::Missing(why);
            }
            return verdict;
        };
        let value = if self.references.is_empty() {
            verdict.bar = self.at_most.to_string();
            median(&values(&ours))
        } else if let Some((_, theirs)) = theirs {
            let ratios: Vec<f64> = ours
                .iter()
                .filter_map(|(round, a)| Some(a / theirs.iter().find(|t| t.0 == *round)?.1))
                .collect();
            verdict.ratio = match self.at_most {
                // Where thousandths matter.
                1.005 => format!("{:.4} x", median(&ratios)),
                _ => format!("{:.2} x", median(&ratios)),
            };
            median(&ratios)
        } else {
            // A reference that is there and failed is no excuse.
            if !absent.is_empty() {
                verdict.result = Outcome::Missing(absent.join(", "));
            }
            return verdict;
        };
        verdict.result = match value <= self.at_most {
            // Held against the best of those that are there: not the whole bar.
            true if !absent.is_empty() => Outcome::Missing(absent.join(", ")),
            true => Outcome::Pass,
            false => Outcome::Fail,
        };
        verdict
    }
}

fn values(rounds: &[(usize, f64)]) -> Vec<f64> {
    rounds.iter().map(|r| r.1).collect()
}

/// Prints the verdicts; whether none of them is a failure.
pub(crate) fn print_verdicts(verdicts: &[Verdict]) -> bool {
    println!(
        "\n{:<34} {:<24} {:<32} {:>8} {:>8}  result",
        "bar", "goweft: median (p99)", "reference: median (p99)", "ratio", "at most"
    );
    for v in verdicts {
        let result = match &v.result {
            Outcome::Pass => "PASS".into(),
            Outcome::Fail => "FAIL".into(),
            Outcome::Missing(who) => format!("MISSING: {who}"),
        };
        println!(
            "{:<34} {:<24} {:<32} {:>8} {:>8}  {result}",
            v.what, v.ours, v.theirs, v.ratio, v.bar
        );
    }
    let count = |f: fn(&Outcome) -> bool| verdicts.iter().filter(|v| f(&v.result)).count();
    let (passed, failed) = (
        count(|o| *o == Outcome::Pass),
        count(|o| *o == Outcome::Fail),
    );
    println!(
        "\nbars: {passed} passed, {failed} failed, {} without a peer",
        verdicts.len() - passed - failed
    );
    failed == 0
}
