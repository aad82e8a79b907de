//! Errors of libibverbs and librdmacm in words, with what to do about them.

use crate::fabric::FabricError;
use crate::memory::MemoryError;
use crate::sys::Errno;
use crate::sys::memory::{lock_limit, locked, pinned};

/// A call failed on a device.
pub(super) fn device_error(tried: &str, device: &str, errno: Errno) -> FabricError {
    let hint = match errno.number() {
        libc::EOPNOTSUPP => {
            ": libibverbs or librdmacm is missing or too old (packages libibverbs1, librdmacm1, rdma-core)"
        }
        libc::ENOMEM => ": the device has no room for another, or `ulimit -l` is too low",
        libc::EACCES | libc::EPERM => ": no right to the files in /dev/infiniband; see their group, and `ulimit -l`",
        libc::ENODEV | libc::EIO => ": the device is gone or broken; see `rdma link` and the kernel's log",
        libc::ETIMEDOUT | libc::ENETUNREACH | libc::EHOSTUNREACH => {
            ": the partner's GID cannot be reached; see `ip neigh` and `handfast devices`"
        }
        _ => "",
    };
    FabricError::Device { tried: tried.to_owned(), device: device.to_owned(), errno, hint: hint.to_owned() }
}

/// Memory could not be registered.
pub(super) fn registration_error(bytes: usize, device: &str, errno: Errno) -> FabricError {
    let tried = format!("registering {bytes} bytes with the device");
    match (errno.number(), lock_limit()) {
        (libc::ENOMEM | libc::EPERM, Some(limit)) => {
            // What a device pins is counted by itself (proc(5), VmPin), and bound by the same limit.
            let locked = locked().unwrap_or(0).saturating_add(pinned().unwrap_or(0));
            if locked.saturating_add(bytes as u64) <= limit {
                return device_error(&tried, device, errno);
            }
            FabricError::Memory(MemoryError::LockLimit { bytes: bytes as u64, limit, locked })
        }
        (libc::EFAULT | libc::EOPNOTSUPP, _) => FabricError::Device {
            tried,
            device: device.to_owned(),
            errno,
            hint: ": register anonymous memory, memory files or huge pages; mappings of ordinary files are refused"
                .to_owned(),
        },
        _ => device_error(&tried, device, errno),
    }
}

/// librdmacm or libibverbs cannot be used at all.
pub(super) fn no_rdma(errno: Errno) -> FabricError {
    if errno.is_passing() {
        let tried = "opening /dev/infiniband/rdma_cm".to_owned();
        return FabricError::System { tried, errno };
    }
    let (missing, remedy) = match errno.number() {
        libc::EOPNOTSUPP => (
            "the libraries libibverbs.so.1 and librdmacm.so.1 are not installed",
            "Install them: packages libibverbs1, librdmacm1 and ibverbs-providers (Debian, Ubuntu), rdma-core (others)",
        ),
        libc::ENOENT | libc::ENODEV | libc::ENOSYS => (
            "the kernel offers no RDMA connection manager (/dev/infiniband/rdma_cm)",
            "Load its modules: `modprobe rdma_ucm`; `rdma link` lists the devices",
        ),
        libc::EACCES | libc::EPERM => {
            ("no right to open /dev/infiniband/rdma_cm", "Run as its owner or group, or change them by a udev rule")
        }
        _ => ("the RDMA connection manager cannot be used", "See the kernel's log and `rdma link`"),
    };
    FabricError::NoRdma { missing: format!("{missing} ({errno})"), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_remedy() {
        let text = no_rdma(Errno::new(libc::EOPNOTSUPP)).to_string();
        assert!(text.contains("libibverbs1") && text.contains("EOPNOTSUPP"), "{text}");
        let short = no_rdma(Errno::new(libc::EMFILE));
        assert_eq!(short.recovery(), crate::error::Recovery::RetryAfter, "{short}");
        let text = device_error("posting", "rxe0", Errno::new(libc::ENODEV)).to_string();
        assert!(text.contains("rxe0") && text.contains("ENODEV") && text.contains("rdma link"), "{text}");
    }
}
