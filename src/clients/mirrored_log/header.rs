//! The log's header as bytes: what it holds, who wrote it, from where on it is valid. There are two copies, written in turn.

use crate::clients::mirrored_log::area::HEADER_OFFSETS;
use crate::clients::mirrored_log::lsn::{GENERATION_MAX, NUMBER_MAX};
use crate::clients::mirrored_log::{Generation, History, LogError, Lsn, RingBytes, Source, Term};
use std::fmt;
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of one copy of the header.
pub const HEADER_BYTES: usize = 128;
/// What a header begins with.
pub const MAGIC: [u8; 8] = *b"HFASTLOG";
/// The layout of headers and records that this version reads and writes.
pub const LAYOUT: u32 = 1;

const FLAG_PERSISTENT: u32 = 1;

/// How often both copies are read before neither counts as good.
const READS_MAX: u32 = 3;

/// Where the checksum stands, and so how many bytes it covers.
pub(crate) const CHECKSUM_OFFSET: usize = HEADER_BYTES - 4;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct HeaderBytes {
    magic: [u8; 8],
    layout: U32,
    state: U32,
    sequence: U64,
    history: U128,
    term: U64,
    generation: U32,
    flags: U32,
    tail: U64,
    ring_bytes: U64,
    acknowledged: U64,
    writer: U64,
    lineage: U64,
    padding: [u8; 28],
    checksum: U32,
}

const _: () = assert!(size_of::<HeaderBytes>() == HEADER_BYTES);

/// Whether a copy is fit to be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderState {
    /// Being refilled: records are missing, so it is not worthy of a takeover.
    Refilling,
    /// All records from the tail on are there.
    Whole,
}

impl HeaderState {
    fn number(self) -> u32 {
        match self {
            HeaderState::Refilling => 1,
            HeaderState::Whole => 2,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(HeaderState::Refilling),
            2 => Some(HeaderState::Whole),
            _ => None,
        }
    }

    /// For people: `refilling`, `whole`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            HeaderState::Refilling => "refilling",
            HeaderState::Whole => "whole",
        }
    }
}

/// One copy of a log's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogHeader {
    /// Whether all records are there.
    pub state: HeaderState,
    /// One higher with every header written; of two good copies the one with the higher number counts.
    pub sequence: u64,
    /// Which log.
    pub history: History,
    /// Under which term its writer writes.
    pub term: Term,
    /// The writer's generation: no record has a higher one.
    pub generation: Generation,
    /// The first record that is kept.
    pub tail: Lsn,
    /// Length of the ring.
    pub ring_bytes: RingBytes,
    /// Every record before this was known to be durable when the header was written: a valid prefix that ends earlier is damage.
    pub acknowledged: Lsn,
    /// A random number that the writer drew when it opened the log: two that reached the same generation by different ways are told apart by it.
    pub writer: u64,
    /// A random number drawn whenever a copy is filled from its beginning, and kept while it is gone on with: what was kept of a copy of one lineage
    /// is a part of every later state of it.
    pub lineage: u64,
    /// Its writer acknowledges what its partner has on a disk, and nothing else but what it acknowledges alone.
    pub persistent: bool,
}

