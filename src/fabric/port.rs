//! A port: one queue pair and its completion queue, owned by one thread. The hot path.

use crate::fabric::error::in_range;
use crate::fabric::{Completion, FabricError, PortAddress, RemoteDescriptor};
use crate::memory::{Buffer, Errno, Loan};

/// How many requests a port holds, and how long messages may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PortOptions {
    /// Operations posted and not yet polled, at most: 1 to 32768. Default 128.
    pub send_work_requests_max: u32,
    /// Receives posted and not yet polled, at most: 1 to 32768. Default 64.
    pub receive_work_requests_max: u32,
    /// Longest SEND, bytes: 8 to 65536. Default 1024. For WRITE and READ see [`PortLimits::transfer_bytes_max`].
    pub message_bytes_max: u32,
    /// How long a SEND or WRITE with immediate waits for the other side's receive, milliseconds: 1 to 600000. Default 1000.
    pub receiver_not_ready_ms_max: u32,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self {
            send_work_requests_max: 128,
            receive_work_requests_max: 64,
            message_bytes_max: 1024,
            receiver_not_ready_ms_max: 1000,
        }
    }
}

impl PortOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the number of outstanding operations.
    #[must_use]
    pub fn send_work_requests(mut self, max: u32) -> Self {
        self.send_work_requests_max = max;
        self
    }
    /// Sets the number of outstanding receives.
    #[must_use]
    pub fn receive_work_requests(mut self, max: u32) -> Self {
        self.receive_work_requests_max = max;
        self
    }
    /// Sets the longest SEND.
    #[must_use]
    pub fn message_bytes(mut self, max: u32) -> Self {
        self.message_bytes_max = max;
        self
    }
    /// Sets how long to wait for the other side's receive.
    #[must_use]
    pub fn receiver_not_ready_ms(mut self, max: u32) -> Self {
        self.receiver_not_ready_ms_max = max;
        self
    }

    /// Refuses what is out of its range; every backend asks this before it makes a port.
    pub(crate) fn check(&self) -> Result<(), FabricError> {
        in_range("send_work_requests_max", self.send_work_requests_max, 1, 32_768)?;
        in_range("receive_work_requests_max", self.receive_work_requests_max, 1, 32_768)?;
        in_range("message_bytes_max", self.message_bytes_max, 8, 65_536)?;
        in_range("receiver_not_ready_ms_max", self.receiver_not_ready_ms_max, 1, 600_000)
    }
}

/// What a port was granted; at least what its options asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PortLimits {
    /// Operations outstanding, at most.
    pub send_work_requests_max: u32,
    /// Receives outstanding, at most.
    pub receive_work_requests_max: u32,
    /// Longest inline WRITE, bytes.
    pub inline_bytes_max: u32,
    /// Longest SEND, bytes.
    pub message_bytes_max: u32,
    /// Longest READ or WRITE, bytes: a device has a limit (1 or 2 GiB; 8 MiB on rxe), shared memory has none below 4 GiB.
    pub transfer_bytes_max: u32,
}

impl PortLimits {
    /// What backends build.
    pub(crate) fn new(send: u32, receive: u32, inline: u32, message: u32) -> Self {
        Self {
            send_work_requests_max: send,
            receive_work_requests_max: receive,
            inline_bytes_max: inline,
            message_bytes_max: message,
            transfer_bytes_max: u32::MAX,
        }
    }
}

/// Whether a port can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortState {
    /// It can.
    Ready,
    /// An operation failed, or the link ended: what is outstanding comes back flushed, and what is posted is refused.
    Error,
}

/// The id of a work request, and whether its completion is wanted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkRequest {
    /// Comes back in the completion.
    pub id: u64,
    /// Unsignalled requests complete no later than the next signalled one, errors always; each still has a completion of its own. The
    /// request that fills the queue counts as signalled.
    pub signalled: bool,
}

impl WorkRequest {
    /// Completion wanted.
    pub const fn signalled(id: u64) -> Self {
        Self { id, signalled: true }
    }
    /// Completion may wait for that of the next signalled request.
    pub const fn unsignalled(id: u64) -> Self {
        Self { id, signalled: false }
    }
}

/// Why a request was not taken. Nothing of it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// As many requests are outstanding as the port holds: poll, then post again.
    #[error("the queue is full: poll for completions, then post again")]
    QueueFull,
    /// The port is in error: its link or session ended.
    #[error("the port is in error: its link or session ended")]
    PortInError,
    /// The request reaches past the end of the remote memory.
    #[error("the request reaches past the end of the remote memory")]
    OutOfRange,
    /// Data longer than [`PortLimits`] says, or an atomic whose buffer is not 8 bytes long.
    #[error("wrong length: see the port's limits; atomics take a buffer of 8 bytes")]
    Length,
    /// The device's driver refused; the port is in error from now on, and what was posted comes back flushed.
    #[error("the device's driver refused the requests: {0}")]
    Device(Errno),
}

/// A request that was not taken, with its buffer: yours again.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// Why.
    pub reason: PostError,
    /// What was to be moved.
    pub buffer: Buffer,
}

