//! Heads of responses, written into the connection's buffer, and the short
//! texts that stand for a body when there is no file to send.

use super::request::Request;
use std::io::Write;
use std::time::SystemTime;

/// The status codes that this server uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok = 200,
    PartialContent = 206,
    MovedPermanently = 301,
    NotModified = 304,
    BadRequest = 400,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    PreconditionFailed = 412,
    RangeNotSatisfiable = 416,
    HeadersTooLarge = 431,
    InternalError = 500,
    Unavailable = 503,
    VersionNotSupported = 505,
}

impl Status {
    pub(super) fn code(self) -> u16 {
        self as u16
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::PartialContent => "Partial Content",
            Status::MovedPermanently => "Moved Permanently",
            Status::NotModified => "Not Modified",
            Status::BadRequest => "Bad Request",
            Status::Forbidden => "Forbidden",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::RequestTimeout => "Request Timeout",
            Status::PreconditionFailed => "Precondition Failed",
            Status::RangeNotSatisfiable => "Range Not Satisfiable",
            Status::HeadersTooLarge => "Request Header Fields Too Large",
            Status::InternalError => "Internal Server Error",
            Status::Unavailable => "Service Unavailable",
            Status::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// What becomes of the connection after the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// HTTP/1.1's way: nothing is said.
    Keep,
    /// HTTP/1.0 is told that it stays open.
    KeepAnnounced,
    Close,
}

impl Persistence {
    pub(super) fn of(request: &Request<'_>, stopping: bool) -> Persistence {
        if !request.keep_alive || request.has_body || stopping {
            Persistence::Close
        } else if request.is_1_0 {
            Persistence::KeepAnnounced
        } else {
            Persistence::Keep
        }
    }
}

/// A head under construction at the end of a buffer. Writing to a `Vec` does
/// not fail, hence no results.
pub(super) struct Head<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Head<'a> {
    /// Status line and the headers of every response.
    pub(super) fn new(out: &'a mut Vec<u8>, status: Status, persistence: Persistence) -> Head<'a> {
        match status {
            Status::Ok => out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
            _ => {
                let _ = write!(out, "HTTP/1.1 {} {}\r\n", status.code(), status.reason());
            }
        }
        let mut head = Head { out };
        head.header("Date", httpdate::HttpDate::from(SystemTime::now()));
        match persistence {
            Persistence::Keep => {}
            Persistence::KeepAnnounced => head.header("Connection", "keep-alive"),
            Persistence::Close => head.header("Connection", "close"),
        }
        head
    }

    pub(super) fn header(&mut self, name: &str, value: impl std::fmt::Display) {
        self.out.extend_from_slice(name.as_bytes());
        let _ = write!(self.out, ": {value}\r\n");
    }

    /// Ends the head; what is written to the buffer next is the body.
    pub(super) fn end(self) -> &'a mut Vec<u8> {
        self.out.extend_from_slice(b"\r\n");
        self.out
    }
}

/// A whole response that says its status in words. `extra` adds headers.
pub(super) fn plain(
    out: &mut Vec<u8>,
    status: Status,
    persistence: Persistence,
    head_only: bool,
    extra: impl FnOnce(&mut Head<'_>),
) {
    let text = format!("{} {}\n", status.code(), status.reason());
    let mut head = Head::new(out, status, persistence);
    if status == Status::MethodNotAllowed {
        head.header("Allow", "GET, HEAD");
    }
    extra(&mut head);
    head.header("Content-Type", "text/plain; charset=utf-8");
    head.header("Content-Length", text.len());
    let out = head.end();
    if !head_only {
        out.extend_from_slice(text.as_bytes());
    }
}
