//! The area a log takes: headers, replies, ring; the same in its owner's memory, in the partner's grant and in a file.
//!
//! ```text
//!    0  header, copy 0 (128 bytes)
//!  256  what the partner reports of its copy (128 bytes)
//!  512  up to where the partner has it on disk (one word)
//! 1024  in a file: whose it is (256 bytes)
//! 1280  in a file: when it was written, and whether its log ended in order (64 bytes)
//! 4096  header, copy 1: in another page and sector, so that one torn write of a file never takes both
//! 8192  the ring
//! ```

use crate::clients::mirrored_log::{LogError, Lsn};

/// Where the two copies of the header begin.
pub const HEADER_OFFSETS: [u64; 2] = [0, 4096];
/// Where the partner writes its [`CopyReport`](crate::clients::mirrored_log::CopyReport).
pub const REPORT_OFFSET: u64 = 256;
/// A word of 8 bytes: the partner has written and synced everything before this lsn.
pub const PERSISTED_OFFSET: u64 = 512;
/// Where a file that keeps a copy says whose copy it is.
pub const OWNER_OFFSET: u64 = 1024;
/// Where the file of a ring says when it was written, and whether its log ended in order.
pub const EVIDENCE_OFFSET: u64 = 1280;
/// Where the ring begins.
pub const RING_OFFSET: u64 = 8192;
/// The smallest ring: 64 KiB.
pub const RING_BYTES_MIN: u64 = 64 << 10;
/// The largest ring: 64 GiB.
pub const RING_BYTES_MAX: u64 = 64 << 30;

/// Length of a ring: a power of two from 64 KiB to 64 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingBytes(u64);

impl RingBytes {
    /// Checks a length.
    ///
    /// # Errors
    /// [`LogError::RingBytes`] where it is no power of two, or out of bounds.
    pub const fn new(bytes: u64) -> Result<Self, LogError> {
        if bytes.is_power_of_two() && bytes >= RING_BYTES_MIN && bytes <= RING_BYTES_MAX {
            Ok(Self(bytes))
        } else {
            Err(LogError::RingBytes { bytes })
        }
    }

    /// The length, bytes.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Length of the whole area: what comes before the ring, and the ring.
    #[inline]
    #[must_use]
    pub const fn area_bytes(self) -> u64 {
        RING_OFFSET + self.0
    }

    /// Bytes of the longest record, header and all: a quarter of the ring.
    #[inline]
    #[must_use]
    pub const fn record_bytes_max(self) -> u64 {
        self.0 / 4
    }

    /// Where in the ring a position lies, from 0.
    #[inline]
    #[must_use]
    pub const fn offset_of(self, lsn: Lsn) -> u64 {
        lsn.0 & (self.0 - 1)
    }

    /// Bytes from a position to the ring's end: never 0.
    #[inline]
    #[must_use]
    pub const fn bytes_to_end(self, lsn: Lsn) -> u64 {
        self.0 - self.offset_of(lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_within_bounds_are_rings() {
        for bytes in [RING_BYTES_MIN, 1 << 20, RING_BYTES_MAX] {
            assert_eq!(RingBytes::new(bytes).map(RingBytes::get), Ok(bytes));
        }
        for bytes in [0, 1, RING_BYTES_MIN / 2, RING_BYTES_MIN + 32, 3 << 20, RING_BYTES_MAX * 2, u64::MAX] {
            assert_eq!(RingBytes::new(bytes), Err(LogError::RingBytes { bytes }));
        }
    }

    #[test]
    fn positions_go_round() -> Result<(), LogError> {
        let ring = RingBytes::new(65536)?;
        assert_eq!(ring.area_bytes(), 65536 + 8192);
        assert_eq!((ring.offset_of(Lsn(65536 + 32)), ring.bytes_to_end(Lsn(65536 + 32))), (32, 65536 - 32));
        assert_eq!((ring.offset_of(Lsn(u64::MAX)), ring.bytes_to_end(Lsn(65536))), (65535, 65536));
        Ok(())
    }
}
