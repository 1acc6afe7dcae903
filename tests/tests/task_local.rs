//! `goroutine_local!` and `defer!`.

use goweft::{defer, goroutine_local, run, spawn, task};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

goroutine_local! {
    static DEPTH: Cell<u32> = Cell::new(7);
    pub static WORDS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static PLAIN: u64 = task::id().as_u64().get()
}

#[test]
fn each_goroutine_has_its_own() {
    let handles: Vec<_> = (0..1_000u32)
        .map(|i| {
            spawn(move || {
                assert_eq!(DEPTH.get(), 7);
                DEPTH.set(i);
                WORDS.with_borrow_mut(|w| w.push(i.to_string()));
                for _ in 0..10 {
                    task::yield_now();
                }
                assert_eq!(DEPTH.replace(i + 1), i);
                assert_eq!(PLAIN.with(|p| *p), task::id().as_u64().get());
                assert_eq!(WORDS.take(), [i.to_string()]);
                DEPTH.get()
            })
        })
        .collect();
    for (i, h) in handles.into_iter().enumerate() {
        assert_eq!(h.join().unwrap(), i as u32 + 1);
    }
}

#[test]
fn a_plain_thread_has_its_own_too_and_drops_it() {
    static DROPS: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Drop for Counted {
        fn drop(&mut self) {
            // Other keys can be used meanwhile.
            DEPTH.set(DEPTH.get() + 1);
            DROPS.fetch_add(1, Ordering::SeqCst);
        }
    }
    goroutine_local! { static COUNTED: Counted = Counted; }
    std::thread::spawn(|| {
        DEPTH.set(3);
        COUNTED.with(|_| ());
        assert_eq!(DEPTH.get(), 3);
        assert_eq!(run(|| DEPTH.get()), 7);
    })
    .join()
    .unwrap();
    assert_eq!(DROPS.load(Ordering::SeqCst), 1);
}

#[test]
fn a_reference_stays_good_over_parks_and_new_keys() {
    goroutine_local! {
        static A: String = "a".repeat(100);
        static B: String = "b".repeat(100);
        static C: String = "c".repeat(100);
    }
    spawn(|| {
        A.with(|a| {
            for _ in 0..10 {
                task::yield_now();
                B.with(|b| {
                    task::yield_now();
                    C.with(|c| assert_eq!((a.len(), b.len(), c.len()), (100, 100, 100)));
                });
            }
            assert!(a.starts_with("aaa"));
        });
    })
    .join()
    .unwrap();
}

#[test]
fn set_does_not_run_the_initializer() {
    goroutine_local! { static UNUSED: Cell<u8> = panic!("not to be run"); }
    assert_eq!(
        spawn(|| {
            UNUSED.set(3);
            UNUSED.get()
        })
        .join()
        .unwrap(),
        3
    );
}

#[test]
fn an_initializer_that_uses_its_own_key_is_answered() {
    goroutine_local! { static TWICE: Cell<u8> = Cell::new(match NESTED.replace(true) {
        false => TWICE.get() + 1,
        true => 10,
    }); }
    goroutine_local! { static NESTED: Cell<bool> = Cell::new(false); }
    assert_eq!(
        spawn(|| TWICE.get()).join().unwrap(),
        10,
        "the value that was there first"
    );
}

type Log = Arc<Mutex<Vec<&'static str>>>;

/// Logs its drop, and then what `then` does.
struct Logged(Log, &'static str, fn(&Log));

impl Drop for Logged {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(self.1);
        (self.2)(&self.0);
    }
}

goroutine_local! {
    static FIRST: RefCell<Option<Logged>> = RefCell::new(None);
    static SECOND: RefCell<Option<Logged>> = RefCell::new(None);
}

#[test]
fn values_are_dropped_on_the_goroutine_before_join_returns() {
    let log = Log::default();
    let theirs = log.clone();
    let h = spawn(move || {
        FIRST.set(Some(Logged(theirs.clone(), "first", |_| {
            assert!(task::is_goroutine());
            assert_eq!(task::current().name(), None);
            task::yield_now();
        })));
        theirs.lock().unwrap().push("body");
    });
    h.join().unwrap();
    assert_eq!(*log.lock().unwrap(), ["body", "first"]);
}

#[test]
fn a_destructor_may_use_other_keys_and_those_are_dropped_too() {
    let log = Log::default();
    let theirs = log.clone();
    spawn(move || {
        FIRST.set(Some(Logged(theirs, "first", |log| {
            // Its own is out of reach.
            assert!(FIRST.try_with(|_| ()).is_err());
            SECOND.set(Some(Logged(log.clone(), "second", |log| {
                // Made anew, and dropped in the next round.
                FIRST.set(Some(Logged(log.clone(), "again", |_| ())));
            })));
        })));
    })
    .join()
    .unwrap();
    assert_eq!(*log.lock().unwrap(), ["first", "second", "again"]);
}

#[test]
fn values_are_dropped_after_a_panic_and_an_exit() {
    for how in [|| std::panic::resume_unwind(Box::new(1u8)), || task::exit()] as [fn(); 2] {
        let log = Log::default();
        let theirs = log.clone();
        let h = spawn(move || {
            FIRST.set(Some(Logged(theirs, "dropped", |_| ())));
            how();
        });
        assert!(h.join().is_err());
        assert_eq!(*log.lock().unwrap(), ["dropped"]);
    }
}

// Go's test/deferprint.go, recover.go.
#[test]
fn deferred_code_runs_in_reverse_order_also_when_it_unwinds() {
    let log = Log::default();
    let theirs = log.clone();
    let h = spawn(move || {
        let say = |what| theirs.lock().unwrap().push(what);
        defer! { say("last"); }
        defer! {
            task::yield_now();
            say("first")
        }
        say("body");
        if task::is_goroutine() {
            std::panic::resume_unwind(Box::new(()));
        }
    });
    assert!(h.join().is_err());
    assert_eq!(*log.lock().unwrap(), ["body", "first", "last"]);
}

#[test]
fn deferred_code_runs_at_a_return() {
    fn leave(log: &RefCell<Vec<u8>>, early: bool) -> Option<()> {
        defer!(log.borrow_mut().push(9));
        if early {
            None?
        }
        log.borrow_mut().push(1);
        Some(())
    }
    let log = RefCell::new(Vec::new());
    assert!(leave(&log, true).is_none() && leave(&log, false).is_some());
    assert_eq!(*log.borrow(), [9, 1, 9]);
}
