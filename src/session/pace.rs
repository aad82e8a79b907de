//! When the next READ of the partner's status block may go out.

use crate::fabric::Timestamp;
use crate::handshake::{Action, Handshake, Obstacle, Phase};
use crate::session::timing::{Backoff, Timing};

/// READs of steps 1 and 3 without delay before the caller backs off: an answer on a live link takes microseconds.
const EAGER_READS: u32 = 32;

/// What a READ has shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    action: Action,
    phase: Option<Phase>,
    obstacle: Option<Obstacle>,
    /// The session stands on both sides.
    stands: bool,
}

impl Shown {
    pub(crate) fn by(handshake: &Handshake) -> Self {
        Self {
            action: handshake.action(),
            phase: handshake.phase(),
            obstacle: handshake.obstacle(),
            stands: handshake.is_held_by_partner() && handshake.established().is_some(),
        }
    }
}

/// The pace of one link's READs.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// A proof was wrong, and none was right since: the steps begin again and again then, and each round looks as if something had moved.
    disproved: bool,
}

impl Pace {
    /// At once while an answer may come any moment, later the longer none comes or once a proof was wrong, and once per beat when the session
    /// stands on both sides.
    pub(crate) fn next(&mut self, shown: Shown, backoff: &mut Backoff, now: Timestamp, timing: &Timing) -> Timestamp {
        // Step 4 comes after a good proof alone.
        let proven = shown.phase.is_some_and(|phase| phase >= Phase::Confirm);
        self.disproved = !proven && (self.disproved || shown.obstacle == Some(Obstacle::KeysDiffer));
        let Action::Read { fruitless } = shown.action else { return now };
        if shown.stands {
            backoff.reset();
            now.after(timing.beat)
        } else if fruitless < EAGER_READS && !self.disproved {
            backoff.reset();
            now
        } else {
            backoff.next(now, timing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(phase: Phase, fruitless: u32, obstacle: Option<Obstacle>) -> Shown {
        Shown { action: Action::Read { fruitless }, phase: Some(phase), obstacle, stands: false }
    }

    /// Delays after these, in order.
    fn delays(pace: &mut Pace, backoff: &mut Backoff, shown: &[Shown]) -> Vec<Duration> {
        let timing = Timing::default();
        let next = |shown: &Shown| pace.next(*shown, backoff, Timestamp(0), &timing).since(Timestamp(0));
        shown.iter().map(next).collect()
    }

    #[test]
    fn a_partner_that_proves_nothing_is_read_ever_more_slowly() {
        let (mut pace, mut backoff, timing) = (Pace::default(), Backoff::new(7), Timing::default());
        let greet = Shown { action: Action::WriteGreeting, ..read(Phase::Greet, 0, None) };
        let round = [
            read(Phase::Look, 1, Some(Obstacle::KeysDiffer)),
            greet,
            read(Phase::Check, 1, Some(Obstacle::NotAcknowledged)),
        ];
        let mut last = Vec::new();
        for _ in 0..10 {
            last = delays(&mut pace, &mut backoff, &round);
        }
        assert!(last[0] >= timing.retry_max * 3 / 4 && last[2] >= timing.retry_max * 3 / 4, "{last:?}");
        assert_eq!(last[1], Duration::ZERO, "what is written need not wait");
    }

    #[test]
    fn a_good_proof_restores_the_pace() {
        let (mut pace, mut backoff) = (Pace::default(), Backoff::new(7));
        let confirm = Shown { action: Action::WriteConfirmation, ..read(Phase::Confirm, 0, None) };
        let wrong = read(Phase::Look, 1, Some(Obstacle::KeysDiffer));
        let seen = [read(Phase::Check, 1, None), wrong, confirm, read(Phase::Watch, 1, None)];
        let delays = delays(&mut pace, &mut backoff, &seen);
        assert!(delays[1] > Duration::ZERO);
        assert_eq!((delays[0], delays[3]), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn an_answer_that_does_not_come_is_waited_for_and_a_session_that_stands_is_read_once_per_beat() {
        let (mut pace, mut backoff, timing) = (Pace::default(), Backoff::new(7), Timing::default());
        let waiting = |fruitless| read(Phase::Check, fruitless, Some(Obstacle::NotAcknowledged));
        let stands = Shown { stands: true, ..read(Phase::Watch, 0, None) };
        let delays = delays(&mut pace, &mut backoff, &[waiting(EAGER_READS - 1), waiting(EAGER_READS), stands]);
        assert_eq!((delays[0], delays[2]), (Duration::ZERO, timing.beat));
        assert!(delays[1] > Duration::ZERO && delays[1] <= timing.retry_min);
    }
}
