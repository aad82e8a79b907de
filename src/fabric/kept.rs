//! What a queue keeps for a posted operation until it is over.
//!
//! Imports `memory` alone.

use crate::memory::{Buffer, Loan};

/// What an operation keeps until it is over.
#[derive(Debug, Default)]
pub(crate) enum Kept {
    /// Nothing, or nothing any more.
    #[default]
    Nothing,
    /// A buffer, which goes back with the completion.
    Buffer(Buffer),
    /// A loan, which ends with the operation.
    Loan(Loan),
}

impl From<Buffer> for Kept {
    #[inline]
    fn from(buffer: Buffer) -> Self {
        Self::Buffer(buffer)
    }
}

impl Kept {
    /// Whichever is there.
    pub(crate) fn of(buffer: Option<Buffer>, loan: Option<Loan>) -> Self {
        match (buffer, loan) {
            (Some(buffer), _) => Self::Buffer(buffer),
            (None, Some(loan)) => Self::Loan(loan),
            (None, None) => Self::Nothing,
        }
    }
    /// The opposite.
    pub(crate) fn split(self) -> (Option<Buffer>, Option<Loan>) {
        match self {
            Self::Nothing => (None, None),
            Self::Buffer(buffer) => (Some(buffer), None),
            Self::Loan(loan) => (None, Some(loan)),
        }
    }
    /// Takes the buffer, where it is one; a loan ends here.
    #[cfg(feature = "verbs")]
    #[inline]
    pub(crate) fn take_buffer(&mut self) -> Option<Buffer> {
        std::mem::take(self).split().0
    }
    /// The protection domain it is registered in.
    pub(crate) fn domain(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Buffer(buffer) => Some(buffer.domain()),
            Self::Loan(loan) => Some(loan.domain()),
        }
    }
}
