//! The macros of [goweft](https://docs.rs/goweft): use them from there.
//!
//! Each macro has one file, which works on `proc_macro2` tokens so that its
//! unit tests can look at the expansion. All expansions name the crate
//! `::goweft`, and reach what is not public in `::goweft::__private`.

mod entry;
mod go;

use entry::Entry;
use proc_macro::TokenStream;

/// Starts a goroutine; evaluates to `()`.
///
/// Takes a closure, a function, a call, a method call or a block:
///
/// ```
/// # use goweft::{channel, go};
/// # fn worker(id: u32, done: channel::Sender<u32>) { done.send(id).unwrap() }
/// # goweft::run(|| {
/// let (tx, rx) = channel::unbounded();
/// let done = tx.clone();
/// go!(move || done.send(0)); // any FnOnce() -> T + Send + 'static
/// go!(worker(1, tx.clone())); // a call: its arguments are evaluated now
/// go!(tx.clone().send(2)); // and so is a receiver
/// go! {
///     let id = 3;
///     tx.send(id) // a block is moved into the goroutine
/// }
/// let mut ids: Vec<u32> = rx.iter().collect();
/// ids.sort();
/// assert_eq!(ids, [0, 1, 2, 3]);
/// # });
/// ```
///
/// As with Go's `go`, the receiver and the arguments of a call are evaluated
/// by the caller, in order, and the call itself runs later. What is not a
/// closure, a bare path or one call is a block (`go!(f(x))` is a call,
/// `go! { f(x); }` is a block, in which `x` is evaluated later); `return` leaves
/// it. What the goroutine returns is dropped by the goroutine. To wait for it,
/// use `spawn`, a `WaitGroup` or a channel.
///
/// `go!(make())` runs `make()`. To run what it returns, `spawn(make())`.
///
/// # Options
///
/// Before any of these forms, in any order: `name = ` a string, `stack = ` bytes
/// (rounded up to a power of two, 16 KiB to 1 GiB), `pinned` (or
/// `pinned = ` a bool):
///
/// ```
/// # fn serve(port: u16) {}
/// # goweft::run(|| {
/// goweft::go!(name = "acceptor", stack = 1 << 20, serve(8080));
/// # });
/// ```
///
/// # Panics
///
/// Where `Builder::spawn` returns an error: the stack size is not allowed, or
/// there is no memory or no mapping for another stack.
#[proc_macro]
pub fn go(input: TokenStream) -> TokenStream {
    go::expand(input.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Runs `fn main` as a goroutine. The program ends when it returns.
///
/// `main` may return whatever it may return without this attribute. The
/// options are the names of `Config`'s setters, with a value each:
///
/// ```
/// #[goweft::main(maxprocs = 2, panic = Abort)]
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let (tx, rx) = goweft::channel::bounded(0);
///     goweft::go!(move || tx.send("hello"));
///     assert_eq!(rx.recv()?, "hello");
///     Ok(())
/// }
/// ```
///
/// Other goroutines are not waited for. A panic in `main` ends the program as
/// it does without the attribute. An option that cannot be used ends it with a
/// message that says which, and what is allowed.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(Entry::Main, options.into(), item.into()).into()
}

/// A test that runs as a goroutine.
///
/// ```
/// #[goweft::test]
/// fn goroutines_can_rendezvous() {
///     let (tx, rx) = goweft::channel::bounded(0);
///     goweft::go!(move || tx.send(1));
///     assert_eq!(rx.recv(), Ok(1));
/// }
/// ```
///
/// It may return a `Result`, and `#[should_panic]` and the like work as on any
/// test. It takes the options of `#[goweft::main]`; all tests of a process share one
/// runtime, so options have an effect only in the test that starts it.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(Entry::Test, options.into(), item.into()).into()
}
