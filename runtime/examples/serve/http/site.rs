//! The served directory: finds what a request names and writes the answer.
//!
//! What always holds: nothing outside the directory is opened, whatever names,
//! symbolic links or changes under our feet say, because every path is resolved
//! beneath the directory's own descriptor (`cap-std`; `openat2` where there is
//! one). What is no regular file and no directory is not read.

use super::condition::{Validator, Verdict};
use super::listing;
use super::range::{Selection, select};
use super::request::Request;
use super::response::{Head, Persistence, Status, plain};
use super::target::{Target, encode, parse};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use std::fs::{File, Metadata};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A body up to this size is read behind its head and sent with it.
const SMALL: u64 = 64 * 1024;

pub(super) struct Site {
    root: Dir,
}

/// What is left to send when the buffer has been sent.
pub(super) enum Rest {
    Nothing,
    Pieces {
        file: File,
        /// What goes before each range of the file.
        pieces: Vec<(Vec<u8>, Range<u64>)>,
        after: Vec<u8>,
    },
}

enum Found {
    File(File, Metadata),
    /// A directory without index.html, by its names.
    Listing(String),
    /// A directory, named without its slash.
    AddSlash,
}

impl Site {
    /// # Errors
    /// What the system says of a directory that cannot be opened.
    pub(super) fn open(directory: &Path) -> io::Result<Site> {
        Ok(Site {
            root: Dir::open_ambient_dir(directory, ambient_authority())?,
        })
    }

    /// Writes the response's head, and a small body, to the end of `out`.
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        persistence: Persistence,
        out: &mut Vec<u8>,
    ) -> Rest {
        let start = out.len();
        let found = parse(request.target).and_then(|target| {
            let found = self.find(&target).map_err(|e| status_of(&e))?;
            Ok((target, found))
        });
        let answered = match found {
            Ok((target, Found::File(file, metadata))) => {
                send_file(request, &target, file, &metadata, persistence, out)
            }
            Ok((_, Found::Listing(page))) => {
                let mut head = Head::new(out, Status::Ok, persistence);
                head.header("Content-Type", "text/html; charset=utf-8");
                head.header("Content-Length", page.len());
                let out = head.end();
                if !request.head_only {
                    out.extend_from_slice(page.as_bytes());
                }
                Ok(Rest::Nothing)
            }
            Ok((target, Found::AddSlash)) => {
                let location = encode(target.path.as_os_str().as_bytes());
                plain(
                    out,
                    Status::MovedPermanently,
                    persistence,
                    request.head_only,
                    |head| {
                        head.header("Location", format_args!("/{location}/"));
                    },
                );
                Ok(Rest::Nothing)
            }
            Err(status) => Err(status),
        };
        answered.unwrap_or_else(|status| {
            // A file that could not be read has left its head behind.
            out.truncate(start);
            plain(out, status, persistence, request.head_only, |_| ());
            Rest::Nothing
        })
    }

    fn find(&self, target: &Target) -> io::Result<Found> {
        if target.path.as_os_str().is_empty() {
            return self.find_in_directory(&target.path);
        }
        let (file, metadata) = self.open_file(&target.path)?;
        if metadata.is_dir() {
            return if target.is_directory {
                self.find_in_directory(&target.path)
            } else {
                Ok(Found::AddSlash)
            };
        }
        if target.is_directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        if !metadata.is_file() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Found::File(file, metadata))
    }

    fn find_in_directory(&self, path: &Path) -> io::Result<Found> {
        match self.open_file(&path.join("index.html")) {
            Ok((file, metadata)) if metadata.is_file() => return Ok(Found::File(file, metadata)),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let directory = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let mut names = Vec::new();
        for entry in self.root.read_dir(directory)? {
            let entry = entry?;
            let is_directory = entry.file_type().is_ok_and(|t| t.is_dir());
            let name = entry.file_name();
            names.push(if is_directory {
                listing::as_directory(name)
            } else {
                name
            });
        }
        Ok(Found::Listing(listing::page(path, names)))
    }

    fn open_file(&self, path: &Path) -> io::Result<(File, Metadata)> {
        // Opening a pipe for reading would wait for a writer.
        let options = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .clone();
        let file = self.root.open_with(path, &options)?.into_std();
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }
}

