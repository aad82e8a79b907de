//! What was told in the last second, so that it is not told again meanwhile.
//!
//! Imports timestamps alone. A partner that dials again and again, or a disk that is full, must not write the log of this node.

use crate::fabric::Timestamp;
use std::time::Duration;

/// The same is told no more often.
const EVERY: Duration = Duration::from_secs(1);

/// So many different things are told in that time, at most.
const TOLD_MAX: usize = 4;

/// What was told of late. Allocates where something is told that was not before.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    told: Vec<Told<T>>,
}

#[derive(Debug)]
struct Told<T> {
    what: T,
    at: Timestamp,
    /// It happened so many times more since.
    again: u64,
}

impl<T: PartialEq + Clone> Recent<T> {
    pub(crate) fn new() -> Self {
        Self { told: Vec::new() }
    }

    /// Whether it is to be told, and how often it happened since it was told last; none where that was a moment ago, or where so
    /// much else was told.
    pub(crate) fn tell(&mut self, what: &T, now: Timestamp) -> Option<u64> {
        let is_old = |told: &Told<T>| now.since(told.at) >= EVERY;
        if let Some(told) = self.told.iter_mut().find(|told| told.what == *what) {
            if !is_old(told) {
                told.again = told.again.saturating_add(1);
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.again));
        }
        if self.told.len() >= TOLD_MAX {
            let oldest = self.told.iter().position(is_old)?;
            self.told.remove(oldest);
        }
        self.told.push(Told { what: what.clone(), at: now, again: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_second_with_a_count() {
        let mut recent = Recent::new();
        let at = |ms: u64| Timestamp(ms * 1_000_000);
        assert_eq!(recent.tell(&"full", at(0)), Some(0));
        for ms in 1..1000 {
            assert_eq!(recent.tell(&"full", at(ms)), None);
        }
        assert_eq!(recent.tell(&"other", at(500)), Some(0));
        assert_eq!(recent.tell(&"full", at(1000)), Some(999));
        assert_eq!(recent.tell(&"full", at(2000)), Some(0));
    }

    #[test]
    fn of_what_is_never_twice_the_same_few_are_told_a_second() {
        let mut recent = Recent::new();
        let told = (0..5000u64).filter(|number| recent.tell(number, Timestamp(number * 1_000_000)).is_some()).count();
        assert_eq!(told, 5 * TOLD_MAX);
    }
}
