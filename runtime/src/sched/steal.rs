//! Searching: work from other Ps (PROTOCOL 14).
//!
//! Stealing pins crossbeam's epoch, which may run other code's destructors and
//! allocate. So it happens only here, on the M's own stack, without a goroutine,
//! with `rt` even: to those destructors this is a plain thread. Only atomics of
//! the victims are touched meanwhile; what was taken stands in an array on this
//! stack until the M is inside again.

use super::g::GRef;
use super::inside::Inside;
use super::lists::{self, SLEEP};
use super::m::M;
use super::p::{self, P};
use crossbeam_deque::Steal;
use std::sync::atomic::Ordering;

/// Most that one theft takes.
const BATCH: usize = 16;
/// Looks at all victims before giving up.
const ROUNDS: usize = 4;

/// One to run, the rest of the loot in the own queue. None: there is nothing,
/// or enough others search.
pub(crate) fn search(inside: &mut Inside, m: &'static M, p: &'static P) -> Option<GRef> {
    let procs = lists::procs();
    if procs == 1 {
        return None;
    }
    if !m.searching.get() {
        if !SLEEP.try_search(procs) {
            return None;
        }
        m.searching.set(true);
    }
    for _ in 0..ROUNDS {
        let start = p.random() as usize;
        let made = p::all().count();
        for i in 0..made {
            let victim = p::get((start + i) % made)?;
            if std::ptr::eq(victim, p) || victim.queue.len() == 0 {
                continue;
            }
            let mut loot = [None; BATCH];
            outside(m, || rob(victim, &mut loot));
            let mut loot = loot.into_iter().flatten();
            let Some(first) = loot.next() else { continue };
            let mut taken = 1;
            for g in loot {
                taken += 1;
                inside.push_local(p, g);
            }
            p.counters().steals.add(1);
            p.counters().stolen.add(taken);
            return Some(first);
        }
        std::hint::spin_loop();
    }
    None
}

/// Half of what the victim has.
fn rob(victim: &P, loot: &mut [Option<GRef>; BATCH]) {
    let want = victim.queue.len().div_ceil(2).min(BATCH);
    let mut have = 0;
    while have < want {
        match victim.queue.steal() {
            Steal::Success(g) => {
                loot[have] = Some(g);
                have += 1;
            }
            Steal::Retry => {}
            Steal::Empty => return,
        }
    }
}

/// Runs `f` with `rt` even: destructors that crossbeam runs in it may use
/// goweft as any thread may.
///
/// Here nobody takes the P from a thread that is outside, so it is still owned
/// afterwards; the theft of Ps must look at the word again at this place.
fn outside(m: &'static M, f: impl FnOnce()) {
    let rt = m.rt.load(Ordering::Relaxed);
    super::tls::set_current(std::ptr::null());
    m.rt.store(rt.wrapping_add(1), Ordering::Release);
    f();
    m.rt.store(rt.wrapping_add(2), Ordering::Relaxed);
    super::tls::set_current(m);
}
