//! Whose a durable file is, as bytes in it.
//!
//! ```text
//!   0  [u8;8] magic "HFASTOWN"
//!   8  u32    layout 1
//!  12  u32    bytes of the text
//!  16  the text, UTF-8, zeroes after it
//! 252  u32    CRC-32C over 0..252
//! ```
//! A file that an earlier release wrote has zeroes there: it is nobody's yet.

use super::error::StorageError;
use std::fmt;
use std::path::Path;

/// Bytes it takes.
pub(crate) const OWNER_BYTES: usize = 256;

const MAGIC: [u8; 8] = *b"HFASTOWN";
const LAYOUT: u32 = 1;
const TEXT_OFFSET: usize = 16;
const CHECKSUM_OFFSET: usize = OWNER_BYTES - 4;

/// Whose a file is: words for people that are the same for the same owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner(String);

/// What a file says of its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing: an earlier release wrote it, or it is empty.
    Nothing,
    /// This.
    Owner(Owner),
    /// It is damaged, or of a later release.
    Unreadable,
}

impl Owner {
    /// Text that is too long is cut: names have their limits, and all of them together fit.
    pub(crate) fn new(text: String) -> Self {
        let mut text = text;
        while text.len() > CHECKSUM_OFFSET - TEXT_OFFSET {
            text.pop();
        }
        Self(text)
    }

    pub(crate) fn encode(&self) -> [u8; OWNER_BYTES] {
        let mut bytes = [0; OWNER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.0.len() as u32).to_le_bytes());
        bytes[TEXT_OFFSET..][..self.0.len()].copy_from_slice(self.0.as_bytes());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_OFFSET]);
        bytes[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; OWNER_BYTES]) -> Said {
        if bytes.iter().all(|byte| *byte == 0) {
            return Said::Nothing;
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..8] != MAGIC
            || word(8) != LAYOUT
            || word(CHECKSUM_OFFSET) != crc32c::crc32c(&bytes[..CHECKSUM_OFFSET])
        {
            return Said::Unreadable;
        }
        let text = bytes[TEXT_OFFSET..CHECKSUM_OFFSET].get(..word(12) as usize);
        match text.and_then(|text| std::str::from_utf8(text).ok()) {
            Some(text) => Said::Owner(Self(text.to_owned())),
            None => Said::Unreadable,
        }
    }

    /// Whether a file that says so may be this one's; who it is where not.
    pub(crate) fn accepts(&self, said: &Said) -> Result<(), String> {
        match said {
            Said::Nothing => Ok(()),
            Said::Owner(owner) if owner == self => Ok(()),
            Said::Owner(owner) => Err(format!("`{owner}`")),
            Said::Unreadable => {
                Err("somebody unknown (the mark of its owner is damaged, or of a later release)".to_owned())
            }
        }
    }
}

impl Owner {
    /// Whether the file at `path` that bears this mark may be this one's.
    ///
    /// # Errors
    /// [`StorageError::Foreign`].
    pub(crate) fn check(&self, mark: &[u8; OWNER_BYTES], path: &Path) -> Result<(), StorageError> {
        let foreign = |found| StorageError::Foreign { path: path.to_owned(), found, wanted: format!("`{self}`") };
        self.accepts(&Self::decode(mark)).map_err(foreign)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_comes_back_and_damage_is_seen() {
        let owner = Owner::new("log wal of node a, cluster pair".to_owned());
        let bytes = owner.encode();
        assert_eq!(Owner::decode(&bytes), Said::Owner(owner.clone()));
        assert_eq!(Owner::decode(&[0; OWNER_BYTES]), Said::Nothing);
        for index in 0..OWNER_BYTES {
            let mut torn = bytes;
            torn[index] ^= 0x10;
            assert_eq!(Owner::decode(&torn), Said::Unreadable, "byte {index}");
        }
        let other = Owner::new("log wal of node c, cluster pair".to_owned());
        assert_eq!(owner.accepts(&Owner::decode(&bytes)), Ok(()));
        assert_eq!(other.accepts(&Owner::decode(&bytes)), Err(format!("`{owner}`")));
        let long = Owner::new("ä".repeat(400));
        assert_eq!(Owner::decode(&long.encode()), Said::Owner(long));
    }

    #[test]
    fn a_length_beyond_the_block_is_no_owner() {
        let mut bytes = Owner::new("x".to_owned()).encode();
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..CHECKSUM_OFFSET]);
        bytes[CHECKSUM_OFFSET..].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Owner::decode(&bytes), Said::Unreadable);
    }
}
