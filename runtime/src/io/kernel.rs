//! Copies in which the kernel moves the bytes.
//!
//! | from | to | by |
//! |---|---|---|
//! | file | file | copy_file_range, else sendfile; with the processor lent to others |
//! | file | socket, pipe | sendfile |
//! | pipe | anything, or anything else to a pipe | splice |
//! | socket | socket, file | splice into a pipe of ours, and splice out of it |
//!
//! Calls that cannot do it for these two say so at the first attempt, mostly with EINVAL
//! (a file that is opened for appending, a file system that knows nothing of it); then
//! the copy goes on by hand from where it is. So it does when the first
//! attempt finds the end at once, because files of /proc have no length but
//! do have contents.
//!
//! Between a socket and its pipe of ours it is clear who is not ready: the pipe
//! is empty before, and emptied after, each step. It belongs to a copy only for a step, so
//! that ten thousand connections that wait for data hold no pipes.

use super::ends::{End, Waits};
use super::sys;
use crate::sync::Mutex;
use goweft_netpoll::Direction;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes moved by one call, and the room of a pipe of ours.
const CHUNK: usize = 1 << 20;
/// As [`CHUNK`] between two files, where nobody waits for the first bytes.
const FILE_CHUNK: usize = 64 << 20;
/// Attempts at a splice both of whose ends claim to be ready.
const DOUBTS: u32 = 64;

/// A call that moves bytes: from, to, at most so many.
type Call = fn(BorrowedFd<'_>, BorrowedFd<'_>, usize) -> io::Result<usize>;

/// How a copy ended.
pub(super) enum Moved {
    /// At the end of the source, or at the limit.
    All,
    /// The kernel can't do it, or no further. These bytes were counted, and are still to
    /// be written.
    Stuck(Vec<u8>),
}

const STUCK: Moved = Moved::Stuck(Vec::new());

/// Copies up to `limit` bytes, and counts in `copied` what has left the source.
///
/// # Errors
/// What the system says, but not that it can't do this.
pub(super) fn copy(
    source: End<'_>,
    sink: End<'_>,
    limit: u64,
    copied: &mut u64,
) -> io::Result<Moved> {
    let mut steps = Steps { limit, copied };
    match (source, sink) {
        (End::File(from), End::File(to)) => {
            let calls: [Call; 2] = [sys::copy_files, sys::send_file];
            for call in calls {
                let step = |most| crate::task::blocking(|| call(from, to, most));
                if let Moved::All = steps.run(FILE_CHUNK, step)? {
                    return Ok(Moved::All);
                }
            }
            Ok(STUCK)
        }
        (End::File(from), End::Socket(to) | End::Pipe(to)) => steps.run(CHUNK, |most| {
            to.attempt(Direction::Write, &mut |to| sys::send_file(from, to, most))
        }),
        (End::Pipe(from), End::File(to)) => steps.run(CHUNK, |most| {
            from.attempt(Direction::Read, &mut |from| sys::splice(from, to, most))
        }),
        (End::Pipe(from), End::Pipe(to) | End::Socket(to)) | (End::Socket(from), End::Pipe(to)) => {
            steps.run(CHUNK, |most| splice_between(from, to, most))
        }
        (End::Socket(from), to @ (End::Socket(_) | End::File(_))) => {
            steps.run_through_pipes(from, to)
        }
    }
}

/// Whether the system says that it cannot do this with these descriptors.
fn cannot(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(
            libc::EINVAL
                | libc::ENOSYS
                | libc::EOPNOTSUPP
                | libc::EXDEV
                | libc::EPERM
                | libc::EBADF
                | libc::ETXTBSY
                | libc::ESPIPE
                | libc::EOVERFLOW
        )
    )
}

struct Steps<'a> {
    limit: u64,
    copied: &'a mut u64,
}

impl Steps<'_> {
    /// How much the next step may move; None: no step is left.
    fn next(&self, chunk: usize) -> Option<usize> {
        let rest = self.limit - *self.copied;
        let most = usize::try_from(rest).unwrap_or(usize::MAX).min(chunk);
        (most > 0).then_some(most)
    }

    /// Steps of one call each.
    fn run(
        &mut self,
        chunk: usize,
        mut step: impl FnMut(usize) -> io::Result<usize>,
    ) -> io::Result<Moved> {
        while let Some(most) = self.next(chunk) {
            match step(most) {
                Ok(0) if *self.copied == 0 => return Ok(STUCK),
                Ok(0) => break,
                Ok(n) => *self.copied += n as u64,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // By hand it fails again, if it is not that.
                Err(e) if cannot(&e) => return Ok(STUCK),
                Err(e) => return Err(e),
            }
        }
        Ok(Moved::All)
    }

    /// Steps into a pipe of ours and out of it.
    fn run_through_pipes(&mut self, from: &dyn Waits, to: End<'_>) -> io::Result<Moved> {
        while let Some(most) = self.next(CHUNK) {
            let mut pipe = None;
            let filled = from.attempt(Direction::Read, &mut |from| {
                // Nobody's while we wait.
                let ours = OwnPipe::get()?;
                let n = sys::splice(from, ours.write.as_fd(), most);
                match n {
                    Ok(1..) => pipe = Some(ours),
                    _ => ours.give_back(),
                }
                n
            });
            let mut left = match (filled, &pipe) {
                (Ok(n), Some(_)) => n,
                (Ok(_), _) => return Ok(Moved::All),
                (Err(e), _) if e.kind() == ErrorKind::Interrupted => continue,
                // Without a pipe of its own it goes by hand.
                (Err(e), _) if cannot(&e) || is_shortage(&e) => return Ok(STUCK),
                (Err(e), _) => return Err(e),
            };
            *self.copied += left as u64;
            let Some(pipe) = pipe else { continue };
            while left > 0 {
                let emptied = match to {
                    End::File(to) => sys::splice(pipe.read.as_fd(), to, left),
                    End::Socket(to) | End::Pipe(to) => to
                        .attempt(Direction::Write, &mut |to: BorrowedFd<'_>| {
                            sys::splice(pipe.read.as_fd(), to, left)
                        }),
                };
                match emptied {
                    // A sink that takes nothing, and does not say why.
                    Ok(0) => return pipe.take_out(left),
                    Ok(n) => left -= n,
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if cannot(&e) => return pipe.take_out(left),
                    Err(e) => return Err(e),
                }
            }
            pipe.give_back();
        }
        Ok(Moved::All)
    }
}

