//! What can go wrong with a log.

use crate::clients::mirrored_log::area::{RING_BYTES_MAX, RING_BYTES_MIN};
use crate::clients::mirrored_log::header::HeaderFault;
use crate::clients::mirrored_log::{History, Lsn};
use crate::error::Recovery;
use crate::memory::Errno;

/// A log could not be made, opened or read. A log that ends early is none of these: see
/// [`StoppedAt`](crate::clients::mirrored_log::StoppedAt).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// A length that no ring can have.
    #[error(
        "a ring of {bytes} bytes cannot be: ask for a power of two, from {RING_BYTES_MIN} to {RING_BYTES_MAX} bytes"
    )]
    RingBytes {
        /// The length asked for.
        bytes: u64,
    },
    /// Neither copy of the header is good.
    #[error("no log is there, or its headers are lost: copy 0 {copy0}, copy 1 {copy1}")]
    Headers {
        /// What is wrong with copy 0.
        copy0: HeaderFault,
        /// What is wrong with copy 1.
        copy1: HeaderFault,
    },
    /// The bytes end before the log does.
    #[error("{bytes} bytes are too few: the log takes {needed}; was the file cut short?")]
    Short {
        /// How many there are.
        bytes: u64,
        /// How many it takes.
        needed: u64,
    },
    /// Bytes could not be read.
    #[error("{tried}: {errno}")]
    Read {
        /// What was tried, on what.
        tried: String,
        /// What the system answered.
        errno: Errno,
    },
    /// A position where the ring has no record.
    #[error("no record of this log begins at lsn {lsn}: it takes a multiple of 32 from {tail} to {limit}")]
    Position {
        /// The position asked for.
        lsn: Lsn,
        /// The first that is kept.
        tail: Lsn,
        /// One ring further.
        limit: Lsn,
    },
    /// The writer has freed what was to be read next.
    #[error(
        "the log was truncated up to lsn {tail}, past lsn {lsn}, which was to be read next: begin anew, from a base image"
    )]
    Overrun {
        /// What was to be read next.
        lsn: Lsn,
        /// The first that is kept.
        tail: Lsn,
    },
    /// Another log has taken the place of the one that was being read.
    #[error("another log, of history {found}, is in the place of the one of history {known}: begin anew")]
    Replaced {
        /// The log that was read.
        known: History,
        /// The log that is there.
        found: History,
    },
}

impl LogError {
    /// What the caller can do about it.
    pub fn recovery(&self) -> Recovery {
        match self {
            LogError::RingBytes { .. }
            | LogError::Headers { .. }
            | LogError::Short { .. }
            | LogError::Read { .. }
            | LogError::Position { .. }
            | LogError::Overrun { .. }
            | LogError::Replaced { .. } => Recovery::Fatal,
        }
    }
}
