//! [`copy`]: by the kernel where it can, else through a buffer.

use super::{ends, kernel};
use std::io::{self, ErrorKind, Read, Write};

/// Bytes of the buffer: as many as Go's.
const BUFFER: usize = 32 << 10;

/// Copies all that `reader` gives to `writer`; how many bytes. [`std::io::copy`] for
/// goroutines, which park where it waits.
///
/// Between sockets, pipes of [`pipe`](super::pipe()) and regular files, in any combination, and
/// references to them, the kernel moves the bytes (`splice`, `sendfile`, `copy_file_range`);
/// so it does when the reader is the [`take`](Read::take) of one, whose limit is kept.
/// Whatever wraps them otherwise (a `BufReader`, a TLS stream) is copied through a buffer of
/// 32 KiB. Either way, deadlines and `close` of sockets and pipes end it.
///
/// # Errors
/// The first that reading or writing returns, save
/// [`Interrupted`](ErrorKind::Interrupted). What was read and could not be written is lost.
///
/// # Panics
/// In [`no_park`](crate::no_park), when it has to wait. What was read and not written is lost.
///
/// # Examples
///
/// A proxy's one direction:
///
/// ```
/// use goweft::io;
/// use goweft::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
/// use std::net::Shutdown;
///
/// # fn main() -> std::io::Result<()> {
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// let (mut server, _) = listener.accept()?;
/// let (mut reader, mut writer) = io::pipe()?;
/// let moved = goweft::spawn(move || io::copy(&mut server, &mut writer));
/// client.write_all(b"weft and warp")?;
/// client.shutdown(Shutdown::Write)?;
/// assert_eq!(moved.join().unwrap()?, 13);
/// let mut text = String::new();
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "weft and warp");
/// # Ok(())
/// # }
/// ```
#[doc(alias = "Copy")]
#[doc(alias = "CopyN")]
pub fn copy<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: Read + ?Sized,
    W: Write + ?Sized,
{
    let mut copied = 0;
    if let Some((source, limit)) = ends::source(reader)
        && let Some(sink) = ends::sink(writer)
    {
        let moved = kernel::copy(source, sink, limit, &mut copied);
        ends::taken(reader, copied);
        match moved? {
            kernel::Moved::All => return Ok(copied),
            kernel::Moved::Stuck(left) => writer.write_all(&left)?,
        }
    }
    through_a_buffer(reader, writer).map(|n| copied + n)
}

fn through_a_buffer<R, W>(reader: &mut R, writer: &mut W) -> io::Result<u64>
where
    R: Read + ?Sized,
    W: Write + ?Sized,
{
    let mut buffer = vec![0; BUFFER];
    let mut copied = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(n) => {
                writer.write_all(&buffer[..n])?;
                copied += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
