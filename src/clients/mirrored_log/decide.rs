//! What to do about what the partner holds. Pure: reports in, decisions out.

use super::area::RingBytes;
use super::config::Start;
use super::error::LogError;
use super::evidence::{Doubt, Seen};
use super::lsn::{Generation, History, Lsn, Term};
use super::note::Begun;
use super::numbers::{check_room, next_generation};
use super::report::{CopyReport, ReportState};
use super::writer::{Beginning, Held};

/// How a log that is not open yet begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opening {
    /// A new log.
    New,
    /// With what the local ring holds.
    Local,
    /// With what the partner holds.
    Partner,
}

/// Whether what is there is of the log that was begun on this node, by its state file. `report`: none where the partner is not asked.
///
/// # Errors
/// [`LogError::Lost`]: nothing is there of it. [`LogError::Unusable`], [`LogError::Histories`]: something is there of another log.
pub(super) fn known(
    begun: Option<History>,
    start: Start,
    local: Option<&Held>,
    report: Option<&CopyReport>,
) -> Result<(), LogError> {
    let Some(history) = begun.filter(|_| start != Start::New) else { return Ok(()) };
    match (local, report) {
        (Some(held), _) if held.header.history != history => {
            let why = format!(
                "it holds log {}, and the state file says that log {history} was begun here",
                held.header.history
            );
            Err(LogError::Unusable { what: "the log's ring".to_owned(), why })
        }
        (Some(_), _) => Ok(()),
        (None, Some(report)) if report.state != ReportState::Nothing => {
            if report.history == history {
                return Ok(());
            }
            Err(LogError::Histories { here: history, there: report.history })
        }
        (None, _) if start == Start::GiveUpMissing => Ok(()),
        (None, _) => Err(LogError::Lost { history }),
    }
}

/// Whether what the partner holds is the copy by which this node's records were acknowledged last, as far as the state file tells.
///
/// # Errors
/// [`LogError::OtherCopy`].
pub(super) fn counts(begun: Option<Begun>, start: Start, report: &CopyReport) -> Result<(), LogError> {
    let begun = begun.filter(|begun| begun.history == report.history && start == Start::Restore);
    match begun {
        Some(begun) if !begun.counts(report.lineage) => Err(LogError::OtherCopy { end: report.end }),
        _ => Ok(()),
    }
}

/// The report as this node is to take it: a takeover of a log that is not this node's, by its ring or its state file, is not its own.
pub(super) fn heard(report: &CopyReport, own: Option<History>) -> CopyReport {
    let is_ours = own.is_none_or(|own| own == report.history);
    CopyReport { taken: report.taken && is_ours, ..*report }
}

