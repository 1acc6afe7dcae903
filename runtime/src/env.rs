//! The environment's variables, as settings.
//!
//! A value that can't be used is told on stderr, in one line that says what is
//! allowed, and the default holds. Empty counts as not set.

use crate::config::Migration;
use crate::sched::p::MAX_PROCS;
use crate::task::class_of;
use crate::tell::tell;
use goweft_stacks::Class;
use std::ffi::OsString;

/// `GOWEFT_MAXPROCS`, or if that is not set `GOMAXPROCS`.
pub(crate) fn maxprocs() -> Option<usize> {
    let (name, value) = first_of(&["GOWEFT_MAXPROCS", "GOMAXPROCS"])?;
    let n = value.to_str().and_then(parse_maxprocs);
    if n.is_none() {
        complain(name, &value, "a number from 1 to 1024");
    }
    n
}

/// `GOWEFT_CONTAINER`: `off` ignores quotas.
pub(crate) fn container_limits() -> Option<bool> {
    let (name, value) = first_of(&["GOWEFT_CONTAINER"])?;
    let on = value.to_str().and_then(parse_switch);
    if on.is_none() {
        complain(name, &value, "on or off");
    }
    on
}

/// `GOWEFT_STACK`: bytes, or with K, M or G.
pub(crate) fn stack_class() -> Option<Class> {
    let (name, value) = first_of(&["GOWEFT_STACK"])?;
    let class = value.to_str().and_then(parse_bytes).and_then(class_of);
    if class.is_none() {
        complain(
            name,
            &value,
            "16K to 1G (bytes, or a number with K, M or G)",
        );
    }
    class
}

/// `GOWEFT_MIGRATION`: `free` or `pinned`.
pub(crate) fn migration() -> Option<Migration> {
    let (name, value) = first_of(&["GOWEFT_MIGRATION"])?;
    let migration = match value.to_str().map(str::trim) {
        Some("free") => Some(Migration::Free),
        Some("pinned") => Some(Migration::Pinned),
        _ => None,
    };
    if migration.is_none() {
        complain(name, &value, "free or pinned");
    }
    migration
}

/// `GOWEFT_PREEMPT`: `off` means that no signals are sent.
pub(crate) fn preempt() -> bool {
    let Some((name, value)) = first_of(&["GOWEFT_PREEMPT"]) else {
        return true;
    };
    match value.to_str().map(str::trim) {
        Some("off") => false,
        Some("on") => true,
        _ => {
            complain(name, &value, "on or off");
            true
        }
    }
}

fn first_of(names: &[&'static str]) -> Option<(&'static str, OsString)> {
    names.iter().find_map(|name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(|v| (*name, v))
    })
}

fn complain(name: &str, value: &OsString, allowed: &str) {
    tell(format_args!(
        "{name} can't be {value:?}: allowed is {allowed}; using the default"
    ));
}

fn parse_maxprocs(text: &str) -> Option<usize> {
    text.trim()
        .parse()
        .ok()
        .filter(|n| (1..=MAX_PROCS).contains(n))
}

fn parse_switch(text: &str) -> Option<bool> {
    match text.trim() {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let unit = match text.bytes().last()?.to_ascii_uppercase() {
        b'K' => 10,
        b'M' => 20,
        b'G' => 30,
        _ => return text.parse().ok(),
    };
    // The unit is ASCII, so this is a boundary.
    let n: usize = text[..text.len() - 1].trim_end().parse().ok()?;
    n.checked_mul(1 << unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_have_a_unit() {
        assert_eq!(parse_bytes("65536"), Some(65_536));
        assert_eq!(parse_bytes(" 256K "), Some(256 << 10));
        assert_eq!(parse_bytes("2m"), Some(2 << 20));
        assert_eq!(parse_bytes("1 G"), Some(1 << 30));
    }

    #[test]
    fn garbage_is_no_number_of_bytes() {
        for text in [
            "",
            "K",
            "-1",
            "1.5M",
            "256KB",
            "12é",
            "99999999999999999999",
            "18446744073709551615G",
        ] {
            assert_eq!(parse_bytes(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        assert_eq!(parse_switch("off"), Some(false));
        assert_eq!(parse_switch(" on "), Some(true));
        for text in ["", "0", "no", "OFF", "offf"] {
            assert_eq!(parse_switch(text), None, "{text:?}");
        }
    }

    #[test]
    fn maxprocs_has_limits() {
        assert_eq!(parse_maxprocs("1"), Some(1));
        assert_eq!(parse_maxprocs("1024"), Some(1024));
        for text in ["0", "1025", "-1", "two", "1e3", ""] {
            assert_eq!(parse_maxprocs(text), None, "{text:?}");
        }
    }
}
