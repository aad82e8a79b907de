//! Durable files: the one place where the library writes what must outlive a process.
//!
//! Imports `sys` alone. Three rules are kept here, by types:
//!
//! - **Only a sync makes a thing durable.** `OnDisk` comes from `Durable::sync` and nowhere else,
//!   and covers what this process wrote through this handle. After one failed write or sync the
//!   handle gives no other: the kernel marks pages clean whose write-back failed (fsync(2), errors),
//!   so that a second try would succeed with nothing on the disk. Whoever goes on begins a new file.
//!   For the same reason a reopened file vouches for nothing: its bytes may be in the page cache alone.
//! - **A name is one user's.** `Place` holds a lock beside the file and one on it, follows symbolic
//!   links once, and a file says whose it is (`Owner`); a file of somebody else is refused, and never
//!   replaced. The same goes for the names beside it: what lies there and is not ours stays.
//! - **The name still means this file.** Each sync looks, after it, whether the file was removed,
//!   replaced or cut short meanwhile: bytes that nobody finds again are on no disk that counts.
//!
//! What is in memory is on no disk: a file on tmpfs is refused, though every sync of it succeeds.
//!
//! What the system does is behind `Disk`, so that tests can let every single call fail.

mod disk;
mod durable;
mod error;
#[cfg(feature = "redb")]
mod folder;
mod lock;
mod meant;
mod owner;
mod place;
#[cfg(test)]
pub(crate) mod simulated;
mod small;
mod swap;

pub(crate) use disk::{Disk, DiskFile, FileStat, System};
pub(crate) use durable::{Durable, OnDisk};
pub use error::StorageError;
#[cfg(feature = "redb")]
pub(crate) use folder::{Folder, LOCK};
pub(crate) use lock::Lock;
pub(crate) use meant::{Meant, Name, check_still};
pub(crate) use owner::{OWNER_BYTES, Owner};
pub(crate) use place::Place;
pub(crate) use small::{Small, beside, is_numbers, with_suffix};
pub(crate) use swap::{put_in_place, sync_name};