/// How a log that is not open yet begins, the partner having reported. `kept`: the highest term under which this node is known to have gone on alone.
pub(super) fn opening(
    start: Start,
    local: Option<&Held>,
    report: &CopyReport,
    ring_bytes: RingBytes,
    kept: Term,
) -> Result<Opening, LogError> {
    if start == Start::New {
        return Ok(Opening::New);
    }
    if report.taken {
        return Err(LogError::TakenOver { term: report.term });
    }
    let worthy = report.state == ReportState::Whole;
    let gives_up = start == Start::GiveUpMissing;
    match local {
        // There was a log: it went with this node's ring, and with whatever the partner had.
        None if report.state == ReportState::Nothing && kept > Term(0) && !gives_up => Err(LogError::RingLost { kept }),
        None if report.state == ReportState::Nothing => Ok(Opening::New),
        // What this node acknowledged alone went with its ring.
        None if worthy && report.term < kept && !gives_up => Err(LogError::AloneLost { kept, theirs: report.term }),
        None if worthy => from_partner(report, ring_bytes),
        // A person has given up what it lacks.
        None if gives_up && matches!(report.state, ReportState::MayLack | ReportState::Outdated) => {
            from_partner(report, ring_bytes)
        }
        None => Err(LogError::NotWorthy { state: state_name(report.state) }),
        Some(held) if worthy && held.header.history != report.history => {
            Err(LogError::Histories { here: held.header.history, there: report.history })
        }
        Some(held) if gives_up => given_up(held, report, ring_bytes),
        // Records that this node had are damaged: the partner has them where its copy reaches so far, and this node did
        // not go on alone since.
        Some(held)
            if held.is_damaged() && worthy && report.term >= held.header.term.max(kept) && has_all(held, report) =>
        {
            from_partner(report, ring_bytes)
        }
        // Some may be missing here, and none is there: the longer one has them all.
        Some(held)
            if !held.is_damaged() && held.doubt.is_some() && worthy && report.term >= held.header.term.max(kept) =>
        {
            newer(held, report, ring_bytes)
        }
        Some(held) if !held.is_sound() => held.check(false).map(|()| Opening::Local),
        // This node went on alone since the ring was written: it is an older one, brought back.
        Some(held) if kept > held.header.term && !(worthy && report.term >= kept) => {
            Err(LogError::AloneLost { kept, theirs: report.term })
        }
        // The partner's copy is no whole one, and has more all the same, or knows of a later term than the ring: so does that.
        Some(held) if !worthy && is_older(held, report) => {
            Err(LogError::MayLack { end: held.end.lsn, doubt: Doubt::PartnerHadMore })
        }
        // It has not got all of that term.
        Some(held) if !worthy && is_of_later_term(held, report) => {
            Err(LogError::NotWorthy { state: state_name(report.state) })
        }
        Some(_) if !worthy => Ok(Opening::Local),
        Some(held) => newer(held, report, ring_bytes),
    }
}

/// How a log begins whose missing records a person has given up: those that are missing here and there. What one of
/// both still has is taken.
fn given_up(held: &Held, report: &CopyReport, ring_bytes: RingBytes) -> Result<Opening, LogError> {
    // A copy that is being refilled is taken by nobody's word: what is missing from it may lie before what is there.
    let is_readable = matches!(report.state, ReportState::Whole | ReportState::MayLack | ReportState::Outdated);
    if is_readable && report.history == held.header.history {
        // A whole ring has all that its partner ever got, under whatever term: what is longer has what is missing here.
        let lacks = held.is_damaged() || held.is_given_up;
        if lacks && (report.end > held.end.lsn || (report.term >= held.header.term && has_all(held, report))) {
            return from_partner(report, ring_bytes);
        }
        if newer(held, report, ring_bytes)? == Opening::Partner {
            return Ok(Opening::Partner);
        }
    } else if is_of_later_term(held, report) {
        return Err(LogError::NotWorthy { state: state_name(report.state) });
    }
    held.check(true).map(|()| Opening::Local)
}

/// Whether a copy of the same log reaches what the local header calls acknowledged. A later writer began with all of
/// that, wherever it ends.
fn has_all(held: &Held, report: &CopyReport) -> bool {
    let is_later = (report.term, report.generation) > (held.header.term, held.header.generation);
    is_later || report.end >= held.header.acknowledged
}

/// Whether the copy knows of a later term than this node wrote under.
fn is_of_later_term(held: &Held, report: &CopyReport) -> bool {
    report.history == held.header.history && report.term > held.header.term
}

/// Whether a ring is of an earlier time than a copy of the same log that is not whole: a true one has all that its partner ever got.
fn is_older(held: &Held, report: &CopyReport) -> bool {
    let has_more = held.reach() < Seen { generation: report.generation, end: report.end };
    let is_outdated = report.state == ReportState::Outdated && held.header.term <= report.term;
    report.state != ReportState::Nothing && report.history == held.header.history && (has_more || is_outdated)
}

/// The newer of two that are sound.
fn newer(held: &Held, report: &CopyReport, ring_bytes: RingBytes) -> Result<Opening, LogError> {
    // Within one generation there is one writer, so that the shorter is a prefix of the longer.
    let here = (held.header.term, held.header.generation, held.end.lsn);
    let there = (report.term, report.generation, report.end);
    if here >= there { Ok(Opening::Local) } else { from_partner(report, ring_bytes) }
}

/// Random numbers for a log that begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawn {
    pub(super) history: History,
    pub(super) writer: u64,
}

