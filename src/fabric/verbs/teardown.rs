//! How long a failed queue pair is waited for: its device owes a completion for each request, and a dead one gives none.

use super::outstanding::Outstanding;
use crate::sys::random::monotonic_ns;
use std::time::Duration;

/// How long completions of a failed queue pair are waited for. Flushing takes microseconds; past this the device is taken for dead.
pub(super) const DRAIN: Duration = Duration::from_secs(1);

/// When waiting began.
#[derive(Debug, Default)]
pub(super) struct Clock {
    since: Option<u64>,
}

impl Clock {
    /// Whether nothing is outstanding any more, or the time is over. The first call that finds something starts the clock.
    pub(super) fn is_over(&mut self, sends: &Outstanding, receives: &Outstanding) -> bool {
        if !sends.is_waiting() && !receives.is_waiting() {
            return true;
        }
        let now = monotonic_ns();
        let since = *self.since.get_or_insert(now);
        u128::from(now.saturating_sub(since)) > DRAIN.as_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Operation;

    #[test]
    fn waits_while_something_is_owed() {
        let (mut sends, receives) = (Outstanding::new(2), Outstanding::new(2));
        let mut clock = Clock::default();
        assert!(clock.is_over(&sends, &receives));
        sends.push(1, Operation::Read, 8, crate::fabric::Kept::Nothing);
        assert!(!clock.is_over(&sends, &receives));
        clock.since = Some(1);
        assert!(clock.is_over(&sends, &receives), "a clock that started at boot");
    }
}
