//! What this machine allows: descriptors, and memory by the system's and the
//! control groups' count.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::path::{Path, PathBuf};

/// Raises the limit of open descriptors to `wanted`, as far as that is allowed;
/// how many may be open then.
pub(crate) fn raise_descriptors(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let allowed = |soft: Option<u64>| soft.unwrap_or(u64::MAX);
    if allowed(limit.current) >= wanted {
        return allowed(limit.current);
    }
    let current = allowed(limit.maximum).min(wanted);
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(current),
            maximum: limit.maximum,
        },
    ) {
        Ok(()) => current,
        Err(_) => allowed(limit.current),
    }
}

/// Bytes that this process may still use without being killed for it, as far as
/// anybody says.
pub(crate) fn available_memory() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| kilobytes(&text, "MemAvailable:"));
    let groups = control_groups()
        .into_iter()
        .filter_map(|directory| left_in(&directory));
    system.into_iter().chain(groups).min()
}

/// Bytes in memory, page tables included.
pub(crate) fn used_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kilobytes(&status, "VmRSS:").unwrap_or(0) + kilobytes(&status, "VmPTE:").unwrap_or(0)
}

/// The value of a line `name   123 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|k| k * 1024)
}

/// The directories of the groups that limit our memory, from our own up.
fn control_groups() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut directories = Vec::new();
    for line in text.lines() {
        // hierarchy:controllers:path
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = match controllers {
            "" => Path::new("/sys/fs/cgroup"),
            list if list.split(',').any(|c| c == "memory") => Path::new("/sys/fs/cgroup/memory"),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        directories.extend(path.ancestors().map(|above| mount.join(above)));
        if path.as_os_str().is_empty() {
            directories.push(mount.to_path_buf());
        }
    }
    directories
}

/// Limit less use, in the second version's files or the first's.
fn left_in(directory: &Path) -> Option<u64> {
    let number = |file: &str| {
        fs::read_to_string(directory.join(file))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    Some(limit.saturating_sub(used))
}
