//! Taking a log over from the partner's copy: READs, piece by piece, into the memory of the local ring.

use super::area::{RING_OFFSET, RingBytes};
use super::error::LogError;
use super::lsn::Lsn;
use super::report::CopyReport;
use super::wire::Wire;
use crate::fabric::Fabric;
use crate::memory::{Buffer, Region};
use crate::session::Session;
use std::collections::VecDeque;

/// Bytes of one READ, and READs on their way at once.
const PIECE_BYTES: usize = 256 << 10;
const PIECES: usize = 4;

/// Taking a log over from the partner's copy.
#[derive(Debug)]
pub(super) struct Restore {
    pub(super) report: CopyReport,
    ring_bytes: RingBytes,
    /// READ up to here.
    at: Lsn,
    /// Where the pieces on their way go.
    asked: VecDeque<(u64, usize)>,
    free: Vec<Buffer>,
    arrived: VecDeque<Buffer>,
    /// Bytes that were last told of.
    told: u64,
}

impl Restore {
    /// Prepares to take over what `report` says.
    pub(super) fn new<F: Fabric>(
        report: CopyReport,
        ring_bytes: RingBytes,
        session: &Session<F>,
    ) -> Result<Self, LogError> {
        let wrong = |error: crate::error::Error| LogError::Session(error.to_string());
        let region =
            Region::builder(PIECE_BYTES * PIECES).pinned(false).build().map_err(|error| wrong(error.into()))?;
        let free = session.buffer(region).map_err(wrong)?.split_into(PIECE_BYTES);
        let (asked, arrived) = (VecDeque::with_capacity(PIECES), VecDeque::with_capacity(PIECES));
        Ok(Self { report, ring_bytes, at: report.tail, asked, free, arrived, told: 0 })
    }

    /// A piece is here.
    pub(super) fn arrived(&mut self, piece: Buffer) {
        self.arrived.push_back(piece);
    }

    /// Goes on; true when all of it is in `region`.
    pub(super) fn advance<F: Fabric>(&mut self, wire: &mut Wire<F>, region: &Region) -> Result<bool, LogError> {
        while let Some(mut piece) = self.arrived.pop_front() {
            let Some((offset, length)) = self.asked.pop_front() else { break };
            let bytes = piece.as_slice().get(..length).unwrap_or_default();
            region.write(offset as usize, bytes).map_err(|error| LogError::Session(error.to_string()))?;
            piece.restore();
            self.free.push(piece);
        }
        while self.at < self.report.end {
            let Some(mut piece) = self.free.pop() else { break };
            let left = (self.report.end.0 - self.at.0).min(self.ring_bytes.bytes_to_end(self.at));
            piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let (offset, length) = (RING_OFFSET + self.ring_bytes.offset_of(self.at), piece.len());
            wire.read(piece, offset)?;
            self.asked.push_back((offset, length));
            self.at = Lsn(self.at.0 + length as u64);
        }
        Ok(self.at >= self.report.end && self.asked.is_empty())
    }

    /// Bytes asked for and bytes in all, whenever that is another sixty-fourth.
    pub(super) fn progress(&mut self) -> Option<(u64, u64)> {
        let (done, total) = (self.at.0 - self.report.tail.0, self.report.end.0 - self.report.tail.0);
        (done - self.told > total / 64).then(|| {
            self.told = done;
            (done, total)
        })
    }
}
