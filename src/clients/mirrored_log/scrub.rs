//! Empties what the partner's copy still holds of something else, before it is filled anew: a record of an earlier writer that happened to lie where
//! this log ends would read as the next one.

use super::area::{RING_OFFSET, RingBytes};
use super::error::LogError;
use super::lsn::Lsn;
use super::wire::Wire;
use crate::fabric::{Fabric, Remote};
use crate::memory::{Buffer, Region};
use crate::session::Session;

/// Bytes of one WRITE, and WRITEs on their way at once.
const PIECE_BYTES: usize = 64 << 10;
const PIECES: usize = 8;

/// Emptying a copy.
#[derive(Debug)]
pub(super) struct Scrub {
    ring_bytes: RingBytes,
    at: Lsn,
    end: Lsn,
    free: Vec<Buffer>,
}

impl Scrub {
    /// Prepares to empty `from..to` of a ring of these bytes.
    pub(super) fn new<F: Fabric>(
        ring_bytes: RingBytes,
        from: Lsn,
        to: Lsn,
        session: &Session<F>,
    ) -> Result<Self, LogError> {
        let wrong = |error: crate::error::Error| LogError::Session(error.to_string());
        // New private memory holds zeroes.
        let region =
            Region::builder(PIECE_BYTES * PIECES).pinned(false).build().map_err(|error| wrong(error.into()))?;
        let free = session.buffer(region).map_err(wrong)?.split_into(PIECE_BYTES);
        Ok(Self { ring_bytes, at: from, end: to, free })
    }

    /// A piece is the log's again.
    pub(super) fn done(&mut self, mut piece: Buffer) {
        piece.restore();
        self.free.push(piece);
    }

    /// Goes on; true when all of it is posted. What is posted later lands later.
    pub(super) fn advance<F: Fabric>(&mut self, wire: &mut Wire<F>) -> Result<bool, LogError> {
        while self.at < self.end {
            let (offset, lap) =
                (RING_OFFSET + self.ring_bytes.offset_of(self.at), self.ring_bytes.bytes_to_end(self.at));
            let room = wire.grant().len().saturating_sub(offset);
            let left = (self.end.0 - self.at.0).min(lap);
            if room == 0 {
                // A larger ring was held once than is granted now: nothing of this lies in the grant.
                self.at = Lsn(self.at.0 + left);
                continue;
            }
            if wire.room() < 16 {
                return Ok(false);
            }
            let Some(mut piece) = self.free.pop() else { return Ok(false) };
            piece.truncate(usize::try_from(left.min(room)).unwrap_or(usize::MAX));
            let length = piece.len() as u64;
            wire.scrub(piece, offset)?;
            self.at = Lsn(self.at.0 + length);
        }
        Ok(true)
    }
}
