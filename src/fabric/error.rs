//! What can go wrong with a fabric outside of posting.

use crate::error::Recovery;
use crate::fabric::{Address, AddressError};
use crate::memory::{Errno, MemoryError};

/// A fabric refused, failed or lost something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FabricError {
    /// The text is no address.
    #[error(transparent)]
    Syntax(#[from] AddressError),
    /// The address is of another fabric.
    #[error("{address} is not an address of the fabric `{fabric}`: it begins with `{fabric}://`")]
    Scheme {
        /// The address.
        address: Address,
        /// The fabric that was asked.
        fabric: &'static str,
    },
    /// A live process listens there already.
    #[error("{address} is in use by {}: end it, or choose another port", .process.map_or("another process".to_owned(), |id| format!("process {id}")))]
    AddressInUse {
        /// The address.
        address: Address,
        /// Its process, where the fabric knows it.
        process: Option<u32>,
    },
    /// The process that took the address is not to be found, and its hold on it is there: whoever has it cannot be named.
    #[error(
        "{address} is in use by a process that cannot be named from here: one in another PID namespace, or one that was forked by the process that took it, and outlives that. End it (`fuser {file}` names it), or choose another port"
    )]
    AddressHeld {
        /// The address.
        address: Address,
        /// The process that took it, by its own number.
        process: u32,
        /// The file that is held.
        file: String,
    },
    /// Nobody listens there: the normal state before the partner's boot.
    #[error("nobody listens at {address}{detail}")]
    NotListening {
        /// The address.
        address: Address,
        /// What was found instead, if anything (begins with `: `).
        detail: String,
    },
    /// The other side is of a version that cannot be talked to, or its bytes make no sense.
    #[error("{address} answered with something that is no handfast endpoint of this version: {detail}")]
    Protocol {
        /// The address.
        address: Address,
        /// What was wrong.
        detail: String,
    },
    /// The other side could not make its half of the link: it is short of something, which its own log names.
    #[error("{address} could not make its side of the link: its log says why")]
    Unmade {
        /// The address.
        address: Address,
    },
    /// The link or its process ended.
    #[error("the link to {address} ended: {detail}")]
    LinkLost {
        /// The other side.
        address: String,
        /// What was seen.
        detail: String,
    },
    /// No answer in time.
    #[error("no answer from {address} within {waited_ms} ms")]
    Timeout {
        /// The other side.
        address: String,
        /// How long was waited, milliseconds.
        waited_ms: u64,
    },
    /// An option is out of its range.
    #[error("{option} is {value}: allowed are {min} to {max}")]
    Option {
        /// Which.
        option: &'static str,
        /// Its value.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// Too many of something.
    #[error("no more than {max} {what} in one {whole}")]
    Exhausted {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        max: u64,
        /// What has the limit.
        whole: &'static str,
    },
    /// This machine cannot do RDMA as it is.
    #[error("no RDMA here: {missing}. {remedy}")]
    NoRdma {
        /// What is missing.
        missing: String,
        /// How to get it.
        remedy: String,
    },
    /// A call into libibverbs or librdmacm failed.
    #[error("{tried} (device {device}): {errno}{hint}")]
    Device {
        /// What was tried.
        tried: String,
        /// On which device; `-` where none was known yet.
        device: String,
        /// What it answered.
        errno: Errno,
        /// What to do about it, where something is known (begins with `: `).
        hint: String,
    },
    /// Memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A system call failed.
    #[error("{tried}: {errno}")]
    System {
        /// What was tried, on what.
        tried: String,
        /// What the system answered.
        errno: Errno,
    },
}

/// Refuses an option outside of its range.
pub(crate) fn in_range(option: &'static str, value: impl Into<u64>, min: u64, max: u64) -> Result<(), FabricError> {
    let value = value.into();
    if (min..=max).contains(&value) { Ok(()) } else { Err(FabricError::Option { option, value, min, max }) }
}

impl FabricError {
    /// What the caller can do about it.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::NotListening { .. } | Self::Timeout { .. } | Self::Unmade { .. } => Recovery::RetryAfter,
            Self::System { errno, .. } if errno.is_passing() => Recovery::RetryAfter,
            Self::LinkLost { .. } => Recovery::Reconnect,
            Self::Memory(error) => error.recovery(),
            _ => Recovery::Fatal,
        }
    }
}
