//! Whether the partner's heartbeat has moved lately: what an acknowledgement in its name rests on, beside the READ that came back.
//!
//! A value alone proves nothing: memory of a stopped process, or of one that dumps core, answers. A change between two readings does: whoever
//! bumps the word ran after the first of them. So a movement counts from the latest moment at which the old value was surely still to be
//! read: when that READ was posted. Pure: no clock, no I/O.

use crate::fabric::Timestamp;
use std::time::Duration;

/// What is known of the partner's heartbeat.
#[derive(Debug)]
pub(super) struct Lease {
    patience: Duration,
    /// The last value read, and when the last READ of it was posted.
    seen: Option<(u64, Timestamp)>,
    /// The word moved after this moment.
    moved_after: Option<Timestamp>,
    withheld: Option<Withheld>,
}

/// Something was not acknowledged for want of a heartbeat.
#[derive(Debug, Clone, Copy)]
struct Withheld {
    since: Timestamp,
    told: bool,
}

/// News of the partner's heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It has stood still for so long that acknowledgements wait for it.
    Silent,
    /// It moves again; they waited for so long.
    Again(Duration),
}

impl Lease {
    /// Holds for `patience` after a movement.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, seen: None, moved_after: None, withheld: None }
    }

    /// A READ that was posted no earlier than `posted` brought this value.
    #[inline]
    pub(super) fn read(&mut self, value: u64, posted: Timestamp) {
        if let Some((before, seen)) = self.seen
            && before != value
        {
            self.moved_after = Some(seen);
        }
        self.seen = Some((value, posted));
    }

    /// Whether the heartbeat moved within the patience before `now`.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.moved_after.is_some_and(|moved| now.since(moved) <= self.patience)
    }

    /// For how many nanoseconds from `now` on it holds, whatever is read.
    pub(super) fn remaining(&self, now: Timestamp) -> u64 {
        let until = self.moved_after.map_or(Timestamp(0), |moved| moved.after(self.patience));
        until.0.saturating_sub(now.0)
    }

    /// Whether an acknowledgement waits for the heartbeat.
    #[inline]
    pub(super) fn is_withheld(&self) -> bool {
        self.withheld.is_some()
    }

    /// An acknowledgement waits for the heartbeat.
    #[cold]
    pub(super) fn withhold(&mut self, now: Timestamp) {
        self.withheld.get_or_insert(Withheld { since: now, told: false });
    }

    /// Nothing waits any more; news where somebody was told that it did.
    #[cold]
    pub(super) fn release(&mut self, now: Timestamp) -> Option<Heard> {
        let withheld = self.withheld.take()?;
        withheld.told.then(|| Heard::Again(now.since(withheld.since)))
    }

    /// News where an acknowledgement has waited for as long again as the lease lasts.
    pub(super) fn tell(&mut self, now: Timestamp) -> Option<Heard> {
        let withheld = self.withheld.as_mut()?;
        let is_due = !withheld.told && now.since(withheld.since) > self.patience;
        is_due.then(|| {
            withheld.told = true;
            Heard::Silent
        })
    }

    /// When the heartbeat is to be read again though nothing else asks for it: often enough that a lease never ends for want of readings,
    /// and eagerly while it does not hold.
    pub(super) fn next_reading(&self, now: Timestamp) -> Timestamp {
        /// A fraction of a beat.
        const EAGER: Duration = Duration::from_micros(100);
        let Some((_, posted)) = self.seen else { return Timestamp(0) };
        posted.after(if self.holds(now) { self.patience / 4 } else { EAGER })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn lease() -> Lease {
        Lease::new(Duration::from_millis(20))
    }

    #[test]
    fn a_value_proves_nothing_and_a_change_counts_from_the_reading_before_it() {
        let mut lease = lease();
        lease.read(7, Timestamp(100 * MS));
        assert!(!lease.holds(Timestamp(100 * MS)), "memory answers for the dead too");
        lease.read(7, Timestamp(110 * MS));
        assert!(!lease.holds(Timestamp(110 * MS)));
        // It may have moved right after the reading at 110, and the partner may have died then.
        lease.read(8, Timestamp(129 * MS));
        assert!(lease.holds(Timestamp(130 * MS)) && !lease.holds(Timestamp(131 * MS)));
        lease.read(9, Timestamp(140 * MS));
        assert!(lease.holds(Timestamp(149 * MS)) && !lease.holds(Timestamp(150 * MS)));
    }

    #[test]
    fn after_idleness_one_reading_is_not_enough() {
        let mut lease = lease();
        lease.read(1, Timestamp(0));
        lease.read(2, Timestamp(MS));
        lease.read(900, Timestamp(900 * MS));
        assert!(!lease.holds(Timestamp(900 * MS)), "it may have moved last at 2 ms");
        lease.read(901, Timestamp(901 * MS));
        assert!(lease.holds(Timestamp(901 * MS)));
    }

    #[test]
    fn readings_are_due_often_enough_to_keep_it() {
        let mut lease = lease();
        assert_eq!(lease.next_reading(Timestamp(5 * MS)), Timestamp(0));
        lease.read(1, Timestamp(5 * MS));
        assert_eq!(lease.next_reading(Timestamp(5 * MS)), Timestamp(5 * MS + MS / 10));
        lease.read(2, Timestamp(6 * MS));
        assert_eq!(lease.next_reading(Timestamp(6 * MS)), Timestamp(11 * MS));
    }

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        let mut lease = lease();
        assert_eq!((lease.tell(Timestamp(0)), lease.release(Timestamp(0))), (None, None));
        lease.withhold(Timestamp(0));
        lease.withhold(Timestamp(10 * MS));
        assert_eq!(lease.tell(Timestamp(20 * MS)), None);
        assert_eq!(lease.tell(Timestamp(21 * MS)), Some(Heard::Silent));
        assert_eq!(lease.tell(Timestamp(22 * MS)), None);
        assert_eq!(lease.release(Timestamp(30 * MS)), Some(Heard::Again(Duration::from_millis(30))));
        lease.withhold(Timestamp(40 * MS));
        assert_eq!(lease.release(Timestamp(41 * MS)), None, "too short to be told");
        assert!(!lease.is_withheld());
    }
}
