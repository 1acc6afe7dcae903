//! A coroutine for the tests: resumed by somebody, suspends to that one. Panics
//! come out of `resume`.

#![allow(dead_code, reason = "not every test uses all of it")]

use goweft_stacks::context::{Context, prepare, switch, switch_final};
use goweft_stacks::{Class, Stack};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

pub(crate) struct Fiber {
    // Before the stack: it is freed first.
    inner: Box<Inner>,
    stack: Stack,
}

// SAFETY: the tests move fibers whose closures are Send.
unsafe impl Send for Fiber {}

type Body = Box<dyn FnOnce(&Suspend)>;

struct Inner {
    fiber: Context,
    resumer: Context,
    body: Option<Body>,
    ended: Option<thread::Result<()>>,
}

/// How the body of a fiber suspends.
pub(crate) struct Suspend(*mut Inner);

impl Suspend {
    pub(crate) fn suspend(&self) {
        // SAFETY: the fiber runs, so its resumer is suspended.
        unsafe { switch((*self.0).resumer, store, (&raw mut (*self.0).fiber).cast()) }
    }
}

unsafe extern "C" fn store(left: Context, place: *mut ()) {
    // SAFETY: `place` is a field of `Inner`.
    unsafe { place.cast::<Context>().write(left) }
}

unsafe extern "C" fn entry(inner: *mut ()) -> ! {
    let inner = inner.cast::<Inner>();
    // SAFETY: the box outlives the fiber; the resumer is suspended.
    unsafe {
        let body = (*inner).body.take().expect("a fiber starts once");
        let suspend = Suspend(inner);
        let ended = catch_unwind(AssertUnwindSafe(|| body(&suspend)));
        (*inner).ended = Some(ended);
        let to = (*inner).resumer;
        switch_final(to, store, (&raw mut (*inner).fiber).cast())
    }
}

impl Fiber {
    pub(crate) fn new(class: Class, body: impl FnOnce(&Suspend) + 'static) -> Fiber {
        let stack = Stack::new(class).expect("a stack");
        let mut inner = Box::new(Inner {
            fiber: Context::NULL,
            resumer: Context::NULL,
            body: Some(Box::new(body)),
            ended: None,
        });
        // SAFETY: the stack lives as long as the fiber; `entry` never unwinds.
        inner.fiber =
            unsafe { prepare(stack.top(), stack.limit(), entry, (&raw mut *inner).cast()) };
        Fiber { inner, stack }
    }

    /// Runs it until it suspends (true) or ends (false).
    pub(crate) fn resume(&mut self) -> bool {
        assert!(self.inner.ended.is_none(), "the fiber has ended");
        let inner = &raw mut *self.inner;
        // SAFETY: the fiber is suspended.
        unsafe { switch((*inner).fiber, store, (&raw mut (*inner).resumer).cast()) };
        match self.inner.ended.take() {
            None => true,
            Some(Ok(())) => {
                self.inner.ended = Some(Ok(()));
                false
            }
            Some(Err(panic)) => {
                self.inner.ended = Some(Ok(()));
                resume_unwind(panic)
            }
        }
    }

    pub(crate) fn context(&self) -> Context {
        self.inner.fiber
    }

    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }
}

/// Runs `body` on a fresh stack to its end.
pub(crate) fn run(class: Class, body: impl FnOnce() + 'static) {
    let mut fiber = Fiber::new(class, |_| body());
    assert!(!fiber.resume());
}

/// Recurses until `bytes` of the stack below `top` are used. Returns the depth.
#[inline(never)]
pub(crate) fn recurse(top: usize, bytes: usize) -> usize {
    let mut frame = [0u8; 512];
    let frame = std::hint::black_box(&mut frame);
    let here = frame.as_ptr().addr();
    let depth = if top - here >= bytes {
        0
    } else {
        recurse(top, bytes) + 1
    };
    // Keeps the frame alive over the call.
    frame[0] = depth as u8;
    std::hint::black_box(frame);
    depth
}
