//! What happens once.

use crate::letter::Letter;
use crate::sides::{ROUNDS, both_ways};
use goweft::channel;
use goweft::sync::{LazyLock, Once, OnceLock};
use goweft::task;
use std::sync::Arc;

#[test]
fn what_happens_once_comes_before_every_return_of_it() {
    struct Cells {
        once: Once,
        cell: OnceLock<u64>,
        lazy: LazyLock<u64, Box<dyn FnOnce() -> u64 + Send>>,
        letters: Arc<[Letter; 3]>,
    }
    fn look(cells: &Cells, n: u64) {
        let letters = &cells.letters;
        cells.once.call_once(|| letters[0].write(n));
        letters[0].expect(n);
        cells.cell.get_or_init(|| {
            letters[1].write(n);
            n
        });
        letters[1].expect(n);
        assert_eq!(*cells.lazy, n);
        letters[2].expect(n);
    }
    both_ways(|| {
        let (pass, passed) = channel::bounded::<(u64, Arc<Cells>)>(0);
        (
            move || {
                for n in 0..ROUNDS {
                    let letters: Arc<[Letter; 3]> = Arc::default();
                    let theirs = letters.clone();
                    let cells = Arc::new(Cells {
                        once: Once::new(),
                        cell: OnceLock::new(),
                        lazy: LazyLock::new(Box::new(move || {
                            theirs[2].write(n);
                            n
                        })),
                        letters,
                    });
                    pass.send((n, cells.clone())).unwrap();
                    look(&cells, n);
                }
            },
            move || {
                for (n, cells) in passed {
                    match n % 3 {
                        // Who only looks, and finds it done, sees it as well.
                        0 => {
                            while !cells.once.is_completed() {
                                task::yield_now();
                            }
                        }
                        1 => cells.once.wait(),
                        _ => look(&cells, n),
                    }
                    cells.letters[0].expect(n);
                }
            },
        )
    });
}
