//! Another process (or this one), and its memory files: opened, checked, mapped.
//!
//! Imports `sys` and `memory`. Off the hot path: every call enters the kernel.

use super::mapping::Mapping;
use crate::fabric::FabricError;
use crate::memory::Errno;
use crate::sys::file::{seals, seals_of};
use crate::sys::memory::keep_private;
use crate::sys::process::{Process, Unlike, any_ended, unlike};
use memmap2::MmapOptions;
use std::fs::File;
use std::ptr::NonNull;
use std::sync::Arc;

/// The process behind a link.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Arc<Process>);

/// Why another process's memory could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The process is gone.
    Gone,
    /// It does not hold the file that it named, or one that is not as it must be.
    Unfit(&'static str),
    /// A call that nothing but a filter refuses was refused.
    Call(&'static str, Errno),
    /// The kernel said no.
    Kernel(Errno),
}

impl Denied {
    /// The same for whoever asked: what was tried, and why the kernel said no where that can be told. Reads /proc. None where the
    /// process or its memory is no more.
    pub(crate) fn system(self, tried: String, process: u32) -> Option<FabricError> {
        let (why, errno) = match self {
            Self::Gone | Self::Unfit(_) => return None,
            Self::Call(..) => (self.to_string(), self.errno()?),
            Self::Kernel(errno) => match errno.number() {
                libc::EACCES | libc::EPERM => (hidden(process), errno),
                _ => return Some(FabricError::System { tried, errno }),
            },
        };
        Some(FabricError::System { tried: format!("{tried} ({why})"), errno })
    }

    fn errno(self) -> Option<Errno> {
        match self {
            Self::Call(_, errno) | Self::Kernel(errno) => Some(errno),
            Self::Gone | Self::Unfit(_) => None,
        }
    }
}

/// Why the memory of a process is hidden from this one.
fn hidden(process: u32) -> String {
    match unlike(process) {
        Some(Unlike::User(user)) => {
            format!("process {process} runs as user {user}: run both as one, or this one as root")
        }
        Some(Unlike::Capabilities) => format!(
            "process {process} has capabilities that this one has not: give both programs the same (`setcap`), or none"
        ),
        Some(Unlike::Undumpable) => format!(
            "process {process} is not dumpable (setcap, set-uid, PR_SET_DUMPABLE of prctl(2)): have it call `fabric::shm::make_dumpable` first"
        ),
        None => "a container's profile or a security module keeps the processes of one user apart: allow ptrace there"
            .to_owned(),
    }
}

impl std::fmt::Display for Denied {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gone => formatter.write_str("its process is gone"),
            Self::Unfit(what) => formatter.write_str(what),
            Self::Call(call, _) => write!(
                formatter,
                "{call} is refused: by a container's seccomp profile, or by a kernel before 5.3. Allow the call there"
            ),
            Self::Kernel(errno) => write!(formatter, "{errno}"),
        }
    }
}

/// What a memory file must be like to be mapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// To store into, or to load from only.
    pub(crate) writable: bool,
    /// Bytes it must have at least.
    pub(crate) bytes_min: u64,
}

impl Peer {
    /// Takes hold of a process by its number.
    pub(crate) fn open(number: u32) -> Result<Self, Denied> {
        let process = Process::open(number).map_err(|errno| match errno.number() {
            libc::ESRCH | libc::EINVAL => Denied::Gone,
            // Whoever may make any system call may make this one (pidfd_open(2), errors).
            libc::EPERM | libc::EACCES | libc::ENOSYS => Denied::Call("pidfd_open(2)", errno),
            _ => Denied::Kernel(errno),
        })?;
        Ok(Self(Arc::new(process)))
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended. One system call.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.has_ended()
    }

    /// Whether a file that the process holds can be opened from here.
    pub(crate) fn look_at(&self, fd: i32) -> Result<(), Denied> {
        self.open_file(fd, false).map(|_| ())
    }

    fn open_file(&self, fd: i32, writable: bool) -> Result<File, Denied> {
        self.0.open_file(fd, writable).map_err(|errno| match errno.number() {
            libc::ENOENT if self.is_gone() => Denied::Gone,
            libc::ENOENT | libc::ENXIO if std::fs::exists(format!("/proc/{}", self.number())).unwrap_or(true) => {
                Denied::Unfit("it no longer holds the file that it named")
            }
            libc::ENOENT => {
                Denied::Unfit("/proc does not show its process, which lives: it is not mounted, or hides it (hidepid)")
            }
            libc::EINVAL => Denied::Unfit("the file that it named is no memory file"),
            _ => Denied::Kernel(errno),
        })
    }