fn send_file(
    request: &Request<'_>,
    target: &Target,
    file: File,
    metadata: &Metadata,
    persistence: Persistence,
    out: &mut Vec<u8>,
) -> Result<Rest, Status> {
    let validator = Validator::of(metadata);
    let len = metadata.len();
    let ranges = match validator.judge(&request.conditions) {
        Verdict::NotModified => {
            let mut head = Head::new(out, Status::NotModified, persistence);
            describe(&mut head, &validator);
            head.end();
            return Ok(Rest::Nothing);
        }
        Verdict::PreconditionFailed => return Err(Status::PreconditionFailed),
        Verdict::Send { ranges } => ranges && !request.head_only,
    };
    let selection = match request.conditions.range {
        Some(header) if ranges => select(header, len),
        _ => Selection::Whole,
    };
    // A directory's file is its index.html.
    let media_type = if target.is_directory {
        "text/html"
    } else {
        media_type(&target.path)
    };
    let content_type = format_args!("{media_type}{}", charset(media_type));

    let range = match selection {
        Selection::NotSatisfiable => {
            plain(
                out,
                Status::RangeNotSatisfiable,
                persistence,
                request.head_only,
                |head| {
                    head.header("Content-Range", format_args!("bytes */{len}"));
                },
            );
            return Ok(Rest::Nothing);
        }
        Selection::Several(ranges) => {
            let parts = Parts::new(&ranges, len, content_type);
            let mut head = Head::new(out, Status::PartialContent, persistence);
            describe(&mut head, &validator);
            head.header(
                "Content-Type",
                format_args!("multipart/byteranges; boundary={}", parts.boundary),
            );
            head.header("Content-Length", parts.len(&ranges));
            head.end();
            let pieces = parts.before.into_iter().zip(ranges).collect();
            return Ok(Rest::Pieces {
                file,
                pieces,
                after: parts.after,
            });
        }
        Selection::One(range) => {
            let mut head = Head::new(out, Status::PartialContent, persistence);
            head.header("Content-Range", content_range(&range, len));
            finish_head(head, &validator, content_type, range.end - range.start);
            range
        }
        Selection::Whole => {
            let mut head = Head::new(out, Status::Ok, persistence);
            head.header("Accept-Ranges", "bytes");
            finish_head(head, &validator, content_type, len);
            0..len
        }
    };
    if request.head_only {
        return Ok(Rest::Nothing);
    }
    let size = range.end - range.start;
    if size > SMALL {
        return Ok(Rest::Pieces {
            file,
            pieces: vec![(Vec::new(), range)],
            after: Vec::new(),
        });
    }
    let body = out.len();
    out.resize(body + size as usize, 0);
    // It fails when the file has become shorter since its size was asked for.
    file.read_exact_at(&mut out[body..], range.start)
        .map_err(|_| Status::InternalError)?;
    Ok(Rest::Nothing)
}

fn describe(head: &mut Head<'_>, validator: &Validator) {
    head.header("Last-Modified", validator.last_modified());
    head.header("ETag", validator.etag());
}

fn finish_head(
    mut head: Head<'_>,
    validator: &Validator,
    content_type: impl std::fmt::Display,
    len: u64,
) {
    describe(&mut head, validator);
    head.header("Content-Type", content_type);
    head.header("Content-Length", len);
    head.end();
}

fn content_range(range: &Range<u64>, len: u64) -> impl std::fmt::Display {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

/// By the name, as every such server guesses.
fn media_type(path: &Path) -> &'static str {
    mime_guess::from_path(path)
        .first_raw()
        .unwrap_or("application/octet-stream")
}

/// What to add to the type of a text: ours are UTF-8 in all likelihood.
fn charset(media_type: &str) -> &'static str {
    let is_text = media_type.starts_with("text/")
        || matches!(media_type, "application/json" | "application/javascript");
    if is_text { "; charset=utf-8" } else { "" }
}

/// The text around the parts of `multipart/byteranges`.
struct Parts {
    boundary: String,
    before: Vec<Vec<u8>>,
    after: Vec<u8>,
}

impl Parts {
    fn new(ranges: &[Range<u64>], len: u64, content_type: impl std::fmt::Display) -> Parts {
        // Nobody can put into a file what is not known beforehand.
        let random = RandomState::new().build_hasher().finish();
        let boundary = format!("part-{random:016x}");
        let before = ranges
            .iter()
            .map(|range| {
                let content_range = content_range(range, len);
                format!("\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n")
                    .into_bytes()
            })
            .collect();
        let after = format!("\r\n--{boundary}--\r\n").into_bytes();
        Parts {
            boundary,
            before,
            after,
        }
    }

    fn len(&self, ranges: &[Range<u64>]) -> u64 {
        let texts: usize = self.before.iter().map(Vec::len).sum::<usize>() + self.after.len();
        texts as u64 + ranges.iter().map(|r| r.end - r.start).sum::<u64>()
    }
}

fn status_of(error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            Status::NotFound
        }
        io::ErrorKind::PermissionDenied => Status::Forbidden,
        _ => match error.raw_os_error() {
            // A loop of links, a path that is left by one, a socket.
            Some(libc::ELOOP | libc::EXDEV | libc::ENXIO) => Status::Forbidden,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => Status::Unavailable,
            _ => Status::InternalError,
        },
    }
}
