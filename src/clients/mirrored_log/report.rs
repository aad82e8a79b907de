//! What the partner reports of its copy, as bytes: one WRITE of it into the memory of the log's owner.

use crate::clients::mirrored_log::header::{self, HEADER_BYTES, HeaderFault, LAYOUT};
use crate::clients::mirrored_log::lsn::{NUMBER_MAX, TAKEN_MAX};
use crate::clients::mirrored_log::{Generation, History, Lsn, RingBytes, Term};
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a report.
pub const REPORT_BYTES: usize = HEADER_BYTES;
/// What a report begins with.
pub const MAGIC: [u8; 8] = *b"HFCOPYRP";

const FLAG_PERSISTS: u32 = 1;
const FLAG_APPLIES: u32 = 2;
const FLAG_NEEDS_BASE: u32 = 4;
const FLAG_TAKEN: u32 = 8;
const FLAG_VOUCHES: u32 = 16;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct ReportBytes {
    magic: [u8; 8],
    layout: U32,
    state: U32,
    session: U64,
    history: U128,
    term: U64,
    generation: U32,
    flags: U32,
    tail: U64,
    end: U64,
    applied: U64,
    sequence: U64,
    ring_bytes: U64,
    applied_history: U64,
    writer: U64,
    lineage: U64,
    padding: [u8; 4],
    checksum: U32,
}

const _: () = assert!(size_of::<ReportBytes>() == REPORT_BYTES);

/// What the partner holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportState {
    /// Nothing of any log.
    Nothing,
    /// A copy whose refilling did not come to its end.
    Refilling,
    /// A copy with all records from its tail to its end.
    Whole,
    /// A copy of an older term: its owner went on alone since.
    Outdated,
    /// A copy from a file that was in use when its process ended, below `Persistent`: the last records may be missing.
    MayLack,
}

impl ReportState {
    fn number(self) -> u32 {
        match self {
            ReportState::Nothing => 0,
            ReportState::Refilling => 1,
            ReportState::Whole => 2,
            ReportState::Outdated => 3,
            ReportState::MayLack => 4,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(ReportState::Nothing),
            1 => Some(ReportState::Refilling),
            2 => Some(ReportState::Whole),
            3 => Some(ReportState::Outdated),
            4 => Some(ReportState::MayLack),
            _ => None,
        }
    }
}

/// The partner's report of the copy it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CopyReport {
    /// What it holds.
    pub state: ReportState,
    /// Low half of the id of the session it is said in: one of another session counts for nothing.
    pub session: u64,
    /// Of which log.
    pub history: History,
    /// Under which term it was written.
    pub term: Term,
    /// The generation of its last record.
    pub generation: Generation,
    /// Whether the partner persists records to a file.
    pub persists: bool,
    /// Whether a consumer there applies records.
    pub applies: bool,
    /// Whether that consumer needs a base image before it can apply any.
    pub needs_base: bool,
    /// The first record it holds.
    pub tail: Lsn,
    /// Where its valid prefix ends.
    pub end: Lsn,
    /// Everything before this is applied.
    pub applied: Lsn,
    /// Low half of the history of the log of which it is: a consumer may be behind a change of logs.
    pub applied_history: u64,
    /// The sequence of the header there: the next one written must have a higher one.
    pub sequence: u64,
    /// Bytes of the ring it was copied from; 0 where nothing is held.
    pub ring_bytes: u64,
    /// Who wrote it: see [`LogHeader::writer`](super::LogHeader::writer).
    pub writer: u64,
    /// See [`LogHeader::lineage`](super::LogHeader::lineage).
    pub lineage: u64,
    /// The partner has taken the log over, under `term`.
    pub taken: bool,
    /// The partner's file says, or may say, that it has all that is acknowledged: nothing may be acknowledged that does not wait for it.
    pub vouches: bool,
}

