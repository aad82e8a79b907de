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
            .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map_err(|error| Errno::new(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

/// The first of several processes that has ended. One system call, which does not wait; none where there is nobody to ask about.
pub(crate) fn any_ended<const N: usize>(processes: [Option<&Process>; N]) -> Option<usize> {
    if processes.iter().all(Option::is_none) {
        return None;
    }
    // The kernel passes over entries whose descriptor is negative.
    let mut polls = processes.map(|process| libc::pollfd {
        fd: process.map_or(-1, |process| process.descriptor.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY:
    // - live: `polls` outlives the call.
    // - bounds: `N` entries are told and `N` there are.
    // - alias: `polls` is ours alone while the kernel writes it.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), N as libc::nfds_t, 0) };
    if ready <= 0 { None } else { polls.iter().position(|poll| poll.revents != 0) }
}

/// The user this process acts as.
pub(crate) fn effective_user() -> u32 {
    // SAFETY:
    // - live: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}
