//! Clients that this node could not serve for want of something: tried again, without costing the others their session for nothing.
//!
//! Imports `fabric` alone. What was missing (descriptors, memory, room) may be there a moment later, and no event tells of that. So what
//! such a client needs is made now and then, and dropped again. Only when that succeeds does the session begin anew, with all of them.

use crate::fabric::Timestamp;
use std::time::Duration;

/// From the first failure to the next try.
const DELAY_MIN: Duration = Duration::from_secs(1);

/// Twice as long after each, up to this.
const DELAY_MAX: Duration = Duration::from_secs(30);

/// When to try next.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    /// None where nobody lacks anything in this session.
    at: Option<Timestamp>,
    delay: Duration,
}

impl Shortage {
    /// A session is there: whether a client of it lacks something here.
    pub(crate) fn begins(&mut self, lacks: bool, now: Timestamp) {
        if lacks {
            self.failed(now);
        } else {
            *self = Self::default();
        }
    }

    /// The session is over. The next one shows whether the shortage is.
    pub(crate) fn ends(&mut self) {
        self.at = None;
    }

    /// It lacks it still.
    pub(crate) fn failed(&mut self, now: Timestamp) {
        self.delay = self.delay.saturating_mul(2).clamp(DELAY_MIN, DELAY_MAX);
        self.at = Some(now.after(self.delay));
    }

    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        self.at.is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_further_apart_until_a_session_lacks_nothing() {
        let mut shortage = Shortage::default();
        let mut now = Timestamp(0);
        let mut waited = Vec::new();
        shortage.begins(true, now);
        for _ in 0..8 {
            let mut seconds = 0;
            while !shortage.is_due(now) {
                now = now.after(Duration::from_secs(1));
                seconds += 1;
            }
            waited.push(seconds);
            // Every other time it seemed to be over, and was not.
            if seconds % 2 == 0 { shortage.failed(now) } else { shortage.begins(true, now) }
        }
        assert_eq!(waited, [1, 2, 4, 8, 16, 30, 30, 30]);
        shortage.ends();
        assert!(!shortage.is_due(now.after(DELAY_MAX)), "there is no session to begin anew");
        shortage.begins(false, now);
        shortage.begins(true, now);
        assert!(shortage.is_due(now.after(DELAY_MIN)));
    }
}
