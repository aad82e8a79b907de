//! What the records of the demo's logs hold.

use crate::cli::demo::tally::{TALLY_BYTES, Tally};

/// What every record begins with: its kind, and the pass.
pub(crate) const PREFIX_BYTES: usize = 8;

/// What a record holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A pass begins, or begins again.
    Begin { pass: u32 },
    /// Bytes of it.
    Data { pass: u32, bytes: &'a [u8] },
    /// It is through; what its writer counted.
    End { tally: Tally },
}

const BEGIN: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;

fn prefix(kind: u8, pass: u32) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix[0] = kind;
    prefix[4..].copy_from_slice(&pass.to_le_bytes());
    prefix
}

pub(crate) fn begin(pass: u32) -> [u8; PREFIX_BYTES] {
    prefix(BEGIN, pass)
}

/// What comes before the bytes.
pub(crate) fn data(pass: u32) -> [u8; PREFIX_BYTES] {
    prefix(DATA, pass)
}

pub(crate) fn end(pass: u32, tally: &[u8; TALLY_BYTES]) -> [u8; PREFIX_BYTES + TALLY_BYTES] {
    let mut record = [0; PREFIX_BYTES + TALLY_BYTES];
    record[..PREFIX_BYTES].copy_from_slice(&prefix(END, pass));
    record[PREFIX_BYTES..].copy_from_slice(tally);
    record
}

/// None where it is none of the demo's.
pub(crate) fn decode(payload: &[u8]) -> Option<Record<'_>> {
    let (prefix, bytes) = payload.split_at_checked(PREFIX_BYTES)?;
    let pass = u32::from_le_bytes(*prefix.last_chunk()?);
    match *prefix.first()? {
        BEGIN => Some(Record::Begin { pass }),
        DATA => Some(Record::Data { pass, bytes }),
        END => Tally::decode(bytes).map(|tally| Record::End { tally }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure::Failure;

    #[test]
    fn records_round_trip() -> Result<(), Failure> {
        assert_eq!(decode(&begin(7)), Some(Record::Begin { pass: 7 }));
        let mut bytes = data(1 << 20).to_vec();
        bytes.extend(b"bytes");
        assert_eq!(decode(&bytes), Some(Record::Data { pass: 1 << 20, bytes: b"bytes" }));
        let tally = Tally { pass: 2, last: true, bytes: 9, digest: blake3::hash(b"bytes").to_string() };
        assert_eq!(decode(&end(2, &tally.encode()?)), Some(Record::End { tally }));
        assert_eq!((decode(b""), decode(&[9; 20]), decode(&[END; 20])), (None, None, None));
        Ok(())
    }
}
