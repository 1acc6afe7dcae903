//! The ring: 503 goroutines pass a number around, one less each time. Who gets the zero tells
//! its place.

use goweft::channel::{self, Receiver, Sender};
use goweft::go;
use std::time::Instant;

const PLACES: u32 = 503;

#[goweft::main]
fn main() {
    assert_eq!(holder_of_zero(0), 1);
    assert_eq!(holder_of_zero(1000), 498);
    let begin = Instant::now();
    let place = holder_of_zero(500_000);
    println!("500,000 passes in {:?}", begin.elapsed());
    assert_eq!(place, 500_000 % PLACES + 1);
    println!("ring: after 500000 passes it is at place {place}");
}

fn holder_of_zero(passes: u32) -> u32 {
    let (found, place) = channel::bounded(1);
    // Room for one: the number must find a way out when its next holder has left.
    let (first, mut input) = channel::bounded(1);
    for place in 1..PLACES {
        let (next, following) = channel::bounded(1);
        go!(pass_on(place, input, next, found.clone()));
        input = following;
    }
    go!(pass_on(PLACES, input, first.clone(), found));
    first.send(passes).unwrap();
    let place = place.recv().unwrap();
    first.close(); // the first one leaves, then the next, until all have
    place
}

fn pass_on(place: u32, input: Receiver<u32>, next: Sender<u32>, found: Sender<u32>) {
    for n in input {
        if n == 0 {
            found.send(place).unwrap();
        } else if next.send(n - 1).is_err() {
            return;
        }
    }
}
