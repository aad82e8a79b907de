//! The partner's log as it is held here: which copy counts, what state it is in, reading it, taking it over.

use super::error::LogError;
use super::header::{HeaderState, LogHeader};
use super::lsn::{Generation, History, Lsn, Term};
use super::reader::Records;
use super::source::Source;
use crate::fabric::Exposed;
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
    /// It holds everything that was acknowledged as mirrored.
    Whole,
    /// Its owner went on alone since, under a higher term: it lacks what was acknowledged then.
    Outdated,
}

impl CopyState {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "empty",
            Self::Refilling => "being refilled",
            Self::Whole => "whole",
            Self::Outdated => "outdated",
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
        "the copy is {}, of term {}: it may lack acknowledged records. Take the other node's log, or force it to give them up",
        status.state.name(),
        status.term
    )]
    NotWorthy {
        /// What it is.
        status: CopyStatus,
    },
    /// A higher term is known.
    #[error(
        "the copy is of term {ours}, and term {known} was given out: its owner may have gone on alone. Force it to give up what was acknowledged then"
    )]
    Outdated {
        /// The copy's term.
        ours: Term,
        /// The highest term known.
        known: Term,
    },
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
}

/// What the partner's log is held in, as its reader and the poller share it.
#[derive(Debug)]
pub(super) struct CopyShared {
    copies: Mutex<Copies>,
    /// Whether there is an earlier copy: looked at without the lock.
    unsettled: AtomicBool,
    /// Raised with each change of the current copy.
    epoch: AtomicU64,
    /// A consumer's word: [`NO_CONSUMER`], [`NEEDS_BASE`], or a position.
    applied: AtomicU64,
    /// The term of a takeover; zero before one.
    taken: AtomicU64,
}

/// Nobody applies records.
pub(super) const NO_CONSUMER: u64 = u64::MAX;
/// Somebody would, and needs a base image first.
pub(super) const NEEDS_BASE: u64 = u64::MAX - 1;

impl CopyShared {
    pub(super) fn new(before: Option<CopySource>) -> Arc<Self> {
        Arc::new(Self {
            unsettled: AtomicBool::new(before.is_some()),
            copies: Mutex::new(Copies { current: None, before }),
            epoch: AtomicU64::new(0),
            applied: AtomicU64::new(NO_CONSUMER),
            taken: AtomicU64::new(0),
        })
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy that counts, with its header.
    pub(super) fn best(&self) -> Option<(CopySource, LogHeader, CopyState)> {
        let copies = self.copies();
        let read = |copy: &Option<CopySource>| copy.clone().and_then(|copy| Some((LogHeader::read(&copy).ok()?, copy)));
        let (current, before) = (read(&copies.current), read(&copies.before));
        match (current, before) {
            (Some((header, copy)), _) if header.state == HeaderState::Whole => Some((copy, header, CopyState::Whole)),
            (current, Some((header, copy))) => {
                let outdated = current.is_some_and(|(newer, _)| newer.term > header.term);
                let state = match header.state {
                    HeaderState::Whole if outdated => CopyState::Outdated,
                    HeaderState::Whole => CopyState::Whole,
                    _ => CopyState::Refilling,
                };
                Some((copy, header, state))
            }
            (Some((header, copy)), None) => Some((copy, header, CopyState::Refilling)),
            (None, None) => None,
        }
    }

    /// The memory of a new session takes the place of the current copy, which is kept where it is the best there is.
    pub(super) fn replace(&self, current: CopySource) {
        let best = self.best().map(|(copy, ..)| copy);
        let mut copies = self.copies();
        self.unsettled.store(best.is_some(), Ordering::Release);
        copies.before = best;
        copies.current = Some(current);
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
        copies.before.as_ref()?;
        let header = LogHeader::read(copies.current.as_ref()?).ok()?;
        if header.state != HeaderState::Whole {
            return None;
        }
        copies.before = None;
        self.unsettled.store(false, Ordering::Release);
        Some(header)
    }

    /// The current copy, and how often it has changed.
    pub(super) fn current(&self) -> (u64, Option<CopySource>) {
        let copies = self.copies();
        (self.epoch.load(Ordering::Acquire), copies.current.clone())
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(super) fn consumer(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    pub(super) fn taken(&self) -> Term {
        Term(self.taken.load(Ordering::Acquire))
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

    /// What is held here. Reads two headers.
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

    /// Takes the log over: the partner is gone, or gives it up. `known` is the highest term that was ever given out; from now on a partner that
    /// comes back and writes under an older term than `known + 1` is told that it was superseded.
    ///
    /// `force` takes what is there, whatever it lacks: a decision for a person.
    ///
    /// # Errors
    /// [`TakeoverRefused`], and [`LogError`] where the copy cannot be read.
    pub fn take_over(&self, known: Term, force: bool) -> Result<Records<CopySource>, TakeoverError> {
        let (copy, header, state) = self.shared.best().ok_or(TakeoverRefused::Nothing)?;
        let status = CopyStatus {
            state,
            history: header.history,
            term: header.term,
            generation: header.generation,
            tail: header.tail,
        };
        if !force && state != CopyState::Whole {
            return Err(TakeoverRefused::NotWorthy { status }.into());
        }
        if !force && header.term < known {
            return Err(TakeoverRefused::Outdated { ours: header.term, known }.into());
        }
        let records = Records::with_header(copy, header)?;
        self.shared.taken.fetch_max(known.max(header.term).0.saturating_add(1), Ordering::AcqRel);
        Ok(records)
    }

    /// A consumer here has applied everything before `lsn`; the partner is told, and frees no more than that where it was set up so
    /// ([`LogConfig::applied_bounds_truncation`](super::LogConfig::applied_bounds_truncation)).
    pub fn applied(&self, lsn: Lsn) {
        self.shared.applied.store(lsn.0.min(NEEDS_BASE - 1), Ordering::Release);
    }

    /// A consumer here cannot apply records before it has a base image; the partner is told.
    pub fn needs_base(&self) {
        self.shared.applied.store(NEEDS_BASE, Ordering::Release);
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