/// What a log begins with. `held`: what the local ring has; `kept`: as for [`opening`].
///
/// # Errors
/// [`LogError::Exhausted`]: it could not be read again.
pub(super) fn beginning(
    opening: &Opening,
    held: Option<&Held>,
    report: Option<&CopyReport>,
    kept: Term,
    begun: Option<Begun>,
    drawn: Drawn,
) -> Result<Beginning, LogError> {
    let theirs = report.map_or(Term(0), |report| report.term);
    let known = kept.max(theirs).max(Term(1));
    // The highest under which this log was ever opened here.
    let opened =
        |history| begun.filter(|begun| begun.history == history).map_or(Generation(0), |begun| begun.generation);
    let fresh = Beginning {
        history: drawn.history,
        term: known,
        generation: Generation(1),
        sequence: report.map_or(0, |report| report.sequence),
        kept_sequence: held.map_or(0, |held| held.header.sequence),
        writer: drawn.writer,
        tail: Lsn::ZERO,
        end: Lsn::ZERO,
        restored_writer: 0,
        restored_term: Term(0),
    };
    let with = match (opening, held, report) {
        (Opening::Local, Some(held), _) => {
            let seen = report.map_or(Generation(0), |report| report.generation);
            Beginning {
                history: held.header.history,
                term: held.header.term.max(known),
                generation: next_generation(
                    of_ring(Some(held), held.header.history).0.max(seen).max(opened(held.header.history)),
                )?,
                tail: held.header.tail,
                end: held.end.lsn,
                restored_writer: held.header.writer,
                restored_term: held.header.term,
                ..fresh
            }
        }
        (Opening::Partner, _, Some(report)) => Beginning {
            history: report.history,
            // The header of a ring that is given up may know of a later writer than the copy, and of a later term.
            term: known.max(of_ring(held, report.history).1),
            generation: next_generation(
                of_ring(held, report.history).0.max(report.generation).max(opened(report.history)),
            )?,
            tail: report.tail,
            end: report.end,
            restored_writer: report.writer,
            restored_term: report.term,
            ..fresh
        },
        _ => fresh,
    };
    check_room(&with)?;
    Ok(with)
}

/// The generation and the term that the local ring of this log knows of.
fn of_ring(held: Option<&Held>, history: History) -> (Generation, Term) {
    let held = held.filter(|held| held.header.history == history);
    let of = |held: &Held| (held.header.generation.max(held.end.generation), held.header.term);
    held.map_or((Generation(0), Term(0)), of)
}

fn from_partner(report: &CopyReport, ring_bytes: RingBytes) -> Result<Opening, LogError> {
    if report.ring_bytes != ring_bytes.get() {
        return Err(LogError::RingSize { here: ring_bytes.get(), there: report.ring_bytes });
    }
    Ok(Opening::Partner)
}

fn state_name(state: ReportState) -> &'static str {
    match state {
        ReportState::Nothing => "empty",
        ReportState::Refilling => "half filled",
        ReportState::Whole => "whole",
        ReportState::Outdated => "outdated (its owner went on alone since)",
        ReportState::MayLack => "of a file that was in use, below Persistent, when its process ended",
    }
}

/// An open log, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) history: History,
    pub(super) term: Term,
    pub(super) generation: Generation,
    pub(super) writer: u64,
    pub(super) ring_bytes: RingBytes,
    pub(super) tail: Lsn,
    /// The end of what is committed, as far as it was ever looked at.
    pub(super) end: Lsn,
    pub(super) restored: Restored,
    /// A person said that a new log takes the place of what the partner has.
    pub(super) replaces: bool,
}

/// What a log was opened with: where that ends, and the writer of the header that led to it. It may have been acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Restored {
    pub(super) writer: u64,
    pub(super) term: Term,
    pub(super) end: Lsn,
}

/// What an open log does with the partner's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resume {
    /// It goes on from here.
    From(Lsn),
    /// From its tail, into a copy that is emptied first.
    Anew,
    /// Nothing: each of both may hold acknowledged records that the other lacks.
    Diverged,
}

