//! `go!`, `#[goweft::main]` and `#[goweft::test]` as a program uses them: what
//! is evaluated when, by whom, and what may be written.

use goweft::channel::{self, Receiver, Sender};
use goweft::{go, task};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn send_sum(tx: Sender<u32>, a: u32, b: u32) {
    tx.send(a + b).unwrap();
}

fn all<T>(rx: &Receiver<T>) -> Vec<T> {
    rx.iter().collect()
}

#[goweft::test]
fn a_closure_runs() {
    let (tx, rx) = channel::bounded(1);
    go!(move || tx.send(7));
    assert_eq!(rx.recv(), Ok(7));
}

#[goweft::test]
fn a_closure_that_captures_nothing_needs_no_move() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    let (tx, rx) = channel::bounded::<()>(1);
    go!(|| RAN.fetch_add(1, Ordering::SeqCst));
    go!(move || {
        while RAN.load(Ordering::SeqCst) == 0 {
            task::yield_now();
        }
        drop(tx);
    });
    assert!(rx.recv().is_err());
}

#[goweft::test]
fn a_path_is_called() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    fn count() -> usize {
        RAN.fetch_add(1, Ordering::SeqCst)
    }
    let (tx, rx) = channel::bounded(1);
    let held_by_variable = move || tx.send(RAN.load(Ordering::SeqCst));
    go!(count);
    while RAN.load(Ordering::SeqCst) == 0 {
        task::yield_now();
    }
    go!(held_by_variable);
    assert_eq!(rx.recv(), Ok(1));
}

#[goweft::test]
fn arguments_are_evaluated_by_the_caller_in_order() {
    let (tx, rx) = channel::bounded(1);
    // Neither is Send: they never leave the caller.
    let order = Rc::new(Cell::new(0));
    let next = |name: &str| {
        let before = order.get();
        order.set(before + 1);
        (name.to_string(), before)
    };
    fn report(tx: Sender<Vec<(String, i32)>>, a: (String, i32), b: (String, i32)) {
        tx.send(vec![a, b]).unwrap();
    }
    go!(report(tx, next("first"), next("second")));
    assert_eq!(order.get(), 2, "evaluated before the goroutine runs");
    assert_eq!(
        rx.recv().unwrap(),
        [("first".into(), 0), ("second".into(), 1)]
    );
}

#[goweft::test]
fn a_variable_that_is_an_argument_keeps_the_value_of_now() {
    let (tx, rx) = channel::unbounded();
    let mut n = 0;
    while n < 10 {
        go!(send_sum(tx.clone(), n, 100));
        n += 1;
    }
    drop(tx);
    let mut got = all(&rx);
    got.sort_unstable();
    assert_eq!(got, (100..110).collect::<Vec<u32>>());
}

struct Server {
    served: AtomicUsize,
}

impl Server {
    fn serve(&self, n: usize, done: &Sender<usize>) {
        done.send(self.served.fetch_add(n, Ordering::SeqCst) + n)
            .unwrap();
    }

    fn serve_mut(&mut self, done: Sender<usize>) {
        *self.served.get_mut() += 1;
        done.send(*self.served.get_mut()).unwrap();
    }

    fn own(self: Arc<Self>, done: Sender<usize>) {
        done.send(self.served.load(Ordering::SeqCst)).unwrap();
    }
}

#[goweft::test]
fn a_method_runs_on_the_receiver_of_now() {
    let (tx, rx) = channel::bounded(1);
    let server = Arc::new(Server {
        served: AtomicUsize::new(0),
    });
    go!(server.clone().own(tx.clone()));
    assert_eq!(rx.recv(), Ok(0));
    let leaked: &'static Sender<usize> = Box::leak(Box::new(tx.clone()));
    go!(server.clone().serve(5, leaked));
    assert_eq!(rx.recv(), Ok(5));
    assert_eq!(server.served.load(Ordering::SeqCst), 5);
    go!(Server {
        served: AtomicUsize::new(8)
    }
    .serve_mut(tx));
    assert_eq!(rx.recv(), Ok(9));
}

#[goweft::test]
fn a_question_mark_in_an_argument_leaves_the_caller() {
    fn start(text: &str, tx: Sender<u32>) -> Result<(), std::num::ParseIntError> {
        go!(send_sum(tx, text.parse()?, 1));
        Ok(())
    }
    let (tx, rx) = channel::bounded(1);
    assert!(start("no number", tx.clone()).is_err());
    start("41", tx).unwrap();
    assert_eq!(all(&rx), [42]);
}

#[goweft::test]
fn a_closure_among_the_arguments_has_its_types_inferred() {
    fn each(tx: Sender<usize>, words: Vec<&'static str>, f: impl Fn(&str) -> usize) {
        words.into_iter().for_each(|word| tx.send(f(word)).unwrap());
    }
    let (tx, rx) = channel::bounded(2);
    let add = 10;
    go!(each(tx, vec!["a", "bcd"], |word| word.len() + add));
    assert_eq!(all(&rx), [11, 13]);
}