    /// Maps the memory file that the process holds as descriptor `fd`, if it is sealed against shrinking and large enough.
    pub(crate) fn map(&self, fd: i32, wanted: Wanted) -> Result<Arc<Mapping>, Denied> {
        if fd < 0 {
            return Err(Denied::Unfit("it names no file"));
        }
        let file = self.open_file(fd, wanted.writable)?;
        // The number stood for this very process while the file was opened only if it still lives.
        if self.is_gone() {
            return Err(Denied::Gone);
        }
        let sealed = seals_of(&file).map_err(|_| Denied::Unfit("the file that it named is no memory file"))?;
        if sealed & seals::SHRINK == 0 {
            return Err(Denied::Unfit("its memory file is not sealed against shrinking"));
        }
        let kernel = |error: std::io::Error| Denied::Kernel(Errno::new(error.raw_os_error().unwrap_or(libc::EIO)));
        let bytes = file.metadata().map_err(kernel)?.len();
        if bytes < wanted.bytes_min.max(1) {
            return Err(Denied::Unfit("its memory file is smaller than it said"));
        }
        let length = usize::try_from(bytes).map_err(|_| Denied::Unfit("its memory file is too large"))?;
        let mut options = MmapOptions::new();
        options.len(length);
        let map = if wanted.writable { options.map_raw(&file) } else { options.map_raw_read_only(&file) };
        let map = map.map_err(kernel)?;
        if let Some(start) = NonNull::new(map.as_mut_ptr()) {
            // A child made by `fork` has no business in the partner's memory.
            keep_private(start, length).map_err(Denied::Kernel)?;
        }
        Mapping::foreign(map, wanted.writable).ok_or(Denied::Unfit("its memory file has no place"))
    }
}

/// The first of up to 8 processes that has ended. One system call at most, none without processes; no allocation.
pub(crate) fn first_gone(peers: [Option<&Peer>; 8]) -> Option<usize> {
    any_ended(peers.map(|peer| peer.map(|peer| &*peer.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Backing, Region};
    use std::os::fd::AsRawFd;

    const READ: Wanted = Wanted { writable: false, bytes_min: 1 };
    const WRITE: Wanted = Wanted { writable: true, bytes_min: 1 };

    fn this() -> Result<Peer, Denied> {
        Peer::open(std::process::id())
    }

    #[test]
    fn files_that_could_shrink_or_are_no_memory_files_are_refused() -> Result<(), Box<dyn std::error::Error>> {
        let peer = this().map_err(|denied| denied.to_string())?;
        let unsealed = crate::sys::file::memory_file(c"unsealed", None).map_err(|errno| errno.to_string())?;
        unsealed.set_len(4096)?;
        let refused = |result: Result<Arc<Mapping>, Denied>| matches!(result, Err(Denied::Unfit(_)));
        assert!(refused(peer.map(unsealed.as_raw_fd(), READ)));
        let null = std::fs::File::open("/dev/null")?;
        assert!(refused(peer.map(null.as_raw_fd(), READ)));
        assert!(refused(peer.map(-1, READ)));
        assert!(refused(peer.map(i32::MAX, READ)));
        let pipe = std::io::pipe()?;
        assert!(peer.map(pipe.0.as_raw_fd(), READ).is_err());
        let region = Region::builder(4096).backing(Backing::Shared { read_only_elsewhere: false }).build()?;
        let fd = region.file().map(|file| file.as_raw_fd()).unwrap_or(-1);
        assert!(refused(peer.map(fd, Wanted { writable: false, bytes_min: region.len() as u64 + 1 })));
        assert!(peer.map(fd, WRITE).is_ok());
        Ok(())
    }

    #[test]
    fn what_is_sealed_for_its_owner_cannot_be_mapped_writable() -> Result<(), Box<dyn std::error::Error>> {
        let region = Region::builder(4096).backing(Backing::Shared { read_only_elsewhere: true }).build()?;
        let fd = region.file().map(|file| file.as_raw_fd()).unwrap_or(-1);
        let peer = this().map_err(|denied| denied.to_string())?;
        assert!(matches!(peer.map(fd, WRITE), Err(Denied::Kernel(errno)) if errno.number() == libc::EPERM));
        assert!(peer.map(fd, READ).is_ok());
        Ok(())
    }

    #[test]
    fn a_process_that_ended_is_gone() -> Result<(), Box<dyn std::error::Error>> {
        let mut child = std::process::Command::new("true").spawn()?;
        let peer = Peer::open(child.id());
        child.wait()?;
        assert!(peer.is_ok_and(|peer| peer.is_gone()));
        assert!(!this().is_ok_and(|peer| peer.is_gone()));
        assert!(matches!(Peer::open(u32::MAX), Err(Denied::Gone)));
        Ok(())
    }

    #[test]
    fn the_one_that_ended_is_found_among_the_living() -> Result<(), Box<dyn std::error::Error>> {
        let mut child = std::process::Command::new("true").spawn()?;
        let dead = Peer::open(child.id()).map_err(|denied| denied.to_string())?;
        let alive = this().map_err(|denied| denied.to_string())?;
        child.wait()?;
        assert_eq!(first_gone([None, Some(&alive), None, Some(&dead), None, None, None, None]), Some(3));
        assert_eq!(first_gone([Some(&alive), None, None, None, None, None, None, None]), None);
        assert_eq!(first_gone([None; 8]), None);
        Ok(())
    }
}
