//! The partner's log as it is held here: which copy counts, what state it is in, reading it, taking it over.

use super::error::LogError;
use super::follow::CopyReader;
use super::header::{HeaderState, LogHeader};
use super::lsn::{Generation, History, Lsn, Term};
use super::note::{Mended, Note};
use super::reader::Records;
use super::source::Source;
use crate::fabric::{Exposed, Timestamp};
use crate::memory::Region;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Memory that holds a copy of the partner's log.
#[derive(Debug, Clone)]
pub struct CopySource(Memory);

#[derive(Debug, Clone)]
enum Memory {
    /// Granted to the partner in some session.
    Granted(Arc<Exposed>),
    /// Loaded from a file.
    Loaded(Arc<Region>),
}

impl CopySource {
    pub(super) fn granted(exposed: &Arc<Exposed>) -> Self {
        Self(Memory::Granted(Arc::clone(exposed)))
    }

    pub(super) fn loaded(region: Region) -> Self {
        Self(Memory::Loaded(Arc::new(region)))
    }

    /// Whether it is the same memory.
    pub(super) fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self.region(), other.region())
    }

    pub(super) fn region(&self) -> &Region {
        match &self.0 {
            Memory::Granted(exposed) => exposed.region(),
            Memory::Loaded(region) => region,
        }
    }
}

impl Source for CopySource {
    fn length(&self) -> Result<u64, LogError> {
        Source::length(self.region())
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), LogError> {
        Source::read(self.region(), offset, into)
    }
}

/// Whether the copy can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CopyState {
    /// No record of any log was ever here.
    Nothing,
    /// It is being filled, and lacks records that may have been acknowledged.
    Refilling,
    /// It holds everything that was acknowledged as mirrored, by its header's word. The records are not read for this:
    /// where they were damaged since, [`LogCopy::take_over`] finds that the valid prefix ends too early, and refuses.
    Whole,
    /// Its owner went on alone since, under a higher term: it lacks what was acknowledged then.
    Outdated,
    /// It was read from a file that was in use when its process ended, and acknowledgements did not wait for that file
    /// ([`Acknowledge::Persistent`](super::Acknowledge::Persistent)): the last records may be missing.
    MayLack,
}

impl CopyState {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "empty",
            Self::Refilling => "being refilled",
            Self::Whole => "whole",
            Self::Outdated => "outdated",
            Self::MayLack => "of a file that was in use when its process ended",
        }
    }
}

/// What is known of a copy without reading its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CopyStatus {
    /// Whether it can be relied on.
    pub state: CopyState,
    /// The log's identity.
    pub history: History,
    /// The term it was written under.
    pub term: Term,
    /// Its writer.
    pub generation: Generation,
    /// The first record it holds.
    pub tail: Lsn,
}

/// The copy must not be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverRefused {
    /// It does not hold everything that was acknowledged.
    #[error(
        "the copy is {}, of term {}: it may lack acknowledged records. Take the other node's log, or give them up: call LogCopy::take_over with `force`",
        status.state.name(),
        status.term
    )]
    NotWorthy {
        /// What it is.
        status: CopyStatus,
    },
    /// A higher term is known.
    #[error(
        "the copy is of term {ours}, and term {known} was given out: its owner may have gone on alone. To give up what was acknowledged then, call LogCopy::take_over with `force`"
    )]
    Outdated {
        /// The copy's term.
        ours: Term,
        /// The highest term known.
        known: Term,
    },
    /// Its end is missing.
    #[error(
        "the copy ends at lsn {end}, and records up to lsn {acknowledged} were acknowledged: it is damaged. To give them up, call LogCopy::take_over with `force`"
    )]
    Damaged {
        /// Where its valid prefix ends.
        end: Lsn,
        /// Up to where records were acknowledged at least.
        acknowledged: Lsn,
    },
    /// No log was ever written under the term that was given as the highest known.
    #[error("term {known} cannot be: terms go up to 2^62. Nothing was taken over, and nobody is kept from writing")]
    Term {
        /// What was given.
        known: Term,
    },
    /// The partner is there, and writes.
    #[error(
        "a session with the partner stands: it writes this log. Take over once the session is lost (the partner ended, or this node left); of a partner that hangs make sure that it is dead, then call LogCopy::take_over with `force`"
    )]
    PartnerThere,
    /// Nothing is there.
    #[error("there is no copy to take over")]
    Nothing,
}

