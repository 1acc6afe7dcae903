//! Delays, for tests: `--cfg goweft_delays` makes the windows between two steps wide.
//!
//! What two threads can do to each other between a load and the compare-and-swap that follows
//! it takes nanoseconds, and a run of days may not meet it: the protocol's worst simplification
//! failed in 2,292 of 39,965 rounds with a window of 20 us, and in none of 272,180 without.
//! So [`here`] stands at every step: before and after each change of a word of `protocol/` (the
//! atomics below, which `atomic.rs` hands out then), after each fence, and where the scheduler
//! hands something over. It spins for a random while: mostly not at all, now and then up to
//! 50 us, rarely 1 ms.
//!
//! Without the cfg it is nothing.
//!
//! It must not hide what it is to show. So it has no atomic read-modify-write, which would be a
//! fence on x86_64, and no lock; what it keeps are plain loads and stores to a line that depends on
//! where the stack is, which two threads seldom share. And it runs everywhere, in the handler and
//! while a thread starts: no thread-local, no allocation, nothing that waits.
//!
//! `GOWEFT_DELAY_SEED` begins the numbers, and says how dense they are; without it the time does,
//! and a line on stderr tells it. Threads race as they like, so the same seed gives the same
//! mixture, not the same run.

/// A step of a protocol: others may come in between.
#[cfg(not(all(goweft_delays, not(loom))))]
#[inline(always)]
pub(crate) fn here() {}

/// As [`here`], where one side must often be caught by the other: between two steps of a theft,
/// and of an operation inside.
#[cfg(not(all(goweft_delays, not(loom))))]
#[inline(always)]
pub(crate) fn often() {}

/// Whether the monitor takes a P now that it would take later: now and then, so that thefts
/// and signals come at any time and not at the slice's end.
#[cfg(not(all(goweft_delays, not(loom))))]
#[inline(always)]
pub(crate) fn forces() -> bool {
    false
}

#[cfg(all(goweft_delays, not(loom)))]
pub(crate) use real::{AtomicU32, AtomicU64, AtomicUsize, begin, fence, forces, here, often};

#[cfg(all(goweft_delays, not(loom)))]
mod real {
    use crate::clock::{self, Nanos};
    use crate::tell::tell;
    use crossbeam_utils::CachePadded;
    use std::ops::Deref;
    use std::sync::atomic::Ordering;
    use std::sync::atomic::{self, AtomicU32 as U32, AtomicU64 as U64, AtomicUsize as Usize};

    /// The longest of the common delays, and the rare one.
    const SHORT: Nanos = 50_000;
    const LONG: Nanos = 1_000_000;
    /// One step in so many is a long one.
    const RARE: u64 = 1 << 14;

    /// 0: not begun, so no delays.
    static SEED: U64 = U64::new(0);
    const LINES: usize = 64;
    static STATE: [CachePadded<U64>; LINES] = [const { CachePadded::new(U64::new(0)) }; LINES];

    /// By whoever starts the runtime.
    pub(crate) fn begin() {
        let given = std::env::var("GOWEFT_DELAY_SEED").ok();
        let seed = given.and_then(|s| s.parse().ok()).unwrap_or_else(|| {
            let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            u64::from(since.subsec_nanos()) ^ u64::from(std::process::id()) << 20
        });
        tell(format_args!("delays with GOWEFT_DELAY_SEED={seed}"));
        // The clock's first look may allocate.
        clock::now();
        SEED.store(mix(seed) | 1, Ordering::Release);
    }

    /// A step of a protocol: others may come in between.
    #[inline(never)]
    pub(crate) fn here() {
        let Some((random, seed)) = next() else { return };
        // One step in 8, 32 or 128.
        spin(random, 8 << (2 * ((seed >> 60) % 3)));
    }

    /// As [`here`]: one step in 4.
    #[inline(never)]
    pub(crate) fn often() {
        if let Some((random, _)) = next() {
            spin(random, 4);
        }
    }

    fn spin(random: u64, dense: u64) {
        let wait = if random.is_multiple_of(RARE) {
            LONG
        } else if (random >> 16).is_multiple_of(dense) {
            (random >> 32) % SHORT
        } else {
            return;
        };
        let begin = clock::now();
        while clock::now().saturating_sub(begin) < wait {
            std::hint::spin_loop();
        }
    }

    /// Whether the monitor takes a P now that it would take later.
    pub(crate) fn forces() -> bool {
        next().is_some_and(|(random, _)| random.is_multiple_of(4))
    }

    /// A random number, and the seed. None: not begun.
    fn next() -> Option<(u64, u64)> {
        let seed = SEED.load(Ordering::Relaxed);
        if seed == 0 {
            return None;
        }
        let place = 0u8;
        let line = (&raw const place).addr() >> 14;
        let state = &STATE[line % LINES];
        let n = state
            .load(Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.store(n, Ordering::Relaxed);
        Some((mix(n ^ seed), seed))
    }

    /// splitmix64 (Steele, Lea, Flood 2014).
    fn mix(mut z: u64) -> u64 {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn fence(order: Ordering) {
        atomic::fence(order);
        here();
    }

    /// An atomic with a delay before and after each change. A load is a plain one, through
    /// [`Deref`]: what comes between it and the change is what these delays are for.
    macro_rules! delayed {
        ($name:ident, $std:ident, $int:ty) => {
            #[repr(transparent)]
            pub(crate) struct $name($std);

            impl Deref for $name {
                type Target = $std;
                fn deref(&self) -> &$std {
                    &self.0
                }
            }

            #[allow(dead_code, reason = "each of the three has what std's has")]
            impl $name {
                pub(crate) const fn new(n: $int) -> $name {
                    $name($std::new(n))
                }

                pub(crate) fn store(&self, n: $int, order: Ordering) {
                    here();
                    self.0.store(n, order);
                    here();
                }

                pub(crate) fn compare_exchange(
                    &self,
                    from: $int,
                    to: $int,
                    won: Ordering,
                    lost: Ordering,
                ) -> Result<$int, $int> {
                    here();
                    let result = self.0.compare_exchange(from, to, won, lost);
                    here();
                    result
                }

                pub(crate) fn compare_exchange_weak(
                    &self,
                    from: $int,
                    to: $int,
                    won: Ordering,
                    lost: Ordering,
                ) -> Result<$int, $int> {
                    here();
                    let result = self.0.compare_exchange_weak(from, to, won, lost);
                    here();
                    result
                }

                delayed!(@each $int: swap fetch_add fetch_sub fetch_or fetch_and fetch_max);
            }
        };
        (@each $int:ty: $($method:ident)*) => {$(
            pub(crate) fn $method(&self, n: $int, order: Ordering) -> $int {
                here();
                let before = self.0.$method(n, order);
                here();
                before
            }
        )*};
    }

    delayed!(AtomicU32, U32, u32);
    delayed!(AtomicU64, U64, u64);
    delayed!(AtomicUsize, Usize, usize);
}
