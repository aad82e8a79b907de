//! Events that nobody has taken yet: so many are kept, the rest are counted.

use super::event::LogEvent;
use std::collections::VecDeque;

/// Events kept for a listener that does not listen.
const EVENTS_MAX: usize = 1024;

/// Events that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Events {
    waiting: VecDeque<LogEvent>,
    skipped: u64,
}

impl Events {
    pub(super) fn put(&mut self, event: LogEvent) {
        if self.waiting.len() < EVENTS_MAX {
            self.waiting.push_back(event);
        } else {
            self.skipped += 1;
        }
    }

    /// The next one; after the last that was kept, how many were not.
    pub(super) fn next(&mut self) -> Option<LogEvent> {
        if let Some(event) = self.waiting.pop_front() {
            return Some(event);
        }
        match std::mem::take(&mut self.skipped) {
            0 => None,
            skipped => Some(LogEvent::Skipped(skipped)),
        }
    }
}
