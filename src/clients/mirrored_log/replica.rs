//! This node's part in the partner's log: fills the memory of a new session with what is held, reports it, and answers.

use super::area::{HEADER_OFFSETS, PERSISTED_OFFSET, REPORT_OFFSET, RING_OFFSET};
use super::copy::{Consumer, CopyShared, CopySource, CopyState};
use super::error::LogError;
use super::header::{HEADER_BYTES, LogHeader};
use super::keeper::Keeper;
use super::lsn::{Generation, History, Lsn, NUMBER_MAX, Term};
use super::reader::Records;
use super::report::{CopyReport, ReportState};
use super::wire::{Purpose, Wire};
use crate::fabric::{Exposed, Fabric};
use std::sync::Arc;

/// Bytes copied at once from the last session's memory to the next one's.
const PIECE_BYTES: usize = 64 << 10;

/// This node's part in the partner's log.
pub(super) struct Replica {
    pub(super) shared: Arc<CopyShared>,
    pub(super) keeper: Option<Keeper>,
    /// As last told in this session.
    told: Option<CopyReport>,
    report: Option<CopyReport>,
    /// The news that the report has in it.
    heard: Option<u64>,
    told_persisted: u64,
    replies: u32,
}

impl Replica {
    pub(super) fn new(shared: Arc<CopyShared>, keeper: Option<Keeper>) -> Self {
        Self { shared, keeper, told: None, report: None, heard: None, told_persisted: 0, replies: 0 }
    }

    /// A session begins: what is held goes into its memory, at the same places, so that the partner need not send it again.
    pub(super) fn begin(&mut self, exposed: &Arc<Exposed>, session: u64) {
        let shared = Arc::clone(&self.shared);
        // No takeover begins or is under way from here on.
        let mut in_session = shared.session();
        let held = self.shared.best();
        let mut report = CopyReport {
            state: ReportState::Nothing,
            session,
            history: History(0),
            term: Term(0),
            generation: Generation(0),
            persists: self.keeper.is_some(),
            applies: false,
            needs_base: false,
            tail: Lsn::ZERO,
            end: Lsn::ZERO,
            applied: Lsn::ZERO,
            applied_history: 0,
            writer: 0,
            lineage: 0,
            taken: false,
            vouches: false,
            sequence: 0,
            ring_bytes: 0,
        };
        let (current, mut carried) = (CopySource::granted(exposed), None);
        if let Some((copy, header, state)) = held {
            report.state = match state {
                CopyState::Whole => ReportState::Whole,
                CopyState::Outdated => ReportState::Outdated,
                CopyState::MayLack => ReportState::MayLack,
                CopyState::Refilling | CopyState::Nothing => ReportState::Refilling,
            };
            (report.history, report.generation) = (header.history, header.generation);
            (report.term, report.writer, report.lineage) = (header.term, header.writer, header.lineage);
            (report.tail, report.end) = (header.tail, header.tail);
            (report.sequence, report.ring_bytes) = (header.sequence, header.ring_bytes.get());
            // Its owner hears of another size by the report; of what state it is does not depend on that.
            let mut fits = true;
            match carry(&copy, &header, &current) {
                Ok(end) => (report.end, carried) = (end, Some(header.sequence)),
                Err(LogError::Short { .. }) => fits = false,
                Err(error) => {
                    tracing::warn!(%error, "the copy of the partner's log could not be carried over to the new session");
                }
            }
            // What ends before its end is no whole log, whatever its header says.
            if fits && report.end < header.acknowledged && report.state == ReportState::Whole {
                report.state = ReportState::Refilling;
            }
        }
        self.shared.replace(current, carried);
        *in_session = true;
        (self.report, self.told, self.heard, self.told_persisted) = (Some(report), None, None, 0);
    }

    /// The session is gone.
    pub(super) fn end(&mut self) {
        self.shared.set_in_session(false);
        (self.report, self.told) = (None, None);
    }

    /// Tells the partner what is new: the report, what its consumer has applied, what is on disk.
    pub(super) fn tell<F: Fabric>(&mut self, wire: &mut Wire<F>) -> Result<bool, LogError> {
        let Some(report) = &mut self.report else { return Ok(false) };
        let news = self.shared.news();
        if self.heard != Some(news) {
            self.heard = Some(news);
            take_in(report, &self.shared);
        }
        report.persists = self.keeper.as_ref().is_some_and(Keeper::keeps);
        report.vouches = self.keeper.as_ref().is_some_and(Keeper::vouches);
        let mut told = false;
        if self.told.as_ref() != Some(report) && wire.can_write_block() {
            wire.write_block(&report.encode(), REPORT_OFFSET, None, Purpose::Reply)?;
            self.told = Some(*report);
            told = true;
        }
        let persisted = self.keeper.as_ref().map_or(0, |keeper| keeper.persisted(self.shared.epoch()));
        if persisted > self.told_persisted && wire.can_write_block() {
            self.replies = self.replies.wrapping_add(1);
            wire.write_block(&persisted.to_le_bytes(), PERSISTED_OFFSET, Some(self.replies), Purpose::Reply)?;
            self.told_persisted = persisted;
            told = true;
        }
        Ok(told)
    }
}

/// Puts into the report what was said on this node since.
#[cold]
fn take_in(report: &mut CopyReport, shared: &CopyShared) {
    let consumer = shared.consumer();
    report.applies = consumer != Consumer::Nobody;
    report.needs_base = consumer == Consumer::NeedsBase;
    if let Consumer::Applied { history, lsn } = consumer {
        // Whoever applies records may say any number; the partner takes none that cannot be.
        (report.applied_history, report.applied) = (history.low(), lsn.min(Lsn(NUMBER_MAX)));
    }
    // The one held when the session began, or the one that its owner began since.
    let is_held =
        |history| report.history == history || shared.best().is_some_and(|(_, header, _)| header.history == history);
    if let Some((history, term)) = shared.taken()
        && (is_held(history) || report.state == ReportState::Nothing)
    {
        // Its owner is told which log was taken over, and under which term.
        (report.taken, report.history, report.term) = (true, history, report.term.max(term));
    }
}

/// Copies a log's header and its valid prefix from one area to another; where the prefix ends. Nothing of it where the other is too small.
fn carry(from: &CopySource, header: &LogHeader, to: &CopySource) -> Result<Lsn, LogError> {
    let (bytes, needed) = (to.region().len() as u64, header.ring_bytes.area_bytes());
    if bytes < needed {
        return Err(LogError::Short { bytes, needed });
    }
    let end = Records::with_header(from.clone(), *header)?.skip_to_end()?.lsn;
    let wrong = |error: crate::memory::MemoryError| LogError::Session(error.to_string());
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = header.tail;
    while at < end {
        let left = (end.0 - at.0).min(header.ring_bytes.bytes_to_end(at)).min(PIECE_BYTES as u64);
        let place = (RING_OFFSET + header.ring_bytes.offset_of(at)) as usize;
        let Some(piece) = piece.get_mut(..left as usize) else { break };
        from.region().read(place, piece).map_err(wrong)?;
        to.region().write(place, piece).map_err(wrong)?;
        at = Lsn(at.0 + left);
    }
    let mut bytes = [0; HEADER_BYTES];
    bytes.copy_from_slice(&header.encode());
    to.region().write(HEADER_OFFSETS[(header.sequence % 2) as usize] as usize, &bytes).map_err(wrong)?;
    // Of what was copied, and not of what it was copied from: an earlier writer that hangs on may still write there.
    Ok(Records::with_header(to.clone(), *header)?.skip_to_end()?.lsn)
}
