//! Workers on cores of their own (`Config::affinity`).
//!
//! It is the P that has a CPU, by its index, and the M that owns it runs there:
//! with more Ms than Ps, as soon as one blocks, a CPU for each M would have two work
//! on one and none on another. So an M moves when it gets a P of another CPU
//! ([`follow`]); that is a system call, at a place where it was just woken by one.
//!
//! A thread without a P must not stay on a CPU that its successor now uses (PROTOCOL
//! M22): when it lends its P for a call that blocks, and when the monitor steals it,
//! it may run anywhere ([`widen`]) until it has a P again.
//!
//! `M::cpu` says to which CPU the thread was moved last: by the thread itself when it gets a P, by
//! whoever wakes it for one, by the monitor around a theft. If two do so at once the mask may be
//! that of the one and the word that of the other; then the thread runs in a wrong place until it
//! gets a P the next time, which is all that can happen.
//!
//! All of it does nothing but one load unless CPUs were set.

use super::m::M;
use super::p::P;
use crate::config;
use crate::limits::{self, CpuSet};
use std::sync::atomic::Ordering;

/// The M owns the P: its thread runs on the CPU of that P from now on. By the M, or
/// by the monitor that gives a stolen P back in place.
#[inline]
pub(super) fn follow(m: &M, p: &P) {
    if let Some(cpus) = config::affinity() {
        pin(m, cpus[p.index % cpus.len()]);
    }
}

/// The M has no P, and its thread goes on: it may run where the process may. By the
/// M, or by the monitor after a theft.
#[inline]
pub(super) fn widen(m: &M) {
    if config::affinity().is_some() && m.cpu.swap(0, Ordering::Relaxed) != 0 {
        // The kernel leaves out what the process may not use any more.
        if let Some(cpus) = limits::cpus() {
            let _ = cpus.apply_to(m.tid.load(Ordering::Relaxed));
        }
    }
}

#[cold]
fn pin(m: &M, cpu: usize) {
    let moved_to = cpu as u32 + 1;
    if m.cpu.swap(moved_to, Ordering::Relaxed) == moved_to {
        return;
    }
    let set: CpuSet = [cpu].into_iter().collect();
    if set.apply_to(m.tid.load(Ordering::Relaxed)).is_err() {
        // The CPU was there when it was configured; it was taken from this
        // process since. The thread stays where the kernel has put it.
        m.cpu.store(0, Ordering::Relaxed);
    }
}
