//! Compares goweft with its peers and judges the bars.
//!
//! ```text
//! compare [--rounds N] [--go PATH] [--serve PATH] [--out FILE] [--all] [SCENARIO ...]
//! ```
//!
//! Figures drift with the machine, so a claim is a ratio within one run: the
//! programs take turns, every other round in reverse order, and the ratio is
//! the median of the rounds' ratios. A peer that is not there is reported as
//! missing, never as slower. `--all` runs every scenario with every peer and
//! prints a table instead of judging bars.
//!
//! Leaves with code 0 if every bar that could be judged holds, else with 1; a
//! program of ours that fails, or prints no figure, does not hold its bar.

mod bars;
mod figures;
mod program;
mod server;

use bars::{BARS, Bar, Side};
use figures::Figures;
use program::{Command, Programs};
use std::path::PathBuf;
use std::process::ExitCode;

/// Rounds of each comparison unless `--rounds` says otherwise.
const ROUNDS: usize = 5;

struct Options {
    rounds: usize,
    go: Option<PathBuf>,
    serve: Option<PathBuf>,
    out: Option<PathBuf>,
    all: bool,
    scenarios: Vec<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        rounds: ROUNDS,
        go: None,
        serve: None,
        out: None,
        all: false,
        scenarios: vec![],
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--rounds" => {
                let text = value()?;
                options.rounds = text
                    .parse()
                    .ok()
                    .filter(|&n| n > 0)
                    .ok_or(format!("--rounds {text}: a number from 1 on"))?;
            }
            "--go" => options.go = Some(value()?.into()),
            "--serve" => options.serve = Some(value()?.into()),
            "--out" => options.out = Some(value()?.into()),
            "--all" => options.all = true,
            name if !name.starts_with('-') && bars::SCENARIOS.contains(&name) => {
                options.scenarios.push(arg)
            }
            _ => {
                return Err(format!(
                    "{arg}: no such option or scenario; scenarios: {}",
                    bars::SCENARIOS.join(" ")
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!(
                "usage: compare [--rounds N] [--go PATH] [--serve PATH] [--out FILE] [--all] [SCENARIO ...]\n{problem}"
            );
            return ExitCode::from(2);
        }
    };
    let programs = Programs::beside_this_one(options.go.clone(), options.serve.clone());
    let wanted = |scenario: &str| {
        options.scenarios.is_empty() || options.scenarios.iter().any(|s| s == scenario)
    };
    let mut figures = Figures::default();
    let ok = if options.all {
        for scenario in bars::SCENARIOS.iter().filter(|s| wanted(s)) {
            run_rounds(
                &programs,
                &bars::commands_for_all(scenario),
                options.rounds.max(bars::rounds_at_least(scenario)),
                &mut figures,
            );
        }
        figures.print_table();
        true
    } else {
        let mut verdicts = vec![];
        for scenario in bars::SCENARIOS.iter().filter(|s| wanted(s)) {
            let of_scenario: Vec<&Bar> = BARS.iter().filter(|b| b.scenario == *scenario).collect();
            run_rounds(
                &programs,
                &bars::commands_for(&of_scenario),
                options.rounds.max(bars::rounds_at_least(scenario)),
                &mut figures,
            );
            verdicts.extend(of_scenario.iter().map(|bar| bar.judge(&figures, &programs)));
        }
        bars::print_verdicts(&verdicts)
    };
    if let Some(out) = &options.out
        && let Err(problem) = figures.write_tsv(out)
    {
        eprintln!("compare: {}: {problem}", out.display());
        return ExitCode::FAILURE;
    }
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs all the commands of a scenario `rounds` times, taking turns.
fn run_rounds(programs: &Programs, commands: &[Command], rounds: usize, figures: &mut Figures) {
    for round in 0..rounds {
        let mut order: Vec<&Command> = commands
            .iter()
            .filter(|c| {
                programs.missing(c.peer).is_none() && programs.no_tool(c.scenario).is_none()
            })
            .collect();
        if round % 2 == 1 {
            // What one program leaves behind (heat, caches, stolen time) hits each in turn.
            order.reverse();
        }
        for command in order {
            if !command.once || round == 0 {
                eprintln!("# round {} of {rounds}: {command}", round + 1);
                figures.take(round, command, programs.run(command));
            }
        }
    }
}

/// Which figure of which program a side of a bar is, for messages.
fn side_name(side: &Side) -> String {
    format!("{} {} on {} P", side.peer, side.figure, side.procs)
}
