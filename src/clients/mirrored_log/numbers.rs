//! How far a node has counted, and which numbers of the partner it follows. The rule stands in `lsn`.
//!
//! Pure. Imports the limits of `lsn`.

use super::error::LogError;
use super::header::LogHeader;
use super::lsn::{GENERATION_RECEIVED_MAX, Generation, Lsn, OPENED_MAX, RECEIVED_MAX, Term};
use super::report::CopyReport;
use super::writer::{Beginning, Held};

/// How far this node has counted itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbers {
    pub(super) term: Term,
    pub(super) generation: Generation,
    pub(super) sequence: u64,
    pub(super) end: Lsn,
}

impl Numbers {
    /// What the local ring and the term file know.
    pub(super) fn held(held: Option<&Held>, kept: Term) -> Self {
        let Some(Held { header: LogHeader { term, generation, sequence, .. }, end, .. }) = held else {
            return Self { term: kept, ..Self::default() };
        };
        let generation = (*generation).max(end.generation);
        Self { term: kept.max(*term), generation, sequence: *sequence, end: end.lsn }
    }

    /// Whether a report is followed: nothing in it is both higher than what is believed of a
    /// partner, and higher than what this node has counted itself.
    ///
    /// # Errors
    /// [`LogError::TooHigh`].
    pub(super) fn accept(&self, report: &CopyReport) -> Result<(), LogError> {
        // Nobody counts on from the term of a takeover.
        let term = if report.taken { 0 } else { report.term.0 };
        let received = u64::from(GENERATION_RECEIVED_MAX);
        let (theirs, ours) = (u64::from(report.generation.0), u64::from(self.generation.0));
        for (what, found, known, max) in [
            ("term", term, self.term.0, RECEIVED_MAX),
            ("generation", theirs, ours, received),
            ("sequence", report.sequence, self.sequence, RECEIVED_MAX),
            ("end", report.end.0, self.end.0, RECEIVED_MAX),
        ] {
            if found > known.max(max) {
                return Err(LogError::TooHigh { what, found, known });
            }
        }
        Ok(())
    }
}

/// Whether a log can begin so: what one process adds to its numbers stays readable.
///
/// # Errors
/// [`LogError::Exhausted`].
pub(super) fn check_room(with: &Beginning) -> Result<(), LogError> {
    if !with.term.is_valid() {
        return Err(LogError::Exhausted { what: "term", found: with.term.0 });
    }
    for (what, found) in [("sequence", with.sequence), ("sequence", with.kept_sequence), ("end", with.end.0)] {
        if found > OPENED_MAX {
            return Err(LogError::Exhausted { what, found });
        }
    }
    Ok(())
}

/// The generation of a writer that goes on after these: no two writers have one.
///
/// # Errors
/// [`LogError::Exhausted`].
pub(super) fn next_generation(seen: Generation) -> Result<Generation, LogError> {
    seen.next().ok_or(LogError::Exhausted { what: "generation", found: u64::from(seen.0) })
}

/// The term to go on alone under.
///
/// # Errors
/// [`LogError::Exhausted`].
pub(super) fn next_term(seen: Term) -> Result<Term, LogError> {
    seen.next().ok_or(LogError::Exhausted { what: "term", found: seen.0 })
}

#[cfg(test)]
mod tests {
    use super::super::config::{Acknowledge, Start};
    use super::super::decide::{self, Drawn, Opening};
    use super::super::header::{HeaderFault, HeaderState};
    use super::super::lsn::{GENERATION_MAX, History, NUMBER_MAX, TAKEN_MAX};
    use super::super::report::ReportState;
    use super::super::shared::Shared;
    use super::super::stop::{StopReason, StoppedAt};
    use super::super::writer::Writer;
    use super::super::{OwnSource, Records, RingBytes};
    use super::*;
    use crate::memory::Region;
    use proptest::prelude::*;

    const RING: u64 = 1 << 16;
    const DRAWN: Drawn = Drawn { history: History(99), writer: 77 };

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// Every limit, and what lies beside it.
    fn hostile() -> Vec<u64> {
        let limits = [RECEIVED_MAX, OPENED_MAX, NUMBER_MAX, TAKEN_MAX, 1 << 63];
        let generations = [GENERATION_RECEIVED_MAX, GENERATION_MAX, u32::MAX].map(u64::from);
        let beside = |limit: u64| [limit - 32, limit - 1, limit, limit.saturating_add(1), limit.saturating_add(32)];
        let near = limits.into_iter().chain(generations).chain([RING]).flat_map(beside);
        [0, 1, 64, u64::MAX - 1, u64::MAX].into_iter().chain(near).collect()
    }