/// From where on an open log is sent to a partner that reports this.
///
/// A copy of another log is never replaced but by a person's word, nor is one of this log that holds what this node did not begin with.
///
/// The copy is gone on with where this very writer wrote it, or the one whose records it was opened with, and no more than those: only then is its
/// valid prefix surely one of this log's.
///
/// # Errors
/// [`LogError::Superseded`], [`LogError::TakenOver`]: what is written here does not count.
///
/// `here`: the generation of the record that ends in this node's log where the copy ends; none where none ends there.
pub(super) fn resume(
    open: &Open,
    report: &CopyReport,
    here: impl FnOnce() -> Result<Option<Generation>, LogError>,
) -> Result<Resume, LogError> {
    superseded((open.history, open.term), report)?;
    let is_held = report.state != ReportState::Nothing;
    let is_same = report.history == open.history;
    if is_held && !is_same && !open.replaces {
        return Ok(Resume::Diverged);
    }
    let (by_us, by_restored) = (report.writer == open.writer, report.writer == open.restored.writer);
    if is_held && is_same && !by_us {
        // Another process has opened this log, with another ring.
        let is_later = !by_restored && report.generation >= open.generation;
        // The ring that this log was begun with was an older one: a true one has all that its partner ever got, by the same writers.
        let is_prefix = || match report.end {
            // That writer went alone later: what it had acknowledged is in its ring, and the copy has what came after that alone.
            _ if by_restored && report.term < open.restored.term => Ok(true),
            end if end <= open.tail => Ok(true),
            end if end > open.restored.end => Ok(false),
            _ => Ok::<_, LogError>(here()?.is_some_and(|generation| generation <= report.generation)),
        };
        if is_later || (report.state != ReportState::Refilling && !is_prefix()?) {
            return Ok(Resume::Diverged);
        }
    }
    let is_known = by_us || (by_restored && report.end <= open.restored.end);
    let is_ours = is_same && is_known && report.ring_bytes == open.ring_bytes.get();
    let is_within = report.tail <= open.tail && report.end >= open.tail && report.end <= open.end;
    Ok(if is_held && is_ours && is_within { Resume::From(report.end) } else { Resume::Anew })
}

