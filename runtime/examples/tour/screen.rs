//! What the tour shows while it runs, a bar on a terminal and plain lines
//! elsewhere, and the table at its end.

use indicatif::{ProgressBar, ProgressStyle};
use std::cell::RefCell;
use std::fmt;
use std::io::IsTerminal;

pub(crate) struct Screen {
    is_terminal: bool,
    bar: RefCell<Option<ProgressBar>>,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        Screen {
            is_terminal: std::io::stderr().is_terminal(),
            bar: RefCell::new(None),
        }
    }

    /// A step of `total` parts begins.
    pub(crate) fn begin(&self, what: &str, total: usize) {
        self.finish();
        if !self.is_terminal {
            println!("{what}");
            return;
        }
        let style = ProgressStyle::with_template("{msg:<46} {wide_bar} {human_pos}/{human_len}");
        let bar = ProgressBar::new(total as u64).with_message(what.to_string());
        if let Ok(style) = style {
            bar.set_style(style);
        }
        *self.bar.borrow_mut() = Some(bar);
    }

    /// So many parts are done.
    pub(crate) fn at(&self, done: usize) {
        if let Some(bar) = &*self.bar.borrow() {
            bar.set_position(done as u64);
        }
    }

    /// Something that the reader has to know.
    pub(crate) fn note(&self, text: &str) {
        self.finish();
        println!("note: {text}");
    }

    /// The step is over.
    pub(crate) fn finish(&self) {
        if let Some(bar) = self.bar.borrow_mut().take() {
            bar.finish_and_clear();
            println!("{}", bar.message());
        }
    }
}

/// Rows of a name, a value and a remark, under the name of their station.
pub(crate) struct Table {
    station: &'static str,
    rows: Vec<[String; 4]>,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            station: "",
            rows: Vec::new(),
        }
    }

    /// The rows that come now are its.
    pub(crate) fn station(&mut self, name: &'static str) {
        self.station = name;
    }

    pub(crate) fn row(&mut self, what: &str, value: impl fmt::Display, remark: impl fmt::Display) {
        let station = std::mem::take(&mut self.station).to_string();
        self.rows.push([
            station,
            what.to_string(),
            value.to_string(),
            remark.to_string(),
        ]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|row| row[column].len())
                .max()
                .unwrap_or(0)
        };
        let (first, second, third) = (width(0), width(1), width(2));
        for [station, what, value, remark] in &self.rows {
            let line = format!("{station:first$}  {what:second$}  {value:>third$}  {remark}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn count(n: impl TryInto<u64>) -> String {
    let digits = n.try_into().unwrap_or(u64::MAX).to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
