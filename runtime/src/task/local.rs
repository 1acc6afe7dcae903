//! Goroutine-locals.
#[derive(Default)]
pub(crate) struct Locals;
pub(crate) fn drop_cold(cold: Box<crate::sched::g::Cold>) { drop(cold) }