/// Splices between two that may both have to be waited for, one of them a pipe.
///
/// `WouldBlock` does not tell which. Who is found not ready *after* it is waited for: an
/// event will come. When both are ready by then, it is tried again.
fn splice_between(from: &dyn Waits, to: &dyn Waits, most: usize) -> io::Result<usize> {
    loop {
        let mut sink_is_full = false;
        let moved = from.attempt(Direction::Read, &mut |source| {
            for _ in 0..DOUBTS {
                match sys::splice(source, to.fd(), most) {
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    other => return other,
                }
                if !sys::is_writable(to.fd())? {
                    sink_is_full = true;
                    return Ok(0);
                }
                if !sys::is_readable(source)? {
                    return Err(ErrorKind::WouldBlock.into());
                }
            }
            // Each claims to be ready, and they do not come together.
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        })?;
        if !sink_is_full {
            return Ok(moved);
        }
        to.attempt(
            Direction::Write,
            &mut |sink| match sys::is_writable(sink)? {
                true => Ok(0),
                false => Err(ErrorKind::WouldBlock.into()),
            },
        )?;
    }
}

/// A pipe of ours, empty but for one step.
struct OwnPipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// Those that nobody uses.
static POOL: Mutex<Vec<OwnPipe>> = Mutex::new(Vec::new());
/// How many are kept.
const POOLED: usize = 16;

impl OwnPipe {
    fn get() -> io::Result<OwnPipe> {
        if let Some(pipe) = POOL.lock().pop() {
            return Ok(pipe);
        }
        let (read, write) = sys::pipe()?;
        sys::enlarge(write.as_fd(), CHUNK);
        Ok(OwnPipe { read, write })
    }

    /// It is empty.
    fn give_back(self) {
        let mut pool = POOL.lock();
        if pool.len() < POOLED {
            pool.push(self);
        } else {
            drop(pool);
            drop(self);
        }
    }

    /// Reads what is in it, to be written by hand.
    fn take_out(self, bytes: usize) -> io::Result<Moved> {
        let mut left = vec![0; bytes];
        std::fs::File::from(self.read).read_exact(&mut left)?;
        Ok(Moved::Stuck(left))
    }
}

/// Whether there are no descriptors left for a pipe.
fn is_shortage(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ends;
    use crate::io::pipe;
    use crate::net::{TcpListener, TcpStream};
    use std::io::Write;
    use std::net::Shutdown;

    fn tcp() -> io::Result<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let here = TcpStream::connect(listener.local_addr()?)?;
        Ok((here, listener.accept()?.0))
    }

    /// The kernel does it, and nothing is left to be done by hand.
    #[test]
    fn every_combination_is_the_kernels() -> io::Result<()> {
        for (from, to) in (0..3).flat_map(|from| (0..3).map(move |to| (from, to))) {
            let (stream, mut peer) = tcp()?;
            peer.write_all(b"weft")?;
            peer.shutdown(Shutdown::Write)?;
            let (reader, mut writer) = pipe()?;
            writer.write_all(b"weft")?;
            drop(writer);
            let path = std::env::current_exe()?;
            let file = std::fs::File::open(path)?.take(4);
            let source = match from {
                0 => ends::source(&stream),
                1 => ends::source(&reader),
                _ => ends::source(&file),
            };
            let (source, limit) = source.expect("the kernel can read it");
            let (there, _peer) = tcp()?;
            let (_reader, end) = pipe()?;
            let scratch = scratch()?;
            let sink = match to {
                0 => ends::sink(&there),
                1 => ends::sink(&end),
                _ => ends::sink(&scratch),
            };
            let mut copied = 0;
            let sink = sink.expect("the kernel can write it");
            let moved = copy(source, sink, limit, &mut copied)?;
            assert!(matches!(moved, Moved::All), "{from} to {to}");
            assert_eq!(copied, 4);
        }
        Ok(())
    }

    /// A file without a name, on another file system than the source.
    fn scratch() -> io::Result<std::fs::File> {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        Ok(rustix::fs::memfd_create("scratch", flags)?.into())
    }
}
