//! Conditional requests (RFC 9110, section 13): may the client use what it has
//! got?

use super::request::Conditions;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Validator {
    len: u64,
    /// Since 1970; what is older has no date in HTTP.
    modified: Duration,
}

#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Send it; ranges count, or do not.
    Send {
        ranges: bool,
    },
    NotModified,
    PreconditionFailed,
}

impl Validator {
    pub(super) fn of(metadata: &Metadata) -> Validator {
        let seconds = Duration::from_secs(metadata.mtime().try_into().unwrap_or(0));
        let nanos = Duration::from_nanos(metadata.mtime_nsec().try_into().unwrap_or(0));
        Validator {
            len: metadata.len(),
            modified: seconds + nanos,
        }
    }

    /// To the second, as HTTP has it.
    pub(super) fn last_modified(&self) -> httpdate::HttpDate {
        (UNIX_EPOCH + self.modified).into()
    }

    /// The entity tag, quotes included.
    pub(super) fn etag(&self) -> impl fmt::Display {
        Etag {
            len: self.len,
            modified: self.modified.as_nanos(),
        }
    }

    /// Decides, in the order that section 13.2.2 prescribes.
    pub(super) fn judge(&self, conditions: &Conditions<'_>) -> Verdict {
        if conditions == &Conditions::default() {
            return Verdict::Send { ranges: false };
        }
        let etag = self.etag().to_string();
        if let Some(list) = conditions.if_match {
            // Strong comparison: a weak tag never matches.
            if !matches_any(list, |tag| tag == etag) {
                return Verdict::PreconditionFailed;
            }
        } else if let Some(date) = conditions.if_unmodified_since.and_then(parse_date)
            && self.is_newer_than(date)
        {
            return Verdict::PreconditionFailed;
        }
        if let Some(list) = conditions.if_none_match {
            if matches_any(list, |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag) {
                return Verdict::NotModified;
            }
        } else if let Some(date) = conditions.if_modified_since.and_then(parse_date)
            && !self.is_newer_than(date)
        {
            return Verdict::NotModified;
        }
        let unchanged = conditions.if_range.is_none_or(|range| {
            range == etag
                || parse_date(range).is_some_and(|date| self.last_modified() == date.into())
        });
        Verdict::Send {
            ranges: conditions.range.is_some() && unchanged,
        }
    }

    fn is_newer_than(&self, date: SystemTime) -> bool {
        self.last_modified() > date.into()
    }
}

struct Etag {
    len: u64,
    modified: u128,
}

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:x}-{:x}\"", self.len, self.modified)
    }
}

fn parse_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// Our tags hold no comma, so a comma inside a tag only splits a stranger's.
fn matches_any(list: &str, is_ours: impl Fn(&str) -> bool) -> bool {
    list.trim() == "*" || list.split(',').any(|tag| is_ours(tag.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sat, 01 Jan 2000 00:00:00 GMT and half a second.
    const FILE: Validator = Validator {
        len: 255,
        modified: Duration::from_millis(946_684_800_500),
    };
    const BEFORE: &str = "Fri, 31 Dec 1999 23:59:59 GMT";
    const SAME: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
    const AFTER: &str = "Sat, 01 Jan 2000 00:00:01 GMT";

    fn judge(set: impl FnOnce(&mut Conditions<'_>)) -> Verdict {
        let mut conditions = Conditions::default();
        set(&mut conditions);
        FILE.judge(&conditions)
    }

    fn etag() -> &'static str {
        FILE.etag().to_string().leak()
    }

    #[test]
    fn without_conditions_all_is_sent() {
        assert_eq!(judge(|_| ()), Verdict::Send { ranges: false });
        assert_eq!(FILE.last_modified().to_string(), SAME);
    }

    #[test]
    fn a_tag_that_is_known_is_not_sent_again() {
        let weak: &str = format!("W/{}", etag()).leak();
        let list: &str = format!("\"x\", {}", etag()).leak();
        for known in [etag(), weak, list, "*"] {
            assert_eq!(
                judge(|c| c.if_none_match = Some(known)),
                Verdict::NotModified,
                "{known}"
            );
        }
        assert_eq!(
            judge(|c| c.if_none_match = Some("\"x\"")),
            Verdict::Send { ranges: false }
        );
    }

    #[test]
    fn a_date_counts_to_the_second_and_only_without_a_tag() {
        assert_eq!(
            judge(|c| c.if_modified_since = Some(BEFORE)),
            Verdict::Send { ranges: false }
        );
        assert_eq!(
            judge(|c| c.if_modified_since = Some(SAME)),
            Verdict::NotModified
        );
        assert_eq!(
            judge(|c| c.if_modified_since = Some(AFTER)),
            Verdict::NotModified
        );
        assert_eq!(
            judge(|c| c.if_modified_since = Some("yesterday")),
            Verdict::Send { ranges: false }
        );
        let both = judge(|c| {
            c.if_none_match = Some("\"x\"");
            c.if_modified_since = Some(AFTER);
        });
        assert_eq!(both, Verdict::Send { ranges: false });
    }

    #[test]
    fn preconditions_come_first() {
        let weak: &str = format!("W/{}", etag()).leak();
        assert_eq!(
            judge(|c| c.if_match = Some("\"x\"")),
            Verdict::PreconditionFailed
        );
        assert_eq!(
            judge(|c| c.if_match = Some(weak)),
            Verdict::PreconditionFailed
        );
        assert_eq!(
            judge(|c| c.if_match = Some(etag())),
            Verdict::Send { ranges: false }
        );
        assert_eq!(
            judge(|c| c.if_unmodified_since = Some(BEFORE)),
            Verdict::PreconditionFailed
        );
        assert_eq!(
            judge(|c| c.if_unmodified_since = Some(SAME)),
            Verdict::Send { ranges: false }
        );
    }

    #[test]
    fn a_range_is_of_the_version_that_the_client_has() {
        let with = |if_range| {
            judge(|c| {
                c.range = Some("bytes=0-0");
                c.if_range = if_range;
            })
        };
        assert_eq!(with(None), Verdict::Send { ranges: true });
        assert_eq!(with(Some(etag())), Verdict::Send { ranges: true });
        assert_eq!(with(Some(SAME)), Verdict::Send { ranges: true });
        assert_eq!(with(Some(BEFORE)), Verdict::Send { ranges: false });
        assert_eq!(with(Some("\"x\"")), Verdict::Send { ranges: false });
    }
}
