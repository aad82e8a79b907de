//! The umbrella error: one variant per layer, and what to do next.
//!
//! May import every layer's error, and nothing else of them.

use crate::clients::mirrored_log::LogError;
use crate::fabric::FabricError;
use crate::manager::{ExchangeError, ManagerError};
use crate::memory::MemoryError;

/// Anything that can go wrong in handfast, by the layer that saw it first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Memory could not be mapped, pinned or shared.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The fabric refused or lost something.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// The exchange of clients after the handshake failed.
    #[error(transparent)]
    Exchange(ExchangeError),
    /// A client cannot be registered.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// A log cannot be opened or read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Recovery {
    /// Try the same call again at once.
    RetryNow,
    /// Try the same call again later: the cause may pass by itself.
    RetryAfter,
    /// The session or link is gone: it has to be opened again ([`ClusterManager`](crate::manager) does so by itself).
    Reconnect,
    /// The partner must be fenced before its memory is trusted again.
    Fence,
    /// A person has to change something first: configuration, limits, rights.
    Fatal,
}

impl Error {
    /// What the caller can do about this error.
    pub fn recovery(&self) -> Recovery {
        match self {
            Error::Memory(error) => error.recovery(),
            Error::Fabric(error) => error.recovery(),
            Error::Exchange(_) => Recovery::Reconnect,
            Error::Manager(_) => Recovery::Fatal,
            Error::Log(error) => error.recovery(),
        }
    }
}
