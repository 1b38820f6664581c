//! Whether it was memory: the kernel counts, per control group, whom it killed for want of it.
//!
//! A killed process only shows SIGKILL. The counter of the group (`memory.events` of cgroup v2, `memory.oom_control` of v1,
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html>) tells the rest, where it can be read; elsewhere the answer is no.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The count of kills since a start.
#[derive(Debug, Clone)]
pub struct OomCounter {
    counter: Option<(PathBuf, u64)>,
}

impl OomCounter {
    /// Notes the count as it is now.
    #[must_use]
    pub fn start() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let counter = candidates(&groups).into_iter().find_map(|path| {
            let count = read_count(&path)?;
            Some((path, count))
        });
        Self { counter }
    }

    /// Whether anybody of our control group has been killed since; false where nothing can be read.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.counter.as_ref().is_some_and(|(path, before)| read_count(path).is_some_and(|now| now > *before))
    }
}

/// Where the counter may be, from `/proc/self/cgroup` (`hierarchy:controllers:path`).
fn candidates(groups: &str) -> Vec<PathBuf> {
    const ROOT: &str = "/sys/fs/cgroup";
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (mount, file) = match controllers {
            "" if hierarchy == "0" => (Path::new(ROOT).to_owned(), "memory.events"),
            _ if controllers.split(',').any(|name| name == "memory") => (Path::new(ROOT).join(controllers), "memory.oom_control"),
            _ => continue,
        };
        found.push(mount.join(path.trim_start_matches('/')).join(file));
        // in a container the mount may start at our own group while the path is still the host's
        found.push(mount.join(file));
    }
    found
}

fn read_count(path: &Path) -> Option<u64> {
    parse_count(&fs::read_to_string(path).ok()?)
}

fn parse_count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{candidates, parse_count};

    #[test]
    fn reads_both_versions_of_the_counter() {
        let v2 = "low 0\nhigh 0\nmax 17\noom 4\noom_kill 3\noom_group_kill 0\n";
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        assert_eq!(parse_count(v2), Some(3));
        assert_eq!(parse_count(v1), Some(2));
        assert_eq!(parse_count("oom_kill_disable 0\n"), None);
        assert_eq!(parse_count(""), None);
    }

    #[test]
    fn looks_where_each_version_has_it() {
        let paths = |text: &str| -> Vec<PathBuf> { candidates(text) };
        assert_eq!(
            paths("0::/kubepods/pod1\n"),
            [PathBuf::from("/sys/fs/cgroup/kubepods/pod1/memory.events"), PathBuf::from("/sys/fs/cgroup/memory.events"),]
        );
        assert_eq!(
            paths("8:pids:/a\n4:memory:/docker/x\n1:name=systemd:/\n"),
            [PathBuf::from("/sys/fs/cgroup/memory/docker/x/memory.oom_control"), PathBuf::from("/sys/fs/cgroup/memory/memory.oom_control"),]
        );
        assert!(paths("nonsense\n\n").is_empty());
    }
}
