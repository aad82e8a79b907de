//! A port on a device: post and poll. The hot path.

use super::batch::Batch;
use super::completing::POLL;
use super::outstanding::Outstanding;
use super::queue::SharedQueue;
use super::remote::VerbsRemote;
use super::sending::{registered, strangers};
use super::teardown;
use super::waiting::ReceiverWait;
use crate::fabric::{Completion, Kept, Operation, Port, PortLimits, PortState, PostError, Refused, WorkRequest};
use crate::memory::{Buffer, Loan};
use crate::sys::verbs::{Action, CompletionQueue, Data, WorkCompletion};
use std::sync::Arc;

/// A queue pair with its completion queue.
///
/// Dropping it ends the queue pair, waits for what is outstanding (a second at most), and destroys it. Buffers the device may
/// still work on after that are leaked, and an error in the log says so.
#[derive(Debug)]
pub struct VerbsPort {
    pub(super) queue: Arc<SharedQueue>,
    pub(super) completions: Arc<CompletionQueue>,
    pub(super) sends: Outstanding,
    pub(super) receives: Outstanding,
    pub(super) limits: PortLimits,
    /// The protection domain whose buffers it takes.
    pub(super) domain: u64,
    pub(super) batch: Batch,
    pub(super) wait: ReceiverWait,
    pub(super) teardown: teardown::Clock,
    /// Where the device's completions are read into.
    pub(super) space: Box<[WorkCompletion; POLL]>,
    /// Whether the request that ends the queue was posted.
    pub(super) marked: bool,
}

impl VerbsPort {
    pub(super) fn new(
        queue: Arc<SharedQueue>,
        completions: Arc<CompletionQueue>,
        limits: PortLimits,
        domain: u64,
        receiver_not_ready_ms: u32,
    ) -> Self {
        Self {
            queue,
            completions,
            sends: Outstanding::new(limits.send_work_requests_max),
            receives: Outstanding::new(limits.receive_work_requests_max),
            limits,
            domain,
            batch: Batch::default(),
            wait: ReceiverWait::new(receiver_not_ready_ms),
            teardown: teardown::Clock::default(),
            space: Box::new([WorkCompletion::EMPTY; POLL]),
            marked: false,
        }
    }
}

/// Refuses a request that could not be posted, or goes on with the value.
macro_rules! admitted {
    ($check:expr, $buffer:expr) => {
        match $check {
            Ok(value) => value,
            Err(reason) => return Err(Refused { reason, buffer: $buffer }),
        }
    };
}

// SAFETY:
// - alias, device: a handle stays in the queue while its operation may touch the bytes, and comes back or is dropped after that.
// - alias: loans and what is sent are read alone.
unsafe impl Port for VerbsPort {
    type Remote = VerbsRemote;

    #[inline]
    fn post_read(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        from: &VerbsRemote,
        offset: u64,
    ) -> Result<(), Refused> {
        let place = admitted!(self.transfer(into.len(), from, offset), into);
        let data = registered(&into, into.len() as u32);
        self.send(request, Operation::Read, Action::Read(place), data, into)
    }

    #[inline]
    fn post_write(&mut self, request: WorkRequest, from: Buffer, to: &VerbsRemote, offset: u64) -> Result<(), Refused> {
        let place = admitted!(self.transfer(from.len(), to, offset), from);
        let data = self.outgoing(&from, from.len() as u32);
        self.send(request, Operation::Write, Action::Write(place), data, from)
    }

    #[inline]
    fn post_write_loan(
        &mut self,
        request: WorkRequest,
        from: Loan,
        to: &VerbsRemote,
        offset: u64,
    ) -> Result<(), PostError> {
        let place = self.transfer(from.len(), to, offset)?;
        let (number, bytes) = (self.sends.next(), from.len() as u32);
        let signalled = request.signalled || self.sends.is_last();
        let (data, fits) = (self.lent(&from), from.domain() == self.domain);
        let action = if fits { Action::Write(place) } else { strangers(Action::Write(place), bytes) };
        self.sends.push(request.id, Operation::Write, bytes, Kept::Loan(from));
        self.hand_over(number, signalled, action, data);
        Ok(())
    }

