//! The send queue of a port: one entry for each operation from posting to the poll that hands its completion out.
//!
//! Imports the contract's types alone. Pure; allocates only when made.
//!
//! ```text
//! head ──────────► ready ──────────► executed ──────────► tail
//!   to be handed out   good, unsignalled:     waiting for the
//!                      held back              other side's receive
//! ```

use crate::fabric::{Completion, Kept, Operation, WorkCompletionStatus, WorkRequest};
use crate::memory::{Buffer, Loan};

/// One operation.
#[derive(Debug)]
struct Entry {
    id: u64,
    bytes: u32,
    operation: Operation,
    signalled: bool,
    status: WorkCompletionStatus,
    /// None after it was handed out.
    buffer: Option<Buffer>,
}

/// Operations in posting order. Counters wrap; differences count.
#[derive(Debug)]
pub(crate) struct SendQueue {
    entries: Box<[Entry]>,
    /// What was lent for operations that wait, in the places of their entries; the others have none. Apart, since hardly any has one.
    loans: Box<[Option<Loan>]>,
    max: u32,
    head: u32,
    ready: u32,
    executed: u32,
    tail: u32,
    /// The first operation that ended badly.
    bad: Option<u32>,
}

impl SendQueue {
    /// A queue for `max` operations, 1 to 2^31.
    pub(crate) fn new(max: u32) -> Self {
        let entry = |_| Entry {
            id: 0,
            bytes: 0,
            operation: Operation::Write,
            signalled: false,
            status: WorkCompletionStatus::Flushed,
            buffer: None,
        };
        let entries = (0..max.next_power_of_two()).map(entry).collect();
        let loans = (0..max.next_power_of_two()).map(|_| None).collect();
        Self { entries, loans, max, head: 0, ready: 0, executed: 0, tail: 0, bad: None }
    }

    #[inline]
    fn entry(&mut self, at: u32) -> Option<&mut Entry> {
        let mask = self.entries.len().wrapping_sub(1);
        self.entries.get_mut(at as usize & mask)
    }

    fn loan(&mut self, at: u32) -> Option<&mut Option<Loan>> {
        let mask = self.loans.len().wrapping_sub(1);
        self.loans.get_mut(at as usize & mask)
    }

