//! `/proc/self/mountinfo`: where the cgroup's files are.
//!
//! ```text
//! 36 35 98:0 /root /mount/point rw,noatime master:1 - cgroup2 cgroup rw,nsdelegate
//!             ^3    ^4                               ^ ends optional fields, then type, source, super options
//! ```
//!
//! A mount shows the part of its hierarchy below its root. In a cgroup namespace
//! both the root and the path of the process are relative to the namespace. A mount
//! is of use when its root is an ancestor of the process' cgroup, or is it; the files
//! are then below the mount point at what remains of the path. Paths have blanks and
//! the like as `\040`.

use super::membership::{Membership, Version, has_cpu};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// For each mount that shows the cgroup: its directories from that of the
/// cgroup up to the mount point. Those first that show most ancestors.
pub(super) fn directories(mountinfo: &[u8], of: Membership<'_>) -> Vec<Vec<PathBuf>> {
    let mut found: Vec<_> = mountinfo
        .split(|&b| b == b'\n')
        .filter_map(parse)
        .filter(|mount| mount.is_for(of.version))
        .filter_map(|mount| Some(mount.levels(below(&mount.root, of.path)?)))
        .collect();
    found.sort_by_key(|levels| std::cmp::Reverse(levels.len()));
    found
}

/// What counts in a line.
#[derive(PartialEq, Eq, Debug)]
struct Mount<'a> {
    root: Vec<u8>,
    point: Vec<u8>,
    kind: &'a [u8],
    super_options: &'a [u8],
}

impl Mount<'_> {
    fn is_for(&self, version: Version) -> bool {
        match version {
            Version::V1 => self.kind == b"cgroup" && has_cpu(self.super_options),
            Version::V2 => self.kind == b"cgroup2",
        }
    }

    fn levels(&self, rest: &[u8]) -> Vec<PathBuf> {
        let point = PathBuf::from(OsString::from_vec(self.point.clone()));
        let mut levels = vec![point];
        for name in rest.split(|&b| b == b'/').filter(|name| !name.is_empty()) {
            let parent = levels.last().expect("the mount point is there");
            levels.push(parent.join(OsString::from_vec(name.to_vec())));
        }
        levels.reverse();
        levels
    }
}

/// A line of the file; None: it is none.
fn parse(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|&b| b == b' ');
    let root = unescape(fields.nth(3)?)?;
    let point = unescape(fields.next()?)?;
    let _options = fields.next()?;
    fields.find(|&field| field == b"-")?;
    let kind = fields.next()?;
    let _source = fields.next()?;
    Some(Mount {
        root,
        point,
        kind,
        super_options: fields.next()?,
    })
}

/// A path with its `\ooo` resolved; None: a backslash that is not followed by
/// three octal digits of a byte.
fn unescape(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(&b) = rest.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        let mut code = 0u32;
        for _ in 0..3 {
            let digit = rest.next().filter(|d| (b'0'..=b'7').contains(d))?;
            code = code * 8 + u32::from(digit - b'0');
        }
        out.push(u8::try_from(code).ok()?);
    }
    Some(out)
}

