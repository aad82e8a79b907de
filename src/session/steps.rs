//! How long each of the four steps took.

use crate::fabric::Timestamp;
use crate::handshake::Phase;

/// The four steps, by what they do.
pub const STEP_NAMES: [&str; 4] = ["read status", "write greeting", "read acknowledgement", "write confirmation"];

/// One of the four steps of a handshake that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// What it does.
    pub name: &'static str,
    /// From the first post of its operation to the completion that ended it, nanoseconds. Step 3 includes the wait for the partner's
    /// acknowledgement.
    pub ns: u64,
}

/// Notes when each phase begins and ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepClock {
    began: Option<(Phase, Timestamp)>,
    steps: [Step; 4],
}

impl StepClock {
    /// An operation of `phase` was posted now.
    pub(crate) fn posted(&mut self, phase: Phase, now: Timestamp) {
        if self.began.is_none_or(|(began, _)| began != phase) {
            self.began = Some((phase, now));
        }
    }

    /// The handshake is in `phase` now.
    pub(crate) fn reached(&mut self, phase: Option<Phase>, now: Timestamp) {
        let Some((began, since)) = self.began else { return };
        if phase == Some(began) {
            return;
        }
        self.began = None;
        if let (Some(step), true) = (self.steps.get_mut(began as usize), phase > Some(began)) {
            step.ns = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
        }
    }

    /// The four steps as they were timed last.
    pub(crate) fn steps(&self) -> [Step; 4] {
        let mut steps = self.steps;
        for (step, name) in steps.iter_mut().zip(STEP_NAMES) {
            step.name = name;
        }
        steps
    }
}
