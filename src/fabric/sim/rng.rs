//! The simulator's source of randomness: small, seeded, the same on every machine.
//!
//! SplitMix64 (Steele, Lea, Flood 2014): one 64-bit word of state, full period. Fit for choosing faults, not for secrets.

/// A stream of random numbers, fixed by what it was made from.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// The stream of this seed.
    #[cfg(test)]
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for something with a name and a count.
    pub(super) fn derived(seed: u64, name: &str, count: u64) -> Self {
        let mut mixer = Self(seed);
        let mut state = mixer.next();
        for byte in name.bytes() {
            state = Self(state ^ u64::from(byte)).next();
        }
        // The length ends the name, so that ("a1", 2) and ("a", 12) never share a stream by construction.
        Self(Self(Self(state ^ name.len() as u64).next() ^ count).next())
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// 0 to `bound - 1`; 0 where `bound` is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // The high word of a 128-bit product: no division; the bias is below bound / 2^64.
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// `least` to `most`, both included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least.saturating_add(self.below(most.saturating_sub(least).saturating_add(1)))
    }

    /// True in `parts` cases of a million. Draws nothing where that is never.
    pub(super) fn chance(&mut self, parts: u32) -> bool {
        parts != 0 && self.below(1_000_000) < u64::from(parts)
    }

    /// Fills `bytes`.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            for (into, from) in piece.iter_mut().zip(word) {
                *into = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    /// The first outputs for seed 0, as the algorithm's reference implementation prints them.
    #[test]
    fn known_answers() {
        let mut rng = Rng::new(0);
        assert_eq!(
            [rng.next(), rng.next(), rng.next()],
            [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]
        );
    }

    #[test]
    fn derived_streams_differ_by_each_part() {
        let first = |seed, name, count| Rng::derived(seed, name, count).next();
        let all = [first(1, "a", 0), first(2, "a", 0), first(1, "b", 0), first(1, "a", 1), first(1, "aa", 0)];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{all:?}");
        }
        assert_eq!(first(1, "a", 0), all[0]);
    }

    #[test]
    fn bounds_and_chances() {
        let mut rng = Rng::new(3);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            let value = rng.between(10, 14);
            assert!((10..=14).contains(&value));
            seen[(value - 10) as usize] = true;
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(rng.between(7, 7), 7);
        assert_eq!(rng.below(0), 0);
        assert!(!rng.chance(0));
        assert!(rng.chance(1_000_000));
        let hits = (0..10_000).filter(|_| rng.chance(250_000)).count();
        assert!((2_200..2_800).contains(&hits), "{hits}");
    }

    #[test]
    fn fill_leaves_no_byte_out() {
        for length in 0..20 {
            let mut any = vec![0; length];
            for _ in 0..8 {
                let mut bytes = vec![0; length];
                Rng::new(length as u64 + 1).fill(&mut bytes);
                any.iter_mut().zip(bytes).for_each(|(any, byte)| *any |= byte);
            }
            assert!(any.iter().filter(|byte| **byte == 0).count() <= 1, "{any:?}");
        }
    }
}
