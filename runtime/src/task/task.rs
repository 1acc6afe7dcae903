//! [`Task`]: who runs, and park and unpark.
//!
//! A goroutine's permit is one word in its control block:
//!
//! ```text
//! 63                             2   1..0
//! +-------------------------------+-------+
//! | id                            | state |   Empty 0, Given 1, Parked 2
//! +-------------------------------+-------+
//! ```
//!
//! | transition | by | then |
//! |---|---|---|
//! | Given -> Empty | the goroutine, in `park` | it returns |
//! | Empty -> Parked | the goroutine, in `park`, after it began its wait | it parks |
//! | Empty -> Given | `unpark` | |
//! | Parked -> Given | `unpark` | it readies the wait that the block is in |
//! | Parked -> Empty | the goroutine, back from its wait without a permit | deadline, or again |
//!
//! Every step is a compare-and-swap of the whole word, so an `unpark` of a goroutine
//! that has ended finds another id (or 0) and does nothing, though the block may be
//! somebody else's. `unpark` looks for the ticket of the wait after its swap: as long
//! as the goroutine is in that `park`, that is the ticket it finds, since the
//! wait was begun before Parked, which the swap acquired. If the goroutine has gone
//! on meanwhile (by its deadline), it takes the permit on its way, and some later
//! wait may end for no reason, which every wait allows for.

use crate::clock::{self, NEVER, Nanos};
use crate::sched::g::GRef;
use crate::sched::{Inside, WaitReason, current_g, lists};
use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, Thread};
use std::time::Duration;

const EMPTY: u64 = 0;
const GIVEN: u64 = 1;
const PARKED: u64 = 2;

/// The word of a goroutine that has just been spawned.
pub(crate) fn first_permit(id: u64) -> u64 {
    id << 2 | EMPTY
}

/// The number of a goroutine or thread; never used twice in a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    /// The number itself, as reports print it.
    pub fn as_u64(self) -> NonZeroU64 {
        self.0
    }

    fn new(id: u64) -> TaskId {
        // Numbers are given out from 1; the end of 2^64 is not reached.
        TaskId(NonZeroU64::new(id).unwrap_or(NonZeroU64::MAX))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0)
    }
}

#[derive(Clone)]
enum Who {
    Goroutine { g: GRef, name: Option<Arc<str>> },
    Thread(Thread),
}

/// A goroutine, or on a plain OS thread that thread. Cheap to clone; it keeps
/// nothing alive.
#[derive(Clone)]
pub struct Task {
    who: Who,
    id: TaskId,
}

impl UnwindSafe for Task {}
impl RefUnwindSafe for Task {}

impl Task {
    pub(super) fn goroutine(g: GRef, id: u64, name: Option<Arc<str>>) -> Task {
        Task {
            who: Who::Goroutine { g, name },
            id: TaskId::new(id),
        }
    }

    /// Its number.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The name it was given, if any.
    pub fn name(&self) -> Option<&str> {
        match &self.who {
            Who::Goroutine { name, .. } => name.as_deref(),
            Who::Thread(t) => t.name(),
        }
    }

