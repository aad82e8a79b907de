//! A wired port: the initiator's own CPU carries each operation out when it is posted.
//!
//! What happens when it is polled, and how it ends, is in `progress`.
//!
//! Imports `queue`, `receives`, `wire`, `remote`. The hot path: no allocation, no lock, no system call; the clock is read only while a
//! message waits for the other side's receive.
//!
//! A port's own state word is the one thing others may end it by ([`Domain::revoke`](crate::fabric::Domain::revoke)): it is looked at in
//! every call. The partner's, and the word that the kernel marks when its process ends, are looked at before a completion is handed out as good.

mod progress;

use super::pending::{Place, Slots, Watched};
use super::queue::SendQueue;
use super::receives::Receives;
use super::remote::ShmRemote;
use super::table::PortWords;
use super::wire::{Atomic, Waiting, WaitingQueue, Wire};
use crate::fabric::{
    Completion, Kept, Operation, Port, PortLimits, PortOptions, PortState, PostError, Refused, WorkCompletionStatus,
    WorkRequest,
};
use crate::memory::{Buffer, Loan};
use std::cell::Cell;
use std::marker::PhantomData;

/// Longest inline WRITE, bytes.
pub(crate) const INLINE_BYTES_MAX: usize = 256;

/// What a port was granted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Granted {
    limits: PortLimits,
    receiver_wait_ns: u64,
}

impl From<&PortOptions> for Granted {
    fn from(options: &PortOptions) -> Self {
        let (send, receive) = (options.send_work_requests_max, options.receive_work_requests_max);
        let limits = PortLimits::new(send, receive, INLINE_BYTES_MAX as u32, options.message_bytes_max);
        Self { limits, receiver_wait_ns: u64::from(options.receiver_not_ready_ms_max) * 1_000_000 }
    }
}

/// What a port is made of.
pub(crate) struct Parts {
    /// Its place in its domain's table.
    pub(crate) place: Place,
    /// Its words there.
    pub(crate) own: PortWords,
    /// The partner's port.
    pub(crate) peer: Watched,
    /// Number of its domain in this process.
    pub(crate) domain: u64,
    /// Token of the domain of the partner's port.
    pub(crate) peer_domain: u64,
    /// Where messages for it arrive.
    pub(crate) slots: Slots,
    /// Where messages of its go; none on a link that only observes.
    pub(crate) peer_slots: Option<Slots>,
    /// Its limits.
    pub(crate) granted: Granted,
}

/// One queue pair between two processes of this machine. Dropping it closes it.
#[derive(Debug)]
pub struct ShmPort {
    own: PortWords,
    peer: Watched,
    domain: u64,
    /// In error or closed, and everything outstanding flushed.
    down: bool,
    /// The partner's end was seen: nothing outstanding then counts as done.
    disowned: bool,
    receives_first: bool,
    queue: SendQueue,
    wire: Wire,
    receives: Receives,
    waiting: WaitingQueue,
    limits: PortLimits,
    _place: Place,
    /// One thread at a time: its counters are not shared.
    _not_sync: PhantomData<Cell<()>>,
}

/// An operation that is about to be carried out or to be put in the queue of those that wait.
type Outcome = Option<WorkCompletionStatus>;

impl ShmPort {
    pub(crate) fn new(parts: Parts) -> Self {
        let limits = parts.granted.limits;
        Self {
            queue: SendQueue::new(limits.send_work_requests_max),
            wire: Wire::new(parts.peer.words.clone(), parts.peer_domain, parts.peer_slots),
            receives: Receives::new(limits.receive_work_requests_max, parts.slots, parts.domain),
            waiting: WaitingQueue::new(limits.send_work_requests_max, parts.granted.receiver_wait_ns),
            own: parts.own,
            peer: parts.peer,
            domain: parts.domain,
            down: false,
            disowned: false,
            receives_first: false,
            limits,
            _place: parts.place,
            _not_sync: PhantomData,
        }
    }

    /// The partner's port, for whoever watches it.
    pub(crate) fn partner(&self) -> &Watched {
        &self.peer
    }

    /// Whether an operation may be posted at all.
    #[inline]
    fn admit(&self) -> Result<(), PostError> {
        if !self.own.is_ready() {
            return Err(PostError::PortInError);
        }
        if self.queue.is_full() { Err(PostError::QueueFull) } else { Ok(()) }
    }

