//! What can go wrong with memory.

use crate::error::Recovery;
use crate::sys::Errno;

/// Memory could not be mapped, pinned, shared or reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// A region of zero bytes, or of more than the address space holds.
    #[error("a region of {bytes} bytes cannot be made: ask for 1 byte to {max} bytes")]
    Length {
        /// The length asked for.
        bytes: u64,
        /// The longest possible region.
        max: u64,
    },
    /// An access past the end of a region, or a word access that is not 8-byte aligned.
    #[error(
        "access to {length} bytes at offset {offset} of a region of {region} bytes: out of range or not 8-byte aligned"
    )]
    OutOfRange {
        /// Where the access starts.
        offset: u64,
        /// How long it is.
        length: u64,
        /// How long the region is.
        region: u64,
    },
    /// A ring that cannot be: nothing of the region was changed.
    #[error(
        "a ring of {bytes} bytes behind the first {base} of a region of {region}, holding {tail} to {end}, cannot be: {rule}"
    )]
    Ring {
        /// Length of the ring, bytes.
        bytes: u64,
        /// Where in the region it was to begin.
        base: u64,
        /// How long the region is.
        region: u64,
        /// From which position on it was to hold something.
        tail: u64,
        /// Up to where.
        end: u64,
        /// What was not kept.
        rule: &'static str,
    },
    /// The memory-lock limit is too low.
    #[error(
        "cannot pin {bytes} bytes: the limit for locked memory is {limit} bytes, of which {locked} are taken. Raise it (`ulimit -l`, LimitMEMLOCK= in the service file, or memlock in limits.conf), or, for shared memory, build the region with `.pinned(false)`. (`setcap cap_ipc_lock+ep` on the program helps too, where all that meet on shared memory have it)"
    )]
    LockLimit {
        /// Bytes that were to be pinned.
        bytes: u64,
        /// The limit in force, bytes.
        limit: u64,
        /// What this process had locked already, bytes.
        locked: u64,
    },
    /// No huge pages of the wanted size were free, and no fallback was allowed.
    #[error(
        "no {page_bytes}-byte huge pages for {bytes} bytes: reserve them (/sys/kernel/mm/hugepages/hugepages-{page_kib}kB/nr_hugepages) or allow the fallback to ordinary pages by HugePages::Prefer2MiB or HugePages::Prefer1GiB ({errno})"
    )]
    HugePages {
        /// Bytes wanted.
        bytes: u64,
        /// Size of one page, bytes.
        page_bytes: u64,
        /// The same in KiB, as the kernel names the folder.
        page_kib: u64,
        /// What the system answered.
        errno: Errno,
    },
    /// No room was left for the region's bytes.
    #[error(
        "no room for {bytes} bytes in {place}: {errno}. Free space there, or make the region smaller{}",
        if *place == "memory" { " (`ulimit -v`, vm.max_map_count, vm.overcommit_memory and the memory limit of a container or control group bound it too)" } else { "" }
    )]
    NoRoom {
        /// Where: a path, or `memory`.
        place: String,
        /// Bytes wanted.
        bytes: u64,
        /// What the system answered.
        errno: Errno,
    },
    /// The limit of the size of files is too low.
    #[error(
        "no file of {bytes} bytes in {place}: the limit for the size of files is {limit} bytes. Raise it (`ulimit -f`, LimitFSIZE= in the service file), or make the region smaller"
    )]
    FileLimit {
        /// Where: a path, or `memory`.
        place: String,
        /// Bytes wanted.
        bytes: u64,
        /// The limit in force, bytes.
        limit: u64,
    },
    /// The region cannot be used this way with its backing.
    #[error("{what} needs {needed}, and this region is {backing}")]
    Backing {
        /// What was tried.
        what: &'static str,
        /// The backing it needs.
        needed: &'static str,
        /// The backing the region has.
        backing: &'static str,
    },
    /// A system call failed.
    #[error("{tried}: {errno}")]
    System {
        /// What was tried, on what.
        tried: String,
        /// What the system answered.
        errno: Errno,
    },
}

impl MemoryError {
    /// What the caller can do about it.
    pub fn recovery(&self) -> Recovery {
        match self {
            MemoryError::NoRoom { errno, .. } | MemoryError::System { errno, .. } if !errno.is_passing() => {
                Recovery::Fatal
            }
            MemoryError::NoRoom { .. } | MemoryError::HugePages { .. } | MemoryError::System { .. } => {
                Recovery::RetryAfter
            }
            _ => Recovery::Fatal,
        }
    }
}
