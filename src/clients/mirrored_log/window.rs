//! What a reader has copied out: one stretch of the ring, in pieces that grow as it reads on.

use crate::clients::mirrored_log::record::{RECORD_HEADER_BYTES, RecordHeader};
use crate::clients::mirrored_log::{LogError, Source};

/// The first piece: whoever reads one record does not pay for many.
const PIECE_BYTES_MIN: usize = 4 << 10;
/// The largest piece, and the longest record that is copied out before its checksum is known to be right.
pub(super) const PIECE_BYTES_MAX: usize = 256 << 10;

// Lengths and offsets within a ring of 64 GiB.
const _: () = assert!(usize::BITS >= 64);

/// One stretch of an area, copied out.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    /// Where it begins in the area.
    from: u64,
    /// How much of `bytes` it takes.
    filled: usize,
    /// How much to copy out next time.
    piece: usize,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { bytes: Vec::new(), from: 0, filled: 0, piece: PIECE_BYTES_MIN }
    }

    /// Forgets what was copied out, and starts with small pieces again.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
        self.piece = PIECE_BYTES_MIN;
    }

    /// What was copied out, if all of it was.
    #[inline]
    pub(super) fn held(&self, at: u64, length: usize) -> Option<&[u8]> {
        let start = usize::try_from(at.checked_sub(self.from)?).ok()?;
        self.bytes.get(..self.filled)?.get(start..)?.get(..length)
    }

    /// Makes `length` bytes from `at` on held; at most `room` bytes are there to copy. `fresh`: what is held already may be older than the
    /// source. Allocates only where the piece is longer than any before.
    #[inline]
    pub(super) fn fetch(
        &mut self,
        source: &(impl Source + ?Sized),
        at: u64,
        length: usize,
        room: u64,
        fresh: bool,
    ) -> Result<(), LogError> {
        if !fresh && self.held(at, length).is_some() {
            return Ok(());
        }
        let piece = length.max(self.piece.min(usize::try_from(room).unwrap_or(usize::MAX)));
        if !fresh {
            self.piece = (self.piece * 2).min(PIECE_BYTES_MAX);
        }
        self.fill(source, at, piece)
    }

    fn fill(&mut self, source: &(impl Source + ?Sized), at: u64, length: usize) -> Result<(), LogError> {
        self.filled = 0;
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
        source.read(at, &mut self.bytes[..length])?;
        (self.from, self.filled) = (at, length);
        Ok(())
    }

    /// The header and the checksum of a record that covers `covered` bytes from `at` on, read piece by piece: a length that is wrong makes
    /// nobody allocate. Nothing is held after it.
    pub(super) fn checksum(
        &mut self,
        source: &(impl Source + ?Sized),
        at: u64,
        covered: u64,
    ) -> Result<(Option<RecordHeader>, u32), LogError> {
        let (mut header, mut checksum, mut done) = (None, 0, 0);
        while done < covered {
            let length = (covered - done).min(PIECE_BYTES_MAX as u64) as usize;
            self.fill(source, at + done, length)?;
            let mut piece = &self.bytes[..length];
            if done == 0 {
                header = RecordHeader::of(piece);
                // The checksum's own bytes.
                piece = piece.get(size_of::<u32>()..).unwrap_or_default();
            }
            checksum = crc32c::crc32c_append(checksum, piece);
            done += length as u64;
        }
        self.filled = 0;
        Ok((header, checksum))
    }
}

const _: () = assert!(PIECE_BYTES_MIN > RECORD_HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::mirrored_log::record;

    #[test]
    fn pieces_grow_and_stay_within_the_room() -> Result<(), LogError> {
        let bytes = vec![1; 1 << 20];
        let mut window = Window::new();
        assert_eq!(window.held(0, 0), Some(&[][..]));
        assert_eq!(window.held(0, 1), None);
        window.fetch(&bytes, 64, 32, 1 << 20, false)?;
        assert!(window.held(64, 4096).is_some() && window.held(64, 4097).is_none() && window.held(63, 1).is_none());
        window.fetch(&bytes, 8192, 32, 100, false)?;
        assert!(window.held(8192, 100).is_some() && window.held(8192, 101).is_none());
        window.fetch(&bytes, 0, 32, 1 << 20, false)?;
        assert!(window.held(0, 16384).is_some() && window.held(u64::MAX, 1).is_none());
        window.fetch(&bytes, 0, 300 << 10, 1 << 20, false)?;
        assert!(window.held(0, 300 << 10).is_some());
        Ok(())
    }

    #[test]
    fn what_is_held_is_read_again_when_it_must_be_fresh() -> Result<(), LogError> {
        let mut window = Window::new();
        window.fetch(&vec![1; 8192], 0, 32, 8192, false)?;
        let newer = vec![2; 8192];
        window.fetch(&newer, 32, 32, 8160, false)?;
        assert_eq!(window.held(32, 1), Some(&[1][..]));
        window.fetch(&newer, 32, 32, 8160, true)?;
        assert_eq!((window.held(32, 1), window.held(0, 1)), (Some(&[2][..]), None));
        assert!(window.fetch(&newer, 8000, 200, 200, true).is_err());
        assert_eq!(window.held(32, 1), None, "after a failed read nothing counts");
        Ok(())
    }

    #[test]
    fn a_checksum_in_pieces_is_that_of_the_whole() -> Result<(), LogError> {
        for length in [32, 33, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 3 * PIECE_BYTES_MAX + 77] {
            let bytes: Vec<u8> = (0..length).map(|index| (index * 7 % 256) as u8).collect();
            let (header, checksum) = Window::new().checksum(&bytes, 0, length as u64)?;
            assert_eq!((header, checksum), (RecordHeader::of(&bytes), record::checksum(&bytes)), "{length}");
        }
        Ok(())
    }
}
