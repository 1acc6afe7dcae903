//! The prime sieve: a chain of goroutines, one for each prime, each of which lets pass what its
//! prime does not divide. The next number to come out at the end is a prime.

use goweft::channel::{self, Receiver};
use goweft::go;

#[goweft::main]
fn main() {
    let primes: Vec<u64> = primes().take(500).collect();
    println!("{:?}", &primes[..10]);
    assert_eq!(primes[..10], [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
    assert_eq!(primes[99], 541);
    assert_eq!(primes[499], 3571);
    println!("prime_sieve: the 100th prime is 541, the 500th is 3571");
}

/// All of them. When it is dropped, sends fail along the chain, and everybody leaves.
fn primes() -> impl Iterator<Item = u64> {
    let mut numbers = naturals_from(2);
    std::iter::from_fn(move || {
        let prime = numbers.recv().ok()?;
        let (tx, rest) = channel::bounded(0);
        let source = std::mem::replace(&mut numbers, rest);
        go! {
            for n in source {
                if n % prime != 0 && tx.send(n).is_err() {
                    return;
                }
            }
        }
        Some(prime)
    })
}

fn naturals_from(first: u64) -> Receiver<u64> {
    let (tx, rx) = channel::bounded(0);
    go! {
        for n in first.. {
            if tx.send(n).is_err() {
                return;
            }
        }
    }
    rx
}
