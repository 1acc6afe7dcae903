//! `/proc/self/cgroup`: which cgroup limits this process' CPU time.
//!
//! One line a hierarchy, `id:controllers:path`. A version 1 hierarchy that has the
//! `cpu` controller has precedence, because a controller is in one hierarchy at a time;
//! else it is that of version 2, `0::path`. Lines that are neither, and lines that
//! can't be read, are passed over.

/// The two kinds of hierarchies, which differ in their files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Version {
    V1,
    V2,
}

/// Where this process is in the hierarchy that counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Membership<'a> {
    pub(super) version: Version,
    /// From the root of the hierarchy as this process sees it; begins with `/`.
    /// May begin with `/..` in a cgroup namespace that does not have it.
    pub(super) path: &'a [u8],
}

/// The cgroup whose quota counts, if there is one.
pub(super) fn of_cpu(text: &[u8]) -> Option<Membership<'_>> {
    let mut unified = None;
    for line in text.split(|&b| b == b'\n') {
        let Some((id, controllers, path)) = fields(line) else {
            continue;
        };
        if has_cpu(controllers) {
            return Some(Membership {
                version: Version::V1,
                path,
            });
        }
        if id == b"0" && controllers.is_empty() {
            unified = unified.or(Some(Membership {
                version: Version::V2,
                path,
            }));
        }
    }
    unified
}

/// A path may have colons in it, the first two fields have none.
fn fields(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut parts = line.splitn(3, |&b| b == b':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    // What the kernel says of a cgroup that was removed under its last process.
    // Its ancestors may still be there.
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    path.starts_with(b"/").then_some((id, controllers, path))
}

/// `cpu` as a whole word: neither `cpuset` nor `cpuacct`. Also for the options
/// of a mount.
pub(super) fn has_cpu(controllers: &[u8]) -> bool {
    controllers.split(|&b| b == b',').any(|c| c == b"cpu")
}

#[cfg(test)]
mod tests {
    use super::Version::{V1, V2};
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<(Version, &str)>) {
        let got = of_cpu(text.as_bytes()).map(|m| (m.version, m.path));
        assert_eq!(
            got,
            want.map(|(version, path)| (version, path.as_bytes())),
            "{text:?}"
        );
    }

    /// Go's TestParseCPUCgroup.
    #[test]
    fn the_hierarchy_that_limits_cpu_time_is_found() {
        check("", None);
        check("0::/\n", Some((V2, "/")));
        check("0::/a/b/c\n", Some((V2, "/a/b/c")));
        check("0::/no/newline", Some((V2, "/no/newline")));
        check("1:cpu:/\n", Some((V1, "/")));
        check("5:cpu,cpuacct:/x\n", Some((V1, "/x")));
        check("5:cpuacct,cpu:/x\n", Some((V1, "/x")));
        // Neither of these is the cpu controller.
        check("4:cpuset:/s\n3:cpuacct:/a\n", None);
        check("1:name=cpu:/named\n", None);
        check("2:name=systemd:/s\n9:memory:/m\n", None);
    }

    #[test]
    fn version_1_has_precedence_wherever_it_stands() {
        check("0::/two\n5:cpu,cpuacct:/one\n", Some((V1, "/one")));
        check("5:cpu,cpuacct:/one\n0::/two\n", Some((V1, "/one")));
        // Hybrid, with the cpu controller in version 2.
        check(
            "3:memory:/m\n1:name=systemd:/s\n0::/two\n",
            Some((V2, "/two")),
        );
    }

    #[test]
    fn paths_may_be_odd() {
        check("0::/a:b::c\n", Some((V2, "/a:b::c")));
        check("0::/with space\n", Some((V2, "/with space")));
        check("0::/../sibling\n", Some((V2, "/../sibling")));
        check("0::/gone (deleted)\n", Some((V2, "/gone")));
        let not_utf8 = b"0::/\xff\xfe\n";
        assert_eq!(of_cpu(not_utf8).unwrap().path, b"/\xff\xfe");
    }

    /// Go's TestParseCPUCgroupMalformed, but a bad line does not spoil a good one.
    #[test]
    fn what_is_no_line_of_the_file_is_passed_over() {
        check("\n\n", None);
        check("0:\n", None);
        check("0:/only/one/colon\n", None);
        check("cpu\n", None);
        check("0::relative\n", None);
        check("0::\n", None);
        check("1:cpu\n0::/good\n", Some((V2, "/good")));
        check("00::/id\n", None);
    }
}
