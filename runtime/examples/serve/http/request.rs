//! The head of a request: what was asked, and what the server needs of the
//! headers. Everything borrows from the connection's buffer.

use super::response::Status;
use httparse::{Error, Header};
use std::mem::MaybeUninit;

/// More headers than this is 431.
const MAX_HEADERS: usize = 64;

/// A head that is longer is 431.
pub(super) const MAX_HEAD: usize = 16 * 1024;

#[derive(Debug, PartialEq)]
pub(super) struct Request<'a> {
    /// HEAD: all that GET would say, without the body.
    pub(super) head_only: bool,
    pub(super) target: &'a str,
    /// The client expects the connection to stay open.
    pub(super) keep_alive: bool,
    /// HTTP/1.0 has to be told that it stays open.
    pub(super) is_1_0: bool,
    /// A body follows, which nobody will read.
    pub(super) has_body: bool,
    pub(super) conditions: Conditions<'a>,
}

/// The headers that decide what of a file is sent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Conditions<'a> {
    pub(super) if_match: Option<&'a str>,
    pub(super) if_none_match: Option<&'a str>,
    pub(super) if_modified_since: Option<&'a str>,
    pub(super) if_unmodified_since: Option<&'a str>,
    pub(super) if_range: Option<&'a str>,
    pub(super) range: Option<&'a str>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Parsed<'a> {
    /// A request, and the length of its head.
    Complete(Request<'a>, usize),
    /// More bytes are needed.
    Partial,
    /// This is no request that we serve; the connection ends with the answer.
    Refused(Status),
}

/// Reads the head at the front of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut []);
    let len = match head.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => len,
        Ok(httparse::Status::Complete(_)) | Err(Error::TooManyHeaders) => {
            return Parsed::Refused(Status::HeadersTooLarge);
        }
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Parsed::Partial,
        Ok(httparse::Status::Partial) => return Parsed::Refused(Status::HeadersTooLarge),
        Err(Error::Version) if names_other_version(bytes) => {
            return Parsed::Refused(Status::VersionNotSupported);
        }
        Err(_) => return Parsed::Refused(Status::BadRequest),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Parsed::Refused(Status::BadRequest);
    };
    let mut request = Request {
        head_only: method == "HEAD",
        target,
        keep_alive: version == 1,
        is_1_0: version == 0,
        has_body: false,
        conditions: Conditions::default(),
    };
    if let Err(status) = request.read_headers(head.headers) {
        return Parsed::Refused(status);
    }
    if method != "GET" && method != "HEAD" {
        return Parsed::Refused(Status::MethodNotAllowed);
    }
    Parsed::Complete(request, len)
}

impl<'a> Request<'a> {
    fn read_headers(&mut self, headers: &[Header<'a>]) -> Result<(), Status> {
        let mut hosts = 0;
        let mut length = None;
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            // What is no text cannot mean anything to us.
            let Ok(value) = str::from_utf8(header.value) else {
                continue;
            };
            let conditions = &mut self.conditions;
            // By length first: most headers are none of these.
            match header.name.len() {
                4 if is("host") => hosts += 1,
                5 if is("range") => conditions.range = Some(value),
                8 if is("if-match") => conditions.if_match = Some(value),
                8 if is("if-range") => conditions.if_range = Some(value),
                10 if is("connection") => self.read_connection(value),
                13 if is("if-none-match") => conditions.if_none_match = Some(value),
                14 if is("content-length") => {
                    let is_number = value.bytes().all(|b| b.is_ascii_digit());
                    match value.parse::<u64>() {
                        Ok(n) if is_number && length.is_none_or(|before| before == n) => {
                            length = Some(n)
                        }
                        _ => return Err(Status::BadRequest),
                    }
                }
                17 if is("if-modified-since") => conditions.if_modified_since = Some(value),
                17 if is("transfer-encoding") => self.has_body = true,
                19 if is("if-unmodified-since") => conditions.if_unmodified_since = Some(value),
                _ => {}
            }
        }
        self.has_body |= length.is_some_and(|n| n > 0);
        // HTTP/1.1 has exactly one Host.
        if hosts > 1 || (hosts == 0 && !self.is_1_0) {
            return Err(Status::BadRequest);
        }
        Ok(())
    }

