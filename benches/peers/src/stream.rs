//! The byte-level servers, for peers whose streams read and write as std's do.

use std::io::{Read, Write};

/// The answer of the hello server.
pub const HELLO: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";

/// Sends back what comes, until the other side closes.
pub fn echo<S: Read + Write>(mut stream: S) {
    let mut buf = vec![0u8; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(0) | Err(_) => return,
            Ok(k) if stream.write_all(&buf[..k]).is_err() => return,
            Ok(_) => {}
        }
    }
}

/// Takes whole requests off the front of `buf[..have]`, puts one answer for each into `out`,
/// and returns how many bytes are left over; `None` ends the connection.
pub fn hello_step(buf: &mut [u8], have: usize, out: &mut Vec<u8>) -> Option<usize> {
    out.clear();
    let mut from = 0;
    while let Some(end) = buf[from..have].windows(4).position(|w| w == b"\r\n\r\n") {
        if !buf[from..].starts_with(b"GET ") {
            return None;
        }
        from += end + 4;
        out.extend_from_slice(HELLO);
    }
    buf.copy_within(from..have, 0);
    let left = have - from;
    (left < buf.len()).then_some(left)
}

/// Answers every request with [`HELLO`], until the other side closes.
pub fn hello<S: Read + Write>(mut stream: S) {
    let mut buf = vec![0u8; 4096];
    let mut out = Vec::with_capacity(4096);
    let mut have = 0;
    loop {
        match stream.read(&mut buf[have..]) {
            Ok(0) | Err(_) => return,
            Ok(k) => have += k,
        }
        match hello_step(&mut buf, have, &mut out) {
            Some(left) => have = left,
            None => return,
        }
        if !out.is_empty() && stream.write_all(&out).is_err() {
            return;
        }
    }
}