impl LogHeader {
    /// Its 128 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let fields = HeaderBytes {
            magic: MAGIC,
            layout: LAYOUT.into(),
            state: self.state.number().into(),
            sequence: self.sequence.into(),
            history: self.history.0.into(),
            term: self.term.0.into(),
            generation: self.generation.0.into(),
            flags: (if self.persistent { FLAG_PERSISTENT } else { 0 }).into(),
            tail: self.tail.0.into(),
            ring_bytes: self.ring_bytes.get().into(),
            acknowledged: self.acknowledged.0.into(),
            writer: self.writer.into(),
            lineage: self.lineage.into(),
            padding: [0; 28],
            checksum: 0.into(),
        };
        let mut bytes = zerocopy::transmute!(fields);
        seal(&mut bytes);
        bytes
    }

    /// From copied-out bytes.
    ///
    /// # Errors
    /// [`HeaderFault`], by the first check that fails.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderFault> {
        let fields: HeaderBytes = zerocopy::transmute!(*bytes);
        check(bytes, fields.magic, MAGIC, fields.layout.get())?;
        let field = |field| HeaderFault::Field { field };
        let ring_bytes = RingBytes::new(fields.ring_bytes.get()).map_err(|_| field("length of the ring"))?;
        let tail = Lsn(fields.tail.get());
        // Every position that the ring can hold is then one of 64 bits.
        if !tail.is_aligned() || tail.0 > NUMBER_MAX {
            return Err(field("tail"));
        }
        let acknowledged = Lsn(fields.acknowledged.get());
        // Only what the ring holds, or held, was acknowledged: more would make a sound log look damaged.
        if acknowledged.bytes_since(tail).is_some_and(|held| held > ring_bytes.get()) {
            return Err(field("acknowledged position"));
        }
        let (sequence, term, generation) = (fields.sequence.get(), fields.term.get(), fields.generation.get());
        in_range(sequence, (term, NUMBER_MAX), generation)?;
        Ok(Self {
            state: HeaderState::from_number(fields.state.get()).ok_or(field("state"))?,
            sequence,
            history: History(fields.history.get()),
            term: Term(term),
            generation: Generation(generation),
            tail,
            ring_bytes,
            acknowledged,
            writer: fields.writer.get(),
            lineage: fields.lineage.get(),
            persistent: fields.flags.get() & FLAG_PERSISTENT != 0,
        })
    }

    /// Reads both copies from an area.
    ///
    /// # Errors
    /// What the source says. What is wrong with a copy is in its place.
    pub fn copies<S: Source + ?Sized>(source: &S) -> Result<[Result<Self, HeaderFault>; 2], LogError> {
        let mut copies = [[0; HEADER_BYTES]; 2];
        for (copy, offset) in copies.iter_mut().zip(HEADER_OFFSETS) {
            source.read(offset, copy)?;
        }
        Ok(copies.map(|copy| Self::decode(&copy)))
    }

    /// Reads the copy that counts from an area. Its writer may be writing it meanwhile.
    ///
    /// # Errors
    /// [`LogError::Headers`] where neither copy is good, and what the source says.
    pub fn read<S: Source + ?Sized>(source: &S) -> Result<Self, LogError> {
        // A copy is written while the other one stands. Only a writer that wrote both while this read them makes it try again.
        let mut best = best(Self::copies(source)?);
        for _ in 1..READS_MAX {
            if best.is_ok() {
                break;
            }
            best = self::best(Self::copies(source)?);
        }
        best
    }

    /// Where in the area this header belongs: the copies are written in turn, by its sequence.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        HEADER_OFFSETS[(self.sequence % 2) as usize]
    }

    /// The position past the last that the ring can hold: a whole ring after the tail.
    #[must_use]
    pub const fn limit(&self) -> Lsn {
        // `decode` has seen to it that this does not overflow; one that was made by hand stays at the end.
        Lsn(self.tail.0.saturating_add(self.ring_bytes.get()))
    }
}

/// Of the two copies of a header the one that counts: good, and of the higher sequence.
///
/// # Errors
/// [`LogError::Headers`] where neither is good, with what is wrong with each.
pub fn best_of(copy0: &[u8; HEADER_BYTES], copy1: &[u8; HEADER_BYTES]) -> Result<LogHeader, LogError> {
    best([LogHeader::decode(copy0), LogHeader::decode(copy1)])
}

fn best(copies: [Result<LogHeader, HeaderFault>; 2]) -> Result<LogHeader, LogError> {
    match copies.into() {
        (Ok(first), Ok(second)) => Ok(if second.sequence > first.sequence { second } else { first }),
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(only),
        (Err(copy0), Err(copy1)) => Err(LogError::Headers { copy0, copy1 }),
    }
}

/// Writes the checksum of all before it into the last four bytes.
pub(crate) fn seal(bytes: &mut [u8; HEADER_BYTES]) {
    let (covered, checksum) = bytes.split_at_mut(CHECKSUM_OFFSET);
    checksum.copy_from_slice(&crc32c::crc32c(covered).to_le_bytes());
}

/// No number is higher than any that is written; the term has its limit beside it.
pub(super) fn in_range(sequence: u64, (term, term_max): (u64, u64), generation: u32) -> Result<(), HeaderFault> {
    let checks = [
        ("sequence", sequence <= NUMBER_MAX),
        ("term", term <= term_max),
        ("generation", generation <= GENERATION_MAX),
    ];
    match checks.into_iter().find(|(_, good)| !good) {
        Some((field, _)) => Err(HeaderFault::Field { field }),
        None => Ok(()),
    }
}

/// Magic and layout first: another version may keep its checksum elsewhere, and its operator wants to be told so.
pub(crate) fn check(
    bytes: &[u8; HEADER_BYTES],
    magic: [u8; 8],
    wanted: [u8; 8],
    layout: u32,
) -> Result<(), HeaderFault> {
    if magic != wanted {
        return Err(if bytes.iter().all(|byte| *byte == 0) { HeaderFault::Empty } else { HeaderFault::Magic });
    }
    if layout != LAYOUT {
        return Err(HeaderFault::Layout { found: layout });
    }
    let (covered, checksum) = bytes.split_at(CHECKSUM_OFFSET);
    if crc32c::crc32c(covered).to_le_bytes() == *checksum { Ok(()) } else { Err(HeaderFault::Checksum) }
}

