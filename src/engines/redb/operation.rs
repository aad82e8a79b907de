//! What a record of a mirrored database file holds: one operation on that file.
//!
//! ```text
//!  0  u8  kind     1 write, 2 set length, 3 image begins, 4 chunk of the image, 5 image ends
//!  1  u8  layout   1
//!  2  u16 zero
//!  4  u32 zero
//!  8  u64 offset of the data (1, 4), or length of the file (2, 3, 5), bytes
//! 16  data (1, 4); nothing (2, 3, 5)
//! ```
//! Little-endian. Pure: no I/O, no allocation, no panic; whatever bytes are decoded, the outcome is an operation that a file can take, or an error.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes before the data.
pub const OPERATION_HEADER_BYTES: usize = 16;
/// Files are no longer than this: what `off_t` holds.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;

const LAYOUT: u8 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct HeaderBytes {
    kind: u8,
    layout: u8,
    zero: U16,
    zero_too: U32,
    number: U64,
}

const _: () = assert!(size_of::<HeaderBytes>() == OPERATION_HEADER_BYTES);

/// One operation on a database file, as a record carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// These bytes go there; a file that is shorter grows.
    Write {
        /// Where, bytes from the start.
        offset: u64,
        /// What.
        data: &'a [u8],
    },
    /// The file has this length from here on: cut, or filled up with zeroes.
    SetLength {
        /// Bytes.
        length: u64,
    },
    /// The whole file follows, in chunks, between other operations on it. What the partner has of it so far counts no more once the end is there.
    ImageBegins {
        /// Its length at this moment, bytes.
        length: u64,
    },
    /// What stands in the file there, at this moment.
    ImageChunk {
        /// Where, bytes from the start.
        offset: u64,
        /// What.
        data: &'a [u8],
    },
    /// All of the file was sent since [`Operation::ImageBegins`].
    ImageEnds {
        /// Its length at this moment, bytes.
        length: u64,
    },
}

/// Why a record's payload is no operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperationFault {
    /// Shorter than its header.
    #[error("{bytes} bytes are too few for an operation")]
    Short {
        /// How many there are.
        bytes: usize,
    },
    /// Written by another release.
    #[error("an operation of layout {layout}, where {LAYOUT} is known")]
    Layout {
        /// What it says.
        layout: u8,
    },
    /// No operation has this number.
    #[error("no operation has the number {kind}")]
    Kind {
        /// What it says.
        kind: u8,
    },
    /// Bytes that must be zero are not, or there is data where none belongs.
    #[error("an operation with bytes where none belong")]
    Padding,
    /// It reaches past the longest file.
    #[error("an operation up to byte {end}, past the longest file")]
    Range {
        /// Where it would end; the highest number where that overflows.
        end: u64,
    },
}