    fn report() -> CopyReport {
        CopyReport {
            state: ReportState::Whole,
            session: 1,
            history: History(7),
            term: Term(5),
            generation: Generation(6),
            persists: false,
            applies: false,
            needs_base: false,
            tail: Lsn(64),
            end: Lsn(128),
            applied: Lsn(64),
            sequence: 9,
            ring_bytes: RING,
            applied_history: 7,
            writer: 5,
            lineage: 6,
            taken: false,
            vouches: false,
        }
    }

    fn header() -> Result<LogHeader, LogError> {
        Ok(LogHeader {
            state: HeaderState::Whole,
            sequence: 8,
            history: History(7),
            term: Term(5),
            generation: Generation(6),
            tail: Lsn(64),
            ring_bytes: RingBytes::new(RING)?,
            acknowledged: Lsn(64),
            writer: 5,
            lineage: 6,
            persistent: false,
        })
    }

    fn held(header: LogHeader) -> Held {
        let (lsn, generation) = (Lsn(header.tail.0 + 64), header.generation);
        Held { header, end: StoppedAt { lsn, generation, why: StopReason::RingFull }, doubt: None, is_given_up: false }
    }

    fn set_report(field: usize, value: u64) -> CopyReport {
        let mut report = report();
        let generation = u32::try_from(value).unwrap_or(u32::MAX);
        match field {
            0 => report.term = Term(value),
            1 => report.generation = Generation(generation),
            2 => report.sequence = value,
            3 => (report.tail, report.end) = (Lsn(value), Lsn(value.saturating_add(64))),
            4 => report.end = Lsn(value),
            5 => report.applied = Lsn(value),
            6 => report.ring_bytes = value,
            _ => (report.term, report.taken) = (Term(value), true),
        }
        report
    }

    fn set_header(field: usize, value: u64) -> Result<Option<[u8; 128]>, LogError> {
        let mut header = header()?;
        match field {
            0 => header.term = Term(value),
            1 => header.generation = Generation(u32::try_from(value).unwrap_or(u32::MAX)),
            2 => header.sequence = value,
            3 => (header.tail, header.acknowledged) = (Lsn(value), Lsn(value)),
            4 => header.acknowledged = Lsn(value),
            _ => match RingBytes::new(value) {
                Ok(ring_bytes) => header.ring_bytes = ring_bytes,
                Err(_) => return Ok(None),
            },
        }
        Ok(Some(header.encode()))
    }

    /// Opens a log as the poller does; whether it came to that. Checks everything it writes.
    fn open(held: Option<Held>, report: Option<&CopyReport>, kept: Term) -> Result<bool, Box<dyn std::error::Error>> {
        let ring_bytes = RingBytes::new(RING)?;
        let known = Numbers::held(held.as_ref(), kept);
        let opening = match report {
            Some(report) if known.accept(report).is_err() => return Ok(false),
            Some(report) => decide::opening(Start::Restore, held.as_ref(), report, ring_bytes, kept),
            None => Ok(Opening::Local),
        };
        let Ok(opening) = opening else { return Ok(false) };
        let with = match decide::beginning(&opening, held.as_ref(), report, kept, None, DRAWN) {
            Ok(with) => with,
            Err(error) => {
                assert!(matches!(error, LogError::Exhausted { .. }), "{error}");
                return Ok(false);
            }
        };
        let shared = Shared::new("wal".parse()?, Acknowledge::Placed);
        let region = Region::builder(ring_bytes.area_bytes() as usize).pinned(false).build()?;
        let mut writer = Writer::open((region, None), ring_bytes, with, (Vec::new(), None, None), &shared)?;
        if let Some(report) = report {
            writer.follow(report.sequence);
        }
        // Its own header, as the next process reads it.
        let kept_header = *Records::open(OwnSource::new(&writer.reader))?.header();
        let (tail, mut term) = (writer.tail(), shared.term());
        for _ in 0..3 {
            let header = writer.header(HeaderState::Whole, term, tail, with.end);
            assert_eq!(LogHeader::decode(&header.encode()), Ok(header));
            for seen in held.iter().filter(|_| opening == Opening::Local).map(|held| &held.header) {
                assert!(header.term >= seen.term && header.generation > seen.generation);
                assert!(kept_header.sequence > seen.sequence);
            }
            if let Some(report) = report {
                assert!(header.sequence > report.sequence);
                assert!(header.term >= report.term);
                assert!(header.history != report.history || header.generation > report.generation);
            }
            // An honest partner says it back, and is believed.
            let (generation, sequence, end) = (header.generation, header.sequence, with.end);
            let back = CopyReport { term, generation, sequence, tail, end, ..self::report() };
            assert_eq!(CopyReport::decode(&back.encode()), Ok(back));
            assert_eq!(writer.numbers(term).accept(&back), Ok(()));
            match next_term(term) {
                Ok(next) => term = next,
                Err(error) => assert!(matches!(error, LogError::Exhausted { .. }), "{error}"),
            }
        }
        Ok(true)
    }

