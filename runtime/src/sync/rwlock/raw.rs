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
//! | the rest | readers | how many are in, or look whether they may |
//!
//! A reader adds itself first and looks second, which is one step on a word that others change
//! all the time. If it finds a writer it takes itself off again as if it had been in; a writer
//! takes it for a reader so long, and whoever brings the count to zero looks after
//! the writer.
//!
//! No wake-up is lost. Of a reader: it sets READERS_WAIT and sees WRITER in one step, under the lock,
//! and gives the lock up when it is linked; the unlock comes after that step, sees the bit, and
//! takes the lock. Of the writer: it looks at the count under the lock, and is linked when it
//! gives that up; the count comes to zero after that look, and then takes the lock.

use crate::channel::wait::{Queue, Verdict};
use crate::clock::Nanos;
use crate::lock::ShortLock;
use crate::sched::{Inside, WaitReason};
use crate::sync::mutex;
use crate::sync::wait::{NOWHERE, release_all, wait};
use std::sync::atomic::{AtomicU32, Ordering};

const WRITER: u32 = 1;
const READERS_WAIT: u32 = 2;
const READER: u32 = 4;

/// Half of what the count can be: guards that were forgotten, more than memory
/// has room for otherwise. The other half is for those who look and leave.
const TOO_MANY: u32 = 1 << 31;

/// The lock without the value.
pub(super) struct Raw {
    word: AtomicU32,
    writers: mutex::Raw,
    waiting: ShortLock<Waiting>,
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
            word: AtomicU32::new(0),
            writers: mutex::Raw::new(),
            waiting: ShortLock::new(Waiting {
                readers: Queue::new(),
                writer: Queue::new(),
            }),
        }
    }

    #[inline]
    pub(super) fn try_read(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & (WRITER | TOO_MANY) == 0 {
            match self.word.compare_exchange_weak(
                word,
                word + READER,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Whether it was locked before `deadline`.
    #[inline]
    pub(super) fn read_until(&self, deadline: Nanos) -> bool {
        let word = self.word.fetch_add(READER, Ordering::Acquire);
        word & (WRITER | TOO_MANY) == 0 || self.read_slow(word, deadline)
    }

    /// `before` is what the word was when the caller added itself.
    #[cold]
    #[inline(never)]
    fn read_slow(&self, before: u32, deadline: Nanos) -> bool {
        self.unlock_read();
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
                0 => (word + READER, true),
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
    pub(super) fn unlock_read(&self) {
        let before = self.word.fetch_sub(READER, Ordering::Release);
        if before & !READERS_WAIT == READER | WRITER {
            self.last_reader_left();
        }
    }

    /// A writer waits for it, or is about to, or is in already and we had only looked.
    #[cold]
    #[inline(never)]
    fn last_reader_left(&self) {
        let mut inside = Inside::enter();
        let mut waiting = self.waiting.lock(&inside);
        // Somebody who looks may be counted: then that one comes here again. Acquire:
        // what all readers did, to be released by the verdict.
        if self.word.load(Ordering::Acquire) >= READER {
            return;
        }
        let Some(writer) = waiting.writer.first() else {
            return;
        };
        waiting.writer.remove(&writer);
        let waiter = writer.give(Verdict::Done);
        drop(waiting);
        inside.ready(waiter);
    }

    #[inline]
    pub(super) fn try_write(&self) -> bool {
        if !self.writers.try_lock() {
            return false;
        }
        let free = self
            .word
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if !free {
            self.writers.unlock();
        }
        free
    }

    /// Whether it was locked before `deadline`.
    #[inline]
    pub(super) fn write_until(&self, deadline: Nanos) -> bool {
        if !self.writers.lock_until(deadline) {
            return false;
        }
        // From here on no reader comes in.
        let before = self.word.fetch_add(WRITER, Ordering::Acquire);
        before < READER || self.await_readers(deadline)
    }

    #[cold]
    #[inline(never)]
    fn await_readers(&self, deadline: Nanos) -> bool {
        let mut inside = Inside::enter();
        let waiting = self.waiting.lock(&inside);
        if self.word.load(Ordering::Acquire) < READER {
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
    fn release_write(&self, stay: u32) {
        let alone = self
            .word
            .compare_exchange(WRITER, stay, Ordering::Release, Ordering::Relaxed);
        match alone {
            Ok(_) => self.writers.unlock(),
            Err(_) => self.unlock_write_slow(&mut Inside::enter(), stay),
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_write_slow(&self, inside: &mut Inside, stay: u32) {
        let mut waiting = self.waiting.lock(inside);
        let mut granted = stay;
        let mut reader = waiting.readers.first();
        while let Some(record) = reader {
            granted += READER;
            reader = waiting.readers.after(record);
        }
        // The bits stand still under the lock, so that one step can take them away and let
        // the readers in. These count from here on; each learns of it by its verdict.
        let bits = self.word.load(Ordering::Relaxed) & (WRITER | READERS_WAIT);
        self.word
            .fetch_add(granted.wrapping_sub(bits), Ordering::Release);
        let woken = release_all(inside, &mut waiting.readers, Verdict::Done);
        drop(waiting);
        // The next writer first: the last one to be woken is the first to run.
        self.writers.unlock_and_stay(inside);
        woken.wake(inside);
    }
}
