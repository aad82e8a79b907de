//! What this side has said of a round of letters, to be said again while the partner may lack it.
//!
//! A fabric may carry out an old WRITE once more, and put the letter of an earlier round over that
//! of a later one, which stands at the same place. Nobody is told. So a side repeats its letters, at
//! longer and longer distances, until it knows that they were taken: the same bytes at the same
//! place, so that a letter too many does no harm.

use crate::error::Error;
use crate::fabric::{Fabric, Timestamp};
use crate::page::mailbox::LetterKind;
use crate::session::{Connection, Timing};
use std::time::Duration;

/// From a letter to its first repetition, in longest delays of a retry. Each later distance is twice
/// the one before.
const FIRST_RETRIES: u32 = 4;

/// The letters of a round, the last of each kind.
#[derive(Debug, Default)]
pub(crate) struct Said {
    letters: Vec<(LetterKind, u64, Vec<u8>)>,
    distance: Duration,
    due: Option<Timestamp>,
}

impl Said {
    /// Sends a letter and remembers it, in place of an earlier one of its kind. The distances begin
    /// anew.
    pub(crate) fn say<F: Fabric>(
        &mut self,
        connection: &mut Connection<F>,
        (kind, round): (LetterKind, u64),
        body: Vec<u8>,
        (now, timing): (Timestamp, &Timing),
    ) -> Result<(), Error> {
        connection.send_letter((kind, round), &body)?;
        self.letters.retain(|(earlier, ..)| *earlier != kind);
        self.letters.push((kind, round, body));
        self.distance = timing.retry_max.saturating_mul(FIRST_RETRIES);
        self.due = Some(now.after(self.distance));
        Ok(())
    }

    /// Sends what was said again, where that is due. It waits for letters that are on their way: a
    /// partner that takes none is not sent more.
    pub(crate) fn repeat<F: Fabric>(&mut self, connection: &mut Connection<F>, now: Timestamp) -> Result<(), Error> {
        if self.due.is_none_or(|due| now < due) || !connection.letters_are_through() {
            return Ok(());
        }
        for (kind, round, body) in &self.letters {
            connection.send_letter((*kind, *round), body)?;
        }
        self.distance = self.distance.saturating_mul(2);
        self.due = Some(now.after(self.distance));
        Ok(())
    }

    /// The partner has taken all of it.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
