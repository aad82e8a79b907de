//! A port on a device: post and poll. The hot path.

use super::batch::Batch;
use super::outstanding::Outstanding;
use super::queue::SharedQueue;
use super::remote::VerbsRemote;
use super::teardown;
use super::waiting::ReceiverWait;
use crate::fabric::{
    Completion, Operation, Port, PortLimits, PortState, PostError, Refused, WorkCompletionStatus, WorkRequest,
};
use crate::memory::Buffer;
use crate::sys::verbs::{Action, CompletionQueue, Data, Place, WorkCompletion, status};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Set in the number of a receive, to tell it from a send.
const RECEIVE: u64 = 1 << 63;

/// The number of the request that ends a queue: see [`VerbsPort::mark`].
const MARK: u64 = 1 << 62;

/// Completions taken from the device in one call.
const POLL: usize = 16;

/// A queue pair with its completion queue.
///
/// Dropping it ends the queue pair, waits for what is outstanding (bounded: [`teardown::DRAIN`]), and destroys it. Buffers the device may
/// still work on after that are leaked, and an error in the log says so.
#[derive(Debug)]
pub struct VerbsPort {
    queue: Arc<SharedQueue>,
    completions: Arc<CompletionQueue>,
    pub(super) sends: Outstanding,
    pub(super) receives: Outstanding,
    limits: PortLimits,
    /// The protection domain whose buffers it takes.
    domain: u64,
    batch: Batch,
    wait: ReceiverWait,
    teardown: teardown::Clock,
    /// Whether the request that ends the queue was posted.
    marked: bool,
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
            marked: false,
        }
    }

    /// Whether a send may be posted now.
    #[inline(always)]
    fn admit(&self) -> Result<(), PostError> {
        if self.queue.has_failed() {
            return Err(PostError::PortInError);
        }
        if self.sends.is_full() { Err(PostError::QueueFull) } else { Ok(()) }
    }

    /// How the bytes of a buffer go out: short ones in the request itself, which spares the device a read of our memory. Those of another
    /// domain go by their key, so that the device refuses them.
    #[inline(always)]
    fn outgoing(&self, buffer: &Buffer, length: u32) -> Data {
        if length <= self.limits.inline_bytes_max && buffer.domain() == self.domain {
            Data::Inline { bytes: buffer.as_ptr(), length: length as usize }
        } else {
            registered(buffer, length)
        }
    }

    /// Posts a request with a buffer; the checks of its length and place are done.
    #[inline(always)]
    fn send(
        &mut self,
        request: WorkRequest,
        operation: Operation,
        action: Action,
        data: Data,
        buffer: Buffer,
    ) -> Result<(), Refused> {
        let bytes = buffer.len() as u32;
        let number = self.sends.next();
        let signalled = request.signalled || self.sends.is_last();
        self.sends.push(request.id, operation, bytes, Some(buffer));
        if let Err(reason) = self.hand_over(number, signalled, action, data) {
            let buffer = self.sends.undo();
            return match buffer {
                Some(buffer) => Err(Refused { reason, buffer }),
                None => Ok(()),
            };
        }
        Ok(())
    }

    /// Gives a request that is noted to the device.
    #[inline(always)]
    fn hand_over(&mut self, number: u64, signalled: bool, action: Action, data: Data) -> Result<(), PostError> {
        let pair = self.queue.pair();
        if self.batch.must_begin(number) {
            // SAFETY:
            // - thread: a port is one thread's at a time (`&mut self`), and nobody else posts to its queue pair.
            // - live: destroyed by `self` alone, which marks it failed first.
            unsafe { pair.begin() };
        }
        // SAFETY:
        // - live: the buffer is in the queue of what is outstanding, or its bytes are borrowed by the caller, who sees `add` return.
        // - device: the buffer's handle stays there until the request has ended: nobody reads or writes its bytes.
        // - thread: as for `begin`.
        let added = unsafe { pair.add(number, signalled, action, data) };
        let outcome = match added {
            Ok(()) if self.batch.is_held() => return Ok(()),
            // SAFETY:
            // - thread: as for `begin`, which came before.
            Ok(()) => unsafe { pair.ring() },
            Err(errno) => Err(errno),
        };
        self.batch.sent();
        outcome.map_err(|errno| {
            self.queue.end();
            PostError::Device(errno)
        })
    }

    /// Takes completions from the device.
    #[inline]
    fn absorb(&mut self, room: usize) -> bool {
        let mut space = [const { MaybeUninit::<WorkCompletion>::uninit() }; POLL];
        let asked = room.clamp(1, POLL);
        let Ok(found) = self.completions.poll(&mut space[..asked]) else {
            self.queue.end();
            return false;
        };
        for found in found {
            let number = found.id() & !RECEIVE;
            if found.id() == MARK {
                self.sends.succeeded(self.batch.lost().unwrap_or(self.sends.next()).wrapping_sub(1));
            } else if found.status() != status::IBV_WC_SUCCESS {
                self.failed(found, number);
            } else if found.id() & RECEIVE == 0 {
                self.sends.succeeded(number);
            } else {
                self.receives.received(number, found.bytes(), found.immediate());
            }
        }
        !found.is_empty()
    }

    #[cold]
    fn failed(&mut self, found: &WorkCompletion, number: u64) {
        let code = found.status();
        let mut named = name_of(code);
        let is_send = found.id() & RECEIVE == 0;
        let queue = if is_send { &mut self.sends } else { &mut self.receives };
        let local = [status::IBV_WC_LOC_PROT_ERR, status::IBV_WC_LOC_QP_OP_ERR, status::IBV_WC_LOC_ACCESS_ERR];
        // A device may blame the request or its buffer; the cause is the same.
        if local.contains(&code) && queue.domain(number).is_some_and(|domain| domain != self.domain) {
            named = WorkCompletionStatus::LocalProtection;
        }
        if is_send && code == status::IBV_WC_WR_FLUSH_ERR && self.wait.blames(queue.operation(number)) {
            named = WorkCompletionStatus::ReceiverNotReady;
        }
        queue.failed(number, named);
        if code != status::IBV_WC_WR_FLUSH_ERR {
            let (device, queue_pair) = (self.queue.pair().device(), self.queue.pair().number());
            let vendor_error = found.vendor_error();
            tracing::debug!(device, queue_pair, code, vendor_error, "{named}");
        }
        // The device has moved the queue pair to ERR already; this takes away the other side's rights too.
        if !self.queue.has_failed() {
            self.queue.end();
        }
    }

    /// Moves what has ended into the caller's array, sends first.
    #[inline]
    fn tell(&mut self, completions: &mut [Completion]) -> usize {
        let mut count = 0;
        for place in completions {
            let Some(completion) = self.sends.take().or_else(|| self.receives.take()) else { break };
            *place = completion;
            count += 1;
        }
        count
    }

    /// Posts a last request to a queue pair that has failed. Unsignalled requests that succeeded before the failure have no completion of their own; that of
    /// this one, which is flushed like any other, comes after theirs.
    fn mark(&mut self) {
        if std::mem::replace(&mut self.marked, true) || !self.sends.is_waiting() {
            return;
        }
        let nothing = Data::Inline { bytes: [].as_ptr(), length: 0 };
        let pair = self.queue.pair();
        // SAFETY:
        // - thread: a port is one thread's at a time (`&mut self`), and nobody else posts to its queue pair.
        // - live: destroyed by `self` alone, in `give_up`, after which nothing is waiting.
        unsafe { pair.begin() };
        // SAFETY:
        // - live: as for `begin`; no bytes are moved.
        // - device: there is room for one request more than the queue of what is outstanding holds.
        let added = unsafe { pair.add(MARK, true, Action::Write(Place { address: 0, key: 0 }), nothing) };
        // SAFETY:
        // - thread: as for `begin`, which came before.
        let rung = unsafe { pair.ring() };
        if let Err(errno) = added.and(rung) {
            let (device, queue_pair) = (pair.device(), pair.number());
            tracing::debug!(device, queue_pair, "the last request of a failed queue pair was refused: {errno}");
        }
    }

    /// What polling does when nothing came: looks whether a message has waited too long for its receive, and whether a failed queue
    /// pair still gives completions.
    #[cold]
    fn idle(&mut self) {
        if self.queue.has_failed() {
            self.mark();
            if teardown::is_over(&mut self.teardown, &self.sends, &self.receives) {
                self.give_up();
            }
        } else if self.wait.is_over(&self.sends) {
            self.queue.end();
        }
    }

    /// Ends what the device owes completions for. Enters the kernel.
    fn give_up(&mut self) {
        self.batch.sent();
        let done = self.queue.destroy().is_ok();
        let leaked = self.sends.flush(done) + self.receives.flush(done);
        if leaked != 0 {
            let (device, queue_pair) = (self.queue.pair().device(), self.queue.pair().number());
            tracing::error!(device, queue_pair, leaked, "buffers leaked: the device may still work on them");
        }
    }
}