/// Copies held at once.
#[derive(Debug, Default)]
struct Copies {
    /// In the memory of the present or last session.
    current: Option<CopySource>,
    /// The last that was whole, until the current one is.
    before: Option<CopySource>,
    /// Of the header that was carried over into the current one: it is no word of the session's writer.
    carried: u64,
    /// What was loaded from a file may lack records, and nothing better has come since.
    may_lack: bool,
}

/// What the partner's log is held in, as its reader and the poller share it.
#[derive(Debug)]
pub(super) struct CopyShared {
    copies: Mutex<Copies>,
    /// Whether there is an earlier copy: looked at without the lock.
    unsettled: AtomicBool,
    /// Raised with each change of the current copy.
    epoch: AtomicU64,
    /// Raised with each change of what follows: looked at without the locks.
    news: AtomicU64,
    consumer: Mutex<Consumer>,
    /// A log that was taken over, and under which term; and where that is kept.
    taken: Mutex<Option<(History, Term)>>,
    taken_note: Option<Mutex<Note<(History, Term)>>>,
    /// The highest term that a header of this log was seen under.
    seen: Mutex<Option<(History, Term)>>,
    /// Whether a session stands. Held while one begins, and while a takeover looks, decides and is kept: either the session's first report says that
    /// the log was taken over, or the takeover finds the partner there.
    in_session: Mutex<bool>,
}

/// The header of a copy; none where there is none, or where it speaks of more than the memory holds.
pub(super) fn header_of(copy: &CopySource) -> Option<LogHeader> {
    let header = LogHeader::read(copy).ok()?;
    (header.ring_bytes.area_bytes() <= copy.region().len() as u64).then_some(header)
}

/// What somebody who applies the partner's records has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Consumer {
    /// Nobody does.
    #[default]
    Nobody,
    /// A base image is needed first.
    NeedsBase,
    /// Everything before `lsn` of this log is applied.
    Applied { history: History, lsn: Lsn },
}

impl CopyShared {
    /// `before`: what a file keeps, and whether it may lack records. `seen`: of a copy that was on its way when an earlier process ended.
    pub(super) fn new(
        before: Option<(CopySource, bool)>,
        seen: Option<(History, Term)>,
        taken: Option<Note<(History, Term)>>,
    ) -> Arc<Self> {
        let may_lack = before.as_ref().is_some_and(|(_, may_lack)| *may_lack);
        let before = before.map(|(copy, _)| copy);
        Arc::new(Self {
            unsettled: AtomicBool::new(before.is_some()),
            copies: Mutex::new(Copies { current: None, before, carried: 0, may_lack }),
            epoch: AtomicU64::new(0),
            news: AtomicU64::new(0),
            consumer: Mutex::default(),
            taken: Mutex::new(taken.as_ref().and_then(Note::value)),
            taken_note: taken.map(Mutex::new),
            seen: Mutex::new(seen),
            in_session: Mutex::new(false),
        })
    }

