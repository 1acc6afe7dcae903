//! The tree of contexts that can be done.
//!
//! A [`Node`] is made by each `with_` function that gives a context an end of its
//! own, and by `after_func`. Values are not here: they are a chain beside the tree
//! (`value.rs`).
//!
//! What always holds:
//! - A node holds a reference to its parent, the parent's list only names its
//!   children: a context that nobody holds any more is gone, and a million
//!   short-lived children leave nothing behind. (The exception are nodes of
//!   `after_func`, whose list entry holds a reference: they are wanted although
//!   nobody holds them.)
//! - A node is done when `state` says so; it is written once, under the node's lock,
//!   after the cause. A child is linked under the same lock, so either it is
//!   linked before the parent is done, or it sees that it is.
//! - A node that is done stays in its parent's list until all below it is done.
//!
//! Cancelling, in steps, none of which recurses or allocates:
//! 1. Mark: write cause and state; wake those who wait on `done`; start what
//!    `after_func` has prepared, or take the deadline's timer back.
//! 2. Spread: go down to the first child, mark it with the parent's error and cause,
//!    go on below it; without children, leave the parent's list and go up.
//! 3. Leave the own parent's list.
//!
//! Whoever cancels a node that is being cancelled by others walks through the same
//! nodes, and so returns when everything below is done, without waiting for anybody
//! (Go waits for the other's mutex). That is what the third invariant is for.

use super::error::{Cause, ContextError};
use crate::channel::flavor::{Flavor, Outcome, Side, Token};
use crate::channel::wait::{Queue, Record, Verdict, Woken, await_verdict};
use crate::clock::{self, NEVER, Nanos};
use crate::lock::ShortLock;
use crate::sched::later::Later;
use crate::sched::{Inside, Waiter};
use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering, fence};
use std::time::Instant;

const OPEN: u8 = 0;
const CANCELED: u8 = 1;
const DEADLINE_EXCEEDED: u8 = 2;

/// Receivers woken by one hold of the lock.
const BATCH: usize = 64;

/// How a node came to be; for `Debug`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Cancel,
    Deadline,
    AfterFunc,
}

/// See the module.
pub(crate) struct Node {
    refs: AtomicUsize,
    /// Cancel functions there are; the last one to go cancels.
    pub(super) cancellers: AtomicUsize,
    /// Its cancel function was called, or is gone. Not the same as done: who catches
    /// signals for it does so until this.
    released: AtomicBool,
    parent: Option<NodeRef>,
    pub(super) kind: Kind,
    /// How many contexts it comes from.
    pub(super) depth: u32,
    /// The earlier of its own and its parent's.
    pub(super) deadline: Option<Instant>,
    /// The cause when its own deadline passes.
    late: Option<Cause>,

    state: AtomicU8,
    /// Written once, under `tree`, before `state`; read after it.
    cause: UnsafeCell<Option<Cause>>,
    tree: ShortLock<Tree>,

    /// In the parent's list. Written under the parent's lock; the last thing that
    /// whoever unlinks does with the node.
    linked: AtomicBool,
    // These three are the parent's lock's.
    next: Cell<*const Node>,
    prev: Cell<*const Node>,
    /// The list holds a reference.
    held: Cell<bool>,
}

struct Tree {
    first_child: *const Node,
    /// Who waits on `done`.
    receivers: Queue,
    work: Work,
}

/// What a node has prepared.
#[derive(Clone, Copy)]
enum Work {
    Nothing,
    /// `after_func`: begins when the node is done.
    WhenDone(Later),
    /// Its timer makes the node done.
    AtDeadline(Later),
}

// SAFETY: the pointers are to nodes that are linked, which live until they are unlinked
// under this lock.
unsafe impl Send for Tree {}
// SAFETY: every field that changes is atomic or under the lock that its comment
// names; causes are Send and Sync.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// A counted reference to a node.
pub(crate) struct NodeRef(NonNull<Node>);

// SAFETY: it is a reference to something that is Sync, and whoever drops the last one
// may drop it on any thread, since it is Send.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

impl std::ops::Deref for NodeRef {
    type Target = Node;
    #[inline]
    fn deref(&self) -> &Node {
        // SAFETY: a counted reference.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for NodeRef {
    #[inline]
    fn clone(&self) -> NodeRef {
        // As with Arc: forgetting references must not wrap the count around.
        if self.refs.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
            std::process::abort();
        }
        NodeRef(self.0)
    }
}

