//! G: the control block of a goroutine.
//!
//! Blocks are type-stable: they come from slabs that are never given back, so
//! that a late waker may look at a block whose goroutine is long gone (its
//! ticket tells; see `protocol/gword.rs`). A block is 128 bytes, two cache
//! lines, and needs no second page: a parked goroutine costs one page of stack,
//! its part of the page table, and this.
//!
//! Who may touch what: `word`, `permit` and `id` anybody; `next` whoever holds the
//! block in its list; all the rest only the M that runs it, or, while it is
//! runnable, the one that took it from a queue.
//!
//! A thread that is no M waits with a block too (`Kind::Thread`), so that every
//! wait record in the runtime is the same pair of block and ticket.

use crate::lock::ShortLock;
use crate::protocol::gword::GWord;
use crate::protocol::quiet::Quiet;
use crate::sys;
use goweft_stacks::context::Context;
use goweft_stacks::{Class, Stack};
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::inside::Inside;
use super::m::M;

/// A reference to a control block. Copy and Send: blocks are never freed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct GRef(NonNull<G>);

// SAFETY: a block lives for ever, and its fields have the rules of the module.
unsafe impl Send for GRef {}
// SAFETY: as above.
unsafe impl Sync for GRef {}

impl std::ops::Deref for GRef {
    type Target = G;
    #[inline]
    fn deref(&self) -> &G {
        // SAFETY: blocks are never freed or moved.
        unsafe { self.0.as_ref() }
    }
}

impl GRef {
    /// The block's address.
    #[inline]
    pub(crate) fn as_ptr(self) -> *mut G {
        self.0.as_ptr()
    }

    /// # Safety
    /// `p` came from [`as_ptr`](Self::as_ptr).
    #[inline]
    pub(crate) unsafe fn from_ptr(p: *mut G) -> GRef {
        // SAFETY: an address of a block is not null.
        GRef(unsafe { NonNull::new_unchecked(p) })
    }

    /// # Safety
    /// `p` is null or came from [`as_ptr`](Self::as_ptr).
    #[inline]
    pub(crate) unsafe fn from_nullable(p: *mut G) -> Option<GRef> {
        NonNull::new(p).map(GRef)
    }
}

/// What the block stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A goroutine.
    Goroutine = 0,
    /// A plain thread that waits.
    Thread = 1,
    /// A goroutine that has not begun and is in no queue; see `later.rs`. It has no
    /// number and no stack, and does not count.
    Later = 2,
}

/// Words of storage for a closure inside the block.
pub(crate) const INLINE_WORDS: usize = 4;

/// What a goroutine runs: `call(storage)` consumes the closure in the storage.
pub(crate) struct Entry {
    pub(crate) call: unsafe fn(*mut ()),
    pub(crate) storage: [MaybeUninit<usize>; INLINE_WORDS],
}

/// The rarely used part of a goroutine.
#[derive(Default)]
pub(crate) struct Cold {
    pub(crate) name: Option<std::sync::Arc<str>>,
    pub(crate) locals: crate::task::local::Locals,
}

/// See the module.
#[repr(C, align(64))]
pub(crate) struct G {
    pub(crate) word: GWord,
    /// The saved context, while it is not running; NULL while it is fresh.
    pub(crate) context: Cell<Context>,
    /// Link of whichever intrusive list it is in.
    pub(crate) next: Cell<*mut G>,
    /// Its stack; None before the first run.
    pub(crate) stack: Cell<Option<NonNull<u8>>>,
    /// 0 is nobody. Changes when the block is recycled.
    pub(crate) id: AtomicU64,
    /// The M that it cannot leave: its home (`home.rs`), or where it sleeps with the
    /// thread. Null: it goes on anywhere. Written by the goroutine's own thread.
    pub(crate) bound: AtomicPtr<M>,
    /// Name and goroutine-locals, or null.
    pub(crate) cold: Cell<*mut Cold>,
    kind: AtomicU8,
    class: Cell<u8>,
    /// Why it waits; see `WaitReason`.
    pub(crate) reason: AtomicU8,
    /// It is at home where it first runs. Written before it is runnable.
    pub(crate) pinned: Cell<bool>,
    /// Low half of the wait's begin in milliseconds; for dumps.
    pub(crate) since: AtomicU32,
    /// `task::park`'s permit: the id of the goroutine it is for, and a state.
    pub(crate) permit: AtomicU64,
    pub(crate) spawned_at: Cell<Option<&'static Location<'static>>>,
    /// In `no_preempt`: its thread is not parked, and gets no signal.
    pub(crate) quiet: Quiet,
    /// In `no_park`: it must not wait, and does not leave its thread. Written by the goroutine.
    pub(crate) no_park: Cell<bool>,
    /// A wait was refused to it in `no_park`: it panics when it leaves the runtime. Its own.
    pub(crate) refused: Cell<bool>,
    /// It waits, or waited last, with its thread asleep under it, and is woken by waking that.
    /// Written by its thread before the wait is committed.
    pub(crate) with_thread: Cell<bool>,
    /// How often it has called `lock_os_thread`, less the guards that are gone. Its own.
    pub(crate) locks: Cell<u32>,
    pub(crate) entry: UnsafeCell<MaybeUninit<Entry>>,
}

const _: () = assert!(size_of::<G>() == 128);

impl G {
    pub(crate) fn kind(&self) -> Kind {
        match self.kind.load(Ordering::Relaxed) {
            0 => Kind::Goroutine,
            1 => Kind::Thread,
            _ => Kind::Later,
        }
    }

