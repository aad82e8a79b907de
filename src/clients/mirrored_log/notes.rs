//! The small files of one log: which ones there are, and that they stay.

use super::config::{LogConfig, OnLoss, Start};
use super::error::LogError;
use super::lsn::{History, Term};
use super::note::{Begun, Mended, Note};
use crate::fabric::Timestamp;

/// The small files of this node's log.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The term under which this node writes alone; none where it never does.
    pub(super) term: Option<Note<Term>>,
    /// Which log was begun.
    pub(super) state: Option<Note<Begun>>,
}

impl Notes {
    /// Takes those that the log is set up with. `whose`: for who finds one in use.
    ///
    /// # Errors
    /// Those of [`Note::take`].
    pub(super) fn take(config: &LogConfig, whose: &str) -> Result<Self, LogError> {
        let gives_up = config.start != Start::Restore;
        let state = config.state_file.as_deref();
        let state = state.map(|path| Note::take(path, format!("the state {whose}"), gives_up)).transpose()?;
        let term = match &config.on_loss {
            OnLoss::GoOnAlone { term_file } => Some(Note::take(term_file, format!("the term {whose}"), gives_up)?),
            OnLoss::Stop => None,
        };
        Ok(Self { term, state })
    }

    /// The highest term under which this node is known to have gone on alone.
    pub(super) fn kept_term(&self) -> Term {
        self.term.as_ref().and_then(Note::value).unwrap_or_default()
    }

    /// The log that was begun on this node, as far as it is known.
    pub(super) fn known_log(&self) -> Option<History> {
        self.begun().map(|begun| begun.history)
    }

    /// That, and the generation under which it was opened last.
    pub(super) fn begun(&self) -> Option<Begun> {
        self.state.as_ref().and_then(Note::value)
    }

    /// Whether what is acknowledged alone is known of after this process.
    pub(super) fn stand(&self) -> bool {
        self.term.as_ref().is_none_or(Note::stands)
    }

    /// What is wrong with the term file, as it was told.
    pub(super) fn told(&self) -> Option<&LogError> {
        self.term.as_ref().and_then(Note::told)
    }

    /// Looks at all of them, or all but the term file; what became of each that is not as it was.
    pub(super) fn look(&mut self, now: Timestamp, but_term: bool) -> [Result<Option<Mended>, LogError>; 2] {
        let term = self.term.as_mut().filter(|_| !but_term).map_or(Ok(None), |note| note.look(now));
        [term, self.state.as_mut().map_or(Ok(None), |note| note.look(now))]
    }
}
