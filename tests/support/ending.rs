//! How the helper threads and the loops of a test end, also when the test returns early or panics.
//!
//! A `thread::scope` waits for its threads even when its body panics: a thread that waits for a
//! word from the body would then wait for ever, and hide the panic.
#![allow(dead_code, reason = "each test uses its part")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than any wait of a test that goes well, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);
/// Turns of a wait between two looks at the clock: a look may cost more than a turn.
const TURNS: u32 = 1024;

/// Tells a helper thread to end when it is dropped: on every path out of its scope.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A wait that panics when it takes too long.
pub(crate) struct Wait {
    what: &'static str,
    turns: u32,
    began: Option<Instant>,
}

impl Wait {
    /// A wait for `what`. Its time begins with its first look at the clock.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, turns: 0, began: None }
    }

    /// Counts a turn; panics when the wait takes too long.
    pub(crate) fn turn(&mut self) {
        self.turns += 1;
        if self.turns == TURNS {
            self.turns = 0;
            // On a busy machine the one that is waited for may need this processor.
            std::thread::yield_now();
            let waited = self.began.get_or_insert_with(Instant::now).elapsed();
            assert!(waited < PATIENCE, "timed out after {waited:?} waiting for {}", self.what);
        }
    }

    /// Begins anew: what is waited for made progress.
    pub(crate) fn restart(&mut self) {
        (self.turns, self.began) = (0, None);
    }
}

/// Spins until `holds`; panics when that takes too long.
pub(crate) fn wait_until(what: &'static str, mut holds: impl FnMut() -> bool) {
    let mut wait = Wait::new(what);
    while !holds() {
        wait.turn();
    }
}