    #[test]
    fn whatever_is_reported_what_is_written_next_is_readable_and_newer() -> Outcome {
        let mut opened = 0;
        for value in hostile() {
            for field in 0..8 {
                let made = set_report(field, value);
                let Ok(report) = CopyReport::decode(&made.encode()) else { continue };
                assert_eq!(report, made);
                for held in [None, Some(held(header()?))] {
                    opened += u32::from(open(held, Some(&report), Term(0))?);
                }
            }
        }
        assert!(opened > 200, "{opened} came as far as a header");
        Ok(())
    }

    #[test]
    fn whatever_the_local_ring_holds_what_is_written_next_is_readable_and_newer() -> Outcome {
        let mut opened = 0;
        for value in hostile() {
            for field in 0..6 {
                let Some(bytes) = set_header(field, value)? else { continue };
                let Ok(header) = LogHeader::decode(&bytes) else { continue };
                let held = held(LogHeader { ring_bytes: RingBytes::new(RING)?, ..header });
                opened += u32::from(open(Some(held), None, Term(0))?);
                opened += u32::from(open(Some(held), Some(&report()), Term(1))?);
            }
        }
        assert!(opened > 100, "{opened} came as far as a header");
        Ok(())
    }

    #[test]
    fn what_is_believed_is_low_or_known() -> Outcome {
        let nothing = Numbers::default();
        for (field, what, max) in [
            (0, "term", RECEIVED_MAX),
            (1, "generation", u64::from(GENERATION_RECEIVED_MAX)),
            (2, "sequence", RECEIVED_MAX),
        ] {
            assert_eq!(nothing.accept(&set_report(field, max)), Ok(()));
            let too_high = LogError::TooHigh { what, found: max + 1, known: 0 };
            assert_eq!(nothing.accept(&set_report(field, max + 1)), Err(too_high));
            let generation = Generation(u32::try_from(max + 1).unwrap_or(0));
            let known = Numbers { term: Term(max + 1), generation, sequence: max + 1, end: Lsn(0) };
            assert_eq!(known.accept(&set_report(field, max + 1)), Ok(()), "its own number");
        }
        assert!(nothing.accept(&set_report(3, RECEIVED_MAX)).is_err(), "its end lies beyond");
        assert_eq!(nothing.accept(&set_report(7, TAKEN_MAX)), Ok(()), "only ever compared");
        Ok(())
    }

    #[test]
    fn positions_that_cannot_be_are_refused() -> Outcome {
        let field = |field| Err(HeaderFault::Field { field });
        let acknowledged = |lsn| -> Result<_, LogError> {
            Ok(LogHeader::decode(&LogHeader { acknowledged: Lsn(lsn), ..header()? }.encode()).map(|_| ()))
        };
        assert_eq!(acknowledged(64 + RING)?, Ok(()));
        for lsn in [64 + RING + 32, 1 << 61, u64::MAX] {
            assert_eq!(acknowledged(lsn)?, field("acknowledged position"));
        }
        let applied = |lsn| CopyReport::decode(&set_report(5, lsn).encode()).map(|_| ());
        assert_eq!(applied(NUMBER_MAX), Ok(()));
        assert_eq!(applied(NUMBER_MAX + 1), field("applied position"));
        Ok(())
    }

    proptest! {
        #[test]
        fn any_mix_of_numbers_is_refused_or_leads_on(
            (term, sequence, tail) in (0..=u64::MAX, 0..=u64::MAX, 0..=u64::MAX),
            (shift, generation, taken) in (0..64_u32, any::<u32>(), any::<bool>()),
        ) {
            let tail = Lsn((tail >> shift) & !31);
            let made = CopyReport {
                term: Term(term >> shift),
                sequence: sequence >> shift,
                generation: Generation(generation),
                taken,
                tail,
                end: Lsn(tail.0.saturating_add(64)),
                ..report()
            };
            if let Ok(report) = CopyReport::decode(&made.encode()) {
                let opened = open(None, Some(&report), Term(0));
                prop_assert!(opened.is_ok(), "{:?}", opened.map_err(|error| error.to_string()));
            }
        }
    }
}