impl Drop for NodeRef {
    /// Goes up as long as it drops the last reference: no recursion however deep
    /// the tree is.
    fn drop(&mut self) {
        let mut at = self.0;
        loop {
            // SAFETY: `at` is a reference that we are giving up.
            if unsafe { at.as_ref() }.refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
            // SAFETY: it was the last one. The parent's list may still name the node, but
            // nobody makes a reference of that any more (`try_ref`).
            let node = unsafe { at.as_ref() };
            node.unlink();
            // SAFETY: the last reference is gone, and so is the list's entry.
            let mut node = unsafe { Box::from_raw(at.as_ptr()) };
            let parent = node.parent.take();
            if let Work::WhenDone(later) = node.tree.get_mut().work {
                let revoked = later.revoke(&mut Inside::enter());
                drop(revoked);
            }
            drop(node);
            match parent {
                None => return,
                Some(parent) => at = ManuallyDrop::new(parent).0,
            }
        }
    }
}

/// What a new node is to be.
pub(super) struct Spec {
    pub(super) kind: Kind,
    pub(super) depth: u32,
    pub(super) deadline: Option<Instant>,
    pub(super) late: Option<Cause>,
}

impl NodeRef {
    /// A node below `parent`; done at once when that is.
    pub(super) fn new(parent: Option<&NodeRef>, spec: Spec) -> NodeRef {
        let node = NodeRef::unlinked(parent, spec, Work::Nothing);
        node.link(false);
        node
    }

    /// A node that lets `later` begin when `parent` is done.
    pub(super) fn when_done(parent: Option<&NodeRef>, later: Later) -> NodeRef {
        let spec = Spec {
            kind: Kind::AfterFunc,
            depth: 0,
            deadline: None,
            late: None,
        };
        let node = NodeRef::unlinked(parent, spec, Work::WhenDone(later));
        node.link(true);
        node
    }

    fn unlinked(parent: Option<&NodeRef>, spec: Spec, work: Work) -> NodeRef {
        let node = Box::new(Node {
            refs: AtomicUsize::new(1),
            cancellers: AtomicUsize::new(1),
            released: AtomicBool::new(false),
            parent: parent.cloned(),
            kind: spec.kind,
            depth: spec.depth,
            deadline: spec.deadline,
            late: spec.late,
            state: AtomicU8::new(OPEN),
            cause: UnsafeCell::new(None),
            tree: ShortLock::new(Tree {
                first_child: ptr::null(),
                receivers: Queue::new(),
                work,
            }),
            linked: AtomicBool::new(false),
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
            held: Cell::new(false),
        });
        NodeRef(NonNull::from(Box::leak(node)))
    }

    /// Links a new node into its parent's list, with a reference if `held`, or makes it
    /// done when the parent is.
    fn link(&self, held: bool) {
        let Some(parent) = &self.parent else { return };
        if !parent.is_done() {
            let reference = held.then(|| ManuallyDrop::new(self.clone()));
            let inside = Inside::enter();
            let mut tree = parent.tree.lock(&inside);
            if !parent.is_done() {
                self.held.set(held);
                self.next.set(tree.first_child);
                // SAFETY: null, or a child that is linked and so alive.
                if let Some(next) = unsafe { tree.first_child.as_ref() } {
                    next.prev.set(self.0.as_ptr());
                }
                self.linked.store(true, Ordering::Relaxed);
                tree.first_child = self.0.as_ptr();
                return;
            }
            drop(tree);
            drop(inside);
            drop(reference.map(ManuallyDrop::into_inner));
        }
        self.inherit(parent);
    }

    /// Sets the timer of a deadline. To be called once, on a node whose deadline is
    /// its own.
    pub(super) fn arm(&self, when: Instant, at: &'static Location<'static>) {
        let due = clock::from_instant(when);
        if due <= clock::now() {
            self.cancel(ContextError::DeadlineExceeded, self.late.clone());
            return;
        }
        if due == NEVER || self.is_done() {
            return;
        }
        let node = self.clone();
        let later = crate::task::later(
            move || {
                node.cancel(ContextError::DeadlineExceeded, node.late.clone());
            },
            at,
        );
        let mut inside = Inside::enter();
        let mut tree = self.tree.lock(&inside);
        if !self.is_done() {
            tree.work = Work::AtDeadline(later);
            drop(tree);
            // Whoever cancels before this has made the entry stale.
            later.arm(&mut inside, due);
            return;
        }
        drop(tree);
        let revoked = later.revoke(&mut inside);
        drop(inside);
        drop(revoked);
    }