/// By its key.
#[inline(always)]
fn registered(buffer: &Buffer, length: u32) -> Data {
    Data::Registered { address: buffer.as_ptr(), length, key: buffer.local_key().0 }
}

/// A status by the name the contract has for it.
fn name_of(code: u32) -> WorkCompletionStatus {
    match code {
        status::IBV_WC_SUCCESS => WorkCompletionStatus::Success,
        status::IBV_WC_LOC_LEN_ERR => WorkCompletionStatus::LocalLength,
        status::IBV_WC_LOC_PROT_ERR => WorkCompletionStatus::LocalProtection,
        status::IBV_WC_WR_FLUSH_ERR => WorkCompletionStatus::Flushed,
        status::IBV_WC_REM_INV_REQ_ERR => WorkCompletionStatus::RemoteInvalidRequest,
        status::IBV_WC_REM_ACCESS_ERR => WorkCompletionStatus::RemoteAccess,
        status::IBV_WC_RETRY_EXC_ERR => WorkCompletionStatus::RetryExceeded,
        status::IBV_WC_RNR_RETRY_EXC_ERR => WorkCompletionStatus::ReceiverNotReady,
        other => WorkCompletionStatus::Other(other),
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

impl VerbsPort {
    /// Length and place of a transfer, if it may be posted.
    #[inline(always)]
    fn transfer(&self, length: usize, remote: &VerbsRemote, offset: u64) -> Result<Place, PostError> {
        self.admit()?;
        if length > self.limits.transfer_bytes_max as usize {
            return Err(PostError::Length);
        }
        remote.place(offset, length as u64).ok_or(PostError::OutOfRange)
    }

    /// The same of an atomic.
    #[inline(always)]
    fn atomic(&self, length: usize, remote: &VerbsRemote, offset: u64) -> Result<Place, PostError> {
        self.admit()?;
        if length != 8 {
            return Err(PostError::Length);
        }
        remote.place(offset, 8).ok_or(PostError::OutOfRange)
    }
}

impl Port for VerbsPort {
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
        self.sends.push(request.id, Operation::Write, bytes.len() as u32, None);
        self.hand_over(number, signalled, Action::Write(place), data).inspect_err(|_| {
            self.sends.undo();
        })
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
        self.wait.expect();
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
        self.wait.expect();
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
        let (address, key) = (into.as_ptr(), into.local_key().0);
        let number = self.receives.next();
        // SAFETY:
        // - live: destroyed by `self` alone, which marks it failed first.
        // - device: the buffer's handle goes to the queue of what is outstanding until the request has ended.
        // - thread: a port is one thread's at a time (`&mut self`), and nobody else posts to its queue pair.
        let posted = unsafe { self.queue.pair().post_receive(number | RECEIVE, address, length, key) };
        if let Err(errno) = posted {
            self.queue.end();
            return Err(Refused { reason: PostError::Device(errno), buffer: into });
        }
        self.receives.push(request.id, Operation::Receive, 0, Some(into));
        Ok(())
    }

    fn hold(&mut self) {
        self.batch.hold();
    }

    fn ring(&mut self) -> Result<(), PostError> {
        let Some(first) = self.batch.release() else { return Ok(()) };
        // SAFETY:
        // - thread: a port is one thread's at a time (`&mut self`); `begin` came with the first request held.
        let rung = unsafe { self.queue.pair().ring() };
        rung.map_err(|errno| {
            self.batch.lose(first);
            self.queue.end();
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
            if !self.absorb(completions.len() - count) {
                break;
            }
            self.wait.progress();
            count += self.tell(&mut completions[count..]);
        }
        if self.batch.is_lost(self.sends.oldest()) {
            self.sends.flush(true);
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

impl Drop for VerbsPort {
    fn drop(&mut self) {
        self.close();
        self.mark();
        let mut clock = teardown::Clock::default();
        while !teardown::is_over(&mut clock, &self.sends, &self.receives) {
            if !self.absorb(POLL) {
                std::thread::yield_now();
            }
            if self.batch.is_lost(self.sends.oldest()) {
                self.sends.flush(true);
            }
        }
        self.give_up();
    }
}
