//! What the machine tells about itself.

use std::fs;

/// The share of the process's memory that all jobs together may be accounted with: the rest is for connections, the
/// store's cache and what the allocator rounds up.
pub fn share_of_jobs(max_memory: u64) -> u64 {
    max_memory - max_memory / 8
}

/// The bound on this process's memory, if nothing else is said: a quarter of what it may count on. `None` if the
/// machine does not tell.
pub fn default_max_memory() -> Option<u64> {
    memory().map(|bytes| bytes / 4)
}

/// Bytes of memory that this process may count on: the machine's, or less if a container is bounded.
fn memory() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let container =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    match (machine, container) {
        (Some(machine), Some(container)) => Some(u64::min(machine, container)),
        (known, None) | (None, known) => known,
    }
}

/// Bytes of memory that this process takes, as the system counts them.
pub fn resident_memory() -> Option<u64> {
    let pages: u64 = fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_and_nothing_else_taken_for_it() {
        assert_eq!(total("MemFree: 5 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
        assert_eq!(total("MemFree: 5 kB\n"), None);
        assert!(resident_memory().is_some_and(|bytes| bytes > 1 << 20));
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