    /// Whether an operation with so many bytes on remote memory may be posted.
    #[inline]
    fn admit_remote(&self, bytes: usize, remote: &ShmRemote, offset: u64) -> Result<(), PostError> {
        self.admit()?;
        if u32::try_from(bytes).is_err() {
            return Err(PostError::Length);
        }
        if remote.announces(offset, bytes) { Ok(()) } else { Err(PostError::OutOfRange) }
    }

    /// Puts an operation in the queue with what came of it; `None`: it could not be carried out yet.
    #[inline]
    fn finish(&mut self, request: WorkRequest, operation: Operation, bytes: usize, kept: Kept, outcome: Outcome) {
        if outcome == Some(WorkCompletionStatus::Success) {
            self.queue.push_done(request, operation, bytes as u32, kept);
        } else {
            self.queue.push_waiting(request, operation, bytes as u32, kept);
            if let Some(status) = outcome {
                self.fail(status);
            }
        }
    }

    /// Puts an operation behind those that wait.
    #[cold]
    fn wait(&mut self, request: WorkRequest, waiting: Waiting, bytes: usize, kept: Kept) {
        self.queue.push_waiting(request, waiting.operation(), bytes as u32, kept);
        self.waiting.push(waiting);
    }
}

/// What becomes of a buffered operation: refused before anything was done, or put in the queue.
macro_rules! admitted {
    ($check:expr, $buffer:ident) => {
        if let Err(reason) = $check {
            return Err(Refused { reason, buffer: $buffer });
        }
    };
}

// SAFETY:
// - alias, device: a handle stays in the queue while its operation may touch the bytes, and comes back or is dropped after that.
// - alias: loans and what is sent are read alone.
unsafe impl Port for ShmPort {
    type Remote = ShmRemote;

    #[inline]
    fn post_read(
        &mut self,
        request: WorkRequest,
        mut into: Buffer,
        from: &ShmRemote,
        offset: u64,
    ) -> Result<(), Refused> {
        admitted!(self.admit_remote(into.len(), from, offset), into);
        let bytes = into.len();
        if self.queue.has_waiting() {
            self.wait(request, Waiting::Read(from.clone(), offset), bytes, into.into());
            return Ok(());
        }
        let outcome = if into.domain() == self.domain {
            self.wire.read(from, offset, into.as_mut_slice())
        } else {
            WorkCompletionStatus::LocalProtection
        };
        self.finish(request, Operation::Read, bytes, into.into(), Some(outcome));
        Ok(())
    }

    #[inline]
    fn post_write(&mut self, request: WorkRequest, from: Buffer, to: &ShmRemote, offset: u64) -> Result<(), Refused> {
        admitted!(self.admit_remote(from.len(), to, offset), from);
        let bytes = from.len();
        if self.queue.has_waiting() {
            self.wait(request, Waiting::Write(to.clone(), offset), bytes, from.into());
            return Ok(());
        }
        let outcome = if from.domain() == self.domain {
            self.wire.write(to, offset, from.as_slice())
        } else {
            WorkCompletionStatus::LocalProtection
        };
        self.finish(request, Operation::Write, bytes, from.into(), Some(outcome));
        Ok(())
    }

    #[inline]
    fn post_write_loan(
        &mut self,
        request: WorkRequest,
        from: Loan,
        to: &ShmRemote,
        offset: u64,
    ) -> Result<(), PostError> {
        let bytes = from.len();
        self.admit_remote(bytes, to, offset)?;
        if self.queue.has_waiting() {
            self.wait(request, Waiting::Write(to.clone(), offset), bytes, Kept::Loan(from));
            return Ok(());
        }
        let outcome = if from.domain() == self.domain {
            self.wire.write_loan(to, offset, &from)
        } else {
            WorkCompletionStatus::LocalProtection
        };
        // It was copied, or never will be: its room is its ring's again.
        drop(from);
        self.finish(request, Operation::Write, bytes, Kept::Nothing, Some(outcome));
        Ok(())
    }

    #[inline]
    fn post_write_inline(
        &mut self,
        request: WorkRequest,
        bytes: &[u8],
        to: &ShmRemote,
        offset: u64,
    ) -> Result<(), PostError> {
        self.admit()?;
        if bytes.len() > INLINE_BYTES_MAX {
            return Err(PostError::Length);
        }
        if !to.announces(offset, bytes.len()) {
            return Err(PostError::OutOfRange);
        }
        if self.queue.has_waiting() {
            self.waiting.keep_inline(self.queue.place_of_tail(), bytes);
            self.wait(request, Waiting::Inline(to.clone(), offset, bytes.len()), bytes.len(), Kept::Nothing);
            return Ok(());
        }
        let outcome = self.wire.write(to, offset, bytes);
        self.finish(request, Operation::Write, bytes.len(), Kept::Nothing, Some(outcome));
        Ok(())
    }

