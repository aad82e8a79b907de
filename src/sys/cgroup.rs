//! What the control groups of this process leave it of memory (cgroups(7)): a container's limit is one of these, and /proc/meminfo knows nothing
//! of it. Touching more calls the kernel's killer.

use std::path::Path;

/// The files of one version (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst in the kernel's tree).
struct Version {
    /// Where its groups are mounted.
    mounts: &'static [&'static str],
    limit: &'static str,
    usage: &'static str,
    /// Lines of memory.stat: what of the usage the kernel takes back by itself.
    cache: [&'static str; 2],
}

const FIRST: Version = Version {
    mounts: &["memory"],
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: ["total_active_file ", "total_inactive_file "],
};

const SECOND: Version = Version {
    mounts: &["", "unified"],
    limit: "memory.max",
    usage: "memory.current",
    cache: ["active_file ", "inactive_file "],
};

/// Bytes that this process may still touch by the limits of its groups; none where no limit is found.
pub(crate) fn left() -> Option<u64> {
    left_by(&std::fs::read_to_string("/proc/self/cgroup").ok()?, Path::new("/sys/fs/cgroup"))
}

/// `groups`: the lines of /proc/self/cgroup, each `NUMBER:CONTROLLERS:PATH`.
fn left_by(groups: &str, mount: &Path) -> Option<u64> {
    let lines = groups.lines().filter_map(|line| {
        let mut words = line.splitn(3, ':').skip(1);
        let (controllers, path) = (words.next()?, words.next()?);
        match controllers {
            "" => Some((&SECOND, path)),
            _ if controllers.split(',').any(|name| name == "memory") => Some((&FIRST, path)),
            _ => None,
        }
    });
    lines
        .flat_map(|(version, path)| {
            version.mounts.iter().filter_map(move |base| version.least(&mount.join(base), path))
        })
        .min()
}

impl Version {
    /// The least that a group of this path, or one above it, leaves. Where the path is another namespace's, the groups that are mounted begin
    /// at this process's own.
    fn least(&self, base: &Path, path: &str) -> Option<u64> {
        let own = base.join(path.trim_start_matches('/'));
        let groups = own.ancestors().take_while(|group| group.starts_with(base));
        groups.filter_map(|group| self.left_in(group)).min()
    }

    fn left_in(&self, group: &Path) -> Option<u64> {
        let number = |name| std::fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        let (limit, usage) = (number(self.limit)?, number(self.usage)?);
        let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let lines = stat.lines().filter_map(|line| self.cache.iter().find_map(|key| line.strip_prefix(key)));
        let cache: u64 = lines.filter_map(|bytes| bytes.trim().parse::<u64>().ok()).sum();
        Some(limit.saturating_sub(usage.saturating_sub(cache)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_group_counts_and_its_cache_does_not() -> Result<(), Box<dyn std::error::Error>> {
        let mount = tempfile::tempdir()?;
        let write = |path: &str, text: &str| {
            let path = mount.path().join(path);
            std::fs::create_dir_all(path.parent().ok_or("no folder")?)?;
            std::fs::write(path, text).map_err(Box::<dyn std::error::Error>::from)
        };
        let left = |groups| left_by(groups, mount.path());
        assert_eq!(left("0::/\n"), None);
        write("a/b/memory.max", "max\n")?;
        write("a/b/memory.current", "70\n")?;
        assert_eq!(left("0::/a/b\n"), None, "no limit");
        write("a/memory.max", "1000\n")?;
        write("a/memory.current", "700\n")?;
        assert_eq!(left("0::/a/b\n"), Some(300));
        write("a/memory.stat", "anon 500\nactive_file 60\ninactive_file 40\nfile 100\n")?;
        assert_eq!(left("0::/a/b\n"), Some(400));
        write("a/b/memory.max", "80\n")?;
        assert_eq!(left("0::/a/b\n"), Some(10));
        assert_eq!(left("0::/elsewhere\n"), None, "only what lies above it");
        // A container that sees its own group where all groups begin.
        write("memory.max", "50\n")?;
        write("memory.current", "90\n")?;
        assert_eq!(left("0::/docker/0123\n"), Some(0));
        write("memory/c/memory.limit_in_bytes", "9223372036854771712\n")?;
        write("memory/c/memory.usage_in_bytes", "5\n")?;
        assert_eq!(left("4:cpu,memory:/c\n1:name=systemd:/\n"), Some(9_223_372_036_854_771_707));
        write("memory/memory.limit_in_bytes", "40\n")?;
        write("memory/memory.usage_in_bytes", "30\n")?;
        write("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 2\n")?;
        assert_eq!(left("4:cpu,memory:/c\n"), Some(12));
        Ok(())
    }
}