impl CopyReport {
    /// Its 128 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; REPORT_BYTES] {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let flags = flag(self.persists, FLAG_PERSISTS)
            | flag(self.applies, FLAG_APPLIES)
            | flag(self.needs_base, FLAG_NEEDS_BASE)
            | flag(self.taken, FLAG_TAKEN)
            | flag(self.vouches, FLAG_VOUCHES);
        let fields = ReportBytes {
            magic: MAGIC,
            layout: LAYOUT.into(),
            state: self.state.number().into(),
            session: self.session.into(),
            history: self.history.0.into(),
            term: self.term.0.into(),
            generation: self.generation.0.into(),
            flags: flags.into(),
            tail: self.tail.0.into(),
            end: self.end.0.into(),
            applied: self.applied.0.into(),
            sequence: self.sequence.into(),
            ring_bytes: self.ring_bytes.into(),
            applied_history: self.applied_history.into(),
            writer: self.writer.into(),
            lineage: self.lineage.into(),
            padding: [0; 4],
            checksum: 0.into(),
        };
        let mut bytes = zerocopy::transmute!(fields);
        header::seal(&mut bytes);
        bytes
    }

    /// From copied-out bytes. Flags that this version does not know are passed over.
    ///
    /// # Errors
    /// [`HeaderFault`], by the first check that fails: [`HeaderFault::Empty`] where none was written yet.
    pub fn decode(bytes: &[u8; REPORT_BYTES]) -> Result<Self, HeaderFault> {
        let fields: ReportBytes = zerocopy::transmute!(*bytes);
        header::check(bytes, fields.magic, MAGIC, fields.layout.get())?;
        let field = |field| HeaderFault::Field { field };
        let (tail, end, applied) = (Lsn(fields.tail.get()), Lsn(fields.end.get()), Lsn(fields.applied.get()));
        if !tail.is_aligned() {
            return Err(field("tail"));
        }
        let ring_bytes = fields.ring_bytes.get();
        let held = end.bytes_since(tail);
        let is_ring = ring_bytes == 0 || RingBytes::new(ring_bytes).is_ok();
        if !is_ring {
            return Err(field("length of the ring"));
        }
        if !end.is_aligned() || end.0 > NUMBER_MAX || held.is_none_or(|held| held > ring_bytes) {
            return Err(field("end"));
        }
        if applied.0 > NUMBER_MAX {
            return Err(field("applied position"));
        }
        let flags = fields.flags.get();
        let term_max = if flags & FLAG_TAKEN != 0 { TAKEN_MAX } else { NUMBER_MAX };
        header::in_range(fields.sequence.get(), (fields.term.get(), term_max), fields.generation.get())?;
        Ok(Self {
            state: ReportState::from_number(fields.state.get()).ok_or(field("state"))?,
            session: fields.session.get(),
            history: History(fields.history.get()),
            term: Term(fields.term.get()),
            generation: Generation(fields.generation.get()),
            persists: flags & FLAG_PERSISTS != 0,
            applies: flags & FLAG_APPLIES != 0,
            needs_base: flags & FLAG_NEEDS_BASE != 0,
            tail,
            end,
            applied,
            sequence: fields.sequence.get(),
            ring_bytes,
            applied_history: fields.applied_history.get(),
            writer: fields.writer.get(),
            lineage: fields.lineage.get(),
            taken: flags & FLAG_TAKEN != 0,
            vouches: flags & FLAG_VOUCHES != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: CopyReport = CopyReport {
        state: ReportState::Outdated,
        session: 9,
        history: History(0xff00),
        term: Term(4),
        generation: Generation(5),
        persists: true,
        applies: false,
        needs_base: true,
        tail: Lsn(64),
        end: Lsn(256),
        applied: Lsn(128),
        sequence: 3,
        ring_bytes: 1 << 16,
        applied_history: 0xff00,
        writer: 0x100,
        lineage: 0x200,
        taken: false,
        vouches: false,
    };

    /// The bytes are the format: they may never change.
    #[test]
    fn a_report_has_these_bytes() {
        let bytes = REPORT.encode();
        let mut wanted = [0; REPORT_BYTES];
        wanted[..8].copy_from_slice(b"HFCOPYRP");
        let set = [
            (8, 1),
            (12, 3),
            (16, 9),
            (25, 0xff),
            (40, 4),
            (48, 5),
            (52, 5),
            (56, 64),
            (65, 1),
            (72, 128),
            (80, 3),
            (90, 1),
            (97, 0xff),
            (105, 1),
            (113, 2),
        ];
        for (offset, byte) in set {
            wanted[offset] = byte;
        }
        let checksum = crc32c::crc32c(&wanted[..124]);
        wanted[124..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(bytes, wanted);
        assert_eq!(CopyReport::decode(&bytes), Ok(REPORT));
    }

    #[test]
    fn every_flipped_byte_is_seen_and_nonsense_is_named() {
        let bytes = REPORT.encode();
        for index in 0..REPORT_BYTES {
            for flip in 1..=255 {
                let mut torn = bytes;
                torn[index] ^= flip;
                assert!(CopyReport::decode(&torn).is_err(), "byte {index}, flip {flip}");
            }
        }
        let decoded = |report: CopyReport| CopyReport::decode(&report.encode());
        assert_eq!(decoded(CopyReport { tail: Lsn(1), ..REPORT }), Err(HeaderFault::Field { field: "tail" }));
        assert_eq!(decoded(CopyReport { end: Lsn(32), ..REPORT }), Err(HeaderFault::Field { field: "end" }));
        assert_eq!(CopyReport::decode(&[0; REPORT_BYTES]), Err(HeaderFault::Empty));
    }

    #[test]
    fn every_state_and_flag_comes_back() {
        let states = [
            ReportState::Nothing,
            ReportState::Refilling,
            ReportState::Whole,
            ReportState::Outdated,
            ReportState::MayLack,
        ];
        for (index, state) in states.into_iter().cycle().take(40).enumerate() {
            let (persists, applies, needs_base) = (index & 1 != 0, index & 2 != 0, index & 4 != 0);
            let (taken, vouches) = (index & 8 != 0, index & 16 != 0);
            let report = CopyReport { state, persists, applies, needs_base, taken, vouches, ..REPORT };
            assert_eq!(CopyReport::decode(&report.encode()), Ok(report));
        }
    }
}
