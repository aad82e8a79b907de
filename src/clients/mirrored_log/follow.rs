//! Reading the partner's log while it is written, across sessions: each brings memory of its own, which takes the place of the last.

use super::copy::{Consumer, CopyShared, CopySource};
use super::error::LogError;
use super::lsn::{Generation, History, Lsn};
use super::reader::{Record, Records};
use std::sync::Arc;

/// Reads the partner's log in order while it is written, wherever the copy lies. What is read may not be acknowledged yet: a reader that must
/// know only what is durable there asks its own partner.
#[derive(Debug)]
pub struct CopyReader {
    shared: Arc<CopyShared>,
    records: Option<Records<CopySource>>,
}

impl CopyReader {
    pub(super) fn new(shared: Arc<CopyShared>) -> Self {
        Self { shared, records: None }
    }

    /// The next record; its payload replaces what `payload` held. None while there is no further one: ask again later. Reads memory; allocates
    /// only for longer payloads than before, and where a session has brought another copy.
    ///
    /// # Errors
    /// [`LogError::Replaced`]: another log is in the place of the one that was read. [`LogError::Overrun`]: its owner has freed what comes next.
    /// After either, the next call begins with the first record of what is there.
    pub fn next_into(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record>, LogError> {
        if let Some(records) = &mut self.records
            && let Some(record) = records.next_into(payload)?
        {
            return Ok(Some(record));
        }
        let moved = self.look();
        if moved.is_err() {
            self.records = None;
        }
        if !moved? {
            return Ok(None);
        }
        match &mut self.records {
            Some(records) => records.next_into(payload),
            None => Ok(None),
        }
    }

    /// Where the next record will begin; none before the first one was looked for.
    pub fn position(&self) -> Option<Lsn> {
        self.records.as_ref().map(Records::position)
    }

    /// The log that is read; none before the first record was looked for.
    pub fn history(&self) -> Option<History> {
        self.records.as_ref().map(|records| records.header().history)
    }

    /// Everything that this reader gave out is applied: see [`LogCopy::applied`](super::LogCopy::applied).
    pub fn applied(&self) {
        if let Some(records) = &self.records {
            let (history, lsn) = (records.header().history, Records::position(records));
            self.shared.set_consumer(Consumer::Applied { history, lsn });
        }
    }

    /// Goes on at `lsn` of the log that is there, where a record begins or the log ends: where an earlier reader stopped, and the generation it had.
    ///
    /// # Errors
    /// [`LogError::Position`], [`LogError::NotOpen`] where there is no copy yet.
    pub fn seek(&mut self, lsn: Lsn, generation: Generation) -> Result<(), LogError> {
        if self.records.is_none() {
            self.look()?;
        }
        self.records.as_mut().ok_or(LogError::NotOpen)?.seek(lsn, generation)
    }

    /// Looks for the copy that counts now, and goes on in it. Whether there may be more.
    fn look(&mut self) -> Result<bool, LogError> {
        let Some((copy, header, _)) = self.shared.best() else { return Ok(false) };
        match &mut self.records {
            Some(records) if records.source().is(&copy) => records.resume()?,
            _ => {
                let mut next = Records::with_header(copy, header)?;
                if let Some(before) = &self.records {
                    let (known, at) = (before.header(), Records::position(before));
                    if known.history != header.history || known.ring_bytes != header.ring_bytes {
                        return Err(LogError::Replaced { known: known.history, found: header.history });
                    }
                    if at < header.tail {
                        return Err(LogError::Overrun { lsn: at, tail: header.tail });
                    }
                    next.seek(at, before.generation())?;
                }
                self.records = Some(next);
            }
        }
        Ok(true)
    }
}
