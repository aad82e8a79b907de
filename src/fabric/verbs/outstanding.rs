//! Requests that were posted and not yet told as completed, in order: what turns a device's completions into one for each request.

use crate::fabric::{Completion, Kept, Operation, WorkCompletionStatus};

/// The requests of one queue (sends or receives) of a port. Never grows: room is made once.
#[derive(Debug)]
pub(super) struct Outstanding {
    slots: Box<[Slot]>,
    mask: u64,
    limit: u64,
    /// Number of the oldest request not told.
    told: u64,
    /// Requests below this number have ended, and their slots say how.
    ended: u64,
    /// Number of the next request.
    next: u64,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    operation: Operation,
    status: WorkCompletionStatus,
    bytes: u32,
    immediate: Option<u32>,
    kept: Kept,
}

impl Outstanding {
    /// For `limit` requests at once.
    pub(super) fn new(limit: u32) -> Self {
        let count = limit.max(1).next_power_of_two();
        let empty = || Slot {
            id: 0,
            operation: Operation::Write,
            status: WorkCompletionStatus::Flushed,
            bytes: 0,
            immediate: None,
            kept: Kept::Nothing,
        };
        let slots = (0..count).map(|_| empty()).collect();
        Self { slots, mask: u64::from(count) - 1, limit: u64::from(limit), told: 0, ended: 0, next: 0 }
    }

    /// Requests that were posted and not told.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.next - self.told
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    /// Whether the next request is the last for which there is room.
    #[inline]
    pub(super) fn is_last(&self) -> bool {
        self.len() + 1 >= self.limit
    }

    /// Whether any request has not ended.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.ended != self.next
    }

    /// Number the next request will have.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    #[inline]
    fn slot(&mut self, number: u64) -> &mut Slot {
        let index = (number & self.mask) as usize;
        &mut self.slots[index]
    }

    /// Notes a request; there must be room.
    #[inline]
    pub(super) fn push(&mut self, id: u64, operation: Operation, bytes: u32, kept: Kept) {
        let next = self.next;
        let slot = self.slot(next);
        slot.id = id;
        slot.operation = operation;
        slot.bytes = bytes;
        slot.status = WorkCompletionStatus::Success;
        slot.immediate = None;
        slot.kept = kept;
        self.next = next + 1;
    }

    /// Request `number` succeeded, and with it all before it. What the device tells twice, or of requests that were never posted, is dropped.
    #[inline]
    pub(super) fn succeeded(&mut self, number: u64) {
        if self.is_unknown(number) {
            return;
        }
        self.ended = number + 1;
    }

    /// A receive ended well.
    #[inline]
    pub(super) fn received(&mut self, number: u64, bytes: u32, immediate: Option<u32>) {
        if self.is_unknown(number) {
            return;
        }
        let slot = self.slot(number);
        slot.bytes = bytes;
        if immediate.is_some() {
            slot.operation = Operation::ReceiveWithImmediate;
            slot.immediate = immediate;
        }
        self.ended = number + 1;
    }

    /// Request `number` failed; all before it succeeded.
    pub(super) fn failed(&mut self, number: u64, status: WorkCompletionStatus) {
        if self.is_unknown(number) {
            return;
        }
        let slot = self.slot(number);
        slot.status = status;
        slot.bytes = 0;
        self.ended = number + 1;
    }

    #[inline]
    fn is_unknown(&self, number: u64) -> bool {
        number < self.ended || number >= self.next
    }

    /// What a request that has not ended does.
    pub(super) fn operation(&self, number: u64) -> Option<Operation> {
        if self.is_unknown(number) {
            return None;
        }
        self.slots.get((number & self.mask) as usize).map(|slot| slot.operation)
    }

    /// The protection domain a request's buffer or loan belongs to.
    pub(super) fn domain(&self, number: u64) -> Option<u64> {
        self.slots.get((number & self.mask) as usize)?.kept.domain()
    }

    /// The number of the oldest request that has not ended.
    pub(super) fn oldest(&self) -> u64 {
        self.ended
    }

    /// Ends all that has not ended as flushed. Where the device may still work on them their buffers and loans are leaked, never freed.
    pub(super) fn flush(&mut self, device_is_done: bool) -> usize {
        let mut leaked = 0;
        while self.ended != self.next {
            let number = self.ended;
            self.failed(number, WorkCompletionStatus::Flushed);
            if !device_is_done {
                let kept = std::mem::take(&mut self.slot(number).kept);
                leaked += usize::from(kept.domain().is_some());
                std::mem::forget(kept);
            }
        }
        leaked
    }

    /// The next completion to tell.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Completion> {
        if self.told == self.ended {
            return None;
        }
        let told = self.told;
        self.told = told + 1;
        let slot = self.slot(told);
        let mut completion = Completion::new(slot.id, slot.operation, slot.status, slot.bytes, slot.kept.take_buffer());
        completion.immediate = slot.immediate;
        Some(completion)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(queue: &mut Outstanding) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| queue.take()).map(|completion| (completion.id, completion.is_success())).collect()
    }

    #[test]
    fn a_completion_ends_all_before_it() {
        let mut queue = Outstanding::new(3);
        for id in 10..13 {
            assert!(!queue.is_full());
            queue.push(id, Operation::Write, 8, Kept::Nothing);
        }
        assert!(queue.is_full() && queue.is_waiting());
        queue.succeeded(1);
        assert_eq!(told(&mut queue), [(10, true), (11, true)]);
        queue.push(13, Operation::Write, 8, Kept::Nothing);
        assert!(queue.is_last());
        queue.failed(3, WorkCompletionStatus::RemoteAccess);
        assert_eq!(told(&mut queue), [(12, true), (13, false)]);
        assert!(!queue.is_waiting());
    }

    #[test]
    fn what_a_device_invents_changes_nothing() {
        let mut queue = Outstanding::new(4);
        queue.push(1, Operation::Read, 8, Kept::Nothing);
        queue.succeeded(0);
        for number in [0, 1, 5, u64::MAX] {
            queue.succeeded(number);
            queue.failed(number, WorkCompletionStatus::Flushed);
            queue.received(number, 4, Some(1));
        }
        assert_eq!(told(&mut queue), [(1, true)]);
    }

    #[test]
    fn flushing_ends_the_rest_once() {
        let mut queue = Outstanding::new(4);
        for id in 0..4 {
            queue.push(id, Operation::Send, 8, Kept::Nothing);
        }
        queue.succeeded(0);
        assert_eq!(queue.flush(true), 0);
        assert_eq!(told(&mut queue), [(0, true), (1, false), (2, false), (3, false)]);
        assert!(queue.take().is_none());
    }
}
