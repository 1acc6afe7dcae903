//! The lock of a [`RwLock`](super::RwLock): many readers or one writer, as Go's.
//!
//! Writers are sorted out among themselves by a mutex. The one that has it announces itself in
//! the word, which keeps new readers out, and waits for those inside to leave. When it unlocks,
//! all readers that came meanwhile are let in before the next writer. So neither side
//! starves the other.
//!
//! The word:
//!
//! | part | set by | means |
//! |---|---|---|
//! | WRITER | the writer that has the mutex | it is in, or waits for the readers to leave |
//! | READERS_WAIT | a reader, under the lock, while WRITER is set | the queue of readers is not empty |
//! | the rest of the lower half | readers | how many are in, or look whether they may |
//! | the upper half | readers | how many came since the last writer left |
//!
//! Readers that count all write to one word, and that is as fast as one processor. So when many
//! have read and nobody has written, they go over to slots of their own, until a writer comes:
//! `protocol/read_bias.rs`. Those are the *visible* ones.
//!
//! A reader that counts adds itself first and looks second, which is one step on a word that others
//! change all the time. If it finds a writer it takes itself off again as if it had been in; a
//! writer takes it for a reader so long, and whoever brings the count to zero looks after the
//! writer.
//!
//! No wake-up is lost. Of a reader: it sets READERS_WAIT and sees WRITER in one step, under the
//! lock, and gives the lock up when it is linked; the unlock comes after that step, sees the bit,
//! and takes the lock. Of the writer: it looks at the count under the lock, and is linked when it
//! gives that up; the count comes to zero after that look, and then takes the lock. For slots in
//! place of the count the argument is in `read_bias.rs`.

use crate::channel::wait::{Queue, Verdict};
use crate::clock::Nanos;
use crate::lock::ShortLock;
use crate::protocol::read_bias::{Bias, Enter, Slot};
use crate::sched::{Inside, WaitReason};
use crate::sync::mutex;
use crate::sync::rwlock::visible;
use crate::sync::wait::{NOWHERE, release_all, wait};
use std::sync::atomic::{AtomicU64, Ordering};

const WRITER: u64 = 1;
const READERS_WAIT: u64 = 2;
const READER: u64 = 4;
const NOW: u64 = 0xffff_ffff;
const CAME: u64 = 1 << 32;

/// So many readers without a writer make the next ones visible. The writer that ends it pays
/// about 10 us for a heavy barrier: a few ns for each of them.
const MANY: u64 = 4096 * CAME;

/// Half of what the count can be: guards that were forgotten, more than memory
/// has room for otherwise. The other half is for those who look and leave.
const TOO_MANY: u64 = 1 << 31;

/// The lock without the value.
pub(super) struct Raw {
    word: AtomicU64,
    bias: Bias,
    writers: mutex::Raw,
    waiting: ShortLock<Waiting>,
}

/// How a reader is known.
#[derive(Clone, Copy)]
pub(super) enum Reader {
    Counted,
    Visible(&'static Slot),
}

struct Waiting {
    readers: Queue,
    /// At most one: the writer that has the mutex.
    writer: Queue,
}

impl Waiting {
    fn readers(&mut self) -> &mut Queue {
        &mut self.readers
    }

    fn writer(&mut self) -> &mut Queue {
        &mut self.writer
    }
}

impl Raw {
    pub(super) const fn new() -> Raw {
        Raw {
            word: AtomicU64::new(0),
            bias: Bias::new(),
            writers: mutex::Raw::new(),
            waiting: ShortLock::new(Waiting {
                readers: Queue::new(),
                writer: Queue::new(),
            }),
        }
    }

    #[inline]
    pub(super) fn try_read(&self) -> Option<Reader> {
        if self.bias.is_on()
            && let Some(slot) = self.become_visible()
        {
            return Some(Reader::Visible(slot));
        }
        let mut word = self.word.load(Ordering::Relaxed);
        while word & (WRITER | TOO_MANY) == 0 {
            match self.word.compare_exchange_weak(
                word,
                word.wrapping_add(READER | CAME),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(self.counted(word)),
                Err(now) => word = now,
            }
        }
        None
    }