    /// Makes the node and all below it done. True: the node was not.
    pub(crate) fn cancel(&self, why: ContextError, cause: Option<Cause>) -> bool {
        let first = self.mark(why, cause);
        self.spread();
        self.leave_parent();
        first
    }

    /// Step 1, as `parent`, which is done.
    fn inherit(&self, parent: &Node) {
        if let Some(why) = parent.err() {
            self.mark(why, parent.cause().cloned());
        }
    }

    /// Step 1. False: it was done before.
    fn mark(&self, why: ContextError, cause: Option<Cause>) -> bool {
        if self.is_done() {
            return false;
        }
        let mut inside = Inside::enter();
        let mut tree = self.tree.lock(&inside);
        if self.is_done() {
            drop(tree);
            drop(inside);
            return false;
        }
        // SAFETY: written once, since the node was not done and is when the lock is
        // free again; nobody reads it before that.
        unsafe { *self.cause.get() = cause };
        let state = match why {
            ContextError::Canceled => CANCELED,
            ContextError::DeadlineExceeded => DEADLINE_EXCEEDED,
        };
        self.state.store(state, Ordering::Release);
        let work = std::mem::replace(&mut tree.work, Work::Nothing);
        loop {
            // Nobody enrolls any more.
            let mut woken = Woken::default();
            let mut budget = BATCH;
            while budget > 0
                && let Some(found) = tree.receivers.first()
            {
                tree.receivers.remove(&found);
                if found.claim() {
                    woken.add(&mut inside, found.give(Verdict::Closed));
                }
                budget -= 1;
            }
            drop(tree);
            woken.wake(&mut inside);
            if budget > 0 {
                break;
            }
            tree = self.tree.lock(&inside);
        }
        let revoked = match work {
            Work::Nothing => None,
            Work::WhenDone(later) => {
                later.begin(&mut inside);
                None
            }
            // None: the timer is what cancels.
            Work::AtDeadline(later) => later.revoke(&mut inside),
        };
        drop(inside);
        drop(revoked);
        true
    }

    /// Step 2.
    fn spread(&self) {
        let mut at = self.clone();
        loop {
            if let Some(child) = at.first_child() {
                child.inherit(&at);
                at = child;
                continue;
            }
            if at.is(self) {
                return;
            }
            let Some(parent) = at.parent.clone() else {
                return;
            };
            at.leave_parent();
            at = parent;
        }
    }

    /// Whether it is the same node.
    pub(crate) fn is(&self, other: &NodeRef) -> bool {
        self.0 == other.0
    }

    /// A child, with a reference. What it finds dead leaves the list.
    fn first_child(&self) -> Option<NodeRef> {
        let inside = Inside::enter();
        let mut tree = self.tree.lock(&inside);
        loop {
            // SAFETY: null, or a child that is linked and so not freed.
            let child = unsafe { tree.first_child.as_ref() }?;
            if child.try_ref() {
                return Some(NodeRef(NonNull::from(child)));
            }
            tree.remove(child);
        }
    }

    /// Step 3: leaves the parent's list, with what reference that holds.
    fn leave_parent(&self) {
        if self.unlink() {
            // SAFETY: the reference of the list, which `link` forgot.
            drop(NodeRef(self.0));
        }
    }

    /// Takes back what `after_func` has prepared. False: it has begun, or was taken
    /// back before.
    pub(super) fn stop(&self) -> bool {
        let mut inside = Inside::enter();
        let mut tree = self.tree.lock(&inside);
        let work = std::mem::replace(&mut tree.work, Work::Nothing);
        drop(tree);
        let revoked = match work {
            Work::WhenDone(later) => later.revoke(&mut inside),
            Work::Nothing | Work::AtDeadline(_) => None,
        };
        drop(inside);
        self.leave_parent();
        let stopped = revoked.is_some();
        drop(revoked);
        stopped
    }
}

