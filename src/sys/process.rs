//! Whether a process lives, and its files.

use crate::sys::{Errno, checked};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// A process, by a descriptor that stays its own even if its number is given to another (`pidfd_open(2)`).
#[derive(Debug)]
pub(crate) struct Process {
    descriptor: OwnedFd,
    id: u32,
}

impl Process {
    /// The process of this number.
    pub(crate) fn open(id: u32) -> Result<Self, Errno> {
        let number = libc::pid_t::try_from(id).map_err(|_| Errno::new(libc::ESRCH))?;
        // SAFETY:
        // - live: the call takes no pointer.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, number, 0u32) };
        let descriptor = RawFd::try_from(result).map_err(|_| Errno::new(libc::EBADF)).and_then(checked)?;
        // SAFETY:
        // - live: the kernel just gave us this descriptor, and nobody else knows it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { descriptor, id })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Whether it has ended. One system call, which does not wait.
    pub(crate) fn has_ended(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY:
        // - live: `poll` outlives the call.
        // - bounds: one entry is told and one there is.
        // - alias: `poll` is ours alone while the kernel writes it.
        let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
        ready == 1 && poll.revents & (libc::POLLIN | libc::POLLHUP) != 0
    }

    /// Opens one of its files by number, through /proc. Needs PTRACE_MODE_READ rights over it: the same user, or root.
    pub(crate) fn open_file(&self, number: i32, writable: bool) -> Result<File, Errno> {
        let path = format!("/proc/{}/fd/{number}", self.id);
        OpenOptions::new()
            .read(true)
            .write(writable)
            .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| Errno::new(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}
