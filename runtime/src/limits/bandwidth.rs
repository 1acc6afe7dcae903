//! The files that hold a cgroup's CPU quota, as a number of CPUs, rounded up.
//!
//! Version 2 has one, `cpu.max`: `<quota or max> <period>`. Version 1 has two,
//! `cpu.cfs_quota_us` (negative: none) and `cpu.cfs_period_us`. Both are in us of CPU
//! time per us. What can't be read as that is no limit. Nothing here allocates.

/// How many CPUs `cpu.max` stands for; None: any number.
pub(super) fn of_v2(cpu_max: &[u8]) -> Option<u64> {
    let mut words = cpu_max
        .trim_ascii()
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let (quota, period) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    // `max` is no number.
    ratio(number(quota)?, number(period)?)
}

/// How many CPUs `cpu.cfs_quota_us` and `cpu.cfs_period_us` stand for; None: any
/// number.
pub(super) fn of_v1(quota: &[u8], period: &[u8]) -> Option<u64> {
    // A negative quota is no number.
    ratio(number(quota.trim_ascii())?, number(period.trim_ascii())?)
}

fn ratio(quota: u64, period: u64) -> Option<u64> {
    (period != 0).then(|| quota.div_ceil(period))
}

fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go's TestParseV2Limit.
    #[test]
    fn version_2_has_quota_and_period_in_one_file() {
        for (text, want) in [
            ("max 100000\n", None),
            ("100000 100000\n", Some(1)),
            ("50000 100000\n", Some(1)),
            ("150000 100000\n", Some(2)),
            ("200000 100000\n", Some(2)),
            ("200001 100000\n", Some(3)),
            ("250000 100000\n", Some(3)),
            ("299999 100000\n", Some(3)),
            ("300000 100000", Some(3)),
            ("  400000\t100000 \n\n", Some(4)),
            ("0 100000\n", Some(0)),
            ("18446744073709551615 1\n", Some(u64::MAX)),
            ("1000 1000000\n", Some(1)),
        ] {
            assert_eq!(of_v2(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_quota_of_version_2_is_no_limit() {
        for text in [
            "",
            "\n",
            "max",
            "max\n",
            "100000\n",
            "100000 0\n",
            "100000 max\n",
            "-1 100000\n",
            "+1 100000\n",
            "1.5 100000\n",
            "0x10 100000\n",
            "100000 100000 100000\n",
            "18446744073709551616 1\n",
            "12a 100000\n",
            "maximum 100000\n",
            "\0\0\0",
        ] {
            assert_eq!(of_v2(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(of_v2(b"\xff\xfe 100000\n"), None);
    }

    /// Go's TestParseV1Number.
    #[test]
    fn version_1_has_quota_and_period_in_two_files() {
        for (quota, period, want) in [
            ("-1\n", "100000\n", None),
            ("100000\n", "100000\n", Some(1)),
            ("150000\n", "100000\n", Some(2)),
            ("250000", "100000", Some(3)),
            (" 12 ", " 4 ", Some(3)),
            ("1\n", "18446744073709551615\n", Some(1)),
            ("0\n", "100000\n", Some(0)),
            ("", "100000\n", None),
            ("100000\n", "", None),
            ("100000\n", "0\n", None),
            ("100000\n", "-1\n", None),
            ("-9223372036854775808\n", "100000\n", None),
            ("18446744073709551616\n", "1\n", None),
            ("1 2\n", "1\n", None),
            ("a\n", "100000\n", None),
            ("100000\n", "a\n", None),
        ] {
            assert_eq!(
                of_v1(quota.as_bytes(), period.as_bytes()),
                want,
                "{quota:?} {period:?}"
            );
        }
    }
}
