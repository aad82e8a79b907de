//! The thin unsafe layer: every system call of handfast that the standard library and `memmap2` do not offer safely.
//!
//! Imports nothing of the other layers. Functions here take and give owned descriptors and plain numbers; the raw pointers of a mapping
//! stay in `memory` and in the fabrics' backends.
#![allow(unsafe_code)]

mod cgroup;
#[cfg(test)]
pub(crate) mod ending;
mod errno;
pub(crate) mod file;
pub(crate) mod life;
pub(crate) mod memory;
pub(crate) mod panic;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod thread;
pub(crate) mod ticks;
#[cfg(feature = "verbs")]
pub(crate) mod verbs;

pub use errno::Errno;

/// The result of a system call: an error where it returned a negative number.
pub(crate) fn checked(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}
