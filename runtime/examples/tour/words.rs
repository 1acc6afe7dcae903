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
    let (names, to_read) = channel::bounded(16);
    let (done, progress) = channel::bounded(256);
    let number = files.len();
    go! {
        for file in files {
            if names.send(file).is_err() {
                return; // nobody reads any more
            }
        }
    }
    let readers: Vec<_> = (0..2 * runtime::maxprocs())
        .map(|_| (to_read.clone(), done.clone()))
        .map(|(files, done)| goweft::spawn(move || read_and_count(&files, &done)))
        .collect();
    drop((to_read, done));
    let mut read = 0;
    for () in progress {
        read += 1;
        screen.at(read);
    }
    let number_of_readers = readers.len();
    let mut counts = Counts::new();
    for reader in readers {
        for (word, n) in reader.join().map_err(|_| "a reader panicked")?? {
            *counts.entry(word).or_default() += n;
        }
    }
    let took = begin.elapsed();

    if read != number {
        return Err(format!("{read} files counted of {number}").into());
    }
    if let Some(word) = difference(&expected, &counts) {
        return Err(format!("\"{}\" was counted differently", word.escape_ascii()).into());
    }
    let words: u64 = counts.values().sum();
    table.station("words");
    table.row(
        "files",
        count(number),
        format!("read by {number_of_readers} goroutines"),
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

/// One of those that read: counts the words of the files that come to it, until no
/// more come.
fn read_and_count(files: &Receiver<PathBuf>, done: &Sender<()>) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for file in files {
        let text = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        add_words(&text, &mut counts);
        done.send(()).map_err(|_| "nobody waits for the counts")?;
    }
    Ok(counts)
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
                // Cargo marks only one that it has made itself.
                && entry.file_name() != "target"
                && !path.join("CACHEDIR.TAG").exists()
            {
                directories.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