#[goweft::test]
fn what_is_called_may_itself_be_computed() {
    fn adder(n: u32) -> impl FnMut(Sender<u32>, u32) + Send {
        let mut sum = n;
        move |tx, m| {
            sum += m;
            tx.send(sum).unwrap();
        }
    }
    let (tx, rx) = channel::bounded(1);
    go!(adder(1)(tx.clone(), 2));
    assert_eq!(rx.recv(), Ok(3));
    go!((move |x| tx.send(x).unwrap())(4));
    assert_eq!(rx.recv(), Ok(4));
}

#[goweft::test]
fn return_leaves_a_block() {
    let (tx, rx) = channel::bounded(4);
    go! {
        for i in 0.. {
            if i == 3 {
                return;
            }
            tx.send(i).unwrap();
        }
    }
    assert_eq!(all(&rx), [0, 1, 2]);
}

#[goweft::test]
fn statements_expressions_and_macros_are_blocks() {
    let (tx, rx) = channel::unbounded();
    let (a, b, c, d) = (tx.clone(), tx.clone(), tx.clone(), tx);
    go!({
        let n = 1;
        a.send(n)
    });
    go!(if b.send(2).is_err() {
        unreachable!()
    });
    go!(assert!(c.send(3).is_ok()));
    go! {
        let n: u32 = "4".parse()?;
        d.send(n).unwrap();
        Ok::<(), std::num::ParseIntError>(())
    }
    let mut got = all(&rx);
    got.sort_unstable();
    assert_eq!(got, [1, 2, 3, 4]);
}

#[goweft::test]
fn a_goroutine_that_never_returns_is_allowed() {
    let (tx, rx) = channel::bounded(0);
    go! {
        loop {
            if tx.send(1).is_err() {
                panic!("expected: ends a goroutine that has no other way out");
            }
        }
    }
    assert_eq!(rx.recv(), Ok(1));
    assert_eq!(rx.recv(), Ok(1));
}

#[goweft::test]
fn the_result_is_dropped_by_the_goroutine() {
    struct TellsOnDrop(Sender<bool>, task::TaskId);
    impl Drop for TellsOnDrop {
        fn drop(&mut self) {
            let _ = self.0.send(task::id() != self.1);
        }
    }
    let (tx, rx) = channel::bounded(1);
    let caller = task::id();
    // Not Send: only the goroutine ever has one.
    go!(move || (Rc::new(0), TellsOnDrop(tx, caller)));
    assert_eq!(rx.recv(), Ok(true), "another goroutine than the caller");
}

#[goweft::test]
fn options_reach_the_goroutine() {
    let (tx, rx) = channel::bounded(1);
    let number = 3;
    let name_of_self =
        |tx: Sender<Option<String>>| tx.send(task::current().name().map(String::from));
    go!(
        name = format!("worker {number}"),
        stack = 64 << 10,
        name_of_self(tx.clone())
    );
    assert_eq!(rx.recv().unwrap().as_deref(), Some("worker 3"));
    go!(pinned = false, name = "block", {
        let own = task::current().name().map(String::from);
        tx.send(own)
    });
    assert_eq!(rx.recv().unwrap().as_deref(), Some("block"));
}

#[goweft::test]
fn an_impossible_stack_size_panics_in_the_caller() {
    let caught = std::panic::catch_unwind(|| go!(stack = usize::MAX, || ()));
    assert!(caught.is_err());
}

#[goweft::test]
fn it_works_from_inside_other_macros() {
    macro_rules! start {
        ($e:expr) => {
            go!($e)
        };
    }
    let (tx, rx) = channel::bounded(1);
    let sender = Rc::new(tx);
    // The Rc stays here: the receiver and arguments are evaluated now, through
    // the invisible parentheses around $e.
    start!(send_sum(Sender::clone(&sender), 1, 2));
    assert_eq!(rx.recv(), Ok(3));
    start!(Sender::clone(&sender).send(5));
    assert_eq!(rx.recv(), Ok(5));
}

#[goweft::test]
fn names_of_the_expansion_do_not_meet_the_users() {
    let (tx, rx) = channel::bounded(1);
    let __goweft_arg0 = 1;
    let __goweft_arg1 = 2;
    go!(send_sum(tx, __goweft_arg1, __goweft_arg0 + __goweft_arg1));
    assert_eq!(rx.recv(), Ok(5));
}

#[goweft::test]
fn a_test_is_a_goroutine() {
    assert!(task::is_goroutine());
}

#[goweft::test]
fn a_test_may_return_a_result() -> Result<(), Box<dyn std::error::Error>> {
    let n: i32 = "1".parse()?;
    assert_eq!(n, 1);
    Ok(())
}

#[goweft::test]
#[should_panic(expected = "of the goroutine")]
fn a_test_panics_with_the_panic_of_its_goroutine() {
    panic!("of the goroutine");
}
