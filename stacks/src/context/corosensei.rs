//! The context switch over the `corosensei` crate: for architectures without
//! assembly of ours, and as a second implementation to test against.
//!
//! corosensei is asymmetric: a coroutine is resumed by somebody and suspends to
//! that one. Symmetric switching is built on a loop:
//! 1. A thread that leaves its own stack runs the host loop, in `host`: it
//!    resumes the target and hands it the action to run on arrival.
//! 2. A context that switches suspends with a request: where to, and the action.
//!    It comes out in the loop of whatever thread runs it now.
//! 3. The loop resumes the next target; or returns, if the target is the thread
//!    itself.
//!
//! What always holds:
//! - A [`Context`](super::Context) points to a `Record`. That of a fresh context
//!   lies at the top of its stack, with the coroutine in it, so nothing is
//!   allocated; that of a thread lies in the frame of its host loop.
//! - When a request reaches a loop, corosensei has written the last word into
//!   the record of the context left. Only then an action can publish or free it.
//! - A thread's own context can be resumed on that thread only. (With our
//!   assembly it could move; nobody needs it.)
//! - The coroutine object of a context that ended is never dropped: its stack is
//!   reused as it is.
//!
//! A thread-local says which context runs. It is read and written through
//! functions that are not inlined, because a context changes threads in the
//! middle of a function.

use super::{Action, Context, Entry};
use corosensei::stack::StackPointer;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::Cell;
use std::convert::Infallible;
use std::ptr;

/// What resumes a coroutine.
enum Message {
    /// Run the action, then go on.
    Arrive(Hop),
    /// Run the function, then suspend again.
    Call(unsafe extern "C" fn(*mut ()), *mut ()),
}

/// What suspends a coroutine.
enum Request {
    Switch(Hop),
    /// The function of `Message::Call` has run.
    Called,
}

/// One switch under way.
#[derive(Clone, Copy)]
struct Hop {
    to: *mut Record,
    action: Action,
    data: *mut (),
    left: *mut Record,
}

type Fiber = Coroutine<Message, Request, Infallible, Memory>;

/// What a context points to.
enum Record {
    /// A thread, in its host loop.
    Thread,
    /// A coroutine and, once it runs, the way to suspend it.
    Fiber(Fiber, *const Yielder<Message, Request>),
}

/// The memory of a stack, borrowed for as long as the contract of `prepare` says.
struct Memory {
    base: StackPointer,
    limit: StackPointer,
}

// SAFETY: `prepare`'s caller promises a live stack with a guard below it.
unsafe impl corosensei::stack::Stack for Memory {
    fn base(&self) -> StackPointer {
        self.base
    }

    fn limit(&self) -> StackPointer {
        self.limit
    }
}

thread_local! {
    /// The context that runs on this thread; null if the thread itself does.
    static CURRENT: Cell<*mut Record> = const { Cell::new(ptr::null_mut()) };
}

#[inline(never)]
fn current() -> *mut Record {
    CURRENT.get()
}

#[inline(never)]
fn set_current(record: *mut Record) {
    CURRENT.set(record);
}

/// # Safety
/// As [`super::switch`].
pub(super) unsafe fn switch(to: *mut u8, action: Action, data: *mut ()) {
    let (to, left) = (to.cast::<Record>(), current());
    let hop = Hop {
        to,
        action,
        data,
        left,
    };
    // SAFETY: the caller vouches for `to`; `left` is what runs here.
    unsafe {
        if left.is_null() {
            host(hop)
        } else {
            suspend(hop)
        }
    }
}

/// # Safety
/// As [`super::switch_plain`].
pub(super) unsafe fn switch_plain(to: *mut u8, left: *mut *mut u8) {
    /// Stores the context left.
    unsafe extern "C" fn store(left: Context, place: *mut ()) {
        // SAFETY: `place` is valid for a write, says the caller of
        // `switch_plain`.
        unsafe { super::publish(place.cast(), left) };
    }
    // SAFETY: as `switch`.
    unsafe { switch(to, store, left.cast()) }
}

/// # Safety
/// As [`super::switch_final`].
pub(super) unsafe fn switch_final(to: *mut u8, action: Action, data: *mut ()) -> ! {
    // SAFETY: as `switch`.
    unsafe { switch(to, action, data) };
    // A context that ended was resumed: its stack may be gone already.
    std::process::abort()
}

