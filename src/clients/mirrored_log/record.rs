//! A record as bytes: sealing one in place, and telling whether bytes that were copied out are one.
//!
//! ```text
//!  0  u32 checksum    CRC-32C: data, over bytes 4 .. 32 + length; abort and padding, over bytes 4 .. 32
//!  4  u32 length      bytes after the header: payload, or what a reader skips
//!  8  u64 lsn         its own
//! 16  u32 generation
//! 20  u32 kind        1 data, 2 abort, 3 padding
//! 24  u64 history     the low half
//! 32  payload
//! ```
//! Little-endian. It begins at a multiple of 32 and never crosses the ring's end. Nothing here allocates or panics.

use crate::clients::mirrored_log::{Generation, History, Lsn};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Records begin at multiples of this many bytes.
pub const RECORD_ALIGN: u64 = 32;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 32;
/// Bytes of the shortest record that is no padding.
pub const RECORD_BYTES_MIN: u64 = 64;

const CHECKSUM_BYTES: usize = 4;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RecordBytes {
    checksum: U32,
    length: U32,
    lsn: U64,
    generation: U32,
    kind: U32,
    history: U64,
}

const _: () = assert!(size_of::<RecordBytes>() == RECORD_HEADER_BYTES);

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A committed record with its payload.
    Data,
    /// A reservation that was given up: a hole of the size that was reserved. Readers skip it.
    Abort,
    /// What fills the ring up to its end, where the next record did not fit. Readers skip it.
    Padding,
}

impl Kind {
    /// The number in a record.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Kind::Data => 1,
            Kind::Abort => 2,
            Kind::Padding => 3,
        }
    }

    /// From the number in a record.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Kind::Data),
            2 => Some(Kind::Abort),
            3 => Some(Kind::Padding),
            _ => None,
        }
    }

    /// For people: `data`, `abort`, `padding`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Data => "data",
            Kind::Abort => "abort",
            Kind::Padding => "padding",
        }
    }
}

/// Bytes that a record of `length` payload bytes takes in the ring, data or abort: header and payload, rounded up to 32, at least 64.
#[inline]
#[must_use]
pub const fn size_of_record(length: u32) -> u64 {
    let size = (RECORD_HEADER_BYTES as u64 + length as u64).next_multiple_of(RECORD_ALIGN);
    if size < RECORD_BYTES_MIN { RECORD_BYTES_MIN } else { size }
}

/// Bytes that a padding of `length` takes: 32 and `length`, which ends at the ring's end.
#[inline]
#[must_use]
pub const fn size_of_padding(length: u32) -> u64 {
    RECORD_HEADER_BYTES as u64 + length as u64
}

/// Seals a record of data in place: `span` begins at the record, and its payload of `length` bytes is there already, from byte 32 on.
///
/// False, and nothing written, where `span` is shorter than 32 + `length`. One pass over the payload for the checksum; no allocation.
///
/// ```
/// use handfast::clients::mirrored_log::{Generation, History, Lsn, record};
///
/// let mut span = [0; 64];
/// span[32..37].copy_from_slice(b"hello");
/// assert!(record::seal(&mut span, Lsn(4096), Generation(1), History(7), 5));
/// let header = record::RecordHeader::of(&span).ok_or("32 bytes at least")?;
/// assert_eq!((header.lsn, header.length), (Lsn(4096), 5));
/// assert_eq!(header.covered(&span).map(record::checksum), Some(header.checksum));
/// # Ok::<(), &str>(())
/// ```
#[inline]
#[must_use]
pub fn seal(span: &mut [u8], lsn: Lsn, generation: Generation, history: History, length: u32) -> bool {
    let covered = RECORD_HEADER_BYTES.saturating_add(length as usize);
    stamp(span.get_mut(..covered), Kind::Data, lsn, generation, history, length)
}