    #[cold]
    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the term of a header of the present session's.
    #[cold]
    fn note(&self, header: &LogHeader) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *seen {
            Some((history, term)) if *history == header.history => *term = (*term).max(header.term),
            seen => *seen = Some((header.history, header.term)),
        }
    }

    /// Whether a later term of this log is known of.
    #[cold]
    fn is_outdated(&self, header: &LogHeader) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_some_and(|(history, term)| history == header.history && term > header.term)
    }

    /// The copy that counts, with its header.
    pub(super) fn best(&self) -> Option<(CopySource, LogHeader, CopyState)> {
        let copies = self.copies();
        let read = |copy: &Option<CopySource>| copy.clone().and_then(|copy| Some((header_of(&copy)?, copy)));
        let (current, before) = (read(&copies.current), read(&copies.before));
        if let Some((header, _)) = &current {
            self.note(header);
        }
        // What its writer has said in this session; all else is as good as what was loaded.
        let is_told = |header: &LogHeader| header.sequence > copies.carried;
        let state = |header: &LogHeader, told: bool| match header.state {
            HeaderState::Whole if self.is_outdated(header) => CopyState::Outdated,
            HeaderState::Whole if copies.may_lack && !told => CopyState::MayLack,
            HeaderState::Whole => CopyState::Whole,
            _ => CopyState::Refilling,
        };
        let (copy, header, told) = match (current, before) {
            (Some((header, copy)), _) if state(&header, is_told(&header)) == CopyState::Whole => (copy, header, true),
            (_, Some((header, copy))) => (copy, header, false),
            (Some((header, copy)), None) => (copy, header, is_told(&header)),
            (None, None) => return None,
        };
        let state = state(&header, told);
        Some((copy, header, state))
    }

    /// The memory of a new session takes the place of the current copy, which is kept where it is the best there is. `carried`: the sequence of the header that
    /// was put there already, if there is one.
    pub(super) fn replace(&self, current: CopySource, carried: Option<u64>) {
        let best = self.best();
        let mut copies = self.copies();
        self.unsettled.store(best.is_some(), Ordering::Release);
        copies.may_lack &= best.as_ref().is_some_and(|(_, _, state)| *state != CopyState::Whole);
        copies.before = best.map(|(copy, ..)| copy);
        copies.current = Some(current);
        copies.carried = carried.unwrap_or(0);
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Lets go of the earlier copy once the current one is whole; gives its header the first time. One load where there is no earlier one.
    #[inline]
    pub(super) fn settle(&self) -> Option<LogHeader> {
        if self.unsettled.load(Ordering::Acquire) { self.settle_now() } else { None }
    }

    #[cold]
    fn settle_now(&self) -> Option<LogHeader> {
        let mut copies = self.copies();
        let header = header_of(copies.current.as_ref()?)?;
        self.note(&header);
        // What was carried over is as good as what it was carried from; but its writer may be about to write over it.
        let is_told = header.sequence > copies.carried;
        if !is_told || header.state != HeaderState::Whole || self.is_outdated(&header) {
            return None;
        }
        copies.may_lack = false;
        copies.before.as_ref()?;
        copies.before = None;
        self.unsettled.store(false, Ordering::Release);
        Some(header)
    }

    /// Whether a header of the current copy is its writer's word in this session, and not one that was carried over.
    pub(super) fn is_told(&self, header: &LogHeader) -> bool {
        header.sequence > self.copies().carried
    }

    /// The current copy, and how often it has changed.
    pub(super) fn current(&self) -> (u64, Option<CopySource>) {
        let copies = self.copies();
        (self.epoch.load(Ordering::Acquire), copies.current.clone())
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// A number that is another one after [`CopyShared::consumer`] or [`CopyShared::taken`] has changed. One load.
    #[inline]
    pub(super) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    #[cold]
    pub(super) fn consumer(&self) -> Consumer {
        *self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    pub(super) fn set_consumer(&self, consumer: Consumer) {
        *self.consumer.lock().unwrap_or_else(PoisonError::into_inner) = consumer;
        self.news.fetch_add(1, Ordering::Release);
    }

    /// The log that was taken over, and the term of that.
    #[cold]
    pub(super) fn taken(&self) -> Option<(History, Term)> {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a takeover, on disk first where there is a file for it.
    #[cold]
    fn take(&self, history: History, term: Term) -> Result<(), LogError> {
        if let Some(note) = &self.taken_note {
            let mut note = note.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = note.store((history, term)) {
                // It does not count; where it may be in the file all the same, that says so no more as soon as it can be written.
                note.revert();
                return Err(error);
            }
        }
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some((history, term));
        self.news.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Looks at the file that says what was taken over; another time where a takeover writes it just now.
    #[cold]
    pub(super) fn look_at_taken(&self, now: Timestamp) -> Result<Option<Mended>, LogError> {
        let Some(note) = &self.taken_note else { return Ok(None) };
        note.try_lock().map_or(Ok(None), |mut note| note.look(now))
    }

    /// Whether a session stands, to look at or to change.
    #[cold]
    pub(super) fn session(&self) -> MutexGuard<'_, bool> {
        self.in_session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_in_session(&self, stands: bool) {
        *self.session() = stands;
    }
}

/// The partner's log as it is held here. Any number of handles; none of its calls is on a hot path.
#[derive(Debug, Clone)]
pub struct LogCopy {
    shared: Arc<CopyShared>,
}

impl LogCopy {
    pub(super) fn new(shared: Arc<CopyShared>) -> Self {
        Self { shared }
    }

    /// What is held here, by its headers. Reads the headers of two copies at most, and no records: [`CopyState::Whole`]
    /// does not say that every record still reads well. [`LogCopy::take_over`] reads them all, and refuses a copy that
    /// ends before what was acknowledged; [`LogCopy::records`] shows where it ends.
    pub fn status(&self) -> CopyStatus {
        match self.shared.best() {
            Some((_, LogHeader { history, term, generation, tail, .. }, state)) => {
                CopyStatus { state, history, term, generation, tail }
            }
            None => CopyStatus {
                state: CopyState::Nothing,
                history: History(0),
                term: Term(0),
                generation: Generation(0),
                tail: Lsn::ZERO,
            },
        }
    }

    /// Reads the copy's records in order, up to the end of its valid prefix, whatever state it is in. The partner may be writing it: see
    /// [`Records::resume`]. None where there is no copy.
    ///
    /// # Errors
    /// Those of [`Records::open`].
    pub fn records(&self) -> Result<Option<Records<CopySource>>, LogError> {
        self.shared.best().map(|(copy, header, _)| Records::with_header(copy, header)).transpose()
    }

    /// A reader that follows the partner's log while it is written, across sessions. It begins with the first record that is kept.
    pub fn reader(&self) -> CopyReader {
        CopyReader::new(Arc::clone(&self.shared))
    }

    /// Takes the log over: the partner is gone. `known` is the highest term that was ever given out; the takeover is of the term after that, is kept
    /// beside the file of [`LogConfig::keep`](super::LogConfig::keep) where there is one, and is told to the partner when it comes back: a writer of
    /// an older term ends, and a new process does not go on with what was taken over.
    ///
    /// This alone does not keep a partner that only seems gone from writing until it hears of it. Reads the whole copy once.
    ///
    /// `force` takes what is there, whatever it lacks and whoever is there: a decision for a person.
    ///
    /// # Errors
    /// [`TakeoverRefused`], and [`LogError`] where the copy cannot be read or the takeover not be kept.
    pub fn take_over(&self, known: Term, force: bool) -> Result<Records<CopySource>, TakeoverError> {
        let in_session = self.shared.session();
        let (copy, header, state) = self.shared.best().ok_or(TakeoverRefused::Nothing)?;
        let (history, term, generation, tail) = (header.history, header.term, header.generation, header.tail);
        // A term past the last one could not be read again: neither here after a restart, nor by the partner.
        let taken = known.max(term).taken_after().ok_or(TakeoverRefused::Term { known })?;
        let end = Records::with_header(copy.clone(), header)?.skip_to_end()?.lsn;
        if !force {
            if *in_session {
                return Err(TakeoverRefused::PartnerThere.into());
            }
            if state != CopyState::Whole {
                return Err(TakeoverRefused::NotWorthy {
                    status: CopyStatus { state, history, term, generation, tail },
                }
                .into());
            }
            if term < known {
                return Err(TakeoverRefused::Outdated { ours: term, known }.into());
            }
            if end < header.acknowledged {
                return Err(TakeoverRefused::Damaged { end, acknowledged: header.acknowledged }.into());
            }
        }
        self.shared.take(history, taken)?;
        Ok(Records::with_header(copy, header)?)
    }

    /// A consumer here has applied everything before `lsn` of this log; the partner is told, and frees no more than that where it was set up so
    /// ([`LogConfig::applied_bounds_truncation`](super::LogConfig::applied_bounds_truncation)).
    pub fn applied(&self, history: History, lsn: Lsn) {
        self.shared.set_consumer(Consumer::Applied { history, lsn });
    }

    /// A consumer here cannot apply records before it has a base image; the partner is told.
    pub fn needs_base(&self) {
        self.shared.set_consumer(Consumer::NeedsBase);
    }
}

/// A takeover failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeoverError {
    /// It would lose records.
    #[error(transparent)]
    Refused(#[from] TakeoverRefused),
    /// The copy cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

#[cfg(test)]
mod tests;