/// What remains of `path` below `root`; None: it is not there, or cannot be
/// reached from there.
fn below<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let rest = path.strip_prefix(root)?;
    let whole_names = rest.is_empty() || rest.starts_with(b"/");
    let goes_up = rest.split(|&b| b == b'/').any(|name| name == b"..");
    (whole_names && !goes_up).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(version: Version, path: &str) -> Membership<'_> {
        Membership {
            version,
            path: path.as_bytes(),
        }
    }

    #[track_caller]
    fn check(mountinfo: &str, of: Membership<'_>, want: &[&[&str]]) {
        let want: Vec<Vec<PathBuf>> = want
            .iter()
            .map(|levels| levels.iter().map(PathBuf::from).collect())
            .collect();
        assert_eq!(directories(mountinfo.as_bytes(), of), want, "{mountinfo}");
    }

    const V2_MOUNT: &str =
        "42 31 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNTS: &str = "\
        23 1 0:20 / /proc rw - proc proc rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
        33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 master:2 - cgroup cgroup rw,cpu,cpuacct\n\
        34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    /// Go's TestParseCPUMount.
    #[test]
    fn the_mount_of_each_version_is_found() {
        check(
            V2_MOUNT,
            group(Version::V2, "/a/b"),
            &[&["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"]],
        );
        check(
            V1_MOUNTS,
            group(Version::V1, "/a"),
            &[&["/sys/fs/cgroup/cpu,cpuacct/a", "/sys/fs/cgroup/cpu,cpuacct"]],
        );
        // The other one of a hybrid system.
        check(
            V1_MOUNTS,
            group(Version::V2, "/"),
            &[&["/sys/fs/cgroup/unified"]],
        );
        check("", group(Version::V2, "/"), &[]);
        check(V2_MOUNT, group(Version::V1, "/a"), &[]);
    }

    #[test]
    fn a_mount_shows_what_is_below_its_root() {
        // A container without a cgroup namespace: the host's path, a bind mount.
        let bound = "50 40 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        check(
            bound,
            group(Version::V2, "/docker/abc"),
            &[&["/sys/fs/cgroup"]],
        );
        check(
            bound,
            group(Version::V2, "/docker/abc/init"),
            &[&["/sys/fs/cgroup/init", "/sys/fs/cgroup"]],
        );
        // Not its own name's beginning, and not a neighbour.
        check(bound, group(Version::V2, "/docker/abcdef"), &[]);
        check(bound, group(Version::V2, "/docker"), &[]);
        check(bound, group(Version::V2, "/"), &[]);
    }

    #[test]
    fn roots_may_be_outside_the_cgroup_namespace() {
        // The mount was made in the parent's namespace.
        let above = "50 40 0:26 /.. /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        check(
            above,
            group(Version::V2, "/../sibling"),
            &[&["/sys/fs/cgroup/sibling", "/sys/fs/cgroup"]],
        );
        // This process is elsewhere than its namespace: not reachable from here.
        check(V2_MOUNT, group(Version::V2, "/.."), &[]);
        check(V2_MOUNT, group(Version::V2, "/../sibling"), &[]);
        check(above, group(Version::V2, "/../../cousin"), &[]);
    }

    #[test]
    fn the_mount_that_shows_most_ancestors_comes_first() {
        let two = "\
            50 40 0:26 /a/b /mnt/leaf rw - cgroup2 cgroup rw\n\
            51 40 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        check(
            two,
            group(Version::V2, "/a/b"),
            &[
                &["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"],
                &["/mnt/leaf"],
            ],
        );
    }

    #[test]
    fn escapes_are_resolved() {
        let odd = "50 40 0:26 /a\\040b /mnt\\011x\\012y\\134z\\043 rw - cgroup2 cgroup rw\n";
        check(odd, group(Version::V2, "/a b"), &[&["/mnt\tx\ny\\z#"]]);
        let no_source = "50 40 0:26 / /mnt rw -  cgroup2  rw\n";
        check(no_source, group(Version::V2, "/"), &[]);
        let empty_source = "50 40 0:26 / /mnt rw - cgroup2  rw\n";
        check(empty_source, group(Version::V2, "/"), &[&["/mnt"]]);
    }

    /// Go's TestUnescapeInvalidPath.
    #[test]
    fn escapes_that_are_none_spoil_the_path() {
        assert_eq!(unescape(br"/a\040b").unwrap(), b"/a b");
        assert_eq!(unescape(br"\377").unwrap(), [0xff]);
        assert_eq!(unescape(b"").unwrap(), b"");
        for bad in [
            &br"\"[..],
            br"\0",
            br"\04",
            br"/a\04",
            br"\048",
            br"\08a",
            br"\777",
            br"\\040",
        ] {
            assert_eq!(unescape(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    /// Go's TestParseCPUMountMalformed, but a bad line does not spoil a good one.
    #[test]
    fn what_is_no_line_of_the_file_is_passed_over() {
        for bad in [
            "42",
            "42 31 0:26 /",
            "42 31 0:26 / /mnt",
            "42 31 0:26 / /mnt rw",
            "42 31 0:26 / /mnt rw shared:1 cgroup2 cgroup rw",
            "42 31 0:26 / /mnt rw -",
            "42 31 0:26 / /mnt rw - cgroup2",
            "42 31 0:26 / /mnt rw - cgroup2 cgroup",
            r"42 31 0:26 /\0 /mnt rw - cgroup2 cgroup rw",
            r"42 31 0:26 / /mnt\ rw - cgroup2 cgroup rw",
        ] {
            let text = format!("{bad}\n{V2_MOUNT}");
            check(bad, group(Version::V2, "/"), &[]);
            check(&text, group(Version::V2, "/"), &[&["/sys/fs/cgroup"]]);
        }
    }
}