impl Tree {
    /// Unlinks a child, which must not be touched afterwards. True: the list held a
    /// reference, which is the caller's now.
    fn remove(&mut self, child: &Node) -> bool {
        let (next, prev, held) = (child.next.get(), child.prev.get(), child.held.get());
        // SAFETY: null, or a child that is linked and so alive.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
            None => self.first_child = next,
        }
        // SAFETY: as above.
        if let Some(next) = unsafe { next.as_ref() } {
            next.prev.set(prev);
        }
        child.linked.store(false, Ordering::Release);
        held
    }
}

impl Node {
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::Acquire) != OPEN
    }

    /// See the field.
    pub(crate) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    pub(super) fn release(&self) {
        self.released.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn err(&self) -> Option<ContextError> {
        match self.state.load(Ordering::Acquire) {
            OPEN => None,
            CANCELED => Some(ContextError::Canceled),
            _ => Some(ContextError::DeadlineExceeded),
        }
    }

    /// What it was cancelled with.
    pub(super) fn cause(&self) -> Option<&Cause> {
        if !self.is_done() {
            return None;
        }
        // SAFETY: done, which was acquired: nobody writes it any more.
        unsafe { &*self.cause.get() }.as_ref()
    }

    /// Waits until the node is done, or for the deadline.
    pub(crate) fn wait(&self, deadline: Nanos) -> Outcome {
        if self.is_done() {
            return Outcome::Closed;
        }
        if clock::has_passed(deadline) {
            return Outcome::TimedOut;
        }
        let reason = Side::Receive.reason();
        let mut inside = Inside::enter();
        if inside.refuses() {
            return Outcome::TimedOut;
        }
        let waiter = inside.prepare(reason);
        let record = Record::single(waiter, ptr::null_mut());
        let mut tree = self.tree.lock(&inside);
        if self.is_done() {
            drop(tree);
            inside.cancel(waiter);
            return Outcome::Closed;
        }
        // SAFETY: it stays here until the verdict or the deadline, which unlinks it.
        unsafe { tree.receivers.push_back(&record) };
        drop(tree);
        let unlink = |tree: &mut Tree, record: &Record| _ = tree.receivers.remove(record);
        match await_verdict(
            &mut inside,
            &record,
            waiter,
            reason,
            deadline,
            &self.tree,
            unlink,
        ) {
            Some(_) => Outcome::Closed,
            None => Outcome::TimedOut,
        }
    }

    pub(super) fn parent(&self) -> Option<&NodeRef> {
        self.parent.as_ref()
    }

    /// One more reference, unless the last one is gone.
    fn try_ref(&self) -> bool {
        let mut refs = self.refs.load(Ordering::Relaxed);
        while refs != 0 {
            match self.refs.compare_exchange_weak(
                refs,
                refs + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => refs = now,
            }
        }
        false
    }

    /// Leaves the parent's list, if it is there. True: the list's reference is the
    /// caller's now.
    fn unlink(&self) -> bool {
        // Once false it stays so, and whoever unlinked us is done with us.
        if !self.linked.load(Ordering::Acquire) {
            return false;
        }
        let Some(parent) = &self.parent else {
            return false;
        };
        let inside = Inside::enter();
        let mut tree = parent.tree.lock(&inside);
        self.linked.load(Ordering::Relaxed) && tree.remove(self)
    }
}

/// The channel that [`Context::done`](super::Context::done) gives: it is closed when the
/// node is done, and nothing is ever sent.
impl Flavor for Node {
    fn attempt(&self, _inside: &mut Inside, _side: Side, _slot: *mut ()) -> Option<Token> {
        self.is_done().then_some(Token::Closed)
    }

    fn is_ready(&self, _inside: &Inside, _side: Side) -> bool {
        self.is_done()
    }

    unsafe fn enroll(&self, inside: &mut Inside, _side: Side, record: &Record) -> bool {
        let mut tree = self.tree.lock(inside);
        if self.is_done() {
            return false;
        }
        // SAFETY: the caller's promise.
        unsafe { tree.receivers.push_back(record) };
        true
    }

    fn withdraw(&self, inside: &mut Inside, _side: Side, record: &Record) {
        self.tree.lock(inside).receivers.remove(record);
    }

    fn renew(&self, inside: &mut Inside, _side: Side, record: &Record, waiter: Waiter) {
        let _tree = self.tree.lock(inside);
        record.renew(waiter);
    }

    unsafe fn undo(&self, _inside: &mut Inside, _side: Side, _token: Token) {}
}
