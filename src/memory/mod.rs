//! Pinned memory: regions, the buffers cut from them, and copies in and out of memory that somebody else may write.
//!
//! Imports `sys` alone. Three kinds of access never mix:
//! - [`Region`] may be written by the partner at any moment, so it hands out no references, only copies and 8-byte words;
//! - [`Buffer`] is a stretch of private memory with one owner, so that owner gets slices, and a port that holds it for an operation takes it by value;
//! - [`Ring`] is memory that producers fill and one reader sends: each stretch has one owner, and what a port may read of it is a [`Loan`].
#![allow(unsafe_code)]

mod buffer;
mod copy;
mod error;
mod loan;
mod mapping;
mod region;
mod registered;
mod ring;

pub use crate::sys::Errno;
pub use buffer::Buffer;
pub(crate) use copy::{copy_between_shared, copy_from_shared, copy_to_shared};
pub use error::MemoryError;
pub use loan::{Loan, RingSource};
pub use region::{Backing, HugePages, Region, RegionBuilder};
pub(crate) use registered::{LocalKey, Registration};
pub use ring::{InPlace, Ring, RingFull, RingReader, RingSpan};
