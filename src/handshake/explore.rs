//! What the exhaustive exploration in `tests/model.rs` needs, and nobody else.
//!
//! Two states that no later input can tell apart shall be equal, and what happens after many fruitless READs shall happen after
//! few: both keep the number of states within reach. Imports nothing beyond the handshake itself.

use crate::handshake::Handshake;
use crate::handshake::dialled::Dialled;

impl Handshake {
    /// Greets or confirms again after `checks_max` fruitless READs instead of the usual number.
    #[doc(hidden)]
    #[must_use]
    pub fn with_checks_max(mut self, checks_max: u32) -> Self {
        self.checks_max = checks_max;
        self
    }

    /// Drops what is only reported and decides nothing: the edition, the obstacle, why the last session ended, the count of READs where only
    /// the caller's patience depends on it.
    #[doc(hidden)]
    pub fn forget_history(&mut self) {
        self.edition = 0;
        self.obstacle = None;
        self.ended = None;
        if let Dialled::Up(steps) = &mut self.dialled {
            steps.forget_history(self.established.is_some());
        }
    }
}
