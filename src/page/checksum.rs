//! CRC-32C (Castagnoli) over a section, stored in its last four bytes.

use crate::page::PageError;

/// Bytes of the checksum at the end of each section.
const CHECKSUM_BYTES: usize = 4;

/// Writes the checksum of `section` into its last four bytes.
pub(crate) fn seal(section: &mut [u8]) {
    let end = section.len().saturating_sub(CHECKSUM_BYTES);
    let (covered, checksum) = section.split_at_mut(end);
    checksum.copy_from_slice(&crc32c::crc32c(covered).to_le_bytes());
}

/// Checks the last four bytes of `section` against the rest. All zeroes is [`PageError::Empty`]: nobody wrote there yet.
pub(crate) fn check(section: &[u8]) -> Result<(), PageError> {
    let end = section.len().saturating_sub(CHECKSUM_BYTES);
    let (covered, checksum) = section.split_at(end);
    let mut word = [0; CHECKSUM_BYTES];
    word.copy_from_slice(checksum);
    let (found, computed) = (u32::from_le_bytes(word), crc32c::crc32c(covered));
    if found == computed {
        Ok(())
    } else if found == 0 && covered.iter().all(|byte| *byte == 0) {
        Err(PageError::Empty)
    } else {
        Err(PageError::Torn { found, computed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_seen() {
        let mut section = [7u8; 64];
        seal(&mut section);
        assert_eq!(check(&section), Ok(()));
        for bit in 0..64 * 8 {
            let mut torn = section;
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(check(&torn), Err(PageError::Torn { .. })), "bit {bit}");
        }
    }

    #[test]
    fn zeroes_are_empty_and_not_torn() {
        assert_eq!(check(&[0; 64]), Err(PageError::Empty));
    }
}