/// The loop of a thread that left its own stack.
///
/// # Safety
/// `hop.to` is a suspended context that nobody else resumes.
unsafe fn host(mut hop: Hop) {
    let mut this = Record::Thread;
    let this = &raw mut this;
    hop.left = this;
    while hop.to != this {
        // SAFETY: the context is suspended and ours to resume, so nobody else
        // uses its record. The borrow ends before the next action runs, which
        // may free it.
        let came = unsafe {
            let Record::Fiber(fiber, _) = &mut *hop.to else {
                eprintln!("context: a thread's own context was resumed on another thread");
                std::process::abort();
            };
            set_current(hop.to);
            fiber.resume(Message::Arrive(hop))
        };
        set_current(ptr::null_mut());
        match came {
            CoroutineResult::Yield(Request::Switch(next)) => hop = next,
            CoroutineResult::Yield(Request::Called) => unreachable!("context: nobody called"),
            CoroutineResult::Return(never) => match never {},
        }
    }
    // SAFETY: the switcher's promise; what it left is complete.
    unsafe { (hop.action)(Context(hop.left.cast()), hop.data) };
}

/// Suspends the running context with a request, until it is resumed.
///
/// # Safety
/// Called on the stack of `hop.left`, which runs.
unsafe fn suspend(hop: Hop) {
    // SAFETY: the context runs, so the loop has no borrow of the field that says
    // how to suspend it, and that was set at its start.
    let yielder = unsafe {
        let Record::Fiber(_, yielder) = &*hop.left else {
            unreachable!()
        };
        &**yielder
    };
    // SAFETY: the yielder is that of the stack we are on.
    unsafe { arrive(yielder, yielder.suspend(Request::Switch(hop))) };
}

/// Does what resumes a context until that is an arrival.
///
/// # Safety
/// Called on the stack of `yielder`, with what it was resumed with.
unsafe fn arrive(yielder: &Yielder<Message, Request>, mut message: Message) {
    loop {
        match message {
            Message::Arrive(hop) => {
                // SAFETY: the switcher's promise; what it left is complete.
                return unsafe { (hop.action)(Context(hop.left.cast()), hop.data) };
            }
            Message::Call(f, data) => {
                // SAFETY: the promise of the caller of `call_on_top`.
                unsafe { f(data) };
                message = yielder.suspend(Request::Called);
            }
        }
    }
}

/// # Safety
/// As [`super::prepare`].
pub(super) unsafe fn prepare(top: *mut u8, limit: *mut u8, entry: Entry, arg: *mut ()) -> *mut u8 {
    // Room for the record above the stack that corosensei sees.
    let record = top
        .map_addr(|a| (a - size_of::<Record>()) & !(align_of::<Record>().max(16) - 1))
        .cast::<Record>();
    let memory = Memory {
        base: StackPointer::new(record.expose_provenance()).expect("context: null stack"),
        limit: StackPointer::new(limit.expose_provenance()).expect("context: null stack"),
    };
    let at = record.expose_provenance();
    let arg = arg.expose_provenance();
    let body = move |yielder: &Yielder<Message, Request>, first: Message| -> Infallible {
        let record = ptr::with_exposed_provenance_mut::<Record>(at);
        // SAFETY: the record is ours while we run; the loop has borrowed the
        // coroutine in it, not this field. The arrival is the first.
        unsafe {
            if let Record::Fiber(_, place) = &mut *record {
                *place = yielder;
            }
            arrive(yielder, first);
            entry(ptr::with_exposed_provenance_mut(arg))
        }
    };
    // SAFETY: the memory is a stack that nobody uses, large enough for a page
    // and more; the record lies above what corosensei was given.
    unsafe {
        record.write(Record::Fiber(Fiber::with_stack(memory, body), ptr::null()));
    }
    record.cast()
}

/// # Safety
/// As [`super::run_on_top`]; `f` does not unwind.
pub(super) unsafe fn call_on_top(on: *mut u8, f: unsafe extern "C" fn(*mut ()), data: *mut ()) {
    // SAFETY: the context is suspended and nobody resumes it, so the record is
    // ours for the time.
    match unsafe { &mut *on.cast::<Record>() } {
        // A thread in its host loop: that is below us on this very stack.
        // SAFETY: the caller vouches for `f`.
        Record::Thread => unsafe { f(data) },
        Record::Fiber(fiber, _) => match fiber.resume(Message::Call(f, data)) {
            CoroutineResult::Yield(Request::Called) => {}
            CoroutineResult::Yield(Request::Switch(_)) => {
                eprintln!("context: a function run on top of a context switched");
                std::process::abort();
            }
            CoroutineResult::Return(never) => match never {},
        },
    }
}
