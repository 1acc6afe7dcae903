//! From whatever names an address to the first one that works.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

/// Calls `f` with each address that `addr` stands for until one succeeds; the
/// error of the last one.
pub(super) fn first_that_works<A: ToSocketAddrs, T>(
    addr: A,
    mut f: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let addrs = if is_numeric::<A>() {
        addr.to_socket_addrs()?
    } else {
        // A name: getaddrinfo blocks.
        crate::task::blocking(|| addr.to_socket_addrs())?
    };
    let mut last = None;
    for addr in addrs {
        match f(addr) {
            Ok(value) => return Ok(value),
            Err(e) => last = Some(e),
        }
    }
    Err(last.unwrap_or_else(|| {
        io::Error::new(
            ErrorKind::InvalidInput,
            "could not resolve to any addresses",
        )
    }))
}

/// Whether `A` is one of std's types that hold addresses, not names, so that
/// nobody has to be given the processor. Only a hint: false is always right.
fn is_numeric<A>() -> bool {
    let name = std::any::type_name::<A>();
    name.trim_start_matches(['&', '[', '('])
        .starts_with("core::net::")
}
