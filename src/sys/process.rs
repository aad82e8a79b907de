//! Whose process this is, whether another lives, and its files.

use crate::sys::{Errno, checked};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// The user whose rights this process acts with.
pub(crate) fn effective_user() -> u32 {
    // SAFETY:
    // - live: the call takes no pointer and cannot fail.
    unsafe { libc::geteuid() }
}

/// The PID namespace of this process, by the number that tells it from others; 0 where /proc does not say.
pub(crate) fn namespace() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/pid").map_or(0, |found| found.ino() as u32)
}

/// Whether /proc shows the PID namespace of this process: a number there means the process that it means here. After `unshare --pid` without
/// `--mount-proc` it shows the one before.
pub(crate) fn sees_itself() -> bool {
    let own = std::fs::read_link("/proc/self");
    own.is_ok_and(|own| own.to_str() == Some(std::process::id().to_string().as_str()))
}

/// Lets processes of the same user and the same capabilities look at this one's files again, after the kernel took that away at its
/// start (`PR_SET_DUMPABLE`, prctl(2)).
pub(crate) fn make_dumpable() -> Result<(), Errno> {
    // SAFETY:
    // - thread: sets an attribute of this process; no pointer is passed.
    checked(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) }).map(|_| ())
}

/// Why the files of another process cannot be looked at, as far as /proc tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlike {
    /// It acts for this user.
    User(u32),
    /// It may do what this process may not (capabilities(7)).
    Capabilities,
    /// It is not dumpable.
    Undumpable,
}

/// What keeps this process from looking at the files of another; none where /proc does not tell.
pub(crate) fn unlike(id: u32) -> Option<Unlike> {
    use std::os::unix::fs::MetadataExt;
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let ours = std::fs::read_to_string("/proc/self/status").ok()?;
    fn words<'a>(text: &'a str, key: &str) -> Option<std::str::SplitWhitespace<'a>> {
        text.lines().find_map(|line| line.strip_prefix(key)).map(str::split_whitespace)
    }
    let user: u32 = words(&status, "Uid:")?.nth(1)?.parse().ok()?;
    if effective_user() != 0 && user != effective_user() {
        return Some(Unlike::User(user));
    }
    let set = |text: &str, key| u64::from_str_radix(words(text, key)?.next()?, 16).ok();
    if set(&status, "CapPrm:")? & !set(&ours, "CapEff:")? != 0 {
        return Some(Unlike::Capabilities);
    }
    // Of one that is not, the kernel gives its entries to root.
    let owner = std::fs::metadata(format!("/proc/{id}/fd")).ok()?.uid();
    (owner != user).then_some(Unlike::Undumpable)
}

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

    /// Opens one of its ordinary files (or memory files) by number, through /proc; EINVAL for others. Needs PTRACE_MODE_READ rights over it: the same user, or root.
    pub(crate) fn open_file(&self, number: i32, writable: bool) -> Result<File, Errno> {
        let failed = |error: std::io::Error| Errno::from(&error);
        let path = format!("/proc/{}/fd/{number}", self.id);
        // Looked at before it is really opened: opening a device has effects, and the number is the other process's word.
        let named = OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC | libc::O_PATH).open(path);
        let named = named.map_err(failed)?;
        if !named.metadata().map_err(failed)?.is_file() {
            return Err(Errno::new(libc::EINVAL));
        }
        OpenOptions::new()
            .read(true)
            .write(writable)
            .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(format!("/proc/self/fd/{}", named.as_raw_fd()))
            .map_err(failed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_that_was_killed_has_ended() -> Result<(), Box<dyn std::error::Error>> {
        let mut child = Command::new("sleep").arg("100").stdin(Stdio::null()).spawn()?;
        let process = Process::open(child.id()).map_err(|errno| errno.to_string())?;
        assert_eq!((process.id(), process.has_ended()), (child.id(), false));
        child.kill()?;
        // Ended already while nobody has waited for it: that is what a partner's death looks like to us.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !process.has_ended() && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(process.has_ended());
        child.wait()?;
        assert!(process.has_ended());
        assert_eq!(process.open_file(0, false).map(|_| ()), Err(Errno::new(libc::ENOENT)));
        Ok(())
    }

    #[test]
    fn numbers_that_name_no_process_are_errors() {
        assert_eq!(Process::open(u32::MAX).map(|_| ()), Err(Errno::new(libc::ESRCH)));
        assert!(Process::open(0).is_err());
    }

    #[test]
    fn what_keeps_two_processes_apart_is_told() -> Result<(), Box<dyn std::error::Error>> {
        assert_eq!(unlike(std::process::id()), None);
        assert_eq!(unlike(u32::MAX), None, "nobody");
        assert_ne!(namespace(), 0);
        assert!(sees_itself());
        Ok(())
    }

    #[test]
    fn files_are_opened_by_number_with_the_rights_asked_for() -> Result<(), Box<dyn std::error::Error>> {
        let mut file = tempfile::tempfile()?;
        file.write_all(b"over there")?;
        let process = Process::open(std::process::id()).map_err(|errno| errno.to_string())?;
        let same = process.open_file(file.as_raw_fd(), false).map_err(|errno| errno.to_string())?;
        let mut bytes = [0; 10];
        same.read_exact_at(&mut bytes, 0)?;
        assert_eq!(&bytes, b"over there");
        let refused = same.write_at(b"x", 0).map_err(|error| Errno::from(&error));
        assert_eq!(refused, Err(Errno::new(libc::EBADF)));
        let writable = process.open_file(file.as_raw_fd(), true).map_err(|errno| errno.to_string())?;
        assert_eq!(writable.write_at(b"x", 0)?, 1);
        assert_eq!(process.open_file(1 << 30, false).map(|_| ()), Err(Errno::new(libc::ENOENT)));
        Ok(())
    }
}
