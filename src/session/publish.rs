//! What a node writes into its own status block.

use crate::fabric::{Exposed, Timestamp};
use crate::memory::{MemoryError, Region};
use crate::page::status::{
    HANDSHAKE_BYTES, HEARTBEAT_OFFSET, PROGRESS_OFFSET, Progress, ROSTER_OFFSET, RosterEntry, STAGE_NAME_OFFSET,
    STAGE_OFFSET, StageName,
};
use std::sync::atomic::Ordering;

/// Bytes that are compared and written together: one cache line, as sections are multiples of it.
const LINE: usize = 64;

/// Keeps what was published, so that only lines that changed are written again.
#[derive(Debug)]
pub(crate) struct Publisher {
    published: [u8; HANDSHAKE_BYTES],
    edition: Option<u64>,
    stage: StageName,
    beats: u64,
    next_beat: Timestamp,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        Self {
            published: [0; HANDSHAKE_BYTES],
            edition: None,
            stage: StageName::new(0, ""),
            beats: 0,
            next_beat: Timestamp(0),
        }
    }

    /// Whether an edition of the handshake's bytes is published already.
    pub(crate) fn is_current(&self, edition: u64) -> bool {
        self.edition == Some(edition)
    }

    /// Writes the lines that changed.
    pub(crate) fn handshake(
        &mut self,
        status: &Region,
        edition: u64,
        bytes: &[u8; HANDSHAKE_BYTES],
    ) -> Result<(), MemoryError> {
        for (index, (old, new)) in self.published.chunks_exact_mut(LINE).zip(bytes.chunks_exact(LINE)).enumerate() {
            if old != new {
                status.write(index * LINE, new)?;
                old.copy_from_slice(new);
            }
        }
        self.edition = Some(edition);
        Ok(())
    }

    /// Bumps the heartbeat when it is due, in the status block and in the session's own memory; whether it was.
    pub(crate) fn beat(
        &mut self,
        (status, session): (&Region, Option<&Exposed>),
        now: Timestamp,
        every: std::time::Duration,
    ) -> Result<bool, MemoryError> {
        if now < self.next_beat {
            return Ok(false);
        }
        self.next_beat = now.after(every);
        self.beats += 1;
        status.store(HEARTBEAT_OFFSET, self.beats.to_le(), Ordering::Release)?;
        if let Some(session) = session {
            session.store(0, self.beats.to_le(), Ordering::Release)?;
        }
        Ok(true)
    }

    pub(crate) fn next_beat(&self) -> Timestamp {
        self.next_beat
    }

    /// Publishes a stage and its progress. A reader takes a name only for the number it belongs to.
    pub(crate) fn stage(&mut self, status: &Region, name: &str, progress: Progress) -> Result<(), MemoryError> {
        let same = StageName::new(self.stage.number, name);
        if same != self.stage || self.stage.number == 0 {
            self.stage = StageName::new(self.stage.number + 1, name);
            status.write(STAGE_NAME_OFFSET, &self.stage.encode())?;
            status.store(PROGRESS_OFFSET, progress.to_word().to_le(), Ordering::Release)?;
            status.store(STAGE_OFFSET, self.stage.number.to_le(), Ordering::Release)
        } else {
            status.store(PROGRESS_OFFSET, progress.to_word().to_le(), Ordering::Release)
        }
    }

    /// Publishes the roster of clients, up to [`CLIENTS_MAX`](crate::page::status::CLIENTS_MAX) of them.
    pub(crate) fn roster(&self, status: &Region, entries: &[RosterEntry]) -> Result<(), MemoryError> {
        for (index, entry) in entries.iter().enumerate().take(crate::page::status::CLIENTS_MAX) {
            status.write(RosterEntry::offset(index), &entry.encode())?;
        }
        status.store(ROSTER_OFFSET, (entries.len() as u64).to_le(), Ordering::Release)
    }
}