    /// None: not before `deadline`.
    #[inline]
    pub(super) fn read_until(&self, deadline: Nanos) -> Option<Reader> {
        if self.bias.is_on()
            && let Some(slot) = self.become_visible()
        {
            return Some(Reader::Visible(slot));
        }
        let word = self.word.fetch_add(READER | CAME, Ordering::Acquire);
        if word & (WRITER | TOO_MANY) == 0 {
            return Some(self.counted(word));
        }
        self.read_slow(word, deadline).then_some(Reader::Counted)
    }

    #[inline]
    fn become_visible(&self) -> Option<&'static Slot> {
        for slot in visible::slots(self.address()) {
            match self.bias.enter(slot, self.address()) {
                Enter::Visible => return Some(slot),
                Enter::Taken => {}
                Enter::Revoked => {
                    self.look_after_writer();
                    return None;
                }
            }
        }
        None
    }

    #[inline]
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// For a reader that is in. `before` is what the word was.
    #[inline]
    fn counted(&self, before: u64) -> Reader {
        if before >= MANY {
            self.many_came();
        }
        Reader::Counted
    }

    /// By a reader that is in: those who come after it may be visible.
    #[cold]
    #[inline(never)]
    fn many_came(&self) {
        // None is in, because we are, and with this none comes in.
        if self.writers.try_lock() {
            self.word.fetch_and(NOW, Ordering::Relaxed);
            if mutex::has_barrier() {
                self.bias.turn_on();
            }
            self.writers.unlock();
        }
    }

    /// `before` is what the word was when the caller added itself.
    #[cold]
    #[inline(never)]
    fn read_slow(&self, before: u64, deadline: Nanos) -> bool {
        self.unlock_counted();
        assert!(before & TOO_MANY == 0, "sync: too many readers of a RwLock");
        let mut inside = Inside::enter();
        let waiting = self.waiting.lock(&inside);
        if self.enter_or_announce() {
            return true;
        }
        let lock = &self.waiting;
        let queue = Waiting::readers;
        let reason = WaitReason::RwLockRead;
        let granted = wait(&mut inside, lock, waiting, queue, NOWHERE, reason, deadline);
        if granted.is_none() {
            let waiting = self.waiting.lock(&inside);
            if waiting.readers.is_empty() {
                self.word.fetch_and(!READERS_WAIT, Ordering::Relaxed);
            }
        }
        granted.is_some()
    }

