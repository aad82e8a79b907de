//! How often, and how long at most.

use crate::fabric::Timestamp;
use std::time::Duration;

/// Intervals and deadlines of a node. All are measured on the node's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// Between two heartbeats, and between two READs of the partner's status block once a session stands. Default 1 ms.
    pub beat: Duration,
    /// Between two looks at whether links and their processes live (these enter the kernel). Default 1 ms.
    pub check: Duration,
    /// The first delay before something fruitless is tried again. Default 20 us.
    pub retry_min: Duration,
    /// The longest such delay. Default 1 ms; delays double up to it, and a quarter of each is chance.
    pub retry_max: Duration,
    /// An operation of the handshake without completion, or a dial without answer, has failed after this. Default 1 s.
    pub operation: Duration,
    /// A session that the partner does not name as its own ends after this. Default 1 s.
    pub absent: Duration,
    /// From the partner's table of clients to `ready`. Default 5 s.
    pub exchange: Duration,
    /// How long a leaving node waits for its partner to notice. Default 100 ms.
    pub leave: Duration,
}

/// The longest delay before something costly is tried again.
const COSTLY_MAX: Duration = Duration::from_secs(1);

impl Default for Timing {
    fn default() -> Self {
        Self {
            beat: Duration::from_millis(1),
            check: Duration::from_millis(1),
            retry_min: Duration::from_micros(20),
            retry_max: Duration::from_millis(1),
            operation: Duration::from_secs(1),
            absent: Duration::from_secs(1),
            exchange: Duration::from_secs(5),
            leave: Duration::from_millis(100),
        }
    }
}

/// Delays that double up to a cap; a quarter of each is chance, so that two nodes do not retry in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    delay: Duration,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { delay: Duration::ZERO, state: seed | 1 }
    }

    /// Something succeeded: the next delay is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.delay = Duration::ZERO;
    }

    /// When to try again.
    pub(crate) fn next(&mut self, now: Timestamp, timing: &Timing) -> Timestamp {
        self.next_within(timing.retry_max, now, timing)
    }

    /// The same, after what costs more than a look: each try takes memory and descriptors, and fails at a limit that
    /// does not pass within a millisecond.
    pub(crate) fn next_costly(&mut self, now: Timestamp, timing: &Timing) -> Timestamp {
        self.next_within(timing.retry_max.max(COSTLY_MAX), now, timing)
    }

    fn next_within(&mut self, max: Duration, now: Timestamp, timing: &Timing) -> Timestamp {
        self.delay = self.delay.saturating_mul(2).max(timing.retry_min).min(max);
        now.after(self.jittered())
    }

    fn jittered(&mut self) -> Duration {
        // xorshift64: chance enough to keep two nodes apart.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let quarter = u64::try_from(self.delay.as_nanos() / 4).unwrap_or(u64::MAX);
        self.delay.saturating_sub(Duration::from_nanos(self.state % quarter.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_cap_and_jitter_stays_within_a_quarter() {
        let timing = Timing::default();
        let mut backoff = Backoff::new(7);
        let mut expected = timing.retry_min;
        for _ in 0..20 {
            let delay = backoff.next(Timestamp(0), &timing).since(Timestamp(0));
            assert!(delay <= expected && delay >= expected * 3 / 4, "{delay:?} of {expected:?}");
            expected = (expected * 2).min(timing.retry_max);
        }
        backoff.reset();
        assert!(backoff.next(Timestamp(0), &timing).since(Timestamp(0)) <= timing.retry_min);
    }

    #[test]
    fn a_cap_below_the_first_delay_is_the_cap() {
        let timing = Timing { retry_min: Duration::from_millis(5), retry_max: Duration::MAX, ..Timing::default() };
        let mut backoff = Backoff::new(7);
        for _ in 0..200 {
            let _ = backoff.next(Timestamp(0), &timing);
        }
        let timing = Timing { retry_min: Duration::from_millis(5), ..Timing::default() };
        assert!(Backoff::new(7).next(Timestamp(0), &timing).since(Timestamp(0)) <= timing.retry_max);
    }
}