/// Why 128 bytes are no header, or no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderFault {
    /// All zeroes: nobody wrote there yet.
    Empty,
    /// They begin with something else.
    Magic,
    /// They are of another version of handfast.
    Layout {
        /// Its layout.
        found: u32,
    },
    /// The checksum is not theirs: torn, or damaged.
    Checksum,
    /// A sealed field has a value that makes no sense.
    Field {
        /// Which.
        field: &'static str,
    },
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFault::Empty => f.write_str("never written"),
            HeaderFault::Magic => f.write_str("does not begin as it should"),
            HeaderFault::Layout { found } => write!(f, "has layout {found}, and this version reads layout {LAYOUT}"),
            HeaderFault::Checksum => f.write_str("has a wrong checksum"),
            HeaderFault::Field { field } => write!(f, "has a {field} that makes no sense"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u64) -> Result<LogHeader, LogError> {
        Ok(LogHeader {
            state: HeaderState::Whole,
            sequence,
            history: History(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
            term: Term(5),
            generation: Generation(6),
            tail: Lsn(96),
            ring_bytes: RingBytes::new(1 << 16)?,
            acknowledged: Lsn(128),
            writer: 0x100,
            lineage: 0x200,
            persistent: false,
        })
    }

    /// The bytes are the format: they may never change.
    #[test]
    fn a_header_has_these_bytes() -> Result<(), LogError> {
        let header = header(7)?;
        let bytes = header.encode();
        let mut wanted = [0; HEADER_BYTES];
        wanted[..8].copy_from_slice(b"HFASTLOG");
        for (offset, byte) in
            [(8, 1), (12, 2), (16, 7), (40, 5), (48, 6), (56, 96), (66, 1), (72, 128), (81, 1), (89, 2)]
        {
            wanted[offset] = byte;
        }
        for (index, byte) in (1..=16).rev().enumerate() {
            wanted[24 + index] = byte;
        }
        let checksum = crc32c::crc32c(&wanted[..124]);
        wanted[124..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(bytes, wanted);
        assert_eq!(LogHeader::decode(&bytes), Ok(header));
        let persistent = LogHeader { persistent: true, ..header };
        assert_eq!((persistent.encode()[52], LogHeader::decode(&persistent.encode())), (1, Ok(persistent)));
        assert_eq!((header.offset(), header.limit()), (HEADER_OFFSETS[1], Lsn(96 + 65536)));
        Ok(())
    }

    #[test]
    fn every_flipped_byte_is_seen() -> Result<(), LogError> {
        let bytes = header(7)?.encode();
        for index in 0..HEADER_BYTES {
            for flip in 1..=255 {
                let mut torn = bytes;
                torn[index] ^= flip;
                assert!(LogHeader::decode(&torn).is_err(), "byte {index}, flip {flip}");
            }
        }
        Ok(())
    }

    #[test]
    fn sealed_nonsense_is_named() -> Result<(), LogError> {
        let good = header(7)?.encode();
        let with = |offset: usize, bytes: &[u8]| {
            let mut made = good;
            made[offset..offset + bytes.len()].copy_from_slice(bytes);
            seal(&mut made);
            LogHeader::decode(&made)
        };
        let field = |field| Err(HeaderFault::Field { field });
        assert_eq!(with(12, &[3]), field("state"));
        assert_eq!(with(56, &[1]), field("tail"));
        assert_eq!(with(56, &(u64::MAX - 31).to_le_bytes()), field("tail"));
        assert_eq!(with(64, &[1]), field("length of the ring"));
        assert_eq!(with(8, &[2]), Err(HeaderFault::Layout { found: 2 }));
        assert_eq!(with(0, b"HFASTLOX"), Err(HeaderFault::Magic));
        assert_eq!(LogHeader::decode(&[0; HEADER_BYTES]), Err(HeaderFault::Empty));
        Ok(())
    }

    #[test]
    fn the_best_copy_is_good_and_newer() -> Result<(), LogError> {
        let (older, newer, empty) = (header(7)?, header(8)?, [0; HEADER_BYTES]);
        assert_eq!(best_of(&newer.encode(), &older.encode()), Ok(newer));
        assert_eq!(best_of(&older.encode(), &newer.encode()), Ok(newer));
        assert_eq!(best_of(&empty, &older.encode()), Ok(older));
        let mut torn = newer.encode();
        torn[60] ^= 1;
        assert_eq!(best_of(&torn, &older.encode()), Ok(older));
        let neither = LogError::Headers { copy0: HeaderFault::Checksum, copy1: HeaderFault::Empty };
        assert_eq!(best_of(&torn, &empty), Err(neither));
        Ok(())
    }
}
