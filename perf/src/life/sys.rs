//! The system calls by which a partner's life ends here: signals, a fork, a core dump's limit.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(crate) use libc::{SIGABRT, SIGCONT, SIGKILL, SIGSTOP};

/// A forked child ends by itself after this, should nobody end it.
const CHILD_SECONDS_MAX: u32 = 120;

fn outcome(code: i32) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to a child of ours that nobody has waited for yet.
pub(crate) fn signal(process: u32, signal: i32) -> io::Result<()> {
    // SAFETY:
    // - thread: touches no memory; the number is of a child that is not reaped yet.
    outcome(unsafe { libc::kill(process as i32, signal) })
}

/// Whether a child is stopped by now (`waitid(2)`); does not reap one that has ended.
pub(crate) fn is_stopped(process: u32) -> io::Result<bool> {
    // SAFETY:
    // - bounds: plain words, for which all zeroes is a value.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let wanted = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY:
    // - live, alias: `found` is a local that outlives the call.
    let code = unsafe { libc::waitid(libc::P_PID, process, &raw mut found, wanted) };
    outcome(code)?;
    // SAFETY:
    // - bounds: the kernel wrote a child's fields, or left the zeroes.
    Ok(unsafe { found.si_pid() } != 0)
}

/// Lets this process dump core, whatever its size.
pub(crate) fn allow_core() -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY:
    // - live: `limit` is a local that outlives the call.
    outcome(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) })
}

/// Forks a child that holds all this process has, until the standard input has no writer left.
pub(crate) fn fork_child() -> io::Result<()> {
    // SAFETY:
    // - thread: the child has this thread alone, and makes plain system calls until it ends.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        live_on();
    }
    Ok(())
}

fn live_on() -> ! {
    // SAFETY:
    // - thread: a plain system call.
    unsafe { libc::alarm(CHILD_SECONDS_MAX) };
    let mut byte = [0u8; 1];
    loop {
        // SAFETY:
        // - live, alias, bounds: one byte of a local that outlives the call.
        let read = unsafe { libc::read(0, byte.as_mut_ptr().cast(), 1) };
        if read <= 0 {
            break;
        }
    }
    // SAFETY:
    // - thread: ends this process, which has one thread, without any destructor.
    unsafe { libc::_exit(0) }
}

/// Bytes that a folder's filesystem has room for.
pub(crate) fn room(folder: &Path) -> io::Result<u64> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY:
    // - bounds: plain words, for which all zeroes is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY:
    // - live, alias: both are locals that outlive the call; the path ends with a zero.
    outcome(unsafe { libc::statvfs(path.as_ptr(), &raw mut found) })?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
