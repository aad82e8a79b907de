//! How many samples a row takes.

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// All samples.
    Full,
    /// A fifth of them.
    Quick,
    /// A handful in one round, on whatever processors: shows that a row runs. Its figures mean nothing.
    Smoke,
}

/// Samples, at most, of a row that only shows that it runs: enough for a poll of the streams. On a
/// busy machine, each may take both processes a turn of the scheduler.
const SMOKE_SAMPLES_MAX: u64 = 36;

impl Effort {
    /// Of the samples of a full and of a quick round, those of this one.
    pub(crate) fn samples(self, (full, quick): (u64, u64)) -> u64 {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Smoke => quick.min(SMOKE_SAMPLES_MAX),
        }
    }

    /// For a sample that does not count; none where no figure does.
    pub(crate) fn warm_up(self) -> Option<Self> {
        (self != Self::Smoke).then_some(Self::Quick)
    }

    /// Rounds, where so many are asked for.
    pub(crate) fn rounds(self, asked: usize) -> usize {
        if self == Self::Smoke { 1 } else { asked }
    }
}
