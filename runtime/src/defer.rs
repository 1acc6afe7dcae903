//! `defer!`: code for the end of a scope.

/// Runs its body at the end of the enclosing scope, also when the scope is left
/// by `return`, `?`, `break`, a panic or [`task::exit`](crate::task::exit).
///
/// Unlike Go's it belongs to the block, not to the function, and its body borrows
/// what it names. Several run in reverse order. A body that panics while the
/// scope unwinds aborts the process, as a destructor that panics does.
///
/// ```
/// use std::cell::RefCell;
/// let order = RefCell::new(vec![]);
/// {
///     goweft::defer! { order.borrow_mut().push("last") }
///     goweft::defer!(order.borrow_mut().push("second"));
///     order.borrow_mut().push("first");
/// }
/// assert_eq!(*order.borrow(), ["first", "second", "last"]);
/// ```
#[macro_export]
macro_rules! defer {
    ($($body:tt)*) => {
        let _deferred = $crate::__private::Deferred::new(|| { $($body)*; });
    };
}

/// Calls its closure when dropped.
#[must_use]
pub struct Deferred<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Deferred<F> {
    /// For `defer!`.
    pub fn new(f: F) -> Deferred<F> {
        Deferred(Some(f))
    }
}

impl<F: FnOnce()> Drop for Deferred<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}
