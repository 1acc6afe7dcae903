//! The figures of a run: what each program printed in each round.

use crate::bars::Side;
use crate::program::Command;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// `bench=<name> peer=<peer> procs=<p> n=<n> value=<float> unit=<unit>`, read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    pub(crate) bench: String,
    pub(crate) peer: String,
    pub(crate) procs: usize,
    pub(crate) n: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

impl Figure {
    /// Reads a line; `None` if it is no figure line.
    pub(crate) fn parse(line: &str) -> Option<Figure> {
        let field = |key: &str| {
            line.split_whitespace()
                .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
        };
        Some(Figure {
            bench: field("bench")?.into(),
            peer: field("peer")?.into(),
            procs: field("procs")?.parse().ok()?,
            n: field("n")?.into(),
            value: field("value")?.parse().ok()?,
            unit: field("unit")?.into(),
        })
    }
}

/// All figures taken, with the round they were taken in.
#[derive(Default)]
pub(crate) struct Figures {
    all: Vec<(usize, Figure)>,
}

impl Figures {
    /// Adds what a command printed; says on stderr if it failed.
    pub(crate) fn take(
        &mut self,
        round: usize,
        command: &Command,
        printed: Result<Vec<Figure>, String>,
    ) {
        match printed {
            Ok(figures) => self.all.extend(figures.into_iter().map(|f| (round, f))),
            Err(why) => eprintln!("# {command}: {why}"),
        }
    }

    /// Each round's value of a figure: the median of its repetitions where it has one.
    pub(crate) fn rounds(&self, side: &Side) -> Option<Vec<(usize, f64)>> {
        let with = |suffix: &str| self.named(side, &format!("{}{suffix}", side.figure));
        let medians = with(".median");
        let values = if medians.is_empty() {
            with("")
        } else {
            medians
        };
        (!values.is_empty()).then_some(values)
    }

    fn named(&self, side: &Side, bench: &str) -> Vec<(usize, f64)> {
        self.all
            .iter()
            .filter(|(_, f)| f.bench == bench && f.peer == side.peer && f.procs == side.procs)
            .map(|(round, f)| (*round, f.value))
            .collect()
    }

    /// Median over the rounds, the p99 in brackets if there is one, and the unit.
    pub(crate) fn show(&self, side: &Side) -> String {
        let Some(rounds) = self.rounds(side) else {
            return "no figure".into();
        };
        let values: Vec<f64> = rounds.iter().map(|r| r.1).collect();
        let p99: Vec<f64> = self
            .named(side, &format!("{}.p99", side.figure))
            .iter()
            .map(|r| r.1)
            .collect();
        let unit = self
            .all
            .iter()
            .find(|(_, f)| f.bench == side.figure)
            .map_or("", |(_, f)| f.unit.as_str());
        match p99.is_empty() {
            true => format!("{} {unit}", short(median(&values))),
            false => format!(
                "{} ({}) {unit}",
                short(median(&values)),
                short(median(&p99))
            ),
        }
    }

    /// One row a figure, for later comparison.
    pub(crate) fn write_tsv(&self, path: &Path) -> std::io::Result<()> {
        let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
        writeln!(out, "round\tbench\tpeer\tprocs\tn\tvalue\tunit")?;
        for (round, f) in &self.all {
            writeln!(
                out,
                "{round}\t{}\t{}\t{}\t{}\t{}\t{}",
                f.bench, f.peer, f.procs, f.n, f.value, f.unit
            )?;
        }
        out.flush()
    }

    /// Medians as a Markdown table with the peers as columns.
    pub(crate) fn print_table(&self) {
        let mut peers: Vec<&str> = vec![];
        let mut rows: BTreeMap<(&str, usize), BTreeMap<&str, Vec<f64>>> = BTreeMap::new();
        let has_median = |name: &str| {
            self.all
                .iter()
                .any(|(_, f)| f.bench.strip_suffix(".median") == Some(name))
        };
        for (_, f) in &self.all {
            let name = f.bench.strip_suffix(".median").unwrap_or(&f.bench);
            if f.bench.ends_with(".p99") && has_median(name.trim_end_matches(".p99"))
                || name == f.bench && has_median(name)
            {
                continue;
            }
            if !peers.contains(&f.peer.as_str()) {
                peers.push(&f.peer);
            }
            rows.entry((name, f.procs))
                .or_default()
                .entry(&f.peer)
                .or_default()
                .push(f.value);
        }
        println!("| bench | procs | unit | {} |", peers.join(" | "));
        println!("|---|---|---|{}", "---|".repeat(peers.len()));
        for ((name, procs), row) in &rows {
            let unit = self
                .all
                .iter()
                .find(|(_, f)| f.bench == *name)
                .map_or("", |(_, f)| f.unit.as_str());
            let cells: Vec<String> = peers
                .iter()
                .map(|p| row.get(p).map_or("-".into(), |v| short(median(v))))
                .collect();
            println!("| {name} | {procs} | {unit} | {} |", cells.join(" | "));
        }
    }
}

/// The middle value; of an even number the upper of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn short(v: f64) -> String {
    match v {
        v if v.is_infinite() => "starved".into(),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_line_is_read_and_others_are_not() {
        let line = "bench=yield2.median peer=go procs=1 n=500000 value=79.500 unit=ns";
        let figure = Figure::parse(line).expect("a figure line");
        assert_eq!(
            (figure.bench.as_str(), figure.procs, figure.value),
            ("yield2.median", 1, 79.5)
        );
        assert_eq!(Figure::parse("# fail bench=yield2 peer=go"), None);
    }

    #[test]
    fn a_starved_figure_is_infinite() {
        let line = "bench=preempt.late_p99 peer=may procs=2 n=0 value=inf unit=ms";
        assert_eq!(Figure::parse(line).map(|f| f.value), Some(f64::INFINITY));
    }

    #[test]
    fn a_side_is_the_median_of_its_repetitions_round_by_round() {
        let mut figures = Figures::default();
        let figure = |bench: &str, value| Figure {
            bench: bench.into(),
            peer: "go".into(),
            procs: 1,
            n: "1".into(),
            value,
            unit: "ns".into(),
        };
        for (round, value) in [(0, 3.0), (1, 5.0), (2, 4.0)] {
            figures.all.push((round, figure("yield2", 1.0)));
            figures.all.push((round, figure("yield2.median", value)));
            figures.all.push((round, figure("yield2.p99", 9.0)));
        }
        let side = Side {
            peer: "go",
            figure: "yield2",
            procs: 1,
        };
        assert_eq!(
            figures.rounds(&side),
            Some(vec![(0, 3.0), (1, 5.0), (2, 4.0)])
        );
        assert_eq!(figures.show(&side), "4.00 (9.00) ns");
        assert_eq!(
            figures.rounds(&Side {
                peer: "may",
                ..side
            }),
            None
        );
    }
}
