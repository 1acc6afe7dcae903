//! Fan-in, which merges many channels into one, and fan-out, which splits one among many.

use goweft::channel::{self, Receiver, Select};
use goweft::{go, spawn};

#[goweft::main]
fn main() {
    // In: by a goroutine per source, or by one that selects among all of them.
    let by_goroutines = sorted(merge(sources()));
    let by_select = sorted(merge_by_select(sources()));
    let all: Vec<u32> = (0..50).collect();
    assert_eq!(by_goroutines, all);
    assert_eq!(by_select, all);
    println!("fan-in: 5 channels became one, twice, with all 50 numbers");

    // Out: clones of a receiver share what comes; each value goes to one of them.
    let (tx, numbers) = channel::bounded(0);
    let readers: Vec<_> = (0..4)
        .map(|_| numbers.clone())
        .map(|numbers| spawn(move || numbers.iter().collect::<Vec<u32>>()))
        .collect();
    for n in 0..50 {
        tx.send(n).unwrap();
    }
    drop(tx); // all of them see it closed
    let shares: Vec<_> = readers.into_iter().map(|r| r.join().unwrap()).collect();
    let sizes: Vec<_> = shares.iter().map(Vec::len).collect();
    println!("fan-out: 4 readers got {sizes:?}");
    let mut together = shares.concat();
    together.sort();
    assert_eq!(together, all);
    println!("fan: 50 in, 50 out");
}

/// Five channels, of ten numbers each.
fn sources() -> Vec<Receiver<u32>> {
    (0..5)
        .map(|source| {
            let (tx, rx) = channel::bounded(0);
            go! {
                for n in 0..10 {
                    tx.send(10 * source + n).unwrap();
                }
            }
            rx
        })
        .collect()
}

/// The channel is closed when the last of the goroutines has dropped its sender: no counting.
fn merge(sources: Vec<Receiver<u32>>) -> Receiver<u32> {
    let (tx, merged) = channel::bounded(0);
    for source in sources {
        let tx = tx.clone();
        go! {
            for n in source {
                tx.send(n).unwrap();
            }
        }
    }
    merged
}

/// A source that is closed drops out of the choice, until none is left. For a number of
/// channels that is known, `select!` does the same; see the example `select`.
fn merge_by_select(sources: Vec<Receiver<u32>>) -> Receiver<u32> {
    let (tx, merged) = channel::bounded(0);
    go! {
        let mut select = Select::new();
        for source in &sources {
            select.recv(source);
        }
        let mut open = sources.len();
        while open > 0 {
            let ready = select.select();
            let index = ready.index();
            match ready.recv(&sources[index]) {
                Ok(n) => tx.send(n).unwrap(),
                Err(_) => {
                    select.remove(index);
                    open -= 1;
                }
            }
        }
    }
    merged
}

fn sorted(numbers: Receiver<u32>) -> Vec<u32> {
    let mut numbers: Vec<u32> = numbers.iter().collect();
    numbers.sort();
    numbers
}
