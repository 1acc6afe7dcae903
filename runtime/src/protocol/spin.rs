//! Waiting for a step that another thread is in the middle of.
//!
//! Only for steps that run inside the runtime: they are a few instructions
//! long, and nothing but the OS can stop the thread that takes them. So: spin
//! a little, then give the CPU up to it.

/// Counts the rounds of one wait.
pub(crate) struct Spin(u32);

/// Rounds before the CPU is given up.
#[cfg(not(loom))]
const PATIENCE: u32 = 64;

impl Spin {
    #[inline]
    pub(crate) fn new() -> Spin {
        Spin(0)
    }

    /// One round.
    #[cfg(not(loom))]
    #[cold]
    pub(crate) fn wait(&mut self) {
        if self.0 < PATIENCE {
            self.0 += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }

    /// One round: lets the model run another thread.
    #[cfg(loom)]
    pub(crate) fn wait(&mut self) {
        self.0 += 1;
        loom::thread::yield_now();
    }
}
