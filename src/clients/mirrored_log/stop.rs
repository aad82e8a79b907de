//! Where the valid prefix of a log ends, and why there.

use crate::clients::mirrored_log::record::{RECORD_HEADER_BYTES, RecordHeader};
use crate::clients::mirrored_log::{Generation, LogHeader, Lsn};
use std::fmt;

/// Where reading stopped: every record before this was whole, in order, of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoppedAt {
    /// The position at which there is no whole record: the end of the valid prefix.
    pub lsn: Lsn,
    /// The generation of the last record before it; where none was read, the one that reading began with.
    pub generation: Generation,
    /// What is in its place.
    pub why: StopReason,
}

impl fmt::Display for StoppedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lsn {}: {}", self.lsn, self.why)
    }
}

/// Why there is no whole record at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// No record was written there: zeroes, what was there a lap ago, or the remains of either under a longer record.
    NothingThere {
        /// The lsn that stands there.
        found: Lsn,
    },
    /// The right lsn, and a kind that no record has.
    Kind {
        /// The number that stands there.
        found: u32,
    },
    /// A record of another log.
    History {
        /// The low half of its history.
        found: u64,
    },
    /// A record of an older generation than the one before it: left over from a writer that is gone.
    GenerationFell {
        /// Its generation.
        found: Generation,
        /// The generation of the record before it.
        before: Generation,
    },
    /// A record of a newer generation than the header knows: the header is older than it.
    GenerationAhead {
        /// Its generation.
        found: Generation,
        /// The header's.
        header: Generation,
    },
    /// A length that no record there can have: across the ring's end or past what the ring can hold,
    /// more than a quarter of the ring, or a padding that ends elsewhere than the ring.
    Length {
        /// The length that stands there, bytes.
        found: u32,
    },
    /// A wrong checksum: the record was not written to its end, or is damaged.
    Checksum {
        /// The checksum that stands there.
        found: u32,
        /// That of the bytes.
        computed: u32,
    },
    /// Nothing is missing: all that the ring can hold was read.
    RingFull,
}

impl StopReason {
    /// One word for programs: `nothing-there`, `kind`, `history`, `generation-fell`, `generation-ahead`, `length`, `checksum`, `ring-full`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            StopReason::NothingThere { .. } => "nothing-there",
            StopReason::Kind { .. } => "kind",
            StopReason::History { .. } => "history",
            StopReason::GenerationFell { .. } => "generation-fell",
            StopReason::GenerationAhead { .. } => "generation-ahead",
            StopReason::Length { .. } => "length",
            StopReason::Checksum { .. } => "checksum",
            StopReason::RingFull => "ring-full",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopReason::NothingThere { found: Lsn(0) } => f.write_str("no record was written there"),
            StopReason::NothingThere { found } => {
                write!(f, "no record of that lsn is there; what is there says lsn {found}")
            }
            StopReason::Kind { found } => write!(f, "the record is of kind {found}, which there is not"),
            StopReason::History { found } => {
                write!(f, "the record is of another log, whose history ends in {found:016x}")
            }
            StopReason::GenerationFell { found, before } => {
                write!(
                    f,
                    "the record is of generation {found}, older than {before} of the one before it: left over from a writer that is gone"
                )
            }
            StopReason::GenerationAhead { found, header } => {
                write!(f, "the record is of generation {found}, newer than {header} of the header")
            }
            StopReason::Length { found } => write!(f, "no record there can have {found} bytes"),
            StopReason::Checksum { found, computed } => write!(
                f,
                "the record's checksum is {found:#010x} and that of its bytes {computed:#010x}: not written to its end, or damaged"
            ),
            StopReason::RingFull => f.write_str("all that the ring can hold was read"),
        }
    }
}

/// Whether a header that was copied out from `at` can be that of the next record; its size then. Its checksum is another matter.
#[inline]
pub(super) fn judge(found: &RecordHeader, log: &LogHeader, at: Lsn, before: Generation) -> Result<u64, StopReason> {
    if found.lsn != at {
        return Err(StopReason::NothingThere { found: found.lsn });
    }
    let Some(size) = found.size() else {
        // Zeroes have the right lsn at the start of a log.
        let blank = at == Lsn::ZERO && *found == RecordHeader::decode(&[0; RECORD_HEADER_BYTES]);
        return Err(if blank {
            StopReason::NothingThere { found: at }
        } else {
            StopReason::Kind { found: found.kind }
        });
    };
    if found.history != log.history.low() {
        return Err(StopReason::History { found: found.history });
    }
    if found.generation < before {
        return Err(StopReason::GenerationFell { found: found.generation, before });
    }
    if found.generation > log.generation {
        return Err(StopReason::GenerationAhead { found: found.generation, header: log.generation });
    }
    let to_end = log.ring_bytes.bytes_to_end(at);
    let held = log.limit().bytes_since(at).unwrap_or(0);
    // No writer makes a longer one, so a length that somebody else announces is no reason to
    // allocate more. A padding is never read, and is shorter than the record that did not fit.
    let longest = log.ring_bytes.record_bytes_max();
    let fits = size <= to_end && size <= held && if found.is_padding() { size == to_end } else { size <= longest };
    if fits { Ok(size) } else { Err(StopReason::Length { found: found.length }) }
}
