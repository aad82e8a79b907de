//! What the two sides tell each other once a pass is through: how much it was, and its digest. Each appends it to its own log.

use crate::cli::failure::Failure;
use serde::{Deserialize, Serialize};

/// Bytes of a tally.
pub(crate) const TALLY_BYTES: usize = 64;

/// One side's word on a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) pass: u32,
    /// No pass follows; only the sender knows.
    pub(crate) last: bool,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

impl Tally {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Result<[u8; TALLY_BYTES], Failure> {
        let digest = blake3::Hash::from_hex(&self.digest)?;
        let mut bytes = [0; TALLY_BYTES];
        bytes[0..4].copy_from_slice(&self.pass.to_le_bytes());
        bytes[4] = self.last.into();
        bytes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..48].copy_from_slice(digest.as_bytes());
        Ok(bytes)
    }

    /// None where the message is shorter than a tally.
    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let bytes: &[u8; TALLY_BYTES] = message.first_chunk()?;
        let [pass, rest @ ..] = bytes.as_chunks::<4>().0 else { return None };
        let total = bytes[8..16].first_chunk()?;
        let digest = blake3::Hash::from_bytes(*bytes[16..48].first_chunk()?);
        let last = rest.first()?[0] == 1;
        let (pass, bytes) = (u32::from_le_bytes(*pass), u64::from_le_bytes(*total));
        Some(Self { pass, last, bytes, digest: digest.to_string() })
    }

    /// Whether both sides saw the same bytes.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        (self.pass, self.bytes, &self.digest) == (other.pass, other.bytes, &other.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_round_trip_and_short_ones_are_none() -> Result<(), Failure> {
        let digest = blake3::hash(b"bytes").to_string();
        let tally = Tally { pass: 3, last: true, bytes: 1 << 40, digest };
        let message = tally.encode()?;
        assert_eq!(Tally::decode(&message), Some(tally.clone()));
        assert_eq!(Tally::decode(&message[..TALLY_BYTES - 1]), None);
        assert!(tally.agrees(&Tally { last: false, ..tally.clone() }));
        assert!(!tally.agrees(&Tally { bytes: 0, ..tally.clone() }));
        Ok(())
    }
}