impl<'a> Operation<'a> {
    /// Bytes of its payload.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        OPERATION_HEADER_BYTES + self.data().len()
    }

    /// Writes it into `payload`, which has [`Operation::bytes`] bytes. False, and nothing written, where it has not.
    #[must_use]
    pub fn encode(&self, payload: &mut [u8]) -> bool {
        let data = self.data();
        let Some((header, place)) = payload.split_first_chunk_mut::<OPERATION_HEADER_BYTES>() else { return false };
        if place.len() != data.len() {
            return false;
        }
        *header = self.header();
        place.copy_from_slice(data);
        true
    }

    fn header(&self) -> [u8; OPERATION_HEADER_BYTES] {
        let (kind, number) = match *self {
            Operation::Write { offset, .. } => (1, offset),
            Operation::SetLength { length } => (2, length),
            Operation::ImageBegins { length } => (3, length),
            Operation::ImageChunk { offset, .. } => (4, offset),
            Operation::ImageEnds { length } => (5, length),
        };
        let fields = HeaderBytes { kind, layout: LAYOUT, zero: 0.into(), zero_too: 0.into(), number: number.into() };
        zerocopy::transmute!(fields)
    }

    /// Writes the chunk of an image that begins at `offset`, whose data `read` puts in place.
    ///
    /// False where `payload` has no room for a header.
    pub(crate) fn encode_chunk<E>(
        payload: &mut [u8],
        offset: u64,
        read: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let Some((header, data)) = payload.split_first_chunk_mut::<OPERATION_HEADER_BYTES>() else { return Ok(false) };
        *header = Operation::ImageChunk { offset, data: &[] }.header();
        read(data).map(|()| true)
    }

    /// Reads one from a record's payload.
    ///
    /// # Errors
    /// [`OperationFault`]: what is wrong with it.
    pub fn decode(payload: &'a [u8]) -> Result<Self, OperationFault> {
        let short = OperationFault::Short { bytes: payload.len() };
        let (header, data) = payload.split_first_chunk::<OPERATION_HEADER_BYTES>().ok_or(short)?;
        let fields: HeaderBytes = zerocopy::transmute!(*header);
        if fields.layout != LAYOUT {
            return Err(OperationFault::Layout { layout: fields.layout });
        }
        let number = fields.number.get();
        let operation = match fields.kind {
            1 => Operation::Write { offset: number, data },
            2 => Operation::SetLength { length: number },
            3 => Operation::ImageBegins { length: number },
            4 => Operation::ImageChunk { offset: number, data },
            5 => Operation::ImageEnds { length: number },
            kind => return Err(OperationFault::Kind { kind }),
        };
        if fields.zero.get() != 0 || fields.zero_too.get() != 0 || operation.data().len() != data.len() {
            return Err(OperationFault::Padding);
        }
        let end = number.saturating_add(operation.data().len() as u64);
        if end > FILE_BYTES_MAX {
            return Err(OperationFault::Range { end });
        }
        Ok(operation)
    }

    const fn data(&self) -> &'a [u8] {
        match *self {
            Operation::Write { data, .. } | Operation::ImageChunk { data, .. } => data,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(operation: Operation<'_>) -> Vec<u8> {
        let mut payload = vec![0xee; operation.bytes()];
        assert!(operation.encode(&mut payload));
        payload
    }

    /// The bytes are the format: they may never change.
    #[test]
    fn operations_have_these_bytes() {
        let write = encoded(Operation::Write { offset: 0x0102, data: b"abc" });
        assert_eq!(write, [1, 1, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, b'a', b'b', b'c']);
        let numbers = [
            (Operation::SetLength { length: 7 }, 2),
            (Operation::ImageBegins { length: 7 }, 3),
            (Operation::ImageChunk { offset: 7, data: b"" }, 4),
            (Operation::ImageEnds { length: 7 }, 5),
        ];
        for (operation, kind) in numbers {
            assert_eq!(encoded(operation), [kind, 1, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(Operation::decode(&encoded(operation)), Ok(operation));
        }
    }

    #[test]
    fn nonsense_is_named() {
        let good = encoded(Operation::Write { offset: 1, data: b"x" });
        let with = |index: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[index] = byte;
            bytes
        };
        let far = encoded(Operation::Write { offset: FILE_BYTES_MAX, data: b"x" });
        let overflow = encoded(Operation::Write { offset: u64::MAX, data: b"x" });
        for (bytes, fault) in [
            (vec![], OperationFault::Short { bytes: 0 }),
            (good[..15].to_vec(), OperationFault::Short { bytes: 15 }),
            (with(0, 0), OperationFault::Kind { kind: 0 }),
            (with(0, 6), OperationFault::Kind { kind: 6 }),
            (with(1, 2), OperationFault::Layout { layout: 2 }),
            (with(3, 1), OperationFault::Padding),
            (with(4, 1), OperationFault::Padding),
            (with(0, 2), OperationFault::Padding),
            (far, OperationFault::Range { end: FILE_BYTES_MAX + 1 }),
            (overflow, OperationFault::Range { end: u64::MAX }),
        ] {
            assert_eq!(Operation::decode(&bytes), Err(fault));
        }
    }

    #[test]
    fn a_place_of_another_length_is_left_alone() {
        let mut place = [7; 18];
        assert!(!Operation::Write { offset: 0, data: b"x" }.encode(&mut place));
        assert!(!Operation::SetLength { length: 0 }.encode(&mut place[..15]));
        assert_eq!(place, [7; 18]);
    }

    proptest! {
        #[test]
        fn whatever_is_decoded_is_an_operation_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(operation) = Operation::decode(&bytes) {
                prop_assert_eq!(encoded(operation), bytes);
            }
        }
    }
}
