//! What wakes the monitor: it never sleeps past what only it would see (PROTOCOL 9, 12
//! and 17).
//!
//! The bell itself is the system's, and counts: a ring before the sleep ends it at once. Four words
//! stand before it.
//!
//! 1. **Kick.** Whoever has something for the monitor publishes it, and rings if
//!    [`must_ring`](Alarm::must_ring) says so: only the first since the monitor was last up. The
//!    monitor, awake, clears that by a swap ([`heard`](Alarm::heard)) before it looks at anything:
//!    a kick before the swap is seen with what it was for, a kick after it rings.
//! 2. **Deep sleep**, without a timeout, when all Ps are idle. [`lie_down`](Alarm::lie_down)
//!    fences, and the monitor counts the idle Ps again after it. Whoever has taken a P out of the
//!    idle set fences and looks ([`is_asleep`](Alarm::is_asleep)), and kicks. Of the two fences one
//!    is first: either the monitor sees a P that is not idle, or the other sees it asleep. So while
//!    a P is busy the monitor ticks, and finds the `runnext` that its owner does not come to. (So
//!    for a P beyond `maxprocs`, which is not in that set: the monitor looks who owns one, and
//!    whoever comes by one looks.)
//! 3. **Nap**, until the next tick. A thread without a P that makes something runnable says so
//!    ([`queued`](Alarm::queued), [`begun`](Alarm::begun)), fences, and kicks if the monitor wants
//!    to hear of it. The monitor says that it does ([`listen`](Alarm::listen)), fences, and naps
//!    only when nothing was said since its tick began ([`take_begun`](Alarm::take_begun)). The same
//!    argument.

use super::atomic::{AtomicU32, Ordering, fence};

/// See the module.
pub(crate) struct Alarm {
    /// 1: the bell has been rung, or is about to be. Anybody sets it, the monitor clears it.
    kicked: AtomicU32,
    /// 1: it sleeps without a timeout. The monitor's.
    asleep: AtomicU32,
    /// 1: it naps, and wants to be kicked for what is said. The monitor sets it; who kicks clears
    /// it.
    listens: AtomicU32,
    /// What was said since the last tick began.
    said: AtomicU32,
}

/// Something was queued without a P.
const QUEUED: u32 = 1;
/// It is a new goroutine.
const BEGUN: u32 = 2;

impl Alarm {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Alarm {
        Alarm {
            kicked: AtomicU32::new(0),
            asleep: AtomicU32::new(0),
            listens: AtomicU32::new(0),
            said: AtomicU32::new(0),
        }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Alarm {
        Alarm {
            kicked: AtomicU32::new(0),
            asleep: AtomicU32::new(0),
            listens: AtomicU32::new(0),
            said: AtomicU32::new(0),
        }
    }

    /// Step 1, by anybody, also a signal handler. True: ring.
    #[must_use]
    pub(crate) fn must_ring(&self) -> bool {
        self.kicked.swap(1, Ordering::AcqRel) == 0
    }

    /// Step 1, by the monitor after each sleep, whatever ended it.
    pub(crate) fn heard(&self) {
        // A read-modify-write, because it must read what the last kicker wrote.
        self.kicked.swap(0, Ordering::AcqRel);
    }

    /// Step 2: a P has left the idle set. True: kick.
    #[inline]
    #[must_use]
    pub(crate) fn is_asleep(&self) -> bool {
        // Pairs with the fence in `lie_down`.
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) != 0
    }

    /// Step 2, by the monitor. It counts the idle Ps after this, and sleeps if all are.
    pub(crate) fn lie_down(&self) {
        self.asleep.store(1, Ordering::Relaxed);
        // Pairs with the fence in `is_asleep`.
        fence(Ordering::SeqCst);
    }

    /// Step 2, by the monitor, awake.
    pub(crate) fn get_up(&self) {
        self.asleep.store(0, Ordering::Relaxed);
    }

    /// Step 3: a thread without a P has queued what it woke, or gave way. True: kick.
    #[must_use]
    pub(crate) fn queued(&self) -> bool {
        self.say(QUEUED)
    }

    /// Step 3: a thread without a P has queued what it begins. True: kick.
    #[must_use]
    pub(crate) fn begun(&self) -> bool {
        self.say(BEGUN)
    }

    fn say(&self, what: u32) -> bool {
        self.said.fetch_max(what, Ordering::AcqRel);
        // Pairs with the fence in `listen`.
        fence(Ordering::SeqCst);
        self.listens.load(Ordering::Relaxed) != 0 && self.listens.swap(0, Ordering::Relaxed) != 0
    }

    /// Step 3, by the monitor, at the beginning of a tick, before it looks at the queues: whether
    /// anything was begun since the last one.
    pub(crate) fn take_begun(&self) -> bool {
        self.said.load(Ordering::Relaxed) != 0 && self.said.swap(0, Ordering::AcqRel) == BEGUN
    }

    /// Step 3, by the monitor, about to nap. False: something was said since its tick began.
    #[must_use]
    pub(crate) fn listen(&self) -> bool {
        self.listens.store(1, Ordering::Relaxed);
        // Pairs with the fence in `say`.
        fence(Ordering::SeqCst);
        self.said.load(Ordering::Relaxed) == 0
    }

    /// Step 3, by the monitor, awake.
    pub(crate) fn stop_listening(&self) {
        self.listens.store(0, Ordering::Relaxed);
    }
}