    /// By whom the block belongs to.
    pub(super) fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn class(&self) -> Class {
        // Only `set_class` writes it; a class that is none would be ours to blame.
        Class::from_index(usize::from(self.class.get())).unwrap_or(Class::DEFAULT)
    }

    #[inline]
    pub(crate) fn set_class(&self, class: Class) {
        self.class.set(class.index() as u8);
    }

    #[inline]
    pub(crate) fn is_fresh(&self) -> bool {
        self.context.get().is_null()
    }

    #[inline]
    pub(crate) fn take_stack(&self) -> Option<Stack> {
        // SAFETY: only `give_stack` stores here, from `into_raw`, and taking
        // leaves None: the stack has one owner.
        self.stack.take().map(|raw| unsafe { Stack::from_raw(raw) })
    }

    #[inline]
    pub(crate) fn give_stack(&self, stack: Stack) {
        self.stack.set(Some(stack.into_raw()));
    }

    /// The lowest address of its stack that is not guard. By the goroutine itself.
    pub(crate) fn stack_limit(&self) -> Option<usize> {
        let raw = self.stack.get()?;
        // SAFETY: only `give_stack` stores here, from `into_raw`; the stack is
        // not dropped, so it keeps its one owner.
        let stack = std::mem::ManuallyDrop::new(unsafe { Stack::from_raw(raw) });
        Some(stack.limit().addr())
    }

    /// The rare part, made at first use. Allocates: outside the runtime only,
    /// by the goroutine itself.
    pub(crate) fn cold_mut(&self) -> *mut Cold {
        if self.cold.get().is_null() {
            self.cold.set(Box::into_raw(Box::default()));
        }
        self.cold.get()
    }
}

/// An intrusive singly linked list of blocks, first in first out.
#[derive(Default)]
pub(crate) struct GList {
    head: Option<GRef>,
    tail: Option<GRef>,
    len: usize,
}

impl GList {
    pub(crate) const fn new() -> GList {
        GList {
            head: None,
            tail: None,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, g: GRef) {
        g.next.set(std::ptr::null_mut());
        match self.tail {
            Some(t) => t.next.set(g.as_ptr()),
            None => self.head = Some(g),
        }
        self.tail = Some(g);
        self.len += 1;
    }

    pub(crate) fn push_front(&mut self, g: GRef) {
        g.next
            .set(self.head.map_or(std::ptr::null_mut(), GRef::as_ptr));
        if self.tail.is_none() {
            self.tail = Some(g);
        }
        self.head = Some(g);
        self.len += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<GRef> {
        let g = self.head?;
        // SAFETY: links hold null or addresses of blocks.
        self.head = unsafe { GRef::from_nullable(g.next.get()) };
        if self.head.is_none() {
            self.tail = None;
        }
        self.len -= 1;
        Some(g)
    }

    /// Moves all of `other` behind what is here.
    pub(crate) fn append(&mut self, other: &mut GList) {
        let Some(head) = other.head.take() else {
            return;
        };
        match self.tail {
            Some(t) => t.next.set(head.as_ptr()),
            None => self.head = Some(head),
        }
        self.tail = other.tail.take();
        self.len += std::mem::take(&mut other.len);
    }
}

// SAFETY: a list owns the links of its blocks; blocks are Send.
unsafe impl Send for GList {}

/// Bytes of one slab of blocks.
const SLAB: usize = 64 * 1024;

/// Blocks without a goroutine, and the slabs they come from.
static FREE: ShortLock<GList> = ShortLock::new(GList::new());

/// Takes up to `n` dead blocks into `list`; maps a slab when there are none.
///
/// # Panics
/// Never: without memory for 64 KiB it aborts, as an allocation would.
pub(crate) fn take_blocks(inside: &Inside, list: &mut GList, n: usize) {
    let mut free = FREE.lock(inside);
    for _ in 0..n {
        if free.len() == 0 {
            add_slab(&mut free);
        }
        if let Some(g) = free.pop() {
            list.push(g);
        }
    }
}

/// Gives dead blocks back.
pub(crate) fn give_blocks(inside: &Inside, list: &mut GList) {
    FREE.lock(inside).append(list);
}

/// Takes one, where there is no P that has some at hand.
pub(crate) fn take_block(inside: &Inside) -> GRef {
    let mut one = GList::new();
    take_blocks(inside, &mut one, 1);
    one.pop().expect("one was taken")
}

/// Gives one back, where there is no P that would keep it.
pub(crate) fn give_block(inside: &Inside, g: GRef) {
    let mut one = GList::new();
    one.push(g);
    give_blocks(inside, &mut one);
}

fn add_slab(free: &mut GList) {
    let Ok(base) = sys::map_pages(SLAB, false) else {
        crate::abort::fatal("out of memory for goroutine control blocks");
    };
    let base = base.cast::<G>();
    for i in 0..SLAB / size_of::<G>() {
        // SAFETY: the mapping has room for this block, is aligned to a page,
        // and all zero is a valid G: Dead, ticket 0, no context, no stack.
        free.push(unsafe { GRef::from_ptr(base.add(i)) });
    }
}

/// Makes `g` the block of a waiting thread, before anybody sees it.
pub(crate) fn make_thread(g: GRef) {
    g.kind.store(Kind::Thread as u8, Ordering::Relaxed);
    g.word.spawn();
    g.word.start();
}

/// The block stands for nobody again; it goes back with `give_blocks`.
pub(crate) fn unmake_thread(g: GRef) {
    g.word.end();
    g.kind.store(Kind::Goroutine as u8, Ordering::Relaxed);
}
