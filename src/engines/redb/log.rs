//! What the backend needs of a log.

use crate::clients::mirrored_log::Lsn;
use std::io;
use std::time::Instant;

/// A record was not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// There was no room by the deadline.
    Full,
    /// The log takes records of so many bytes at most.
    TooLong { max: usize },
    /// It takes none now, or never again.
    Closed(String),
    /// What was to go into the record could not be read.
    Source(io::Error),
}

/// What writes a record's payload in place.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(&mut [u8]) -> io::Result<()>;

/// The log under a mirrored file.
pub(crate) trait Log: std::fmt::Debug + Send + Sync + 'static {
    /// Appends a record of `bytes` bytes that `fill` writes in place.
    fn append(&self, bytes: usize, deadline: Instant, fill: Fill<'_>) -> Result<Lsn, AppendError>;
    /// Waits until the record is durable. False where it is not by the deadline.
    fn wait(&self, lsn: Lsn, deadline: Instant) -> Result<bool, String>;
    /// Frees what nobody needs any more.
    fn free(&self);
    /// Whether the partner can apply nothing before it has the whole file, though it has read past `lsn`.
    fn needs_image_after(&self, lsn: Option<Lsn>) -> bool;
    /// What the partner has applied lies before this.
    fn applied(&self) -> Option<Lsn>;
}
