//! Locking pages, and placing them on a NUMA node.

use crate::sys::{Errno, cgroup, checked};
use std::ptr::NonNull;

/// Locks the pages of a mapping in memory (`mlock(2)`): they are resident from its return on.
///
/// Takes an address and no reference: the kernel checks that it is mapped (ENOMEM where it is not), and changes no byte.
pub(crate) fn lock(start: NonNull<u8>, bytes: usize) -> Result<(), Errno> {
    // SAFETY:
    // - bounds: the kernel checks the range against the mappings of this process.
    checked(unsafe { libc::mlock(start.as_ptr().cast(), bytes) }).map(|_| ())
}

/// Leaves a mapping out of children made by `fork` (MADV_DONTFORK) and out of core dumps (MADV_DONTDUMP): a child would hold on to memory that the
/// partner takes for this process's, and the dump of a large one keeps a dead process looking alive. The second is a wish: a kernel that
/// cannot is no error.
pub(crate) fn keep_private(start: NonNull<u8>, bytes: usize) -> Result<(), Errno> {
    // SAFETY:
    // - bounds: the kernel checks the range against the mappings of this process, and changes no byte.
    let kept = checked(unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTFORK) });
    // SAFETY:
    // - bounds: as above.
    let _ = checked(unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTDUMP) });
    kept.map(|_| ())
}

/// The limit of locked memory for this process, bytes; none where there is none, or where it does not bind (capabilities(7), CAP_IPC_LOCK).
pub(crate) fn lock_limit() -> Option<u64> {
    const CAP_IPC_LOCK: u32 = 14;
    let limit = limit(libc::RLIMIT_MEMLOCK)?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    (effective >> CAP_IPC_LOCK & 1 == 0).then_some(limit)
}

/// The soft limit of a resource (getrlimit(2)); none where there is none.
pub(crate) fn limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY:
    // - live: `limit` outlives the call.
    // - alias: `limit` is ours alone while the kernel writes it.
    checked(unsafe { libc::getrlimit(resource, &raw mut limit) }).ok()?;
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Size of an ordinary page, bytes.
pub(crate) fn page_bytes() -> usize {
    // SAFETY:
    // - live: the call takes no pointer.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}

/// Memory that can be had without swapping, bytes: `MemAvailable` of `proc(5)`, or what this process's control groups leave where that is
/// less; none where neither is told.
pub(crate) fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kib_line(&text, "MemAvailable:"));
    machine.into_iter().chain(cgroup::left()).min()
}

/// What this process has locked, bytes (`VmLck` of `proc(5)`); none where /proc does not say.
pub(crate) fn locked() -> Option<u64> {
    kib_line(&std::fs::read_to_string("/proc/self/status").ok()?, "VmLck:")
}

/// What devices have pinned of this process, bytes (`VmPin` of `proc(5)`); none where /proc does not say.
#[cfg(feature = "verbs")]
pub(crate) fn pinned() -> Option<u64> {
    kib_line(&std::fs::read_to_string("/proc/self/status").ok()?, "VmPin:")
}

/// The bytes told by a line such as `VmLck:      64 kB`.
fn kib_line(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Prefers memory of one NUMA node for a mapping (`mbind(2)`, MPOL_PREFERRED). Before the first touch of its pages.
pub(crate) fn prefer_node(start: NonNull<u8>, bytes: usize, node: u32) -> Result<(), Errno> {
    const MPOL_PREFERRED: libc::c_long = 1;
    const WORDS: usize = 16;
    let mut mask = [0u64; WORDS];
    let Some(word) = mask.get_mut(node as usize / 64) else { return Err(Errno::new(libc::EINVAL)) };
    *word = 1 << (node % 64);
    // The kernel reads one bit less than it is told (mbind(2), BUGS).
    let bits = WORDS * 64 + 1;
    // SAFETY:
    // - live: `mask` outlives the call.
    // - bounds: the kernel reads at most `bits - 1` bits of the mask, and checks the range of the mapping itself.
    let result =
        unsafe { libc::syscall(libc::SYS_mbind, start.as_ptr(), bytes, MPOL_PREFERRED, mask.as_ptr(), bits, 0usize) };
    if result < 0 { Err(Errno::last()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_become_bytes() {
        assert_eq!(kib_line("VmPeak:\t 8 kB\nVmLck:\t      64 kB\n", "VmLck:"), Some(65536));
        for text in ["", "VmLck: 64", "VmLck: x kB", "VmLck: 18446744073709551615 kB"] {
            assert_eq!(kib_line(text, "VmLck:"), None, "{text}");
        }
        assert!(available().is_some_and(|bytes| bytes > 0) && locked().is_some());
    }

    #[test]
    fn addresses_that_are_not_mapped_are_errors_and_no_faults() -> Result<(), Box<dyn std::error::Error>> {
        // The first page of the address space is never mapped.
        let nowhere = NonNull::new(std::ptr::without_provenance_mut(8)).ok_or("null")?;
        assert!(matches!(lock(nowhere, 4096), Err(errno) if [libc::ENOMEM, libc::EPERM].contains(&errno.number())));
        assert_eq!(keep_private(nowhere, 4096), Err(Errno::new(libc::EINVAL)));
        assert_eq!(prefer_node(nowhere, 4096, 5000), Err(Errno::new(libc::EINVAL)));
        assert!(page_bytes().is_power_of_two() && page_bytes() >= 4096);
        Ok(())
    }
}
