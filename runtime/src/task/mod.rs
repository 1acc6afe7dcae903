//! Goroutines, seen from inside one and from their handles.
pub(crate) mod local;