    #[inline]
    fn post_write_inline(
        &mut self,
        request: WorkRequest,
        bytes: &[u8],
        to: &VerbsRemote,
        offset: u64,
    ) -> Result<(), PostError> {
        let place = self.transfer(bytes.len(), to, offset)?;
        if bytes.len() > self.limits.inline_bytes_max as usize {
            return Err(PostError::Length);
        }
        let data = Data::Inline { bytes: bytes.as_ptr(), length: bytes.len() };
        let number = self.sends.next();
        let signalled = request.signalled || self.sends.is_last();
        self.sends.push(request.id, Operation::Write, bytes.len() as u32, Kept::Nothing);
        self.hand_over(number, signalled, Action::Write(place), data);
        Ok(())
    }

    #[inline]
    fn post_write_with_immediate(
        &mut self,
        request: WorkRequest,
        from: Buffer,
        to: &VerbsRemote,
        offset: u64,
        immediate: u32,
    ) -> Result<(), Refused> {
        let place = admitted!(self.transfer(from.len(), to, offset), from);
        let data = self.outgoing(&from, from.len() as u32);
        self.send(request, Operation::WriteWithImmediate, Action::WriteWithImmediate(place, immediate), data, from)
    }

    #[inline]
    fn post_fetch_add(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        to: &VerbsRemote,
        offset: u64,
        add: u64,
    ) -> Result<(), Refused> {
        let place = admitted!(self.atomic(into.len(), to, offset), into);
        let data = registered(&into, 8);
        self.send(request, Operation::FetchAdd, Action::FetchAdd(place, add), data, into)
    }

    #[inline]
    fn post_compare_swap(
        &mut self,
        request: WorkRequest,
        into: Buffer,
        to: &VerbsRemote,
        offset: u64,
        expected: u64,
        desired: u64,
    ) -> Result<(), Refused> {
        let place = admitted!(self.atomic(into.len(), to, offset), into);
        let data = registered(&into, 8);
        self.send(request, Operation::CompareSwap, Action::CompareSwap { place, expected, desired }, data, into)
    }

    #[inline]
    fn post_send(&mut self, request: WorkRequest, from: Buffer) -> Result<(), Refused> {
        admitted!(self.admit(), from);
        if from.len() > self.limits.message_bytes_max as usize {
            return Err(Refused { reason: PostError::Length, buffer: from });
        }
        let data = self.outgoing(&from, from.len() as u32);
        self.send(request, Operation::Send, Action::Send, data, from)
    }

    #[inline]
    fn post_receive(&mut self, request: WorkRequest, into: Buffer) -> Result<(), Refused> {
        if self.queue.has_failed() {
            return Err(Refused { reason: PostError::PortInError, buffer: into });
        }
        if self.receives.is_full() {
            return Err(Refused { reason: PostError::QueueFull, buffer: into });
        }
        let Ok(length) = u32::try_from(into.len()) else {
            return Err(Refused { reason: PostError::Length, buffer: into });
        };
        if let Err(errno) = self.hand_over_receive(&into, length) {
            self.queue.end();
            return Err(Refused { reason: PostError::Device(errno), buffer: into });
        }
        self.receives.push(request.id, Operation::Receive, 0, Kept::Buffer(into));
        Ok(())
    }

    fn hold(&mut self) {
        self.batch.hold();
    }

    fn ring(&mut self) -> Result<(), PostError> {
        let Some(first) = self.batch.sent() else { return Ok(()) };
        self.ring_doorbell().map_err(|errno| {
            self.refused(first, errno);
            PostError::Device(errno)
        })
    }

    #[inline]
    fn poll(&mut self, completions: &mut [Completion]) -> usize {
        if self.batch.is_held() {
            // What it says comes back as flushed completions.
            let _ = self.ring();
        }
        let mut count = self.tell(completions);
        while count < completions.len() {
            let oldest = self.sends.oldest();
            if !self.absorb(completions.len() - count) {
                break;
            }
            if self.sends.oldest() != oldest {
                self.wait.progress();
            }
            count += self.tell(&mut completions[count..]);
        }
        if self.batch.is_lost(self.sends.oldest()) && self.sends.is_waiting() {
            self.give_up();
            count += self.tell(&mut completions[count..]);
        }
        if count == 0 && (self.sends.is_waiting() || self.receives.is_waiting()) && self.wait.look() {
            self.idle();
            count = self.tell(completions);
        }
        count
    }

    #[inline]
    fn state(&self) -> PortState {
        if self.queue.has_failed() { PortState::Error } else { PortState::Ready }
    }

    fn limits(&self) -> PortLimits {
        self.limits
    }

    fn close(&mut self) {
        if self.batch.is_held() {
            let _ = self.ring();
        }
        self.queue.end();
    }
}
