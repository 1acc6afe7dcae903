//! A generator in forty lines: a function that yields values from its own stack.
//! `cargo run -p goweft-stacks --example generator` prints Fibonacci numbers.

use goweft_stacks::context::{Context, prepare, switch_final, switch_plain};
use goweft_stacks::{Class, Stack};

struct Generator<T>(
    Box<State<T>>,
    #[expect(dead_code, reason = "owns the memory")] Stack,
);
struct State<T> {
    inside: Context,
    outside: Context,
    body: Option<fn(&mut State<T>)>,
    value: Option<T>,
}

impl<T> State<T> {
    fn give(&mut self, value: T) {
        self.value = Some(value);
        // SAFETY: we run inside, so `outside` is suspended in `next`.
        unsafe { switch_plain(self.outside, &mut self.inside) }
    }
}

unsafe extern "C" fn run<T>(state: *mut ()) -> ! {
    unsafe extern "C" fn ended<T>(_: Context, state: *mut ()) {
        // SAFETY: the state outlives the run; a null context says that it is over.
        unsafe { (*state.cast::<State<T>>()).inside = Context::NULL }
    }
    // SAFETY: `state` is the box that `generate` made; a body is there once.
    unsafe {
        let state = state.cast::<State<T>>();
        (*state).body.take().unwrap()(&mut *state);
        switch_final((*state).outside, ended::<T>, state.cast())
    }
}

fn generate<T>(body: fn(&mut State<T>)) -> std::io::Result<Generator<T>> {
    let stack = Stack::new(Class::DEFAULT)?;
    let (inside, outside) = (Context::NULL, Context::NULL);
    let mut state = Box::new(State {
        inside,
        outside,
        body: Some(body),
        value: None,
    });
    let arg = (&raw mut *state).cast();
    // SAFETY: the stack and the state live as long as the generator.
    state.inside = unsafe { prepare(stack.top(), stack.limit(), run::<T>, arg) };
    Ok(Generator(state, stack))
}

impl<T> Iterator for Generator<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        if !self.0.inside.is_null() {
            // SAFETY: it is suspended in `give`, or fresh, or null once it ended.
            unsafe { switch_plain(self.0.inside, &mut self.0.outside) }
        }
        self.0.value.take()
    }
}

fn main() -> std::io::Result<()> {
    let fibonacci = generate(|to| {
        let (mut a, mut b) = (0u64, 1);
        while let Some(next) = a.checked_add(b) {
            to.give(a);
            (a, b) = (b, next);
        }
    })?;
    let numbers: Vec<u64> = fibonacci.collect();
    assert_eq!(numbers[..8], [0, 1, 1, 2, 3, 5, 8, 13]);
    println!(
        "{} Fibonacci numbers fit 64 bits, the last is {:?}",
        numbers.len(),
        numbers.last()
    );
    Ok(())
}
