//! The numbers that name a place in a log, and a log among logs; and how high each may be.
//!
//! Imports the sizes of `record` alone.
//!
//! # Limits
//!
//! Whatever this node writes, both nodes must be able to read. Each number that the partner sends
//! is stepped past here and sent back, so no single limit would do. They form a ladder:
//!
//! - A report of the partner counts up to [`RECEIVED_MAX`], or up to what this node has counted
//!   itself: an honest partner reports this node's own numbers.
//! - A log opens with numbers up to [`OPENED_MAX`]. What one process adds in its life does not
//!   reach [`NUMBER_MAX`].
//! - Headers, records, reports and term files hold numbers up to [`NUMBER_MAX`]. `next()` gives
//!   none beyond that, and the caller returns an error by name: no number repeats, none stays.
//! - A takeover takes the term after the highest that a header can hold: [`TAKEN_MAX`]. It is only
//!   ever compared. Nobody writes under it, so it needs no successor.
//!
//! Each rung lies so far above the one before that no machine counts from one to the next.
//! Generations are 32 bits and rise once a start: theirs are [`GENERATION_RECEIVED_MAX`] and
//! [`GENERATION_MAX`].

use crate::clients::mirrored_log::record::RECORD_ALIGN;
use std::fmt;

/// The highest position, sequence and term that is written, and so the highest that is read.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

/// The highest position and sequence that a log opens with.
pub(super) const OPENED_MAX: u64 = 1 << 61;

/// The highest position, sequence and term that is believed of the partner.
pub(super) const RECEIVED_MAX: u64 = 1 << 60;

/// The highest term of a takeover.
pub(super) const TAKEN_MAX: u64 = NUMBER_MAX + 1;

/// The highest generation that is written, and so the highest that is read.
pub(super) const GENERATION_MAX: u32 = u32::MAX - 1;

/// The highest generation that is believed of the partner.
pub(super) const GENERATION_RECEIVED_MAX: u32 = u32::MAX / 2;

/// Log sequence number: the position of a record in an endless stream of bytes, from 0. A multiple of 32 wherever a record begins.
///
/// Shown in decimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The first position of every log.
    pub const ZERO: Self = Self(0);

    /// The position `bytes` further on; none past the end of 64 bits.
    #[inline]
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(position) => Some(Self(position)),
            None => None,
        }
    }

    /// Bytes from `earlier` to here; none where `earlier` is later.
    #[inline]
    #[must_use]
    pub const fn bytes_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// Whether a record can begin here: a multiple of 32.
    #[inline]
    #[must_use]
    pub const fn is_aligned(self) -> bool {
        self.0.is_multiple_of(RECORD_ALIGN)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who may write alone: a number from the arbiter, higher with each holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Term(pub u64);

impl Term {
    /// The next one to write under; none past 2^62, which no header holds.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 < NUMBER_MAX { Some(Self(self.0 + 1)) } else { None }
    }

    /// Whether a log can be written under it.
    pub(super) const fn is_valid(self) -> bool {
        self.0 <= NUMBER_MAX
    }

    /// The term of a takeover after this one; none where no log can be written under this one.
    pub(super) const fn taken_after(self) -> Option<Self> {
        if self.is_valid() { Some(Self(self.0 + 1)) } else { None }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One writer's stretch of a log: one higher each time a writer begins to write, after a restart or when it goes on alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u32);

impl Generation {
    /// The next one; none past 2^32 - 2, the highest that a header holds.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        if self.0 < GENERATION_MAX { Some(Self(self.0 + 1)) } else { None }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which log: a random number, made when a log is created for the first time. Copies of different histories are never mixed.
///
/// Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct History(pub u128);

impl History {
    /// The low half: what each record carries.
    #[inline]
    #[must_use]
    pub const fn low(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "History({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_bytes_and_never_wrap() {
        assert_eq!(Lsn(64).checked_add(32), Some(Lsn(96)));
        assert_eq!(Lsn(u64::MAX - 31).checked_add(32), None);
        assert_eq!(Lsn(96).bytes_since(Lsn(64)), Some(32));
        assert_eq!(Lsn(64).bytes_since(Lsn(96)), None);
        assert!(Lsn(64).is_aligned() && !Lsn(65).is_aligned());
    }

    #[test]
    fn a_step_leads_to_what_can_be_written_or_nowhere() {
        assert_eq!(Generation(GENERATION_MAX - 1).next(), Some(Generation(GENERATION_MAX)));
        assert_eq!((Generation(GENERATION_MAX).next(), Generation(u32::MAX).next()), (None, None));
        assert_eq!(Term(NUMBER_MAX - 1).next(), Some(Term(NUMBER_MAX)));
        assert_eq!((Term(NUMBER_MAX).next(), Term(u64::MAX).next()), (None, None));
        assert_eq!(Term(NUMBER_MAX).taken_after(), Some(Term(TAKEN_MAX)));
        assert_eq!((Term(TAKEN_MAX).taken_after(), Term(u64::MAX).taken_after()), (None, None));
    }

    #[test]
    fn they_are_shown_plainly() {
        assert_eq!(format!("{:>6}", Lsn(4096)), "  4096");
        assert_eq!(History(0xab).to_string(), "000000000000000000000000000000ab");
        assert_eq!(format!("{:?}", History(1)), "History(00000000000000000000000000000001)");
        assert_eq!(History(0xffff_0000_0000_0000_0005).low(), 5);
    }
}
