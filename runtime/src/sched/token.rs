//! Who uses a P: in builds with delays each P has a token, which shows a second user.
//!
//! Nothing here is atomic, on purpose: the protocol alone keeps users apart. The owner takes
//! the token when it comes to own the P and lays it down before its word stops naming it; the
//! monitor lays it down for the one that it robbed. At each entry, and before each leave, the
//! owner bumps a count, with a delay between load and store: whoever comes in between is seen.
//!
//! Without `--cfg goweft_delays` it is nothing.

use super::m::M;
#[cfg(goweft_delays)]
use crate::protocol::delay;
#[cfg(goweft_delays)]
use std::cell::Cell;

/// See the module. It belongs to a P.
#[derive(Default)]
pub(crate) struct Token {
    /// The number of its user + 1, or 0.
    #[cfg(goweft_delays)]
    user: Cell<u32>,
    #[cfg(goweft_delays)]
    count: Cell<u64>,
}

#[cfg(not(goweft_delays))]
impl Token {
    /// By an M that owns the P from now on.
    #[inline(always)]
    pub(crate) fn take(&self, _m: &M) {}

    /// By the owner, about to own it no more.
    #[inline(always)]
    pub(crate) fn lay_down(&self, _m: &M) {}

    /// By the monitor, which took the P from `m`.
    #[inline(always)]
    pub(crate) fn take_from(&self, _m: &M) {}

    /// By the owner, inside.
    #[inline(always)]
    pub(crate) fn bump(&self, _m: &M) {}
}

#[cfg(goweft_delays)]
impl Token {
    /// By an M that owns the P from now on.
    pub(crate) fn take(&self, m: &M) {
        self.expect(0, "an M takes");
        self.user.set(m.index.get() + 1);
    }

    /// By the owner, about to own it no more.
    pub(crate) fn lay_down(&self, m: &M) {
        self.expect(m.index.get() + 1, "an M lays down");
        self.user.set(0);
    }

    /// By the monitor, which took the P from `m`. If it was given back in place before, `m` may
    /// not have entered since.
    pub(crate) fn take_from(&self, m: &M) {
        if self.user.get() != 0 {
            self.expect(m.index.get() + 1, "the monitor takes");
            self.user.set(0);
        }
    }

    /// By the owner, inside.
    pub(crate) fn bump(&self, m: &M) {
        let user = m.index.get() + 1;
        self.expect(user, "an M uses");
        let count = self.count.get();
        delay::often();
        if self.count.get() != count {
            crate::abort::fatal("two threads use one P");
        }
        self.count.set(count + 1);
        self.expect(user, "an M has used");
    }

    fn expect(&self, user: u32, what: &str) {
        let found = self.user.get();
        if found != user {
            crate::abort::fatal(format_args!("{what} a P of {found}, and not of {user}"));
        }
    }
}
