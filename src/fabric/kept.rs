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
    /// The buffer, where it is one; a loan ends here.
    #[inline]
    pub(crate) fn into_buffer(self) -> Option<Buffer> {
        match self {
            Self::Buffer(buffer) => Some(buffer),
            Self::Nothing | Self::Loan(_) => None,
        }
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
