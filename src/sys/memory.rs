//! Locking pages, and placing them on a NUMA node.

use crate::sys::{Errno, checked};
use std::ptr::NonNull;

/// Locks the pages of a mapping in memory (`mlock(2)`): they are resident from its return on.
///
/// Takes an address and no reference: the kernel checks that it is mapped (ENOMEM where it is not), and changes no byte.
pub(crate) fn lock(start: NonNull<u8>, bytes: usize) -> Result<(), Errno> {
    // SAFETY:
    // - bounds: the kernel checks the range against the mappings of this process.
    checked(unsafe { libc::mlock(start.as_ptr().cast(), bytes) }).map(|_| ())
}

/// Takes the lock of [`lock`] back.
pub(crate) fn unlock(start: NonNull<u8>, bytes: usize) -> Result<(), Errno> {
    // SAFETY:
    // - bounds: the kernel checks the range against the mappings of this process.
    checked(unsafe { libc::munlock(start.as_ptr().cast(), bytes) }).map(|_| ())
}

/// The limit of locked memory for this process, bytes; none where there is none.
pub(crate) fn lock_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY:
    // - live: `limit` outlives the call.
    // - alias: `limit` is ours alone while the kernel writes it.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) }).ok()?;
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Memory that can be had without swapping, bytes (`MemAvailable` of `proc(5)`); none where /proc does not say.
pub(crate) fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
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