    #[inline]
    fn post_write_with_immediate(
        &mut self,
        request: WorkRequest,
        from: Buffer,
        to: &ShmRemote,
        offset: u64,
        immediate: u32,
    ) -> Result<(), Refused> {
        admitted!(self.admit_remote(from.len(), to, offset), from);
        let bytes = from.len();
        let outcome = if self.queue.has_waiting() {
            None
        } else if from.domain() == self.domain {
            self.wire.write_with_immediate(to, offset, from.as_slice(), immediate)
        } else {
            Some(WorkCompletionStatus::LocalProtection)
        };
        if outcome.is_none() {
            self.wait(request, Waiting::WriteWithImmediate(to.clone(), offset, immediate), bytes, from.into());
        } else {
            self.finish(request, Operation::WriteWithImmediate, bytes, from.into(), outcome);
        }
        Ok(())
    }

    #[inline]
    fn post_fetch_add(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        to: &ShmRemote,
        offset: u64,
        add: u64,
    ) -> Result<(), Refused> {
        self.post_atomic(request, into, to, offset, Atomic::FetchAdd(add))
    }

    #[inline]
    fn post_compare_swap(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        to: &ShmRemote,
        offset: u64,
        expected: u64,
        desired: u64,
    ) -> Result<(), Refused> {
        self.post_atomic(request, into, to, offset, Atomic::CompareSwap { expected, desired })
    }

    #[inline]
    fn post_send(&mut self, request: WorkRequest, from: Buffer) -> Result<(), Refused> {
        admitted!(self.admit(), from);
        let bytes = from.len();
        if bytes > self.limits.message_bytes_max as usize {
            return Err(Refused { reason: PostError::Length, buffer: from });
        }
        let outcome = if self.queue.has_waiting() {
            None
        } else if from.domain() == self.domain {
            self.wire.send(from.as_slice())
        } else {
            Some(WorkCompletionStatus::LocalProtection)
        };
        if outcome.is_none() {
            self.wait(request, Waiting::Send, bytes, from.into());
        } else {
            self.finish(request, Operation::Send, bytes, from.into(), outcome);
        }
        Ok(())
    }

    #[inline]
    fn post_receive(&mut self, request: WorkRequest, into: Buffer) -> Result<(), Refused> {
        if !self.own.is_ready() {
            return Err(Refused { reason: PostError::PortInError, buffer: into });
        }
        self.receives.post(request.id, into, &*self.own.receives_posted)
    }

    #[inline]
    fn poll(&mut self, completions: &mut [Completion]) -> usize {
        if !self.down && !self.own.is_ready() {
            self.go_down();
        }
        if self.queue.has_waiting() {
            self.progress();
        }
        if self.receives.is_idle() {
            return self.poll_sends(completions);
        }
        // Taking turns at the front, so that an array of one serves both queues.
        self.receives_first = !self.receives_first;
        let mut count = 0;
        for turn in [self.receives_first, !self.receives_first] {
            let rest = completions.get_mut(count..).unwrap_or_default();
            count += if turn { self.poll_receives(rest) } else { self.poll_sends(rest) };
        }
        count
    }

    #[inline]
    fn state(&self) -> PortState {
        if !self.down && self.own.is_ready() { PortState::Ready } else { PortState::Error }
    }

    fn limits(&self) -> PortLimits {
        self.limits
    }

    fn close(&mut self) {
        self.go_down();
    }
}

impl ShmPort {
    #[inline]
    fn post_atomic(
        &mut self,
        request: WorkRequest,
        mut into: Buffer,
        to: &ShmRemote,
        offset: u64,
        atomic: Atomic,
    ) -> Result<(), Refused> {
        admitted!(self.admit(), into);
        if into.len() != 8 {
            return Err(Refused { reason: PostError::Length, buffer: into });
        }
        if !to.announces(offset, 8) {
            return Err(Refused { reason: PostError::OutOfRange, buffer: into });
        }
        if self.queue.has_waiting() {
            self.wait(request, Waiting::Atomic(to.clone(), offset, atomic), 8, into.into());
            return Ok(());
        }
        let outcome = if into.domain() == self.domain {
            self.wire.atomic(to, offset, into.as_mut_slice(), atomic)
        } else {
            WorkCompletionStatus::LocalProtection
        };
        self.finish(request, atomic.operation(), 8, into.into(), Some(outcome));
        Ok(())
    }
}
