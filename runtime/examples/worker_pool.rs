//! A fixed number of workers, a channel of jobs, a channel of results.
//!
//! Each worker owns a sender of results, so the channel is closed when the last worker has ended:
//! what a `WaitGroup` and a goroutine that waits for it are for in Go.

use goweft::channel::{self, Receiver, Sender};
use goweft::go;

const WORKERS: usize = 4;

struct Job {
    number: u64,
}

struct Done {
    number: u64,
    steps: u32,
    worker: usize,
}

#[goweft::main]
fn main() {
    let (jobs, todo) = channel::bounded(8);
    let (done, results) = channel::bounded(8);
    for id in 0..WORKERS {
        go!(worker(id, todo.clone(), done.clone()));
    }
    drop((todo, done)); // the workers have theirs
    go! {
        for number in 1..1000 {
            jobs.send(Job { number }).unwrap();
        }
    }

    let mut by_worker = [0; WORKERS];
    let mut longest = (0, 0);
    for result in results {
        by_worker[result.worker] += 1;
        longest = longest.max((result.steps, result.number));
    }
    println!("jobs by worker: {by_worker:?}");
    assert_eq!(by_worker.iter().sum::<u32>(), 999);
    assert_eq!(longest, (178, 871));
    println!("worker_pool: 999 jobs; of these numbers 871 takes the most steps to 1: 178");
}

fn worker(id: usize, jobs: Receiver<Job>, done: Sender<Done>) {
    for Job { number } in jobs {
        let result = Done {
            number,
            steps: collatz(number),
            worker: id,
        };
        done.send(result).unwrap();
    }
}

/// How many steps from `n` to 1: halve what is even, triple what is odd and add one.
fn collatz(mut n: u64) -> u32 {
    let mut steps = 0;
    while n != 1 {
        n = if n.is_multiple_of(2) {
            n / 2
        } else {
            3 * n + 1
        };
        steps += 1;
    }
    steps
}