    fn read_connection(&mut self, value: &str) {
        for option in value.split(',').map(str::trim) {
            if option.eq_ignore_ascii_case("close") {
                self.keep_alive = false;
            } else if self.is_1_0 && option.eq_ignore_ascii_case("keep-alive") {
                self.keep_alive = true;
            }
        }
    }
}

/// The request line ends in a version of HTTP, and not in 1.0 or 1.1.
fn names_other_version(bytes: &[u8]) -> bool {
    let line = bytes
        .split(|&b| b == b'\r' || b == b'\n')
        .find(|line| !line.is_empty());
    let version = line.and_then(|line| line.rsplit(|&b| b == b' ').next());
    version
        .and_then(|v| v.strip_prefix(b"HTTP/"))
        .is_some_and(|v| v.first().is_some_and(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> Status {
        match parse(bytes) {
            Parsed::Refused(status) => status,
            other => panic!("{other:?} from {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    fn complete(bytes: &[u8]) -> Request<'_> {
        match parse(bytes) {
            Parsed::Complete(request, len) if len == bytes.len() => request,
            other => panic!("{other:?} from {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn a_request_is_read_with_what_matters_of_its_headers() {
        let request = complete(
            b"GET /a?b HTTP/1.1\r\nHost: x\r\nRANGE: bytes=0-1\r\nIf-None-Match: \"e\"\r\n\r\n",
        );
        assert_eq!(request.target, "/a?b");
        assert!(request.keep_alive && !request.head_only && !request.has_body);
        assert_eq!(request.conditions.range, Some("bytes=0-1"));
        assert_eq!(request.conditions.if_none_match, Some("\"e\""));
    }

    #[test]
    fn a_connection_stays_open_as_the_version_says_unless_told() {
        for (head, keep) in [
            (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], true),
            (
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n",
                false,
            ),
            (
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, close\r\n\r\n",
                false,
            ),
            (b"GET / HTTP/1.0\r\n\r\n", false),
            (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(complete(head).keep_alive, keep);
        }
    }

    #[test]
    fn every_prefix_of_a_request_is_partial() {
        let whole = b"HEAD /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        for n in 0..whole.len() {
            assert_eq!(parse(&whole[..n]), Parsed::Partial, "{n}");
        }
        let request = complete(whole);
        assert!(request.head_only && request.has_body);
    }

    #[test]
    fn a_head_ends_where_it_ends() {
        let two = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n";
        let Parsed::Complete(request, len) = parse(two) else {
            panic!()
        };
        assert_eq!((request.target, len), ("/1", two.len() / 2));
    }

    #[test]
    fn junk_is_refused() {
        for junk in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"GET /\r\n\r\n",
            b"GET  HTTP/1.1\r\n\r\n",
            b"GET / FTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        ] {
            assert_eq!(
                refused(junk),
                Status::BadRequest,
                "{:?}",
                String::from_utf8_lossy(junk)
            );
        }
    }

    #[test]
    fn other_methods_and_versions_are_named() {
        assert_eq!(
            refused(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
            Status::MethodNotAllowed
        );
        assert_eq!(
            refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
            Status::VersionNotSupported
        );
        assert_eq!(
            refused(b"GET / HTTP/3.1\r\nHost: x\r\n\r\n"),
            Status::VersionNotSupported
        );
    }

    #[test]
    fn a_head_has_limits() {
        let mut many = b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec();
        for i in 0..MAX_HEADERS {
            many.extend_from_slice(format!("h{i}: v\r\n").as_bytes());
        }
        many.extend_from_slice(b"\r\n");
        assert_eq!(refused(&many), Status::HeadersTooLarge);

        let mut long = b"GET / HTTP/1.1\r\nHost: x\r\nlong: ".to_vec();
        long.resize(MAX_HEAD, b'a');
        assert_eq!(refused(&long), Status::HeadersTooLarge);
        long.extend_from_slice(b"\r\n\r\n");
        assert_eq!(refused(&long), Status::HeadersTooLarge);
    }
}