    /// Gives it the permit that its [`park`] takes, once however often this is
    /// called. Does not block. Does nothing when it has ended.
    pub fn unpark(&self) {
        match &self.who {
            Who::Goroutine { g, .. } => unpark(*g, self.id.0.get()),
            Who::Thread(t) => t.unpark(),
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The goroutine that calls; on a plain OS thread, that thread.
pub fn current() -> Task {
    match current_g() {
        Some(g) => Task::goroutine(g, g.id.load(Ordering::Relaxed), name_of(g)),
        None => Task {
            who: Who::Thread(thread::current()),
            id: thread_id(),
        },
    }
}

/// The name of the goroutine that calls.
pub(crate) fn name_of(g: GRef) -> Option<Arc<str>> {
    // SAFETY: null, or the running goroutine's own rare part, which nobody else
    // touches and which lives until it ends.
    unsafe { g.cold.get().as_ref() }.and_then(|cold| cold.name.clone())
}

/// The number of the goroutine (or plain OS thread) that calls.
#[inline]
pub fn id() -> TaskId {
    match current_g() {
        Some(g) => TaskId::new(g.id.load(Ordering::Relaxed)),
        None => thread_id(),
    }
}

/// Whether a goroutine calls, and not a plain OS thread.
#[inline]
pub fn is_goroutine() -> bool {
    current_g().is_some()
}

#[cold]
fn thread_id() -> TaskId {
    thread_local! {
        static ID: Cell<u64> = const { Cell::new(0) };
    }
    if ID.get() == 0 {
        ID.set(lists::new_ids(1));
    }
    TaskId::new(ID.get())
}

/// Waits for the permit that [`Task::unpark`] gives, and takes it; returns at once
/// when it is there. Unlike std's it does not return for no reason on a goroutine.
///
/// # Panics
/// In [`no_park`](crate::no_park), when the permit is not there; on a plain thread always.
///
/// ```
/// use goweft::task;
/// let waiting = task::current();
/// goweft::go!(move || waiting.unpark());
/// task::park();
/// ```
pub fn park() {
    match current_g() {
        Some(g) => park_until(g, NEVER),
        None => {
            refuse_in_no_park();
            thread::park();
        }
    }
}

/// As [`park`], for at most `timeout`.
///
/// # Panics
/// As [`park`], whatever `timeout` is.
pub fn park_timeout(timeout: Duration) {
    match current_g() {
        Some(g) => park_until(g, clock::after(timeout)),
        None => {
            refuse_in_no_park();
            thread::park_timeout(timeout);
        }
    }
}

fn park_until(g: GRef, deadline: Nanos) {
    let id = g.id.load(Ordering::Relaxed) << 2;
    let step = |from, to| {
        g.permit
            .compare_exchange(id | from, id | to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    };
    loop {
        if step(GIVEN, EMPTY) {
            return;
        }
        let mut inside = Inside::enter();
        if inside.refuses() {
            return;
        }
        let waiter = inside.prepare(WaitReason::Park);
        if !step(EMPTY, PARKED) {
            inside.cancel(waiter);
            continue;
        }
        inside.park(waiter, deadline);
        drop(inside);
        if step(PARKED, EMPTY) && clock::has_passed(deadline) {
            return;
        }
    }
}

fn unpark(g: GRef, id: u64) {
    let id = id << 2;
    let mut seen = g.permit.load(Ordering::Relaxed);
    loop {
        if seen != id | EMPTY && seen != id | PARKED {
            // Given already, unless it is another's. A fence would order what we
            // wrote before with the park that takes the earlier permit: the swap
            // below does, so write the same value.
            if seen != id | GIVEN {
                return;
            }
        }
        match g
            .permit
            .compare_exchange_weak(seen, id | GIVEN, Ordering::AcqRel, Ordering::Relaxed)
        {
            Ok(_) => break,
            Err(now) => seen = now,
        }
    }
    if seen == id | PARKED {
        Inside::enter().ready_now(g);
    }
}

/// Panics in `no_park`: for what waits without the scheduler, or must not be begun if it may
/// not wait in the end.
pub(super) fn refuse_in_no_park() {
    Inside::enter().refuses();
}

/// Lets other goroutines run first, if any are waiting to.
#[doc(alias = "Gosched")]
pub fn yield_now() {
    if is_goroutine() {
        Inside::enter().yield_now();
    } else {
        thread::yield_now();
    }
}

/// Parks the caller for at least `d`. Zero returns at once.
///
/// # Panics
/// In [`no_park`](crate::no_park), unless `d` is zero.
pub fn sleep(d: Duration) {
    if d.is_zero() {
        return;
    }
    if !is_goroutine() {
        refuse_in_no_park();
        return thread::sleep(d);
    }
    let deadline = clock::after(d);
    while clock::now() < deadline {
        let mut inside = Inside::enter();
        if inside.refuses() {
            return;
        }
        let waiter = inside.prepare(WaitReason::Sleep);
        inside.park(waiter, deadline);
    }
}
