//! What the file says of itself, and when it is to say something else.

use super::super::area::EVIDENCE_OFFSET;
use super::super::error::LogError;
use super::super::evidence::{self, Boot, Seen, Standing};
use super::super::header::LogHeader;
use super::Keeping;
use crate::storage::{Durable, StorageError};
use std::sync::atomic::Ordering;

impl Keeping {
    /// A session begins: nothing that is acknowledged in it is vouched for by what the file says now. Where its log's acknowledgements waited for
    /// the file until now they may go on so: [`Keeping::heed`] finds out, and the partner, who is told, acknowledges nothing else meanwhile.
    pub(super) fn begin(&mut self, epoch: u64) -> Result<(), LogError> {
        let is_known = self.standing.is_some() || self.is_spoilt;
        if self.begun == epoch && is_known {
            return Ok(());
        }
        if self.standing.is_none() {
            match self.named()? {
                Some(file) if waits_for_it(&file) => self.standing = Some(Standing::Persistent),
                found => self.lower(found)?,
            }
        }
        self.begun = epoch;
        Ok(())
    }

    /// The file under the name; none where there is none of ours, on which nobody relies.
    fn named(&mut self) -> Result<Option<Durable>, LogError> {
        match self.place.open(0) {
            Err(StorageError::Foreign { .. }) => Ok(None),
            found => Ok(found?),
        }
    }

    /// The file under the name, where there is one, says no more that it has all that is acknowledged.
    fn lower(&mut self, found: Option<Durable>) -> Result<(), LogError> {
        if let Some(mut file) = found {
            mark(&mut file, Standing::InUse)?;
        }
        self.lowered();
        Ok(())
    }

    pub(super) fn lowered(&mut self) {
        self.standing = Some(Standing::InUse);
        self.told.is_marked.store(true, Ordering::Release);
    }

    /// From here on it may say so: before the first byte of that is written.
    pub(super) fn raise(&mut self) {
        self.told.is_marked.store(false, Ordering::Release);
    }

    /// The session's log does not wait for the file, and that said so of an earlier one: no more.
    pub(super) fn heed(&mut self, header: &LogHeader) -> Result<(), LogError> {
        let is_marked = self.told.is_marked.load(Ordering::Relaxed);
        if header.persistent || is_marked || !self.copy.is_told(header) {
            return Ok(());
        }
        // After a failure too: what the file says then is not known.
        if let Some(kept) = self.file.as_mut().filter(|kept| !kept.is_beside) {
            mark(&mut kept.file, Standing::InUse)?;
            self.lowered();
            return Ok(());
        }
        let found = self.named()?;
        self.lower(found)
    }
}

/// Whether a file has all that was acknowledged, and of a log whose acknowledgements wait for it.
fn waits_for_it(file: &Durable) -> bool {
    matches!(evidence::may_lack(file), Ok(false)) && LogHeader::read(file).is_ok_and(|header| header.persistent)
}

/// Has a file say what it can be relied on for; on the disk when this returns.
pub(super) fn mark(file: &mut Durable, standing: Standing) -> Result<(), LogError> {
    file.write_at(&Boot::here()?.encode(standing, Seen::default()), EVIDENCE_OFFSET)?;
    let _ = file.sync(0)?;
    Ok(())
}
