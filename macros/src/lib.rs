//! The macros of [goweft](https://docs.rs/goweft): use them from there.
//!
//! Each macro has one file, which works on `proc_macro2` tokens so that its
//! unit tests can look at the expansion. All expansions name the crate
//! `::goweft`, and reach what is not public in `::goweft::__private`.

mod entry;
mod go;
mod select;

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

/// Waits for the first of several channel operations.
///
/// ```
/// use goweft::{channel, select};
/// use std::time::Duration;
///
/// let (requests, rx) = channel::unbounded::<u32>();
/// let (tx, answers) = channel::bounded::<u32>(1);
/// requests.send(20).unwrap();
///
/// for _ in 0..2 {
///     select! {
///         // msg: Result<T, RecvError>
///         recv(rx) -> msg => assert_eq!(msg, Ok(20)),
///         // res: Result<(), SendError<T>>; the value is evaluated only when
///         // this arm is chosen
///         send(tx, 1 + 1) -> res => res.unwrap(),
///         // at most one of: default => ..., default(timeout) => ...
///         default(Duration::from_secs(1)) => panic!("nothing was ready"),
///     }
/// }
/// assert_eq!(answers.recv(), Ok(2));
/// ```
///
/// An operand is a `Sender` or `Receiver`, a reference to one, or an `Option` of
/// those; `None` is never ready, as Go's nil channel. Operands, and a timeout,
/// are evaluated once and in order, before anything is chosen, and are not
/// moved. Among the arms that are ready the choice is random and uniform. With `default`
/// nothing waits: it is taken when no other arm is ready; with a timeout, when none was
/// for so long. A closed channel is ready: its arm gets an error.
///
/// The arms are where they are written: `break`, `continue`, `return` and `?`
/// do what they do outside, and all arms have one type, which is the type
/// of the `select!`.
///
/// The value of a send is evaluated when its arm was chosen. If that panics or leaves the arm, the
/// send is undone, and nobody has received anything. Until then a receiver on the other side may have
/// to wait for the value, so evaluate what takes long, or waits for others, before the `select!`.
/// (One with `default` may have to as well.)
///
/// `select! {}` waits for ever.
///
/// # Panics
///
/// In `no_park`, when it has to wait, with a timeout too.
///
/// # Examples
///
/// ```
/// use goweft::{channel, select};
///
/// // Merging: a channel that is closed drops out.
/// let (a, b) = (channel::unbounded(), channel::unbounded());
/// a.0.send(1).unwrap();
/// b.0.send(2).unwrap();
/// drop((a.0, b.0));
/// let (mut a, mut b) = (Some(a.1), Some(b.1));
/// let mut sum = 0;
/// while a.is_some() || b.is_some() {
///     select! {
///         recv(a) -> n => match n {
///             Ok(n) => sum += n,
///             Err(_) => a = None,
///         },
///         recv(b) -> n => match n {
///             Ok(n) => sum += n,
///             Err(_) => b = None,
///         },
///     }
/// }
/// assert_eq!(sum, 3);
/// ```
#[proc_macro]
pub fn select(input: TokenStream) -> TokenStream {
    select::expand(input.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
