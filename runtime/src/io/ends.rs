//! What stands behind a reader or writer, as far as the kernel can use it.
//!
//! `copy` takes any type, as std's does, and finds out here whether it is one of those
//! that are a descriptor and nothing else. Types are told apart by their `TypeId`, with
//! lifetimes left out: what is looked for are types without lifetimes, and references to
//! them, so nothing that matters is left out.

use super::{PipeReader, PipeWriter};
use crate::net::TcpStream;
use crate::net::socket::Socket;
use goweft_netpoll::Direction;
use std::any::TypeId;
use std::fs::File;
use std::io::{self, Take};
use std::os::fd::{AsFd, BorrowedFd};

/// One end of a copy.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    Socket(&'a dyn Waits),
    Pipe(&'a dyn Waits),
    /// A regular file.
    File(BorrowedFd<'a>),
}

/// A descriptor that calls may have to wait for, as its deadlines allow.
pub(super) trait Waits {
    /// Attempts `f`, whenever the descriptor may be ready, until it does not say
    /// `WouldBlock`. `f` runs outside the runtime.
    fn attempt(
        &self,
        direction: Direction,
        f: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize>;

    fn fd(&self) -> BorrowedFd<'_>;
}

impl<S: AsFd> Waits for Socket<S> {
    fn attempt(
        &self,
        direction: Direction,
        f: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.operate(direction, |inner| f(inner.as_fd()))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

/// A type that is an end, or may be one.
trait AsEnd: 'static {
    fn as_end(&self) -> Option<End<'_>>;
}

impl AsEnd for TcpStream {
    fn as_end(&self) -> Option<End<'_>> {
        Some(End::Socket(self.socket()))
    }
}

impl AsEnd for PipeReader {
    fn as_end(&self) -> Option<End<'_>> {
        Some(End::Pipe(self.socket()))
    }
}

impl AsEnd for PipeWriter {
    fn as_end(&self) -> Option<End<'_>> {
        Some(End::Pipe(self.socket()))
    }
}

impl AsEnd for File {
    /// Not for what else a `File` can be, which may block for as long as it likes.
    fn as_end(&self) -> Option<End<'_>> {
        let regular = self.metadata().is_ok_and(|metadata| metadata.is_file());
        regular.then(|| End::File(self.as_fd()))
    }
}

/// What `reader` is, if the kernel can read it, and how many bytes at most.
pub(super) fn source<R: ?Sized>(reader: &R) -> Option<(End<'_>, u64)> {
    reads::<TcpStream, R>(reader)
        .or_else(|| reads::<File, R>(reader))
        .or_else(|| reads::<PipeReader, R>(reader))
}

/// What `writer` is, if the kernel can write it.
pub(super) fn sink<W: ?Sized>(writer: &W) -> Option<End<'_>> {
    let found = find::<TcpStream, W>(writer).map(AsEnd::as_end);
    found
        .or_else(|| find::<File, W>(writer).map(AsEnd::as_end))
        .or_else(|| find::<PipeWriter, W>(writer).map(AsEnd::as_end))
        .flatten()
}

/// So many bytes were taken from `reader`, not through it.
pub(super) fn taken<R: ?Sized>(reader: &mut R, n: u64) {
    let _ = taken_of::<TcpStream, R>(reader, n)
        || taken_of::<File, R>(reader, n)
        || taken_of::<PipeReader, R>(reader, n);
}

/// `reader` as a `T`, a reference to one, or a `Take` of one of these.
fn reads<T: AsEnd, R: ?Sized>(reader: &R) -> Option<(End<'_>, u64)> {
    if let Some(found) = find::<T, R>(reader) {
        return Some((found.as_end()?, u64::MAX));
    }
    // The lifetimes of these are not 'static in truth: nothing leaves this function
    // that borrows for longer than `reader`.
    let (found, limit) = if let Some(take) = cast::<Take<T>, R>(reader) {
        (take.get_ref(), take.limit())
    } else if let Some(take) = cast::<Take<&'static T>, R>(reader) {
        (*take.get_ref(), take.limit())
    } else if let Some(take) = cast::<Take<&'static mut T>, R>(reader) {
        (&**take.get_ref(), take.limit())
    } else {
        return None;
    };
    Some((found.as_end()?, limit))
}

/// `value` as a `T` or a reference to one.
fn find<T: 'static, R: ?Sized>(value: &R) -> Option<&T> {
    if let Some(found) = cast::<T, R>(value) {
        return Some(found);
    }
    // As above.
    if let Some(found) = cast::<&'static T, R>(value) {
        return Some(*found);
    }
    cast::<&'static mut T, R>(value).map(|found| &**found)
}

fn taken_of<T: AsEnd, R: ?Sized>(reader: &mut R, n: u64) -> bool {
    if let Some(take) = cast_mut::<Take<T>, R>(reader) {
        take.set_limit(take.limit() - n);
    } else if let Some(take) = cast_mut::<Take<&'static T>, R>(reader) {
        take.set_limit(take.limit() - n);
    } else if let Some(take) = cast_mut::<Take<&'static mut T>, R>(reader) {
        take.set_limit(take.limit() - n);
    } else {
        return false;
    }
    true
}

/// `value`, if it is a `T` but for lifetimes: those in `T` must not be relied on.
fn cast<T: 'static, R: ?Sized>(value: &R) -> Option<&T> {
    if typeid::of::<R>() != TypeId::of::<T>() {
        return None;
    }
    // SAFETY: the types are the same but for lifetimes, which have no influence on how a
    // value is laid out. The callers let no reference out that lives longer than `value`.
    Some(unsafe { &*std::ptr::from_ref(value).cast::<T>() })
}

/// As [`cast`].
fn cast_mut<T: 'static, R: ?Sized>(value: &mut R) -> Option<&mut T> {
    if typeid::of::<R>() != TypeId::of::<T>() {
        return None;
    }
    // SAFETY: as in `cast`; the callers store nothing through it that has a lifetime.
    Some(unsafe { &mut *std::ptr::from_mut(value).cast::<T>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn ends_are_found_behind_references_and_limits() -> io::Result<()> {
        let (mut reader, mut writer) = super::super::pipe()?;
        let limit = |found: Option<(End<'_>, u64)>| found.map(|(_, limit)| limit);
        assert_eq!(limit(source(&reader)), Some(u64::MAX));
        assert_eq!(limit(source(&&reader)), Some(u64::MAX));
        assert_eq!(limit(source(&&mut reader)), Some(u64::MAX));
        assert_eq!(limit(source(&(&reader).take(7))), Some(7));
        assert_eq!(limit(source(&(&mut reader).take(8))), Some(8));
        assert!(sink(&writer).is_some() && sink(&&writer).is_some());
        assert!(sink(&&mut writer).is_some());
        let mut limited = reader.take(9);
        assert_eq!(limit(source(&limited)), Some(9));
        taken(&mut limited, 4);
        assert_eq!(limited.limit(), 5);
        Ok(())
    }

    #[test]
    fn other_types_are_left_alone() -> io::Result<()> {
        let (reader, _writer) = super::super::pipe()?;
        let buffered = io::BufReader::new(reader);
        assert!(source(&buffered).is_none());
        let plain: &dyn Read = &buffered.into_inner();
        assert!(source(plain).is_none());
        assert!(source(&&b"text"[..]).is_none());
        assert!(sink(&Vec::<u8>::new()).is_none());
        assert!(source(&File::open("/dev/null")?).is_none());
        Ok(())
    }
}
