//! A pipeline: one goroutine finds the files, several read and count (fan-out),
//! and their counts come together (fan-in).
//!
//! The counts are compared, word by word, with those of a plain loop.

use super::Outcome;
use super::screen::{Screen, Table, count};
use goweft::channel::{self, Receiver, Sender};
use goweft::{go, runtime};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Counts = HashMap<Vec<u8>, u64>;

pub(crate) fn visit(repository: &Path, screen: &Screen, table: &mut Table) -> Outcome {
    let files = files_below(repository)?;
    screen.begin(
        &format!("words: {} files of the repository", count(files.len())),
        files.len(),
    );

    let begin = Instant::now();
    let mut expected = Counts::new();
    for file in &files {
        add_words(&fs::read(file)?, &mut expected);
    }
    let sequential = begin.elapsed();

    let begin = Instant::now();
    let readers = 4 * runtime::maxprocs();
    let (names, to_read) = channel::bounded(16);
    let (done, results) = channel::bounded(16);
    let number = files.len();
    go! {
        for file in files {
            if names.send(file).is_err() {
                return; // nobody reads any more
            }
        }
    }
    for _ in 0..readers {
        go!(read_and_count(to_read.clone(), done.clone()));
    }
    drop((to_read, done));
    let mut counts = Counts::new();
    let mut merged = 0;
    for result in &results {
        for (word, n) in result? {
            *counts.entry(word).or_default() += n;
        }
        merged += 1;
        screen.at(merged);
    }
    let took = begin.elapsed();

    if merged != number {
        return Err(format!("{merged} files counted of {number}").into());
    }
    if let Some(word) = difference(&expected, &counts) {
        return Err(format!("\"{}\" was counted differently", word.escape_ascii()).into());
    }
    let words: u64 = counts.values().sum();
    table.station("words");
    table.row(
        "files",
        count(number),
        format!("read by {readers} goroutines"),
    );
    table.row(
        "words",
        count(words),
        format!("{} of them different", count(counts.len())),
    );
    let loops = format!(
        "a plain loop: {:.3} s, with the same counts",
        sequential.as_secs_f64()
    );
    table.row("time", format!("{:.3} s", took.as_secs_f64()), loops);
    Ok(())
}

/// One of those that read; ends when there are no more files.
fn read_and_count(files: Receiver<PathBuf>, done: Sender<Result<Counts, String>>) {
    for file in files {
        let counts = fs::read(&file)
            .map_err(|e| format!("{}: {e}", file.display()))
            .map(|text| {
                let mut counts = Counts::new();
                add_words(&text, &mut counts);
                counts
            });
        if done.send(counts).is_err() {
            return;
        }
    }
}

/// A word is what stands between white space, whatever the bytes mean.
fn add_words(text: &[u8], counts: &mut Counts) {
    for word in text
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
    {
        match counts.get_mut(word) {
            Some(n) => *n += 1,
            None => {
                counts.insert(word.to_vec(), 1);
            }
        }
    }
}

/// A word on which the two disagree.
fn difference<'a>(a: &'a Counts, b: &'a Counts) -> Option<&'a [u8]> {
    let words = a.keys().chain(b.keys());
    words
        .into_iter()
        .find(|word| a.get(*word) != b.get(*word))
        .map(Vec::as_slice)
}

/// All regular files below `directory`, in a fixed order, without what
/// version control and builds keep there.
pub(crate) fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let about =
            |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", directory.display()));
        for entry in fs::read_dir(&directory).map_err(about)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_file() {
                files.push(path);
            } else if kind.is_dir()
                && entry.file_name() != ".git"
                && !path.join("CACHEDIR.TAG").exists()
            {
                directories.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