/// Whether what is written here counts, by what a report says of the log that is open under this term.
///
/// # Errors
/// [`LogError::TakenOver`]: whatever the terms are, two nodes have written. [`LogError::Superseded`].
pub(super) fn superseded((history, ours): (History, Term), report: &CopyReport) -> Result<(), LogError> {
    if report.history != history {
        return Ok(());
    }
    match report.term {
        theirs if theirs > ours => Err(LogError::Superseded { ours, theirs }),
        term if report.taken => Err(LogError::TakenOver { term }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::header::{HeaderState, LogHeader};
    use super::super::stop::{StopReason, StoppedAt};
    use super::*;

    const RING: u64 = 1 << 16;

    fn report(state: ReportState, history: u128, (term, generation, end): (u64, u32, u64)) -> CopyReport {
        CopyReport {
            state,
            session: 1,
            history: History(history),
            term: Term(term),
            generation: Generation(generation),
            persists: false,
            applies: false,
            needs_base: false,
            tail: Lsn(64),
            end: Lsn(end),
            applied: Lsn(0),
            sequence: 9,
            ring_bytes: RING,
            applied_history: 0,
            writer: 5,
            lineage: 6,
            taken: false,
            vouches: false,
        }
    }

    fn held(history: u128, (term, generation, end): (u64, u32, u64)) -> Result<Held, LogError> {
        let header = LogHeader {
            state: HeaderState::Whole,
            sequence: 3,
            history: History(history),
            term: Term(term),
            generation: Generation(generation),
            tail: Lsn(64),
            ring_bytes: RingBytes::new(RING)?,
            acknowledged: Lsn(64),
            writer: 5,
            lineage: 6,
            persistent: false,
        };
        let why = StopReason::NothingThere { found: Lsn(0) };
        Ok(Held {
            header,
            end: StoppedAt { lsn: Lsn(end), generation: Generation(generation), why },
            doubt: None,
            is_given_up: false,
        })
    }

    #[test]
    fn a_log_begins_with_the_newer_of_both() -> Result<(), LogError> {
        let ring = RingBytes::new(RING)?;
        let decide =
            |local: Option<Held>, report: CopyReport| opening(Start::Restore, local.as_ref(), &report, ring, Term(0));
        let nothing = report(ReportState::Nothing, 0, (0, 0, 64));
        let whole = |of| report(ReportState::Whole, 7, of);
        assert_eq!(decide(None, nothing), Ok(Opening::New));
        assert_eq!(decide(None, whole((1, 1, 640))), Ok(Opening::Partner));
        assert_eq!(decide(Some(held(7, (1, 1, 640))?), nothing), Ok(Opening::Local));
        for (here, there, wanted) in [
            ((1, 1, 640), (1, 1, 640), Opening::Local),
            ((1, 1, 704), (1, 1, 640), Opening::Local),
            ((1, 1, 640), (1, 1, 704), Opening::Partner),
            ((1, 2, 640), (1, 1, 704), Opening::Local),
            ((2, 1, 640), (1, 9, 704), Opening::Local),
            ((1, 9, 704), (2, 10, 640), Opening::Partner),
        ] {
            assert_eq!(decide(Some(held(7, here)?), whole(there)), Ok(wanted), "{here:?} {there:?}");
        }
        Ok(())
    }

    #[test]
    fn what_may_lack_records_is_refused_and_never_mixed() -> Result<(), LogError> {
        let ring = RingBytes::new(RING)?;
        let decide =
            |local: Option<Held>, report: CopyReport| opening(Start::Restore, local.as_ref(), &report, ring, Term(0));
        for state in [ReportState::Refilling, ReportState::Outdated, ReportState::MayLack] {
            let unworthy = report(state, 7, (1, 1, 640));
            let given_up = opening(Start::GiveUpMissing, None, &unworthy, ring, Term(0));
            assert_eq!(given_up.is_ok(), state != ReportState::Refilling, "{state:?}");
            assert!(matches!(decide(None, unworthy), Err(LogError::NotWorthy { .. })));
            let here = |of| Ok::<_, LogError>(decide(Some(held(7, of)?), unworthy));
            let older = Err(LogError::MayLack { end: Lsn(64), doubt: Doubt::PartnerHadMore });
            assert_eq!(here((1, 1, 64))?, older, "the partner has more");
            assert_eq!(here((2, 2, 640))?, Ok(Opening::Local));
            assert_eq!(here((1, 1, 640))?.is_ok(), state != ReportState::Outdated, "{state:?}");
        }
        let whole = report(ReportState::Whole, 7, (1, 1, 640));
        assert!(matches!(decide(Some(held(8, (1, 1, 640))?), whole), Err(LogError::Histories { .. })));
        let other = CopyReport { ring_bytes: 2 * RING, ..whole };
        assert!(matches!(decide(None, other), Err(LogError::RingSize { .. })));
        assert_eq!(opening(Start::New, None, &other, ring, Term(0)), Ok(Opening::New));
        let taken = CopyReport { taken: true, ..whole };
        assert!(matches!(decide(None, taken), Err(LogError::TakenOver { .. })));
        // One that may have lost it is gone on with beside a whole copy alone, of its term or a later one.
        let doubtful = |of| held(7, of).map(|held| Held { doubt: Some(Doubt::OtherBoot), ..held });
        assert_eq!(decide(Some(doubtful((1, 1, 576))?), whole), Ok(Opening::Partner));
        assert_eq!(decide(Some(doubtful((1, 1, 640))?), whole), Ok(Opening::Local));
        let may_lack = |decided| matches!(decided, Err(LogError::MayLack { doubt: Doubt::OtherBoot, .. }));
        assert!(may_lack(decide(Some(doubtful((2, 1, 640))?), whole)), "it went on alone since");
        let alone_since = opening(Start::Restore, Some(&doubtful((1, 1, 640))?), &whole, ring, Term(2));
        assert!(may_lack(alone_since), "and the ring forgot that");
        for state in [ReportState::Nothing, ReportState::Refilling, ReportState::Outdated] {
            assert!(may_lack(decide(Some(doubtful((1, 1, 640))?), report(state, 7, (1, 1, 640)))), "{state:?}");
        }
        let brought_back = |kept, report: &CopyReport| {
            Ok::<_, LogError>(opening(Start::Restore, Some(&held(7, (1, 1, 640))?), report, ring, Term(kept)))
        };
        assert_eq!(brought_back(1, &whole)?, Ok(Opening::Local));
        for report in [&whole, &report(ReportState::Nothing, 0, (0, 0, 64))] {
            let lost = LogError::AloneLost { kept: Term(2), theirs: report.term };
            assert_eq!(brought_back(2, report)?, Err(lost), "a ring from before it went alone");
        }
        let without = |kept| opening(Start::Restore, None, &whole, ring, Term(kept));
        assert_eq!(without(1), Ok(Opening::Partner));
        assert_eq!(without(2), Err(LogError::AloneLost { kept: Term(2), theirs: Term(1) }));
        let nothing = report(ReportState::Nothing, 0, (0, 0, 64));
        let never = |start, report, kept| opening(start, None, report, ring, Term(kept));
        assert_eq!(never(Start::Restore, &nothing, 2), Err(LogError::RingLost { kept: Term(2) }));
        assert_eq!(never(Start::GiveUpMissing, &nothing, 2), Ok(Opening::New), "a person has decided");
        assert_eq!(never(Start::GiveUpMissing, &whole, 2), Ok(Opening::Partner));
        let later = report(ReportState::Refilling, 7, (2, 1, 640));
        assert!(matches!(decide(Some(held(7, (1, 1, 640))?), later), Err(LogError::NotWorthy { .. })));
        Ok(())
    }

    /// A local ring that has lost its end is not gone on with, whatever it claims to be.
    #[test]
    fn damage_is_mended_by_a_copy_that_reaches_as_far() -> Result<(), LogError> {
        let ring = RingBytes::new(RING)?;
        let decide =
            |local: Option<Held>, report: CopyReport| opening(Start::Restore, local.as_ref(), &report, ring, Term(0));
        let whole = report(ReportState::Whole, 7, (1, 1, 640));
        let mut damaged = held(7, (1, 9, 640))?;
        damaged.header.acknowledged = Lsn(704);
        let reaches = CopyReport { end: Lsn(704), ..whole };
        assert_eq!(decide(Some(damaged), reaches), Ok(Opening::Partner), "up to what was acknowledged");
        assert_eq!(decide(Some(damaged), report(ReportState::Whole, 7, (1, 10, 640))), Ok(Opening::Partner));
        assert_eq!(decide(Some(damaged), report(ReportState::Whole, 7, (2, 10, 640))), Ok(Opening::Partner));
        // A copy that ends before what was acknowledged has not got it.
        for of in [(1, 1, 640), (1, 9, 672), (1, 8, 672)] {
            let short = decide(Some(damaged), report(ReportState::Whole, 7, of));
            assert!(matches!(short, Err(LogError::Damaged { .. })), "{of:?}: {short:?}");
        }
        let doubtful_too = Held { doubt: Some(Doubt::OtherBoot), ..damaged };
        assert!(matches!(decide(Some(doubtful_too), whole), Err(LogError::Damaged { .. })));
        // Nor is an older copy, or one of another log, what it lost.
        let mut alone = held(7, (2, 9, 640))?;
        alone.header.acknowledged = Lsn(704);
        assert!(matches!(decide(Some(alone), whole), Err(LogError::Damaged { .. })));
        let mut other = held(8, (1, 9, 640))?;
        other.header.acknowledged = Lsn(704);
        assert!(matches!(decide(Some(other), whole), Err(LogError::Histories { .. })));
        let nothing = report(ReportState::Nothing, 0, (0, 0, 64));
        assert!(matches!(decide(Some(damaged), nothing), Err(LogError::Damaged { .. })));
        Ok(())
    }

    #[test]
    fn what_one_of_both_has_is_not_given_up() -> Result<(), LogError> {
        let ring = RingBytes::new(RING)?;
        let decide =
            |held: &Held, report: &CopyReport| opening(Start::GiveUpMissing, Some(held), report, ring, Term(0));
        let mut here = held(7, (2, 4, 640))?;
        for acknowledged in [640, 704] {
            here.header.acknowledged = Lsn(acknowledged);
            for state in [ReportState::Whole, ReportState::MayLack, ReportState::Outdated] {
                let is_damaged = acknowledged > 640;
                // What is longer has what is missing here, under whatever term.
                let longer = if is_damaged { Opening::Partner } else { Opening::Local };
                for (there, wanted) in [
                    ((2, 4, 608), Opening::Local),
                    ((2, 4, 640), Opening::Local),
                    ((2, 4, 672), Opening::Partner),
                    ((2, 5, 608), Opening::Partner),
                    ((3, 5, 608), Opening::Partner),
                    ((2, 3, 672), longer.clone()),
                    ((1, 9, 672), longer),
                    ((1, 9, 608), Opening::Local),
                ] {
                    let report = report(state, 7, there);
                    assert_eq!(decide(&here, &report), Ok(wanted), "{acknowledged} {state:?} {there:?}");
                }
                let other = decide(&here, &report(state, 8, (9, 9, 960)));
                assert_eq!(other.is_ok(), state != ReportState::Whole, "{state:?} of another log: {other:?}");
                assert_ne!(other, Ok(Opening::Partner));
                let size = CopyReport { ring_bytes: 2 * RING, ..report(state, 7, (2, 4, 672)) };
                assert!(matches!(decide(&here, &size), Err(LogError::RingSize { .. })));
            }
            assert_eq!(decide(&here, &report(ReportState::Refilling, 7, (2, 5, 960))), Ok(Opening::Local));
            let later = decide(&here, &report(ReportState::Refilling, 7, (3, 5, 960)));
            assert!(matches!(later, Err(LogError::NotWorthy { .. })), "{later:?}");
            assert_eq!(decide(&here, &report(ReportState::Nothing, 0, (0, 0, 64))), Ok(Opening::Local));
        }
        // The header of a damaged ring is of a writer that appended nothing: the copy reaches what that began with.
        let reaches = report(ReportState::Whole, 7, (2, 3, 704));
        assert_eq!(decide(&here, &reaches), Ok(Opening::Partner));
        let drawn = Drawn { history: History(1), writer: 2 };
        let with = beginning(&Opening::Partner, Some(&here), Some(&reaches), Term(0), None, drawn)?;
        assert_eq!((with.generation, with.term), (Generation(5), Term(2)), "no two writers have one of either");
        // Doubted by a power cut, and given up: the copy of an earlier term is longer.
        here.header.acknowledged = Lsn(64);
        let doubted = Held { is_given_up: true, ..here };
        assert_eq!(decide(&doubted, &report(ReportState::Whole, 7, (1, 3, 672))), Ok(Opening::Partner));
        // A restore that was begun and did not come to its end in this process.
        let seen = Held { doubt: Some(Doubt::PartnerHadMore), ..here };
        assert!(matches!(decide(&seen, &report(ReportState::Nothing, 0, (0, 0, 64))), Err(LogError::MayLack { .. })));
        Ok(())
    }

    #[test]
    fn a_log_that_was_begun_is_not_begun_anew_unasked() -> Result<(), LogError> {
        let (nothing, whole) =
            (report(ReportState::Nothing, 0, (0, 0, 64)), report(ReportState::Whole, 7, (1, 1, 640)));
        let ring = held(7, (1, 1, 640))?;
        let lost = |history| Err(LogError::Lost { history: History(history) });
        for start in [Start::Restore, Start::GiveUpMissing, Start::New] {
            assert_eq!(known(None, start, None, Some(&nothing)), Ok(()));
            assert_eq!(known(Some(History(7)), start, None, Some(&whole)), Ok(()));
            assert_eq!(known(Some(History(7)), start, Some(&ring), None), Ok(()));
            let other = known(Some(History(8)), start, None, Some(&whole));
            let other_ring = known(Some(History(8)), start, Some(&ring), Some(&nothing));
            if start == Start::New {
                assert_eq!((other, other_ring), (Ok(()), Ok(())), "a person has decided");
            } else {
                assert_eq!(other, Err(LogError::Histories { here: History(8), there: History(7) }));
                assert!(matches!(other_ring, Err(LogError::Unusable { .. })));
            }
            let gone = if start == Start::Restore { lost(7) } else { Ok(()) };
            assert_eq!(known(Some(History(7)), start, None, Some(&nothing)), gone);
            assert_eq!(known(Some(History(7)), start, None, None), gone, "alone");
        }
        Ok(())
    }

    /// The log here has records of generation 2 wherever one may end.
    fn resumed(open: &Open, report: &CopyReport) -> Result<Resume, LogError> {
        resume(open, report, || Ok(Some(Generation(2))))
    }

    #[test]
    fn only_what_this_writer_wrote_is_gone_on_with() -> Result<(), LogError> {
        let ring_bytes = RingBytes::new(RING)?;
        let open = Open {
            history: History(7),
            term: Term(2),
            generation: Generation(3),
            writer: 5,
            ring_bytes,
            tail: Lsn(128),
            end: Lsn(1024),
            restored: Restored { writer: 4, term: Term(2), end: Lsn(512) },
            replaces: true,
        };
        let whole = |of| report(ReportState::Whole, 7, of);
        let (from, anew) = (|end| Ok(Resume::From(Lsn(end))), Ok(Resume::Anew));
        assert_eq!(resumed(&open, &whole((2, 3, 640))), from(640));
        assert_eq!(resumed(&open, &whole((1, 3, 640))), from(640), "an older term, and the same writer");
        let earlier = |end| CopyReport { writer: 4, ..whole((2, 2, end)) };
        assert_eq!(resumed(&open, &earlier(512)), from(512), "what it was opened with");
        assert_eq!(resumed(&open, &earlier(480)), from(480), "a part of it");
        for other in [
            CopyReport { writer: 6, ..whole((2, 2, 480)) },
            // Of before this writer went alone: what is more there was never acknowledged.
            CopyReport { term: Term(1), ..earlier(544) },
            CopyReport { state: ReportState::Refilling, ..earlier(544) },
            earlier(96),
            whole((2, 3, 96)),
            whole((2, 3, 1088)),
            report(ReportState::Nothing, 7, (2, 3, 640)),
            report(ReportState::Whole, 8, (2, 3, 640)),
            report(ReportState::Whole, 8, (9, 3, 640)),
            CopyReport { ring_bytes: 2 * RING, ..whole((2, 3, 640)) },
        ] {
            assert_eq!(resumed(&open, &other), anew, "{other:?}");
        }
        // This log was begun with an older ring, or with another one than the log was opened with since.
        let other = |of| CopyReport { writer: 6, ..whole(of) };
        for state in [ReportState::Whole, ReportState::Outdated, ReportState::MayLack] {
            for more in [earlier(544), other((2, 3, 64)), other((1, 4, 640)), other((2, 2, 640)), other((1, 1, 480))] {
                assert_eq!(resumed(&open, &CopyReport { state, ..more }), Ok(Resume::Diverged), "{state:?} {more:?}");
            }
            let shifted = CopyReport { state, ..other((2, 2, 480)) };
            assert_eq!(resume(&open, &shifted, || Ok(None)), Ok(Resume::Diverged), "no record ends there");
        }
        assert!(matches!(resumed(&open, &whole((3, 3, 640))), Err(LogError::Superseded { .. })));
        for state in [ReportState::Nothing, ReportState::Whole] {
            let taken = CopyReport { taken: true, state, ..whole((2, 3, 640)) };
            assert_eq!(resumed(&open, &taken), Err(LogError::TakenOver { term: Term(2) }), "whatever the terms are");
        }
        let found = Open { replaces: false, ..open };
        for state in [ReportState::Refilling, ReportState::Whole, ReportState::Outdated] {
            let other = resumed(&found, &report(state, 8, (1, 1, 640)));
            assert_eq!(other, Ok(Resume::Diverged), "nobody said which of both counts");
        }
        assert_eq!(resumed(&found, &report(ReportState::Nothing, 0, (0, 0, 64))), anew);
        Ok(())
    }
}
