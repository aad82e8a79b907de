//! Notices a reservation that holds up the log: neither committed nor dropped, and records wait behind it.

use super::lsn::Lsn;
use crate::memory::RingReader;
use std::time::{Duration, Instant};

/// Watches the first place that is claimed and not published.
#[derive(Debug)]
pub(super) struct Stall {
    after: Duration,
    seen: Option<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    lsn: Lsn,
    since: Instant,
    /// Told again at twice this age.
    told: Duration,
}

impl Stall {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, seen: None }
    }

    /// The producer's number, the place and the age of a reservation that has held up the log for long enough: told when it is first noticed,
    /// and whenever its age has doubled. A clock is asked only while something is held up.
    pub(super) fn look(&mut self, reader: &RingReader) -> Option<(u32, Lsn, Duration)> {
        let at = reader.collected();
        let Some(number) = reader.ring().claimant(at) else {
            self.seen = None;
            return None;
        };
        let now = Instant::now();
        let seen = match &mut self.seen {
            Some(seen) if seen.lsn == Lsn(at) => seen,
            seen => {
                *seen = Some(Seen { lsn: Lsn(at), since: now, told: self.after / 2 });
                return None;
            }
        };
        let age = now.duration_since(seen.since);
        if age < seen.told.saturating_mul(2) {
            return None;
        }
        seen.told = age;
        Some((number, Lsn(at), age))
    }
}