    /// Under the lock: in, if there is no writer; else there is a reader that waits.
    fn enter_or_announce(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let (next, entered) = match word & WRITER {
                0 => (word.wrapping_add(READER | CAME), true),
                _ => (word | READERS_WAIT, false),
            };
            let done =
                self.word
                    .compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed);
            match done {
                Ok(_) => return entered,
                Err(now) => word = now,
            }
        }
    }

    #[inline]
    pub(super) fn unlock_read(&self, reader: Reader) {
        match reader {
            Reader::Counted => self.unlock_counted(),
            Reader::Visible(slot) => {
                if self.bias.leave(slot) {
                    self.look_after_writer();
                }
            }
        }
    }

    #[inline]
    fn unlock_counted(&self) {
        let before = self.word.fetch_sub(READER, Ordering::Release) & NOW;
        if before & !READERS_WAIT == READER | WRITER {
            self.look_after_writer();
        }
    }

    /// A writer may wait for this reader, that has left; or is about to, or is in already.
    #[cold]
    #[inline(never)]
    fn look_after_writer(&self) {
        let mut inside = Inside::enter();
        let mut waiting = self.waiting.lock(&inside);
        let Some(writer) = waiting.writer.first() else {
            return;
        };
        if !self.is_clear() {
            // Whoever is left comes here again.
            return;
        }
        waiting.writer.remove(&writer);
        let waiter = writer.give(Verdict::Done);
        drop(waiting);
        inside.ready(waiter);
    }

    /// Under the lock, by the writer that has announced itself or on its behalf: no reader
    /// is in. What they did is acquired.
    fn is_clear(&self) -> bool {
        if self.word.load(Ordering::Acquire) & NOW >= READER {
            return false;
        }
        if !self.bias.is_off() {
            if visible::any(self.address()) {
                return false;
            }
            self.bias.drained();
        }
        true
    }

    #[inline]
    pub(super) fn try_write(&self) -> bool {
        if !self.writers.try_lock() {
            return false;
        }
        let word = self.word.load(Ordering::Relaxed);
        let free = word & NOW == 0
            && !self.sees_readers()
            && self
                .word
                .compare_exchange(word, WRITER, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !free {
            self.writers.unlock();
            return false;
        }
        self.bias.is_off() || self.try_revoke()
    }

    /// By the owner of the mutex, before it announces itself, which would turn others' `try_read`
    /// away while only readers are in. A hint, without a barrier: it misses those that are just
    /// coming, and `try_revoke` decides. So only then is a reader turned away for nothing.
    #[inline]
    fn sees_readers(&self) -> bool {
        !self.bias.is_off() && visible::any(self.address())
    }

    /// By a writer that has announced itself: whether no reader is visible. If not, it is
    /// not a writer any more.
    #[cold]
    #[inline(never)]
    fn try_revoke(&self) -> bool {
        self.bias.revoke(mutex::fence_everywhere);
        let mut inside = Inside::enter();
        let waiting = self.waiting.lock(&inside);
        let clear = self.is_clear();
        drop(waiting);
        if !clear {
            self.unlock_write_slow(&mut inside, 0);
        }
        clear
    }

    /// Whether it was locked before `deadline`.
    #[inline]
    pub(super) fn write_until(&self, deadline: Nanos) -> bool {
        if !self.writers.lock_until(deadline) {
            return false;
        }
        // From here on no reader comes in.
        let before = self.word.fetch_add(WRITER, Ordering::Acquire) & NOW;
        (before < READER && self.bias.is_off()) || self.await_readers(deadline)
    }

    #[cold]
    #[inline(never)]
    fn await_readers(&self, deadline: Nanos) -> bool {
        self.bias.revoke(mutex::fence_everywhere);
        let mut inside = Inside::enter();
        let waiting = self.waiting.lock(&inside);
        if self.is_clear() {
            return true;
        }
        let lock = &self.waiting;
        let queue = Waiting::writer;
        let reason = WaitReason::RwLockWrite;
        let granted = wait(&mut inside, lock, waiting, queue, NOWHERE, reason, deadline);
        if granted.is_none() {
            // Readers that came meanwhile waited for us.
            self.unlock_write_slow(&mut inside, 0);
        }
        granted.is_some()
    }

    #[inline]
    pub(super) fn unlock_write(&self) {
        self.release_write(0);
    }

    /// The writer becomes a reader. Those who wait to read come in with it.
    #[inline]
    pub(super) fn downgrade(&self) {
        self.release_write(READER);
    }

    /// `stay` is what of the writer remains in the word.
    #[inline]
    fn release_write(&self, stay: u64) {
        let word = self.word.load(Ordering::Relaxed);
        let alone = word & NOW == WRITER
            && self
                .word
                .compare_exchange(word, stay, Ordering::Release, Ordering::Relaxed)
                .is_ok();
        match alone {
            true => self.writers.unlock(),
            false => self.unlock_write_slow(&mut Inside::enter(), stay),
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_write_slow(&self, inside: &mut Inside, stay: u64) {
        let mut waiting = self.waiting.lock(inside);
        let mut granted = stay;
        let mut reader = waiting.readers.first();
        while let Some(record) = reader {
            granted += READER;
            reader = waiting.readers.after(record);
        }
        // The bits stand still under the lock, and the upper half only grows, so that one step can
        // take them away and let the readers in. These count from here on; each learns of it
        // by its verdict.
        let gone = self.word.load(Ordering::Relaxed) & (WRITER | READERS_WAIT | !NOW);
        self.word
            .fetch_add(granted.wrapping_sub(gone), Ordering::Release);
        let woken = release_all(inside, &mut waiting.readers, Verdict::Done);
        drop(waiting);
        // The next writer first: the last one to be woken is the first to run.
        self.writers.unlock_and_stay(inside);
        woken.wake(inside);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if !self.bias.is_off() {
            visible::forget(self.address());
        }
    }
}