/// The header of a record of data with this payload, for where it cannot be sealed in place. One pass over the payload; no allocation.
#[must_use]
pub(crate) fn header_of(
    payload: &[u8],
    lsn: Lsn,
    generation: Generation,
    history: History,
) -> [u8; RECORD_HEADER_BYTES] {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut header = [0; RECORD_HEADER_BYTES];
    stamp(Some(&mut header), Kind::Data, lsn, generation, history, length);
    // The checksum goes on from that of the header alone.
    let checksum = crc32c::crc32c_append(checksum(&header), payload);
    header[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Seals a hole in place: whatever stands in the `length` bytes after the header counts for nothing, and need not be in `span`.
///
/// False, and nothing written, where `span` is shorter than 32.
#[inline]
#[must_use]
pub fn seal_abort(span: &mut [u8], lsn: Lsn, generation: Generation, history: History, length: u32) -> bool {
    stamp(span.get_mut(..RECORD_HEADER_BYTES), Kind::Abort, lsn, generation, history, length)
}

/// Seals a padding in place; 32 + `length` bytes from `lsn` on end at the ring's end. Only the header need be in `span`.
///
/// False, and nothing written, where `span` is shorter than 32.
#[inline]
#[must_use]
pub fn seal_padding(span: &mut [u8], lsn: Lsn, generation: Generation, history: History, length: u32) -> bool {
    stamp(span.get_mut(..RECORD_HEADER_BYTES), Kind::Padding, lsn, generation, history, length)
}

/// Writes the header of the record that `covered` holds up to the last byte under its checksum.
#[inline]
fn stamp(
    covered: Option<&mut [u8]>,
    kind: Kind,
    lsn: Lsn,
    generation: Generation,
    history: History,
    length: u32,
) -> bool {
    let Some(covered) = covered else { return false };
    let Some((place, _)) = covered.split_first_chunk_mut::<RECORD_HEADER_BYTES>() else { return false };
    // In whole words: what reads one again at once, as the checksum does and the copy to the partner, then finds it in a single store that is on its
    // way. A load of several such stores waits until all of them, and all before them, are through.
    let first = |checksum: u32| (u64::from(checksum) | u64::from(length) << 32).to_le_bytes();
    let third = u64::from(generation.0) | u64::from(kind.number()) << 32;
    *place = zerocopy::transmute!([first(0), lsn.0.to_le_bytes(), third.to_le_bytes(), history.low().to_le_bytes()]);
    let checksum = checksum(covered);
    if let Some(place) = covered.first_chunk_mut() {
        *place = first(checksum);
    }
    true
}

/// The checksum of a record, over all that it covers but itself: `covered` begins with the header. See [`RecordHeader::covered`].
#[inline]
#[must_use]
pub fn checksum(covered: &[u8]) -> u32 {
    crc32c::crc32c(covered.get(CHECKSUM_BYTES..).unwrap_or_default())
}

/// A record's header as it was copied out: any bits at all until it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordHeader {
    /// CRC-32C of the rest.
    pub checksum: u32,
    /// Bytes after the header.
    pub length: u32,
    /// Where it says it is.
    pub lsn: Lsn,
    /// Who wrote it.
    pub generation: Generation,
    /// What it is, as the number that stands there.
    pub kind: u32,
    /// Low half of the log's history.
    pub history: u64,
}

impl RecordHeader {
    /// Parses 32 bytes.
    #[inline]
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_HEADER_BYTES]) -> Self {
        let fields: RecordBytes = zerocopy::transmute!(*bytes);
        Self {
            checksum: fields.checksum.get(),
            length: fields.length.get(),
            lsn: Lsn(fields.lsn.get()),
            generation: Generation(fields.generation.get()),
            kind: fields.kind.get(),
            history: fields.history.get(),
        }
    }

    /// Parses the first 32 bytes; none where there are fewer.
    #[inline]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().map(Self::decode)
    }

    /// Bytes of the whole record in the ring; none where the kind is unknown.
    #[inline]
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        match Kind::from_number(self.kind) {
            Some(Kind::Padding) => Some(size_of_padding(self.length)),
            Some(_) => Some(size_of_record(self.length)),
            None => None,
        }
    }

    /// Whether it says that it is padding.
    #[inline]
    #[must_use]
    pub const fn is_padding(&self) -> bool {
        self.kind == Kind::Padding.number()
    }

    /// How many bytes from the record's start its checksum covers, its own four counted in: header and payload of data, the header of others.
    #[inline]
    #[must_use]
    pub const fn covered_bytes(&self) -> u64 {
        if self.kind == Kind::Data.number() {
            RECORD_HEADER_BYTES as u64 + self.length as u64
        } else {
            RECORD_HEADER_BYTES as u64
        }
    }

    /// What its checksum covers, out of a span that begins with it; none where the span is too short.
    #[inline]
    #[must_use]
    pub fn covered<'a>(&self, span: &'a [u8]) -> Option<&'a [u8]> {
        span.get(..usize::try_from(self.covered_bytes()).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: (Lsn, Generation, History) = (Lsn(0x1_0000_0020), Generation(3), History(0xaaaa_0102_0304_0506_0708));

    #[test]
    fn sizes_are_rounded_up_and_never_overflow() {
        let sizes = [(0, 64), (1, 64), (32, 64), (33, 96), (64, 96), (65, 128), (u32::MAX, (1 << 32) + 32)];
        for (length, size) in sizes {
            assert_eq!(size_of_record(length), size, "{length}");
            assert_eq!(size_of_record(length) % RECORD_ALIGN, 0);
        }
        assert_eq!((size_of_padding(0), size_of_padding(32), size_of_padding(u32::MAX)), (32, 64, (1 << 32) + 31));
    }

    /// The bytes are the format: they may never change.
    #[test]
    fn a_sealed_record_has_these_bytes() {
        let (lsn, generation, history) = NAMES;
        let mut span = [0xee; 64];
        span[32..35].copy_from_slice(b"abc");
        assert!(seal(&mut span, lsn, generation, history, 3));
        let wanted =
            [3, 0, 0, 0, 0x20, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, b'a', b'b', b'c'];
        assert_eq!(span[4..35], wanted);
        assert_eq!(span[..4], crc32c::crc32c(&wanted).to_le_bytes());
        assert_eq!(span[35..], [0xee; 29], "what lies behind it is left alone");
        let mut hole = [0xee; 32];
        assert!(seal_abort(&mut hole, lsn, generation, history, 1000));
        assert_eq!((&hole[4..8], hole[20]), (&1000u32.to_le_bytes()[..], 2));
        assert!(seal_padding(&mut hole, lsn, generation, history, 0));
        assert_eq!((&hole[4..8], hole[20]), (&[0u8; 4][..], 3));
        assert_eq!(hole[..4], crc32c::crc32c(&hole[4..]).to_le_bytes());
    }

    #[test]
    fn a_header_made_beside_the_payload_is_the_one_sealed_in_place() {
        let (lsn, generation, history) = NAMES;
        for length in [0u32, 1, 32, 4096] {
            let mut span = vec![0x5a; size_of_record(length) as usize];
            assert!(seal(&mut span, lsn, generation, history, length));
            let (header, rest) = span.split_at(RECORD_HEADER_BYTES);
            assert_eq!(header, header_of(&rest[..length as usize], lsn, generation, history));
        }
    }

    #[test]
    fn what_was_sealed_is_found_again() {
        let (lsn, generation, history) = NAMES;
        for length in [0u32, 1, 31, 32, 33, 4096] {
            let mut span = vec![0x5a; size_of_record(length) as usize];
            assert!(seal(&mut span, lsn, generation, history, length));
            let header = RecordHeader::of(&span);
            assert!(header.is_some_and(|header| {
                header.size() == Some(span.len() as u64)
                    && (header.lsn, header.generation, header.history) == (lsn, generation, history.low())
                    && header.covered(&span).map(checksum) == Some(header.checksum)
                    && header.covered_bytes() == 32 + u64::from(length)
            }));
        }
    }

    #[test]
    fn a_span_that_is_too_short_is_left_alone() {
        let (lsn, generation, history) = NAMES;
        let mut span = [7; 40];
        assert!(!seal(&mut span, lsn, generation, history, 9));
        assert!(!seal(&mut span, lsn, generation, history, u32::MAX));
        assert!(!seal_abort(&mut span[..31], lsn, generation, history, 0));
        assert!(!seal_padding(&mut [], lsn, generation, history, 0));
        assert_eq!(span, [7; 40]);
        assert!(seal(&mut span, lsn, generation, history, 8));
        assert_eq!(RecordHeader::of(&span[..31]), None);
    }

    #[test]
    fn kinds_are_their_numbers() {
        for kind in [Kind::Data, Kind::Abort, Kind::Padding] {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!((Kind::from_number(0), Kind::from_number(4)), (None, None));
    }
}
