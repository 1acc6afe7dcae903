//! What contexts carry: a chain of values, newest first, each known by its type.

use std::any::{Any, type_name};
use std::sync::Arc;

type AnyValue = dyn Any + Send + Sync;

/// One value, or the mark that `without_cancel` leaves for `Debug`.
pub(super) struct Value<V: ?Sized = AnyValue> {
    older: Option<Arc<Value>>,
    /// How many contexts its context comes from.
    pub(super) depth: u32,
    pub(super) type_name: &'static str,
    value: V,
}

/// Only for `Debug`: nobody outside can ask for a value of this type.
pub(super) struct WithoutCancel;

impl Value {
    pub(super) fn add<V: Any + Send + Sync>(
        older: &Option<Arc<Value>>,
        depth: u32,
        value: V,
    ) -> Arc<Value> {
        Arc::new(Value {
            older: older.clone(),
            depth,
            type_name: type_name::<V>(),
            value,
        })
    }

    pub(super) fn older(&self) -> Option<&Value> {
        self.older.as_deref()
    }

    pub(super) fn get<T: Any>(&self) -> Option<&T> {
        let value: &dyn Any = &self.value;
        value.downcast_ref()
    }
}

/// The newest value of type `T`.
pub(super) fn find<T: Any>(newest: Option<&Value>) -> Option<&T> {
    let mut at = newest;
    while let Some(value) = at {
        if let Some(found) = value.get() {
            return Some(found);
        }
        at = value.older();
    }
    None
}

impl<V: ?Sized> Drop for Value<V> {
    /// A chain may be long: drops those that are nobody else's one by one, instead of
    /// each within the drop of the one before.
    fn drop(&mut self) {
        let mut next = self.older.take();
        while let Some(mut value) = next {
            next = Arc::get_mut(&mut value).and_then(|v| v.older.take());
        }
    }
}
