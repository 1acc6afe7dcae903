//! What a request's target names: a path below the served directory, decoded,
//! that cannot leave it by its own words. (Symbolic links are the file system's
//! words: `site` opens beneath the directory only.)

use super::response::Status;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

#[derive(Debug, PartialEq)]
pub(super) struct Target {
    /// Relative; empty is the directory itself.
    pub(super) path: PathBuf,
    /// It ends in a slash: a directory is meant.
    pub(super) is_directory: bool,
}

/// # Errors
/// `BadRequest` for what is no target of a file, `Forbidden` for what goes up.
pub(super) fn parse(target: &str) -> Result<Target, Status> {
    let path = match target.as_bytes().first() {
        Some(b'/') => target,
        // The form that proxies get: http://host/path.
        _ => match target.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
            None => return Err(Status::BadRequest),
        },
    };
    let path = path.split(['?', '#']).next().unwrap_or("/");
    let decoded = decode(path)?;
    let mut names = Vec::with_capacity(decoded.len());
    let mut last = &b""[..];
    for name in decoded.split(|&b| b == b'/') {
        last = name;
        match name {
            b"" | b"." => continue,
            b".." => return Err(Status::Forbidden),
            _ => {}
        }
        if !names.is_empty() {
            names.push(b'/');
        }
        names.extend_from_slice(name);
    }
    Ok(Target {
        path: PathBuf::from(OsString::from_vec(names)),
        is_directory: last.is_empty() || last == b".",
    })
}

/// Undoes percent-encoding; strict, so that nothing has two meanings.
fn decode(path: &str) -> Result<Vec<u8>, Status> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                return Err(Status::BadRequest);
            };
            (high * 16 + low) as u8
        } else {
            byte
        };
        if byte == 0 {
            return Err(Status::BadRequest);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

/// `path` as it may stand in a link.
pub(super) fn encode(path: &[u8]) -> impl fmt::Display + '_ {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    percent_encode(path, PLAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> (String, bool) {
        let target = parse(target).unwrap();
        (
            target.path.to_str().unwrap().to_string(),
            target.is_directory,
        )
    }

    #[test]
    fn a_path_is_decoded_and_made_relative() {
        for (target, want, is_directory) in [
            ("/", "", true),
            ("/a/b.txt", "a/b.txt", false),
            ("/a//./b/", "a/b", true),
            ("/a%20b?x=/../y", "a b", false),
            ("/%e2%82%ac#f", "€", false),
            ("/a%2Fb", "a/b", false),
            ("/...", "...", false),
            ("/a/.", "a", true),
            ("http://host:1/a", "a", false),
            ("http://host", "", true),
        ] {
            assert_eq!(path(target), (want.to_string(), is_directory), "{target}");
        }
    }

    #[test]
    fn going_up_is_refused_in_every_spelling() {
        for target in [
            "/..",
            "/../x",
            "/a/../b",
            "/%2e%2e/x",
            "/a/%2E./b",
            "/..%2fetc",
            "//..//",
            "http://h/..",
        ] {
            assert_eq!(parse(target), Err(Status::Forbidden), "{target}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for target in [
            "",
            "*",
            "a",
            "host:80",
            "/%",
            "/%0",
            "/%zz",
            "/%+1",
            "/%00",
            "/a%00.txt",
        ] {
            assert_eq!(parse(target), Err(Status::BadRequest), "{target}");
        }
    }

    #[test]
    fn a_link_decodes_to_what_was_encoded() {
        let name = "a b/ü&<>\"'%2e?#\u{1}";
        let link = format!("/{}", encode(name.as_bytes()));
        assert!(
            link.bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>\"'&?#".contains(&b)),
            "{link}"
        );
        assert_eq!(path(&link).0, name);
    }
}
