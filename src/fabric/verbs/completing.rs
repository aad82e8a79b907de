//! From a device to its port: completions, and what is done when none comes any more.

use super::port::VerbsPort;
use super::sending::{MARK, RECEIVE};
use super::teardown;
use crate::fabric::{Completion, Port, WorkCompletionStatus};
use crate::sys::verbs::{WorkCompletion, status};

/// Completions taken from the device in one call.
pub(super) const POLL: usize = 16;

impl VerbsPort {
    /// Takes completions from the device.
    #[inline]
    pub(super) fn absorb(&mut self, room: usize) -> bool {
        let asked = room.clamp(1, POLL);
        let Ok(count) = self.completions.poll(&mut self.space[..asked]) else {
            self.queue.end();
            return false;
        };
        for index in 0..count.min(POLL) {
            let found = self.space[index];
            let number = found.id() & !RECEIVE;
            if found.id() == MARK {
                self.sends.succeeded(self.batch.lost().unwrap_or(self.sends.next()).wrapping_sub(1));
            } else if found.status() != status::IBV_WC_SUCCESS {
                self.failed(&found, number);
            } else if found.id() & RECEIVE == 0 {
                self.sends.succeeded(number);
            } else {
                self.receives.received(number, found.bytes(), found.immediate());
            }
        }
        count != 0
    }

    #[cold]
    fn failed(&mut self, found: &WorkCompletion, number: u64) {
        let code = found.status();
        let mut named = name_of(code);
        let is_send = found.id() & RECEIVE == 0;
        let queue = if is_send { &mut self.sends } else { &mut self.receives };
        let local = [status::IBV_WC_LOC_PROT_ERR, status::IBV_WC_LOC_QP_OP_ERR, status::IBV_WC_LOC_ACCESS_ERR];
        // A device may blame the request or its buffer; the cause is the same.
        if local.contains(&code) {
            let foreign = queue.domain(number).is_some_and(|domain| domain != self.domain);
            match (foreign, is_send) {
                (true, _) => named = WorkCompletionStatus::LocalProtection,
                // rxe's word for a message longer than the receive.
                (false, false) => named = WorkCompletionStatus::LocalLength,
                (false, true) => {}
            }
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
    pub(super) fn tell(&mut self, completions: &mut [Completion]) -> usize {
        let mut count = 0;
        for place in completions {
            let Some(completion) = self.sends.take().or_else(|| self.receives.take()) else { break };
            *place = completion;
            count += 1;
        }
        count
    }

    /// What polling does when nothing came: looks whether a message has waited too long for its receive, and whether a failed queue
    /// pair still gives completions.
    #[cold]
    pub(super) fn idle(&mut self) {
        if self.queue.has_failed() {
            self.mark();
            if self.teardown.is_over(&self.sends, &self.receives) {
                self.give_up();
            }
        } else if self.wait.is_over(&self.sends) {
            self.queue.end();
        }
    }

    /// Ends what the device owes completions for. Enters the kernel.
    pub(super) fn give_up(&mut self) {
        // What is held is not rung any more: whoever comes here has rung it.
        let _ = self.batch.sent();
        let done = self.queue.destroy().is_ok();
        let leaked = self.sends.flush(done) + self.receives.flush(done);
        if leaked != 0 {
            let (device, queue_pair) = (self.queue.pair().device(), self.queue.pair().number());
            tracing::error!(device, queue_pair, leaked, "buffers leaked: the device may still work on them");
        }
    }
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
        status::IBV_WC_REM_OP_ERR => WorkCompletionStatus::RemoteOperation,
        status::IBV_WC_RETRY_EXC_ERR => WorkCompletionStatus::RetryExceeded,
        status::IBV_WC_RNR_RETRY_EXC_ERR => WorkCompletionStatus::ReceiverNotReady,
        other => WorkCompletionStatus::Other(other),
    }
}

impl Drop for VerbsPort {
    fn drop(&mut self) {
        self.close();
        self.mark();
        let mut clock = teardown::Clock::default();
        while !clock.is_over(&self.sends, &self.receives) {
            if !self.absorb(POLL) {
                std::thread::yield_now();
            }
            if self.batch.is_lost(self.sends.oldest()) {
                break;
            }
        }
        self.give_up();
    }
}
