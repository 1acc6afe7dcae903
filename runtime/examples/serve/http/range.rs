//! Which bytes of a file a `Range` header asks for (RFC 9110, section 14).

use http_range_header::{EndPosition, RangeUnsatisfiableError, StartPosition, parse_range_header};
use std::ops::Range;

/// A request for more ranges than this gets the whole file: many small ones
/// cost more than they save.
const MAX_RANGES: usize = 16;

#[derive(Debug, PartialEq)]
pub(super) enum Selection {
    /// The header means nothing to us: the whole file.
    Whole,
    One(Range<u64>),
    Several(Vec<Range<u64>>),
    NotSatisfiable,
}

/// What `header` selects of a file of `len` bytes.
pub(super) fn select(header: &str, len: u64) -> Selection {
    let parsed = match parse_range_header(header) {
        Ok(parsed) => parsed.ranges,
        Err(RangeUnsatisfiableError::ZeroSuffix) => return Selection::NotSatisfiable,
        Err(_) => return Selection::Whole,
    };
    if parsed.len() > MAX_RANGES {
        return Selection::Whole;
    }
    let mut ranges = Vec::with_capacity(parsed.len());
    for range in parsed {
        let start = match range.start {
            StartPosition::Index(first) => first,
            StartPosition::FromLast(n) => len.saturating_sub(n),
        };
        let end = match range.end {
            // Backwards is a mistake in the header, not a range of nothing.
            EndPosition::Index(last) if last < start => return Selection::Whole,
            EndPosition::Index(last) => last.saturating_add(1).min(len),
            EndPosition::LastByte => len,
        };
        if start < end {
            ranges.push(start..end);
        }
    }
    // Ranges that overlap ask for more than there is.
    if ranges.iter().map(|r| r.end - r.start).sum::<u64>() > len {
        return Selection::Whole;
    }
    match ranges.len() {
        0 => Selection::NotSatisfiable,
        1 => Selection::One(ranges.swap_remove(0)),
        _ => Selection::Several(ranges),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range() {
        for (header, want) in [
            ("bytes=0-0", 0..1),
            ("bytes=2-4", 2..5),
            ("bytes=5-", 5..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
            ("bytes=9-99", 9..10),
            ("bytes=0-18446744073709551615", 0..10),
            ("bytes=0-1,50-60", 0..2),
        ] {
            assert_eq!(select(header, 10), Selection::One(want), "{header}");
        }
    }

    #[test]
    fn several_ranges_keep_their_order() {
        assert_eq!(
            select("bytes=5-6,0-0, -1", 10),
            Selection::Several(vec![5..7, 0..1, 9..10])
        );
    }

    #[test]
    fn outside_the_file_there_is_nothing() {
        for (header, len) in [
            ("bytes=10-", 10),
            ("bytes=10-20,30-", 10),
            ("bytes=-0", 10),
            ("bytes=0-0", 0),
            ("bytes=-1", 0),
        ] {
            assert_eq!(select(header, len), Selection::NotSatisfiable, "{header}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_ignored() {
        let many = format!("bytes={}", vec!["0-0"; 17].join(","));
        for header in [
            "",
            "lines=0-1",
            "bytes=",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=0-9,0-9",
            "0-1",
            many.as_str(),
        ] {
            assert_eq!(select(header, 10), Selection::Whole, "{header}");
        }
    }
}
