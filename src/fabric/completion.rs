//! What polling yields.

use crate::memory::Buffer;
use std::fmt;

/// Which operation a completion is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// READ.
    Read,
    /// WRITE, inline or not.
    Write,
    /// WRITE with immediate data.
    WriteWithImmediate,
    /// Fetch and add.
    FetchAdd,
    /// Compare and swap.
    CompareSwap,
    /// SEND.
    Send,
    /// A receive that a SEND filled.
    Receive,
    /// A receive that the partner's WRITE with immediate consumed.
    ReceiveWithImmediate,
}

/// How an operation ended (`ibv_wc_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkCompletionStatus {
    /// Done.
    Success,
    /// A message longer than the receive's buffer (`IBV_WC_LOC_LEN_ERR`).
    LocalLength,
    /// The buffer belongs to another protection domain (`IBV_WC_LOC_PROT_ERR`).
    LocalProtection,
    /// Not tried, or tried and nobody knows how it went: the port was in error, or was torn down (`IBV_WC_WR_FLUSH_ERR`).
    Flushed,
    /// Misaligned atomic, or a message longer than the other side takes (`IBV_WC_REM_INV_REQ_ERR`).
    RemoteInvalidRequest,
    /// Wrong key, range, right or domain (`IBV_WC_REM_ACCESS_ERR`).
    RemoteAccess,
    /// The other side could not carry it out: on some devices, a message longer than its receive (`IBV_WC_REM_OP_ERR`).
    RemoteOperation,
    /// The other side no longer answers (`IBV_WC_RETRY_EXC_ERR`).
    RetryExceeded,
    /// The other side posted no receive in time (`IBV_WC_RNR_RETRY_EXC_ERR`).
    ReceiverNotReady,
    /// The other side fenced this session: it may or may not have seen the bytes, and will not look at them.
    Fenced,
    /// A status this version has no name for.
    Other(u32),
}

impl fmt::Display for WorkCompletionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Success => "success",
            Self::LocalLength => "message longer than the receive buffer (IBV_WC_LOC_LEN_ERR)",
            Self::LocalProtection => "buffer of another protection domain (IBV_WC_LOC_PROT_ERR)",
            Self::Flushed => "flushed: the port was in error or torn down (IBV_WC_WR_FLUSH_ERR)",
            Self::RemoteInvalidRequest => {
                "refused by the partner: misaligned atomic or message too long (IBV_WC_REM_INV_REQ_ERR)"
            }
            Self::RemoteAccess => "refused by the partner: wrong key, range, right or domain (IBV_WC_REM_ACCESS_ERR)",
            Self::RemoteOperation => "the partner could not carry it out (IBV_WC_REM_OP_ERR)",
            Self::RetryExceeded => "the partner no longer answers (IBV_WC_RETRY_EXC_ERR)",
            Self::ReceiverNotReady => "the partner posted no receive in time (IBV_WC_RNR_RETRY_EXC_ERR)",
            Self::Fenced => "fenced by the partner",
            Self::Other(code) => return write!(formatter, "work completion status {code}"),
        };
        formatter.write_str(text)
    }
}

/// The end of one work request. Every posted request has exactly one; those of a port's operations come in posting order, and so do those
/// of its receives, each beside the other. After the first that failed, all others of the port are flushed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Completion {
    /// The id the request was posted with.
    pub id: u64,
    /// What it was.
    pub operation: Operation,
    /// How it ended.
    pub status: WorkCompletionStatus,
    /// Bytes moved; for a receive, bytes of the message.
    pub bytes: u32,
    /// The immediate data of a receive.
    pub immediate: Option<u32>,
    /// The buffer the request was posted with: yours again.
    pub buffer: Option<Buffer>,
}

impl Completion {
    /// A completion; what backends build.
    pub(crate) fn new(
        id: u64,
        operation: Operation,
        status: WorkCompletionStatus,
        bytes: u32,
        buffer: Option<Buffer>,
    ) -> Self {
        Self { id, operation, status, bytes, immediate: None, buffer }
    }
    /// Whether it succeeded.
    pub fn is_success(&self) -> bool {
        self.status == WorkCompletionStatus::Success
    }
}

/// An empty place in a caller's polling array.
impl Default for Completion {
    fn default() -> Self {
        Self::new(0, Operation::Write, WorkCompletionStatus::Flushed, 0, None)
    }
}