/// Remote memory, ready to be addressed.
pub trait Remote: Send + Sync + Clone + std::fmt::Debug {
    /// The descriptor it was imported from.
    fn descriptor(&self) -> &RemoteDescriptor;
    /// Length, bytes.
    fn len(&self) -> u64 {
        self.descriptor().length
    }
    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A port made, and not yet wired.
pub trait PendingPort: Send {
    /// What it becomes.
    type Port;
    /// What the other side needs to wire its port to this one.
    fn address(&self) -> PortAddress;
    /// Wires it to the other side's port. Both sides must do so before either posts.
    fn connect(self, partner: &PortAddress) -> Result<Self::Port, FabricError>;
}

/// One queue pair and its completion queue.
///
/// Owned by one thread (`Send`, every call takes `&mut`). Posting and polling allocate nothing, take no lock, and handfast's own code in
/// them makes no system call. Operations of one port are carried out, and complete, in posting order; so do its receives, independently. A
/// completed WRITE has been taken by the other side's fabric; its bytes are certainly in the other side's memory once a READ posted behind
/// it has completed (InfiniBand Architecture Specification, volume 1, 9.5 "transaction ordering").
///
/// Ends. The first operation that fails puts the port in error for good: what is outstanding comes back flushed, what is posted is refused,
/// and the other side's port ends too: its operations fail, and its posted receives are flushed (keep one posted as a tripwire).
///
/// Limits of what is promised: an operation of no bytes is carried out like others, but whether its key is checked is the fabric's affair. A
/// SEND longer than the receive that it meets ends that receive as [`LocalLength`](crate::fabric::WorkCompletionStatus::LocalLength) and both ports; the SEND itself may have completed well before.
///
/// # Safety
/// Who implements it vouches for what the owners of memory rely on:
/// - a buffer that was taken comes back (in its completion or its refusal) when neither a device nor a thread touches its bytes any more, or
///   never; a loan is dropped no earlier than that;
/// - the bytes of a loan, and of a buffer that is sent, are read and never written.
///
/// A port that wraps another one and passes on what it is given keeps both.
#[allow(unsafe_code, reason = "a promise, and no unsafe block")]
pub unsafe trait Port: Send {
    /// Remote memory as this fabric addresses it.
    type Remote: Remote;

    /// READs `into.len()` bytes at `offset` of `from`.
    fn post_read(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        from: &Self::Remote,
        offset: u64,
    ) -> Result<(), Refused>;
    /// WRITEs the buffer to `offset` of `to`.
    fn post_write(&mut self, request: WorkRequest, from: Buffer, to: &Self::Remote, offset: u64)
    -> Result<(), Refused>;
    /// WRITEs the bytes of a loan to `offset` of `to`. The loan goes back to its ring once its bytes are not needed any more, at the latest when
    /// its completion is handed out, which has no buffer; where the request is refused, at once.
    fn post_write_loan(
        &mut self,
        request: WorkRequest,
        from: Loan,
        to: &Self::Remote,
        offset: u64,
    ) -> Result<(), PostError>;
    /// WRITEs bytes that are copied before the call returns; at most [`PortLimits::inline_bytes_max`].
    fn post_write_inline(
        &mut self,
        request: WorkRequest,
        bytes: &[u8],
        to: &Self::Remote,
        offset: u64,
    ) -> Result<(), PostError>;
    /// WRITEs the buffer, then completes one of the other side's receives with `immediate`; its bytes are in memory by then.
    fn post_write_with_immediate(
        &mut self,
        request: WorkRequest,
        from: Buffer,
        to: &Self::Remote,
        offset: u64,
        immediate: u32,
    ) -> Result<(), Refused>;
    /// Adds to the remote 8-byte word; `into` (8 bytes) gets what it held, in the machine's byte order. Atomic against other remote atomics only.
    fn post_fetch_add(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        to: &Self::Remote,
        offset: u64,
        add: u64,
    ) -> Result<(), Refused>;
    /// Replaces the remote 8-byte word by `desired` if it holds `expected`; `into` (8 bytes) gets what it held.
    fn post_compare_swap(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        to: &Self::Remote,
        offset: u64,
        expected: u64,
        desired: u64,
    ) -> Result<(), Refused>;
    /// SENDs the buffer into the other side's next receive.
    fn post_send(&mut self, request: WorkRequest, from: Buffer) -> Result<(), Refused>;
    /// Offers a buffer for the other side's next SEND or WRITE with immediate. Receives are always signalled.
    fn post_receive(&mut self, request: WorkRequest, into: Buffer) -> Result<(), Refused>;
    /// Keeps back what is posted from here on until [`Port::ring`] or the next poll, so that all of it goes out with one doorbell. Only a
    /// device has doorbells: elsewhere this does nothing. Ring before the port goes to another thread.
    fn hold(&mut self) {}
    /// Sends off what [`Port::hold`] kept back.
    ///
    /// # Errors
    /// [`PostError::Device`]: nothing of it went out; the port is in error, and all of it comes back flushed.
    fn ring(&mut self) -> Result<(), PostError> {
        Ok(())
    }
    /// Moves up to `completions.len()` completions into `completions`, from its start; returns how many.
    fn poll(&mut self, completions: &mut [Completion]) -> usize;
    /// Whether it can be used.
    fn state(&self) -> PortState;
    /// What it was granted.
    fn limits(&self) -> PortLimits;
    /// Ends it: outstanding requests come back flushed by the next polls, the other side's requests to it fail.
    fn close(&mut self);
}
