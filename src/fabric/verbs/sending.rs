//! From a port to its device: the only place where requests are handed over.

use super::port::VerbsPort;
use super::remote::VerbsRemote;
use crate::fabric::{Kept, Operation, PostError, Refused, WorkRequest};
use crate::memory::{Buffer, Errno, Loan};
use crate::sys::verbs::{Action, Data, Place};

/// Set in the number of a receive, to tell it from a send.
pub(super) const RECEIVE: u64 = 1 << 63;

/// The number of the request that ends a queue: see [`VerbsPort::mark`].
pub(super) const MARK: u64 = 1 << 62;

impl VerbsPort {
    /// Length and place of a transfer, if it may be posted.
    #[inline(always)]
    pub(super) fn transfer(&self, length: usize, remote: &VerbsRemote, offset: u64) -> Result<Place, PostError> {
        self.admit()?;
        if length > self.limits.transfer_bytes_max as usize {
            return Err(PostError::Length);
        }
        remote.place(offset, length as u64).ok_or(PostError::OutOfRange)
    }

    /// The same of an atomic.
    #[inline(always)]
    pub(super) fn atomic(&self, length: usize, remote: &VerbsRemote, offset: u64) -> Result<Place, PostError> {
        self.admit()?;
        if length != 8 {
            return Err(PostError::Length);
        }
        remote.place(offset, 8).ok_or(PostError::OutOfRange)
    }

    /// Whether a send may be posted now.
    #[inline(always)]
    pub(super) fn admit(&self) -> Result<(), PostError> {
        if self.queue.has_failed() {
            return Err(PostError::PortInError);
        }
        if self.sends.is_full() { Err(PostError::QueueFull) } else { Ok(()) }
    }

    /// How the bytes of a buffer go out: short ones in the request itself, which spares the device a read of our memory. Those of another
    /// domain go by their key, so that the device refuses them.
    #[inline(always)]
    pub(super) fn outgoing(&self, buffer: &Buffer, length: u32) -> Data {
        if length <= self.limits.inline_bytes_max && buffer.domain() == self.domain {
            Data::Inline { bytes: buffer.as_ptr(), length: length as usize }
        } else {
            registered(buffer, length)
        }
    }

    /// The same of a loan. The device reads it and writes nothing of it: it is posted for a WRITE.
    #[inline(always)]
    pub(super) fn lent(&self, loan: &Loan) -> Data {
        if loan.len() <= self.limits.inline_bytes_max as usize && loan.domain() == self.domain {
            Data::Inline { bytes: loan.as_ptr(), length: loan.len() }
        } else {
            let (address, length) = (loan.as_ptr().cast_mut(), loan.len() as u32);
            Data::Registered { address, length, key: loan.local_key().0 }
        }
    }

    /// Posts a request with a buffer; the checks of its length and place are done.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        request: WorkRequest,
        operation: Operation,
        action: Action,
        data: Data,
        buffer: Buffer,
    ) -> Result<(), Refused> {
        let bytes = buffer.len() as u32;
        let number = self.sends.next();
        // A message that succeeds without a completion could not be told from one that waits for its receive.
        let message = matches!(operation, Operation::Send | Operation::WriteWithImmediate);
        let signalled = request.signalled || message || self.sends.is_last();
        if message {
            self.wait.expect(number);
        }
        let action = if buffer.domain() == self.domain { action } else { strangers(action, bytes) };
        self.sends.push(request.id, operation, bytes, Kept::Buffer(buffer));
        self.hand_over(number, signalled, action, data);
        Ok(())
    }

    /// Gives a request that is noted to the device. Where the driver refuses it the port is in error, and it comes back flushed: its buffer only when
    /// the queue pair is destroyed, since a driver may have shown the request to the device before it failed.
    #[inline(always)]
    pub(super) fn hand_over(&mut self, number: u64, signalled: bool, action: Action, data: Data) {
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
            Ok(()) if self.batch.is_held() => return,
            // SAFETY:
            // - thread: as for `begin`, which came before.
            Ok(()) => unsafe { pair.ring() },
            Err(errno) => Err(errno),
        };
        let first = self.batch.sent().unwrap_or(number);
        if let Err(errno) = outcome {
            self.refused(first, errno);
        }
    }

    /// The driver refused the requests from `first` on.
    #[cold]
    pub(super) fn refused(&mut self, first: u64, errno: Errno) {
        self.batch.lose(first);
        self.queue.end();
        let (device, queue_pair) = (self.queue.pair().device(), self.queue.pair().number());
        tracing::warn!(device, queue_pair, "the driver refused a request: {errno}");
    }

    /// Posts a last request to a queue pair that has failed. Unsignalled requests that succeeded before the failure have no completion of their own; that of
    /// this one, which is flushed like any other, comes after theirs.
    pub(super) fn mark(&mut self) {
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

    /// Gives a receive to the device; the caller notes it with its buffer.
    #[inline(always)]
    pub(super) fn hand_over_receive(&mut self, into: &Buffer, length: u32) -> Result<(), Errno> {
        let (address, key) = (into.as_ptr(), into.local_key().0);
        let number = self.receives.next();
        // SAFETY:
        // - live: destroyed by `self` alone, which marks it failed first.
        // - device: the buffer's handle goes to the queue of what is outstanding until the request has ended.
        // - thread: a port is one thread's at a time (`&mut self`), and nobody else posts to its queue pair.
        unsafe { self.queue.pair().post_receive(number | RECEIVE, address, length, key) }
    }

    /// Sends off a chain that was begun.
    pub(super) fn ring_doorbell(&mut self) -> Result<(), Errno> {
        // SAFETY:
        // - thread: a port is one thread's at a time (`&mut self`); `begin` came with the first request held.
        unsafe { self.queue.pair().ring() }
    }
}

/// What is posted with a buffer of another protection domain. The device must refuse it before the other side hears of it; a READ or an atomic it would refuse only
/// when the answer is there, so they go as WRITEs.
#[cold]
pub(super) fn strangers(action: Action, bytes: u32) -> Action {
    if bytes == 0 { action } else { Action::Write(Place { address: 0, key: 0 }) }
}

/// By its key.
#[inline(always)]
pub(super) fn registered(buffer: &Buffer, length: u32) -> Data {
    Data::Registered { address: buffer.as_ptr(), length, key: buffer.local_key().0 }
}