    /// Where the next operation to be carried out lies, for whoever keeps more about it.
    pub(crate) fn place_of_executed(&self) -> usize {
        self.executed as usize & self.entries.len().wrapping_sub(1)
    }
    /// Where the next operation to be posted will lie.
    pub(crate) fn place_of_tail(&self) -> usize {
        self.tail as usize & self.entries.len().wrapping_sub(1)
    }
    /// Whether it takes no more.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.tail.wrapping_sub(self.head) >= self.max
    }
    /// Whether some operation waits to be carried out.
    #[inline]
    pub(crate) fn has_waiting(&self) -> bool {
        self.executed != self.tail
    }
    /// Whether there is something to hand out.
    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        self.head != self.ready
    }

    /// Adds an operation that was carried out well.
    #[inline]
    pub(crate) fn push_done(&mut self, request: WorkRequest, operation: Operation, bytes: u32, buffer: Option<Buffer>) {
        self.push(request, operation, WorkCompletionStatus::Success, bytes, buffer);
        self.executed = self.tail;
        // The operation that fills the queue counts as signalled: else a queue full of unsignalled ones would stay full.
        if request.signalled || self.is_full() {
            self.ready = self.tail;
        }
    }

    /// Adds an operation that has to wait.
    pub(crate) fn push_waiting(&mut self, request: WorkRequest, operation: Operation, bytes: u32, kept: Kept) {
        let (buffer, loan) = kept.split();
        let tail = self.tail;
        self.push(request, operation, WorkCompletionStatus::Success, bytes, buffer);
        if let Some(place) = self.loan(tail) {
            *place = loan;
        }
    }

    #[inline]
    fn push(
        &mut self,
        request: WorkRequest,
        operation: Operation,
        status: WorkCompletionStatus,
        bytes: u32,
        buffer: Option<Buffer>,
    ) {
        let Some(entry) = self.entry(self.tail) else { return };
        entry.id = request.id;
        entry.bytes = bytes;
        entry.operation = operation;
        entry.signalled = request.signalled;
        entry.status = status;
        if buffer.is_some() {
            entry.buffer = buffer;
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// What the oldest operation that waits has kept; it goes back by [`SendQueue::return_kept`], but for a loan that is done with.
    pub(crate) fn take_kept(&mut self) -> Kept {
        let at = self.executed;
        let loan = self.loan(at).and_then(Option::take);
        Kept::of(self.entry(at).and_then(|entry| entry.buffer.take()), loan)
    }
    /// Puts it back.
    pub(crate) fn return_kept(&mut self, kept: Kept) {
        let (at, (buffer, loan)) = (self.executed, kept.split());
        if let Some(place) = self.loan(at) {
            *place = loan;
        }
        if let Some(entry) = self.entry(at) {
            entry.buffer = buffer;
        }
    }

    /// The oldest operation that waited was carried out well: what was lent for it goes back.
    pub(crate) fn done(&mut self) {
        let at = self.executed;
        if let Some(place) = self.loan(at) {
            *place = None;
        }
        let full = self.is_full() && self.executed.wrapping_add(1) == self.tail;
        let signalled = self.entry(self.executed).is_some_and(|entry| entry.signalled);
        self.executed = self.executed.wrapping_add(1);
        if signalled || full {
            self.ready = self.executed;
        }
    }

    /// The oldest operation that was not carried out yet failed: it ends so, all after it are flushed, and all are handed out.
    pub(crate) fn fail(&mut self, status: WorkCompletionStatus) {
        self.end(self.executed, status);
    }

    /// All that was not carried out is flushed, and all are handed out.
    pub(crate) fn flush(&mut self) {
        self.end(self.executed, WorkCompletionStatus::Flushed);
    }

    /// Nothing that was not handed out yet counts as done: the oldest ends as `status`, the others are flushed. All are flushed where a
    /// failure was handed out before.
    pub(crate) fn disown(&mut self, status: WorkCompletionStatus) {
        let told = self.bad.is_some_and(|bad| (self.head.wrapping_sub(bad) as i32) > 0);
        self.end(self.head, if told { WorkCompletionStatus::Flushed } else { status });
    }

    fn end(&mut self, first: u32, status: WorkCompletionStatus) {
        let (mut at, mut status, tail) = (first, status, self.tail);
        if at != tail {
            self.bad.get_or_insert(at);
        }
        while at != tail {
            if let Some(entry) = self.entry(at) {
                entry.status = status;
                entry.bytes = 0;
            }
            if let Some(place) = self.loan(at) {
                *place = None;
            }
            status = WorkCompletionStatus::Flushed;
            at = at.wrapping_add(1);
        }
        self.executed = tail;
        self.ready = tail;
    }

    /// Moves completions out; returns how many.
    #[inline]
    pub(crate) fn pop(&mut self, completions: &mut [Completion]) -> usize {
        let mut count = 0;
        for completion in completions {
            if self.head == self.ready {
                break;
            }
            let head = self.head;
            let Some(entry) = self.entry(head) else { break };
            completion.id = entry.id;
            completion.operation = entry.operation;
            completion.status = entry.status;
            completion.bytes = entry.bytes;
            completion.immediate = None;
            completion.buffer = entry.buffer.take();

            self.head = head.wrapping_add(1);
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use WorkCompletionStatus::{Flushed, RemoteAccess, RetryExceeded, Success};

    fn push(queue: &mut SendQueue, id: u64, signalled: bool) {
        queue.push_done(WorkRequest { id, signalled }, Operation::Write, 8, None);
    }

    fn pop(queue: &mut SendQueue) -> Vec<(u64, WorkCompletionStatus)> {
        let mut completions: Vec<Completion> = (0..8).map(|_| Completion::default()).collect();
        let count = queue.pop(&mut completions);
        completions.iter().take(count).map(|completion| (completion.id, completion.status)).collect()
    }

    #[test]
    fn unsignalled_ones_come_with_the_next_signalled_one() {
        let mut queue = SendQueue::new(5);
        push(&mut queue, 1, false);
        push(&mut queue, 2, false);
        assert_eq!(pop(&mut queue), []);
        push(&mut queue, 3, true);
        push(&mut queue, 4, false);
        assert_eq!(pop(&mut queue), [(1, Success), (2, Success), (3, Success)]);
        assert_eq!(pop(&mut queue), []);
    }

    #[test]
    fn a_queue_full_of_unsignalled_ones_empties() {
        let mut queue = SendQueue::new(3);
        for round in 0..1000u64 {
            (0..3).for_each(|id| push(&mut queue, round * 3 + id, false));
            assert!(queue.is_full());
            assert_eq!(pop(&mut queue).len(), 3);
        }
    }

    #[test]
    fn a_queue_that_filled_while_it_waited_empties_too() {
        let mut queue = SendQueue::new(2);
        queue.push_waiting(WorkRequest::unsignalled(1), Operation::Send, 8, Kept::Nothing);
        queue.push_waiting(WorkRequest::unsignalled(2), Operation::Send, 8, Kept::Nothing);
        queue.done();
        assert_eq!(pop(&mut queue), []);
        queue.done();
        assert_eq!(pop(&mut queue), [(1, Success), (2, Success)]);
    }

    #[test]
    fn a_failure_ends_what_follows_and_frees_what_was_held_back() {
        let mut queue = SendQueue::new(8);
        push(&mut queue, 1, false);
        for id in 2..5 {
            queue.push_waiting(WorkRequest::unsignalled(id), Operation::Send, 8, Kept::Nothing);
        }
        queue.fail(RemoteAccess);
        assert_eq!(pop(&mut queue), [(1, Success), (2, RemoteAccess), (3, Flushed), (4, Flushed)]);
        queue.flush();
        assert_eq!(pop(&mut queue), []);
    }

    #[test]
    fn what_was_done_is_disowned_unless_it_was_handed_out() {
        let mut queue = SendQueue::new(8);
        push(&mut queue, 4, true);
        assert_eq!(pop(&mut queue), [(4, Success)]);
        push(&mut queue, 5, true);
        push(&mut queue, 6, false);
        queue.push_waiting(WorkRequest::signalled(7), Operation::Send, 8, Kept::Nothing);
        queue.fail(RemoteAccess);
        queue.disown(RetryExceeded);
        assert_eq!(pop(&mut queue), [(5, RetryExceeded), (6, Flushed), (7, Flushed)]);
    }

    #[test]
    fn there_is_one_failure_and_then_only_flushes() {
        let mut queue = SendQueue::new(8);
        for id in 1..4 {
            queue.push_waiting(WorkRequest::unsignalled(id), Operation::Send, 8, Kept::Nothing);
        }
        queue.fail(RemoteAccess);
        let mut one = [Completion::default()];
        assert_eq!((queue.pop(&mut one), one[0].status), (1, RemoteAccess));
        queue.disown(RetryExceeded);
        assert_eq!(pop(&mut queue), [(2, Flushed), (3, Flushed)]);
    }

    #[test]
    fn counters_wrap() {
        let mut queue = SendQueue::new(3);
        let start = u32::MAX - 1;
        (queue.head, queue.ready, queue.executed, queue.tail) = (start, start, start, start);
        for id in 0..3 {
            push(&mut queue, id, true);
        }
        assert!(queue.is_full());
        assert_eq!(pop(&mut queue), [(0, Success), (1, Success), (2, Success)]);
    }
}
