//! Starting goroutines: with a closure, with a named function, with a call.
//!
//! `go!` starts one and forgets it. The arguments of a call are evaluated where `go!` stands, as
//! those of Go's `go` are; only the call itself runs later. `spawn` gives a handle as well, to
//! wait for what the goroutine returns.

use goweft::channel::{self, Sender};
use goweft::{go, spawn};

#[goweft::main]
fn main() {
    let (tx, greetings) = channel::unbounded();

    // A closure: it owns what it mentions.
    let from_closure = tx.clone();
    go!(move || from_closure.send("hello from a closure".to_string()));

    // A call: `name` is what it is now, whatever becomes of it before the call runs.
    let mut name = "Gopher";
    go!(greet(name, tx.clone()));
    name = "Ferris";
    go!(greet(name, tx));

    // A named function, with a handle for its result.
    let answer = spawn(deep_thought);

    // The last sender ends with its goroutine, and that ends the loop.
    let mut said: Vec<String> = greetings.iter().collect();
    said.sort(); // they ran in any order
    for line in &said {
        println!("{line}");
    }
    assert_eq!(
        said,
        ["hello from a closure", "hello, Ferris", "hello, Gopher"]
    );
    assert_eq!(answer.join().unwrap(), 42);
    println!("hello: 3 greetings, and the answer 42");
}

fn greet(name: &str, out: Sender<String>) {
    out.send(format!("hello, {name}")).unwrap();
}

fn deep_thought() -> u32 {
    42
}
