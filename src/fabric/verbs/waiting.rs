//! How long a message may wait for the other side's receive.
//!
//! The device retries without end (`rnr_retry` 7), in steps of a third of a millisecond, and the limit is kept here: its own six retries
//! would be either far too short or, with the longest timer, a sixth of a second late for a receive that comes at once.

use super::outstanding::Outstanding;
use crate::fabric::Operation;
use crate::sys::random::monotonic_ns;

/// Fruitless polls between two looks at the clock.
const POLLS: u32 = 64;

/// Watches over SENDs and WRITEs with immediate.
#[derive(Debug)]
pub(super) struct ReceiverWait {
    limit_ns: u64,
    /// Number of the last message posted; none: no message waits. Messages are always signalled, so that one that succeeded is known to have.
    last: Option<u64>,
    /// Since when nothing came; none: look at the clock first.
    since: Option<u64>,
    polls: u32,
    over: bool,
}

impl ReceiverWait {
    pub(super) fn new(limit_ms: u32) -> Self {
        Self { limit_ns: u64::from(limit_ms) * 1_000_000, last: None, since: None, polls: 0, over: false }
    }

    /// Message `number` is posted.
    #[inline]
    pub(super) fn expect(&mut self, number: u64) {
        self.last = Some(number);
    }

    /// Something that was posted completed.
    #[inline]
    pub(super) fn progress(&mut self) {
        self.since = None;
    }

    /// Whether it is time for a look at the clock.
    #[inline]
    pub(super) fn look(&mut self) -> bool {
        self.polls = self.polls.wrapping_add(1);
        self.polls.is_multiple_of(POLLS)
    }

    /// Whether the oldest message has waited too long, or what is posted before it has taken so long.
    pub(super) fn is_over(&mut self, sends: &Outstanding) -> bool {
        if self.last.is_none_or(|last| sends.oldest() > last) {
            self.last = None;
            self.since = None;
            return false;
        }
        let now = monotonic_ns();
        let since = *self.since.get_or_insert(now);
        self.over = now.saturating_sub(since) > self.limit_ns;
        self.over
    }

    /// Whether the first flushed request is the message that waited too long; asked once.
    pub(super) fn blames(&mut self, operation: Option<Operation>) -> bool {
        let message = matches!(operation, Some(Operation::Send | Operation::WriteWithImmediate));
        std::mem::take(&mut self.over) && message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_messages_run_out_of_time_and_only_once() {
        let mut wait = ReceiverWait::new(0);
        let mut sends = Outstanding::new(4);
        sends.push(1, Operation::Write, 8, crate::fabric::Kept::Nothing);
        assert!(!wait.is_over(&sends), "nothing waits for a receive");
        wait.expect(1);
        sends.push(2, Operation::Send, 8, crate::fabric::Kept::Nothing);
        assert!(!wait.is_over(&sends), "the clock starts with the first look");
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(wait.is_over(&sends));
        assert!(wait.blames(Some(Operation::Send)) && !wait.blames(Some(Operation::Send)));
    }

    #[test]
    fn progress_starts_the_wait_anew() {
        let mut wait = ReceiverWait::new(60_000);
        let mut sends = Outstanding::new(4);
        sends.push(2, Operation::Send, 8, crate::fabric::Kept::Nothing);
        wait.expect(0);
        assert!(!wait.is_over(&sends));
        wait.progress();
        assert!(wait.since.is_none());
        sends.succeeded(0);
        assert!(!wait.is_over(&sends) && wait.last.is_none());
    }
}
