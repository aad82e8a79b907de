//! What the records of these tests hold: all of it follows from the seed, who wrote it, its number and its place, so that whatever is wrong,
//! repeated or elsewhere is found.

use crate::process::random::Random;
use handfast::clients::mirrored_log::Lsn;

/// Who wrote a record: which start of the process, which of its threads, and the thread's own count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    pub(crate) life: u32,
    pub(crate) producer: u8,
    pub(crate) counter: u64,
}

/// The shortest record: its stamp.
pub(crate) const BYTES_MIN: usize = 16;

/// What a log's records follow from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) seed: u64,
    /// The longest record.
    pub(crate) bytes_max: u64,
}

fn mix(words: &[u64]) -> u64 {
    words.iter().fold(0x51_7c_c1_b7, |state: u64, word| {
        let mixed = (state ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xc4ce_b9fe_1a85_ec53).rotate_left(31)
    })
}

impl Recipe {
    fn chance(self, stamp: Stamp, more: u64) -> Random {
        Random::new(mix(&[self.seed, u64::from(stamp.life), u64::from(stamp.producer), stamp.counter, more]))
    }

    /// How long the record is.
    pub(crate) fn bytes(self, stamp: Stamp) -> usize {
        self.chance(stamp, u64::MAX).spread(BYTES_MIN as u64, self.bytes_max) as usize
    }

    /// Writes the record that goes to `lsn`.
    pub(crate) fn fill(self, bytes: &mut [u8], stamp: Stamp, lsn: Lsn) {
        let mut random = self.chance(stamp, lsn.0);
        let first = (u64::from(stamp.life) << 32) | (u64::from(stamp.producer) << 24) | (random.next() & 0xff_ffff);
        let (head, rest) = bytes.split_at_mut(BYTES_MIN);
        head[..8].copy_from_slice(&first.to_le_bytes());
        head[8..].copy_from_slice(&stamp.counter.to_le_bytes());
        random.fill(rest);
    }

    /// Whose record was read at `lsn`, if it is right to the last byte.
    pub(crate) fn check(self, bytes: &[u8], lsn: Lsn) -> Result<Stamp, String> {
        let word = |at: usize| bytes.get(at..at + 8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
        let (Some(first), Some(counter)) = (word(0), word(8)) else {
            return Err(format!("the record at {lsn} has {} bytes: nobody wrote such a one", bytes.len()));
        };
        let stamp = Stamp { life: (first >> 32) as u32, producer: (first >> 24) as u8, counter };
        let wanted = self.bytes(stamp);
        if bytes.len() != wanted {
            return Err(format!(
                "the record at {lsn} says {stamp:?}, and has {} bytes instead of {wanted}",
                bytes.len()
            ));
        }
        let mut right = vec![0; wanted];
        self.fill(&mut right, stamp, lsn);
        match right.iter().zip(bytes).position(|(right, found)| right != found) {
            Some(at) => Err(format!("the record at {lsn} says {stamp:?}, and is wrong from byte {at} of {wanted} on")),
            None => Ok(stamp),
        }
    }
}
